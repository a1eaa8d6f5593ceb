//! Which channel a call takes: by priority, by weight, around those that fail.

use crate::world::{World, fixed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::time::Instant;
use testkit::{Gate, Reply, TestDb, Upstream, eventually, json, on_both_databases};

/// An upstream that replies with its name.
async fn named(name: &str) -> Upstream {
    let upstream = Upstream::start().await;
    upstream.on("/m", Reply::text(name));
    upstream
}

/// How many of `calls` each upstream served.
async fn tally(world: &World, key: &str, calls: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..calls {
        let answer = world.server.post("/pass/m", key, &json!({})).await.expect(200);
        *counts.entry(answer.text()).or_default() += 1;
    }
    counts
}

on_both_databases! {
    async fn a_channel_that_is_not_there_is_passed_over(db: TestDb) {
        let world = World::open(db).await;
        let gone = format!("http://127.0.0.1:{}", testkit::ports::free_port());
        world.channel(&["m"], json!({"base_url": gone, "priority": 10})).await;
        let second = world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;

        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.text(), "ok");
        assert_eq!(world.journal(&ann).await, ["consume 10 -10 of 10"]);
        let sql = "SELECT channel_id FROM logs WHERE type = 'consume'";
        assert_eq!(world.db.i64(sql).await, second);
        world.close().await;
    }

    async fn what_may_have_been_sent_is_not_sent_again(db: TestDb) {
        let world = World::open(db).await;
        let (first, second) = (named("first").await, named("second").await);
        let admin = world.admin();
        admin.channel_to(&first, &["m"], json!({"priority": 10})).await;
        admin.channel_to(&second, &["m"], json!({})).await;
        admin.price("m", fixed(10)).await;
        let ann = world.payer(100).await;

        first.queue("/m", Reply::reset());
        world.pay("m", &ann).await.expect_error(502, "UPSTREAM_ERROR");
        first.queue("/m", Reply::text("busy").status(503));
        assert_eq!(world.pay("m", &ann).await.expect(503).text(), "busy");

        assert_eq!((first.count(), second.count()), (2, 0));
        world.pass_deadlines().await;
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }
}

