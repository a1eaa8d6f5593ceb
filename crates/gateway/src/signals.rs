//! What the operator's signals ask for.

use crate::logging::Lines;
use crate::supervisor;
use std::sync::Arc;
use tasks::Tasks;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns when `SIGTERM` or `SIGINT` asks this process to stop.
pub async fn stop_requested() {
    let (Ok(mut term), Ok(mut int)) = (on(SignalKind::terminate()), on(SignalKind::interrupt()))
    else {
        // Without handlers the signals keep their usual effect: they end the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Follows the signals that ask for something else than stopping, until `end`.
pub async fn follow(lines: Option<Lines>, tasks: Arc<Tasks>, end: CancellationToken) {
    let (Ok(mut hangup), Ok(mut poll)) =
        (on(SignalKind::hangup()), on(SignalKind::user_defined1()))
    else {
        return;
    };
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = hangup.recv() => {
                supervisor::reload(|| lines.iter().for_each(Lines::reopen));
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
    signal(kind).inspect_err(|error| tracing::warn!(%error, "a signal can't be followed"))
}
