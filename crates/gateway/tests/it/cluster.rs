//! Three nodes over one PostgreSQL and one Redis, and what becomes of them when parts are lost.

use crate::world::{Payer, World, by_use, fixed, node};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::{Call, Postgres, Redis, Reply, Row, Server, TestDb, eventually, json};

/// Clients that call without a pause, for each node.
const CLIENTS: usize = 2;
/// What breaks in the long test: Redis, a node, the database.
const FAULTS: usize = 3;

/// A world with three doors.
struct Cluster {
    world: World,
    others: [Server; 2],
    redis: Redis,
}

impl Cluster {
    async fn open(db: TestDb) -> Self {
        let redis = Redis::start().await;
        let url = redis.url();
        let settings = [
            ("REDIS_CONN_STRING", url.as_str()),
            ("CUSTOM_PASS_DB_CONNECT_TIMEOUT", "1s"),
            ("CUSTOM_PASS_RETRY_DELAY", "50ms"),
            ("CUSTOM_PASS_POLL_INTERVAL", "1s"),
        ];
        let world = World::with(db, &settings).await;
        let others = [node(&world.db, &settings).await, node(&world.db, &settings).await];
        let cluster = Self { world, others, redis };
        cluster.ready(&json!({"status": "ready", "redis": "up"})).await;
        cluster
    }

    fn nodes(&self) -> [&Server; 3] {
        [&self.world.server, &self.others[0], &self.others[1]]
    }

    /// Waits until every node reports this readiness.
    async fn ready(&self, expected: &serde_json::Value) {
        let status = if expected["status"] == "ready" { 200 } else { 503 };
        for server in self.nodes() {
            eventually(&format!("{expected}"), || async {
                let answer = server.call("GET", "/readyz").send().await;
                (answer.status == status && answer.json() == *expected).then_some(())
            })
            .await;
        }
    }

    /// Waits until one node says of all three whether their Redis answers.
    async fn says_of_redis(&self, answers: bool) {
        eventually(&format!("heartbeats to tell that Redis answers: {answers}"), || async {
            let list = self.others[1].admin().get("/api/node").await;
            let nodes = list.as_array().expect("nodes").iter();
            let told: Vec<_> = nodes.map(|node| &node["load"]["redis_answers"]).collect();
            (told == [&json!(answers); 3]).then_some(())
        })
        .await;
    }

    /// Waits until every node listens for changes.
    async fn listening(&self) {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND query LIKE '%LISTEN newapi_config'";
        eventually("every node to listen", || async {
            (self.world.db.i64(sql).await == 3).then_some(())
        })
        .await;
    }

    /// A model that every node knows.
    async fn model(&self, payer: &Payer) {
        self.world.model("m", fixed(7), Reply::text("ok")).await;
        self.price_is(payer, 7).await;
    }

    /// Waits until every node charges this.
    async fn price_is(&self, payer: &Payer, quota: i64) {
        for server in self.nodes() {
            eventually(&format!("a node to charge {quota}"), || async {
                let answer = pass(server, payer).send().await;
                (answer.header("X-Newapi-Quota")? == quota.to_string()).then_some(())
            })
            .await;
        }
    }

    /// Of twelve calls through all nodes in turn, how many a new key of this rate may make.
    async fn let_through(&self, payer: &Payer, per_minute: u32) -> i64 {
        let limited = self.world.key(payer, json!({"rate_limit_rpm": per_minute})).await;
        let mut passed = 0;
        for turn in 0..12 {
            let answer = pass(self.nodes()[turn % 3], &limited).send().await;
            assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
            passed += i64::from(answer.status == 200);
        }
        passed
    }

    /// A key of 100 tokens a minute that the first node has exceeded, and reported to Redis.
    async fn used_up(&self, payer: &Payer) -> Payer {
        let server = &self.world.server;
        let told = async || (server.metric(ANSWERED).await, server.metric(IN_VAIN).await);
        // Whether Redis responds in time is up to the machine; each new key is another attempt.
        for _ in 0..20 {
            let key = self.world.key(payer, json!({"rate_limit_tpm": 100})).await;
            let before = told().await;
            pass(server, &key).send().await.expect(200);
            let after = eventually("both questions to be over", || async {
                let after = told().await;
                (after.0 + after.1 >= before.0 + before.1 + 2).then_some(after)
            })
            .await;
            if after.1 == before.1 {
                return key;
            }
        }
        panic!("Redis never answers in time")
    }

