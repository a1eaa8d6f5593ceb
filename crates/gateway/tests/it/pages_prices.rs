//! Prices in the console: what the form shows is what it saves.

use crate::pages::Browser;
use crate::pages_protocols::form;
use crate::world::World;
use testkit::{ROOT_PASSWORD, TestDb, json};

on_sqlite! {
    async fn meters_units_and_tiers_are_shown_kept_and_edited(db: TestDb) {
        let world = World::open(db).await;
        let tiers = json!([{"at": "body:/size", "is": "big", "factor": 2}]);
        let price = json!({"ratio": 1, "meters": {"cache_write": 1.25},
            "units": {"searches": 5000}, "tiers": tiers});
        world.admin().price("m", price).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/prices").await.expect(200).text();
        assert!(list.contains("· meters · units · tiers"), "{list}");
        let page = root.get("/console/prices/edit?model=m").await.expect(200).text();
        for words in ["cache_write × 1.25", "searches × 5000", "body:/size is big: all × 2"] {
            assert!(page.contains(words), "{words}: {page}");
        }

        let tiers = tiers.to_string();
        let fields = |units| form(&[
            ("model_name", "m"), ("ratio", "1"), ("meters", "{\"cache_write\":2}"),
            ("units", units), ("tiers", &tiers),
        ]);
        let bad = root.send("/console/prices/edit", &fields("{\"imagos\":7}")).await;
        let page = bad.expect(422).text();
        assert!(page.contains("imagos") && page.contains("images"), "{page}");
        root.send("/console/prices/edit", &fields("{\"images\":7}")).await.expect(303);
        let saved = world.admin().get("/api/ability/m").await.to_string();
        for words in ["\"cache_write\":2", "\"images\":7", "\"is\":[\"big\"]"] {
            assert!(saved.contains(words), "{words}: {saved}");
        }
        assert!(!saved.contains("searches"), "{saved}");
        world.close().await;
    }
}
