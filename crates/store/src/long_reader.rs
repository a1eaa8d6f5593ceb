//! Reads that take as long as the journal is: an audit, over ten million lines and more.

use crate::pg::{self, Pg};
use crate::sqlite::Sqlite;
use crate::{Row, StoreError, Value};
use std::time::Duration;
use tokio_postgres::Client;

/// The time limit of one long read.
pub(crate) const LONG_READ_LIMIT: Duration = Duration::from_secs(3_600);
/// A server process looks whether the connection of its read is closed (PostgreSQL 14 and later).
const ENDS_WITH_ITS_READER: &str = "SET client_connection_check_interval = '5s'";

/// Runs long reads one after the other, and keeps no request waiting.
pub struct LongReader<'a>(Source<'a>);

enum Source<'a> {
    /// A connection of its own.
    Postgres(Client),
    /// The readers of searches.
    Sqlite(&'a Sqlite),
}

impl<'a> LongReader<'a> {
    pub(crate) const fn of_sqlite(sqlite: &'a Sqlite) -> Self {
        Self(Source::Sqlite(sqlite))
    }

    pub(crate) async fn of_postgres(pg: &Pg) -> Result<Self, StoreError> {
        let (client, _driven) = pg.dedicated().await?;
        let limit_s = LONG_READ_LIMIT.as_secs();
        client.batch_execute(&format!("SET statement_timeout = '{limit_s}s'")).await?;
        // Older servers finish a read whose connection is closed.
        let _ = client.batch_execute(ENDS_WITH_ITS_READER).await;
        Ok(Self(Source::Postgres(client)))
    }

    /// Runs a query that changes nothing. It sees one snapshot.
    ///
    /// # Errors
    /// Any error of the database; after an hour, that it takes too long.
    pub async fn read(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        match &self.0 {
            Source::Postgres(client) => pg::read_on(client, sql, params).await,
            Source::Sqlite(sqlite) => sqlite.search_long(sql, params).await,
        }
    }
}
