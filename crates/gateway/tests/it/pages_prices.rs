//! Prices in the console: what the form shows is what it saves.

use crate::pages::{Browser, PASSWORD, lively, name_of};
use crate::pages_protocols::form;
use crate::world::World;
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

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

on_both_databases! {
    async fn a_price_is_looked_at_before_it_is_set(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let price = json!({ "model_name": "n", "ratio": 2, "completion_ratio": 3, "group": "vip",
            "min_hold": 9, "prompt_tokens": 100, "completion_tokens": 10 });
        let seen = admin.post("/api/price/preview", &price).await;
        assert_eq!((&seen["charge"], &seen["hold"]), (&json!(208), &json!(9)), "{seen}");
        assert!(seen["formula"].as_str().unwrap().contains("group 0.8"), "{seen}");
        assert!(seen["calculation"].as_str().unwrap().ends_with("= 208"), "{seen}");
        let group = json!({ "group": "x" });
        for wrong in [group, json!({ "ratio": -1 }), json!({ "prompt_tokens": -1 })] {
            let mut price = price.clone();
            price.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
            let call = admin.call("POST", "/api/price/preview").json(&price);
            call.send().await.expect(422);
        }
        assert_eq!(world.db.i64("SELECT count(*) FROM abilities").await, 1);

        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let form = "ratio=2&completion_ratio=3&prompt_tokens=100&completion_tokens=10";
        let part = root.send("/console/prices/preview", form).await.expect(200).text();
        assert!(part.contains("$0.00052") && !part.contains("<html"), "{part}");
        let part = root.send("/console/prices/preview", "ratio=abc").await.expect(200).text();
        assert!(part.contains("Ratio: not a decimal"), "{part}");
        let dollars = "kind=use&unit=usd&prompt_million=%244&completion_million=12&fixed_quota=9\
            &prompt_tokens=100&completion_tokens=10";
        let part = root.send("/console/prices/preview", dollars).await.expect(200).text();
        assert!(part.contains("$0.00052") && part.contains("a least hold of $0.00052"), "{part}");

        let units = json!({ "ratio": 1, "units": { "images": 7 }, "meters": { "cache_write": 2 } });
        admin.price("draw", units).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        user.send("/console/prices/preview", form).await.expect(403);
        let own = user.get("/api/price").await.expect(200).json();
        let draw = own["data"].as_array().unwrap().iter().find(|it| it["model_name"] == "draw");
        let draw = draw.unwrap();
        assert_eq!(draw["units"], json!({ "images": 7 }), "{draw}");
        assert_eq!(draw["meters"]["cache_write"], 2, "{draw}");
        assert!(draw["formula"].as_str().unwrap().contains("images × 7"), "{draw}");
        let page = user.get("/console/prices").await.expect(200).text();
        assert!(page.contains("by use · meters · units") && page.contains("images × 7"), "{page}");
        world.close().await;
    }
}
