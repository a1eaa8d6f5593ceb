//! Who keeps the link to Redis: makes it, looks after it while nobody asks, and makes it again.

use crate::shared::{Link, Shared};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Between two tries to connect, and between two looks at a link that nobody complains of.
const PAUSE: Duration = Duration::from_secs(1);

impl Shared {
    /// Keeps the link until `shutdown`. It says when Redis comes and goes, and not how often it
    /// was tried in between.
    ///
    /// The client's own connection manager would make calls wait while it connects; here they
    /// learn at once that there is no link.
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

    /// Lets calls use the link until it breaks.
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
