//! What Gemini keeps for later calls: files, and caches, whose storage is paid for.

use crate::vendor_tasks::{NEVER, polled};
use crate::world::{Payer, World};
use serde_json::Value;
use testkit::{Answer, Recorded, Reply, Signal, TestDb, json, on_both_databases};

const HOST: &str = "https://generativelanguage.googleapis.com";
const CACHES: &str = "/v1beta/cachedContents";
const CACHE: &str = "/v1beta/cachedContents/c1";

async fn ask(world: &World, payer: &Payer, (method, path): (&str, &str), body: &Value) -> Answer {
    let call = world.server.call(method, path).key(&payer.key);
    match body {
        Value::Null => call.send().await,
        body => call.header("content-type", "application/json").body(body.to_string()).send().await,
    }
}

fn cache(displayed: &str) -> Reply {
    Reply::json(&json!({"name": "cachedContents/c1", "model": "models/flash",
        "displayName": displayed, "usageMetadata": {"totalTokenCount": 1000}}))
}

fn cached(ttl: &Value) -> Value {
    json!({"model": "models/flash", "ttl": ttl, "contents": [{"parts": [{"text": "much"}]}]})
}

async fn flash(world: &World) {
    let extra = json!({"protocol": "gemini", "model_mapping": {"flash": "flash-2"}});
    world.channel(&["flash", "files"], extra).await;
    let price = json!({"ratio": 1, "completion_ratio": 1, "meters": {"cache_write_1h": 3}});
    world.admin().price("flash", price).await;
}

