//! Clocks that are wrong, and that jump: libfaketime shows the real binary another time than the
//! machine has.

use crate::world::{Payer, World, fixed, node, skipped};
use tempfile::TempDir;
use testkit::{
    Call, Gate, ROOT_PASSWORD, Reply, Server, TestDb, eventually, json, on_both_databases,
};

/// The clock of a server, to be set while it runs.
struct FakeClock {
    dir: TempDir,
    library: String,
}

impl FakeClock {
    /// A clock that is off by `offset` (`+1d`, `-1h`, `+0`); none where it can't be had.
    fn off_by(offset: &str) -> Option<Self> {
        let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
        let library = places.map(|place| format!("{place}/faketime/libfaketimeMT.so.1"));
        let library = library.into_iter().find(|file| std::fs::exists(file).unwrap_or(false));
        let Some(library) = library else {
            skipped("there is no libfaketime");
            return None;
        };
        let clock = Self { dir: TempDir::new().unwrap(), library };
        clock.set(offset);
        Some(clock)
    }

    fn set(&self, offset: &str) {
        let (file, new) = (self.file(), self.file() + ".new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    fn file(&self) -> String {
        self.dir.path().join("offset").display().to_string()
    }

    /// The settings with which a server goes by it. Time passes as it does: only what it is called
    /// is another.
    fn settings(&self) -> Vec<(String, String)> {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            set("LD_PRELOAD", &self.library),
            set("FAKETIME_TIMESTAMP_FILE", &self.file()),
            set("FAKETIME_NO_CACHE", "1"),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    async fn world(&self, db: TestDb, more: &[(&str, &str)]) -> World {
        let settings = self.settings();
        let settings = settings.iter().map(|(name, value)| (&**name, &**value));
        World::with(db, &settings.chain(more.iter().copied()).collect::<Vec<_>>()).await
    }

    async fn node(&self, db: &TestDb) -> Server {
        let settings = self.settings();
        let settings = settings.iter().map(|(name, value)| (&**name, &**value));
        node(db, &settings.collect::<Vec<_>>()).await
    }
}

/// When the youngest lease ends, in milliseconds.
async fn newest_lease(world: &World) -> i64 {
    world
        .db
        .i64(match world.db.is_postgres() {
            true => "SELECT CAST(extract(epoch FROM max(lease_until)) * 1000 AS BIGINT) FROM nodes",
            false => "SELECT max(lease_until) FROM nodes",
        })
        .await
}

/// Waits until the nodes have renewed their leases so often.
async fn heartbeats(world: &World, count: u32) {
    for _ in 0..count {
        let before = newest_lease(world).await;
        eventually("a heartbeat", || async { (newest_lease(world).await != before).then_some(()) })
            .await;
    }
}

fn call(server: &Server, payer: &Payer) -> Call {
    server.call("POST", "/pass/m").key(&payer.key)
}

async fn starts_wrong(db: TestDb, offset: &str) {
    let Some(clock) = FakeClock::off_by(offset) else { return };
    let mut world = clock.world(db, &[("CUSTOM_PASS_POLL_INTERVAL", "1s")]).await;
    let gate = Gate::new();
    world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
    world
        .model(
            "img/submit",
            fixed(40),
            Reply::json(&json!({
                "code": 0, "data": {"task_id": "up-1", "status": "queued"}
            })),
        )
        .await;
    let reports = |word: &str| {
        let task = json!([{"task_id": "up-1", "status": word}]);
        Reply::json(&json!({"code": 0, "data": task}))
    };
    world.upstream.on("/img/task/list-by-condition", reports("running"));
    let ann = world.payer(100).await;
    let limits = json!({"daily_limit": 90});
    world.admin().put(&format!("/api/user/{}", ann.id), &limits).await;
    let login = json!({"username": "root", "password": ROOT_PASSWORD});
    let login = || world.server.call("POST", "/api/user/login").json(&login).send();
    let session = login().await.expect(200).header("Set-Cookie").unwrap();
    let session = session.split(';').next().unwrap().to_owned();
    let submit = world.server.call("POST", "/pass/img/submit").key(&ann.key);
    submit.json(&json!({})).send().await.expect(200);
    // A call is under way when the clock is set right; another when the process dies.
    let running = tokio::spawn(call(&world.server, &ann).send());
    gate.reached(1).await;
    clock.set("+0");
    heartbeats(&world, 2).await;
    gate.open();
    running.await.unwrap().expect(200);

    world.upstream.on("/img/task/list-by-condition", reports("done"));
    world.wait_for_money(&ann, 50, 50).await;
    login().await.expect(200);
    let own = world.server.call("GET", "/api/user/self").header("Cookie", &session);
    own.send().await.expect(200);
    // What was spent on either day counts in the day that was latest.
    call(&world.server, &ann).send().await.expect(200);
    let gate = Gate::new();
    world.upstream.on("/m", Reply::text("ok").gated(&gate));
    let lost = tokio::spawn(call(&world.server, &ann).try_send());
    gate.reached(1).await;
    clock.set(offset);
    heartbeats(&world, 1).await;
    world.server.kill_9().await;
    let _ = lost.await;
    gate.open();
    clock.set("+0");
    world.server.start_again().await;
    world.wait_for_money(&ann, 40, 60).await;
    assert_eq!(world.open_holds().await, 0);
    world.close().await;
}

on_both_databases! {
    async fn a_clock_that_jumps_takes_no_hold_from_a_call(db: TestDb) {
        let Some(clock) = FakeClock::off_by("+0") else { return };
        let world = clock.world(db, &[]).await;
        let ann = world.payer(100).await;
        for (number, offset) in (1..).zip(["+1d", "-1h", "+0"]) {
            let gate = Gate::new();
            world.upstream.on("/m", Reply::text("ok").gated(&gate));
            if number == 1 {
                world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
            }
            let running = tokio::spawn(call(&world.server, &ann).send());
            gate.reached(1).await;
            // The sweeper comes before the next heartbeat.
            heartbeats(&world, 1).await;
            clock.set(offset);
            heartbeats(&world, 2).await;
            assert_eq!(world.open_holds().await, 1, "{offset}");
            gate.open();
            let answer = running.await.unwrap().expect(200);
            assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("10"), "{offset}");
            world.wait_for_money(&ann, 100 - 10 * number, 10 * number).await;
        }
        assert!(!world.server.log_lines().iter().any(|line| line.contains("unknown_outcome")));
        assert_eq!(world.lines("consume").await, 3);
        world.close().await;
    }

    async fn a_start_a_day_late_does_no_harm_once_the_clock_is_right(db: TestDb) {
        starts_wrong(db, "+1d").await;
    }

    async fn a_start_an_hour_early_does_no_harm_once_the_clock_is_right(db: TestDb) {
        starts_wrong(db, "-1h").await;
    }
}

on_sqlite! {
    async fn an_hour_back_keeps_no_one_out(db: TestDb) {
        let Some(clock) = FakeClock::off_by("+0") else { return };
        let world = clock.world(db, &[]).await;
        let login = |password: &str| {
            let body = json!({"username": "root", "password": password});
            world.server.call("POST", "/api/user/login").json(&body).send()
        };
        eventually("the tries to be used up", || async {
            (login("wrong").await.status == 429).then_some(())
        })
        .await;
        login(ROOT_PASSWORD).await.expect(429);

        clock.set("-1h");

        login(ROOT_PASSWORD).await.expect(200);
        world.close().await;
    }
}

on_postgres! {
    // On PostgreSQL all go by the database's clock.
    async fn a_node_with_a_wrong_clock_neither_loses_holds_nor_takes_them(db: TestDb) {
        let clocks = ["+1d", "-1h"].map(FakeClock::off_by);
        let [Some(late), Some(early)] = clocks else { return };
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        let nodes = [late.node(&world.db).await, early.node(&world.db).await];
        for node in &nodes {
            eventually("the node to have the model", || async {
                let models = node.call("GET", "/v1/models").key(&ann.key).send().await.text();
                models.contains("\"m\"").then_some(())
            })
            .await;
        }
        // All have the time of a lease, after which they may take another for dead.
        heartbeats(&world, 11).await;
        let calls = [&world.server, &nodes[0], &nodes[1]].map(|server| {
            tokio::spawn(call(server, &ann).send())
        });
        gate.reached(3).await;
        heartbeats(&world, 4).await;
        assert_eq!(world.open_holds().await, 3);
        let spread = "SELECT CAST(extract(epoch FROM max(lease_until) - min(lease_until)) AS BIGINT)
            FROM nodes";
        assert!(world.db.i64(spread).await < 15);
        gate.open();
        for call in calls {
            call.await.unwrap().expect(200);
        }
        world.wait_for_money(&ann, 70, 30).await;

        // One that dies with a wrong clock leaves nothing behind for long.
        let gate = Gate::new();
        world.upstream.on("/m", Reply::text("ok").gated(&gate));
        let [mut late, early] = nodes;
        let lost = tokio::spawn(call(&late, &ann).try_send());
        gate.reached(1).await;
        late.kill_9().await;
        let _ = lost.await;
        world.wait_for_money(&ann, 70, 30).await;
        gate.open();
        drop(early);
        world.close().await;
    }
}
