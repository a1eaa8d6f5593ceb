//! `newapi health`: whether the server of this configuration answers; for containers, where there
//! is no `curl` to ask it.

use super::out;
use crate::config::{Config, from_process};
use crate::probe;
use anyhow::{Context, ensure};
use std::process::ExitCode;
use std::time::Duration;

/// How long an answer may take; the server gives its database three seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the running server on this machine how it is; exits 1 unless all is well.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

/// Runs it.
///
/// # Errors
/// When there is no answer, or none that says that all is well.
pub(super) async fn run(Args {}: Args) -> anyhow::Result<ExitCode> {
    let listening = Config::from_settings(&from_process()?)?.server.listen;
    let status = probe::status(listening, PATIENCE).await;
    let status = status.with_context(|| format!("{listening}: GET /readyz"))?;
    ensure!(status == 200, "{listening}: GET /readyz answers {status}");
    out::line("ok");
    Ok(ExitCode::SUCCESS)
}
