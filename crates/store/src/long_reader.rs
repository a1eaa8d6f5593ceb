//! Reads that take as long as the journal is: an audit, over ten million lines and more.

use crate::{Db, Engine, Row, StoreError, Value, pg};
use std::time::Duration;
use tokio_postgres::Client;

/// The time limit of one long read.
pub(crate) const LONG_READ_LIMIT: Duration = Duration::from_secs(3_600);
/// Nobody waits for a read whose connection is closed: its server process looks for that
/// (PostgreSQL 14 and later).
const ENDS_WITH_ITS_READER: &str = "SET client_connection_check_interval = '5s'";

/// Runs long reads one after the other: on PostgreSQL over a connection of its own, which no
/// request waits for.
pub struct LongReader<'a> {
    db: &'a Db,
    /// On PostgreSQL.
    client: Option<Client>,
}

impl<'a> LongReader<'a> {
    pub(crate) async fn open(db: &'a Db) -> Result<Self, StoreError> {
        let client = match db.engine() {
            Engine::Sqlite => None,
            Engine::Postgres => {
                let (client, _driven) = db.dedicated_postgres().await?;
                let limit_s = LONG_READ_LIMIT.as_secs();
                client.batch_execute(&format!("SET statement_timeout = '{limit_s}s'")).await?;
                // Older servers finish what nobody waits for.
                let _ = client.batch_execute(ENDS_WITH_ITS_READER).await;
                Some(client)
            }
        };
        Ok(Self { db, client })
    }

    /// Runs a query that changes nothing. It sees one snapshot.
    ///
    /// # Errors
    /// Any error of the database; after an hour, that it takes too long.
    pub async fn read(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        match &self.client {
            Some(client) => pg::read_on(client, sql, params).await,
            None => self.db.search_long(sql, params).await,
        }
    }
}
