//! A fresh database for every test, on either engine, and plain SQL against it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use crate::wait::within;

/// The variable with the DSN of the cluster for tests.
pub const PG_DSN_VAR: &str = "TEST_PG_DSN";

/// The engine of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The embedded one.
    Sqlite,
    /// The server.
    Postgres,
}

/// A database for one test. It is removed when this is dropped.
#[derive(Debug)]
pub struct TestDb {
    place: Place,
    /// The data directory of the servers of a SQLite database; scratch space otherwise.
    dir: TempDir,
}

#[derive(Debug)]
enum Place {
    Sqlite(PathBuf),
    Postgres { admin_dsn: String, name: String, dsn: String },
}

impl TestDb {
    /// An empty SQLite database: a file that does not exist yet, in a directory that does.
    pub async fn sqlite() -> Self {
        let dir = scratch_dir();
        let file = dir.path().join("newapi.db");
        Self { place: Place::Sqlite(file), dir }
    }

    /// An empty database in the cluster of `TEST_PG_DSN`. Fails the test when that is not set.
    pub async fn postgres() -> Self {
        let Ok(admin_dsn) = std::env::var(PG_DSN_VAR) else {
            panic!(
                "{PG_DSN_VAR} is not set, so the PostgreSQL half of the tests cannot run. \
                 `cargo xtask test` starts a private cluster and runs every test; \
                 `cargo xtask pg -- cargo test -p CRATE NAME` runs one."
            );
        };
        Self::in_cluster(admin_dsn).await
    }

    /// An empty database in the cluster of this DSN.
    pub async fn in_cluster(admin_dsn: String) -> Self {
        let name = format!("t_{}", uuid::Uuid::now_v7().simple());
        let dsn = with_database(&admin_dsn, &name);
        pg_batch(&admin_dsn, &format!("CREATE DATABASE {name}")).await;
        Self { place: Place::Postgres { admin_dsn, name, dsn }, dir: scratch_dir() }
    }

