//! A connection of a lane, with its prepared statements.

use super::attempt::{DecidedBatch, Failure, PgResult, Server, decide};
use super::read::Readers;
use super::rest::Rest;
use super::statement::{BatchRows, BatchShape};
use crate::book::BatchChanges;
use crate::columns::Arrays;
use crate::op::Op;
use crate::rows::Rows;
use crate::wanted::RowsNeeded;
use domain::{NodeId, UnixMs};
use futures_util::future::OptionFuture;
use futures_util::try_join;
use std::collections::HashMap;
use store::{Db, StoreError, Value};
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

/// A lane finds a few rows by their keys. Without these settings the planner joins a table that was
/// never analysed by reading all of it. Plans are made once. A row that another session has locked
/// is awaited for the duration of a commit, and no longer.
const SETTINGS: &str = "SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET jit = off; SET plan_cache_mode = force_generic_plan;
    SET synchronous_commit = on; SET lock_timeout = '20ms'";
/// Identifies the server process of this connection. A pid alone may be reused.
const WHO_SERVES: &str = "SELECT pid, backend_start::text FROM pg_stat_activity
    WHERE pid = pg_backend_pid()";
/// Ends the server process of a connection, if it still exists: behind a half-open connection it
/// would wait for hours.
const END_SERVER: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = $1::integer AND backend_start::text = $2::text";

/// See the module.
pub(super) struct LaneSession {
    client: Client,
    server: Server,
    /// Prepared statements. Pipelining relies on it: a statement that had to be prepared first
    /// would be sent after its `COMMIT`.
    prepared: HashMap<BatchShape, Statement>,
    readers: Readers,
    rest: Rest,
}

impl LaneSession {
    pub(super) async fn open(db: &Db, node: NodeId) -> Result<Self, StoreError> {
        // The driver ends by itself once the client is dropped.
        let (client, _driver) = db.dedicated_postgres().await?;
        client.batch_execute(SETTINGS).await?;
        let serves = client.query_one(WHO_SERVES, &[]).await?;
        let server = Server { pid: serves.get(0), started: serves.get(1) };
        let (readers, rest) =
            (Readers::prepare(&client).await?, Rest::prepare(&client, node).await?);
        Ok(Self { client, server, prepared: HashMap::new(), readers, rest })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn is_lost(&self, error: &tokio_postgres::Error) -> bool {
        let severity = error.as_db_error().and_then(|said| said.parsed_severity());
        self.client.is_closed()
            || error.is_closed()
            || matches!(severity, Some(Severity::Fatal | Severity::Panic))
    }

    pub(super) const fn server(&self) -> &Server {
        &self.server
    }

    /// Ends the server process of a lost connection, and returns whether it is gone: what it had
    /// not committed by then never will be.
    pub(super) async fn has_ended(&self, server: &Server) -> PgResult<bool> {
        let params: [&(dyn ToSql + Sync); 2] = [&server.pid, &server.started];
        Ok(self.client.query_opt(END_SERVER, &params).await?.is_none())
    }

    /// Rolls back a failed transaction; returns whether the connection is still usable.
    pub(super) async fn roll_back(&self) -> bool {
        !self.client.is_closed() && self.client.batch_execute("ROLLBACK").await.is_ok()
    }

    /// Reads, without locks, the wanted accounts, keys and holds missing in `rows`. False: a row
    /// was not found.
    pub(super) async fn read_missing(
        &self,
        wanted: &RowsNeeded,
        rows: &mut Rows,
    ) -> PgResult<bool> {
        self.readers.read_missing(&self.client, wanted, rows).await
    }

    /// Writes what fits one statement, if every row is still as the Book read it. Outside a
    /// transaction it commits, too.
    pub(super) async fn write(&mut self, changes: &BatchChanges) -> PgResult<()> {
        let parts = BatchRows::of(changes);
        let shape = parts.shape();
        if shape.is_empty() {
            return Ok(());
        }
        let statement = self.prepared(shape).await?;
        let arrays = parts.parameters(shape.forms());
        let params = references(&arrays);
        self.client.query_one(&statement, &params).await.map(drop)
    }

    async fn prepared(&mut self, shape: BatchShape) -> PgResult<Statement> {
        if let Some(statement) = self.prepared.get(&shape) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&shape.sql()).await?;
        self.prepared.insert(shape, statement.clone());
        Ok(statement)
    }

    /// Locks a batch's rows, decides, and writes: two round trips.
    pub(super) async fn lock_and_write(
        &mut self,
        ops: &[&Op],
        now: UnixMs,
    ) -> Result<DecidedBatch, Failure> {
        let rows = self.readers.lock(&self.client, RowsNeeded::of(ops)).await?;
        let decision = decide(ops, rows, now);
        match self.write_and_commit(&decision.changes, now).await {
            Ok(()) => Ok(decision),
            Err(error) if self.is_lost(&error) => {
                Err(Failure::InDoubt(self.server.clone(), error.into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The second round trip: all is sent in this order, because the futures are polled in order.
    async fn write_and_commit(&mut self, changes: &BatchChanges, now: UnixMs) -> PgResult<()> {
        let parts = BatchRows::of(changes);
        let shape = parts.shape();
        let statement = match shape.is_empty() {
            true => None,
            false => Some(self.prepared(shape).await?),
        };
        let (client, rest, now) = (&self.client, &self.rest, Value::Time(now));
        let arrays = parts.parameters(shape.forms());
        let params = references(&arrays);
        let write = async {
            match &statement {
                Some(statement) => client.query_one(statement, &params).await.map(drop),
                None => Ok(()),
            }
        };
        try_join!(
            write,
            some(!changes.new_tasks.is_empty(), rest.insert_tasks(client, changes, &now)),
            some(!changes.recorded_tasks.is_empty(), rest.record_tasks(client, changes, &now)),
            some(!changes.ended_tasks.is_empty(), rest.end_tasks(client, changes, &now)),
            some(!changes.movements.is_empty(), rest.name_movements(client, changes, &now)),
            some(!changes.redeemed.is_empty(), rest.redeem_codes(client, changes, &now)),
            some(!changes.kept_replies.is_empty(), rest.keep_replies(client, changes)),
            some(!changes.forgotten_replies.is_empty(), rest.forget_replies(client, changes)),
            client.batch_execute("COMMIT"),
        )?;
        Ok(())
    }
}

fn references<'a>(arrays: &'a Arrays<'_>) -> Vec<&'a (dyn ToSql + Sync)> {
    arrays.iter().map(|array| &**array as &(dyn ToSql + Sync)).collect()
}

/// `future` if `wanted`, for `try_join!`.
async fn some<T>(wanted: bool, future: impl Future<Output = PgResult<T>>) -> PgResult<Option<T>> {
    OptionFuture::from(wanted.then_some(future)).await.transpose()
}
