//! What the query and the path of a request say of its price: tiers and units of an API that is a
//! document of the operator's own.

use crate::world::{Payer, World};
use testkit::{Answer, Reply, TestDb, json, on_both_databases};

/// A transcriber that takes sound, and knows by the query and the path what is asked of it.
const LISTEN: &str = r#"
name = "listen"
title = { zh = "听写", en = "Transcription" }

[auth]
header = "authorization"
value = "Token {key}"

[[route]]
match = "POST /v1/listen"
model = ["query:model", "default:base"]
model_stays = true
reply = "json"
units = { searches = "query:keywords" }
meters = { seconds = "/metadata/duration" }

[[route]]
match = "POST /v1/speak/{quality}/{pages}"
model = "default:base"
reply = "json"
units = { pages = ["path:pages", "/pages"] }
"#;

async fn listener(db: TestDb) -> (World, Payer) {
    let world = World::open(db).await;
    world.admin().post("/api/protocol", &json!({"document": LISTEN})).await;
    world.channel(&["base", "nova"], json!({"protocol": "listen", "key": "up-key"})).await;
    let tiers = json!([
        {"at": "query:multichannel", "is": true, "factor": 2},
        {"at": "path:quality", "not": "draft", "factor": 3},
    ]);
    let units = json!({"seconds": 10, "searches": 100, "pages": 7});
    for model in ["base", "nova"] {
        world.admin().price(model, json!({"units": units, "tiers": tiers})).await;
    }
    let heard = json!({"metadata": {"duration": 2.5}});
    world.upstream.on("/v1/listen", Reply::json(&heard));
    world.upstream.otherwise(Reply::json(&json!({"ok": true})));
    let ann = world.payer(100_000).await;
    (world, ann)
}

async fn send(world: &World, ann: &Payer, target: &str, kind: &str, body: &str) -> Answer {
    let call = world.server.call("POST", target).key(&ann.key).header("content-type", kind);
    call.body(body.to_owned()).send().await
}

on_both_databases! {
    async fn a_query_costs_what_it_asks_for(db: TestDb) {
        let (world, ann) = listener(db).await;
        let mut used = 0;
        for (query, cost) in [
            ("?keywords=1", 30 + 100),
            ("?keywords=1&multichannel=true", 2 * (30 + 100)),
            ("?multichannel=TRUE&keywords=2&model=nova", 2 * (30 + 200)),
            ("?keywords=%33&multichannel=false&x=+", 30 + 300),
        ] {
            let target = format!("/pass/v1/listen{query}");
            send(&world, &ann, &target, "audio/wav", "RIFF").await.expect(200);
            let asked = world.upstream.requests().await;
            let target = &asked.last().unwrap().target;
            assert!(target.starts_with(&format!("/v1/listen{query}")), "{target}");
            used += cost;
            world.wait_for_money(&ann, 100_000 - used, used).await;
        }
        let calls = world.upstream.count();
        for query in [
            "?keywords=1&keywords=2",
            "?Keywords=2",
            "?keywords[]=2",
            "?keywords=many",
            "?keywords=-1",
            "?keywords=99999999999",
            "?keywords=1&multichannel=false&multichannel=true",
            "?keywords=1&MultiChannel=true",
            "?keywords=1;multichannel=true",
            // Nobody would say it.
            "?multichannel=true",
        ] {
            let target = format!("/pass/v1/listen{query}");
            let answer = send(&world, &ann, &target, "audio/wav", "RIFF").await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        }
        assert_eq!(world.upstream.count(), calls);
        world.close().await;
    }

    async fn a_path_costs_what_it_asks_for(db: TestDb) {
        let (world, ann) = listener(db).await;
        let price = json!({"units": {"pages": 7},
            "tiers": [{"at": "path:quality", "not": "draft", "factor": 3}]});
        world.admin().price("base", price).await;
        let mut used = 0;
        for (path, body, cost) in [
            ("draft/4", "{}", 28), ("fine/4", "{}", 84), ("fine/%34", r#"{"pages":4}"#, 84),
        ] {
            let target = format!("/pass/v1/speak/{path}");
            let answer = send(&world, &ann, &target, "application/json", body).await.expect(200);
            assert_eq!(answer.header("X-Newapi-Quota"), Some(cost.to_string()), "{path}");
            used += cost;
        }
        world.wait_for_money(&ann, 100_000 - used, used).await;
        let calls = world.upstream.count();
        for (path, body) in [("fine/many", "{}"), ("fine/4", r#"{"pages":5}"#), ("fine/-4", "{}")] {
            let target = format!("/pass/v1/speak/{path}");
            send(&world, &ann, &target, "application/json", body).await.expect(400);
        }
        assert_eq!(world.upstream.count(), calls);
        world.close().await;
    }
}
