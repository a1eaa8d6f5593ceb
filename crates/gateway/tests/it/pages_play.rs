//! The playground over plain HTTP: its keys, what it suggests, and what it says of a call.

use crate::pages::{Browser, PASSWORD, between, lively, name_of};
use testkit::{TestDb, json, on_both_databases};

on_both_databases! {
    async fn a_key_of_the_playground_has_little_money_and_little_time(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let page = user.get("/console/play?path=/pass/chat&model=chat").await.expect(200).text();
        for suggested in ["value=\"/pass/chat\"", "option selected>chat<", "value=\"/v1/rerank\""] {
            assert!(page.contains(suggested), "{suggested}: {page}");
        }
        let limited = json!({ "name": "narrow", "models": ["draw"] });
        let narrow = world.admin().key_of(ann, limited).await;
        let made = user.send("/console/play/key", "like=").await.expect(200).text();
        let key = between(&made, "placeholder=\"sk-…\" value=\"", "\"").unwrap();
        let answer = world.server.post("/pass/chat", &key, &json!({})).await.expect(200);
        let row = world.db.row(
            "SELECT remain_quota, id FROM tokens WHERE name = 'playground'"
        ).await;
        assert_eq!(row.i64("remain_quota"), 250_000 - 80);
        let own = world.admin().get(&format!("/api/token/{}", row.i64("id"))).await;
        let left = own["expired_time"].as_i64().unwrap() - own["created_at"].as_i64().unwrap();
        assert!((890..=900).contains(&left), "{own}");

        let id = answer.header("x-request-id").unwrap();
        let cost = user.get(&format!("/console/play/cost/{id}")).await.expect(200).text();
        assert!(cost.contains("$0.00016") && cost.contains("60"), "{cost}");
        assert!(!cost.contains("hx-get=\""), "it has ended: {cost}");
        let root = Browser::login(&world.server, "root", testkit::ROOT_PASSWORD).await;
        root.get("/console/play").await.expect(200);
        let free = user.get("/console/play/cost/no-such-call").await.expect(200).text();
        assert!(free.contains("It was free, or refused"), "{free}");

        let like = format!("like={}", narrow.id);
        let made = user.send("/console/play/key", &like).await.expect(200).text();
        let key = between(&made, "placeholder=\"sk-…\" value=\"", "\"").unwrap();
        world.server.post("/pass/chat", &key, &json!({})).await.expect(403);
        let others = world.admin().key_of(1, json!({ "name": "root's" })).await.id;
        let others = format!("like={others}");
        user.send("/console/play/key", &others).await.expect(404);

        // Those that have ended make room.
        let ended = if world.db.is_postgres() { "now() - interval '1 hour'" } else { "1" };
        world.db.execute(&format!(
            "UPDATE tokens SET expired_at = {ended} WHERE name = 'playground'"
        )).await;
        user.send("/console/play/key", "like=").await.expect(200);
        let keys = "SELECT count(*) FROM tokens WHERE name = 'playground'";
        assert_eq!(world.db.i64(keys).await, 1);
        world.close().await;
    }

    async fn the_paths_that_calls_may_have_are_listed(db: TestDb) {
        let (world, ann) = lively(db).await;
        let routes = world.admin().envelope("/api/route").await;
        let calls = |name: &str| {
            let protocol = routes["data"].as_array().unwrap().iter()
                .find(|it| it["protocol"] == name).cloned();
            protocol.map(|it| it["calls"].to_string())
        };
        assert!(calls("custompass").unwrap().contains("/pass/{+model}"), "{routes}");
        assert_eq!(calls("suno"), None, "no channel speaks it: {routes}");
        world.channel(&["song"], json!({ "name": "songs", "protocol": "suno" })).await;
        let routes = world.admin().envelope("/api/route").await;
        assert!(routes.to_string().contains("\"suno\""), "{routes}");
        let name = name_of(&world, ann).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        user.get("/api/route").await.expect(200);
        world.close().await;
    }
}
