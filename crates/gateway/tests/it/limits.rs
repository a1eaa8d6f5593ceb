//! Numbers that do not fit, and bodies that are larger than memory should be.

use crate::setup_rules::access_token;
use crate::world::{World, by_use, fixed};
use testkit::upstream::Framing;
use testkit::{Gate, Reply, TestDb, eventually, json, on_both_databases};

on_both_databases! {
    async fn balances_do_not_wrap(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(0).await;
        let path = format!("/api/user/{}/quota", ann.id);
        // The largest movement there is: two billion dollars.
        let most = 1_000_000_000_000_000_i64;
        world.admin().post(&path, &json!({"delta": most, "reason": "rich"})).await;
        let id = ann.id;
        let edit = format!("UPDATE users SET quota = quota + {} WHERE id = {id}", i64::MAX - most);
        assert!(world.db.try_execute(&edit).await.is_err(), "nor by SQL");

        for delta in [most + 1, i64::MAX, -most - 1, i64::MIN] {
            let body = json!({"delta": delta, "reason": "too rich"});
            let refused = world.admin().try_post(&path, &body).await;
            assert_eq!(refused.status, 422, "{delta}: {}", refused.text());
        }
        for delta in ["9223372036854775808", "1e30", "1.5", "\"5x\"", "null"] {
            let body = format!("{{\"delta\":{delta},\"reason\":\"x\"}}");
            let call = world.admin().call("POST", &path).header("Content-Type", "application/json");
            let refused = call.body(body).send().await;
            assert!(matches!(refused.status, 400 | 422), "{delta}: {}", refused.text());
        }

        assert_eq!(world.money(&ann).await.quota, most);
        world.close().await;
    }

    // Ten thousand users have paid in, spent and hold the most that one can: sums over all of them
    // are beyond 64 bits.
    async fn a_sum_that_does_not_fit_is_bounded(db: TestDb) {
        let world = World::open(db).await;
        let (most, bound) = (1_000_000_000_000_000_i64, 4_000_000_000_000_000_000_i64);
        world.model("m", fixed(1), Reply::text("ok")).await;
        let (id, deadline) = if world.db.is_postgres() {
            ("gen_random_uuid()", "'2100-01-01', now()")
        } else {
            ("randomblob(16)", "4102444800000, 1700000000000")
        };
        let of_all = "FROM users WHERE username LIKE 'rich %'";
        world.db.execute(&format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10000)
             INSERT INTO users (username) SELECT 'rich ' || n FROM n;
             INSERT INTO logs (user_id, type, quota, delta)
             SELECT id, 'topup', {most}, {most} {of_all}
             UNION ALL SELECT id, 'topup', {most}, {most} {of_all};
             INSERT INTO logs (user_id, type, model_name, channel_id, quota, delta, used_delta)
             SELECT id, 'consume', 'm', 1, {most}, -{most}, {most} {of_all};
             UPDATE users SET revision = revision + 1, used_quota = {most}
             WHERE username LIKE 'rich %';
             INSERT INTO logs (user_id, type, content, held)
             SELECT id, 'error', 'unknown_outcome', {most} {of_all};
             INSERT INTO holds (id, user_id, key_id, model_name, amount, price_id, deadline_at,
                                created_at)
             SELECT {id}, id, 1, 'm', {most}, 1, {deadline} {of_all}"
        ))
        .await;
        let admin = world.admin();
        let given = async || {
            let attention = admin.get("/api/attention").await;
            assert_eq!(attention["held"], bound);
            let stat = admin.get("/api/log/stat").await;
            assert_eq!(stat["quota"], bound);
            for kind in stat["by_type"].as_array().unwrap() {
                let delta = match kind["type"].as_str().unwrap() {
                    "topup" => bound,
                    "consume" => -bound,
                    _ => 0,
                };
                assert_eq!(kind["delta"], delta, "{kind}");
            }
            let series = admin.get("/api/usage").await;
            let points = series["points"].as_array().unwrap();
            let today = points.iter().find(|point| point["spent"] != 0).unwrap();
            assert_eq!((&today["spent"], &today["paid_in"]), (&json!(bound), &json!(bound)));
            assert_eq!(admin.get("/api/usage/models").await[0]["spent"], bound);
        };
        // From the lines, and from what the background has added up.
        given().await;
        eventually("the lines to be added up", || async {
            let seen = "UPDATE rollup_cursor SET seen_at = '2020-01-01', horizon = 0
                WHERE newest > through";
            if world.db.is_postgres() {
                world.db.execute(seen).await;
            }
            let behind = "SELECT (SELECT max(id) FROM logs WHERE held IS NOT NULL) - through
                FROM rollup_cursor";
            (world.db.i64(behind).await <= 0).then_some(())
        })
        .await;
        given().await;
        let used = "SELECT used_quota FROM channels";
        assert_eq!(world.db.i64(used).await, bound);

        let audit = admin.get("/api/audit/ledger").await;
        assert_eq!(audit["clean"], true, "{audit}");
        assert_eq!((&audit["held"], &audit["unknown_outcome"]), (&json!(bound), &json!(bound)));
        world.db.execute(&format!(
            "DELETE FROM holds;
             UPDATE users SET revision = revision + 1, quota = {most} WHERE username LIKE 'rich %'"
        ))
        .await;
        world.close().await;
    }

    async fn a_sum_of_nothing_is_nothing(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let attention = admin.get("/api/attention").await;
        assert_eq!((&attention["held"], &attention["undecided_held"]), (&json!(0), &json!(0)));
        let audit = admin.get("/api/audit/ledger").await;
        assert_eq!((&audit["held"], &audit["unknown_outcome"]), (&json!(0), &json!(0)), "{audit}");
        let ann = world.payer(0).await;
        let user = admin.get(&format!("/api/user/{}", ann.id)).await;
        assert_eq!((&user["held"], &user["used_quota"]), (&json!(0), &json!(0)), "{user}");
        world.close().await;
    }

    async fn no_balance_is_so_large_that_what_is_held_can_not_come_back(db: TestDb) {
        let world = World::open(db).await;
        let most = 1_000_000_000_000_000_i64;
        let gate = Gate::new();
        world.model("fails", fixed(most), Reply::failure(7, "no").gated(&gate)).await;
        world.model("m", fixed(5), Reply::text("ok")).await;
        let ann = world.payer(most).await;
        let path = format!("/api/user/{}/quota", ann.id);
        let pay_in = |delta: i64| json!({"delta": delta, "reason": "rich"});
        let call = world.server.call("POST", "/pass/fails").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        gate.reached(1).await;

        // All of it is held, and as much again is paid in.
        world.admin().post(&path, &pay_in(most)).await;
        for delta in [1, most] {
            let refused = world.admin().try_post(&path, &pay_in(delta)).await;
            assert_eq!(refused.status, 422, "{delta}: {}", refused.text());
        }
        let code = json!({"name": "c", "quota": 1, "count": 1});
        let codes = world.admin().post("/api/redemption", &code).await;
        let token = access_token(&world, ann.id).await;
        let redeem = world.server.call("POST", "/api/user/topup").key(&token);
        let redeem = redeem.json(&json!({"key": codes[0]}));
        assert_eq!(redeem.send().await.status, 422);
        for column in ["quota", "used_quota"] {
            // As with any other, it takes several steps to come near to 64 bits by SQL.
            let edit = format!("UPDATE users SET {column} = {most} WHERE id = {}", ann.id);
            world.db.execute(&edit).await;
            let further = format!("UPDATE users SET {column} = {column} + 1 WHERE id = {}", ann.id);
            assert!(world.db.try_execute(&further).await.is_err(), "{column}");
        }
        world.db.execute(&format!("UPDATE users SET used_quota = 0 WHERE id = {}", ann.id)).await;
        gate.open();
        running.await.unwrap().expect(200);
        world.wait_for_money(&ann, 2 * most, 0).await;

        // What is above goes down by every door, and comes back as far as it was.
        let paid = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        paid.header("X-Request-Id", "call-1").send().await.expect(200);
        world.admin().post(&path, &pay_in(-10)).await;
        assert_eq!(world.admin().try_post(&path, &pay_in(1)).await.status, 422);
        let back = json!({"delta": 5, "reason": "bad", "refund_of": "call-1"});
        world.admin().post(&path, &back).await;
        assert_eq!(world.money(&ann).await.quota, 2 * most - 10);
        world.close().await;
    }

    async fn a_movement_with_a_reference_is_made_once(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(60), Reply::text("x")).await;
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        let path = format!("/api/user/{}/quota", ann.id);
        let pay = |delta: i64| json!({"delta": delta, "reason": "paid", "reference": "pay-7"});

        let first = world.admin().post(&path, &pay(50)).await;
        assert_eq!((&first["quota"], &first["repeated"]), (&json!(150), &json!(false)));
        let again = world.admin().post(&path, &pay(50)).await;
        assert_eq!((&again["quota"], &again["repeated"]), (&json!(150), &json!(true)));
        assert_eq!(world.admin().try_post(&path, &pay(51)).await.status, 409);
        let id = bob.id.to_string();
        let topup = ["user", "topup", id.as_str(), "50", "--reference", "pay-7"];
        world.server.cli_ok(&topup).await;
        let repeated = world.server.cli_ok(&topup).await;
        assert!(repeated.contains("moved before"), "{repeated}");
        assert_eq!(world.money(&bob).await.quota, 150);

        // A charge goes back to its call, and never more than that.
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        call.header("X-Request-Id", "call-9").send().await.expect(200);
        let back = |delta: i64| json!({"delta": delta, "reason": "bad", "refund_of": "call-9"});
        let refunded = world.admin().post(&path, &back(40)).await;
        assert_eq!(refunded["quota"], 130);
        assert_eq!(world.admin().try_post(&path, &back(21)).await.status, 422);
        let unknown = json!({"delta": 1, "reason": "bad", "refund_of": "call-8"});
        assert_eq!(world.admin().try_post(&path, &unknown).await.status, 404);
        let money = world.money(&ann).await;
        assert_eq!((money.quota, money.used), (130, 20));
        let story = world.server.cli_ok(&["explain", "call-9"]).await;
        assert!(story.contains("held     60") && story.contains("(price)"), "{story}");
        world.close().await;
    }

    async fn failed_calls_leave_so_many_lines_a_minute(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_LOG_FAILURES", "3")]).await;
        world.model("m", fixed(5), Reply::failure(7, "no")).await;
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        for _ in 0..6 {
            world.pay("m", &ann).await.expect(200);
        }
        world.pay("m", &bob).await.expect(200);
        world.wait_for_money(&ann, 100, 0).await;
        let failed = |id: i64| {
            format!("SELECT count(*) FROM logs WHERE type = 'error' AND user_id = {id}")
        };
        assert_eq!(world.db.i64(&failed(ann.id)).await, 3);
        assert_eq!(world.db.i64(&failed(bob.id)).await, 1, "each user has a share");
        world.close().await;
    }

    async fn a_price_that_does_not_fit_refuses_the_call(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(i64::MAX / 2), Reply::text("ok")).await;
        let ann = world.payer(1_000).await;
        world.admin().group(json!({"group_name": "default", "ratio": 1_000_000})).await;

        let answer = world.pay("m", &ann).await;

        assert!(matches!(answer.status, 402 | 503), "{}", answer.text());
        assert_eq!(world.upstream.count(), 0);
        world.wait_for_money(&ann, 1_000, 0).await;
        world.close().await;
    }

    async fn a_charge_that_does_not_fit_is_refused_or_settled_at_the_hold(db: TestDb) {
        let world = World::open(db).await;
        let dear = json!({
            "ratio": 1_000_000, "completion_ratio": 1_000_000, "min_hold": 60,
        });
        world.channel(&["m", "s"], json!({"setting": {"precharge": "off"}})).await;
        world.upstream.on("/m", Reply::result(1, 900_000_000));
        world.upstream.on("/s", Reply::openai_stream(&["a"], 1, 900_000_000));
        world.admin().price("m", dear.clone()).await;
        world.admin().price("s", dear).await;
        world.admin().group(json!({"group_name": "default", "ratio": 1_000_000})).await;
        let ann = world.payer(100).await;

        world.pay("m", &ann).await.expect_error(503, "CONFIG_ERROR");
        world.wait_for_money(&ann, 100, 0).await;
        world.pay("s", &ann).await.expect(200);

        world.wait_for_money(&ann, 40, 60).await;
        world.close().await;
    }

    async fn amounts_beyond_32_bits_are_exact(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(999_999_999_999_997), Reply::text("ok")).await;
        let ann = world.payer(999_999_999_999_999).await;

        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("999999999999997"));
        assert_eq!(world.money(&ann).await.quota, 2);
        world.close().await;
    }
}

