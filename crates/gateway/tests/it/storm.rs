//! Everything at once: successful calls, failing and truncated ones, clients that disconnect,
//! balances that run out, and kills in between. The books are right in every case.
//!
//! `STORM_SEED` selects another sequence.

use crate::world::{Payer, World, by_use, fixed};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use testkit::{Call, Reply, Step, TestDb, json, on_both_databases};

const CALLS: usize = 60;
const WORKERS: usize = 8;

/// The models of the storm, and whether a reply read to its end is a paid one.
const MODELS: &[(&str, bool)] = &[
    ("fixed", true),
    ("used", true),
    ("stream", true),
    ("free", false),
    ("fails", false),
    ("refuses", false),
    ("cut", false),
    ("drops", false),
    ("large", true),
];

async fn build(world: &World) {
    let one = "{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}";
    world.model("fixed", fixed(13), Reply::text("ok")).await;
    world.model("used", by_use(), Reply::result(5, 6)).await;
    world.upstream.on_estimate("/used", Reply::estimate(5, 50), Reply::result(5, 6));
    world.model("stream", by_use(), Reply::openai_stream(&["a", "b", "c"], 7, 8)).await;
    world.model("free", json!(null), Reply::text("free")).await;
    world.model("fails", fixed(5), Reply::text("no").status(500)).await;
    world.model("refuses", by_use(), Reply::failure(3, "no")).await;
    world.model("cut", by_use(), Reply::sse([one, one]).step(Step::Reset)).await;
    world.model("drops", fixed(9), Reply::reset()).await;
    world.model("large", fixed(2), Reply::bytes("x/y", vec![1; 300_000]).chunked()).await;
    // The failures of one model must not close the door for the others.
    world.db.execute("UPDATE channels SET auto_ban = '0'").await;
}

/// A small generator: the same storm every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// One worker's calls. Every third client leaves early; the names of paid calls that were read to
/// their end are remembered.
async fn work(worker: usize, call: impl Fn(&str) -> Call, done: Arc<Mutex<HashSet<String>>>) {
    let seed = std::env::var("STORM_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let mut dice = Dice(seed.unwrap_or(1).wrapping_mul(1_000).wrapping_add(worker as u64));
    for number in 0..CALLS {
        let (model, paid) = MODELS[dice.roll(MODELS.len())];
        let name = format!("mixed-{worker}-{number}");
        let call = call(model).header("X-Request-Id", &name);
        if dice.roll(3) == 0 {
            let leaves = tokio::time::Duration::from_micros(dice.roll(8_000) as u64);
            let _ = tokio::time::timeout(leaves, call.try_send()).await;
        } else if let Ok(answer) = call.try_send().await
            && answer.status == 200
            && paid
        {
            done.lock().unwrap().insert(name);
        }
    }
}

/// The storm of one user: its workers, and the names that they record.
struct Storm {
    done: Arc<Mutex<HashSet<String>>>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Storm {
    fn start(world: &World, payer: &Payer) -> Self {
        let done = Arc::<Mutex<HashSet<String>>>::default();
        let workers = (0..WORKERS).map(|worker| {
            let (done, key) = (Arc::clone(&done), payer.key.clone());
            let addr = world.server.addr();
            let call = move |model: &str| {
                Call::new(addr, "POST", &format!("/pass/{model}")).key(&key).json(&json!({"q": 1}))
            };
            tokio::spawn(work(worker, call, done))
        });
        let workers = workers.collect();
        Self { done, workers }
    }

    async fn end(self) -> HashSet<String> {
        for worker in self.workers {
            worker.await.unwrap();
        }
        self.done.lock().unwrap().clone()
    }
}

/// Waits until every hold is closed; what was dropped by the upstream, or by a node that died, is
/// unknown until its deadline. Then audits, and compares what was delivered with what was charged.
async fn settle(world: &World, delivered: &HashSet<String>) {
    testkit::eventually("everything to be settled", || async {
        world.pass_deadlines().await;
        (world.open_holds().await == 0).then_some(())
    })
    .await;
    world.close().await;
    let charged = charges(world).await;
    let free: Vec<_> = delivered.difference(&charged).collect();
    assert!(!delivered.is_empty() && free.is_empty(), "delivered, not charged: {free:?}");
}

/// The charge of every call, by its name; fails when one was charged twice.
async fn charges(world: &World) -> HashSet<String> {
    let rows = world.db.query("SELECT request_id FROM logs WHERE type = 'consume'").await;
    let mut names = HashSet::new();
    for row in &rows {
        let name = row.text("request_id").to_owned();
        assert!(names.insert(name.clone()), "{name} was charged twice");
    }
    names
}

on_both_databases! {
    async fn a_mixed_storm_leaves_the_books_in_order(db: TestDb) {
        let world = World::open(db).await;
        build(&world).await;
        let start = 1_000_000;
        let ann = world.payer(start).await;

        let delivered = Storm::start(&world, &ann).end().await;

        settle(&world, &delivered).await;
        let sum = world.db.i64("SELECT sum(quota) FROM logs WHERE type = 'consume'").await;
        let money = world.money(&ann).await;
        assert_eq!((money.quota, money.used), (start - sum, sum));
    }

    async fn a_mixed_storm_of_the_poor_overspends_nothing(db: TestDb) {
        let world = World::open(db).await;
        build(&world).await;
        let ann = world.payer(300).await;

        let delivered = Storm::start(&world, &ann).end().await;

        settle(&world, &delivered).await;
        // Only settlements above their hold go below zero: a stream's (15), by every worker at
        // the same time at most.
        let money = world.money(&ann).await;
        assert!(money.quota >= -15 * i64::try_from(WORKERS).unwrap(), "{money:?}");
        assert_eq!(money.quota + money.used, 300);
    }

    async fn a_mixed_storm_with_a_kill_in_it(db: TestDb) {
        let mut world = World::open(db).await;
        build(&world).await;
        let start = 1_000_000;
        let ann = world.payer(start).await;

        let storm = Storm::start(&world, &ann);
        world.upstream.wait_for_heads(40).await;
        world.server.kill_9().await;
        world.server.start_again().await;
        let delivered = storm.end().await;

        settle(&world, &delivered).await;
        let sum = world.db.i64("SELECT sum(quota) FROM logs WHERE type = 'consume'").await;
        let money = world.money(&ann).await;
        assert_eq!((money.quota, money.used), (start - sum, sum));
    }
}
