//! Several nodes over one PostgreSQL: one world with several doors.

use crate::world::{Payer, World, by_use, fixed, node};
use testkit::{Call, Gate, Reply, Server, Signal, TestDb, Upstream, eventually, json};

/// A pause lasts until the lease has lapsed, which is no upstream's slowness, however busy the
/// machine is.
const PATIENT: (&str, &str) = ("CUSTOM_PASS_HTTP_TIMEOUT", "5m");

/// A call through one of the nodes.
fn through(server: &Server, payer: &Payer) -> Call {
    server.call("POST", "/pass/m").key(&payer.key).json(&json!({"a": 1}))
}

/// Waits until a call through this node is charged `quota`.
async fn costs(server: &Server, payer: &Payer, quota: i64) {
    eventually(&format!("a node to charge {quota}"), || async {
        let answer = through(server, payer).send().await;
        (answer.header("X-Newapi-Quota")? == quota.to_string()).then_some(())
    })
    .await;
}

on_postgres! {
    async fn every_node_hears_of_every_change(db: TestDb) {
        let world = World::open(db).await;
        let (second, third) = (node(&world.db, &[]).await, node(&world.db, &[]).await);
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(1_000_000).await;
        for server in [&world.server, &second, &third] {
            costs(server, &ann, 10).await;
        }

        world.db.execute("UPDATE abilities SET fixed_quota = 4").await;
        for server in [&world.server, &second, &third] {
            costs(server, &ann, 4).await;
        }
        second.admin().price("m", fixed(6)).await;
        for server in [&world.server, &second, &third] {
            costs(server, &ann, 6).await;
        }
        third.admin().put(&format!("/api/token/{}", ann.token_id), &json!({"status": 2})).await;
        for server in [&world.server, &second, &third] {
            eventually("a node to turn the key away", || async {
                (through(server, &ann).send().await.status == 401).then_some(())
            })
            .await;
        }
        world.close().await;
    }

    async fn a_document_saved_on_one_node_is_spoken_by_all(db: TestDb) {
        let world = World::open(db).await;
        let (second, third) = (node(&world.db, &[]).await, node(&world.db, &[]).await);
        let draw = |server: &Server, payer: &Payer| {
            let call = server.call("POST", "/v2/draw").key(&payer.key);
            call.json(&json!({"engine": "brush"})).send()
        };
        world.upstream.handle("/v2/draw", |request| {
            let header = ["x-first", "x-second", "x-third"].into_iter();
            let mut header = header.filter(|it| request.header(it).as_deref() == Some("up-key"));
            Reply::json(&json!({"key": header.next(), "pictures": [{}]}))
        });
        let document = |header: &str| {
            format!(
                "name = \"mine\"\ntitle = {{ zh = \"我\", en = \"Mine\" }}\n[auth]\n\
                 header = \"{header}\"\n[[route]]\nmatch = \"POST /v2/draw\"\n\
                 model = \"body:/engine\"\nreply = \"json\"\n"
            )
        };
        let spoken = async |header: &str, payer: &Payer| {
            for server in [&world.server, &second, &third] {
                eventually(&format!("{header} on all nodes"), || async {
                    let answer = draw(server, payer).await;
                    (answer.status == 200 && answer.json()["key"] == header).then_some(())
                })
                .await;
            }
        };
        let ann = world.payer(1_000_000).await;
        // Made on one node, and its channel on another.
        second.admin().post("/api/protocol", &json!({"document": document("x-first")})).await;
        eventually("the other node to know the document", || async {
            let listed = third.admin().get("/api/protocol").await;
            listed.to_string().contains("\"mine\"").then_some(())
        })
        .await;
        let channel = json!({"protocol": "mine", "key": "up-key"});
        third.admin().channel_to(&world.upstream, &["brush"], channel).await;
        third.admin().price("brush", fixed(7)).await;
        spoken("x-first", &ann).await;
        // Changed through the API of one, and with plain SQL.
        third.admin().post("/api/protocol", &json!({"document": document("x-second")})).await;
        spoken("x-second", &ann).await;
        let edit = document("x-third");
        world.db.execute(&format!("UPDATE protocols SET document = '{edit}'")).await;
        spoken("x-third", &ann).await;
        let calls = world.money(&ann).await;
        assert_eq!(calls.used, calls.calls * 7, "none was free on the way");
        // One that is broken is refused everywhere.
        world.db.execute("UPDATE protocols SET document = 'name = 1'").await;
        for server in [&world.server, &second, &third] {
            eventually("the broken document on all nodes", || async {
                (draw(server, &ann).await.status >= 400).then_some(())
            })
            .await;
        }
        world.close().await;
    }

    async fn a_request_is_done_once_whatever_door_it_comes_through(db: TestDb) {
        let world = World::open(db).await;
        let second = node(&world.db, &[]).await;
        let gate = Gate::new();
        world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        eventually("the other node to hear of the model", || async {
            let models = second.call("GET", "/v1/models").key(&ann.key).send().await;
            models.text().contains("\"m\"").then_some(())
        })
        .await;
        let named = |server: &Server| through(server, &ann).header("Idempotency-Key", "once");
        let running = tokio::spawn(named(&world.server).send());
        gate.reached(1).await;

        named(&second).send().await.expect_error(409, "IDEMPOTENCY_CONFLICT");
        gate.open();
        running.await.unwrap().expect(200);
        let replayed = named(&second).send().await.expect(200);

        assert_eq!(replayed.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn the_others_serve_on_when_one_is_killed(db: TestDb) {
        let world = World::open(db).await;
        let mut second = node(&world.db, &[]).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100_000).await;
        costs(&second, &ann, 10).await;
        let spent = world.money(&ann).await.used;
        let (first_call, second_call) = (through(&world.server, &ann), through(&second, &ann));
        let first = tokio::spawn(async move {
            for _ in 0..200 {
                first_call.clone().send().await.expect(200);
            }
        });
        let other = tokio::spawn(async move {
            let mut paid = 0;
            while second_call.clone().try_send().await.is_ok_and(|answer| answer.status == 200) {
                paid += 1;
            }
            paid
        });
        world.upstream.wait_for_requests(60).await;
        second.kill_9().await;

        first.await.unwrap();
        let paid: i64 = other.await.unwrap();

        world.close().await;
        let used = world.money(&ann).await.used - spent;
        // Its last call may have been settled, and its reply lost with the node.
        assert!((2_000 + paid * 10..=2_010 + paid * 10).contains(&used), "{used}, {paid} paid");
    }

    async fn one_node_stops_and_the_others_go_on(db: TestDb) {
        let world = World::open(db).await;
        let mut second = node(&world.db, &[]).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        costs(&second, &ann, 10).await;

        assert!(second.terminate().await.success());

        through(&world.server, &ann).send().await.expect(200);
        assert_eq!(world.open_holds().await, 0);
        world.close().await;
    }

    // A node that is stopped for longer than its lease, as a machine that was suspended is: the
    // other one gives its holds back, and what it delivers afterwards is charged all the same.
    async fn a_node_that_was_paused_charges_what_it_delivers_once(db: TestDb) {
        let world = World::open(db).await;
        let second = node(&world.db, &[PATIENT]).await;
        let gate = Gate::new();
        world.model("m", fixed(30), Reply::text("ok").gated(&gate)).await;
        let events = Reply::openai_stream(&["a"], 3, 4);
        world.model("s", by_use(), events.gated(&gate)).await;
        world.model("fails", fixed(30), Reply::text("no").status(500).gated(&gate)).await;
        let ann = world.payer(100).await;
        eventually("the other node to have the models", || async {
            let models = second.call("GET", "/v1/models").key(&ann.key).send().await.text();
            ["\"m\"", "\"s\"", "\"fails\""].iter().all(|name| models.contains(name)).then_some(())
        })
        .await;
        let named = |server: &Server| through(server, &ann).header("Idempotency-Key", "once");
        let (mut whole, mut stream, mut failed) =
            (second.raw().await, second.raw().await, second.raw().await);
        for (raw, model, more) in [
            (&mut whole, "m", "Idempotency-Key: once\r\n"),
            (&mut stream, "s", ""),
            (&mut failed, "fails", ""),
        ] {
            raw.send(format!(
                "POST /pass/{model} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{more}\
                 Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}",
                ann.key
            ))
            .await;
        }
        gate.reached(3).await;

        second.pause().await;
        gate.open();
        // All of this is the first node's doing: the lease lapses, and the holds go back.
        world.server.wait_for_log(&["unknown_outcome"]).await;
        world.wait_for_money(&ann, 100, 0).await;
        assert_eq!(world.open_holds().await, 0);
        // The claim is as dead as its node: whoever asks again gets a second piece of work.
        let again = named(&world.server).send().await.expect(200);
        assert_eq!(again.header("Idempotent-Replayed"), None);
        second.signal(Signal::CONT);

        let whole = whole.read_answer().await.unwrap().expect(200);
        assert_eq!(whole.header("X-Newapi-Quota").as_deref(), Some("30"));
        stream.read_answer().await.unwrap().expect(200);
        failed.read_answer().await.unwrap().expect(500);
        world.wait_for_money(&ann, 33, 67).await;
        let of_money = |line: &String| line.starts_with("consume");
        let charges: Vec<_> = world.journal(&ann).await.into_iter().filter(of_money).collect();
        assert_eq!(charges.len(), 3, "{charges:?}");
        // What the first node keeps for repetition is its own.
        let replayed = named(&second).send().await.expect(200);
        assert_eq!(replayed.header("Idempotent-Replayed").as_deref(), Some("true"));
        // It is a node like any other again: its holds stay.
        through(&second, &ann).send().await.expect(200);
        world.wait_for_money(&ann, 3, 97).await;
        world.close().await;
    }

    // Between the durable hold and the request that is paid by it lie the estimate, and the
    // refusals of other channels.
    async fn a_node_that_was_paused_sends_nothing_for_a_hold_that_went_back(db: TestDb) {
        let world = World::open(db).await;
        let second = node(&world.db, &[PATIENT]).await;
        let gate = Gate::new();
        let price = json!({"ratio": 1, "min_hold": 40});
        world.model("m", price, Reply::text("-")).await;
        world.upstream.on_estimate("/m", Reply::estimate(1, 2).gated(&gate), Reply::result(1, 2));
        let other = Upstream::start().await;
        for (upstream, priority) in [(&world.upstream, 2), (&other, 1)] {
            let more = json!({"protocol": "openai", "key": "up-key", "priority": priority});
            world.admin().channel_to(upstream, &["gpt"], more).await;
        }
        world.admin().price("gpt", fixed(30)).await;
        let path = "/v1/chat/completions";
        world.upstream.on(path, Reply::text("busy").status(429).gated(&gate));
        let ann = world.payer(100).await;
        eventually("the other node to hear of the models", || async {
            let models = second.call("GET", "/v1/models").key(&ann.key).send().await.text();
            ["\"m\"", "\"gpt\""].iter().all(|name| models.contains(name)).then_some(())
        })
        .await;
        let chat = json!({"model": "gpt", "messages": []});
        let calls = [("/pass/m", json!({})), (path, chat)].map(|(path, body)| {
            tokio::spawn(second.call("POST", path).key(&ann.key).json(&body).send())
        });
        gate.reached(2).await;
        assert_eq!(world.money(&ann).await.quota, 30);

        second.pause().await;
        gate.open();
        world.wait_for_money(&ann, 100, 0).await;
        second.signal(Signal::CONT);

        for call in calls {
            let refused = call.await.unwrap().expect_error(503, "OVERLOADED");
            assert!(refused.header("Retry-After").is_some());
        }
        assert_eq!((world.upstream.count(), other.count()), (2, 0), "nothing that is paid for");
        world.wait_for_money(&ann, 100, 0).await;
        // Once it has renewed its lease it serves as before.
        eventually("the node to serve again", || async {
            let answer = second.post("/pass/m", &ann.key, &json!({})).await;
            (answer.status == 200).then_some(())
        })
        .await;
        world.wait_for_money(&ann, 97, 3).await;
        world.close().await;
    }

    // A task that was submitted by a node which is then paused is one task, and charged once.
    async fn a_paused_node_leaves_its_tasks_to_the_others(db: TestDb) {
        let settings = [("CUSTOM_PASS_POLL_INTERVAL", "1s")];
        let world = World::with(db, &settings).await;
        let second = node(&world.db, &settings).await;
        let taken = json!({"code": 0, "data": {"task_id": "up-1", "status": "queued"}});
        world.model("img/submit", fixed(40), Reply::json(&taken)).await;
        let running = json!({"code": 0, "data": [{"task_id": "up-1", "status": "running"}]});
        world.upstream.on("/img/task/list-by-condition", Reply::json(&running));
        let ann = world.payer(100).await;
        let submit = second.call("POST", "/pass/img/submit").key(&ann.key).json(&json!({}));
        eventually("the other node to hear of the model", || async {
            Some(submit.clone().send().await).filter(|answer| answer.status == 200)
        })
        .await;
        second.pause().await;

        let done = json!({"code": 0, "data": [{"task_id": "up-1", "status": "done"}]});
        world.upstream.on("/img/task/list-by-condition", Reply::json(&done));
        world.wait_for_money(&ann, 60, 40).await;
        second.signal(Signal::CONT);

        second.call("GET", "/readyz").send().await.expect(200);
        assert_eq!(world.lines("consume").await, 1);
        world.close().await;
        assert_eq!(world.money(&ann).await.used, 40);
    }
}
