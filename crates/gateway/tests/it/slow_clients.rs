//! Slow clients: whether the client or the upstream was slow decides who pays, and whether the
//! channel is blamed.

use crate::world::{World, by_use, fixed};
use std::time::Duration;
use testkit::{RawClient, Reply, StreamAnswer, TestDb, eventually, json, on_both_databases};

/// As many as would open a breaker, if it were the upstream's fault.
const MANY: usize = 10;
/// More than sockets hold between an upstream and a client that does not read.
const LARGE: usize = 20 << 20;
/// Deadlines of a call that are soon over.
const SHORT: [(&str, &str); 4] = [
    ("CUSTOM_PASS_TOTAL_TIMEOUT", "1s"),
    ("CUSTOM_PASS_HTTP_TIMEOUT", "1s"),
    ("CUSTOM_PASS_IDLE_TIMEOUT", "1s"),
    ("CUSTOM_PASS_BODY_WINDOW", "1s"),
];

/// How long a call may take in all, where much is sent in it.
const TOTAL: Duration = Duration::from_secs(5);

/// Begins a request, and leaves its body open.
async fn begin(world: &World, path: &str, key: &str, length: usize) -> RawClient {
    let mut raw = world.server.raw().await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    raw.send(head).await;
    raw
}

on_both_databases! {
    async fn a_reader_that_stalls_pays_and_the_channel_stays_open(db: TestDb) {
        let total = format!("{}s", TOTAL.as_secs());
        let world = World::with(db, &[("CUSTOM_PASS_TOTAL_TIMEOUT", &*total),
            ("CUSTOM_PASS_HTTP_TIMEOUT", "5s")]).await;
        world.upstream.on("/video", Reply::bytes("video/mp4", vec![7; LARGE]));
        world.upstream.on("/other", Reply::text("ok"));
        world.channel(&["video", "other"], json!({})).await;
        world.admin().price("video", fixed(10)).await;
        // What one user's calls say of a channel closes it to that user alone.
        let (ann, bob, cid) =
            (world.payer(1_000).await, world.payer(1_000).await, world.payer(0).await);
        let mut readers: Vec<StreamAnswer> = Vec::new();
        for payer in [&ann, &bob].repeat(MANY / 2) {
            let mut reader =
                world.server.call("GET", "/pass/video").key(&payer.key).stream().await;
            reader.next_chunk().await.unwrap().unwrap();
            readers.push(reader);
        }

        // This is the stall itself.
        tokio::time::sleep(TOTAL + Duration::from_millis(300)).await;
        for mut reader in readers {
            let rest = reader.rest().await;
            assert!(rest.is_err(), "the call took longer than it may, and was not cut");
        }

        let spent = 10 * i64::try_from(MANY / 2).unwrap();
        for payer in [&ann, &bob] {
            world.wait_for_money(payer, 1_000 - spent, spent).await;
            world.pay("other", payer).await.expect(200);
        }
        world.pay("other", &cid).await.expect(200);
        world.close().await;
    }
}

on_sqlite! {
    async fn an_upload_that_starves_says_nothing_of_the_channel(db: TestDb) {
        let world = World::with(db, &SHORT).await;
        world.model("m", json!(null), Reply::text("ok")).await;
        let ann = world.payer(0).await;
        let mut uploads = tokio::task::JoinSet::new();
        for _ in 0..MANY {
            let mut raw = begin(&world, "/pass/m", &ann.key, 1 << 20).await;
            raw.send(vec![b'x'; 100_000]).await;
            uploads.spawn(async move {
                // One byte now and then, for as long as it is let.
                for _ in 0..20 {
                    raw.send("x").await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                raw.read_answer().await.expect("an answer")
            });
        }

        for answer in uploads.join_all().await {
            answer.expect_error(408, "REQUEST_TIMEOUT");
        }

        world.pay("m", &ann).await.expect(200);
        world.close().await;
    }

    async fn a_body_that_is_held_whole_has_a_least_rate_and_an_end(db: TestDb) {
        let settings = [("CUSTOM_PASS_BODY_WINDOW", "1s"), ("CUSTOM_PASS_BODY_TIMEOUT", "2s")];
        let world = World::with(db, &settings).await;
        world.model("m", fixed(3), Reply::text("ok")).await;
        let ann = world.payer(100).await;

        for piece in [1, 5_000] {
            let mut raw = begin(&world, "/v1/chat/completions", &ann.key, 1 << 20).await;
            let ended = async {
                loop {
                    raw.send(vec![b' '; piece]).await;
                    let pause = Duration::from_millis(200);
                    if let Ok(answer) = tokio::time::timeout(pause, raw.read_answer()).await {
                        return answer.expect("an answer");
                    }
                }
            };
            let answer = testkit::within("a slow body to be refused", ended).await;
            answer.expect_error(408, "REQUEST_TIMEOUT");
        }

        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn a_reader_that_takes_nothing_is_let_go(db: TestDb) {
        let world = World::with(db, &[("WRITE_TIMEOUT", "1s")]).await;
        let text = "x".repeat(7 << 20);
        let reply = json!({"code": 0, "data": text, "usage": testkit::upstream::usage(3, 4)});
        world.model("m", by_use(), Reply::json(&reply)).await;
        let ann = world.payer(100).await;
        let mut raw = begin(&world, "/pass/m", &ann.key, 2).await;
        raw.send("{}").await;
        world.wait_for_money(&ann, 93, 7).await;

        eventually("the connection to be ended", || async {
            let held = world.server.metric("custompass_buffered_bytes").await;
            let open = world.server.metric("custompass_requests_in_flight").await;
            (held == 0 && open == 0).then_some(())
        })
        .await;

        let seen = raw.read_to_end().await.len();
        assert!(seen < text.len(), "all of it had gone to a client that did not read");
        world.close().await;
    }
}
