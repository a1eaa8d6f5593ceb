//! Tasks under random replies, nodes and crashes, beside a small model of their possible outcomes.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use domain::{ChannelId, KeyId, Quota, UserId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{HELD, Node, TestCluster, price};
use testkit::{Recorded, Reply, TestDb, Upstream, eventually, json, on_both_databases};

const STEPS: usize = 80;
const MONEY: i64 = 1_000_000;

/// A possible end of a task: the status in the database, and the charge.
type End = (&'static str, i64);

/// The state of the upstream, and what it has replied.
struct World {
    dice: StdRng,
    /// By id: its state now, and the one before.
    tasks: HashMap<String, (State, State)>,
    /// By id: every end reported in a reply that may have been received.
    ends: HashMap<String, Vec<End>>,
    free: HashMap<String, bool>,
    /// Replies truthfully only.
    honest: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running(u8),
    Done(Option<i64>),
    Failed,
}

impl State {
    fn element(self, id: &str) -> Value {
        match self {
            Self::Running(progress) => {
                json!({"task_id": id, "status": "running", "progress": format!("{progress}%")})
            }
            Self::Done(None) => json!({"task_id": id, "status": "done", "result": {"u": id}}),
            Self::Done(Some(tokens)) => json!({
                "task_id": id, "status": "Succeeded", "usage": {"prompt_tokens": tokens},
            }),
            Self::Failed => json!({"task_id": id, "status": "error", "error": {"message": "no"}}),
        }
    }

    fn end(self, free: bool) -> Option<End> {
        let charge = |tokens: Option<i64>| {
            let usage = tokens
                .map(|prompt_tokens| domain::Usage { prompt_tokens, ..domain::Usage::default() });
            usage.map_or(HELD, |usage| price().charge(&usage).unwrap().0)
        };
        match self {
            Self::Running(_) => None,
            Self::Done(tokens) => Some(("completed", if free { 0 } else { charge(tokens) })),
            Self::Failed => Some(("failed", 0)),
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            dice: StdRng::seed_from_u64(seed),
            tasks: HashMap::new(),
            ends: HashMap::new(),
            free: HashMap::new(),
            honest: false,
        }
    }

    fn roll(&mut self, sides: u32) -> u32 {
        self.dice.random_range(0..sides)
    }

    fn random_state(&mut self) -> State {
        match self.roll(6) {
            0 => State::Done(None),
            1 => State::Done(Some(0)),
            2 => State::Done(Some(i64::from(self.roll(300)))),
            3 => State::Failed,
            _ => State::Running(u8::try_from(self.roll(101)).unwrap()),
        }
    }

    /// Advances a task; one that has ended stays as it is.
    fn advance(&mut self, id: &str) {
        let next = self.random_state();
        let (now, before) = self.tasks.get_mut(id).unwrap();
        if matches!(now, State::Running(_)) {
            (*before, *now) = (*now, next);
        }
    }

    fn reply(&mut self, request: &Recorded) -> Reply {
        let asked = request.json();
        let ids = asked["task_ids"].as_array().unwrap();
        if !self.honest {
            match self.roll(20) {
                0 => return Reply::new(500),
                1 => return Reply::text("<html>"),
                2 => return Reply::reset(),
                3 => return Reply::failure(7, "no"),
                _ => {}
            }
        }
        let mut elements = Vec::new();
        for id in ids.iter().map(|id| id.as_str().unwrap()) {
            self.speak_of(id, &mut elements);
        }
        let reply = Reply::json(&json!({"code": 0, "data": elements}));
        let slow = if self.honest { 0 } else { self.roll(400) / 2 };
        if slow > 150 { reply.delay(Duration::from_millis(slow.into())) } else { reply }
    }

    fn speak_of(&mut self, id: &str, elements: &mut Vec<Value>) {
        let (now, before) = self.tasks[id];
        let lie = if self.honest { 99 } else { self.roll(20) };
        let says = |world: &mut Self, state: State, heard: bool, elements: &mut Vec<Value>| {
            elements.push(state.element(id));
            let end = state.end(world.free[id]).filter(|_| heard);
            world.ends.entry(id.to_owned()).or_default().extend(end);
        };
        match lie {
            // Missing.
            0 => {}
            // Late.
            1 | 2 => says(self, before, true, elements),
            // Contradicts its earlier or later replies.
            3 if matches!(now, State::Done(_)) => says(self, State::Failed, true, elements),
            3 if now == State::Failed => says(self, State::Done(Some(5)), true, elements),
            // Twice: the first one counts.
            4 => {
                says(self, now, true, elements);
                says(self, State::Failed, false, elements);
            }
            5 => elements.push(json!({"task_id": id, "status": 7})),
            6 => {
                elements.push(json!({"task_id": format!("{id}x"), "status": "done"}));
                elements.push(json!(["?"]));
                says(self, now, true, elements);
            }
            _ => says(self, now, true, elements),
        }
    }
}

/// The whole simulation.
struct Play {
    cluster: TestCluster,
    upstream: Upstream,
    world: Arc<Mutex<World>>,
    users: Vec<(UserId, KeyId)>,
    channels: Vec<ChannelId>,
    nodes: Vec<Node>,
    ids: Vec<String>,
    /// Rows of ended tasks, as they were at their end.
    ended: HashMap<String, testkit::Row>,
}

impl Play {
    async fn open(db: &TestDb, seed: u64) -> Self {
        let cluster = TestCluster::open(db).await;
        let upstream = Upstream::start().await;
        let world = Arc::new(Mutex::new(World::new(seed)));
        let speaker = Arc::clone(&world);
        upstream.otherwise_handle(move |request| speaker.lock().unwrap().reply(request));
        let mut users = Vec::new();
        for _ in 0..3 {
            users.push(cluster.user(MONEY).await);
        }
        let channels =
            vec![cluster.channel(&upstream.url()).await, cluster.channel(&upstream.url()).await];
        let (nodes, ids, ended) = (Vec::new(), Vec::new(), HashMap::new());
        Self { cluster, upstream, world, users, channels, nodes, ids, ended }
    }

    fn roll(&self, sides: usize) -> usize {
        let sides = u32::try_from(sides).unwrap();
        usize::try_from(self.world.lock().unwrap().roll(sides)).unwrap()
    }

    async fn step(&mut self, db: &TestDb) {
        match self.roll(12) {
            0..=3 => self.submit().await,
            4..=6 if !self.ids.is_empty() => {
                let id = &self.ids[self.roll(self.ids.len())];
                self.world.lock().unwrap().advance(id);
            }
            7 if self.nodes.len() < 2 => self.nodes.push(self.cluster.node().await),
            8 if !self.nodes.is_empty() => {
                self.nodes.swap_remove(self.roll(self.nodes.len())).crash();
            }
            9 if self.nodes.len() == 2 => self.nodes.remove(0).stop().await,
            _ => self.listen(db).await,
        }
    }

    async fn submit(&mut self) {
        let id = format!("t-{}", self.ids.len());
        let free = self.roll(5) == 0;
        {
            let mut world = self.world.lock().unwrap();
            world.tasks.insert(id.clone(), (State::Running(0), State::Running(0)));
            world.free.insert(id.clone(), free);
        }
        let user = self.users[self.roll(self.users.len())];
        let channel = self.channels[self.roll(self.channels.len())];
        let action = ["a/submit", "b/submit"][self.roll(2)];
        self.cluster.submit(user, channel, action, &id, free).await;
        self.ids.push(id);
    }

    /// Lets the nodes poll, and checks ended tasks: they stay as they are.
    async fn listen(&mut self, db: &TestDb) {
        if unfinished(db).await > 0 && !self.nodes.is_empty() {
            let before = self.upstream.count();
            let one = self.roll(self.nodes.len());
            self.nodes[one].tasks.poll_now();
            // A poll in flight meanwhile may end the last task, and then there is none left.
            eventually("a question, or nothing to ask", || async {
                (self.upstream.count() > before || unfinished(db).await == 0).then_some(())
            })
            .await;
        }
        self.compare(db).await;
    }

    async fn compare(&mut self, db: &TestDb) {
        for row in db.query("SELECT * FROM tasks WHERE finish_time IS NOT NULL").await {
            let id = row.text("task_id").to_owned();
            let end = (row.text("status"), row.i64("used_quota"));
            let allowed = self.world.lock().unwrap().ends.get(&id).cloned().unwrap_or_default();
            assert!(allowed.contains(&end), "{id} ended as {end:?}; reported was {allowed:?}");
            assert_eq!(row.i64("quota"), row.i64("used_quota"), "{row:?}");
            let first = self.ended.entry(id).or_insert_with(|| row.clone());
            assert_eq!(*first, row, "it changed after its end");
        }
    }

    /// Ends everything, by truthful replies; then compares the balances.
    async fn end(mut self, db: &TestDb) {
        {
            let mut world = self.world.lock().unwrap();
            world.honest = true;
            for id in &self.ids {
                while matches!(world.tasks[id].0, State::Running(_)) {
                    world.advance(id);
                }
            }
        }
        if self.nodes.is_empty() {
            self.nodes.push(self.cluster.node().await);
        }
        eventually("every task to end", || async { (unfinished(db).await == 0).then_some(()) })
            .await;
        for node in self.nodes.drain(..) {
            node.stop().await;
        }
        self.compare(db).await;
        assert_eq!(self.ended.len(), self.ids.len());
        let paid = self.ids.iter().filter(|id| !self.world.lock().unwrap().free[*id]).count();
        let paid = i64::try_from(paid).unwrap();
        // Each ended once: charged with one line, or released whole with one.
        let ends = "type = 'consume' OR type = 'refund' AND content <> 'settled below the hold'";
        let ended = format!("SELECT count(DISTINCT hold_id) FROM logs WHERE {ends}");
        let lines = format!("SELECT count(*) FROM logs WHERE {ends}");
        assert_eq!((db.i64(&ended).await, db.i64(&lines).await), (paid, paid));
        for (user, _) in &self.users {
            let charged = "SELECT CAST(sum(used_quota) AS bigint) FROM tasks WHERE user_id =";
            let charged = Quota(db.i64(&format!("{charged} {user}")).await);
            let left = db.i64(&format!("SELECT quota FROM users WHERE id = {user}")).await;
            assert_eq!(Quota(left), Quota(MONEY - charged.0));
        }
        self.cluster.close().await;
    }
}

async fn play(db: TestDb, seed: u64) {
    let mut play = Play::open(&db, seed).await;
    for _ in 0..STEPS {
        play.step(&db).await;
    }
    play.end(&db).await;
}

async fn unfinished(db: &TestDb) -> i64 {
    db.i64("SELECT count(*) FROM tasks WHERE finish_time IS NULL").await
}

/// Batches end tasks while one that is too old fails, with a single end at a time.
async fn ends_wait_for_each_other(db: TestDb) {
    let cluster = TestCluster::open(&db).await;
    let upstream = Upstream::start().await;
    upstream.otherwise_handle(|request| {
        let asked = request.json();
        let ids: Vec<_> = asked["task_ids"].as_array().unwrap().iter().collect();
        if ids.contains(&&json!("old")) {
            return Reply::new(500).delay(Duration::from_millis(20));
        }
        let done = ids.iter().map(|id| State::Done(None).element(id.as_str().unwrap()));
        Reply::json(&json!({"code": 0, "data": done.collect::<Vec<_>>()}))
    });
    let channel = cluster.channel(&upstream.url()).await;
    let (ann, bob) = (cluster.user(MONEY).await, cluster.user(MONEY).await);
    cluster.submit(ann, channel, "a/submit", "old", false).await;
    let long_ago = if db.is_postgres() { "to_timestamp(1)" } else { "1" };
    db.execute(&format!("UPDATE tasks SET lifetime_from = {long_ago}")).await;
    for n in 0..60 {
        cluster.submit(bob, channel, "a/submit", &format!("t-{n}"), false).await;
    }

    let node = cluster.node_with(1).await;

    eventually("all to end", || async { (unfinished(&db).await == 0).then_some(()) }).await;
    let failed = "SELECT count(*) FROM tasks WHERE status = 'failed' AND task_id = 'old'";
    assert_eq!(db.i64(failed).await, 1);
    node.stop().await;
    cluster.close().await;
}

on_both_databases! {
    async fn ends_that_wait_for_each_other_end(db: TestDb) { ends_wait_for_each_other(db).await; }
    async fn each_task_ends_once_1(db: TestDb) { play(db, 1).await; }
    async fn each_task_ends_once_2(db: TestDb) { play(db, 2).await; }
    async fn each_task_ends_once_3(db: TestDb) { play(db, 3).await; }
}
