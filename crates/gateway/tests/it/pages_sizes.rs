//! Pages stay small, full ones too.

use crate::pages::{Browser, MAX_PAGE_BYTES, gzipped, lively};
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
            admin.key_of(ann, json!({ "name": format!("laptop of person {n}") })).await;
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
        let many: Vec<String> = (0..200).map(|n| format!("vendor/model-{n}-instruct")).collect();
        admin.put("/api/channel/50", &json!({ "models": many })).await;
        let size = gzipped(&root.get("/console/channels/50").await.expect(200).text());
        assert!(size <= MAX_PAGE_BYTES, "a channel of many models: {size} bytes");
        world.close().await;
    }
}
