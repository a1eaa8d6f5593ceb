//! `newapi serve`: the service, until a signal ends it.

use super::{Followed, Loaded, block_on, out, serving_runtime};
use crate::config::{self, Config};
use crate::wiring::{self, Service};
use crate::{signals, supervisor};
use anyhow::Context;
use std::pin::pin;
use std::process::ExitCode;

/// Serves.
///
/// # Errors
/// When it can't start.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let settings = config::from_process()?;
    let config = Config::from_settings(&settings)?;
    let (log, levels) = oplog::install(&config.log, wiring::system_clock())?;
    wiring::log_panics();
    let runtime = serving_runtime(config.server.worker_threads).context("threads can't be made")?;
    let in_file = config.log.file.is_some();
    let read = Box::new(config::from_process_under);
    let followed = Followed { settings, read, levels };
    let loaded = Loaded { config, followed, lines: Some(log.lines()) };
    let ended = block_on(runtime, serve(loaded));
    if let Err(error) = &ended
        && in_file
    {
        // Standard error shows it too; but who has named a file looks there.
        let error = format!("{error:#}");
        tracing::error!(target: "custompass", event = "start_failed", error);
    }
    log.close();
    ended
}

async fn serve(loaded: Loaded) -> anyhow::Result<ExitCode> {
    for name in config::unknown_in_process() {
        tracing::warn!(target: "custompass", event = "setting_unknown", name);
    }
    for (name, why) in config::meaningless_in_process() {
        tracing::warn!(target: "custompass", event = "setting_without_effect", name, why);
    }
    if loaded.config.diagnostics.is_some() {
        // Before anything is made that holds memory.
        profiles::start_sampling().await;
    }
    // Signals are handled before the first call can arrive, and before readiness is announced.
    let mut stop = pin!(signals::stop_requested());
    let service = tokio::select! {
        biased;
        started = Box::pin(Service::start(loaded)) => started?,
        // Nothing is under way yet; what a migration has begun is rolled back.
        () = &mut stop => return Ok(ExitCode::SUCCESS),
    };
    if let Some(note) = &service.first_run_note {
        out::line(note);
    }
    let supervised = supervisor::serving(service.address, service.max_connections);
    stop.await;
    supervised.stopping();
    tokio::select! {
        () = service.stop() => {}
        // Asked twice: what is under way is left to the sweeper of the next start.
        () = signals::stop_requested() => {
            tracing::warn!(target: "custompass", event = "stopped_at_once");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