on_sqlite! {
    async fn the_highest_priority_is_taken_while_it_works(db: TestDb) {
        let world = World::open(db).await;
        let (high, low) = (named("high").await, named("low").await);
        let admin = world.admin();
        let channel = admin.channel_to(&high, &["m"], json!({"priority": 5})).await;
        admin.channel_to(&low, &["m"], json!({"priority": -5, "weight": 100})).await;
        let ann = world.payer(100).await;

        assert_eq!(tally(&world, &ann.key, 10).await, HashMap::from([("high".into(), 10)]));
        let path = format!("/api/channel/{channel}");
        admin.put(&path, &json!({"status": 2})).await;
        assert_eq!(tally(&world, &ann.key, 10).await, HashMap::from([("low".into(), 10)]));
        world.close().await;
    }

    async fn equals_share_by_weight(db: TestDb) {
        let world = World::open(db).await;
        let (one, nine, none) = (named("one").await, named("nine").await, named("none").await);
        let admin = world.admin();
        admin.channel_to(&one, &["m"], json!({"weight": 10})).await;
        admin.channel_to(&nine, &["m"], json!({"weight": 90})).await;
        admin.channel_to(&none, &["m"], json!({"weight": 0})).await;
        let ann = world.payer(100).await;

        let counts = tally(&world, &ann.key, 200).await;

        let (one, nine) = (counts["one"], counts["nine"]);
        // Twenty are expected; fewer than 2 or more than 60 would be a wonder.
        assert!((2..=60).contains(&one) && one + nine == 200, "{counts:?}");
        world.close().await;
    }

    async fn a_channel_serves_its_groups_and_models_alone(db: TestDb) {
        let world = World::open(db).await;
        let (plain, vip) = (named("plain").await, named("vip").await);
        let admin = world.admin();
        admin.channel_to(&plain, &["m"], json!({})).await;
        admin.channel_to(&vip, &["m", "only"], json!({"groups": ["vip"], "priority": 9})).await;
        let ann = world.payer(100).await;
        let with_vip = world.key(&ann, json!({"group": "vip"})).await;

        assert_eq!(tally(&world, &ann.key, 3).await, HashMap::from([("plain".into(), 3)]));
        assert_eq!(tally(&world, &with_vip.key, 3).await, HashMap::from([("vip".into(), 3)]));
        let answer = world.pay("only", &ann).await;
        assert!(matches!(answer.status, 403 | 503), "{}", answer.text());
        world.close().await;
    }

    async fn a_failing_channel_is_left_alone_and_comes_back(db: TestDb) {
        let world = World::open(db).await;
        let (sick, well) = (named("sick").await, named("well").await);
        let admin = world.admin();
        admin.channel_to(&sick, &["m"], json!({"priority": 10, "auto_ban": true})).await;
        admin.channel_to(&well, &["m"], json!({})).await;
        admin.price("m", fixed(1)).await;
        let ann = world.payer(10_000).await;
        sick.on("/m", Reply::text("sick").status(500));

        // Its failures are passed on, until there have been too many.
        let mut failures = 0;
        loop {
            let answer = world.pay("m", &ann).await;
            if answer.status == 200 {
                assert_eq!(answer.text(), "well");
                break;
            }
            failures += 1;
            assert!(failures < 100, "it never opened");
        }
        assert!(failures > 1, "one error bans nobody");
        assert_eq!(sick.count(), failures);

        // A probe finds out that it is back.
        sick.on("/m", Reply::text("sick"));
        eventually("the channel to be used again", || async {
            let answer = world.pay("m", &ann).await.expect(200);
            (answer.text() == "sick").then_some(())
        })
        .await;
        assert_eq!(tally(&world, &ann.key, 3).await, HashMap::from([("sick".into(), 3)]));
        world.close().await;
    }

    async fn a_clients_own_faults_ban_nobody(db: TestDb) {
        let world = World::open(db).await;
        let (first, second) = (named("first").await, named("second").await);
        let admin = world.admin();
        admin.channel_to(&first, &["m"], json!({"priority": 10, "auto_ban": true})).await;
        admin.channel_to(&second, &["m"], json!({})).await;
        admin.price("m", fixed(1)).await;
        let ann = world.payer(10_000).await;
        for status in [400, 401, 403, 404, 413, 422, 429] {
            for _ in 0..10 {
                first.queue("/m", Reply::text("your fault").status(status));
                world.pay("m", &ann).await.expect(status);
            }
        }
        let gate = Gate::new();
        for number in 0..20 {
            first.queue("/m", Reply::text("late").gated(&gate));
            let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
            let running = tokio::spawn(call.send());
            gate.reached(number + 1).await;
            running.abort();
        }
        gate.open();

        assert_eq!(tally(&world, &ann.key, 5).await, HashMap::from([("first".into(), 5)]));
        assert_eq!(second.count(), 0);
        world.close().await;
    }

    async fn without_auto_ban_nobody_is_left_alone(db: TestDb) {
        let world = World::open(db).await;
        let (sick, well) = (named("sick").await, named("well").await);
        let admin = world.admin();
        admin.channel_to(&sick, &["m"], json!({"priority": 10, "auto_ban": false})).await;
        admin.channel_to(&well, &["m"], json!({})).await;
        let ann = world.payer(100).await;
        sick.on("/m", Reply::text("sick").status(500));

        for _ in 0..40 {
            world.pay("m", &ann).await.expect(500);
        }

        assert_eq!(well.count(), 0);
        world.close().await;
    }

    async fn one_users_failures_close_a_channel_to_that_user_alone(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("sick").status(500)).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        eventually("the breaker to open", || async {
            (world.pay("m", &ann).await.status == 503).then_some(())
        })
        .await;

        world.upstream.on("/m", Reply::text("ok"));
        world.pay("m", &bob).await.expect(200);
        world.close().await;
    }

    async fn a_probe_whose_reply_is_read_slowly_keeps_nobody_waiting(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("sick").status(500)).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        eventually("the breaker to open for all", || async {
            let statuses = [world.pay("m", &ann).await.status, world.pay("m", &bob).await.status];
            (statuses == [503, 503]).then_some(())
        })
        .await;
        let gate = Gate::new();
        world.upstream.on("/m", Reply::sse(["{}"]).wait(&gate).event("[DONE]"));
        let mut probe = eventually("a call to be the probe", || async {
            let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
            let answer = call.stream().await;
            (answer.status == 200).then_some(answer)
        })
        .await;
        probe.read_until("{}").await;

        world.upstream.on("/m", Reply::text("ok"));
        world.pay("m", &bob).await.expect(200);

        gate.open();
        probe.rest().await.unwrap();
        world.close().await;
    }

    async fn a_channel_that_begins_to_answer_and_breaks_off_is_paused_for_longer(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("sick").status(500)).await;
        let ann = world.payer(1_000).await;
        eventually("the breaker to open", || async {
            (world.pay("m", &ann).await.status == 503).then_some(())
        })
        .await;
        let cut = Reply::bytes("text/event-stream", "data: 1\n\ndata: 2\n\n").chunked();
        world.upstream.on("/m", cut.reset_after(5));
        let mut probe = eventually("a call to be the probe", || async {
            let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
            let answer = call.stream().await;
            (answer.status == 200).then_some(answer)
        })
        .await;
        let began = Instant::now();
        assert!(probe.rest().await.is_err(), "it breaks off");

        // The first pause is 5 s.
        let refused = world.pay("m", &ann).await.expect_error(503, "NO_CHANNEL");
        let retry: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
        assert!(u128::from(retry) * 1_000 + began.elapsed().as_millis() >= 9_000, "{retry}");
        world.pass_deadlines().await;
        world.close().await;
    }

    async fn when_all_are_left_alone_there_is_no_channel(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("sick").status(500)).await;
        let ann = world.payer(1_000).await;
        let refused = eventually("the breaker to open", || async {
            let answer = world.pay("m", &ann).await;
            (answer.status != 500).then_some(answer)
        })
        .await;

        let refused = refused.expect_error(503, "NO_CHANNEL");

        assert!(refused.header("Retry-After").is_some());
        world.wait_for_money(&ann, 1_000, 0).await;
        world.close().await;
    }

    async fn a_channel_takes_no_more_at_once_than_it_may(db: TestDb) {
        let world = World::open(db).await;
        let (narrow, wide) = (named("narrow").await, named("wide").await);
        let gate = Gate::new();
        narrow.on("/m", Reply::text("narrow").gated(&gate));
        let admin = world.admin();
        let one = json!({"priority": 9, "setting": {"concurrency": 1}});
        admin.channel_to(&narrow, &["m"], one).await;
        admin.channel_to(&wide, &["m"], json!({})).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        gate.reached(1).await;

        assert_eq!(tally(&world, &ann.key, 3).await, HashMap::from([("wide".into(), 3)]));
        gate.open();
        running.await.unwrap().expect(200);
        eventually("its place to be free", || async {
            tally(&world, &ann.key, 1).await.contains_key("narrow").then_some(())
        })
        .await;
        world.close().await;
    }

    async fn a_proxy_carries_the_calls_of_its_channel(db: TestDb) {
        let world = World::open(db).await;
        let proxy = Upstream::start().await;
        proxy.otherwise(Reply::text("through the proxy"));
        world.upstream.on("/direct", Reply::text("direct"));
        let through = json!({"setting": {"proxy": proxy.url()}});
        world.channel(&["m"], through).await;
        world.channel(&["direct"], json!({})).await;
        let ann = world.payer(100).await;

        assert_eq!(world.pay("m", &ann).await.expect(200).text(), "through the proxy");
        assert_eq!(world.pay("direct", &ann).await.expect(200).text(), "direct");

        let request = &proxy.requests().await[0];
        assert_eq!(request.target, format!("{}/m", world.upstream.url()), "absolute form");
        assert_eq!((proxy.count(), world.upstream.count()), (1, 1));
        world.close().await;
    }
}

