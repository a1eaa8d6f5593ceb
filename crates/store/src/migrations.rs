//! The schema: embedded SQL, applied once each, in order, by one process at a time.

use crate::{Db, Engine, Row, Statement, StoreError, Value};
use domain::UnixMs;
use ring::digest::{SHA256, digest};
use rusqlite::TransactionBehavior;
use tokio_postgres::Client;
use tracing::info;

/// One migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number, from 1.
    pub version: i64,
    /// Its file.
    pub name: &'static str,
    sql: &'static str,
}

macro_rules! migrations {
    ($engine:literal: $($version:literal $name:literal),* $(,)?) => {
        &[$(Migration {
            version: $version,
            name: concat!($engine, "/", $name),
            sql: include_str!(concat!("../migrations/", $engine, "/", $name)),
        }),*]
    };
}

const POSTGRES: &[Migration] = migrations!("postgres": 1 "0001_schema.sql");
const SQLITE: &[Migration] = migrations!("sqlite": 1 "0001_schema.sql");

/// The first migration of the schemas before the first release, on either engine: no migration
/// leads on from it.
const UNRELEASED: [&str; 2] = [
    "d4d91745700464274ff51b73c1fab0410cb913c556f1ae67b2684da630d83927",
    "91d8b6d83fde4a827cb3f1f24a4dec7ff7e135587dd1f5525bf2fe05c651b343",
];

/// The advisory locks of newapi in a PostgreSQL database.
const MIGRATION_LOCK: i64 = 0x006e_6577_6170_6901;
const MONTHS_LOCK: i64 = 0x006e_6577_6170_6902;

const POSTGRES_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    bigint PRIMARY KEY,
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now());
    COMMENT ON TABLE schema_migrations IS 'Steps of the schema that were applied';
    COMMENT ON COLUMN schema_migrations.version IS 'Number of the step';
    COMMENT ON COLUMN schema_migrations.name IS 'Its file';
    COMMENT ON COLUMN schema_migrations.sha256 IS 'What the file held';
    COMMENT ON COLUMN schema_migrations.applied_at IS 'When it was applied'";
const SQLITE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    sha256     TEXT    NOT NULL,
    applied_at INTEGER NOT NULL
               DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)))";
pub(crate) const SELECT_APPLIED: &str =
    "SELECT version, sha256 FROM schema_migrations ORDER BY version";
const INSERT_APPLIED: &str =
    "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)";

impl Migration {
    fn sha256(&self) -> String {
        digest(&SHA256, self.sql.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }

    fn failed(&self, error: &StoreError) -> StoreError {
        StoreError::Migration { file: self.name.to_owned(), why: error.to_string() }
    }
}

const fn known(engine: Engine) -> &'static [Migration] {
    match engine {
        Engine::Postgres => POSTGRES,
        Engine::Sqlite => SQLITE,
    }
}

/// The newest migration that this program has.
#[must_use]
pub fn newest_schema(engine: Engine) -> i64 {
    known(engine).last().map_or(0, |newest| newest.version)
}

/// The migrations that a database lacks, given those applied to it: (version, sha256 of its file).
///
/// # Errors
/// When one of them was changed since, or is newer than this program.
pub fn migrations_for(
    engine: Engine,
    applied: &[(i64, String)],
) -> Result<Vec<Migration>, StoreError> {
    still_to_do(known(engine), applied)
}

/// The pending migrations.
pub(crate) async fn pending(db: &Db) -> Result<Vec<Migration>, StoreError> {
    if !db.has_table("schema_migrations").await? {
        return Ok(known(db.engine()).to_vec());
    }
    let applied = db.read(SELECT_APPLIED, &[]).await?;
    let applied = applied.iter().map(applied_row).collect::<Result<Vec<_>, _>>()?;
    still_to_do(known(db.engine()), &applied)
}

/// Whether no migration that this version has is missing. Only the newest is compared, so that the
/// check is cheap; a schema that a newer version has migrated meanwhile lacks nothing.
pub(crate) async fn is_current(db: &Db) -> Result<bool, StoreError> {
    let sql = "SELECT COALESCE(max(version), 0) AS version FROM schema_migrations";
    let rows = db.read_first(sql, &[]).await?;
    let applied: i64 = rows.first().map_or(Ok(0), |row| row.get("version"))?;
    Ok(known(db.engine()).last().is_none_or(|newest| applied >= newest.version))
}

fn applied_row(row: &Row) -> Result<(i64, String), StoreError> {
    Ok((row.get("version")?, row.get("sha256")?))
}

fn still_to_do(
    known: &[Migration],
    applied: &[(i64, String)],
) -> Result<Vec<Migration>, StoreError> {
    if applied.iter().any(|(_, sha256)| UNRELEASED.contains(&sha256.as_str())) {
        return Err(StoreError::SchemaUnreleased);
    }
    let newest_known = known.last().map_or(0, |m| m.version);
    if let Some((found, _)) = applied.iter().find(|(version, _)| *version > newest_known) {
        return Err(StoreError::SchemaTooNew { found: *found, known: newest_known });
    }
    let mut todo = Vec::new();
    for migration in known {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            None => todo.push(*migration),
            Some((_, sha256)) if *sha256 == migration.sha256() => {}
            Some(_) => {
                return Err(StoreError::MigrationChanged { file: migration.name.to_owned() });
            }
        }
    }
    Ok(todo)
}

