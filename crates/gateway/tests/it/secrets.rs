//! Whose key reaches whom: a channel's never its clients, a client's never an upstream that is not
//! to have it.

use crate::setup_rules::access_token;
use crate::vendor_tasks::{NEVER, polled};
use crate::world::{World, fixed};
use testkit::{Admin, Gate, Recorded, Reply, Signal, TestDb, eventually, json, on_both_databases};

/// A channel's key, long enough to be a secret.
const SECRET: &str = "UPSTREAM-KEY-SECRET-0123456789";

/// A reply with the key in it, compressed, although nothing was asked for but plain text.
fn zipped(status: u16, kind: &str) -> Reply {
    let text = format!("{} the key is {SECRET}, it is", "noise ".repeat(50));
    Reply::bytes(kind, text).status(status).gzip()
}

/// A key of which a token is signed for each call. Together they are too short to be searched for.
const SIGNING_KEY: &str = "AK0123:SK-0123456789abcdef";

/// What an upstream repeats of a call whose key is signed: one thing after the other.
fn repeated(request: &Recorded, round: usize) -> String {
    let token = request.header("authorization").unwrap();
    match round {
        0 => token,
        // Neither the first nor the last part says anything alone.
        1 => token.rsplit_once('.').unwrap().0.to_owned(),
        _ => SIGNING_KEY.split_once(':').unwrap().1.to_owned(),
    }
}