on_both_databases! {
    async fn a_proxys_password_is_nowhere_to_be_read(db: TestDb) {
        let world = World::open(db).await;
        let proxy = Upstream::start().await;
        proxy.otherwise(Reply::text("through the proxy"));
        let login = |password: &str| proxy.url().replace("//", &format!("//ann:{password}@"));
        let through = json!({"setting": {"proxy": login("pw-of-the-api"), "timeout": "30s"}});
        let channel = world.channel(&["m"], through).await;
        let ann = world.payer(100).await;
        let sql = "SELECT CAST(setting AS text) FROM channels";
        let path = format!("/api/channel/{channel}");
        let masked = login("***");

        for password in ["pw-of-the-api", "pw-of-the-sql"] {
            if password == "pw-of-the-sql" {
                let setting = json!({"proxy": login(password), "timeout": "30s"});
                let typed = format!("UPDATE channels SET setting = '{setting}'");
                world.db.execute(&typed).await;
                eventually("it to be sealed", || async {
                    world.db.text(sql).await.contains("enc:v1:").then_some(())
                })
                .await;
            }
            let stored = world.db.text(sql).await;
            assert!(!stored.contains(password) && stored.contains("30s"), "{stored}");
            let shown = world.admin().get(&path).await;
            assert_eq!(shown["setting"], json!({"proxy": masked, "timeout": "30s"}));
            // What was shown is given back, and means what is kept.
            world.admin().put(&path, &json!({"setting": shown["setting"]})).await;
            assert!(!world.db.text(sql).await.contains(password));
            world.pay("m", &ann).await.expect(200);
            let seen = proxy.requests().await.pop().unwrap();
            let basic = STANDARD.encode(format!("ann:{password}"));
            let expected = format!("Basic {basic}");
            assert_eq!(seen.header("proxy-authorization").as_deref(), Some(&*expected));
            let tried = world.admin().get(&format!("/api/channel/test/{channel}")).await;
            assert_eq!(tried["reply"], "through the proxy", "{tried}");
        }
        assert!(!world.server.log_lines().join("\n").contains("pw-of-the"));
        world.db.execute("UPDATE channels SET setting = '{\"proxy\": \"ftp://ann:pw@h\"}'").await;
        let test = world.admin().call("GET", &format!("/api/channel/test/{channel}"));
        let refused = test.send().await.expect(422).text();
        assert!(refused.contains("setting.proxy") && !refused.contains("pw@"), "{refused}");
        world.close().await;
    }
}

