//! PostgreSQL: a pool for statements, and dedicated connections.

use crate::db::{PoolStatus, Statement};
use crate::{Row, StoreError, Value, dsn, tls};
use deadpool_postgres::{
    ClientWrapper, Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
    Runtime,
};
use futures_util::TryStreamExt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

/// Set on every connection. An abandoned transaction must not keep its locks. Compiling a plan
/// (`jit`) takes longer than our longest queries take without.
const SESSION: &str = "SET TimeZone = 'UTC'; SET statement_timeout = '30s'; SET jit = off; \
                       SET idle_in_transaction_session_timeout = '30s'";
/// From when a silent connection is probed, and how long it may stay silent.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How a statement is planned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planned {
    /// Cached on the connection. After some runs PostgreSQL may use one plan for all values.
    Once,
    /// Planned for its values, each time.
    Anew,
}

/// What to do about a pooler that shares sessions.
const SHARED_SESSIONS: &str = "SQL_DSN leads to a connection pooler in transaction mode, which \
    keeps no session: use session mode (in PgBouncer pool_mode = session for this database), or \
    the address of the PostgreSQL server itself";

/// Connections tried for one query.
const READ_TRIES: u32 = 4;

type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A PostgreSQL server.
pub(crate) struct Pg {
    pool: Pool,
    connector: Connector,
    config: Config,
}

#[derive(Clone)]
struct Connector {
    tls: MakeRustlsConnect,
}

impl Connector {
    async fn connect(&self, config: &Config) -> Result<(Client, Driver), tokio_postgres::Error> {
        config.connect(self.tls.clone()).await
    }

    async fn connect_driven(
        &self,
        config: &Config,
    ) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let (client, driver) = self.connect(config).await?;
        let driven = tokio::spawn(roster::named("PostgreSQL connection", async move {
            if let Err(error) = driver.await {
                debug!(%error, "a PostgreSQL connection ended");
            }
        }));
        client.batch_execute(SESSION).await?;
        Ok((client, driven))
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        config: &Config,
    ) -> Pin<
        Box<
            dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>>
                + Send
                + '_,
        >,
    > {
        let config = config.clone();
        Box::pin(async move { self.connect_driven(&config).await })
    }
}

