//! One way to run SQL on either engine.

use crate::dsn::{self, Target};
use crate::long_reader::LongReader;
use crate::pg::{Pg, Planned};
use crate::sqlite::{Sqlite, SqliteWriter};
use crate::{Migration, Row, StoreError, Value, migrations};
use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Which engine is behind a [`Db`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A PostgreSQL server.
    Postgres,
    /// A SQLite file.
    Sqlite,
}

/// Where the database is.
#[derive(Clone)]
pub struct DbConfig {
    /// `SQL_DSN`; `None`: a SQLite file in `data_dir`.
    pub dsn: Option<String>,
    /// The directory of the SQLite file.
    pub data_dir: PathBuf,
    /// Connections in the pool; those of the ledger and of the change feed are additional.
    pub max_connections: usize,
    /// How long opening a connection, or waiting for a free one, may take.
    pub connect_timeout_ms: u64,
}

impl Default for DbConfig {
    fn default() -> Self {
        let data_dir = PathBuf::from("data");
        Self { dsn: None, data_dir, max_connections: 25, connect_timeout_ms: 10_000 }
    }
}

impl fmt::Debug for DbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbConfig")
            .field("dsn", &self.dsn.as_ref().map(|_| "***"))
            .field("data_dir", &self.data_dir)
            .field("max_connections", &self.max_connections)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .finish()
    }
}

/// A statement of a transaction.
#[derive(Clone, Debug)]
pub struct Statement {
    /// SQL in the dialect both engines share, with `$1`, `$2`, …
    pub sql: Cow<'static, str>,
    /// Its parameters.
    pub params: Vec<Value>,
    /// How many rows it must affect; otherwise the transaction is rolled back.
    pub expect_rows: Option<u64>,
}

impl Statement {
    /// A statement that may affect any number of rows.
    pub fn new(sql: impl Into<Cow<'static, str>>, params: Vec<Value>) -> Self {
        Self { sql: sql.into(), params, expect_rows: None }
    }

    /// Sets how many rows it must affect.
    #[must_use]
    pub const fn expecting(mut self, rows: u64) -> Self {
        self.expect_rows = Some(rows);
        self
    }

    pub(crate) fn expect(&self, index: usize, found: u64) -> Result<(), StoreError> {
        match self.expect_rows {
            Some(expected) if expected != found => {
                Err(StoreError::RowCount { index, expected, found })
            }
            _ => Ok(()),
        }
    }
}

/// Usage of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// The maximum number of connections.
    pub max: usize,
    /// Open connections.
    pub open: usize,
    /// Idle connections.
    pub idle: usize,
    /// Callers waiting for a connection.
    pub waiting: usize,
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db(Arc<Backend>);

enum Backend {
    Postgres(Pg),
    Sqlite(Sqlite),
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Db").field(&self.engine()).finish()
    }
}

impl Db {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When it can't be reached, can't be migrated, or is newer than this program.
    pub async fn open(config: &DbConfig) -> Result<Self, StoreError> {
        let db = Self::open_unmigrated(config).await?;
        db.migrate().await?;
        Ok(db)
    }

    /// Opens the database without migrating it.
    ///
    /// # Errors
    /// When the configuration can't be used, or the database can't be reached.
    pub async fn open_unmigrated(config: &DbConfig) -> Result<Self, StoreError> {
        let backend = match dsn::parse(config.dsn.as_deref())? {
            Target::Postgres(parsed, verify) => {
                let timeout = Duration::from_millis(config.connect_timeout_ms.max(1));
                let pg = Pg::new(*parsed, verify, config.max_connections, timeout)?;
                pg.refuse_shared_sessions().await?;
                Backend::Postgres(pg)
            }
            Target::Sqlite => {
                let dir = config.data_dir.clone();
                let opened = tokio::task::spawn_blocking(move || Sqlite::open(&dir)).await;
                let opened = opened.map_err(|error| StoreError::Other(error.to_string()))?;
                Backend::Sqlite(opened?)
            }
        };
        Ok(Self(Arc::new(backend)))
    }

    /// Applies what is pending, under a lock; returns what was applied.
    ///
    /// # Errors
    /// When a migration fails, was changed, or the schema is newer than this program.
    pub async fn migrate(&self) -> Result<Vec<Migration>, StoreError> {
        migrations::migrate(self).await
    }

    /// What [`Self::migrate`] would apply.
    ///
    /// # Errors
    /// When a migration was changed, or the schema is newer than this program.
    pub async fn pending_migrations(&self) -> Result<Vec<Migration>, StoreError> {
        migrations::pending(self).await
    }

    /// Whether the database is reachable, and has every migration that this version knows.
    ///
    /// # Errors
    /// Any error of the database; [`StoreError::Unavailable`] when it can't be reached.
    pub async fn is_current(&self) -> Result<bool, StoreError> {
        migrations::is_current(self).await
    }

