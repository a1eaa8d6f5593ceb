//! Backups of the database: one file, of one moment, made while the server runs.
//!
//! PostgreSQL's is plain SQL behind gzip, which `gunzip -c FILE | psql` restores as well. SQLite's
//! is the database's file behind gzip. What can't be read back to its end is neither kept nor
//! restored.

mod archive;
mod postgres;
mod sql;

use crate::config::DatabaseConfig;
use anyhow::{Context, bail};
use archive::Draft;
use std::io;
use std::path::{Path, PathBuf};
use store::{Contents, Db, Engine, Migration};
use tempfile::NamedTempFile;

/// What a SQLite file begins with.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// A backup that was made.
pub struct Made {
    /// Its length.
    pub bytes: u64,
    /// Of which engine it is.
    pub engine: Engine,
    /// What is in it.
    pub contents: Contents,
}

/// How the names of an engine's backups end.
pub const fn suffix(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => ".sql.gz",
        Engine::Sqlite => ".db.gz",
    }
}

/// The engine of the configured database.
///
/// # Errors
/// When `SQL_DSN` can't be read.
pub fn engine(database: &DatabaseConfig) -> anyhow::Result<Engine> {
    let postgres = store::libpq_env(database.dsn.as_deref())?.is_some();
    Ok(if postgres { Engine::Postgres } else { Engine::Sqlite })
}

/// Writes a backup to `file`, which must not be there yet. Blocks.
///
/// # Errors
/// When the database or the file can't be used; there is no file then.
pub fn make(database: &DatabaseConfig, file: &Path) -> anyhow::Result<Made> {
    if file.exists() {
        bail!("{} is there already", file.display());
    }
    let dir = archive::dir_of(file);
    let mut draft = Draft::beside(file)?;
    match store::libpq_env(database.dsn.as_deref())? {
        Some(env) => postgres::dump(&env, dir, &mut draft)?,
        None => {
            let copy = archive::scratch(dir)?;
            store::copy_sqlite(&database.data_dir, copy.path())?;
            io::copy(&mut copy.reopen()?, &mut draft).context("the copy can't be read")?;
        }
    }
    let draft = draft.finish()?;
    let read = Backup::open(draft.path(), dir).context("the backup can't be read back")?;
    let bytes = draft.as_file().metadata()?.len();
    archive::place(draft, file)?;
    Ok(Made { bytes, engine: read.engine, contents: read.contents })
}

/// A backup that was read to its end, and found whole.
pub struct Backup {
    /// Of which engine it is.
    pub engine: Engine,
    /// What is in it.
    pub contents: Contents,
    file: PathBuf,
    /// SQLite's file, unpacked.
    unpacked: Option<NamedTempFile>,
}

impl Backup {
    /// Reads it all; what has to be unpacked for that goes to `scratch`. Blocks.
    ///
    /// # Errors
    /// When it is damaged, cut off, or no backup.
    pub fn open(file: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let mut packed = archive::open(file)?;
        let (engine, contents, unpacked) = if archive::begins_with(&mut packed, SQLITE_MAGIC)? {
            let mut unpacked = archive::scratch(scratch)?;
            io::copy(&mut packed, &mut unpacked).context("it can't be unpacked")?;
            (Engine::Sqlite, store::inspect_sqlite(unpacked.path())?, Some(unpacked))
        } else {
            (Engine::Postgres, sql::inspect(packed)?, None)
        };
        if contents.applied.is_empty() {
            bail!("it is no backup of newapi: no step of the schema is in it");
        }
        Ok(Self { engine, contents, file: file.to_owned(), unpacked })
    }

    /// What the schema in it still needs for this program.
    ///
    /// # Errors
    /// When it is of a newer or an altered newapi.
    pub fn migrations(&self) -> anyhow::Result<Vec<Migration>> {
        let missing = store::migrations_for(self.engine, &self.contents.applied);
        missing.context("this backup is not for this newapi")
    }

    /// Puts it in the place of all that is in the database: wholly, or not at all.
    ///
    /// # Errors
    /// What the database says.
    pub async fn load(self, database: &DatabaseConfig, db: &Db) -> anyhow::Result<()> {
        if let Some(unpacked) = &self.unpacked {
            return Ok(store::replace_sqlite(db, unpacked.path().to_owned()).await?);
        }
        let env = store::libpq_env(database.dsn.as_deref())?.context("this is no PostgreSQL")?;
        tokio::task::spawn_blocking(move || postgres::load(&env, archive::open(&self.file)?))
            .await?
    }
}
