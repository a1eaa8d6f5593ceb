//! Pages stay small, full ones too.

use crate::pages::{Browser, MAX_PAGE_BYTES, PASSWORD, gzipped, lively, name_of};
use crate::world::Payer;
use testkit::{ROOT_PASSWORD, TestDb, json};

on_sqlite! {
    async fn the_longest_lists_keep_their_size(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let key = admin.key_of(ann, json!({ "name": "first" })).await;
        let payer = Payer { id: ann, token_id: key.id, key: key.key };
        for n in 0..100 {
            let name = format!("azure-east-{n}");
            let own = json!({ "name": name, "tag": format!("team-{}", n % 7), "priority": n });
            world.channel(&["chat", "draw", &format!("model-{n}")], own).await;
            let laptop = json!({ "name": format!("laptop of person {n}") });
            let laptop = admin.key_of(ann, laptop).await;
            world.server.post("/pass/chat", &laptop.key, &json!({})).await.expect(200);
            admin.user(json!({ "username": format!("person-{n}"), "quota": n * 1_000 })).await;
            world.pay("chat", &payer).await.expect(200);
        }
        admin.post("/api/redemption", &json!({ "name": "x", "quota": 5, "count": 100 })).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        for list in ["channels", "keys", "users", "codes", "log", "actions"] {
            let path = format!("/console/{list}?page_size=100");
            let page = root.get(&path).await.expect(200).text();
            assert!(page.matches("<tr").count() > 100, "{path} is not full");
            let size = gzipped(&page);
            assert!(size <= MAX_PAGE_BYTES, "{path}: {size} bytes");
        }
        let path = "/console/usage?per=key&model=chat&range=7d";
        let usage = root.get(path).await.expect(200).text();
        assert!(usage.matches("<tr").count() > 100, "the usage of keys is not full: {usage}");
        let size = gzipped(&usage);
        assert!(size <= MAX_PAGE_BYTES, "the usage of keys: {size} bytes");
        let many: Vec<String> = (0..200).map(|n| format!("vendor/model-{n}-instruct")).collect();
        admin.put("/api/channel/50", &json!({ "models": many })).await;
        let size = gzipped(&root.get("/console/channels/50").await.expect(200).text());
        assert!(size <= MAX_PAGE_BYTES, "a channel of many models: {size} bytes");

        // What a user pays has pages, too.
        for nth in 0..10 {
            let models: Vec<String> = (0..100).map(|n| format!("own-{nth}{n:02}")).collect();
            let models: Vec<&str> = models.iter().map(String::as_str).collect();
            world.channel(&models, json!({ "name": format!("many {nth}") })).await;
        }
        admin.price("own-*", json!({ "ratio": 1 })).await;
        let name = name_of(&world, ann).await;
        admin.put(&format!("/api/user/{ann}"), &json!({ "password": PASSWORD })).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let prices = user.get("/console/prices?page_size=100").await.expect(200).text();
        assert!(prices.matches("<tr").count() > 100, "{prices}");
        let size = gzipped(&prices);
        assert!(size <= MAX_PAGE_BYTES, "a user's prices: {size} bytes");
        let found = user.get("/console/prices?keyword=OWN-503").await.expect(200).text();
        assert!(found.contains("own-503") && !found.contains("own-504"), "{found}");
        let none = user.get("/console/prices?keyword=none").await.expect(200).text();
        assert!(none.contains("Nothing fits these filters"), "{none}");
        world.close().await;
    }
}
