//! `newapi migrate`: the schema, without serving.

use super::{out, tools};
use std::process::ExitCode;

/// Brings the database's schema up to date (a start does so by itself).
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Change nothing; exit 1 if anything is to be done.
    #[arg(long)]
    check: bool,
}

/// Runs it.
///
/// # Errors
/// When the database can't be reached or migrated.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = tools::config()?;
    let db = tools::unmigrated(&config).await?;
    if args.check {
        let pending = db.pending_migrations().await?;
        for migration in &pending {
            out::line(format_args!("pending: {} {}", migration.version, migration.name));
        }
        if pending.is_empty() {
            out::line("the schema is up to date");
            return Ok(ExitCode::SUCCESS);
        }
        return Ok(ExitCode::FAILURE);
    }
    let applied = db.migrate().await?;
    for migration in &applied {
        out::line(format_args!("applied: {} {}", migration.version, migration.name));
    }
    if applied.is_empty() {
        out::line("the schema was up to date");
    }
    Ok(ExitCode::SUCCESS)
}
