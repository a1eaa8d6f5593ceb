//! Memory is bounded by its budget, however much users request and however slowly they read it.

use crate::setup_rules::access_token;
use crate::world::{Payer, World, by_use, fixed};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::time::Duration;
use testkit::server::SECRET_KEY;
use testkit::{Gate, RawClient, Reply, TestDb, eventually, json};

/// The budget of these tests, and few other buffers.
pub const SETTINGS: [(&str, &str); 4] = [
    ("CUSTOM_PASS_BUFFER_BUDGET", "16MiB"),
    ("CUSTOM_PASS_POLL_INTERVAL", "1h"),
    ("CUSTOM_PASS_DRAIN_SECONDS", "600"),
    ("WEBHOOK_ALLOW_NETS", "127.0.0.0/8"),
];
/// What the process may have taken: four budgets.
const MOST_KIB: u64 = 64 << 10;
pub const MIB: usize = 1 << 20;

pub async fn open(db: TestDb) -> World {
    let world = World::with(db, &SETTINGS).await;
    world.forget_peak();
    world
}

pub async fn close(world: &World) {
    let peak = world.peak_kib();
    assert!(peak < MOST_KIB, "{peak} KiB were resident at a time");
    world.close().await;
}

/// Sends a request, and reads nothing of its answer.
async fn ask(world: &World, method: &str, path: &str, key: &str, more: &str) -> RawClient {
    let mut raw = world.server.raw().await;
    let length = if method == "POST" { "Content-Length: 2\r\n" } else { "" };
    let body = if method == "POST" { "{}" } else { "" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n");
    raw.send(format!("{head}{length}{more}\r\n{body}")).await;
    raw
}

/// Creates ended tasks of this user, each with a result of `result_bytes`.
async fn ended_tasks(world: &World, owner: &Payer, count: u32, result_bytes: usize) {
    let said = json!({"task_id": "t", "result": "r".repeat(result_bytes)}).to_string();
    let sealer = store::Sealer::new(SECRET_KEY.as_bytes());
    let sealed = sealer.seal(store::TASK_DATA, said.as_bytes()).unwrap();
    let user = owner.id;
    let insert = |n: u32, data: &str| {
        format!(
            "INSERT INTO tasks (uid, user_id, channel_id, action, task_id, status, upstream_status,
                 progress, data, finish_time)
             VALUES (x'018f5b2e00007000{user:04x}{n:012}', {user}, 1, 'img/submit', 't-{n}',
                 'completed', 'DONE', '100%', {data}, 1700000000000);"
        )
    };
    world.db.execute(&insert(0, &format!("'{sealed}'"))).await;
    for n in 1..count {
        let copy = format!("(SELECT data FROM tasks WHERE user_id = {user} AND task_id = 't-0')");
        world.db.execute(&insert(n, &copy)).await;
    }
}

/// As many lines as make several pieces of an export, none of them about money.
pub async fn many_lines(world: &World, user_id: i64) {
    world
        .db
        .execute(&format!(
            "INSERT INTO logs (user_id, type, content, model_name)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             SELECT {user_id}, 'error', printf('%.*c', 2000, 'x'), 'm' FROM n"
        ))
        .await;
}

