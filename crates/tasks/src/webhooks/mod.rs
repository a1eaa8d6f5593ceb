//! Notifies users that a task has ended, or that their balance is low: the sender of a node.
//!
//! The outbox is `webhook_deliveries`. The ledger writes its rows in the transaction that ends a
//! task, and [`low_balance`] those about balances; every node claims what is due and attempts it
//! ([`claim`], [`deliver`]). A delivery is made at least once: if a node dies between the
//! endpoint's reply and recording it, the delivery is repeated, under the same `webhook-id`.

mod claim;
mod deliver;
mod low_balance;
mod message;
mod metrics;
mod parcel;
mod retry;
mod signature;

use crate::Parts;
use claim::{DeliveryClaim, UnderWay};
use domain::UserId;
use metrics::Metrics;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Db, StoreError};
use tokio::sync::Mutex;
use tokio::task::{Id, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Concurrent deliveries of one node.
const MAX_IN_FLIGHT: usize = 64;
/// How often an idle sender polls the outbox.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often pending deliveries are counted, and up to how many.
const COUNT_EVERY: Duration = Duration::from_secs(15);
const COUNTED: i64 = 100_000;
/// How long a stop waits for deliveries in flight. The rest is repeated when its claim has expired.
const GRACE: Duration = Duration::from_secs(2);

/// The sender of this node.
pub(crate) struct Webhooks {
    metrics: Arc<Metrics>,
}

pub(crate) fn start(
    parts: Parts,
    jobs: &TaskTracker,
    shutdown: &CancellationToken,
) -> Arc<Webhooks> {
    let metrics = Arc::<Metrics>::default();
    let (counted, db) = (Arc::clone(&metrics), parts.db.clone());
    let counting = shutdown.clone().run_until_cancelled_owned(count(db, counted));
    jobs.spawn(roster::named("webhook count", counting));
    let watching = shutdown.clone().run_until_cancelled_owned(low_balance::watch(parts.clone()));
    jobs.spawn(roster::named("low balance", watching));
    let sender = Sender {
        parts,
        metrics: Arc::clone(&metrics),
        in_flight: JoinSet::new(),
        whose: HashMap::new(),
        under_way: UnderWay::default(),
        packing: Arc::default(),
        more: false,
    };
    jobs.spawn(roster::named("webhooks", sender.run(shutdown.clone())));
    Arc::new(Webhooks { metrics })
}

impl Webhooks {
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }
}

struct Sender {
    parts: Parts,
    metrics: Arc<Metrics>,
    /// Deliveries in flight. They are tasks of their own: one that waits for the database must not
    /// keep a connection while a claim waits for one.
    in_flight: JoinSet<()>,
    /// The endpoint and the owner of each.
    whose: HashMap<Id, (i64, UserId)>,
    /// How many of them go to each endpoint, and belong to each user.
    under_way: UnderWay,
    /// Large results are prepared one by one.
    packing: Arc<Mutex<()>>,
    /// The last claim left something for lack of capacity.
    more: bool,
}

impl Sender {
    async fn run(mut self, shutdown: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = look.tick() => self.take().await,
                Some(ended) = self.in_flight.join_next_with_id() => {
                    self.ended(ended.map_or_else(|panicked| panicked.id(), |(id, ())| id));
                    if self.more {
                        self.take().await;
                    }
                }
            }
        }
        let rest = async { while self.in_flight.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, rest).await;
    }

    /// Claims what is due, as far as there is capacity.
    async fn take(&mut self) {
        let room = MAX_IN_FLIGHT.saturating_sub(self.in_flight.len());
        if room == 0 {
            return;
        }
        let now = self.parts.clock.now();
        match claim::claim(&self.parts.db, now, room, &self.under_way).await {
            Ok(claimed) => {
                self.more = claimed.more;
                claimed.claims.into_iter().for_each(|claim| self.begin(claim));
            }
            Err(error) => {
                self.more = false;
                tracing::warn!(target: "custompass", event = "webhooks_stalled", %error);
            }
        }
    }

    fn begin(&mut self, claim: DeliveryClaim) {
        self.under_way.begins(claim.endpoint_id, claim.user_id);
        let (parts, metrics) = (self.parts.clone(), Arc::clone(&self.metrics));
        let packing = Arc::clone(&self.packing);
        let delivery = async move { deliver::attempt(&parts, &metrics, claim, &packing).await };
        let task = self.in_flight.spawn(roster::named("webhook", delivery));
        self.whose.insert(task.id(), (claim.endpoint_id, claim.user_id));
    }

    fn ended(&mut self, task: Id) {
        if let Some((endpoint_id, user_id)) = self.whose.remove(&task) {
            self.under_way.ends(endpoint_id, user_id);
        }
    }
}

/// Updates the gauge of pending deliveries.
async fn count(db: Db, metrics: Arc<Metrics>) {
    let mut pause = interval(COUNT_EVERY);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        // On an error the gauge keeps its value: that the database is unavailable is reported
        // elsewhere.
        if let Ok(pending) = pending(&db).await {
            metrics.pending.set(pending);
        }
    }
}

async fn pending(db: &Db) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) AS n FROM
               (SELECT 1 FROM webhook_deliveries WHERE state = 'pending' LIMIT $1) AS counted";
    let rows = db.read(sql, &[COUNTED.into()]).await?;
    rows.first().map_or(Ok(0), |row| row.get("n"))
}