/// Applies what is pending. Of several processes that start at once, one does it, and the others
/// find it done.
pub(crate) async fn migrate(db: &Db) -> Result<Vec<Migration>, StoreError> {
    if pending(db).await?.is_empty() {
        return Ok(Vec::new());
    }
    let applied = match db.engine() {
        Engine::Postgres => {
            let (mut client, _driven) = db.dedicated_postgres().await?;
            migrate_postgres(&mut client).await?
        }
        Engine::Sqlite => {
            let writer = db.sqlite().ok_or_else(|| StoreError::Other("no writer".to_owned()))?;
            writer.run(migrate_sqlite).await??
        }
    };
    for migration in &applied {
        info!(target: "custompass", event = "schema_migrated", file = migration.name);
    }
    Ok(applied)
}

async fn migrate_postgres(client: &mut Client) -> Result<Vec<Migration>, StoreError> {
    // The connection holds the lock, so it is released on every path.
    client.batch_execute("SET statement_timeout = 0; SET lock_timeout = '5min'").await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    client.batch_execute(POSTGRES_TABLE).await?;
    let applied = client.query(SELECT_APPLIED, &[]).await?;
    let applied: Vec<(i64, String)> = applied
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()?;
    let todo = still_to_do(POSTGRES, &applied)?;
    for migration in &todo {
        let failed = |error: tokio_postgres::Error| migration.failed(&error.into());
        let step = client.transaction().await?;
        step.batch_execute(migration.sql).await.map_err(failed)?;
        step.execute(INSERT_APPLIED, &[&migration.version, &migration.name, &migration.sha256()])
            .await?;
        step.commit().await.map_err(failed)?;
    }
    client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await?;
    Ok(todo)
}

fn migrate_sqlite(conn: &mut rusqlite::Connection) -> Result<Vec<Migration>, StoreError> {
    let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    step.execute_batch(SQLITE_TABLE)?;
    let (applied, _) = crate::sqlite::run(&step, SELECT_APPLIED, &[])?;
    let applied = applied.iter().map(applied_row).collect::<Result<Vec<_>, _>>()?;
    let todo = still_to_do(SQLITE, &applied)?;
    for migration in &todo {
        let failed = |error: rusqlite::Error| migration.failed(&error.into());
        step.execute_batch(migration.sql).map_err(failed)?;
        let params = [
            Value::Int(migration.version),
            Value::from(migration.name),
            Value::Text(migration.sha256()),
        ];
        crate::sqlite::run(&step, &crate::sqlite::numbered(INSERT_APPLIED), &params)?;
    }
    step.commit()?;
    Ok(todo)
}

/// Creates the partitions of this month and the next two. Does nothing on SQLite.
///
/// # Errors
/// Any error of the database; the partitions that catch everything else still work then.
pub async fn make_months(db: &Db, now: UnixMs) -> Result<(), StoreError> {
    if db.engine() == Engine::Sqlite {
        return Ok(());
    }
    let months = months_from(now)?;
    let mut missing = Vec::new();
    for month in months {
        let suffix = month.replace('-', "");
        let sql = "SELECT 1 WHERE to_regclass('logs_' || left($1::text, 6)) IS NULL
                               OR to_regclass('holds_' || left($1::text, 6)) IS NULL";
        if !db.read(sql, &[Value::from(&suffix)]).await?.is_empty() {
            missing.push(month);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    // The parent tables are locked for a moment. Rather than queue for the lock, with the ledger
    // queueing behind, give up; the job is repeated.
    let mut statements = vec![
        Statement::new("SET LOCAL lock_timeout = '3s'", Vec::new()),
        Statement::new("SELECT pg_advisory_xact_lock($1)", vec![Value::Int(MONTHS_LOCK)]),
    ];
    for month in missing {
        let sql = "SELECT newapi_make_month($1::text::date)";
        statements.push(Statement::new(sql, vec![Value::Text(month)]));
    }
    db.write_all(statements).await.map(drop)
}

/// The first days of this month and the next two, as `2026-11-01`.
fn months_from(now: UnixMs) -> Result<[String; 3], StoreError> {
    let unusable = |error: jiff::Error| StoreError::Other(error.to_string());
    let instant = jiff::Timestamp::from_millisecond(now.0).map_err(unusable)?;
    let first = instant.to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month();
    let month = |ahead: i64| -> Result<String, StoreError> {
        let date = first.checked_add(jiff::Span::new().months(ahead)).map_err(unusable)?;
        Ok(date.to_string())
    };
    Ok([month(0)?, month(1)?, month(2)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_reach_over_the_new_year() {
        let december = UnixMs(1_796_083_199_999);
        assert_eq!(months_from(december).unwrap(), ["2026-11-01", "2026-12-01", "2027-01-01"]);
    }

    #[test]
    fn changed_and_newer_migrations_are_refused() {
        let (first, sha) = (&SQLITE[..1], SQLITE[0].sha256());
        assert_eq!(still_to_do(SQLITE, &[]).unwrap(), SQLITE);
        assert_eq!(still_to_do(SQLITE, &[(1, sha.clone())]).unwrap(), &SQLITE[1..]);
        let changed = still_to_do(SQLITE, &[(1, "0".into())]).unwrap_err();
        assert!(changed.to_string().contains("sqlite/0001_schema.sql"));
        let newer = still_to_do(first, &[(1, sha), (9, "0".into())]);
        assert!(matches!(newer, Err(StoreError::SchemaTooNew { found: 9, known: 1 })));
    }
}