    /// An empty database on this engine.
    pub async fn on(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => Self::sqlite().await,
            Engine::Postgres => Self::postgres().await,
        }
    }

    /// The engine it uses.
    pub fn engine(&self) -> Engine {
        match &self.place {
            Place::Sqlite(_) => Engine::Sqlite,
            Place::Postgres { .. } => Engine::Postgres,
        }
    }

    /// Whether it is on PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.engine() == Engine::Postgres
    }

    /// The value of `SQL_DSN`: `postgres://…`, or nothing for SQLite.
    pub fn sql_dsn(&self) -> Option<&str> {
        match &self.place {
            Place::Sqlite(_) => None,
            Place::Postgres { dsn, .. } => Some(dsn),
        }
    }

    /// The file of a SQLite database.
    pub fn sqlite_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(file) => Some(file),
            Place::Postgres { .. } => None,
        }
    }

    /// The test's directory: `DATA_DIR` of a server over SQLite.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs statements as an operator would type them; returns the rows that the last touched.
    pub async fn execute(&self, sql: &str) -> u64 {
        match self.try_execute(sql).await {
            Ok(count) => count,
            Err(error) => panic!("{sql}\n{error}"),
        }
    }

    /// Like [`TestDb::execute`], for statements that must be refused.
    pub async fn try_execute(&self, sql: &str) -> Result<u64, String> {
        match &self.place {
            Place::Sqlite(file) => sqlite_execute(file.clone(), sql.to_owned()).await,
            Place::Postgres { dsn, .. } => {
                let messages = pg_simple(dsn, sql).await?;
                let count = messages.iter().rev().find_map(|message| match message {
                    SimpleQueryMessage::CommandComplete(count) => Some(*count),
                    _ => None,
                });
                Ok(count.unwrap_or(0))
            }
        }
    }

    /// Runs one query.
    pub async fn query(&self, sql: &str) -> Vec<Row> {
        let rows = match &self.place {
            Place::Sqlite(file) => sqlite_query(file.clone(), sql.to_owned()).await,
            Place::Postgres { dsn, .. } => pg_query(dsn, sql).await,
        };
        match rows {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}\n{error}"),
        }
    }

    /// The only row of a query.
    pub async fn row(&self, sql: &str) -> Row {
        let mut rows = self.query(sql).await;
        assert_eq!(rows.len(), 1, "rows of {sql}: {rows:?}");
        rows.remove(0)
    }

    /// The only value of a query, a whole number. An empty sum is 0.
    pub async fn i64(&self, sql: &str) -> i64 {
        self.only(sql).await.map_or(0, |text| parse_i64(&text))
    }

    /// The only value of a query, as text.
    pub async fn text(&self, sql: &str) -> String {
        let value = self.only(sql).await;
        value.unwrap_or_else(|| panic!("{sql}: the value is NULL"))
    }

    /// Runs statements in a transaction that stays open, with the locks that they take (on SQLite
    /// one on the whole file), until it is ended.
    pub async fn transaction(&self, sql: &str) -> Transaction {
        let held = match &self.place {
            Place::Sqlite(file) => {
                let (file, sql) = (file.clone(), format!("BEGIN IMMEDIATE; {sql}"));
                let begun = on_thread(move || {
                    let connection = sqlite_open(&file)?;
                    connection.execute_batch(&sql).map_err(|error| error.to_string())?;
                    Ok(connection)
                });
                begun.await.map(Held::Sqlite)
            }
            Place::Postgres { dsn, .. } => pg_transaction(dsn, sql).await.map(Held::Postgres),
        };
        Transaction(held.unwrap_or_else(|error| panic!("{sql}\n{error}")))
    }

    /// Allows connections, or ends the open ones and refuses new ones. PostgreSQL only.
    pub async fn allow_connections(&self, allow: bool) {
        let Place::Postgres { admin_dsn, name, .. } = &self.place else {
            panic!("only PostgreSQL has connections")
        };
        pg_batch(admin_dsn, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allow}")).await;
        if !allow {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ";
            pg_batch(admin_dsn, &format!("{end}'{name}'")).await;
        }
    }

    async fn only(&self, sql: &str) -> Option<String> {
        let row = self.row(sql).await;
        assert_eq!(row.0.len(), 1, "columns of {sql}: {row:?}");
        row.0.into_values().next().flatten()
    }
}

/// An open transaction. Dropping it closes its connection.
#[derive(Debug)]
pub struct Transaction(Held);

#[derive(Debug)]
enum Held {
    Sqlite(rusqlite::Connection),
    Postgres(tokio_postgres::Client),
}

impl Transaction {
    /// Ends it, and with it its locks.
    pub async fn end(self) {
        match self.0 {
            Held::Sqlite(connection) => drop(connection),
            Held::Postgres(client) => {
                client.batch_execute("ROLLBACK").await.expect("the transaction can be ended");
            }
        }
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if let Place::Postgres { admin_dsn, name, .. } = &self.place {
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            let dsn = admin_dsn.clone();
            // The test's own runtime may be ending, so this uses another.
            let job = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let Ok(runtime) = runtime else { return };
                let limit = Duration::from_secs(20);
                let dropped = async { tokio::time::timeout(limit, pg_simple(&dsn, &drop)).await };
                if let Ok(Err(error)) = runtime.block_on(dropped) {
                    eprintln!("{drop}: {error}");
                }
            });
            let _ = job.join();
        }
    }
}

/// A row of a query: the column names and the values as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(BTreeMap<String, Option<String>>);

impl Row {
    /// A value, `None` when it is NULL.
    pub fn get(&self, column: &str) -> Option<&str> {
        match self.0.get(column) {
            Some(value) => value.as_deref(),
            None => panic!("no column {column} in {self:?}"),
        }
    }

    /// A value that is not NULL.
    pub fn text(&self, column: &str) -> &str {
        self.get(column).unwrap_or_else(|| panic!("{column} is NULL in {self:?}"))
    }

    /// A whole number.
    pub fn i64(&self, column: &str) -> i64 {
        parse_i64(self.text(column))
    }

    /// A boolean, in either engine's form.
    pub fn bool(&self, column: &str) -> bool {
        match self.text(column) {
            "t" | "true" | "1" => true,
            "f" | "false" | "0" => false,
            other => panic!("{column} is not a truth value: {other}"),
        }
    }
}

