//! `newapi poll`: polls all unfinished tasks now.

use super::{out, tools};
use std::process::ExitCode;

/// Ask all serving nodes to poll all unfinished tasks now, instead of at their time.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

/// Runs it.
///
/// # Errors
/// When the database doesn't answer.
pub(super) async fn run(_: Args) -> anyhow::Result<ExitCode> {
    let db = tools::database(&tools::config()?).await?;
    store::request_poll(&db).await?;
    out::line("all nodes that serve were asked to poll their tasks");
    db.close().await;
    Ok(ExitCode::SUCCESS)
}