on_sqlite! {
    async fn a_large_upload_takes_little_memory(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_MAX_REQUEST_SIZE", "1GiB")]).await;
        world.model("m", fixed(3), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let length = 192_usize << 20;
        let mut raw = world.server.raw().await;
        raw.send(format!(
            "POST /pass/m HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\
             Content-Length: {length}\r\n\r\n",
            ann.key
        ))
        .await;
        let piece = vec![7; 1 << 20];
        for _ in 0..length >> 20 {
            raw.send(&piece).await;
        }

        raw.read_answer().await.unwrap().expect(200);

        let received = world.upstream.requests().await[0].received;
        assert_eq!(received, length as u64);
        assert!(world.peak_kib() < 64 << 10, "{} KiB", world.peak_kib());
        world.close().await;
    }

    async fn a_slow_client_makes_the_upstream_wait_and_not_the_memory_grow(db: TestDb) {
        let world = World::open(db).await;
        let mut reply = Reply::new(200).header("Content-Type", "application/octet-stream");
        for _ in 0..128 {
            reply = reply.body(vec![7; 1 << 20]);
        }
        world.model("m", fixed(9), reply.framing(Framing::Chunked)).await;
        let gate = Gate::new();
        world.model("other", by_use(), Reply::result(1, 1).gated(&gate)).await;
        let ann = world.payer(100).await;

        let call = world.server.call("GET", "/pass/m").key(&ann.key);
        let mut slow = call.stream().await;
        slow.next_chunk().await.unwrap().unwrap();
        // Others are served while it does not read.
        gate.open();
        for _ in 0..5 {
            world.pay("other", &ann).await.expect(200);
        }
        let sent = world.upstream.requests().await[0].sent;
        assert!(sent < 64 << 20, "{sent} bytes were taken for a client that does not read");
        let rest = slow.rest().await.unwrap().len();

        assert!(rest > 100 << 20);
        assert!(world.peak_kib() < 64 << 10, "{} KiB", world.peak_kib());
        world.wait_for_money(&ann, 81, 19).await;
        world.close().await;
    }

    async fn past_its_memory_limit_new_work_waits_outside(db: TestDb) {
        let world = World::with(db, &[("MEMORY_LIMIT", "1MiB")]).await;
        world.model("m", json!(null), Reply::text("ok")).await;
        let ann = world.payer(100).await;

        let refused = testkit::eventually("the limit to be noticed", || async {
            let answer = world.pay("m", &ann).await;
            (answer.status != 200).then_some(answer)
        })
        .await;

        let refused = refused.expect_error(503, "OVERLOADED");
        assert!(refused.header("Retry-After").is_some());
        let id = refused.header("X-Request-Id").unwrap();
        world.server.wait_for_log(&["code=OVERLOADED", &format!("request_id={id}")]).await;
        let counted = world.server.metric("custompass_errors_total{code=\"OVERLOADED\"}").await;
        assert!(counted >= 1, "{counted}");
        world.close().await;
    }
}
