//! An API that nothing of ours knows, by a protocol of the operator's own: what its failures cost,
//! and what its requests may ask for.

use crate::world::{Payer, World, fixed};
use testkit::{Answer, Reply, TestDb, json, on_both_databases};

/// A translator: texts in, characters counted in the reply, or else in the request.
const TRANSLATE: &str = r#"
name = "translate"
title = { zh = "翻译", en = "Translation" }

[auth]
header = "x-auth-token"

[[route]]
match = "GET /translate/v3/languages"
price = "free"

[[route]]
match = "POST /translate/v3/run"
model = ["body:/engine", "default:fast"]
reply = ["json", "sse"]

[hold.units]
characters = "/texts/*/#"

[outcome]
failed = [{ at = "/ok", is = false }]

[usage.meters]
characters = "/billing/chars"
"#;

/// A transcriber of sound that is sent as it is: seconds are counted in the reply alone.
const LISTEN: &str = r#"
name = "listen"
title = { zh = "听写", en = "Transcription" }

[auth]
header = "authorization"
value = "Token {key}"

[[route]]
match = "POST /v1/listen"
model = "default:asr"
reply = ["json"]

[usage.meters]
seconds = ["/metadata/duration"]
"#;

/// A transcriber that knows its model by the query, and takes one of its own where none is named.
const SCRIBE: &str = r#"
name = "scribe"
title = { zh = "速记", en = "Scribe" }

[auth]
header = "authorization"
value = "Token {key}"

[[route]]
match = "POST /v1/listen"
model = ["query:model", "default:base"]
model_stays = true
reply = "json"

[usage.meters]
seconds = "/metadata/duration"
"#;

/// A search that says what it cost only when asked.
const SEARCH: &str = r#"
name = "search"
title = { zh = "搜索", en = "Search" }

[auth]
header = "authorization"
value = "Bearer {key}"

[[route]]
match = "POST /search"
model = "default:search"
reply = "json"
ask_usage = "/include_usage"
refuse = [
    { at = "/include_usage", not = [true], why = { zh = "必须统计用量", en = "it has to be counted" } },
]

[usage.meters]
credits = "/usage/credits"
"#;

const RUN: &str = "/pass/translate/v3/run";

/// A world with that API at 10 quota a character, and a user who pays.
async fn translator(db: TestDb) -> (World, Payer) {
    let world = World::open(db).await;
    world.admin().post("/api/protocol", &json!({"document": TRANSLATE})).await;
    let channel = json!({"protocol": "translate", "key": "up-key"});
    world.channel(&["fast", "slow"], channel).await;
    world.admin().price("fast", json!({"units": {"characters": 10}})).await;
    world.admin().price("slow", fixed(500)).await;
    let ann = world.payer(1_000_000).await;
    (world, ann)
}

async fn list_languages(world: &World, payer: &Payer) -> Answer {
    world.server.call("GET", "/pass/translate/v3/languages").key(&payer.key).send().await
}

async fn run(world: &World, ann: &Payer, target: &str, body: &str) -> Answer {
    let call = world.server.call("POST", target).key(&ann.key);
    call.header("content-type", "application/json").body(body.to_owned()).send().await
}

