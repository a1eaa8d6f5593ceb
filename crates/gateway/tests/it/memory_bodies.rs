//! Memory is bounded by its budget also where a body takes more than it seems to: sent in a million
//! pieces, compressed, or made anew for a channel; and in what we answer from our own record.

use crate::memory::{MIB, SETTINGS, close, open};
use crate::world::{Payer, World, by_use, fixed, skipped};
use std::time::{Duration, Instant};
use testkit::server::{ROOT_PASSWORD, SECRET_KEY};
use testkit::upstream::gzip;
use testkit::{Gate, RawClient, Reply, TestDb, eventually, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const BUFFERED: &str = "custompass_buffered_bytes";

/// Begins a request with a body in chunks of one byte, which has no end.
async fn begin_in_pieces(world: &World, path: &str, pieces: usize) -> RawClient {
    let mut raw = world.server.raw().await;
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    raw.send(head).await;
    // A refusal closes the connection; what is sent after that is not read.
    let chunks = "1\r\nx\r\n".repeat(pieces);
    let sending = raw.send(chunks);
    let _ = tokio::time::timeout(Duration::from_secs(5), sending).await;
    raw
}

/// Sends a request for what is not read, on a connection that takes next to nothing by itself.
async fn ask(world: &World, call: &str, key: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(world.server.addr()).await.unwrap();
    let head = format!("{call} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Waits until each has the beginning of an answer: a list, or that there is no room for it.
async fn all_answer(unread: &mut [TcpStream]) {
    for stream in unread {
        let mut beginning = [0; 8];
        testkit::within("an answer", stream.read_exact(&mut beginning)).await.unwrap();
        assert_eq!(&beginning, b"HTTP/1.1");
    }
}

/// A client that reads 100 KiB a second. Its segments and its buffer are small: on the loopback the
/// system would take megabytes from the server, and then nothing for seconds.
const SLOW_CLIENT: &str = "
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
s.connect(('127.0.0.1', int(sys.argv[1])))
s.sendall(sys.argv[2].encode())
while s.recv(4096):
    time.sleep(0.01)
";

/// Has an answer read slowly, and returns for how long it was held; `None` without a Python.
async fn held_for(world: &World, request: String) -> Option<Duration> {
    let port = world.server.addr().port().to_string();
    let mut client = tokio::process::Command::new("python3");
    client.args(["-c", SLOW_CLIENT, &port, &request]).kill_on_drop(true);
    let Ok(_client) = client.spawn() else {
        skipped("there is no python3");
        return None;
    };
    let buffered = async || world.server.metric(BUFFERED).await;
    eventually("it to be held", || async { (buffered().await > MIB as i64).then_some(()) }).await;
    let began = Instant::now();
    eventually("it to be given back", || async { (buffered().await == 0).then_some(()) }).await;
    Some(began.elapsed())
}

/// How many connections were ended because of what was held for their clients.
async fn cut(world: &World) -> i64 {
    world.server.metric("custompass_connections_cut_total{why=\"held\"}").await
}

/// Ended tasks of this user that were submitted to `path`, each with a report of `bytes`.
async fn ended_tasks(world: &World, owner: &Payer, path: &str, bytes: usize) {
    ended(world, owner, path, (100, bytes)).await;
}

async fn ended(world: &World, owner: &Payer, path: &str, (count, bytes): (usize, usize)) {
    let sealer = store::Sealer::new(SECRET_KEY.as_bytes());
    let user = owner.id;
    for n in 0..count {
        let id = format!("t-{n}");
        let said = json!({"id": id, "task_id": id, "result": "r".repeat(bytes)}).to_string();
        let sealed = sealer.seal(store::TASK_DATA, said.as_bytes()).unwrap();
        world
            .db
            .execute(&format!(
                "INSERT INTO tasks (uid, user_id, channel_id, action, path, task_id, status,
                     upstream_status, progress, data, finish_time)
                 VALUES (x'018f5b2e00007000{user:04x}{n:012}', {user}, 1, 'sora-2', '{path}',
                     '{id}', 'completed', 'DONE', '100%', '{sealed}', 1700000000000)"
            ))
            .await;
    }
}

on_sqlite! {
    async fn logins_in_a_hundred_thousand_pieces(db: TestDb) {
        let world = open(db).await;
        let mut begun = Vec::new();
        for _ in 0..50 {
            for path in ["/api/user/login", "/console/login"] {
                begun.push(begin_in_pieces(&world, path, 100_000).await);
            }
        }
        // They are not waited for: they are too large.
        for raw in &mut begun {
            raw.closed().await;
        }
        for path in ["/api/user/login", "/console/login", "/console/preferences"] {
            let large = world.server.call("POST", path).body(vec![b'x'; 9_000]);
            large.send().await.expect(413);
        }

        // Those that lack their end have a part of their own, and keep nobody out.
        let mut stalled = Vec::new();
        for n in 0..300 {
            let path = ["/api/user/login", "/console/login"][n % 2];
            stalled.push(begin_in_pieces(&world, path, 8_000).await);
        }
        let login = json!({"username": "root", "password": ROOT_PASSWORD});
        let login = world.server.call("POST", "/api/user/login").json(&login);
        login.send().await.expect(200);
        let (ann, _) = world.admin().payer(0).await;
        let token = crate::setup_rules::access_token(&world, ann).await;
        let name = json!({"name": "a".repeat(50), "unlimited_quota": true});
        world.server.call("POST", "/api/token").key(&token).json(&name).send().await.expect(200);
        drop(stalled);
        close(&world).await;
    }

    async fn pages_of_small_results_that_are_not_read(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(0).await, world.payer(0).await);
        for owner in [&ann, &bob] {
            ended_tasks(&world, owner, "", 11_000).await;
        }
        let mut unread = Vec::new();
        for _ in 0..300 {
            unread.push(ask(&world, "GET /v1/tasks?limit=100", &ann.key).await);
        }
        all_answer(&mut unread).await;

        let page = world.server.call("GET", "/v1/tasks?limit=100").key(&bob.key);
        let page = page.send().await.expect(200).json();
        let results = page["data"].as_array().unwrap().iter();
        let sizes: Vec<_> = results.map(|it| it["result"].as_str().map_or(0, str::len)).collect();
        assert_eq!(sizes, [11_000; 100], "another's part is theirs");
        drop(unread);
        close(&world).await;
    }

    async fn lists_of_our_own_that_are_not_read(db: TestDb) {
        let world = open(db).await;
        let openai = json!({"protocol": "openai", "key": "up-key"});
        world.channel(&["sora-2"], openai).await;
        let (ann, bob) = (world.payer(0).await, world.payer(0).await);
        for owner in [&ann, &bob] {
            ended_tasks(&world, owner, "/v1/videos", 11_000).await;
        }
        let mut unread = Vec::new();
        for _ in 0..150 {
            unread.push(ask(&world, "GET /v1/videos?limit=100", &ann.key).await);
        }
        all_answer(&mut unread).await;

        let list = world.server.call("GET", "/v1/videos?limit=100").key(&bob.key);
        let list = list.send().await.expect(200).json();
        assert_eq!(list["data"].as_array().unwrap().len(), 100, "another's part is theirs");
        drop(unread);
        close(&world).await;
    }

    async fn replies_that_are_read_on_for_clients_that_left(db: TestDb) {
        let world = open(db).await;
        let gate = Gate::new();
        let stream = Reply::sse(["1"]).wait(&gate).event("[DONE]");
        world.model("m", fixed(1), stream).await;
        let ann = world.payer(1_000).await;
        let mut begun = Vec::new();
        for _ in 0..200 {
            let mut raw = world.server.raw().await;
            raw.send(format!(
                "POST /pass/m HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
                 Content-Length: 2\r\n\r\n{{}}",
                ann.key
            ))
            .await;
            begun.push(raw);
        }
        for raw in &mut begun {
            raw.read_until("data: 1").await;
        }
        drop(begun);

        // Half of the budget has room for 25; the others are settled at once.
        eventually("all but those that find room to be settled", || async {
            (world.open_holds().await == 25).then_some(())
        })
        .await;
        assert_eq!(world.server.metric(BUFFERED).await, 25 * 320 * 1024);
        gate.open();
        world.wait_for_money(&ann, 800, 200).await;
        eventually("all of it to be given back", || async {
            (world.server.metric(BUFFERED).await == 0).then_some(())
        })
        .await;
        close(&world).await;
    }

    async fn whoever_leaves_is_charged_by_use_however_full_others_fill_the_budget(db: TestDb) {
        let world = open(db).await;
        let gate = Gate::new();
        let usage = json!({"usage": testkit::upstream::usage(3, 4)}).to_string();
        let stream = Reply::sse(["1"]).wait(&gate).event(&usage).event("[DONE]");
        world.model("m", by_use(), stream).await;
        let ann = world.payer(1_000).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).body("{}");
        let mut begun = call.stream().await;
        begun.read_until("data: 1").await;

        let mut stalled = Vec::new();
        for (part, bytes) in [(1, 8 * MIB), (2, 6 * MIB)] {
            let (other, mut raw) = (world.payer(1_000).await, world.server.raw().await);
            raw.send(format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
                 Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n",
                other.key
            ))
            .await;
            raw.send(vec![b' '; bytes - 100]).await;
            let least = part * 6 * MIB as i64;
            eventually("the body to be held", || async {
                (world.server.metric(BUFFERED).await >= least).then_some(())
            })
            .await;
            stalled.push(raw);
        }
        drop(begun);
        gate.open();

        world.wait_for_money(&ann, 1_000 - 7, 7).await;
        drop(stalled);
        close(&world).await;
    }

    async fn a_task_in_a_stream_of_events_is_not_held_for_hours(db: TestDb) {
        let world = World::with(db, &[&SETTINGS[..], &[("WRITE_TIMEOUT", "2s")]].concat()).await;
        let ann = world.payer(0).await;
        ended(&world, &ann, "", (1, 3 * MIB)).await;

        let events = format!(
            "GET /v1/tasks/t-0/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            ann.key
        );
        let Some(held) = held_for(&world, events).await else { return };

        // A window for each half of a mebibyte.
        assert!((10..20).contains(&held.as_secs()), "{held:?}");
        assert_eq!(cut(&world).await, 1);
        world.close().await;
    }

    async fn replies_that_were_collected_count_until_they_are_read(db: TestDb) {
        let world = open(db).await;
        let reply = json!({"data": "x".repeat(7 * MIB), "usage": testkit::upstream::usage(3, 4)});
        world.model("m", by_use(), Reply::json(&reply)).await;
        let ann = world.payer(1_000).await;
        let mut unread = Vec::new();
        for _ in 0..20 {
            let mut stream = [ask(&world, "POST /pass/m", &ann.key).await];
            all_answer(&mut stream).await;
            unread.extend(stream);
            // The first is held; for the others there is no room, and they come as they are read.
            assert!(world.server.metric(BUFFERED).await > 7 * MIB as i64);
        }
        drop(unread);
        eventually("all to be settled", || async {
            (world.open_holds().await == 0).then_some(())
        })
        .await;
        close(&world).await;
    }

    async fn what_was_collected_of_a_reply_that_flows_is_not_held_for_hours(db: TestDb) {
        let settings = [("CUSTOM_PASS_BUFFER_BUDGET", "6MiB"), ("WRITE_TIMEOUT", "2s")];
        let world = World::with(db, &settings).await;
        // Half of the budget is a user's part: as much is collected, and then it flows.
        let reply = json!({"data": "x".repeat(5 * MIB), "usage": testkit::upstream::usage(3, 4)});
        world.model("m", by_use(), Reply::json(&reply)).await;
        let ann = world.payer(1_000).await;

        let call = format!(
            "POST /pass/m HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Length: 2\r\n\r\n{{}}",
            ann.key
        );
        let Some(held) = held_for(&world, call).await else { return };

        // A window for each half of a mebibyte.
        assert!((10..20).contains(&held.as_secs()), "{held:?}");
        assert_eq!(cut(&world).await, 1);
        world.wait_for_money(&ann, 1_000 - 7, 7).await;
        world.close().await;
    }

    async fn lists_of_models_that_are_not_read(db: TestDb) {
        let world = open(db).await;
        for channel in 0..3 {
            let name = |n| format!("{}-{channel}-{n}", "m".repeat(190));
            let models: Vec<String> = (0..2_000).map(name).collect();
            world.channel(&["m"], json!({"models": models})).await;
        }
        let (ann, bob) = (world.payer(0).await, world.payer(0).await);
        let mut unread = Vec::new();
        for _ in 0..40 {
            unread.push(ask(&world, "GET /v1/models", &ann.key).await);
        }
        all_answer(&mut unread).await;

        assert!(world.server.metric(BUFFERED).await > 3 * MIB as i64, "counted until read");
        let list = world.server.call("GET", "/v1/models").key(&bob.key).send().await;
        let list = list.expect(200).json();
        assert_eq!(list["data"].as_array().unwrap().len(), 6_000, "another's part is theirs");
        drop(unread);
        eventually("all of it to be given back", || async {
            (world.server.metric(BUFFERED).await == 0).then_some(())
        })
        .await;
        close(&world).await;
    }

    async fn nothing_is_decompressed_for_who_cannot_pay(db: TestDb) {
        let world = open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let (ann, poor) = (world.payer(100).await, world.payer(9).await);
        let send = |payer: &Payer, path: &str, body: &[u8]| {
            let call = world.server.call("POST", path).key(&payer.key);
            let call = call.header("Content-Type", "application/json");
            call.header("Content-Encoding", "gzip").body(body.to_vec()).send()
        };

        // What is no gzip at all is not looked at.
        for path in ["/v1/chat/completions", "/pass/m"] {
            send(&poor, path, &[b'x'; 64]).await.expect(402);
            send(&ann, path, &[b'x'; 64]).await.expect(400);
        }

        assert_eq!(world.upstream.count(), 0);
        close(&world).await;
    }

    async fn a_body_made_for_a_channel_counts_while_it_is_sent(db: TestDb) {
        let world = open(db).await;
        let gate = Gate::new();
        world.upstream.on("/m", Reply::text("ok").gated(&gate));
        let changes = json!({"param_override": {"seed": 1}});
        world.channel(&["m"], changes).await;
        world.admin().price("m", fixed(10)).await;
        let ann = world.payer(100).await;
        let body = gzip(json!({"text": "x".repeat(7 * MIB)}).to_string().as_bytes());
        assert!(body.len() < 20_000, "{}", body.len());
        let call = world.server.call("POST", "/pass/m").key(&ann.key);
        let call = call.header("Content-Type", "application/json");
        let call = call.header("Content-Encoding", "gzip").body(body);

        let first = tokio::spawn(call.clone().send());
        gate.reached(1).await;
        assert!(world.server.metric(BUFFERED).await > 7 * MIB as i64);
        // Another one of that size is beyond the user's part: nothing is sent, or paid for.
        call.send().await.expect_error(503, "OVERLOADED");
        gate.open();
        first.await.unwrap().expect(200);

        assert_eq!((world.upstream.count(), world.money(&ann).await.used), (1, 10));
        assert_eq!(world.server.metric(BUFFERED).await, 0);
        close(&world).await;
    }
}
