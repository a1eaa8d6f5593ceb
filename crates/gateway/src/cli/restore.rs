//! `newapi restore`: a backup back into the database.

use super::{audit, backup::name, backup::rows, out, tools};
use crate::backup::{self, Backup};
use crate::config::Config;
use crate::{secret, signals, wiring};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use store::{Catalog, Db, Sealer, StoreError, nodes};

/// What the backup of that which is replaced is called.
const KEPT: &str = "before-restore-";

/// Puts a backup back, with the server stopped: wholly, or not at all.
///
/// The schema is brought up to date, and the audit tells whether every balance is right: exit
/// status 1 on any breach. What the server held for calls when the backup was made is given back
/// once a server starts.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// A file that `newapi backup` has made.
    file: PathBuf,
    /// Replace what is in the database. A backup of that is made first, in DATA_DIR/backups.
    #[arg(long)]
    replace: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What came of it, but for the audit.
#[derive(Default, serde::Serialize)]
struct Restored {
    file: PathBuf,
    /// The backup of what was there before.
    kept: Option<PathBuf>,
    schema: i64,
    migrated: Vec<&'static str>,
    rows: BTreeMap<String, u64>,
    /// What the secret key here can't open.
    warnings: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When backup or database can't be used; nothing was changed then, except that what is said to
/// be restored was.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    signals::unless_stopped(put_back(args)).await
}

async fn put_back(args: Args) -> anyhow::Result<ExitCode> {
    let config = tools::config()?;
    let db = tools::unmigrated(&config).await?;
    let backup = read(&args, &config, &db).await?;
    let rows = backup.contents.rows.clone();
    let mut restored = Restored { file: args.file.clone(), rows, ..Restored::default() };
    refuse_beside_a_server(&db).await?;
    restored.kept = keep_what_is_there(&args, &config, &db).await?;

    backup.load(&config.database, &db).await.context("nothing was restored")?;

    let migrated = db.migrate().await.context("it is restored; its schema is not up to date")?;
    restored.migrated = migrated.iter().map(|step| step.name).collect();
    restored.schema = store::newest_schema(db.engine());
    restored.warnings = secret_warnings(&config, &db).await?;
    let report = ledger::audit(&db, wiring::system_clock().now()).await?;
    db.close().await;
    if args.json {
        out::json(&serde_json::json!({ "restored": restored, "audit": report }))?;
    } else {
        show(&restored);
        audit::show(&report);
    }
    Ok(if report.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The backup, if it can go into this database.
async fn read(args: &Args, config: &Config, db: &Db) -> anyhow::Result<Backup> {
    let opened = Backup::open(&args.file, &config.database.db.data_dir).await;
    let backup = opened.with_context(|| format!("{} can't be used", args.file.display()))?;
    let (of, here) = (backup.engine, db.engine());
    if of != here {
        bail!("{} is a backup of {of:?}, and this database is {here:?}", args.file.display());
    }
    backup.migrations()?;
    Ok(backup)
}

/// A server that uses the database would keep working with its stale caches.
async fn refuse_beside_a_server(db: &Db) -> anyhow::Result<()> {
    match db.engine() {
        // Also keeps one from starting meanwhile.
        store::Engine::Sqlite => db.lock_for_serving().await.context("stop the server first"),
        store::Engine::Postgres => {
            let alive = nodes::alive(db, wiring::system_clock().now()).await?;
            match alive.as_slice() {
                [] => Ok(()),
                names => bail!(
                    "stop the server first: {} works with this database (one that was killed is \
                     seen for another 15 s)",
                    names.join(", ")
                ),
            }
        }
    }
}

/// A backup of what is to be replaced; none when there is nothing.
async fn keep_what_is_there(
    args: &Args,
    config: &Config,
    db: &Db,
) -> anyhow::Result<Option<PathBuf>> {
    if !db.has_tables().await? {
        return Ok(None);
    }
    if !args.replace {
        bail!("the database is not empty: with --replace it is kept as a backup, and replaced");
    }
    let dir = config.database.db.data_dir.join("backups");
    secret::make_data_dir(&dir)?;
    let kept = dir.join(name(KEPT, wiring::system_clock().now(), db.engine()));
    let made = backup::make(&config.database, &kept).await;
    made.context("what is there can't be kept, so it is not replaced")?;
    Ok(Some(kept))
}

/// What the secret key of this installation can't open in the restored database.
async fn secret_warnings(config: &Config, db: &Db) -> anyhow::Result<Vec<String>> {
    let database = &config.database;
    let Some(key) = secret::load(database.secret_key.as_deref(), &database.db.data_dir)? else {
        let place = secret::path(&database.db.data_dir);
        return Ok(vec![format!(
            "there is no SECRET_KEY here: set the one that the backup was made with, or put its \
             secret.key at {}, before the server starts",
            place.display()
        )]);
    };
    let sealer = Sealer::new(&key);
    match store::verify_secret(db, &sealer, wiring::system_clock().now()).await {
        Ok(()) => {}
        Err(error @ StoreError::WrongSecret) => return Ok(vec![error.to_string()]),
        Err(error) => return Err(error.into()),
    }
    let catalog = Catalog::load(db, &sealer).await?;
    let problems = catalog.problems().iter();
    Ok(problems.map(|it| format!("{} {}: {}", it.table, it.row, it.why)).collect())
}

fn show(restored: &Restored) {
    out::line(format_args!("restored {}: {}", restored.file.display(), rows(&restored.rows)));
    if let Some(kept) = &restored.kept {
        out::line(format_args!("what was there before: {}", kept.display()));
    }
    for step in &restored.migrated {
        out::line(format_args!("applied: {step}"));
    }
    for warning in &restored.warnings {
        out::line(format_args!("! {warning}"));
    }
}