on_both_databases! {
    async fn under_pass_a_list_of_models_is_the_upstream_s_where_it_has_one(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000).await;
        let models = async |path: &str| {
            world.server.call("GET", path).key(&ann.key).send().await.expect(200).text()
        };
        world.channel(&["gpt"], json!({"protocol": "openai", "key": "up-key"})).await;
        assert!(models("/pass/v1/models").await.contains("\"gpt\""));

        let document = TRANSLATE.replace("/translate/v3/languages", "/v1/models");
        world.admin().post("/api/protocol", &json!({"document": document})).await;
        world.channel(&["fast"], json!({"protocol": "translate", "key": "up-key"})).await;
        world.upstream.on("/v1/models", Reply::json(&json!({"engines": ["fast"]})));
        assert_eq!(models("/pass/v1/models").await, r#"{"engines":["fast"]}"#);
        assert!(models("/v1/models").await.contains("\"gpt\""), "ours is where it was");
        // A path that no document has is no model's name alone.
        let nothing = world.server.call("POST", "/pass/v3/nothing").key(&ann.key).send().await;
        let said = nothing.expect(404).text();
        assert!(said.contains("no protocol of an enabled channel has this path"), "{said}");
        world.close().await;
    }

    async fn sound_is_sent_as_it_is_and_paid_by_what_the_reply_counts(db: TestDb) {
        let world = World::open(db).await;
        world.admin().post("/api/protocol", &json!({"document": LISTEN})).await;
        world.channel(&["asr"], json!({"protocol": "listen", "key": "up-key"})).await;
        world.admin().price("asr", json!({"units": {"seconds": 5}})).await;
        world.upstream.on("/v1/listen", Reply::json(&json!({"metadata": {"duration": 2.5}})));
        let ann = world.payer(1_000).await;

        let sound = b"RIFF\x24\0\0\0WAVE\xff\xfe{\"".to_vec();
        let call = world.server.call("POST", "/pass/v1/listen").key(&ann.key);
        let call = call.header("content-type", "audio/wav").body(sound.clone());
        call.send().await.expect(200);

        let requests = world.upstream.requests().await;
        assert_eq!(requests.last().unwrap().body, sound);
        world.wait_for_money(&ann, 1_000 - 15, 15).await;
        world.close().await;
    }

    async fn a_failure_costs_nothing_however_it_is_priced(db: TestDb) {
        let (world, ann) = translator(db).await;
        let failed = json!({"ok": false, "reason": "no ink"});
        for reply in [Reply::json(&failed), Reply::sse([failed.to_string()])] {
            world.upstream.on("/translate/v3/run", reply);
            for engine in ["fast", "slow"] {
                let body = json!({"engine": engine, "texts": ["ten chars."]}).to_string();
                run(&world, &ann, RUN, &body).await.expect(200);
                assert_eq!(world.money(&ann).await.used, 0, "{engine}");
            }
        }
        // The beginning of a JSON document is none, though its length is as declared.
        let half = Reply::raw_json(r#"{"ok":true,"out":["zehn"],"billing":{"ch"#);
        world.upstream.on("/translate/v3/run", half);
        for engine in ["fast", "slow"] {
            let body = json!({"engine": engine, "texts": ["ten chars."]}).to_string();
            run(&world, &ann, RUN, &body).await.expect(200);
            assert_eq!(world.money(&ann).await.used, 0, "{engine}");
        }
        world.close().await;
    }

    async fn a_free_call_needs_no_model(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_UNPRICED", "reject")]).await;
        world.admin().post("/api/protocol", &json!({"document": TRANSLATE})).await;
        let channel = json!({"protocol": "translate", "key": "up-key"});
        let channel = world.channel(&["fast", "slow"], channel).await;
        let languages = json!({"ok": true, "languages": ["de", "fr"]});
        world.upstream.on("/translate/v3/languages", Reply::json(&languages));
        let ann = world.payer(1_000_000).await;
        // A key's limit is one of models, and this call names none.
        let limited = json!({"model_limits_enabled": true, "model_limits": ["slow"]});
        let limited = world.key(&ann, limited).await;
        for payer in [&ann, &limited] {
            assert_eq!(list_languages(&world, payer).await.expect(200).json(), languages);
        }
        assert_eq!(world.money(&ann).await.used, 0);

        // Only who may use such a channel, and while there is one.
        let path = format!("/api/channel/{channel}");
        world.admin().put(&path, &json!({"groups": ["vip"]})).await;
        list_languages(&world, &ann).await.expect_error(403, "FORBIDDEN");
        world.admin().put(&path, &json!({"groups": ["default"], "status": 2})).await;
        list_languages(&world, &ann).await.expect_error(404, "MODEL_NOT_FOUND");
        world.close().await;
    }

    async fn a_model_in_the_query_is_the_one_that_runs(db: TestDb) {
        let world = World::open(db).await;
        world.admin().post("/api/protocol", &json!({"document": SCRIBE})).await;
        let channel = json!({
            "protocol": "scribe", "key": "up-key", "model_mapping": {"best": "nova 3/x"},
        });
        world.channel(&["nova-3", "best", "base"], channel).await;
        world.upstream.on("/v1/listen", Reply::json(&json!({"metadata": {"duration": 2.5}})));
        for (model, price) in [("nova-3", 10), ("best", 20), ("base", 1)] {
            world.admin().price(model, json!({"units": {"seconds": price}})).await;
        }
        let ann = world.payer(1_000).await;
        let mut used = 0;
        for (query, sent, cost) in [
            ("?smart=true&model=nova%2D3&x=+", "?smart=true&model=nova%2D3&x=+", 30),
            ("?model=best&smart=true", "?model=nova%203%2Fx&smart=true", 60),
            ("?smart=true", "?smart=true&model=base", 3),
            ("", "?model=base", 3),
        ] {
            let target = format!("/pass/v1/listen{query}");
            run(&world, &ann, &target, r#"{"url":"https://x/a.wav"}"#).await.expect(200);
            let asked = world.upstream.requests().await;
            assert_eq!(asked.last().unwrap().target, format!("/v1/listen{sent}"));
            used += cost;
            assert_eq!(world.money(&ann).await.used, used, "{query}");
        }
        let calls = world.upstream.count();
        for query in ["?model=base&model=nova-3", "?Model=base", "?model=base&model[]=nova-3"] {
            run(&world, &ann, &format!("/pass/v1/listen{query}"), "{}").await.expect(400);
        }
        assert_eq!(world.upstream.count(), calls);
        world.close().await;
    }

    async fn a_key_in_the_query_is_the_channel_s_alone(db: TestDb) {
        let world = World::open(db).await;
        let document = TRANSLATE.replace("header = \"x-auth-token\"", "query = \"appid\"");
        world.admin().post("/api/protocol", &json!({"document": document})).await;
        world.channel(&["fast"], json!({"protocol": "translate", "key": "up-key"})).await;
        world.admin().price("fast", fixed(5)).await;
        world.upstream.on("/translate/v3/run", Reply::json(&json!({"ok": true})));
        let ann = world.payer(100).await;
        let post = async |query: &str| run(&world, &ann, &format!("{RUN}?{query}"), "{}").await;
        // Of two, an upstream might take the client's.
        for query in ["appid=bad", "a=1&AppId=bad", "%61ppid=bad", "a;appid=bad", "oauth_token=x"] {
            post(query).await.expect(401);
        }
        assert_eq!((world.upstream.count(), world.money(&ann).await.used), (0, 0));
        post("lang=de").await.expect(200);
        let sent = world.upstream.requests().await;
        assert_eq!(sent[0].query(), Some("lang=de&appid=up%2Dkey"));
        world.close().await;
    }

    async fn a_document_may_build_on_custompass(db: TestDb) {
        let world = World::open(db).await;
        let document = "name = \"mine\"\ntitle = { zh = \"我的\", en = \"Mine\" }\n\
            base = \"custompass\"\n[auth]\nheader = \"x-key\"\n";
        world.admin().post("/api/protocol", &json!({"document": document})).await;
        world.channel(&["m", "fixed"], json!({"protocol": "mine", "key": "up-key"})).await;
        world.admin().price("m", json!({"ratio": 1, "completion_ratio": 2})).await;
        world.admin().price("fixed", fixed(50)).await;
        let ann = world.payer(1_000).await;
        world.upstream.on_estimate("/m", Reply::estimate(10, 5), Reply::result(10, 5));
        world.upstream.on("/fixed", Reply::failure(7, "no"));

        run(&world, &ann, "/pass/m", "{}").await.expect(200);

        let asked = world.upstream.requests().await;
        let last = asked.last().unwrap();
        assert_eq!(last.header("x-key").as_deref(), Some("up-key"));
        assert_eq!((last.header("Authorization"), last.path()), (None, "/m"));
        world.wait_for_money(&ann, 980, 20).await;
        let failed = run(&world, &ann, "/pass/fixed", "{}").await.expect(200);
        assert!(failed.text().contains("\"no\""), "{}", failed.text());
        world.wait_for_money(&ann, 980, 20).await;
        world.close().await;
    }

    async fn doctor_names_a_model_whose_calls_hold_nothing(db: TestDb) {
        let (world, _) = translator(db).await;
        let found = async || {
            let said = world.server.cli(&["doctor", "--offline"]).await;
            String::from_utf8_lossy(&said.stdout).contains("have no least hold")
        };
        assert!(!found().await, "a request says how many characters it asks for");
        world.admin().price("slow", json!({"units": {"credits": 10}})).await;
        assert!(found().await);
        world.admin().price("slow", json!({"units": {"credits": 10}, "min_hold": 500})).await;
        assert!(!found().await);
        world.close().await;
    }

    async fn usage_is_asked_for_of_a_reply_that_is_no_stream(db: TestDb) {
        let world = World::open(db).await;
        world.admin().post("/api/protocol", &json!({"document": SEARCH})).await;
        world.channel(&["search"], json!({"protocol": "search", "key": "up-key"})).await;
        world.admin().price("search", json!({"units": {"credits": 10}})).await;
        world.upstream.handle("/search", |request| {
            let is_asked = request.json()["include_usage"] == json!(true);
            let usage = is_asked.then(|| json!({"credits": 2}));
            Reply::json(&json!({"results": [], "usage": usage}))
        });
        let ann = world.payer(1_000).await;
        for (body, sent) in [
            (r#"{"query":"a" }"#, r#"{"include_usage":true,"query":"a" }"#),
            (r#"{"include_usage": true}"#, r#"{"include_usage": true}"#),
        ] {
            let answer = run(&world, &ann, "/pass/search", body).await.expect(200);
            assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("20"), "{body}");
            let asked = world.upstream.requests().await;
            assert_eq!(std::str::from_utf8(&asked.last().unwrap().body), Ok(sent));
        }
        let answer = run(&world, &ann, "/pass/search", r#"{"include_usage":false}"#).await;
        assert!(answer.expect(400).text().contains("has to be counted"));
        assert_eq!((world.upstream.count(), world.money(&ann).await.used), (2, 40));
        world.close().await;
    }

    async fn doctor_names_a_unit_that_nothing_counts(db: TestDb) {
        let (world, _) = translator(db).await;
        let found = async || {
            let said = world.server.cli(&["doctor", "--offline"]).await;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            said.contains("slow (pages) have a price for a unit that no call")
        };
        assert!(!found().await);
        let price = json!({"ratio": 1, "units": {"characters": 1, "pages": 10}});
        world.admin().price("slow", price).await;
        assert!(found().await);
        world.close().await;
    }

    async fn what_is_asked_for_is_read_in_one_way(db: TestDb) {
        let (world, ann) = translator(db).await;
        world.upstream.on("/translate/v3/run", Reply::json(&json!({"ok": true})));
        let long = "x".repeat(301);
        for body in [
            format!(r#"{{"Texts":["{long}"]}}"#),
            format!(r#"{{"texts":["a"],"Texts":["{long}"]}}"#),
            format!(r#"{{"texts":["a"],"texts":["{long}"]}}"#),
            format!(r#"{{"texts":["{long}",],}}"#),
        ] {
            run(&world, &ann, RUN, &body).await.expect_error(400, "INVALID_REQUEST");
        }
        let other = run(&world, &ann, &format!("{RUN}?engine=slow"), r#"{"texts":["a"]}"#).await;
        other.expect_error(400, "INVALID_REQUEST");
        assert_eq!((world.upstream.count(), world.money(&ann).await.used), (0, 0));

        // Nothing said is one unit; and where the reply counts nothing, what was asked for counts.
        run(&world, &ann, RUN, "{}").await.expect(200);
        let body = json!({"texts": ["ten chars.", "five."]}).to_string();
        run(&world, &ann, RUN, &body).await.expect(200);
        assert_eq!(world.journal(&ann).await, ["consume 10 -10 of 10", "consume 150 -150 of 150"]);
        world.close().await;
    }
}
