//! Keeps the connection to Redis: opens it, checks it while it is idle, and reconnects.

use crate::shared::{Link, Shared};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Delay between two attempts to connect, and between two checks of a connection that has no
/// failures.
const PAUSE: Duration = Duration::from_secs(1);

impl Shared {
    /// Keeps the connection until `shutdown`. It logs when Redis becomes available or unavailable,
    /// and not each attempt in between.
    ///
    /// The client's own connection manager would make calls wait while it connects; here they fail
    /// at once while there is no connection.
    pub async fn keep(self: Arc<Self>, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.keep_on()).await;
        self.put(None);
    }

    async fn keep_on(&self) {
        let mut said_away = false;
        loop {
            match self.connect().await {
                Ok(link) => {
                    tracing::info!(target: "custompass", event = "redis_up");
                    self.serve(Arc::new(link)).await;
                    said_away = true;
                }
                Err(error) if !said_away => {
                    said_away = true;
                    away(&error.to_string());
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }

    /// Lets calls use the connection until it breaks.
    async fn serve(&self, link: Arc<Link>) {
        self.put(Some(Arc::clone(&link)));
        loop {
            tokio::select! {
                () = link.given_up() => break,
                () = sleep(PAUSE) => {}
            }
            if let Err(error) = self.probe(&link).await {
                link.give_up(&error);
            }
        }
        self.put(None);
        away(link.why());
    }
}

fn away(error: &str) {
    tracing::warn!(target: "custompass", event = "redis_away", error);
}
