//! Handling of the operator's signals.

use crate::supervisor;
use crate::wiring::LiveSettings;
use oplog::Lines;
use std::sync::Arc;
use tasks::Tasks;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Ends when `SIGTERM` or `SIGINT` asks this process to stop. It counts from this call on, not from
/// the first poll.
pub(crate) fn stop_requested() -> impl Future<Output = ()> {
    let signals = on(SignalKind::terminate()).ok().zip(on(SignalKind::interrupt()).ok());
    async {
        let Some((mut term, mut int)) = signals else {
            // Without handlers the signals keep their usual effect: they end the process.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}

/// Runs `work`, and drops it with all its resources on a signal to stop.
///
/// # Errors
/// The work's own, and when it was stopped.
pub(crate) async fn unless_stopped<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        () = stop_requested() => anyhow::bail!("stopped by a signal"),
    }
}

/// Handles the signals other than those to stop, until `end`. They are caught from this call
/// on.
pub(crate) fn follow(
    lines: Option<Lines>,
    settings: Arc<LiveSettings>,
    tasks: Arc<Tasks>,
    end: CancellationToken,
) -> impl Future<Output = ()> {
    let signals = on(SignalKind::hangup()).ok().zip(on(SignalKind::user_defined1()).ok());
    async move {
        if let Some((hangup, poll)) = signals {
            follow_both(hangup, poll, lines, settings, tasks, end).await;
        }
    }
}

async fn follow_both(
    mut hangup: Signal,
    mut poll: Signal,
    lines: Option<Lines>,
    settings: Arc<LiveSettings>,
    tasks: Arc<Tasks>,
    end: CancellationToken,
) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = hangup.recv() => {
                supervisor::reload(|| {
                    lines.iter().for_each(Lines::reopen);
                    settings.reload();
                });
                tracing::info!(target: "custompass", event = "log_reopened");
            }
            _ = poll.recv() => {
                tracing::info!(target: "custompass", event = "poll_requested");
                tasks.poll_now();
            }
        }
    }
}

fn on(kind: SignalKind) -> std::io::Result<Signal> {
    signal(kind).inspect_err(|error| {
        tracing::warn!(target: "custompass", event = "signal_not_followed", %error);
    })
}