on_both_databases! {
    async fn an_echo_does_not_show_a_signing_key_or_what_it_signs(db: TestDb) {
        const SUBMIT: &str = "/v1/videos/text2video";
        let world = World::with(db, &[NEVER]).await;
        let protocol = json!({"protocol": "kling", "key": SIGNING_KEY});
        let channel = world.channel(&["kling-v2"], protocol).await;
        world.admin().price("kling-v2", fixed(1)).await;
        let ann = world.payer(100).await;
        let submit = async || {
            let call = world.server.call("POST", &format!("/pass{SUBMIT}")).key(&ann.key);
            call.json(&json!({"model_name": "kling-v2", "prompt": "a cat"})).send().await
        };
        let task = |status: &str, more: &str| {
            json!({"code": 0, "data": {"task_id": "841", "task_status": status,
                "task_status_msg": more}})
        };
        for round in 0..3 {
            world.upstream.handle(SUBMIT, move |request| {
                Reply::json(&task("failed", &repeated(request, round))).status(400)
            });
            let answer = submit().await;
            assert_eq!(answer.status, 502, "{round}: {}", answer.text());
            world.upstream.handle(SUBMIT, move |request| {
                let reply = Reply::json(&json!({"code": 1, "message": "no"})).status(400);
                reply.header("x-seen", repeated(request, round))
            });
            let answer = submit().await.expect(400);
            assert_eq!(answer.header("x-seen"), None, "{round}");
            // An administrator who tries the channel does not see it either.
            world.upstream.handle(SUBMIT, move |request| {
                Reply::json(&task("submitted", &repeated(request, round)))
            });
            let test = json!({"channel_id": channel, "path": SUBMIT});
            let tried = world.admin().post("/api/channel/test", &test).await;
            let shown = tried["reply"].as_str().unwrap();
            let masked = ["Bearer ***", "Bearer ***", "***"][round];
            assert!(shown.contains(&format!("\"{masked}\"")), "{round}: {shown}");
        }
        world.server.wait_for_log(&["upstream_echo", "repeats the channel's key"]).await;

        // What the poller reads is shown to the task's owner.
        world.db.execute("DELETE FROM tasks WHERE status = 'failed'").await;
        world.upstream.on(SUBMIT, Reply::json(&task("submitted", "")));
        submit().await.expect(200);
        for round in 0..3 {
            world.upstream.handle(&format!("{SUBMIT}/841"), move |request| {
                Reply::json(&task("processing", &repeated(request, round)))
            });
            world.server.signal(Signal::USR1);
            world.upstream.wait_for_requests(10 + round + 1).await;
        }
        world.server.wait_for_log(&["poll_failed", "repeats the channel's key"]).await;
        assert_eq!(world.db.text("SELECT status FROM tasks").await, "submitted");
        world.upstream.on(&format!("{SUBMIT}/841"), Reply::json(&task("succeed", "fine")));
        polled(&world, "completed").await;
        world.close().await;
    }

    async fn a_compressed_echo_does_not_show_the_channels_key(db: TestDb) {
        let world = World::open(db).await;
        let models = [
            ("json", zipped(200, "application/json")),
            ("large", Reply::bytes("text/plain", "0123456789".repeat(60_000) + SECRET).gzip()),
            ("page", zipped(500, "text/html")),
            ("events", zipped(200, "text/event-stream").chunked()),
            ("img/submit", zipped(200, "application/json")),
            ("free", zipped(200, "text/plain")),
            // What can't be read may be the key.
            ("br", Reply::text("odd bytes").header("Content-Encoding", "br")),
            ("twice", zipped(200, "text/plain").header("Content-Encoding", "gzip")),
            ("broken", Reply::text("not compressed").header("Content-Encoding", "gzip")),
        ];
        for (model, reply) in models.clone() {
            world.upstream.on(&format!("/{model}"), reply);
            world.channel(&[model], json!({"key": SECRET})).await;
            if model != "free" {
                world.admin().price(model, fixed(1)).await;
            }
        }
        let ann = world.payer(100).await;
        for (model, _) in models {
            let call = world.server.call("POST", &format!("/pass/{model}")).key(&ann.key);
            let call = call.header("Accept-Encoding", "gzip, br").json(&json!({}));
            match call.try_send().await {
                Ok(answer) => {
                    assert_eq!(answer.status, 502, "{model}: {}", answer.text());
                    answer.expect_error(502, "UPSTREAM_RESPONSE");
                }
                // What flows breaks off where the key would stand.
                Err(_) => assert!(["large", "page", "events", "free"].contains(&model), "{model}"),
            }
        }
        world.server.wait_for_log(&["upstream_echo", "Content-Encoding"]).await;
        let requests = world.upstream.requests().await;
        let free = requests.iter().find(|request| request.path() == "/free").unwrap();
        assert_eq!(free.header("Accept-Encoding").as_deref(), Some("gzip"), "what can be searched");
        world.close().await;
    }

    async fn no_range_shows_a_part_of_the_channels_key(db: TestDb) {
        let world = World::open(db).await;
        let (first, second) = SECRET.split_at(SECRET.len() / 2);
        let part = |kind: &str, half: &str| Reply::bytes(kind, half.to_owned()).status(206);
        let several = "multipart/byteranges; boundary=x";
        let models = [
            ("text", part("text/plain", first), 502),
            ("json", part("application/json", second), 502),
            ("page", part("application/xhtml+xml", first), 502),
            ("untyped", Reply::new(206).body(first), 502),
            ("unknown", part("application/x-log", first), 502),
            ("several", part(several, &format!("--x\r\n\r\n{first}\r\n--x--")), 502),
            ("whole", Reply::bytes(several, format!("--x\r\n\r\n{first}\r\n--x--")), 502),
            ("film", part("video/mp4", "frames"), 206),
        ];
        let ann = world.payer(100).await;
        for (model, reply, status) in models {
            world.upstream.on(&format!("/{model}"), reply);
            world.channel(&[model], json!({"key": SECRET})).await;
            for is_priced in [false, true] {
                if is_priced {
                    world.admin().price(model, fixed(1)).await;
                }
                let call = world.server.call("GET", &format!("/pass/{model}")).key(&ann.key);
                let answer = call.header("Range", "bytes=0-14").send().await;
                assert_eq!(answer.status, status, "{model}: {}", answer.text());
            }
        }
        assert_eq!(world.money(&ann).await.used, 1, "the film alone");
        world.close().await;
    }

    async fn what_nobody_reads_is_searched_for_the_key_too(db: TestDb) {
        let world = World::open(db).await;
        let (begin, end) = SECRET.split_at(9);
        let first = "data: {\"a\":1}\n\n";
        let replies = [
            ("events", format!("data: Bearer {SECRET}\n\n"), "data: [DONE]\n\n".to_owned()),
            ("open", "data: 2\n\n".to_owned(), format!("data: {SECRET}")),
            ("parts", format!("data: {begin}"), format!("{end}\n\ndata: [DONE]\n\n")),
        ];
        let ann = world.payer(100).await;
        for (at, (model, second, last)) in replies.into_iter().enumerate() {
            let gate = Gate::new();
            let reply = Reply::new(200).header("Content-Type", "text/event-stream").chunked();
            let reply = reply.body(first).wait(&gate).body(second).body(last);
            world.upstream.on(&format!("/{model}"), reply);
            world.channel(&[model], json!({"key": SECRET})).await;
            world.admin().price(model, fixed(10)).await;
            let call = || {
                let call = world.server.call("POST", &format!("/pass/{model}")).key(&ann.key);
                call.header("Idempotency-Key", model).json(&json!({}))
            };
            let mut answer = call().stream().await;
            answer.read_until("\n\n").await;
            drop(answer);
            let drains = i64::try_from(at).unwrap() + 1;
            eventually("the reply to be read on", || async {
                let count = world.server.metric("custompass_drains_total").await;
                (count == drains).then_some(())
            })
            .await;
            gate.open();
            world.wait_for_money(&ann, 100 - 10 * drains, 10 * drains).await;

            let replayed = call().send().await;

            assert!(!replayed.text().contains(end), "{model}: {}", replayed.text());
            replayed.expect_error(409, "IDEMPOTENCY_CONFLICT");
        }
        world.server.wait_for_log(&["upstream_echo", "repeats the channel's key"]).await;
        world.close().await;
    }

    async fn what_an_upstream_says_of_a_failure_does_not_show_the_key(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(100).await;
        let said = format!("bad key {SECRET}");
        let (begin, end) = said.split_at(20);
        // The last one is cut within the key.
        let long = format!("{} {SECRET}", "x".repeat(1_000 - 20));
        let replies = [("one", vec![&*said]), ("two", vec![begin, end]), ("cut", vec![&*long])];
        for (model, pieces) in replies {
            let reply = Reply::new(200).header("Content-Type", "application/json").chunked();
            let reply = reply.body("{\"code\":7,\"message\":\"");
            // The last piece ends the words, so that they are read before the key is found.
            let (last, pieces) = pieces.split_last().unwrap();
            let reply = pieces.iter().fold(reply, |reply, piece| reply.body((*piece).to_owned()));
            world.upstream.on(&format!("/{model}"), reply.body(format!("{last}\"}}")));
            world.channel(&[model], json!({"key": SECRET})).await;
            world.admin().price(model, fixed(10)).await;
            let call = world.server.call("POST", &format!("/pass/{model}")).key(&ann.key);
            let _ = call.json(&json!({})).try_send().await;
        }
        let own = Admin::new(world.server.addr(), &access_token(&world, ann.id).await);
        let told = eventually("all lines about the failures", || async {
            let told = own.envelope("/api/log/self").await.to_string();
            (told.matches("upstream_failed").count() == 3).then_some(told)
        })
        .await;

        assert!(!told.contains(&SECRET[..9]), "{told}");
        let log = world.server.log_lines().join("\n");
        assert!(!log.contains(&SECRET[..9]), "{log}");
        world.close().await;
    }

    async fn a_key_in_the_address_is_refused(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let protocol = json!({"protocol": "gemini", "key": "up-key"});
        world.channel(&["g"], protocol).await;
        let ann = world.payer(100).await;
        for target in [
            "/pass/m?key=KEY",
            "/pass/m?a=1&api_key=KEY",
            "/pass/m?x=KEY",
            "/pass/m?access_token=Bearer%20KEY",
            "/v1/models?key=KEY",
            "/v1beta/models/g:generateContent?alt=sse&key=KEY",
            "/v1beta/models/g:generateContent?key=AIzaSy0123456789",
            "/v1/chat/completions?%61pi_key=%KEY",
        ] {
            let encoded = format!("73{}", &ann.key[1..]);
            let target = target.replace("%KEY", &format!("%{encoded}")).replace("KEY", &ann.key);
            for with_header in [false, true] {
                let call = world.server.call("POST", &target).json(&json!({"model": "m"}));
                let call = if with_header { call.key(&ann.key) } else { call };
                let answer = call.send().await;
                assert_eq!(answer.status, 401, "{target}: {}", answer.text());
                assert!(answer.text().contains("Authorization: Bearer"), "{}", answer.text());
                assert!(!answer.text().contains(&ann.key[5..]), "{}", answer.text());
            }
        }
        assert_eq!(world.upstream.count(), 0);
        let log = world.server.log_lines().join("\n");
        assert!(!log.contains(&ann.key[5..]), "the key is in the log");
        // A parameter of that name is an upstream's own where no protocol knows it.
        world.server.call("POST", "/pass/m?key=name").key(&ann.key).send().await.expect(200);
        world.close().await;
    }

    async fn a_client_can_not_set_what_is_ours_or_a_proxys(db: TestDb) {
        let world = World::open(db).await;
        for (model, protocol) in [("m", "custompass"), ("o", "openai"), ("h", "http")] {
            world.channel(&[model], json!({"protocol": protocol, "key": SECRET})).await;
            world.admin().price(model, fixed(1)).await;
        }
        world.upstream.otherwise(Reply::json(&json!({"choices": [{"message": {}}]})));
        let ann = world.payer(100).await;
        let kept = [("X-Own", "1"), ("OpenAI-Beta", "assistants=v2")];
        let dropped = [
            ("X_Api_Key", "forged"),
            ("X_Custom_Token", "forged"),
            ("X-HTTP_Method-Override", "TRACE"),
            ("X-HTTP-Method-Override", "TRACE"),
            ("X-Method-Override", "TRACE"),
            ("X-Original-URL", "/elsewhere"),
            ("X-Rewrite-URL", "/elsewhere"),
            ("X-Original-Host", "elsewhere"),
            ("X-Host", "elsewhere"),
            ("X-Envoy-Original-Path", "/elsewhere"),
            ("X-Middleware-Subrequest", "middleware"),
            ("X-Client-IP", "1.2.3.4"),
            ("X-Token", ann.key.as_str()),
            ("X-Auth", "Bearer KEY"),
        ];
        for (model, target) in
            [("m", "/pass/m"), ("m", "/v1/chat/completions"), ("o", "/v1/chat/completions")]
        {
            world.upstream.forget();
            let mut call = world.server.call("POST", target).key(&ann.key);
            for (name, value) in kept.iter().chain(&dropped) {
                call = call.header(name, value.replace("KEY", &ann.key));
            }
            let call = call.header("X-Custom-Token", "forged");
            let body = json!({"model": model, "messages": []});
            call.json(&body).send().await.expect(200);
            let request = world.upstream.requests().await.pop().unwrap();
            for (name, value) in kept {
                assert_eq!(request.header(name).as_deref(), Some(value), "{target}");
            }
            for (name, _) in dropped {
                assert_eq!(request.header(name), None, "{model} {target} {name}");
            }
            let token = request.header("X-Custom-Token");
            assert_eq!(token.as_deref(), (model == "m").then_some(&*ann.key), "{model} {target}");
        }
        world.close().await;
    }

    async fn an_upstream_does_not_lead_elsewhere(db: TestDb) {
        let world = World::open(db).await;
        for (model, location) in [("tab", "/\t/evil.example"), ("blank", " //evil.example")] {
            world.model(model, fixed(1), Reply::redirect(302, location)).await;
        }
        let reply = Reply::text("ok").header("Refresh", "0; url=//evil.example");
        let reply = reply.header("X-Accel-Redirect", "/internal").header("X-Newapi-Quota", "0");
        let reply = reply.header("NEL", "{}").header("Report-To", "{}");
        let reply = reply.header("Surrogate-Control", "max-age=60");
        world.model("ok", fixed(1), reply.header("Alt-Svc", "h2=\"evil.example:443\"")).await;
        let ann = world.payer(100).await;
        for model in ["tab", "blank"] {
            let answer = world.pay(model, &ann).await.expect_error(502, "UPSTREAM_ERROR");
            assert_eq!(answer.header("Location"), None);
        }
        let answer = world.pay("ok", &ann).await.expect(200);
        let names =
            ["Refresh", "X-Accel-Redirect", "Alt-Svc", "NEL", "Report-To", "Surrogate-Control"];
        for name in names {
            assert_eq!(answer.header(name), None, "{name}");
        }
        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("1"));
        world.close().await;
    }

    async fn no_cache_before_us_keeps_a_reply_for_others(db: TestDb) {
        let world = World::open(db).await;
        let public = Reply::text("ok").header("Cache-Control", "public, max-age=600");
        for (model, reply, cached) in [
            ("said", public, "private, max-age=600"),
            ("silent", Reply::text("ok"), "private"),
            ("secret", Reply::text("ok").header("Cache-Control", "no-store"), "no-store"),
        ] {
            world.model(model, json!(null), reply).await;
            let ann = world.payer(0).await;
            let call = world.server.call("GET", &format!("/pass/{model}"));
            let answer = call.header("X-Api-Key", &ann.key).send().await.expect(200);
            assert_eq!(answer.header("Cache-Control").as_deref(), Some(cached), "{model}");
        }
        // What we say ourselves is no different.
        let ann = world.payer(0).await;
        for path in ["/v1/models", "/v1/tasks", "/v1/tasks/none", "/pass/none", "/v1/balance"] {
            for key in [&*ann.key, "sk-none"] {
                let answer = world.server.call("GET", path).header("X-Api-Key", key).send().await;
                let cached = answer.header("Cache-Control");
                assert_eq!(cached.as_deref(), Some("private"), "{path} {}", answer.status);
            }
        }
        let token = access_token(&world, ann.id).await;
        for path in ["/api/user/self", "/api/log/self", "/api/log/self/export", "/api/none"] {
            for key in [&*token, "none"] {
                let answer = world.server.call("GET", path).key(key).send().await;
                let cached = answer.header("Cache-Control");
                assert_eq!(cached.as_deref(), Some("no-store"), "{path} {}", answer.status);
            }
        }
        world.close().await;
    }
}