    async fn metric(&self, sample: &str) -> i64 {
        let mut sum = 0;
        for server in self.nodes() {
            sum += server.metric(sample).await;
        }
        sum
    }
}

const ANSWERED: &str = "custompass_redis_asked_total{result=\"answered\"}";
/// Requests to Redis that timed out, as on a busy machine: the node decides on its own.
const IN_VAIN: &str = "custompass_redis_asked_total{result=\"failed\"}";

fn pass(server: &Server, payer: &Payer) -> Call {
    server.call("POST", "/pass/m").key(&payer.key).json(&json!({}))
}

on_postgres! {
    async fn a_rate_holds_over_all_nodes_while_there_is_redis(db: TestDb) {
        let mut cluster = Cluster::open(db).await;
        let ann = cluster.world.payer(1_000_000).await;
        let asked = "custompass_redis_asked_total{result=\"answered\"}";
        let before = cluster.metric(asked).await;
        cluster.model(&ann).await;
        assert_eq!(cluster.metric(asked).await, before, "a key without a limit costs no question");

        let passed = cluster.let_through(&ann, 2).await;
        // A call that was not answered in time, on a machine that is busy, is counted by its node.
        let failed = cluster.metric("custompass_redis_asked_total{result=\"failed\"}").await;
        assert!((2..=2 + failed).contains(&passed), "{passed} of 2, {failed} in vain");
        assert!(cluster.world.server.cli_ok(&["check"]).await.contains("✓ Redis answers"));
        let kept = cluster.redis.cli(&["KEYS", "*"]).await;
        assert!(!kept.is_empty());
        // Root's access token has been tried, too.
        let kinds = ["newapi:rpm:", "newapi:tries:"];
        let known = |name: &str| kinds.iter().any(|kind| name.starts_with(kind));
        assert!(kept.lines().all(known), "{kept}");
        assert!(!kept.contains(&ann.key[3..]), "{kept}");

        cluster.redis.kill_9().await;
        cluster.ready(&json!({"status": "ready", "redis": "down"})).await;
        cluster.says_of_redis(false).await;
        assert_eq!(cluster.let_through(&ann, 2).await, 6, "each node counts for itself");
        assert_eq!(cluster.metric("custompass_redis_up").await, 0);
        let found = cluster.world.server.cli(&["check"]).await;
        assert!(!found.status.success(), "{found:?}");
        let said = cluster.world.server.cli(&["doctor", "--offline"]).await;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("! redis: can't be asked"), "{said}");

        cluster.redis.start_again().await;
        cluster.ready(&json!({"status": "ready", "redis": "up"})).await;
        cluster.says_of_redis(true).await;
        let passed = cluster.let_through(&ann, 2).await;
        let failed = cluster.metric("custompass_redis_asked_total{result=\"failed\"}").await;
        assert!((2..=2 + failed).contains(&passed), "{passed} of 2, {failed} in vain");
        for server in cluster.nodes() {
            let lines = server.log_lines();
            let times = |event| lines.iter().filter(|line| line.contains(event)).count();
            let (up, away) = (times("custompass: redis_up"), times("custompass: redis_away"));
            assert!(away > 0 && up == away + 1, "{up} up, {away} away: {lines:?}");
        }
        cluster.world.close().await;
    }

    async fn tokens_and_logins_count_over_all_nodes(db: TestDb) {
        let mut cluster = Cluster::open(db).await;
        let ann = cluster.world.payer(1_000_000).await;
        cluster.world.model("m", by_use(), Reply::result(100, 50)).await;
        for server in cluster.nodes() {
            eventually("a node to know the model", || async {
                (pass(server, &ann).send().await.status == 200).then_some(())
            })
            .await;
        }

        let limited = cluster.used_up(&ann).await;
        for server in &cluster.others {
            let answer = pass(server, &limited).send().await;
            let in_vain = server.metric(IN_VAIN).await;
            assert!(answer.status == 429 || in_vain > 0, "{}", answer.text());
        }

        let begun = Instant::now();
        let (mut tried, body) = (0, json!({"username": "root", "password": "wrong"}));
        for turn in 0..18 {
            let call = cluster.nodes()[turn % 3].call("POST", "/api/user/login").json(&body);
            let answer = call.send().await;
            assert!(matches!(answer.status, 401 | 429), "{}", answer.text());
            tried += i64::from(answer.status == 401);
        }
        // Ten, and one more each six seconds.
        let most = 10 + i64::try_from(begun.elapsed().as_secs() / 6).unwrap() + 1;
        let most = most + cluster.metric(IN_VAIN).await;
        assert!((10..=most).contains(&tried), "{tried} of {most}");

        cluster.redis.kill_9().await;
        cluster.ready(&json!({"status": "ready", "redis": "down"})).await;
        let limited = cluster.world.key(&ann, json!({"rate_limit_tpm": 100})).await;
        for server in cluster.nodes() {
            pass(server, &limited).send().await.expect(200);
            pass(server, &limited).send().await.expect_error(429, "RATE_LIMITED");
        }
        cluster.world.close().await;
    }
}

