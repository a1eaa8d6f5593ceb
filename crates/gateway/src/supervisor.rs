//! Notifications to systemd (sd_notify): that this process serves, reloads, stops, and is alive.
//! Without `NOTIFY_SOCKET` nothing is sent, and nothing else changes.

use crate::{probe, process};
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Beats within the time that systemd allows between two, so that a late one is no death.
const BEATS: u32 = 3;

/// Ends the heartbeat when dropped.
#[derive(Debug)]
pub(crate) struct Supervised {
    stopping: CancellationToken,
    _end: DropGuard,
}

/// Reports that `address` is served, and starts the heartbeat if a watchdog is configured.
/// `max_connections` is how many connections are served at a time.
pub(crate) fn serving(address: SocketAddr, max_connections: usize) -> Supervised {
    ready(&format!("serving on {address}"));
    let (stopping, end) = (CancellationToken::new(), CancellationToken::new());
    if let Some(within) = sd_notify::watchdog_enabled() {
        let beats = beat(address, max_connections, within / BEATS, stopping.clone());
        let ended = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = beats => {}
            }
        });
    }
    Supervised { stopping, _end: end.drop_guard() }
}

impl Supervised {
    /// Reports that the service is stopping. The heartbeat continues: a stop has its own deadline.
    pub(crate) fn stopping(&self) {
        self.stopping.cancel();
        say(&[
            NotifyState::Stopping,
            NotifyState::Status("finishing and settling what is under way"),
        ]);
    }
}

/// Runs the reload on `SIGHUP`, between the notifications of its start and its end.
pub(crate) fn reload(work: impl FnOnce()) {
    let mut said = vec![NotifyState::Reloading];
    said.extend(NotifyState::monotonic_usec_now().ok());
    say(&said);
    work();
    say(&[NotifyState::Ready]);
}

fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Beats as long as requests are answered. One that is answered "the database is away" counts: a
/// restart would not bring the database back, and would cut the calls that are under way.
async fn beat(
    address: SocketAddr,
    max_connections: usize,
    pause: Duration,
    stopping: CancellationToken,
) {
    let mut last = "";
    loop {
        let status = match probe::status(address, pause).await {
            _ if stopping.is_cancelled() => "",
            Ok(200) => "serving",
            Ok(_) => "serving, but not ready: GET /readyz says why",
            // Then the probe itself waits for a connection: busy, not dead.
            Err(_) if is_full(max_connections) => "serving as many connections as it may",
            Err(error) => {
                tracing::error!(target: "custompass", event = "watchdog", %error);
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        say(&[NotifyState::Watchdog]);
        if status != last && !status.is_empty() {
            say(&[NotifyState::Status(status)]);
            last = status;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Whether there may be as many clients as are served. Other descriptors count too: of the two
/// errors, cutting calls that are paid for is the worse one.
fn is_full(max_connections: usize) -> bool {
    let open = process::open_descriptors().and_then(|count| usize::try_from(count).ok());
    open.is_none_or(|count| count >= max_connections)
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(target: "custompass", event = "notify_failed", %error);
    }
}
