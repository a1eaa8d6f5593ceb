//! `newapi backup`: the database in one file, while the server runs.

use super::{out, tools};
use crate::backup::{self, Made};
use crate::config::DatabaseConfig;
use crate::{secret, signals, wiring};
use anyhow::{Context, bail};
use domain::UnixMs;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::Engine;

/// What the name of a backup in a directory begins with.
const PREFIX: &str = "newapi-";

/// Writes a backup of the database, of one moment, while the server runs.
///
/// PostgreSQL (pg_dump has to be on the PATH): SQL behind gzip, which `newapi restore FILE` reads,
/// and `gunzip -c FILE | psql`. SQLite: the database's file behind gzip. The backup is read back to
/// its end before it gets its name. SECRET_KEY is not in it.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// A file that is not there yet, or a directory: there it is called newapi-TIME, and the link
    /// `latest` leads to it. Not given: DATA_DIR/backups.
    to: Option<PathBuf>,
    /// Keep only so many of the backups in the directory, the newest.
    #[arg(long)]
    keep: Option<NonZeroUsize>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When database or file can't be used.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    signals::unless_stopped(write(&args)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn write(args: &Args) -> anyhow::Result<()> {
    let database = tools::config()?.database;
    let engine = backup::engine(&database)?;
    let (file, made) = match directory(args, &database)? {
        None => {
            let file = args.to.clone().unwrap_or_default();
            if args.keep.is_some() {
                bail!("--keep is for a directory of backups, and {} is none", file.display());
            }
            let made = backup::make(&database, &file).await?;
            (file, made)
        }
        Some(dir) => {
            let file = dir.join(name(PREFIX, wiring::system_clock().now(), engine));
            let made = backup::make(&database, &file).await?;
            link_latest(&dir, &file, engine)?;
            if let Some(keep) = args.keep {
                remove_old(&dir, engine, keep)?;
            }
            (file, made)
        }
    };
    show(args, &database, &file, &made)
}

/// The directory to write in; none when a file was named.
fn directory(args: &Args, database: &DatabaseConfig) -> anyhow::Result<Option<PathBuf>> {
    match &args.to {
        Some(to) => Ok(to.is_dir().then(|| to.clone())),
        None => {
            let dir = database.db.data_dir.join("backups");
            secret::make_data_dir(&dir)?;
            Ok(Some(dir))
        }
    }
}

/// Returns a name that contains the time, so that names sort chronologically.
pub(super) fn name(prefix: &str, now: UnixMs, engine: Engine) -> String {
    let at = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
    format!("{prefix}{}{}", at.strftime("%Y%m%dT%H%M%S.%3fZ"), backup::suffix(engine))
}

/// `latest.sql.gz` always leads to a backup that is whole.
fn link_latest(dir: &Path, file: &Path, engine: Engine) -> anyhow::Result<()> {
    let name = file.file_name().unwrap_or_default();
    let draft = dir.join(format!(".latest-{}", std::process::id()));
    symlink(name, &draft)
        .and_then(|()| fs::rename(&draft, dir.join(format!("latest{}", backup::suffix(engine)))))
        .with_context(|| format!("{} can't be linked as the latest", file.display()))
}

fn remove_old(dir: &Path, engine: Engine, keep: NonZeroUsize) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && name.ends_with(backup::suffix(engine)) {
            names.push(name);
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    for old in names.iter().skip(keep.get()) {
        fs::remove_file(dir.join(old)).with_context(|| format!("{old} can't be removed"))?;
    }
    Ok(())
}

fn show(args: &Args, database: &DatabaseConfig, file: &Path, made: &Made) -> anyhow::Result<()> {
    let schema = made.contents.schema();
    let secret = match &database.secret_key {
        Some(_) => "the setting SECRET_KEY".to_owned(),
        None => format!("SECRET_KEY, in {}", secret::path(&database.db.data_dir).display()),
    };
    if args.json {
        return out::json(&json!({
            "file": file,
            "bytes": made.bytes,
            "engine": format!("{:?}", made.engine).to_lowercase(),
            "schema": schema,
            "rows": made.contents.rows,
            "not_in_it": secret,
        }));
    }
    out::line(file.display());
    let engine = made.engine;
    out::line(format_args!("{} bytes, {engine:?}, schema {schema}, read back whole", made.bytes));
    out::line(format_args!("rows: {}", rows(&made.contents.rows)));
    out::line(format_args!(
        "not in it: {secret}. Keep it elsewhere: without it the channels' keys can't be read"
    ));
    Ok(())
}

/// How many rows the tables have that have any.
pub(super) fn rows(counts: &BTreeMap<String, u64>) -> String {
    let filled = counts.iter().filter(|(_, count)| **count > 0);
    let rows: Vec<String> = filled.map(|(table, count)| format!("{table} {count}")).collect();
    rows.join(", ")
}