#[test]
fn whatever_is_lost_nobody_is_charged_wrongly() {
    testkit::run(async {
        let postgres = Postgres::start().await;
        let db = TestDb::in_cluster(postgres.dsn()).await;
        let mut cluster = Cluster::open(db).await;
        let ann = cluster.world.payer(10_000_000).await;
        // High enough that no call is refused, yet each call is counted.
        let ann = cluster.world.key(&ann, json!({"rate_limit_rpm": 1_000_000})).await;
        cluster.model(&ann).await;
        cluster.others[0].admin().price("m", fixed(8)).await;
        cluster.price_is(&ann, 8).await;

        let load = Load::start(&cluster, &ann);
        load.goes_on().await;
        cluster.others[0].admin().price("m", fixed(9)).await;
        cluster.price_is(&ann, 9).await;

        cluster.redis.kill_9().await;
        load.goes_on().await;
        cluster.redis.start_again().await;
        cluster.ready(&json!({"status": "ready", "redis": "up"})).await;

        let dead = cluster.others[1].pid();
        cluster.others[1].kill_9().await;
        let lapse = format!("UPDATE nodes SET lease_until = now() WHERE name LIKE '%:{dead}'");
        assert_eq!(cluster.world.db.execute(&lapse).await, 1);
        load.goes_on_through(&[0, 1]).await;
        cluster.others[1].start_again().await;
        load.goes_on().await;

        let task = begin_task(&cluster, &ann).await;
        postgres.crash().await;
        let unready = "database_unreachable";
        cluster.ready(&json!({"status": "not_ready", "reason": unready, "redis": "up"})).await;
        for server in cluster.nodes() {
            server.call("GET", "/livez").send().await.expect(200);
            pass(server, &ann).send().await.expect_error(503, "DATABASE_UNAVAILABLE");
        }
        postgres.start_again().await;
        assert!(postgres.log().contains("automatic recovery"), "{}", postgres.log());
        // Once before the nodes may be listening, and again when all of them are.
        cluster.world.db.execute("UPDATE abilities SET fixed_quota = 10").await;
        load.goes_on().await;
        cluster.ready(&json!({"status": "ready", "redis": "up"})).await;
        cluster.price_is(&ann, 10).await;
        cluster.listening().await;
        cluster.world.db.execute("UPDATE abilities SET fixed_quota = 11").await;
        // Without the notification, a node would reload only after this test has timed out.
        cluster.price_is(&ann, 11).await;
        end_task(&cluster, &task).await;

        let delivered = load.stop().await;
        charged_as_delivered(&cluster, &ann, &delivered).await;
    });
}

/// A task that its upstream is running, and that has been polled.
async fn begin_task(cluster: &Cluster, payer: &Payer) -> Row {
    let world = &cluster.world;
    let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
    world.model("img/submit", fixed(40), taken).await;
    say_of_task(cluster, "running");
    world.pay("img/submit", payer).await.expect(200);
    eventually("the task to be asked about", || async {
        let row = world.db.row("SELECT * FROM tasks").await;
        (row.get("upstream_status") == Some("running")).then_some(row)
    })
    .await
}

