//! Stopping: what is under way is finished and settled, and the exit is clean.

use crate::memory::many_lines;
use crate::setup_rules::access_token;
use crate::world::{World, by_use, fixed};
use testkit::{Call, Gate, RawClient, Reply, Signal, TestDb, eventually, json, on_both_databases};

on_both_databases! {
    async fn a_stop_settles_what_is_under_way(db: TestDb) {
        let mut world = World::open(db).await;
        let gate = Gate::new();
        world.model("whole", fixed(10), Reply::text("whole").gated(&gate)).await;
        let stream = Reply::sse(["{\"n\":1}"]).wait(&gate)
            .event("{\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":5}}").event("[DONE]");
        world.model("stream", by_use(), stream.clone()).await;
        world.model("left", by_use(), stream).await;
        let ann = world.payer(100).await;
        let call = |model: &str| {
            let call = world.server.call("POST", &format!("/pass/{model}"));
            call.key(&ann.key).json(&json!({}))
        };
        let whole = tokio::spawn(call("whole").send());
        gate.reached(1).await;
        let mut stream = call("stream").stream().await;
        stream.read_until("\n\n").await;
        let mut left = call("left").stream().await;
        left.read_until("\n\n").await;
        drop(left);
        gate.reached(3).await;

        world.server.signal(Signal::TERM);
        let addr = world.server.addr();
        eventually("new callers to be turned away", || async {
            let call = Call::new(addr, "GET", "/api/status");
            (!call.try_send().await.is_ok_and(|answer| answer.status == 200)).then_some(())
        })
        .await;
        gate.open();

        assert_eq!(whole.await.unwrap().expect(200).text(), "whole");
        let rest = String::from_utf8(stream.rest().await.unwrap().to_vec()).unwrap();
        assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
        let status = world.server.wait_exit().await;
        assert_eq!(status.code(), Some(0), "{}", world.server.log_lines().join("\n"));
        assert_eq!(world.open_holds().await, 0);
        world.wait_for_money(&ann, 72, 28).await;
        world.server.audit_clean().await;
    }

    async fn a_restart_changes_nothing(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);

        world.server.restart().await;
        world.pay("m", &ann).await.expect(200);
        world.server.restart().await;

        world.wait_for_money(&ann, 80, 20).await;
        world.close().await;
    }
}

/// Clients that ask for more than sockets hold, and read nothing of it.
struct Unread {
    key: String,
    clients: Vec<RawClient>,
}

impl Unread {
    const STREAMS: usize = 4;

    async fn begin(world: &World) -> Self {
        let event = format!("\"{}\"", "x".repeat(60_000));
        world.model("s", by_use(), Reply::sse(vec![event; 400])).await;
        let ann = world.payer(1_000).await;
        many_lines(world, ann.id).await;
        let token = access_token(world, ann.id).await;
        let mut unread = Self { key: token, clients: Vec::new() };
        let exports = (0..20).map(|_| unread.request("GET", "/api/log/self/export", "\r\n"));
        let exports: Vec<_> = exports.collect();
        unread.key = ann.key;
        let stream = unread.request("POST", "/pass/s", "Content-Length: 2\r\n\r\n{}");
        for request in exports.iter().chain(std::iter::repeat_n(&stream, Self::STREAMS)) {
            let mut raw = world.server.raw().await;
            raw.send(request).await;
            raw.read_until("HTTP/1.1 200").await;
            unread.clients.push(raw);
        }
        unread
    }

    fn request(&self, method: &str, path: &str, rest: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{rest}",
            self.key
        )
    }
}

on_sqlite! {
    async fn a_stop_does_not_wait_longer_than_it_may(db: TestDb) {
        let mut world = World::with(db, &[("SHUTDOWN_TIMEOUT", "1s")]).await;
        world.model("m", fixed(10), Reply::hang()).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.try_send());
        world.upstream.wait_for_requests(1).await;

        let status = world.server.terminate().await;

        assert_eq!(status.code(), Some(0), "{}", world.server.log_lines().join("\n"));
        drop(running);
        world.server.start_again().await;
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn who_reads_nothing_does_not_hold_it_up(db: TestDb) {
        // Longer than the patience of a test.
        let mut world = World::with(db, &[("SHUTDOWN_TIMEOUT", "2m")]).await;
        let unread = Unread::begin(&world).await;

        let status = world.server.terminate().await;

        assert!(status.success());
        let lines = world.server.log_lines();
        assert!(!lines.iter().any(|line| line.contains("connections_cut")), "{lines:?}");
        drop(unread);
        world.server.start_again().await;
        world.close().await;
    }

    async fn it_ends_in_its_time_whatever_clients_do(db: TestDb) {
        let mut world = World::with(db, &[("SHUTDOWN_TIMEOUT", "2s")]).await;
        let unread = Unread::begin(&world).await;
        let mut stalled = Vec::new();
        for request in [
            "GET /api/status HTTP/1.1\r\nHost: x\r\nX-Half: ".to_owned(),
            unread.request("POST", "/v1/chat/completions", "Content-Length: 2000\r\n\r\n{}"),
            unread.request("POST", "/pass/s", "Content-Length: 2000\r\n\r\n{}"),
            unread.request("POST", "/api/user/login", "Content-Length: 2000\r\n\r\n{}"),
            unread.request("GET", "/v1/tasks/none/events", "\r\n"),
        ] {
            for _ in 0..4 {
                let mut raw = world.server.raw().await;
                raw.send(&request).await;
                stalled.push(raw);
            }
        }
        world.upstream.wait_for_heads(Unread::STREAMS).await;

        let status = world.server.terminate().await;

        assert!(status.success());
        let lines = world.server.log_lines();
        assert!(lines.iter().any(|line| line.contains("connections_cut")), "{lines:?}");
        drop((unread, stalled));
        world.server.start_again().await;
        world.pass_deadlines().await;
        world.close().await;
    }

    async fn idle_connections_do_not_hold_it_up(db: TestDb) {
        let mut world = World::open(db).await;
        let mut idle = world.server.raw().await;
        idle.send("GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n").await;
        idle.read_answer().await.unwrap().expect(200);
        let _silent = world.server.raw().await;

        let status = world.server.terminate().await;

        assert!(status.success());
        idle.closed().await;
    }

    async fn signals_that_mean_something_else_stop_nothing(db: TestDb) {
        let file = db.dir().join("own.log");
        let path = file.display().to_string();
        let world = World::with(db, &[("LOG_FILE", &path)]).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);
        let has_line = |at: std::path::PathBuf| {
            std::fs::read_to_string(at).is_ok_and(|text| text.contains("sync_request"))
        };
        eventually("the log's line", || async { has_line(file.clone()).then_some(()) }).await;

        // As logrotate does it.
        let rotated = file.with_extension("1");
        std::fs::rename(&file, &rotated).unwrap();
        world.server.signal(Signal::HUP);
        world.server.signal(Signal::USR1);

        eventually("the log to go on in a new file", || async {
            world.pay("m", &ann).await;
            has_line(file.clone()).then_some(())
        })
        .await;
        assert!(has_line(rotated));
    }

    async fn two_servers_cannot_share_one_file(db: TestDb) {
        let world = World::open(db).await;
        let second = testkit::Server::builder(crate::world::NEWAPI, &world.db);

        let output = second.start_refused().await;

        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("newapi.lock") || said.contains("already"), "{said}");
        world.close().await;
    }
}