fn parse_i64(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("not a whole number: {text}"))
}

fn scratch_dir() -> TempDir {
    tempfile::Builder::new().prefix("newapi-test-").tempdir().expect("a temporary directory")
}

/// The same DSN with another database: `postgres://user@host:port/NAME?…`.
fn with_database(dsn: &str, name: &str) -> String {
    let (head, options) = match dsn.split_once('?') {
        Some((head, options)) => (head, format!("?{options}")),
        None => (dsn, String::new()),
    };
    let authority = head.find("://").map_or(0, |at| at + 3);
    let end = head[authority..].find('/').map_or(head.len(), |at| authority + at);
    format!("{}/{name}{options}", &head[..end])
}

async fn pg_batch(dsn: &str, sql: &str) {
    if let Err(error) = pg_simple(dsn, sql).await {
        panic!("{sql}\n{error}");
    }
}

async fn pg_simple(dsn: &str, sql: &str) -> Result<Vec<SimpleQueryMessage>, String> {
    let config = Config::from_str(dsn).map_err(|error| format!("{PG_DSN_VAR}: {error}"))?;
    let connected = within("a connection to PostgreSQL", config.connect(NoTls)).await;
    let (client, connection) = connected.map_err(|error| pg_error(&error))?;
    let job = tokio::spawn(connection);
    let result = client.simple_query(sql).await.map_err(|error| pg_error(&error));
    drop(client);
    let _ = job.await;
    result
}

async fn pg_transaction(dsn: &str, sql: &str) -> Result<tokio_postgres::Client, String> {
    let config = Config::from_str(dsn).map_err(|error| error.to_string())?;
    let connected = within("a connection to PostgreSQL", config.connect(NoTls)).await;
    let (client, connection) = connected.map_err(|error| pg_error(&error))?;
    tokio::spawn(connection);
    let begun = client.batch_execute(&format!("BEGIN; {sql}")).await;
    begun.map_err(|error| pg_error(&error))?;
    Ok(client)
}

pub(crate) async fn pg_query(dsn: &str, sql: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for message in pg_simple(dsn, sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            let columns = row.columns().iter().enumerate();
            let values = columns
                .map(|(at, column)| (column.name().to_owned(), row.get(at).map(ToOwned::to_owned)));
            rows.push(Row(values.collect()));
        }
    }
    Ok(rows)
}

fn pg_error(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{}: {}", said.code().code(), said.message()),
        None => error.to_string(),
    }
}

async fn sqlite_execute(file: PathBuf, sql: String) -> Result<u64, String> {
    on_thread(move || {
        let connection = sqlite_open(&file)?;
        connection.execute_batch(&sql).map_err(|error| error.to_string())?;
        Ok(connection.changes())
    })
    .await
}

async fn sqlite_query(file: PathBuf, sql: String) -> Result<Vec<Row>, String> {
    on_thread(move || {
        let connection = sqlite_open(&file)?;
        let mut statement = connection.prepare(&sql).map_err(|error| error.to_string())?;
        let names: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
        let rows = statement.query_map([], |row| {
            let mut values = BTreeMap::new();
            for (at, name) in names.iter().enumerate() {
                values.insert(name.clone(), sqlite_text(row.get_ref(at)?));
            }
            Ok(Row(values))
        });
        let rows = rows.map_err(|error| error.to_string())?;
        rows.collect::<Result<_, _>>().map_err(|error| error.to_string())
    })
    .await
}

fn sqlite_open(file: &Path) -> Result<rusqlite::Connection, String> {
    let opened = rusqlite::Connection::open(file).and_then(|connection| {
        connection.busy_timeout(Duration::from_secs(20))?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(connection)
    });
    opened.map_err(|error| error.to_string())
}

fn sqlite_text(value: rusqlite::types::ValueRef<'_>) -> Option<String> {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        // As PostgreSQL writes it.
        ValueRef::Blob(bytes) => {
            Some(bytes.iter().fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}")))
        }
    }
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}
