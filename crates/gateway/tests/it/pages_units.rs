//! A console whose amounts are in another unit than dollars: what is shown, and what is typed.

use crate::pages::{Browser, PASSWORD};
use crate::world::{World, by_use};
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

/// A deployment in this unit, and a user who made a call of 80 quota.
async fn in_unit(db: TestDb, unit: &str) -> (World, i64) {
    let world = World::with(db, &[("CONSOLE_UNIT", unit)]).await;
    world.upstream.on("/chat", Reply::result(20, 60));
    world.channel(&["chat"], json!({})).await;
    world.admin().price("chat", by_use()).await;
    let ann = world.payer(500_000).await;
    world.admin().put(&format!("/api/user/{}", ann.id), &json!({ "password": PASSWORD })).await;
    world.pay("chat", &ann).await.expect(200);
    (world, ann.id)
}

on_both_databases! {
    async fn amounts_are_in_yuan_and_what_was_typed_in_yuan_is_shown(db: TestDb) {
        let (world, ann) = in_unit(db, "¥7.25").await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("data-sign=\"¥\" data-worth=\"14500000\""), "{page}");
        assert!(page.contains("¥0.00116"), "80 quota: {page}");

        let path = format!("/console/users/{ann}/adjust");
        let form = page_of(&root, &path).await;
        assert!(form.contains("like ¥36.25, or quota with a q"), "{form}");
        for (typed, quota) in [("100", 6_896_552), ("%C2%A57.25", 500_000), ("%241", 500_000)] {
            let before = world.admin().user_quota(ann).await;
            let form = format!("direction=add&amount={typed}&reason=paid+in&reference={typed}");
            root.send(&path, &form).await.expect(303);
            assert_eq!(world.admin().user_quota(ann).await, before + quota, "{typed}");
        }
        let journal = page_of(&root, &format!("/console/users/{ann}")).await;
        assert!(journal.contains("+¥100.00000") && journal.contains("+¥7.25000"), "{journal}");
        // Prices of vendors stay in dollars: they are what the vendor's list says.
        let price = "model_name=draw&kind=use&unit=usd&prompt_million=3";
        root.send("/console/prices/edit", price).await.expect(303);
        assert_eq!(world.admin().get("/api/ability/draw").await["ratio"], 1.5);
        let name = world.admin().user_row(ann).await["username"].as_str().unwrap().to_owned();
        let own = Browser::login(&world.server, &name, PASSWORD).await;
        for path in ["/console", "/console/keys", "/console/log", "/console/usage",
            "/console/prices", "/console/statements", "/console/tasks"]
        {
            let page = page_of(&own, path).await;
            assert!(!page.contains('$'), "{path}: {page}");
        }
        assert!(page_of(&own, "/console/prices").await.contains("¥"));
        world.close().await;
    }

    async fn amounts_are_in_quota(db: TestDb) {
        let (world, ann) = in_unit(db, "q").await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let before = world.admin().user_quota(ann).await;
        let path = format!("/console/users/{ann}/adjust");
        let form = "direction=add&amount=1,000&reason=a+gift&reference=a";
        root.send(&path, form).await.expect(303);
        assert_eq!(world.admin().user_quota(ann).await, before + 1_000);
        let journal = page_of(&root, &format!("/console/users/{ann}")).await;
        assert!(journal.contains("+1,000 q"), "{journal}");
        assert!(!journal.contains('$'), "{journal}");
        world.close().await;
    }
}

async fn page_of(browser: &Browser<'_>, path: &str) -> String {
    browser.get(path).await.expect(200).text()
}