on_sqlite! {
    async fn a_page_of_large_results(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(0).await, world.payer(0).await);
        let (count, bytes) = (24, 3 * MIB);
        for owner in [&ann, &bob] {
            ended_tasks(&world, owner, count, bytes).await;
        }
        // One user requests a lot, and reads nothing of it.
        let mut unread = Vec::new();
        for _ in 0..8 {
            unread.push(ask(&world, "GET", "/v1/tasks?limit=100", &ann.key, "").await);
        }

        let ids: Vec<String> = (0..count).map(|n| format!("t-{n}")).collect();
        for answer in [
            world.server.call("GET", "/v1/tasks?limit=100").key(&bob.key),
            world.server.call("POST", "/pass/img/task/list-by-condition").key(&bob.key)
                .json(&json!({"task_ids": ids})),
        ] {
            let mut answer = answer.stream().await;
            assert_eq!(answer.status, 200);
            let mut seen = 0;
            while let Some(piece) = answer.next_chunk().await {
                seen += piece.unwrap().len();
            }
            assert!(seen > count as usize * bytes, "{seen} bytes");
        }

        drop(unread);
        close(&world).await;
    }

    async fn readers_of_large_replies_that_do_not_read(db: TestDb) {
        let world = open(db).await;
        let reply = json!({"usage": testkit::upstream::usage(1, 1), "data": "x".repeat(7 * MIB)});
        world.model("m", by_use(), Reply::json(&reply)).await;
        let ann = world.payer(1_000).await;
        let mut unread = Vec::new();
        for _ in 0..24 {
            unread.push(ask(&world, "POST", "/pass/m", &ann.key, "").await);
        }
        world.upstream.wait_for_requests(24).await;

        // Those that fit were collected, and begin to be sent; the rest waits where it comes from.
        let mut beginning: FuturesUnordered<_> =
            unread.iter_mut().map(|raw| raw.read_until("\r\n\r\n")).collect();
        beginning.next().await.unwrap();
        drop(beginning);

        let held = world.server.metric("custompass_buffered_bytes").await;
        assert!(held > MIB as i64, "counted until sent: {held}");
        drop(unread);
        // They are read to their ends one after the other, each with the patience of one. Those for
        // which there is no room are settled at once, at what was held, as their usage comes last.
        for count in (0..24).rev() {
            eventually(&format!("{count} replies to be left"), || async {
                (world.open_holds().await <= count).then_some(())
            })
            .await;
        }
        let used = world.money(&ann).await.used;
        assert!((1..=48).contains(&used), "{used}");
        assert_eq!(world.journal(&ann).await.len(), 24, "each is charged once");
        close(&world).await;
    }

    async fn replays_that_are_not_read(db: TestDb) {
        let world = open(db).await;
        world.model("m", by_use(), {
            let text = "x".repeat(MIB - 1_000);
            Reply::json(&json!({"usage": testkit::upstream::usage(1, 1), "data": text}))
        })
        .await;
        let ann = world.payer(1_000).await;
        let first = world.server.call("POST", "/pass/m").key(&ann.key);
        first.header("Idempotency-Key", "k").body("{}").send().await.expect(200);

        let mut unread = Vec::new();
        for _ in 0..150 {
            let again = ask(&world, "POST", "/pass/m", &ann.key, "Idempotency-Key: k\r\n").await;
            unread.push(again);
        }
        // Each gets its answer's beginning: a replay's, or that there is no room for one.
        for raw in &mut unread {
            raw.read_until("HTTP/1.1 ").await;
        }
        drop(unread);

        let again = world.server.call("POST", "/pass/m").key(&ann.key);
        let again = again.header("Idempotency-Key", "k").body("{}");
        let again = eventually("room for a replay", || async {
            Some(again.clone().send().await).filter(|answer| answer.status == 200)
        });
        assert_eq!(again.await.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(world.money(&ann).await.used, 2);
        close(&world).await;
    }

    async fn waiters_and_streams_of_events_when_large_results_come(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(0).await, world.payer(0).await);
        for owner in [&ann, &bob] {
            ended_tasks(&world, owner, 8, 3 * MIB).await;
        }
        world.db.execute(
            "UPDATE tasks SET status = 'processing', upstream_status = 'WORD', progress = '5%',
                 data = '', finish_time = NULL WHERE task_id <> 't-0'"
        ).await;
        let (mut streams, mut waiters) = (Vec::new(), Vec::new());
        for n in (1..8).cycle().take(84) {
            let (events, wait) =
                (format!("/v1/tasks/t-{n}/events"), format!("/v1/tasks/t-{n}?wait=60"));
            streams.push(ask(&world, "GET", &events, &ann.key, "").await);
            waiters.push(ask(&world, "GET", &wait, &ann.key, "").await);
        }
        for stream in &mut streams {
            stream.read_until("event: task").await;
        }
        let heard = world.server.call("GET", "/v1/tasks/t-1?wait=60").key(&bob.key).send();
        let heard = tokio::spawn(heard);
        eventually("all to wait", || async {
            (world.server.metric("custompass_requests_in_flight").await == 85).then_some(())
        })
        .await;

        world.db.execute(
            "UPDATE tasks SET status = 'completed', upstream_status = 'DONE', progress = '100%',
                 finish_time = 1700000000000, data = (SELECT ended.data FROM tasks ended
                     WHERE ended.user_id = tasks.user_id AND ended.task_id = 't-0')
             WHERE task_id <> 't-0'"
        ).await;

        // Each gets the beginning of an answer: a result, or that there is no room for one.
        for waiter in &mut waiters {
            waiter.read_until("HTTP/1.1 ").await;
        }
        let heard = heard.await.unwrap().expect(200);
        assert!(heard.text().len() > 3 * MIB, "another user's part is theirs");
        drop((streams, waiters));
        close(&world).await;
    }

    async fn bodies_that_lack_their_end(db: TestDb) {
        let world = open(db).await;
        world.model("m", json!(null), Reply::text("ok")).await;
        let (ann, bob) = (world.payer(0).await, world.payer(0).await);
        let mut stalled = Vec::new();
        for (count, length) in [(8, 32 * MIB), (8, 3 * MIB), (1_500, 60_000)] {
            for _ in 0..count {
                let mut raw = world.server.raw().await;
                raw.send(format!(
                    "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
                     Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
                    ann.key
                ))
                .await;
                // A refusal closes the connection; what is sent after that is not read.
                let body = vec![b' '; length - 100];
                let sending = raw.send(&body);
                let _ = tokio::time::timeout(Duration::from_secs(5), sending).await;
                stalled.push(raw);
            }
        }

        // Another user's body, which is held whole as well, finds its place.
        let body = json!({"model": "m", "text": "x".repeat(MIB)});
        world.upstream.on("/v1/chat/completions", Reply::text("ok"));
        let call = world.server.call("POST", "/v1/chat/completions").key(&bob.key).json(&body);
        call.send().await.expect(200);

        drop(stalled);
        close(&world).await;
    }

    async fn exports_and_pages_of_the_log_that_are_not_read(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(0).await, world.payer(0).await);
        for owner in [&ann, &bob] {
            many_lines(&world, owner.id).await;
        }
        let (anns, bobs) =
            (access_token(&world, ann.id).await, access_token(&world, bob.id).await);
        let mut unread = Vec::new();
        for _ in 0..100 {
            unread.push(ask(&world, "GET", "/api/log/self/export", &anns, "").await);
            unread.push(ask(&world, "GET", "/api/log/self?page_size=100", &anns, "").await);
        }
        // Each gets the beginning of an answer: the log, or that there is no room for it.
        for raw in &mut unread {
            raw.read_until("HTTP/1.1 ").await;
        }

        let whole = world.server.call("GET", "/api/log/self/export").key(&bobs).send().await;
        assert_eq!(whole.expect(200).text().lines().count(), 3_001, "another's part is theirs");
        drop(unread);
        eventually("room", || async {
            let whole = world.server.call("GET", "/api/log/self/export").key(&anns);
            whole.try_send().await.ok().filter(|it| it.status == 200).map(|_| ())
        })
        .await;
        close(&world).await;
    }

    async fn streams_and_downloads_that_are_hardly_read(db: TestDb) {
        let world = open(db).await;
        let event = format!("\"{}\"", "x".repeat(60_000));
        world.model("stream", by_use(), Reply::sse(vec![event.clone(); 100])).await;
        world.model("free", json!(null), Reply::sse(vec![event; 100])).await;
        let file = Reply::bytes("video/mp4", vec![7; 6 * MIB]);
        world.model("file", fixed(1), file).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let mut readers = Vec::new();
        // As many as find room.
        for _ in 0..12 {
            for (model, payer) in [("stream", &ann), ("free", &ann), ("file", &bob)] {
                let path = format!("/pass/{model}");
                readers.push(ask(&world, "POST", &path, &payer.key, "").await);
            }
        }
        for raw in &mut readers {
            raw.read_until("HTTP/1.1 200").await;
        }

        // Every other one reads a little now and then, and is served on.
        for _ in 0..100 {
            for raw in readers.iter_mut().step_by(2) {
                raw.read_little().await;
            }
        }
        world.pay("m", &bob).await.expect(200);

        drop(readers);
        eventually("the rest to be read for nobody", || async {
            let flowing = world.server.metric("custompass_requests_in_flight").await;
            (flowing == 0 && world.open_holds().await == 0).then_some(())
        })
        .await;
        close(&world).await;
    }

    async fn hundreds_of_streams_that_are_not_read(db: TestDb) {
        let settings = [&SETTINGS[..], &[("CUSTOM_PASS_DRAIN_SECONDS", "1")]].concat();
        let world = World::with(db, &settings).await;
        let event = format!("\"{}\"", "x".repeat(60_000));
        world.model("stream", fixed(1), Reply::sse(vec![event; 100])).await;
        world.model("file", fixed(1), Reply::bytes("video/mp4", vec![7; 6 * MIB])).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        world.forget_peak();
        let mut unread = Vec::new();
        for _ in 0..100 {
            for model in ["stream", "file"] {
                unread.push(ask(&world, "POST", &format!("/pass/{model}"), &ann.key, "").await);
            }
        }
        // Those that find room are counted while they wait; the others are cut, or refused.
        let buffered = async || world.server.metric("custompass_buffered_bytes").await;
        eventually("the streams to be counted", || async {
            (buffered().await > 7 * MIB as i64).then_some(())
        })
        .await;
        let slow = world.server.call("GET", "/pass/file").key(&bob.key);
        let mut slow = slow.stream().await;
        eventually("each to have had its turn", || async {
            let flowing = world.server.metric("custompass_requests_in_flight").await;
            (flowing < 30).then_some(())
        })
        .await;
        assert!(buffered().await <= 8 * MIB as i64 + 320 * 1024, "a user's part");
        let mut seen = 0;
        while let Some(piece) = slow.next_chunk().await {
            seen += piece.unwrap().len();
        }
        assert_eq!(seen, 6 * MIB, "another's part is theirs");

        drop(unread);
        eventually("all to be settled", || async {
            let flowing = world.server.metric("custompass_requests_in_flight").await;
            (flowing == 0 && world.open_holds().await == 0).then_some(())
        })
        .await;
        assert_eq!(buffered().await, 0);
        let money = world.money(&ann).await;
        assert_eq!((money.quota + money.used, money.used), (1_000, money.calls));
        // Who reads has all the room again.
        world.pay("m", &ann).await.expect(200);
        let read = world.server.call("GET", "/pass/file").key(&ann.key).send().await;
        assert_eq!(read.expect(200).body.len(), 6 * MIB);
        close(&world).await;
    }

    async fn large_replies_and_exports_that_are_read_slowly(db: TestDb) {
        let world = open(db).await;
        let reply = json!({"usage": testkit::upstream::usage(1, 1), "data": "x".repeat(3 * MIB)});
        world.model("m", by_use(), Reply::json(&reply)).await;
        let ann = world.payer(1_000).await;
        many_lines(&world, ann.id).await;
        let token = access_token(&world, ann.id).await;
        let mut readers = Vec::new();
        for _ in 0..24 {
            readers.push(ask(&world, "POST", "/pass/m", &ann.key, "").await);
            readers.push(ask(&world, "GET", "/api/log/self/export", &token, "").await);
            readers.push(ask(&world, "GET", "/api/log/self?page_size=100", &token, "").await);
        }
        for raw in &mut readers {
            raw.read_until("HTTP/1.1 ").await;
        }

        for _ in 0..100 {
            for raw in &mut readers {
                raw.read_little().await;
            }
        }

        drop(readers);
        // Where replies that came before hold the budget, a call is refused, and costs nothing.
        eventually("every call to end", || async {
            (world.db.i64("SELECT count(*) AS n FROM holds").await == 0).then_some(())
        })
        .await;
        let left = world.money(&ann).await.quota;
        assert!((1_000 - 48..1_000).contains(&left) && left % 2 == 0, "{left}");
        close(&world).await;
    }

    async fn streams_of_the_log_that_are_not_read(db: TestDb) {
        let world = open(db).await;
        let mut unread = Vec::new();
        let mut owners = Vec::new();
        for _ in 0..10 {
            let owner = world.payer(0).await;
            let token = access_token(&world, owner.id).await;
            for _ in 0..6 {
                let mut raw = ask(&world, "GET", "/api/events", &token, "").await;
                raw.read_until("event: state").await;
                unread.push(raw);
            }
            owners.push(owner);
        }
        let root = testkit::server::ROOT_ACCESS_TOKEN;
        let mut read = ask(&world, "GET", "/api/events", root, "").await;
        read.read_until("event: state").await;
        for _ in 0..12 {
            for owner in &owners {
                world.db.execute(&format!(
                    "INSERT INTO logs (user_id, type, content, model_name)
                     WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25)
                     SELECT {}, 'error', printf('%.*c', 4000, 'x'), 'm' FROM n",
                    owner.id
                ))
                .await;
            }
            // Line by line, or told anew how things stand: its ids come up to the newest.
            let newest = world.db.i64("SELECT max(id) FROM logs").await;
            let mut reached = 0;
            while reached < newest {
                let events = String::from_utf8_lossy(&read.read_until("\n\n").await).into_owned();
                let ids = events.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok());
                reached = ids.fold(reached, i64::max);
            }
        }
        drop((unread, read));
        close(&world).await;
    }

    async fn webhooks_with_large_results_to_endpoints_that_hang(db: TestDb) {
        let world = open(db).await;
        let owners = [world.payer(0).await, world.payer(0).await];
        for owner in &owners {
            ended_tasks(&world, owner, 8, 3 * MIB).await;
        }
        let gate = Gate::new();
        world.upstream.otherwise(Reply::text("ok").gated(&gate));
        for n in 0..16 {
            let owner = owners[n % 2].id;
            let url = format!("{}/hook/{n}", world.upstream.url());
            let body = json!({"user_id": owner, "url": url,
                "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA"});
            let endpoint = world.admin().post("/api/webhook", &body).await["id"].as_i64().unwrap();
            world.db.execute(&format!(
                "INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, due_at)
                 SELECT {endpoint}, user_id, uid, 'task.completed', 1 FROM tasks
                 WHERE user_id = {owner} LIMIT 2"
            ))
            .await;
        }

        // Of each user, as many are in flight as memory allows; the others were put off.
        gate.reached(1).await;
        let put_off = "custompass_webhooks_total{result=\"put_off\"}";
        eventually("the rest to find no room", || async {
            (world.server.metric(put_off).await >= 8).then_some(())
        })
        .await;
        gate.open();

        // They go one after the other, each with the patience of one.
        for count in 1..=32 {
            eventually(&format!("delivery {count}"), || async {
                let sql = "SELECT count(*) FROM webhook_deliveries WHERE state = 'delivered'";
                (world.db.i64(sql).await >= count).then_some(())
            })
            .await;
        }
        close(&world).await;
    }
}
