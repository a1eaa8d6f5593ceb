//! What a request leaves to its vendor, or its reply does not count: charged as the vendor makes
//! it, or refused before anything is sent, and never charged as one.

use crate::vendor_tasks::{NEVER, Vendor, polled};
use crate::world::{Payer, World, by_use, fixed};
use serde_json::Value;
use testkit::{Answer, Reply, Signal, TestDb, eventually, json, on_both_databases};

const SPOKEN: &str = "/v1/audio/transcriptions";
const TEXT: &str = "/api/v1/services/aigc/text-generation/generation";

/// A model of this protocol, at this price.
async fn sell(world: &World, (protocol, model): (&str, &str), price: &Value) {
    let key = if protocol == "kling" { "access:secret" } else { "up-key" };
    world.channel(&[model], json!({"protocol": protocol, "key": key})).await;
    world.admin().price(model, price.clone()).await;
}

/// A call that is refused, because nobody would say what it uses; returns why.
async fn refused(world: &World, payer: &Payer, (path, body): (&str, Value)) -> String {
    let sent = world.upstream.count();
    let answer = world.server.post(path, &payer.key, &body).await.expect(400);
    assert_eq!(world.upstream.count(), sent, "{path}: nothing is sent");
    answer.text()
}

/// Ends what its vendor has not: nothing of these is charged.
async fn give_back(world: &World) {
    for task in world.db.query("SELECT id FROM tasks WHERE finish_time IS NULL").await {
        let refund = format!("/api/task/{}/fail-and-refund", task.i64("id"));
        world.admin().try_post(&refund, &json!({"reason": "not made"})).await.expect(200);
    }
}

/// A form of these fields, and a file.
async fn transcribe(world: &World, payer: &Payer, path: &str, fields: &[(&str, &str)]) -> Answer {
    let part = |(name, value): &(&str, &str)| {
        format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n")
    };
    let file = "--b\r\nContent-Disposition: form-data; name=file; filename=a.mp3\r\n\r\nID3\r\n";
    let parts: String = fields.iter().map(part).collect();
    let call = world.server.call("POST", path).key(&payer.key);
    let call = call.header("Content-Type", "multipart/form-data; boundary=b");
    call.body(format!("{parts}{file}--b--\r\n")).send().await
}

