//! Channels whose account is broken: paused for all, and brought back by a probe.

use crate::world::{World, by_use, fixed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use testkit::{Gate, Reply, TestDb, eventually, json, on_both_databases};

const CHAT: &str = "/v1/chat/completions";

fn chat() -> Reply {
    let choices = json!([{"message": {"content": "hello"}}]);
    Reply::json(&json!({"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 4}}))
}

fn error(status: u16, code: &str) -> Reply {
    Reply::json(&json!({"error": {"message": "You exceeded it", "code": code}})).status(status)
}

on_both_databases! {
    async fn a_broken_account_is_paused_and_a_probe_brings_it_back(db: TestDb) {
        let world = World::open(db).await;
        let works = Arc::new(AtomicBool::new(false));
        let (calls, probes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        world.upstream.handle(CHAT, {
            let (works, calls) = (Arc::clone(&works), Arc::clone(&calls));
            move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
                let works = works.load(Ordering::SeqCst);
                if works { chat() } else { error(401, "invalid_api_key") }
            }
        });
        world.upstream.handle("/v1/models/m", {
            let (works, probes) = (Arc::clone(&works), Arc::clone(&probes));
            move |_| {
                probes.fetch_add(1, Ordering::SeqCst);
                let works = works.load(Ordering::SeqCst);
                let model = Reply::json(&json!({"id": "m", "object": "model"}));
                if works { model } else { error(401, "invalid_api_key") }
            }
        });
        let id = world.channel(&["m"], json!({"protocol": "openai", "key": "up-key"})).await;
        let broken = format!("custompass_channel_account_broken{{channel_id=\"{id}\"}}");
        world.admin().price("m", by_use()).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let ask = || json!({"model": "m", "messages": []});
        let first = world.server.post(CHAT, &ann.key, &ask()).await.expect(401);
        assert!(first.text().contains("You exceeded it"), "the upstream's own words");
        let line = world.server.wait_for_log(&["channel_account", "status 401"]).await;
        assert!(line.contains("You exceeded it"), "{line}");
        assert_eq!(probes.load(Ordering::SeqCst), 1, "one call is a reason to probe");
        for payer in [&ann, &bob] {
            let answer = world.server.post(CHAT, &payer.key, &ask()).await;
            answer.expect_error(503, "NO_CHANNEL");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1, "the pause is for all");
        assert!(world.server.metric(&broken).await == 1);

        eventually("the account to be probed", || async {
            (probes.load(Ordering::SeqCst) > 1).then_some(())
        })
        .await;
        let refused = world.server.post(CHAT, &ann.key, &ask()).await;
        refused.expect_error(503, "NO_CHANNEL");
        works.store(true, Ordering::SeqCst);
        let answer = eventually("the channel to be back", || async {
            let answer = world.server.post(CHAT, &bob.key, &ask()).await;
            (answer.status != 503).then_some(answer)
        })
        .await;
        answer.expect(200);
        assert_eq!(calls.load(Ordering::SeqCst), 2, "no call was spent on trying");
        assert_eq!(world.server.metric(&broken).await, 0);
        assert_eq!((world.money(&ann).await.used, world.money(&bob).await.used), (0, 7));
        world.close().await;
    }

    async fn what_a_client_causes_pauses_nothing(db: TestDb) {
        let world = World::open(db).await;
        let own = json!({"protocol": "custompass", "key": "up-key"});
        world.channel(&["own"], own).await;
        world.channel(&["m"], json!({"protocol": "anthropic", "key": "up-key"})).await;
        let refusal = json!({"type": "error", "error": {
            "type": "permission_error", "message": "no such file of yours"}});
        world.upstream.on("/v1/messages", Reply::json(&refusal).status(403));
        world.upstream.on("/v1/messages/count_tokens", Reply::json(&json!({"input_tokens": 1})));
        world.upstream.on(CHAT, error(401, "invalid_api_key"));
        for model in ["own", "m"] {
            world.admin().price(model, fixed(1)).await;
        }
        let ann = world.payer(100).await;
        for _ in 0..3 {
            let body = json!({"model": "m", "max_tokens": 1, "messages": []});
            world.server.post("/v1/messages", &ann.key, &body).await.expect(403);
            // It may be the client's own key that it refuses.
            let body = json!({"model": "own", "messages": []});
            world.server.post(CHAT, &ann.key, &body).await.expect(401);
        }
        assert_eq!(world.money(&ann).await.used, 0);
        world.close().await;
    }

    async fn no_client_chooses_the_account_that_it_is_billed_to(db: TestDb) {
        let world = World::open(db).await;
        let probes = Arc::new(AtomicUsize::new(0));
        world.channel(&["m"], json!({"protocol": "openai", "key": "up-key"})).await;
        world.upstream.handle(CHAT, |request| {
            let chosen = ["openai-organization", "openai-project"];
            match chosen.iter().any(|name| request.header(name).is_some()) {
                true => error(401, "mismatched_organization"),
                false => chat(),
            }
        });
        world.upstream.handle("/v1/models/m", {
            let probes = Arc::clone(&probes);
            move |_| {
                probes.fetch_add(1, Ordering::SeqCst);
                Reply::json(&json!({"id": "m", "object": "model"}))
            }
        });
        world.admin().price("m", by_use()).await;
        let ann = world.payer(1_000).await;
        let ask = || json!({"model": "m", "messages": []});
        let call = world.server.call("POST", CHAT).key(&ann.key).json(&ask());
        let call = call.header("OpenAI-Organization", "org-x").header("OpenAI-Project", "proj-x");
        call.send().await.expect(200);
        // Whatever else a call may be told 401 for: the probe has nothing of a client's in it.
        world.upstream.on(CHAT, error(401, "who_knows"));
        world.server.post(CHAT, &ann.key, &ask()).await.expect(401);
        eventually("the account to be probed", || async {
            (probes.load(Ordering::SeqCst) > 0).then_some(())
        })
        .await;
        world.upstream.on(CHAT, chat());
        world.server.post(CHAT, &ann.key, &ask()).await.expect(200);
        world.close().await;
    }

    async fn a_key_that_is_not_taken_is_no_good_where_no_probe_can_tell(db: TestDb) {
        // Others who answer in the shape of a vendor do not have all of its calls.
        let world = World::open(db).await;
        world.channel(&["m"], json!({"protocol": "openai", "key": "up-key"})).await;
        world.upstream.on(CHAT, error(401, "invalid_api_key"));
        world.upstream.on("/v1/models/m", error(404, "not_found"));
        world.admin().price("m", by_use()).await;
        let ann = world.payer(1_000).await;
        let ask = || json!({"model": "m", "messages": []});
        world.server.post(CHAT, &ann.key, &ask()).await.expect(401);
        world.server.wait_for_log(&["channel_account", "status 401"]).await;
        let answer = world.server.post(CHAT, &ann.key, &ask()).await;
        answer.expect_error(503, "NO_CHANNEL");
        world.close().await;
    }

    async fn a_submission_tells_of_a_broken_account(db: TestDb) {
        let world = World::open(db).await;
        let film = "/v1/videos/text2video";
        let spent = json!({"code": 1102, "message": "Account balance not enough"});
        world.upstream.on(film, Reply::json(&spent));
        world.channel(&["kling-v2"], json!({"protocol": "kling", "key": "access:secret"})).await;
        world.admin().price("kling-v2", fixed(1)).await;
        let ann = world.payer(100).await;
        let (path, body) = (format!("/pass{film}"), json!({"model_name": "kling-v2"}));
        let first = world.server.post(&path, &ann.key, &body).await.expect(200);
        assert_eq!(first.json(), spent, "its own words");
        world.server.wait_for_log(&["channel_account", "Account balance not enough"]).await;
        let next = world.server.post(&path, &ann.key, &body).await;
        next.expect_error(503, "NO_CHANNEL");
        assert_eq!(world.money(&ann).await.used, 0);
        world.close().await;
    }

    async fn an_account_is_probed_by_a_call_that_runs_nothing(db: TestDb) {
        // fal has no call that is free and always there: it is asked about a request of nobody's.
        let world = World::open(db).await;
        let probe = "/fal-ai/flux/requests/00000000-0000-0000-0000-000000000000/status";
        let locked = || Reply::json(&json!({"detail": "no balance"})).status(402);
        world.upstream.on("/fal-ai/flux", locked());
        world.upstream.on(probe, locked());
        let id = world.channel(&["fal-ai/flux"], json!({"protocol": "fal", "key": "up-key"})).await;
        world.admin().price("fal-ai/flux", fixed(1)).await;
        let ann = world.payer(100).await;
        let body = json!({"prompt": "x"});
        let submit = || world.server.post("/pass/fal-ai/flux", &ann.key, &body);
        submit().await.expect(402);
        let broken = format!("custompass_channel_account_broken{{channel_id=\"{id}\"}}");
        world.server.wait_for_log(&["channel_account", "status 402"]).await;
        assert_eq!(world.server.metric(&broken).await, 1);
        let asked = async |path: &str| {
            let requests = world.upstream.requests().await;
            requests.iter().filter(|it| it.path() == path).count()
        };
        eventually("two probes", || async { (asked(probe).await >= 2).then_some(()) }).await;
        submit().await.expect_error(503, "NO_CHANNEL");
        assert_eq!(asked("/fal-ai/flux").await, 1, "no call is spent on trying");
        world.upstream.on(probe, Reply::json(&json!({"detail": "not found"})).status(404));
        let invalid = json!({"detail": [{"msg": "field required"}]});
        world.upstream.on("/fal-ai/flux", Reply::json(&invalid).status(422));
        eventually("the channel to be back", || async {
            (submit().await.status == 422).then_some(())
        })
        .await;
        world.close().await;
    }

    async fn an_account_that_nobody_calls_is_probed_ever_more_seldom(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000).await;
        let ask = |model: &str| json!({"model": model, "messages": []});
        let mut ids = Vec::new();
        for model in ["slow", "idle", "off"] {
            let openai = json!({"protocol": "openai", "key": "up-key"});
            ids.push(world.channel(&[model], openai).await);
            world.admin().price(model, by_use()).await;
            let path = format!("/v1/models/{model}");
            world.upstream.on(&path, error(401, "invalid_api_key"));
        }
        let probes = async |model: &str| {
            let path = format!("/v1/models/{model}");
            let requests = world.upstream.requests().await;
            requests.iter().filter(|it| it.path() == path).count()
        };
        let probed = async |model: &str, least: usize| {
            eventually("probes", || async { (probes(model).await >= least).then_some(()) }).await;
        };
        world.upstream.on(CHAT, error(401, "invalid_api_key"));
        world.upstream.on("/v1/models/slow", Reply::hang());
        world.server.post(CHAT, &ann.key, &ask("slow")).await.expect(401);
        probed("slow", 1).await;

        // A probe that is slow holds up no other one.
        let started = Instant::now();
        for model in ["idle", "off"] {
            world.server.post(CHAT, &ann.key, &ask(model)).await.expect(401);
            probed(model, 1).await;
        }
        assert!(started.elapsed().as_millis() < 6_000, "{:?}", started.elapsed());
        for id in &ids[1..] {
            let broken = format!("custompass_channel_account_broken{{channel_id=\"{id}\"}}");
            eventually("a pause", || async {
                (world.server.metric(&broken).await == 1).then_some(())
            })
            .await;
        }
        let off = format!("/api/channel/{}", ids[2]);
        world.admin().put(&off, &json!({"status": 2})).await;
        world.upstream.on("/v1/models/idle", Reply::json(&json!({"id": "idle"})));
        probed("idle", 2).await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert_eq!((probes("idle").await, probes("off").await), (2, 1));

        world.upstream.on(CHAT, chat());
        world.server.post(CHAT, &ann.key, &ask("idle")).await.expect(200);
        world.admin().put(&off, &json!({"status": 1})).await;
        probed("off", 2).await;
        world.close().await;
    }

    async fn a_probe_of_the_key_before_says_nothing_of_the_next(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        let bad = error(401, "invalid_api_key");
        let late = Reply::new(401).wait(&gate).body(r#"{"error":{"code":"invalid_api_key"}}"#);
        let by_key = |reply: Reply, good: fn() -> Reply| {
            move |request: &testkit::Recorded| match request.header("Authorization").as_deref() {
                Some("Bearer old") => reply.clone(),
                _ => good(),
            }
        };
        world.upstream.handle(CHAT, by_key(bad, chat));
        let model = || Reply::json(&json!({"id": "m"}));
        world.upstream.handle("/v1/models/m", by_key(late, model));
        let id = world.channel(&["m"], json!({"protocol": "openai", "key": "old"})).await;
        world.admin().price("m", by_use()).await;
        let ann = world.payer(1_000).await;
        let ask = || json!({"model": "m", "messages": []});
        world.server.post(CHAT, &ann.key, &ask()).await.expect(401);
        world.upstream.wait_for_requests(2).await;
        world.admin().put("/api/channel", &json!({"id": id, "key": "new"})).await;
        // It takes a second until the other key is noticed.
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        world.server.post(CHAT, &ann.key, &ask()).await.expect(200);
        gate.open();
        for _ in 0..8 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            world.server.post(CHAT, &ann.key, &ask()).await.expect(200);
        }
        world.close().await;
    }

    async fn another_key_ends_the_pause_and_others_are_asked_meanwhile(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.handle(CHAT, |request| {
            match request.header("Authorization").as_deref() {
                Some("Bearer used-up") => error(429, "insufficient_quota"),
                Some("Bearer busy") => error(429, "rate_limit_exceeded").header("Retry-After", "1"),
                _ => chat(),
            }
        });
        world.upstream.on("/v1/models/m", Reply::json(&json!({"id": "m"})));
        let of = |key: &str, priority: i64| {
            json!({"protocol": "openai", "key": key, "priority": priority})
        };
        let broken = world.channel(&["m"], of("used-up", 9)).await;
        let last = world.channel(&["m"], of("good", 1)).await;
        world.admin().price("m", by_use()).await;
        let ann = world.payer(1_000).await;
        let ask = || json!({"model": "m", "messages": []});
        for _ in 0..3 {
            world.server.post(CHAT, &ann.key, &ask()).await.expect(200);
        }
        let asked = |requests: &[testkit::Recorded], key: &str| {
            let is = |it: &&testkit::Recorded| it.header("Authorization").as_deref() == Some(key);
            requests.iter().filter(is).count()
        };
        let requests = world.upstream.requests().await;
        assert_eq!(asked(&requests, "Bearer used-up"), 1, "paused after the first");
        world.server.wait_for_log(&["channel_account", "status 429"]).await;

        // A 429 that means the next second alone is waited for, and pauses nothing.
        let key = json!({"id": broken, "key": "busy"});
        world.admin().put("/api/channel", &key).await;
        let started = Instant::now();
        eventually("the other key to be used", || async {
            world.server.post(CHAT, &ann.key, &ask()).await.expect(200);
            let requests = world.upstream.requests().await;
            (asked(&requests, "Bearer busy") >= 2).then_some(())
        })
        .await;
        assert!(started.elapsed().as_millis() >= 2_000, "{:?}", started.elapsed());
        assert!(last > broken);
        world.close().await;
    }
}
