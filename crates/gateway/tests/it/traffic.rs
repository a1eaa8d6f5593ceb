//! The live counters: what channels and models are doing, as the API, the health check and the
//! console show it.

use crate::pages::Browser;
use crate::world::{World, by_use, fixed};
use testkit::{Gate, ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

const CHAT: &str = "/v1/chat/completions";

/// The item of a list whose member is this.
fn one_of<'a>(list: &'a serde_json::Value, member: &str, is: &str) -> &'a serde_json::Value {
    let found = list.as_array().unwrap().iter().find(|item| {
        item[member].as_str().map_or_else(|| item[member].to_string(), str::to_owned) == is
    });
    found.unwrap_or_else(|| panic!("no {member} {is}: {list}"))
}

on_both_databases! {
    async fn calls_are_counted_by_channel_and_by_model(db: TestDb) {
        let world = World::open(db).await;
        let good = world.model("m", fixed(10), Reply::text("ok")).await;
        // Of a higher priority, and nothing listens there.
        let dead = json!({"name": "dead", "base_url": "http://127.0.0.1:9", "models": ["m"],
            "key": "k", "priority": 9});
        let dead = world.admin().post("/api/channel", &dead).await["id"].as_i64().unwrap();
        let sick = world.model("sick", fixed(10), Reply::text("no").status(503)).await;
        world.upstream.on("/odd", Reply::json(&json!({"code": 7, "message": "no"})));
        let odd = world.channel(&["odd"], json!({})).await;
        world.admin().price("odd", by_use()).await;
        let ann = world.payer(1_000).await;
        for _ in 0..2 {
            world.pay("m", &ann).await.expect(200);
        }
        world.pay("sick", &ann).await.expect(503);
        world.pay("odd", &ann).await.expect(200);
        world.pay("nowhere", &ann).await.expect(404);

        let live = world.admin().get("/api/channel/live?minutes=5").await;
        assert_eq!((&live["minutes"], &live["node"]), (&json!(5), &world.admin()
            .get("/api/node").await[0]["name"]));
        let counts = |id: i64| {
            let channel = one_of(&live["channels"], "channel_id", &id.to_string());
            let counts = &channel["counts"];
            (counts["calls"].clone(), counts["failed"].clone(), counts["failures"].clone())
        };
        assert_eq!(counts(good), (json!(2), json!(0), json!([])));
        let refused = json!([{"code": "refused", "calls": 2}]);
        assert_eq!(counts(dead), (json!(2), json!(2), refused));
        assert_eq!(counts(sick), (json!(1), json!(1), json!([{"code": "503", "calls": 1}])));
        assert_eq!(counts(odd), (json!(1), json!(1), json!([{"code": "envelope", "calls": 1}])));
        let model = |name: &str| &one_of(&live["models"], "model", name)["counts"];
        // What clients saw: the second channel has served them.
        assert_eq!((&model("m")["calls"], &model("m")["failed"]), (&json!(2), &json!(0)));
        assert!(model("m")["p95_ms"].is_i64(), "{live}");
        let sick_codes = json!([{"code": "UPSTREAM_STATUS", "calls": 1}]);
        assert_eq!(model("sick")["failures"], sick_codes);
        assert!(!live["models"].to_string().contains("nowhere"), "no channel serves it");
        let requests = &live["requests"];
        assert_eq!((&requests["calls"], &requests["failed"]), (&json!(5), &json!(3)));

        let channel = world.admin().get(&format!("/api/channel/{dead}")).await;
        let shown = &channel["live"];
        assert_eq!((&shown["breaker"], &shown["in_flight"]), (&json!("closed"), &json!(0)));
        assert_eq!(shown["counts"]["failed"], 2);
        // A script that sends back what it was shown changes nothing.
        world.admin().put(&format!("/api/channel/{dead}"), &channel).await;
        let bad = world.admin().call("GET", "/api/channel/live?minutes=181").send().await;
        bad.expect(422);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get(&format!("/console/channels/{dead}")).await.expect(200).text();
        assert!(page.contains("refused × 2"), "{page}");
        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("Upstream p95") && page.contains("60.0 %"), "{page}");
        world.close().await;
    }

    async fn calls_in_flight_are_shown_with_their_limit(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        let id = world.model("slow", fixed(10), Reply::text("ok").gated(&gate)).await;
        let free = world.model("free", fixed(10), Reply::text("ok")).await;
        let limited = json!({"setting": {"concurrency": 20}});
        world.admin().put(&format!("/api/channel/{id}"), &limited).await;
        let ann = world.payer(1_000).await;
        let call = world.server.call("POST", "/pass/slow").key(&ann.key).json(&json!({}));
        let call = tokio::spawn(call.send());
        gate.reached(1).await;

        let admin = world.admin();
        let live = async |id| admin.get(&format!("/api/channel/{id}")).await["live"].clone();
        let busy = live(id).await;
        assert_eq!((&busy["in_flight"], &busy["in_flight_limit"]), (&json!(1), &json!(20)));
        assert_eq!(live(free).await["in_flight_limit"], json!(null));
        let all = world.admin().get("/api/channel/live").await;
        let here = one_of(&all["channels"], "channel_id", &id.to_string());
        assert_eq!(here["in_flight_limit"], json!(20), "{all}");
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        for page in ["/console/channels".to_owned(), format!("/console/channels/{id}")] {
            let page = root.get(&page).await.expect(200).text();
            assert!(page.contains("1 / 20"), "{page}");
        }
        gate.open();
        call.await.unwrap().expect(200);
        world.close().await;
    }

    async fn a_pause_is_shown_with_its_reason_and_its_end(db: TestDb) {
        let world = World::open(db).await;
        let broken = json!({"error": {"message": "You exceeded it", "code": "invalid_api_key"}});
        world.upstream.on(CHAT, Reply::json(&broken).status(401));
        world.upstream.on("/v1/models/m", Reply::json(&broken).status(401));
        let paused = world.channel(&["m"], json!({"protocol": "openai", "key": "up-key"})).await;
        world.admin().price("m", by_use()).await;
        let sick = world.model("sick", fixed(10), Reply::text("no").status(500)).await;
        let ann = world.payer(1_000).await;
        let ask = json!({"model": "m", "messages": []});
        world.server.post(CHAT, &ann.key, &ask).await.expect(401);
        world.server.wait_for_log(&["channel_account", "status 401"]).await;
        while world.pay("sick", &ann).await.status == 500 {}

        let now = world.admin().get(&format!("/api/channel/{paused}")).await["live"].clone();
        let why = now["pause_reason"].as_str().unwrap();
        assert!(why.contains("401") && why.contains("You exceeded it"), "{now}");
        assert!(now["breaker"] == "open" && now["retry_at"].is_i64(), "{now}");
        let open = world.admin().get(&format!("/api/channel/{sick}")).await["live"].clone();
        assert_eq!(open["breaker"], "open", "{open}");
        assert!(open["pause_reason"].is_null() && open["retry_at"].is_i64(), "{open}");

        let checks = world.admin().get("/api/doctor").await;
        let check = one_of(&checks, "name", &format!("channel {paused} pause"));
        assert_eq!(check["state"], "bad");
        assert!(check["found"].as_str().unwrap().contains("You exceeded it"), "{check}");
        assert!(check["remedy"].as_str().unwrap().contains("another key"), "{check}");
        assert_eq!(one_of(&checks, "name", &format!("channel {sick} pause"))["state"], "odd");

        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/channels").await.expect(200).text();
        assert!(list.contains("Paused: account") && list.contains("Breaker open"), "{list}");
        let well = world.channel(&["well"], json!({})).await;
        let list = world.admin().get("/api/channel?status=paused").await;
        let ids: Vec<_> = list.as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
        assert_eq!(ids, [json!(paused), json!(sick)]);
        let list = root.get("/console/channels?status=paused").await.expect(200).text();
        for (id, is_paused) in [(paused, true), (sick, true), (well, false)] {
            assert_eq!(list.contains(&format!("<tr id=\"channel-{id}\">")), is_paused, "{list}");
        }
        let page = root.get(&format!("/console/channels/{paused}")).await.expect(200).text();
        assert!(page.contains("You exceeded it") && !page.contains("up-key"), "{page}");
        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("Channel paused"), "{page}");

        // Where the breaker may not pause it, no call waits for it.
        let off = json!({"id": paused, "auto_ban": false});
        let shown = world.admin().put("/api/channel", &off).await["live"].clone();
        assert_eq!((&shown["breaker"], &shown["pause_reason"]), (&json!("closed"), &json!(null)));
        let list = world.admin().get("/api/channel?status=paused").await;
        assert_eq!((list.as_array().unwrap().len(), &list[0]["id"]), (1, &json!(sick)));
        world.close().await;
    }
}