on_both_databases! {
    async fn a_channel_with_unfinished_tasks_stays(db: TestDb) {
        // O1.
        let world = World::open(db).await;
        let channel = world.channel(&["img/submit"], json!({})).await;
        let ann = world.payer(0).await;
        let statuses = ["submitted", "processing", "unknown", "failed"];
        for (number, status) in statuses.iter().enumerate() {
            let uid = if world.db.is_postgres() {
                format!("'01890000-0000-7000-8000-00000000000{number}'")
            } else {
                format!("x'0189000000007000800000000000000{number}'")
            };
            world.db.execute(&format!(
                "INSERT INTO tasks (uid, user_id, channel_id, action, task_id, status,
                                    upstream_status, progress)
                 VALUES ({uid}, {}, {channel}, 'img/submit', 'up', '{status}', 'WORD', '5%')",
                ann.id
            )).await;
        }
        let path = format!("/api/channel/{channel}");

        let refused = world.admin().call("DELETE", &path).send().await.expect(409).text();
        assert!(refused.contains('3') && refused.contains("disable"), "{refused}");
        let said = world.server.cli(&["channel", "delete", &channel.to_string()]).await;
        assert!(!said.status.success());
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains('3') && said.contains("disable"), "{said}");
        world.admin().get(&path).await;

        world.db.execute("UPDATE tasks SET status = 'failed'").await;
        world.admin().delete(&path).await;
        world.admin().call("GET", &path).send().await.expect(404);
        world.close().await;
    }
}
