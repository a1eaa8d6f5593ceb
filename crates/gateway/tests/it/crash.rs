//! `kill -9` and restarts at any moment: no delivered call is free, and work that was not done
//! is not charged.
//!
//! `STORM_ROUNDS` makes it longer: `STORM_ROUNDS=100 cargo xtask pg -- cargo test -p world
//! --test it crash`.

use crate::world::{Payer, World, fixed};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::{Reply, TestDb, eventually, json, on_both_databases};

const PRICE: i64 = 7;
const WORKERS: usize = 8;

/// Endless calls, each with its own name; records those whose response was complete.
pub struct Load {
    done: Arc<Mutex<HashSet<String>>>,
    stop: Arc<AtomicBool>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    pub fn start(world: &World, payer: &Payer) -> Self {
        let done = Arc::<Mutex<HashSet<String>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let counter = Arc::<AtomicUsize>::default();
        let workers = (0..WORKERS).map(|_| {
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            let counter = Arc::clone(&counter);
            let call = world.server.call("POST", "/pass/m").key(&payer.key).json(&json!({}));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("storm-{}", counter.fetch_add(1, Ordering::Relaxed));
                    let answer = call.clone().header("X-Request-Id", &name).try_send().await;
                    match answer {
                        Ok(answer) if answer.status == 200 => {
                            done.lock().unwrap().insert(name);
                        }
                        _ => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            })
        });
        let workers = workers.collect();
        Self { done, stop, workers }
    }

    pub fn count(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    pub async fn end(self) -> HashSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
        self.done.lock().unwrap().clone()
    }
}

fn rounds() -> usize {
    std::env::var("STORM_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Compares what clients saw, what was charged, and what the upstream did; returns the names of
/// what was charged.
async fn compare(
    world: &World,
    payer: &Payer,
    delivered: &HashSet<String>,
    start: i64,
) -> HashSet<String> {
    let sql = "SELECT request_id FROM logs WHERE type = 'consume'";
    let charged: Vec<String> =
        world.db.query(sql).await.iter().map(|row| row.text("request_id").to_owned()).collect();
    let charged_once: HashSet<String> = charged.iter().cloned().collect();
    assert_eq!(charged.len(), charged_once.len(), "a call was charged twice");
    let free: Vec<_> = delivered.difference(&charged_once).collect();
    assert!(free.is_empty(), "delivered, not charged: {free:?}");
    let done: HashSet<String> = world
        .upstream
        .requests()
        .await
        .iter()
        .filter(|one| one.answered)
        .filter_map(|one| one.header("X-Request-Id"))
        .collect();
    let undone: Vec<_> = charged_once.difference(&done).collect();
    assert!(undone.is_empty(), "charged, and the upstream did not do it: {undone:?}");
    let used = i64::try_from(charged.len()).unwrap() * PRICE;
    world.wait_for_money(payer, start - used, used).await;
    charged_once
}

on_both_databases! {
    async fn kill_9_under_load_loses_nothing(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(PRICE), Reply::text("ok")).await;
        let start = 100_000_000;
        let ann = world.payer(start).await;
        let load = Load::start(&world, &ann);
        for round in 0..rounds() {
            let so_far = load.count();
            eventually("calls to go through", || async {
                (load.count() > so_far + 20).then_some(())
            })
            .await;
            // A moment that no two runs share.
            tokio::time::sleep(Duration::from_micros(round as u64 * 7_919 % 50_000)).await;
            world.server.kill_9().await;
            world.server.start_again().await;
        }
        let delivered = load.end().await;
        assert!(delivered.len() > rounds() * 20);

        // The holds of dead nodes are released once their leases have expired.
        world.close().await;
        compare(&world, &ann, &delivered, start).await;
    }

    async fn an_orderly_restart_under_load_loses_not_even_a_reply(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(PRICE), Reply::text("ok")).await;
        let start = 100_000_000;
        let ann = world.payer(start).await;
        let load = Load::start(&world, &ann);
        for _ in 0..3 {
            let so_far = load.count();
            eventually("calls to go through", || async {
                (load.count() > so_far + 20).then_some(())
            })
            .await;
            world.server.restart().await;
        }
        let delivered = load.end().await;

        world.close().await;
        let charged = compare(&world, &ann, &delivered, start).await;
        assert_eq!(charged, delivered, "what was charged was delivered");
    }

    async fn holds_of_a_dead_node_are_given_back(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(30), Reply::hang()).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.try_send());
        world.upstream.wait_for_requests(1).await;
        assert_eq!(world.money(&ann).await.quota, 70);

        world.server.kill_9().await;
        assert!(running.await.unwrap().is_err());
        world.server.start_again().await;

        world.wait_for_money(&ann, 100, 0).await;
        let line = world.db.row("SELECT content FROM logs WHERE type = 'error'").await;
        assert!(line.text("content").contains("unknown_outcome"), "{line:?}");
        world.close().await;
    }
}

on_postgres! {
    async fn another_node_gives_back_what_a_dead_one_held(db: TestDb) {
        let mut world = World::open(db).await;
        let other = crate::world::node(&world.db, &[]).await;
        world.model("m", fixed(30), Reply::hang()).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.try_send());
        world.upstream.wait_for_requests(1).await;

        world.server.kill_9().await;
        drop(running);

        world.wait_for_money(&ann, 100, 0).await;
        other.audit_clean().await;
    }
}