/// The task ends now, and is charged by the price of its submission.
async fn end_task(cluster: &Cluster, task: &Row) {
    say_of_task(cluster, "done");
    eventually("the task to end", || async {
        let row = cluster.world.db.row("SELECT * FROM tasks").await;
        assert_eq!(row.text("task_id"), task.text("task_id"));
        (row.text("status") == "completed" && row.i64("used_quota") == 40).then_some(())
    })
    .await;
}

fn say_of_task(cluster: &Cluster, status: &str) {
    let said = json!({"code": 0, "data": [{"task_id": "up-1", "status": status}]});
    cluster.world.upstream.on("/img/task/list-by-condition", Reply::json(&said));
}

/// Clients of every node that call as fast as they are answered, and note what they got.
struct Load {
    clients: Vec<tokio::task::JoinHandle<()>>,
    delivered: Arc<[Mutex<HashSet<String>>; 3]>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(cluster: &Cluster, payer: &Payer) -> Self {
        let delivered = Arc::<[Mutex<HashSet<String>>; 3]>::default();
        let stop = Arc::<AtomicBool>::default();
        let mut clients = Vec::new();
        for (at, server) in cluster.nodes().into_iter().enumerate() {
            for client in 0..CLIENTS {
                let (call, name) = (pass(server, payer), format!("load-{at}-{client}"));
                let (delivered, stop) = (Arc::clone(&delivered), Arc::clone(&stop));
                clients.push(tokio::spawn(async move {
                    call_on(&call, &name, &delivered[at], &stop).await;
                }));
            }
        }
        Self { clients, delivered, stop }
    }

    /// Waits until further calls were answered through each node.
    async fn goes_on(&self) {
        self.goes_on_through(&[0, 1, 2]).await;
    }

    async fn goes_on_through(&self, nodes: &[usize]) {
        let count = |node: usize| self.delivered[node].lock().unwrap().len();
        let before: Vec<usize> = nodes.iter().map(|&node| count(node)).collect();
        eventually("calls to go through", || async {
            let all = nodes.iter().zip(&before).all(|(&node, before)| count(node) >= before + 10);
            all.then_some(())
        })
        .await;
    }

    /// The ids of all calls that were answered.
    async fn stop(self) -> HashSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.delivered.iter().flat_map(|ids| ids.lock().unwrap().clone()).collect()
    }
}

async fn call_on(call: &Call, name: &str, delivered: &Mutex<HashSet<String>>, stop: &AtomicBool) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let id = format!("{name}-{number}");
        let answer = call.clone().header("X-Request-Id", &id).try_send().await;
        // An error, or a reply that is cut, is fair; a wrong charge is not.
        if answer.is_ok_and(|answer| answer.status == 200) {
            delivered.lock().unwrap().insert(id);
        } else {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Every call that was answered was charged, once, and so was no other, but for those whose reply
/// was lost on its last way with the node or the database that broke.
async fn charged_as_delivered(cluster: &Cluster, payer: &Payer, delivered: &HashSet<String>) {
    let world = &cluster.world;
    world.pass_deadlines().await;
    world.close().await;
    let sql = "SELECT request_id FROM logs WHERE type = 'consume'";
    let charged: Vec<String> =
        world.db.query(sql).await.iter().map(|row| row.text("request_id").to_owned()).collect();
    let once: HashSet<String> =
        charged.iter().filter(|id| id.starts_with("load-")).cloned().collect();
    let of_load = charged.iter().filter(|id| id.starts_with("load-")).count();
    assert_eq!(once.len(), of_load, "charged twice");
    let free: Vec<&String> = delivered.difference(&once).collect();
    assert!(free.is_empty(), "delivered, not charged: {free:?}");
    let lost = once.difference(delivered).count();
    assert!(lost <= FAULTS * CLIENTS * 3, "{lost} were charged and not delivered");
    let seen = world.upstream.requests().await;
    let seen: HashSet<String> = seen.iter().filter_map(|one| one.header("X-Request-Id")).collect();
    assert!(once.is_subset(&seen), "charged for what was never sent");
    let sum = world.db.i64("SELECT sum(quota) FROM logs WHERE type = 'consume'").await;
    assert_eq!(world.money(payer).await.used, sum);
}
