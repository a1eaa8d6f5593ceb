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
use tempfile::{NamedTempFile, TempDir};
use tokio::task::spawn_blocking;

/// What a SQLite file begins with.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// A backup that was made.
pub(crate) struct Made {
    /// Its length.
    pub bytes: u64,
    /// Of which engine it is.
    pub engine: Engine,
    /// What is in it.
    pub contents: Contents,
}

/// How the names of an engine's backups end.
pub(crate) const fn suffix(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => ".sql.gz",
        Engine::Sqlite => ".db.gz",
    }
}

/// The engine of the configured database.
///
/// # Errors
/// When `SQL_DSN` can't be read.
pub(crate) fn engine(database: &DatabaseConfig) -> anyhow::Result<Engine> {
    let postgres = store::libpq(database.db.dsn.as_deref())?.is_some();
    Ok(if postgres { Engine::Postgres } else { Engine::Sqlite })
}

/// Writes a backup to `file`, which must not be there yet. Dropped before its end, it leaves
/// nothing behind.
///
/// # Errors
/// When the database or the file can't be used; there is no file then.
pub(crate) async fn make(database: &DatabaseConfig, file: &Path) -> anyhow::Result<Made> {
    if file.exists() {
        bail!("{} is there already", file.display());
    }
    let room = archive::room(archive::dir_of(file))?;
    let draft = Draft::begin(room.path())?;
    let draft = match store::libpq(database.db.dsn.as_deref())? {
        Some(server) => postgres::dump(server, room.path(), draft).await?,
        None => copy_sqlite(database.db.data_dir.clone(), room.path().to_owned(), draft).await?,
    };
    let draft = draft.finish()?;
    let read = Backup::open(draft.path(), room.path()).await;
    let read = read.context("the backup can't be read back")?;
    let bytes = draft.as_file().metadata()?.len();
    archive::place(draft, file)?;
    Ok(Made { bytes, engine: read.engine, contents: read.contents })
}

async fn copy_sqlite(from: PathBuf, room: PathBuf, mut draft: Draft) -> anyhow::Result<Draft> {
    let copied = spawn_blocking(move || {
        let copy = archive::scratch(&room)?;
        store::copy_sqlite(&from, copy.path())?;
        io::copy(&mut copy.reopen()?, &mut draft).context("the copy can't be read")?;
        Ok(draft)
    });
    copied.await?
}

/// A backup that was read to its end, and found whole.
pub(crate) struct Backup {
    /// Of which engine it is.
    pub engine: Engine,
    /// What is in it.
    pub contents: Contents,
    file: PathBuf,
    /// SQLite's file, unpacked.
    unpacked: Option<NamedTempFile>,
    /// Where that lies. After it, because fields are dropped in order.
    room: TempDir,
}

impl Backup {
    /// Reads it all; what has to be unpacked for that goes to `scratch`.
    ///
    /// # Errors
    /// When it is damaged, cut off, or no backup.
    pub(crate) async fn open(file: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let room = archive::room(scratch)?;
        let (packed, to) = (file.to_owned(), room.path().to_owned());
        let (engine, contents, unpacked) = spawn_blocking(move || read(&packed, &to)).await??;
        if contents.applied.is_empty() {
            bail!("it is not a backup of newapi: no version of the schema is in it");
        }
        Ok(Self { engine, contents, file: file.to_owned(), unpacked, room })
    }

    /// What the schema in it still needs for this program.
    ///
    /// # Errors
    /// When it is of a newer or an altered newapi.
    pub(crate) fn migrations(&self) -> anyhow::Result<Vec<Migration>> {
        let missing = store::migrations_for(self.engine, &self.contents.applied);
        missing.context("this backup is not for this newapi")
    }

    /// Replaces the whole content of the database with it, completely or not at all.
    ///
    /// # Errors
    /// When the database refuses it.
    pub(crate) async fn load(self, database: &DatabaseConfig, db: &Db) -> anyhow::Result<()> {
        if let Some(unpacked) = &self.unpacked {
            return Ok(store::replace_sqlite(db, unpacked.path().to_owned()).await?);
        }
        let server = store::libpq(database.db.dsn.as_deref())?.context("this is no PostgreSQL")?;
        postgres::load(server, self.room.path(), archive::open(&self.file)?).await
    }
}

/// What a backup is of, what is in it, and SQLite's file.
fn read(file: &Path, room: &Path) -> anyhow::Result<(Engine, Contents, Option<NamedTempFile>)> {
    let mut packed = archive::open(file)?;
    if !archive::begins_with(&mut packed, SQLITE_MAGIC)? {
        return Ok((Engine::Postgres, sql::inspect(packed)?, None));
    }
    let mut unpacked = archive::scratch(room)?;
    io::copy(&mut packed, &mut unpacked).context("it can't be unpacked")?;
    Ok((Engine::Sqlite, store::inspect_sqlite(unpacked.path())?, Some(unpacked)))
}