    /// Writes durably, without changing anything: a full disk or a read-only server shows in no
    /// other way.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn try_write(&self) -> Result<(), StoreError> {
        let sql = "UPDATE schema_migrations SET applied_at = applied_at \
                   WHERE version = (SELECT max(version) FROM schema_migrations)";
        self.execute(sql, &[]).await.map(drop)
    }

    /// Ensures that this is the only process that serves this SQLite file. Always succeeds on
    /// PostgreSQL, where any number may.
    ///
    /// # Errors
    /// [`StoreError::ServedElsewhere`].
    #[expect(clippy::unused_async, reason = "opening a file may have to wait one day")]
    pub async fn lock_for_serving(&self) -> Result<(), StoreError> {
        match &*self.0 {
            Backend::Postgres(_) => Ok(()),
            Backend::Sqlite(sqlite) => sqlite.lock_for_serving(),
        }
    }

    /// Which engine this is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match &*self.0 {
            Backend::Postgres(_) => Engine::Postgres,
            Backend::Sqlite(_) => Engine::Sqlite,
        }
    }

    /// Runs a query that changes nothing.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn read(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        match &*self.0 {
            Backend::Postgres(pg) => pg.read(sql, params, Planned::Once).await,
            Backend::Sqlite(sqlite) => sqlite.read(sql, params).await,
        }
    }

    /// Like [`Self::read`], for user-supplied conditions: planned for these values, because no plan
    /// is right for a value that every row has and for one that none has. On SQLite it blocks only
    /// other searches, however long it takes.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn search(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        match &*self.0 {
            Backend::Postgres(pg) => pg.read(sql, params, Planned::Anew).await,
            Backend::Sqlite(sqlite) => sqlite.search(sql, params).await,
        }
    }

    /// Opens a reader for queries that walk through the whole journal.
    ///
    /// # Errors
    /// When no connection can be opened.
    pub async fn long_reader(&self) -> Result<LongReader<'_>, StoreError> {
        match &*self.0 {
            Backend::Postgres(pg) => LongReader::of_postgres(pg).await,
            Backend::Sqlite(sqlite) => Ok(LongReader::of_sqlite(sqlite)),
        }
    }

    /// Like [`Self::read`], for short queries that calls wait for: on SQLite they don't queue
    /// behind long ones.
    pub(crate) async fn read_first(
        &self,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        match &*self.0 {
            Backend::Postgres(pg) => pg.read(sql, params, Planned::Once).await,
            Backend::Sqlite(sqlite) => sqlite.read_first(sql, params).await,
        }
    }

    /// Runs a statement that changes something, with its `RETURNING` rows.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn write(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        match &*self.0 {
            Backend::Postgres(pg) => pg.write(sql, params).await.map(|(rows, _)| rows),
            Backend::Sqlite(sqlite) => sqlite.write(sql, params).await.map(|(rows, _)| rows),
        }
    }

    /// Runs a statement; returns how many rows it affected.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, StoreError> {
        match &*self.0 {
            Backend::Postgres(pg) => pg.write(sql, params).await.map(|(_, touched)| touched),
            Backend::Sqlite(sqlite) => sqlite.write(sql, params).await.map(|(_, touched)| touched),
        }
    }

    /// Runs statements in one transaction: all of them, or none.
    ///
    /// # Errors
    /// Any error of the database; [`StoreError::RowCount`] when one affected too few or too many
    /// rows.
    pub async fn write_all(&self, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>, StoreError> {
        match &*self.0 {
            Backend::Postgres(pg) => pg.write_all(&statements).await,
            Backend::Sqlite(sqlite) => sqlite.write_all(statements).await,
        }
    }

    /// Whether there is a table of this name.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn has_table(&self, name: &str) -> Result<bool, StoreError> {
        let sql = match self.engine() {
            Engine::Postgres => "SELECT 1 WHERE to_regclass($1::text) IS NOT NULL",
            Engine::Sqlite => "SELECT 1 FROM sqlite_master WHERE name = $1",
        };
        Ok(!self.read(sql, &[Value::from(name)]).await?.is_empty())
    }

    /// Whether there is any table, of any owner. Tables of extensions don't count.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn has_tables(&self) -> Result<bool, StoreError> {
        let sql = match self.engine() {
            Engine::Postgres => {
                "SELECT 1 FROM pg_class c
                 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
                   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                                   AND d.objid = c.oid AND d.deptype = 'e') LIMIT 1"
            }
            Engine::Sqlite => "SELECT 1 FROM sqlite_master LIMIT 1",
        };
        Ok(!self.read(sql, &[]).await?.is_empty())
    }

    /// Whether the database is reachable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it isn't.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read_first("SELECT 1", &[]).await.map(drop)
    }

    /// The writer thread, on SQLite.
    #[must_use]
    pub fn sqlite(&self) -> Option<&SqliteWriter> {
        match &*self.0 {
            Backend::Postgres(_) => None,
            Backend::Sqlite(sqlite) => Some(&sqlite.writer),
        }
    }

    /// A dedicated connection outside the pool, and the job that drives it until the client is
    /// dropped.
    ///
    /// # Errors
    /// When it can't be opened; [`StoreError::Other`] on SQLite.
    pub async fn dedicated_postgres(
        &self,
    ) -> Result<(tokio_postgres::Client, tokio::task::JoinHandle<()>), StoreError> {
        self.pg()?.dedicated().await
    }

    pub(crate) fn pg(&self) -> Result<&Pg, StoreError> {
        match &*self.0 {
            Backend::Postgres(pg) => Ok(pg),
            Backend::Sqlite(_) => Err(StoreError::Other("this is SQLite".to_owned())),
        }
    }

    /// Usage of the pool; `None` on SQLite.
    #[must_use]
    pub fn pool_status(&self) -> Option<PoolStatus> {
        match &*self.0 {
            Backend::Postgres(pg) => Some(pg.status()),
            Backend::Sqlite(_) => None,
        }
    }

    /// Closes idle connections of the pool beyond `keep`.
    pub fn shed_idle_connections(&self, keep: usize) {
        if let Backend::Postgres(pg) = &*self.0 {
            pg.shed_idle(keep);
        }
    }

    /// Shuts down in order: what was posted to SQLite's writer is done, and the file is closed.
    /// Nothing can be run afterwards.
    pub async fn close(&self) {
        match &*self.0 {
            Backend::Postgres(pg) => pg.close(),
            Backend::Sqlite(sqlite) => sqlite.close().await,
        }
    }
}
