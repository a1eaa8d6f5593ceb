//! The current configuration, following every change.

use crate::live_feed;
use crate::{Catalog, Db, Identities, Problem, Sealer, StoreError};
use arc_swap::ArcSwap;
use domain::Clock;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// Changes within this time are applied together.
pub(crate) const COALESCE: Duration = Duration::from_millis(50);
/// Everything is reloaded after this time, announced or not.
pub(crate) const SAFETY_NET: Duration = Duration::from_secs(60);

/// What requests need: routes and prices, keys and owners.
#[derive(Debug)]
pub struct Live {
    /// Channels and prices.
    pub catalog: ArcSwap<Catalog>,
    /// Keys and their owners.
    pub identities: Identities,
    /// Counts the requests to poll all tasks now.
    polls: watch::Sender<u64>,
    db: Db,
    sealer: Sealer,
    /// One load at a time, so that an older one never replaces a newer one.
    loading: tokio::sync::Mutex<HashSet<Problem>>,
}

impl Live {
    /// Checks `SECRET_KEY`, loads everything, and follows changes until `shutdown`.
    ///
    /// # Errors
    /// When the secret is wrong or the database can't be read.
    pub async fn start(
        db: Db,
        sealer: Sealer,
        clock: Clock,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, StoreError> {
        crate::verify_secret(&db, &sealer, clock.now()).await?;
        let live = Arc::new(Self {
            catalog: ArcSwap::default(),
            identities: Identities::new(db.clone()),
            polls: watch::Sender::new(0),
            db,
            sealer,
            loading: tokio::sync::Mutex::default(),
        });
        // Changes are listened for before everything is read, so that none falls in between.
        let feed = live_feed::Feed::open(&live.db).await?;
        live.reload_catalog().await?;
        let (writer, stop) = (Arc::clone(&live), shutdown.clone());
        tracker.spawn(roster::named("uses of keys", async move {
            writer.identities.uses.keep_writing(&writer.db, &clock, stop).await;
        }));
        let follower = Arc::clone(&live);
        tracker.spawn(roster::named("configuration feed", async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = live_feed::follow(&follower, feed) => {}
            }
        }));
        Ok(live)
    }

    /// Reloads everything now. When this returns, what was committed before is live here.
    ///
    /// # Errors
    /// When the database can't be read; the live configuration stays as it was.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.identities.clear();
        self.reload_catalog().await
    }

    /// Changes whenever any node requests that all tasks be polled now.
    #[must_use]
    pub fn polls(&self) -> watch::Receiver<u64> {
        self.polls.subscribe()
    }

    pub(crate) fn poll_requested(&self) {
        self.polls.send_modify(|count| *count += 1);
    }

    pub(crate) const fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) async fn reload_catalog(&self) -> Result<(), StoreError> {
        let mut reported = self.loading.lock().await;
        let started = Instant::now();
        let catalog = Catalog::load(&self.db, &self.sealer).await?;
        let problems: HashSet<Problem> = catalog.problems().iter().cloned().collect();
        for problem in problems.difference(&reported) {
            let Problem { table, row, why } = problem;
            warn!(target: "custompass", event = "bad_row", table, row, why);
        }
        for Problem { table, row, .. } in reported.difference(&problems) {
            info!(target: "custompass", event = "row_mended", table, row);
        }
        *reported = problems;
        tracing::debug!(
            channels = catalog.channels().len(),
            took_ms = started.elapsed().as_millis(),
            "catalog loaded"
        );
        self.catalog.store(Arc::new(catalog));
        Ok(())
    }
}
