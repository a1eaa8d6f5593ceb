//! Whole copies of a SQLite database: out of a file that is in use, and back into one.

use crate::migrations::SELECT_APPLIED;
use crate::sqlite::{FILE, connect, run};
use crate::{Db, StoreError};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Memory for the copy.
const CACHE_KIB: i32 = 4096;
/// All pages in one step: no write can come between.
const ALL_PAGES: i32 = -1;

/// What a backup holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Steps of the schema: (version, sha256 of its file).
    pub applied: Vec<(i64, String)>,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
}

impl Contents {
    /// The newest step of the schema.
    #[must_use]
    pub fn schema(&self) -> i64 {
        self.applied.iter().map(|(version, _)| *version).max().unwrap_or(0)
    }
}

/// Writes what is committed at this moment in the database in `data_dir` to an empty file. Writers
/// are not blocked, and deleted rows are not in it. Blocks.
///
/// # Errors
/// Any error of SQLite; [`StoreError::Config`] when there is no database.
pub fn copy_sqlite(data_dir: &Path, to: &Path) -> Result<(), StoreError> {
    let from = data_dir.join(FILE);
    if !from.exists() {
        return Err(StoreError::Config(format!("there is no {} (DATA_DIR)", from.display())));
    }
    let conn = connect(&from, CACHE_KIB)?;
    conn.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Ok(())
}

/// Reads a copy from its beginning to its end. Blocks.
///
/// # Errors
/// [`StoreError::Config`] when it is damaged, or none of ours.
pub fn inspect_sqlite(copy: &Path) -> Result<Contents, StoreError> {
    let conn = open_copy(copy)?;
    let verdict: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(StoreError::Config(format!("it is damaged: {verdict}")));
    }
    let (tables, _) = run(&conn, "SELECT name FROM sqlite_master WHERE type = 'table'", &[])?;
    let tables: Vec<String> = tables.iter().map(|row| row.get("name")).collect::<Result<_, _>>()?;
    let mut contents = Contents::default();
    for table in tables.into_iter().filter(|table| !table.starts_with("sqlite_")) {
        let sql = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
        let count: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
        contents.rows.insert(table, count.unsigned_abs());
    }
    if contents.rows.contains_key("schema_migrations") {
        let (applied, _) = run(&conn, SELECT_APPLIED, &[])?;
        let steps = applied.iter().map(|row| Ok((row.get("version")?, row.get("sha256")?)));
        contents.applied = steps.collect::<Result<_, StoreError>>()?;
    }
    Ok(contents)
}

/// Replaces the whole database with a copy, in one transaction.
///
/// # Errors
/// Any error of SQLite; the database is as it was then.
pub async fn replace_sqlite(db: &Db, copy: PathBuf) -> Result<(), StoreError> {
    let writer = db.sqlite().ok_or_else(|| StoreError::Other("this is no SQLite".to_owned()))?;
    writer
        .run(move |conn| {
            let source = open_copy(&copy)?;
            match Backup::new(&source, conn)?.step(ALL_PAGES)? {
                StepResult::Done => Ok(()),
                _ => Err(StoreError::Busy("the database is in use".to_owned())),
            }
        })
        .await?
}

fn open_copy(copy: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(copy, flags)?)
}