on_both_databases! {
    async fn a_cache_is_paid_for_and_is_its_owners(db: TestDb) {
        let world = World::open(db).await;
        flash(&world).await;
        let (ann, bob) = (world.payer(100_000).await, world.payer(100_000).await);
        world.upstream.handle(CACHES, |request| {
            assert_eq!(request.json()["model"], "models/flash-2");
            cache("new")
        });
        world.upstream.handle(CACHE, |request| match request.method.as_str() {
            "DELETE" => Reply::json(&json!({})),
            "PATCH" => cache("longer"),
            _ => cache("shown"),
        });
        let used = async |payer: &Payer| world.money(payer).await.used;

        // Read once, and stored for an hour.
        let made = ask(&world, &ann, ("POST", CACHES), &cached(&json!("3600s"))).await;
        assert_eq!(made.expect(200).json()["name"], "cachedContents/c1");
        assert_eq!(used(&ann).await, 4_000);
        let list = ask(&world, &ann, ("GET", CACHES), &Value::Null).await.expect(200).json();
        assert_eq!(list, json!({"cachedContents": [{"name": "cachedContents/c1",
            "model": "models/flash", "displayName": "new",
            "usageMetadata": {"totalTokenCount": 1000}}]}));
        // Another hour.
        let more = json!({"ttl": "3600s"});
        let target = "/v1beta/cachedContents/c1?updateMask=ttl";
        ask(&world, &ann, ("PATCH", target), &more).await.expect(200);
        assert_eq!(used(&ann).await, 7_000);
        ask(&world, &ann, ("GET", CACHE), &Value::Null).await.expect(200);
        assert_eq!(used(&ann).await, 7_000);

        let before = world.upstream.count();
        for method in ["GET", "PATCH", "DELETE"] {
            ask(&world, &bob, (method, CACHE), &more).await.expect(404);
        }
        let list = ask(&world, &bob, ("GET", CACHES), &Value::Null).await.expect(200).json();
        assert_eq!(list, json!({"cachedContents": []}));
        // Storage that is not paid for.
        for (method, path, body) in [
            ("POST", CACHES, cached(&json!("86400s"))),
            ("POST", CACHES, cached(&json!(7200))),
            ("POST", CACHES, cached(&json!("1e9s"))),
            ("POST", CACHES, cached(&json!({"seconds": 86_400}))),
            ("POST", CACHES, json!({"model": "flash", "expireTime": "2036-01-01T00:00:00Z"})),
            ("POST", CACHES, json!({"model": "flash", "expire_time": "2036-01-01T00:00:00Z"})),
            ("PATCH", CACHE, json!({"ttl": "3601s"})),
            ("PATCH", CACHE, json!({"expireTime": "2036-01-01T00:00:00Z"})),
            ("PATCH", CACHE, json!({"Ttl": "60s"})),
        ] {
            let refused = ask(&world, &ann, (method, path), &body).await;
            refused.expect(400);
        }
        for body in [r#"{"ttl":"60s","ttl":"86400s"}"#, r#"[{"ttl":"86400s"}]"#, "\u{feff}{}"] {
            let call = world.server.call("PATCH", CACHE).key(&ann.key).body(body).send().await;
            call.expect(400);
        }
        // What is free must not become what isn't.
        let longer = "/v1beta/cachedContents/c1?$httpMethod=PATCH&ttl=86400s";
        ask(&world, &ann, ("GET", longer), &Value::Null).await.expect(400);
        assert_eq!(world.upstream.count(), before, "none of these reached the upstream");
        assert_eq!((used(&ann).await, used(&bob).await), (7_000, 0));

        ask(&world, &ann, ("DELETE", CACHE), &Value::Null).await.expect(200);
        ask(&world, &ann, ("GET", CACHE), &Value::Null).await.expect(404);
        world.close().await;
    }

    async fn a_reply_may_not_leave_out_what_it_counts(db: TestDb) {
        let world = World::open(db).await;
        flash(&world).await;
        let ann = world.payer(1_000).await;
        let usage =
            json!({"promptTokenCount": 8, "candidatesTokenCount": 2, "totalTokenCount": 10});
        let reply = json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}],
            "usageMetadata": usage});
        let path = "/v1beta/models/flash:generateContent";
        world.upstream.on("/v1beta/models/flash-2:generateContent", Reply::json(&reply));
        let body = json!({"contents": [{"parts": [{"text": "x"}]}]});
        for query in [
            "fields=candidates", "Fields=x", "%66ields=x", "%24fields=x", "alt=proto",
            "alt=json&alt=media", "$alt=proto", "callback=f", "fields",
            "$httpHeaders=X-Goog-FieldMask:candidates%0D%0A",
            "%24HttpHeaders=X-Goog-FieldMask%3Acandidates", "$httpMethod=GET", "alt=json&$ct=x",
        ] {
            let target = format!("{path}?{query}");
            let refused = ask(&world, &ann, ("POST", &target), &body).await;
            refused.expect(400);
        }
        let masked = world.server.call("POST", path).key(&ann.key);
        let masked = masked.header("content-type", "application/json");
        let masked = masked.header("X-Goog-FieldMask", "candidates").body(body.to_string());
        masked.send().await.expect(400);
        assert_eq!(world.upstream.count(), 0, "none of these reached the upstream");
        let target = format!("{path}?alt=json&prettyPrint=false");
        ask(&world, &ann, ("POST", &target), &body).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 10);
        // As Google's own clients for REST say it.
        let target = format!("{path}?$alt=json;enum-encoding=int&$prettyPrint=false");
        ask(&world, &ann, ("POST", &target), &body).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 20);
        world.close().await;
    }

    async fn a_body_that_may_name_things_is_json_whatever_its_type_says(db: TestDb) {
        let world = World::open(db).await;
        flash(&world).await;
        let ann = world.payer(1_000).await;
        world.upstream.otherwise(Reply::json(&json!({"ok": true})));
        let films = "/v1beta/models/flash:predictLongRunning";
        for path in ["/v1beta/models/flash:generateContent", "/v1/models/flash:countTokens",
            "/v1beta/models/flash:predict", films] {
            for (kind, body) in [
                ("application/x-protobuf", "\n\u{10}\u{8}files/a1"),
                ("application/json", "[{}]"),
                ("application/json", "{}{}"),
                ("application/x-www-form-urlencoded", "cachedContent=cachedContents/1"),
                ("multipart/form-data; boundary=b",
                    "--b\r\nContent-Disposition: form-data; name=\"cachedContent\"\r\n\r\n\
                     cachedContents/1\r\n--b--\r\n"),
            ] {
                let call = world.server.call("POST", path).key(&ann.key);
                let refused = call.header("content-type", kind).body(body.to_owned()).send().await;
                assert_eq!(refused.status, 400, "{path} {kind}: {}", refused.text());
            }
        }
        assert_eq!(world.upstream.count(), 0, "none of these reached the upstream");
        world.close().await;
    }

    async fn a_name_that_is_taken_anew_is_its_last_owners(db: TestDb) {
        let world = World::open(db).await;
        flash(&world).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let file = json!({"name": "files/report", "uri": format!("{HOST}/v1beta/files/report")});
        world.upstream.on("/upload/v1beta/files", Reply::json(&json!({"file": file})));
        world.upstream.on("/v1beta/files/report", Reply::json(&file));
        let upload = ("POST", "/upload/v1beta/files");
        let shown = ("GET", "/v1beta/files/report");
        ask(&world, &ann, upload, &json!({"file": {"name": "files/report"}})).await.expect(200);
        ask(&world, &ann, shown, &Value::Null).await.expect(200);
        // Its upstream has forgotten it, and gives the name again.
        ask(&world, &bob, upload, &json!({"file": {"name": "files/report"}})).await.expect(200);
        ask(&world, &bob, shown, &Value::Null).await.expect(200);
        ask(&world, &ann, shown, &Value::Null).await.expect(404);
        let list = ask(&world, &ann, ("GET", "/v1beta/files"), &Value::Null).await.json();
        assert_eq!(list, json!({"files": []}));
        world.close().await;
    }

    async fn a_file_is_its_owners_by_its_name_and_its_address(db: TestDb) {
        let world = World::open(db).await;
        flash(&world).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let file = json!({"name": "files/a1", "uri": format!("{HOST}/v1beta/files/a1")});
        let taken = json!({"file": file});
        world.upstream.handle("/upload/v1beta/files", move |request| {
            assert!(request.text().contains("the film"), "{}", request.text());
            Reply::json(&taken)
        });
        world.upstream.on("/v1beta/files/a1", Reply::json(&file));
        let counts = json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}],
            "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8}});
        let generate = "/v1beta/models/flash:generateContent";
        world.upstream.on("/v1beta/models/flash-2:generateContent", Reply::json(&counts));
        let form = "--b\r\ncontent-type: application/json\r\n\r\n{}\r\n--b\r\n\
            content-type: video/mp4\r\n\r\nthe film\r\n--b--\r\n";
        let upload = |headers: Vec<(&'static str, &'static str)>| {
            let call = world.server.call("POST", "/upload/v1beta/files").key(&ann.key);
            let call = call.header("content-type", "multipart/related; boundary=b");
            let call = headers.into_iter().fold(call, |call, (name, value)| {
                call.header(name, value)
            });
            call.body(form).send()
        };
        upload(vec![("X-Goog-Upload-Protocol", "multipart")]).await.expect(200);
        let list = ask(&world, &ann, ("GET", "/v1beta/files"), &Value::Null).await.json();
        assert_eq!(list, json!({"files": [file]}));
        ask(&world, &ann, ("GET", "/v1beta/files/a1"), &Value::Null).await.expect(200);
        let of = |uri: &str| json!({"contents": [{"parts": [{"fileData": {"fileUri": uri}}]}]});
        for uri in [format!("{HOST}/v1beta/files/a1"), "files/a1".to_owned()] {
            ask(&world, &ann, ("POST", generate), &of(&uri)).await.expect(200);
            let stolen = ask(&world, &bob, ("POST", generate), &of(&uri)).await;
            stolen.expect(404);
        }
        for method in ["GET", "DELETE"] {
            let stolen = ask(&world, &bob, (method, "/v1beta/files/a1"), &Value::Null).await;
            stolen.expect(404);
        }
        ask(&world, &ann, ("DELETE", "/v1beta/files/a1"), &Value::Null).await.expect(200);
        let gone = ask(&world, &ann, ("POST", generate), &of("files/a1")).await;
        gone.expect(404);
        world.close().await;
    }

    async fn a_resumable_upload_goes_on_here_and_for_its_owner(db: TestDb) {
        let world = World::with(db, &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
        flash(&world).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let taken = json!({"file": {"name": "files/a1", "uri": format!("{HOST}/v1beta/files/a1")}});
        let uploads = "/upload/v1/files";
        world.upstream.handle(uploads, move |request: &Recorded| {
            assert_eq!(request.headers_named("x-goog-api-key"), ["upstream-key"]);
            match request.query() {
                Some("upload_protocol=resumable&upload_id=AB-1_x" | "upload_id=AB-1_x") => {
                    assert_eq!(request.text(), "the film");
                    Reply::json(&taken).header("X-Goog-Upload-Status", "final")
                }
                None => {
                    let query = "upload_id=AB-1_x&upload_protocol=resumable";
                    let go_on = format!("{HOST}{uploads}?{query}");
                    Reply::new(200)
                        .header("X-Goog-Upload-URL", &go_on)
                        .header("X-Goog-Upload-Control-URL", &go_on)
                        .header("X-GUploader-UploadID", "AB-1_x")
                        .header("X-Goog-Upload-Status", "active")
                }
                other => panic!("{other:?}"),
            }
        });
        let post = |target: &str, key: Option<&str>, body: &str| {
            let call = world.server.call("POST", target).header("Host", "gateway.example");
            let call = call.header("X-Forwarded-Proto", "https");
            let call = key.map_or(call.clone(), |key| call.clone().key(key));
            call.header("X-Goog-Upload-Command", "start").body(body.to_owned()).send()
        };
        let start = post(uploads, Some(&ann.key), "{}").await.expect(200);
        let address = start.header("X-Goog-Upload-URL").unwrap();
        assert_eq!(start.header("X-Goog-Upload-Status").as_deref(), Some("active"));
        for name in ["X-Goog-Upload-URL", "X-Goog-Upload-Control-URL", "X-GUploader-UploadID"] {
            let shown = start.header(name).unwrap_or_default();
            assert!(!shown.contains("AB-1_x") && !shown.contains(&ann.key), "{name}: {shown}");
            let ours = format!("https://gateway.example{uploads}?");
            assert!(shown.is_empty() || shown.starts_with(&ours), "{name}: {shown}");
        }
        let target = address.strip_prefix("https://gateway.example").unwrap();

        // With a key it is the owner's; an address that is not ours, or was changed, has no owner.
        let before = world.upstream.count();
        post(target, Some(&bob.key), "the film").await.expect(404);
        post(&target.replace("enc%3Av1%3A", "enc%3Av1%3AA"), None, "x").await.expect(404);
        post("/upload/v1/files?upload_id=AB-1_x", None, "x").await.expect(401);
        post("/upload/v1/files?upload_id=AB-1_x", Some(&bob.key), "x").await.expect(404);
        // It opens nothing but its upload.
        let query = target.split_once('?').unwrap().1;
        for elsewhere in ["/v1beta/files", "/v1beta/files/a1", "/v1/models"] {
            let call = world.server.call("GET", &format!("{elsewhere}?{query}"));
            call.send().await.expect(401);
        }
        assert_eq!(world.upstream.count(), before, "none of these reached the upstream");
        // Without a proxy that says so, the client has not come by https.
        let plain = ask(&world, &ann, ("POST", uploads), &Value::Null).await.expect(200);
        let plain = plain.header("X-Goog-Upload-URL").unwrap();
        assert!(plain.starts_with("http://127.0.0.1:"), "{plain}");
        let done = post(target, None, "the film").await.expect(200);
        assert_eq!(done.header("X-Goog-Upload-Status").as_deref(), Some("final"));
        let list = ask(&world, &ann, ("GET", "/v1beta/files"), &Value::Null).await.json();
        assert_eq!(list["files"][0]["name"], "files/a1", "{list}");
        assert_eq!(list["files"].as_array().unwrap().len(), 1, "{list}");
        // A reply that is no success shows nothing of it, either.
        let query = "upload_id=AB-1_x&upload_protocol=resumable";
        let go_on = format!("{HOST}{uploads}?{query}");
        let late = Reply::json(&json!({"error": {"code": 503}})).status(503);
        let late = late.header("X-Goog-Upload-URL", &go_on)
            .header("X-GUploader-UploadID", "AB-1_x").header("X-Goog-Upload-Status", "active");
        world.upstream.on(uploads, late);
        let failed = post(target, None, "the film").await;
        assert_eq!(failed.status, 503);
        for name in ["X-Goog-Upload-URL", "X-GUploader-UploadID"] {
            assert_eq!(failed.header(name), None, "{name}");
        }
        assert_eq!(failed.header("X-Goog-Upload-Status").as_deref(), Some("active"));
        world.upstream.on(uploads, Reply::json(&json!({"ok": true})));
        // Of a key that is gone, nothing is left.
        post(target, Some(&ann.key), "the film").await.expect(200);
        let token = format!("/api/token/{}", ann.token_id);
        world.admin().put(&token, &json!({"status": 2})).await;
        post(target, None, "the film").await.expect(401);
        world.close().await;
    }

    async fn a_film_is_charged_by_its_seconds_and_fetched_by_its_owner(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        world.channel(&["veo"], json!({"protocol": "gemini"})).await;
        world.admin().price("veo", json!({"units": {"seconds": 10}})).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let operation = "models/veo/operations/o1";
        let asked = "/v1beta/models/veo/operations/o1";
        world.upstream.on("/v1beta/models/veo:predictLongRunning",
            Reply::json(&json!({"name": operation})));
        world.upstream.on(asked, Reply::json(&json!({"name": operation})));
        world.upstream.handle("/v1beta/files/f1:download", |request: &Recorded| {
            assert_eq!(request.query(), Some("alt=media"));
            Reply::text("MP4")
        });
        let submit = ("POST", "/v1beta/models/veo:predictLongRunning");
        let film = json!({"instances": [{"prompt": "a cat"}]});
        let two = json!({"instances": [{"prompt": "a cat"}, {"prompt": "a dog"}]});
        ask(&world, &ann, submit, &two).await.expect(400);
        for parameters in [
            json!({"sampleCount": 2}), json!({"storageUri": "gs://mine"}),
            json!({"sample_count": 2}), json!({"storage_uri": "gs://mine"}),
            json!({"duration_seconds": 60}), json!({"number_of_videos": 2}),
        ] {
            let mut several = film.clone();
            several["parameters"] = parameters;
            ask(&world, &ann, submit, &several).await.expect(400);
        }
        let others = json!({"instances": [{"video": {"uri": format!("{HOST}/v1beta/files/f1")}}]});
        ask(&world, &ann, submit, &others).await.expect(404);
        let uri = format!("{HOST}/v1beta/files/f1");
        for place in [
            json!({"image": {"gcs_uri": uri}}), json!({"last_frame": {"uri": uri}}),
            json!({"video": {"file_uri": uri}}),
        ] {
            let stolen = ask(&world, &ann, submit, &json!({"instances": [place]})).await;
            stolen.expect(404);
        }
        ask(&world, &ann, submit, &film).await.expect(200);
        // Eight seconds, as the request says nothing else.
        assert_eq!(world.money(&ann).await.quota, 920);
        polled(&world, "processing").await;
        let download = "/v1beta/files/f1:download?alt=media";
        ask(&world, &ann, ("GET", download), &Value::Null).await.expect(404);
        let uri = format!("{HOST}/v1beta/files/f1:download?alt=media");
        let done = json!({"name": operation, "done": true, "response": {
            "generateVideoResponse": {"generatedSamples": [{"video": {"uri": uri}}]}}});
        world.upstream.on(asked, Reply::json(&done));
        polled(&world, "completed").await;
        assert_eq!(world.money(&ann).await.used, 80);
        assert_eq!(ask(&world, &ann, ("GET", asked), &Value::Null).await.expect(200).json(), done);
        ask(&world, &bob, ("GET", asked), &Value::Null).await.expect(404);
        let fetched = ask(&world, &ann, ("GET", download), &Value::Null).await.expect(200);
        assert_eq!(fetched.text(), "MP4");
        ask(&world, &bob, ("GET", download), &Value::Null).await.expect(404);
        // It may be extended, by its owner.
        ask(&world, &bob, submit, &others).await.expect(404);
        ask(&world, &ann, submit, &others).await.expect(200);
        world.server.signal(Signal::USR1);
        world.close().await;
    }

    async fn a_film_that_was_filtered_costs_nothing(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        world.channel(&["veo"], json!({"protocol": "gemini"})).await;
        world.admin().price("veo", json!({"units": {"seconds": 10}})).await;
        let ann = world.payer(1_000).await;
        let operation = "models/veo/operations/o1";
        world.upstream.on("/v1beta/models/veo:predictLongRunning",
            Reply::json(&json!({"name": operation})));
        let filtered = json!({"name": operation, "done": true, "response": {
            "generateVideoResponse": {"raiMediaFilteredCount": 1,
                "raiMediaFilteredReasons": ["not this"]}}});
        world.upstream.on("/v1beta/models/veo/operations/o1", Reply::json(&filtered));
        let submit = ("POST", "/v1beta/models/veo:predictLongRunning");
        ask(&world, &ann, submit, &json!({"instances": [{"prompt": "x"}]})).await.expect(200);
        let row = polled(&world, "failed").await;
        assert_eq!(row.text("fail_reason"), "not this");
        let money = world.money(&ann).await;
        assert_eq!((money.quota, money.used), (1_000, 0));
        world.close().await;
    }
}