/// The server process of a session. Nothing is prepared: that is what may not work.
async fn served_by(client: &Client) -> Result<Option<String>, StoreError> {
    let sql = "SELECT pg_backend_pid() || ' ' || pg_postmaster_start_time()";
    let answer = client.simple_query(sql).await?;
    Ok(answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

impl Pg {
    /// Prepares to connect; nothing is sent yet.
    pub(crate) fn new(
        mut config: Config,
        verify: dsn::Verify,
        max_connections: usize,
        connect_timeout: Duration,
    ) -> Result<Self, StoreError> {
        let connector = Connector { tls: tls::connector(verify)? };
        config.application_name("newapi");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(connect_timeout);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(KEEPALIVE);
            config.keepalives_idle(KEEPALIVE);
        }
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(config.clone(), connector.clone(), manager_config);
        let pool = Pool::builder(manager)
            .max_size(max_connections.max(1))
            .wait_timeout(Some(connect_timeout))
            .create_timeout(Some(connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Config(error.to_string()))?;
        Ok(Self { pool, connector, config })
    }

    /// Refuses a pooler that gives a session's server process to others between transactions.
    /// Nothing that is kept on a session would persist: prepared statements, settings, `LISTEN`,
    /// advisory locks. Some such poolers hide it well, and then no node would learn of a changed
    /// price. It shows in the server process of a session: it changes, or serves another session
    /// that is open as well.
    pub(crate) async fn refuse_shared_sessions(&self) -> Result<(), StoreError> {
        let (one, _driven) = self.dedicated().await?;
        let (other, _driven_too) = self.dedicated().await?;
        let first = served_by(&one).await?;
        if first == served_by(&other).await? || first != served_by(&one).await? {
            return Err(StoreError::Config(SHARED_SESSIONS.to_owned()));
        }
        Ok(())
    }

    async fn client(&self) -> Result<deadpool_postgres::Client, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_) => {
                StoreError::Unavailable("no connection became free in time".to_owned())
            }
            error => StoreError::Unavailable(error.to_string()),
        })
    }

    /// One statement that may be repeated when the connection turns out to be dead: after a
    /// restart of the server several are.
    pub(crate) async fn read(
        &self,
        sql: &str,
        params: &[Value],
        planned: Planned,
    ) -> Result<Vec<Row>, StoreError> {
        let mut tries_left = READ_TRIES;
        loop {
            let client = self.client().await?;
            tries_left -= 1;
            match run(&client, sql, params, planned).await {
                Ok((rows, _)) => return Ok(rows),
                Err(error) if is_lost(&client, &error) => {
                    drop(Object::take(client));
                    if tries_left == 0 {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One statement, with the number of rows it touched.
    pub(crate) async fn write(
        &self,
        sql: &str,
        params: &[Value],
    ) -> Result<(Vec<Row>, u64), StoreError> {
        let client = self.client().await?;
        let answer = run(&client, sql, params, Planned::Once).await;
        if answer.as_ref().is_err_and(|error| is_lost(&client, error)) {
            drop(Object::take(client));
        }
        answer
    }

    /// All or nothing. A dropped future rolls back.
    pub(crate) async fn write_all(
        &self,
        statements: &[Statement],
    ) -> Result<Vec<Vec<Row>>, StoreError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let mut answers = Vec::with_capacity(statements.len());
        for (index, statement) in statements.iter().enumerate() {
            let prepared = transaction.prepare_cached(&statement.sql).await?;
            let stream = transaction.query_raw(&prepared, &statement.params).await?;
            let (rows, touched) = collect(&prepared, stream).await?;
            statement.expect(index, touched)?;
            answers.push(rows);
        }
        transaction.commit().await?;
        Ok(answers)
    }

    /// A connection outside the pool.
    pub(crate) async fn dedicated(&self) -> Result<(Client, JoinHandle<()>), StoreError> {
        Ok(self.connector.connect_driven(&self.config).await?)
    }

    /// A connection outside the pool whose messages the caller drives.
    pub(crate) async fn undriven(&self) -> Result<(Client, Driver), StoreError> {
        Ok(self.connector.connect(&self.config).await?)
    }

    pub(crate) fn status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            max: status.max_size,
            open: status.size,
            idle: status.available,
            waiting: status.waiting,
        }
    }

    /// Closes idle connections until at most `keep` are idle.
    pub(crate) fn shed_idle(&self, keep: usize) {
        let mut seen = 0_usize;
        self.pool.retain(|_, _| {
            seen += 1;
            seen <= keep
        });
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

/// Whether an error means the end of the connection. The server reports it a moment before it
/// closes.
fn is_lost(client: &ClientWrapper, error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(words) => client.is_closed() || words.contains("(57P"),
        _ => false,
    }
}

async fn run(
    client: &ClientWrapper,
    sql: &str,
    params: &[Value],
    planned: Planned,
) -> Result<(Vec<Row>, u64), StoreError> {
    let prepared = match planned {
        Planned::Once => client.prepare_cached(sql).await?,
        Planned::Anew => client.prepare(sql).await?,
    };
    let stream = client.query_raw(&prepared, params).await?;
    collect(&prepared, stream).await
}

/// One statement over a connection outside the pool.
pub(crate) async fn read_on(
    client: &Client,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Row>, StoreError> {
    let prepared = client.prepare(sql).await?;
    let stream = client.query_raw(&prepared, params).await?;
    Ok(collect(&prepared, stream).await?.0)
}

async fn collect(
    prepared: &tokio_postgres::Statement,
    stream: tokio_postgres::RowStream,
) -> Result<(Vec<Row>, u64), StoreError> {
    let columns: Arc<[Box<str>]> = prepared.columns().iter().map(|c| c.name().into()).collect();
    let mut stream = pin!(stream);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        let cells = (0..row.len()).map(|index| row.try_get::<_, Value>(index));
        let cells = cells.collect::<Result<Vec<Value>, _>>()?;
        rows.push(Row::new(Arc::clone(&columns), cells));
    }
    let touched = stream.rows_affected().unwrap_or(rows.len() as u64);
    Ok((rows, touched))
}