on_both_databases! {
    async fn a_film_that_names_no_length_is_as_long_as_its_vendor_makes_it(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(100_000).await;
        let seconds = json!({"units": {"seconds": 1000}});
        let kling = Vendor::kling();
        sell(&world, ("kling", "kling-v2"), &seconds).await;
        kling.serve(&world, &kling.done);
        let path = "/pass/v1/videos/text2video";
        let lengths = [(json!(null), 5), (json!(0), 5), (json!("10"), 10), (json!("10s"), 10)];
        for (said, charged) in lengths {
            let before = world.money(&ann).await.quota;
            let body = json!({"model_name": "kling-v2", "prompt": "x", "duration": said});
            let answer = world.server.post(path, &ann.key, &body).await.expect(200);
            let held = answer.header("X-Newapi-Quota").unwrap();
            assert_eq!(held, (charged * 1000).to_string(), "{said}");
            polled(&world, "completed").await;
            assert_eq!(before - world.money(&ann).await.quota, charged * 1000, "{said}");
            world.db.execute("DELETE FROM tasks").await;
        }

        // As long as what they are made of, whatever they are told.
        world.admin().price("kling-video-o1", seconds.clone()).await;
        world.channel(&["kling-video-o1"], json!({"protocol": "kling", "key": "a:b"})).await;
        let film = json!({"video_list": [{"video_url": "https://x/v.mp4"}], "duration": 1});
        for (path, body) in [
            ("/pass/v1/videos/video-extend", json!({"model_name": "kling-v2", "duration": 1})),
            ("/pass/v1/videos/lip-sync", json!({"model_name": "kling-v2", "duration": 1})),
            ("/pass/v1/videos/omni-video", film.clone()),
        ] {
            let why = refused(&world, &ann, (path, body)).await;
            assert!(why.contains("seconds"), "{why}");
        }
        // Whatever else has a price: what nobody counts is not given away beside it.
        for more in [json!({"seconds": 1000, "videos": 100}), json!({"seconds": 1000})] {
            world.admin().price("kling-v2", json!({"ratio": 1, "units": more})).await;
            let voice = ("/pass/v1/videos/lip-sync", json!({"model_name": "kling-v2"}));
            let why = refused(&world, &ann, voice).await;
            assert!(why.contains("seconds") && why.contains("videos"), "{why}");
        }
        // At a price that nothing has to be counted for they are made.
        world.admin().price("kling-video-o1", fixed(700)).await;
        world.upstream.on("/v1/videos/omni-video", Reply::json(&json!({"code": 0,
            "data": {"task_id": "842", "task_status": "submitted"}})));
        let answer = world.server.post("/pass/v1/videos/omni-video", &ann.key, &film).await;
        assert_eq!(answer.expect(200).header("X-Newapi-Quota").as_deref(), Some("700"));
        give_back(&world).await;
        world.close().await;
    }

    async fn what_nobody_would_say_is_refused_with_the_way_out(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(100_000).await;
        let seconds = json!({"units": {"seconds": 1000}, "min_hold": 8000});
        for model in ["fal-ai/veo3", "fal-ai/flux"] {
            sell(&world, ("fal", model), &seconds).await;
        }
        for model in ["gen4", "aleph"] {
            sell(&world, ("runway", model), &seconds).await;
        }
        sell(&world, ("http", "api/film"), &seconds).await;
        for (call, way_out) in [
            (("/pass/fal-ai/veo3", json!({"prompt": "x"})), "duration"),
            (("/pass/fal-ai/veo3", json!({"prompt": "x", "duration": 0})), "duration"),
            (("/v1/image_to_video", json!({"model": "gen4"})), "duration"),
            (("/v1/video_to_video", json!({"model": "aleph", "duration": 1})), "price per call"),
            (("/v1/character_performance", json!({"model": "aleph"})), "price per call"),
            (("/pass/api/film", json!({"prompt": "x"})), "seconds / duration"),
        ] {
            let why = refused(&world, &ann, call.clone()).await;
            assert!(why.contains(way_out), "{call:?}: {why}");
        }
        let fal = Vendor::fal();
        world.upstream.on("/fal-ai/veo3", Reply::json(&fal.taken));
        let body = json!({"prompt": "x", "duration": "9s"});
        let answer = world.server.post("/pass/fal-ai/veo3", &ann.key, &body).await.expect(200);
        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("9000"));
        // One picture is what all of them make by default.
        world.admin().price("fal-ai/flux", json!({"units": {"images": 20}})).await;
        world.upstream.on("/fal-ai/flux", Reply::json(&fal.taken));
        let body = json!({"prompt": "x"});
        let answer = world.server.post("/pass/fal-ai/flux", &ann.key, &body).await;
        assert_eq!(answer.expect(200).header("X-Newapi-Quota").as_deref(), Some("20"));
        give_back(&world).await;
        world.close().await;
    }

    async fn the_form_of_a_transcription_does_not_decide_its_price(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000_000).await;
        sell(&world, ("openai", "m"), &json!({"units": {"seconds": 10}, "min_hold": 6000})).await;
        world.upstream.on(SPOKEN, Reply::bytes("text/plain", "hello"));
        for format in ["text", "srt", "vtt", ""] {
            let fields = [("model", "m"), ("response_format", format)];
            let answer = transcribe(&world, &ann, SPOKEN, &fields).await.expect(400);
            assert!(answer.text().contains("verbose_json"), "{format}: {}", answer.text());
        }
        let twice = [("model", "m"), ("response_format", "json"), ("response_format[]", "text")];
        transcribe(&world, &ann, SPOKEN, &twice).await.expect(400);
        assert_eq!(world.upstream.count(), 0);

        let of = |reply: Value, fields: &'static [(&'static str, &'static str)]| {
            let (world, ann) = (&world, &ann);
            async move {
                world.upstream.on(SPOKEN, Reply::json(&reply));
                let before = world.money(ann).await.used;
                transcribe(world, ann, SPOKEN, fields).await.expect(200);
                world.money(ann).await.used - before
            }
        };
        let counted = json!({"text": "hi", "usage": {"type": "duration", "seconds": 700}});
        assert_eq!(of(counted, &[("model", "m"), ("seconds", "1")]).await, 7_000);
        let verbose = json!({"text": "hi", "duration": 699.2});
        let fields = &[("model", "m"), ("response_format", "verbose_json")];
        assert_eq!(of(verbose, fields).await, 7_000);
        // Others say nothing at all: then the least hold is what it costs.
        let says_nothing = json!({"text": "hi"});
        assert_eq!(of(says_nothing, &[("model", "m"), ("seconds", "1")]).await, 6_000);
        // By tokens or per call it may have any form.
        for price in [by_use(), fixed(9)] {
            world.admin().price("m", price).await;
            world.upstream.on(SPOKEN, Reply::bytes("text/plain", "hello"));
            let fields = [("model", "m"), ("response_format", "text")];
            transcribe(&world, &ann, SPOKEN, &fields).await.expect(200);
        }
        world.close().await;
    }

    async fn speech_of_azure_s_deployments_costs_what_it_costs_elsewhere(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000_000).await;
        let path = "/openai/deployments/whisper/audio/transcriptions";
        sell(&world, ("azure", "whisper"), &by_use()).await;
        let words = "The beach was a popular spot on a hot summer day. ".repeat(20);
        world.upstream.on(path, Reply::json(&json!({"text": words})));
        transcribe(&world, &ann, path, &[("language", "en")]).await.expect(200);
        let charged = world.money(&ann).await.used;
        assert!((180..320).contains(&charged), "{charged}");

        world.admin().price("whisper", json!({"units": {"seconds": 10}})).await;
        transcribe(&world, &ann, path, &[("response_format", "text")]).await.expect(400);
        world.upstream.on(path, Reply::json(&json!({"text": "hi", "duration": 59.5})));
        transcribe(&world, &ann, path, &[("response_format", "verbose_json")]).await.expect(200);
        assert_eq!(world.money(&ann).await.used - charged, 600);

        sell(&world, ("azure", "tts"), &json!({"units": {"characters": 2}})).await;
        let path = "/openai/deployments/tts/audio/speech";
        world.upstream.on(path, Reply::bytes("audio/mpeg", "ID3"));
        let body = json!({"input": "hello world", "voice": "alloy"});
        world.server.post(path, &ann.key, &body).await.expect(200);
        let used = charged + 600 + 22;
        world.wait_for_money(&ann, 1_000_000 - used, used).await;
        // Of what else there is at a deployment nobody says what it uses.
        world.admin().price("tts", by_use()).await;
        let other = "/openai/deployments/tts/extensions/x";
        world.server.post(other, &ann.key, &body).await.expect_error(404, "model_not_found");
        world.close().await;
    }

    async fn text_of_dashscope_is_a_call_and_all_else_a_task(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(1_000_000).await;
        sell(&world, ("dashscope", "qwen"), &by_use()).await;
        let choices = json!([{"message": {"role": "assistant", "content": "hi"}}]);
        world.upstream.on(TEXT, Reply::json(&json!({"request_id": "r",
            "output": {"choices": choices}, "usage": {"input_tokens": 3, "output_tokens": 4,
            "total_tokens": 7}})));
        let film = "/api/v1/services/aigc/video-generation/video-synthesis";
        world.upstream.on(film, Reply::json(&json!({"request_id": "r",
            "output": {"task_id": "ds-1", "task_status": "PENDING"}})));
        let body = json!({"model": "qwen", "input": {"messages": []}});
        for said in ["enable", "disable"] {
            for path in [TEXT, film] {
                let call = world.server.call("POST", &format!("/pass{path}")).key(&ann.key);
                let call = call.header("X-DashScope-Async", said).json(&body);
                call.send().await.expect(200);
            }
        }
        assert_eq!(world.money(&ann).await.used, 14, "the text, at once");
        let tasks = world.db.query("SELECT status FROM tasks").await;
        assert_eq!(tasks.len(), 2);
        assert!(tasks.iter().all(|task| task.text("status") == "submitted"));
        for request in world.upstream.requests().await {
            let said = request.header("x-dashscope-async");
            let wanted = (request.path() == film).then_some("enable");
            assert_eq!(said.as_deref(), wanted, "{}", request.path());
        }
        give_back(&world).await;
        world.close().await;
    }

    async fn units_are_known_by_the_document_that_reads_the_reply(db: TestDb) {
        let world = World::open(db).await;
        for (name, usage) in [("credits", "images = [\"/credits\"]"), ("mute", "")] {
            let document = format!(
                "name = \"{name}\"\nbase = \"openai\"\n\
                 title = {{ zh = \"{name}\", en = \"{name}\" }}\n[usage.meters]\n{usage}\n"
            );
            world.admin().post("/api/protocol", &json!({"document": document})).await;
        }
        let price = json!({"units": {"images": 5}});
        sell(&world, ("credits", "counted"), &price).await;
        sell(&world, ("mute", "uncounted"), &price).await;
        let chat = "/v1/chat/completions";
        let reply = json!({"choices": [{"message": {"content": "a"}}], "credits": 3});
        world.upstream.on(chat, Reply::json(&reply));
        let ann = world.payer(100).await;
        let body = |model: &str| json!({"model": model, "messages": []});

        let paid = world.server.post(chat, &ann.key, &body("counted")).await.expect(200);
        assert_eq!(paid.header("X-Newapi-Quota").as_deref(), Some("15"));
        refused(&world, &ann, (chat, body("uncounted"))).await;
        world.close().await;
    }

    async fn a_unit_that_is_said_twice_is_one_count_or_refused(db: TestDb) {
        let world = World::open(db).await;
        sell(&world, ("http", "film"), &json!({"units": {"seconds": 1}})).await;
        world.upstream.on("/film", Reply::json(&json!({"ok": true})));
        let ann = world.payer(10_000).await;
        for body in [
            json!({"seconds": 1, "duration": 600}),
            json!({"seconds": 600, "duration": 1}),
            json!({"seconds": "10m", "duration": 1}),
            // That another count, which has no price, is none hides nothing.
            json!({"n": "x", "seconds": "10m", "duration": 1}),
        ] {
            let why = refused(&world, &ann, ("/pass/film", body)).await;
            assert!(why.contains("seconds"), "{why}");
        }
        let one = json!({"seconds": 8, "duration": "8s"});
        world.server.post("/pass/film", &ann.key, &one).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 8);
        world.close().await;
    }

    async fn work_that_needs_more_words_first_is_paid_once_it_is_made(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        let extra = json!({"protocol": "midjourney", "key": "up-key"});
        world.channel(&["action", "modal"], extra).await;
        for model in ["action", "modal"] {
            world.admin().price(model, fixed(40)).await;
        }
        let asks = json!({"code": 21, "description": "Waiting for window confirm", "result": "7",
            "properties": {"remix": true}});
        world.upstream.on("/mj/submit/action", Reply::json(&asks));
        let made = json!({"code": 1, "description": "ok", "result": "7"});
        world.upstream.on("/mj/submit/modal", Reply::json(&made));
        let zoom = json!({"customId": "MJ::CustomZoom::1"});
        let said = json!({"taskId": "7", "prompt": "a cat --zoom 2"});

        // Nothing is anybody's before its vendor has named it.
        world.server.post("/pass/mj/submit/modal", &ann.key, &said).await.expect(404);
        let answer = world.server.post("/pass/mj/submit/action", &ann.key, &zoom).await.expect(200);
        assert_eq!(answer.json(), asks);
        world.wait_for_money(&ann, 100, 0).await;

        world.server.post("/pass/mj/submit/modal", &bob.key, &said).await.expect(404);
        world.server.post("/pass/mj/submit/modal", &ann.key, &said).await.expect(200);
        let done = json!([{"id": "7", "status": "SUCCESS", "imageUrl": "https://x/i.png"}]);
        world.upstream.on("/mj/task/list-by-condition", Reply::json(&done));
        world.upstream.on("/mj/task/7/fetch", Reply::json(&done[0]));
        eventually("the task to be charged", || async {
            world.server.signal(Signal::USR1);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            (world.money(&ann).await.used == 40).then_some(())
        })
        .await;
        let seen = world.server.call("GET", "/pass/mj/task/7/fetch").key(&ann.key).send();
        let seen = seen.await.expect(200);
        assert!(seen.text().contains("i.png"), "{}", seen.text());
        world.wait_for_money(&ann, 60, 40).await;
        world.close().await;
    }

    async fn work_that_is_there_already_is_not_paid_again(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(100).await;
        let vendor = Vendor::midjourney();
        vendor.channel(&world).await;
        vendor.serve(&world, &vendor.done);
        vendor.submit(&world, &ann).await.expect(200);
        polled(&world, "completed").await;
        let exists = json!({"code": 21, "description": "Task already exists", "result": "132"});
        world.upstream.on("/mj/submit/imagine", Reply::json(&exists));
        let answer = vendor.submit(&world, &ann).await.expect(200);
        assert_eq!(answer.json(), exists, "its client is shown which one");
        let tasks = world.db.query("SELECT status FROM tasks ORDER BY id").await;
        let ends: Vec<&str> = tasks.iter().map(|task| task.text("status")).collect();
        assert_eq!(ends, ["completed", "failed"]);
        world.wait_for_money(&ann, 60, 40).await;
        world.close().await;
    }

    async fn a_refusal_that_names_anothers_task_gives_nobody_a_hold_on_it(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        let extra = json!({"protocol": "midjourney", "key": "up-key"});
        world.channel(&["imagine", "modal"], extra).await;
        for model in ["imagine", "modal"] {
            world.admin().price(model, fixed(40)).await;
        }
        let prompt = json!({"prompt": "a cat"});
        let made = json!({"code": 1, "description": "ok", "result": "7"});
        world.upstream.on("/mj/submit/imagine", Reply::json(&made));
        world.server.post("/pass/mj/submit/imagine", &ann.key, &prompt).await.expect(200);

        // All customers are one account to the vendor, which has made that already.
        let exists = json!({"code": 21, "description": "Task already exists", "result": "7"});
        world.upstream.on("/mj/submit/imagine", Reply::json(&exists));
        world.server.post("/pass/mj/submit/imagine", &bob.key, &prompt).await.expect(200);
        let more = json!({"taskId": "7", "prompt": "a dog"});
        world.server.post("/pass/mj/submit/modal", &bob.key, &more).await.expect(404);

        give_back(&world).await;
        world.wait_for_money(&bob, 100, 0).await;
        world.close().await;
    }
}
