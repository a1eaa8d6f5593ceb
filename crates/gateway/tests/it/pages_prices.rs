//! Prices in the console: what the form shows is what it saves.

use crate::pages::{Browser, PASSWORD, between, lively, name_of};
use crate::pages_protocols::form;
use crate::world::World;
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

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
        let opened = between(&page, "name=\"opened\" value=\"", "\"").unwrap_or_default();
        assert!(opened.is_empty(), "a form that was sent bare: {page}");
        let page = root.get("/console/prices/edit?model=m").await.expect(200).text();
        let opened = between(&page, "name=\"opened\" value=\"", "\"").unwrap();
        let fields = format!("{}&opened={opened}", fields("{\"images\":7}"));
        let asked = root.send("/console/prices/edit", &fields).await.expect(200).text();
        let seen = between(&asked, "name=\"replaces\" value=\"", "\"").unwrap();
        let sure = format!("{fields}&replaces={seen}");
        root.send("/console/prices/edit", &sure).await.expect(303);
        let saved = world.admin().get("/api/ability/m").await.to_string();
        for words in ["\"cache_write\":2", "\"images\":7", "\"is\":[\"big\"]"] {
            assert!(saved.contains(words), "{words}: {saved}");
        }
        assert!(!saved.contains("searches"), "{saved}");
        world.close().await;
    }
}

on_both_databases! {
    async fn a_price_is_edited_in_its_row(db: TestDb) {
        let (world, _) = lively(db).await;
        world.admin().price("draw", json!({ "fixed_quota": 5 })).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/prices").await.expect(200).text();
        assert!(list.contains("hx-get=\"/console/prices?edit=chat\""), "{list}");
        assert!(!list.contains("price-form"), "{list}");
        let list = root.get("/console/prices?edit=chat").await.expect(200).text();
        let row = between(&list, "id=\"edited\">", "</tr>").unwrap();
        assert!(row.contains("id=\"price-form\"") && row.contains("value=\"chat\""), "{row}");
        assert!(list.contains("model=draw"), "{list}");
        let opened = between(&row, "name=\"opened\" value=\"", "\"").unwrap();
        let form = format!("opened={opened}&model_name=chat&kind=use&unit=ratio&ratio=2");
        // What changes is shown once.
        let shown = root.send("/console/prices/edit", &form).await.expect(200).text();
        let replaces = between(&shown, "name=\"replaces\" value=\"", "\"").unwrap();
        let form = format!("{form}&replaces={replaces}");
        root.send("/console/prices/edit", &form).await.expect(303);
        assert_eq!(world.admin().get("/api/ability/chat").await["ratio"], 2.0);
        world.close().await;
    }

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
        let mut twice = json!({ "model_name": "chat", "ratio": 2 });
        let last = async |price: &serde_json::Value| {
            let seen = admin.post("/api/price/preview", price).await;
            seen["last_charges"].clone()
        };
        let of_one = |charged, would_be, left_out| {
            json!({ "charges": 1 - left_out, "charged": charged, "would_be": would_be,
                "left_out": left_out })
        };
        assert_eq!(last(&twice).await, of_one(80, 160, 0));
        let a_call = json!({ "model_name": "chat", "fixed_quota": 7 });
        assert_eq!(last(&a_call).await, of_one(80, 7, 0));
        // Its line has no count of images: the price then had none.
        twice.as_object_mut().unwrap().extend(units.as_object().unwrap().clone());
        assert_eq!(last(&twice).await, of_one(0, 0, 1));
        let form = "model_name=chat&kind=use&unit=ratio&ratio=0.75";
        let part = root.send("/console/prices/preview", form).await.expect(200).text();
        let words = "the last charge: $0.00016 → $0.00012 (<b>−25 %</b>)";
        assert!(part.contains(words), "{part}");

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

on_both_databases! {
    async fn a_price_in_dollars_comes_back_as_it_was_typed(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        for (model, prompt, completion, exact) in [
            ("a", "$0.27", "$1.10", Some("$1.09999998")),
            ("b", "$3.00", "$10.00", Some("$9.999999")),
            ("c", "$3.00", "$15.00", None),
        ] {
            let price = form(&[
                ("kind", "use"), ("unit", "usd"), ("model_name", model),
                ("prompt_million", prompt), ("completion_million", completion),
            ]);
            let to = root.send("/console/prices/edit", &price).await.expect(303);
            let list = root.get(&to.header("location").unwrap()).await.expect(200).text();
            let said = format!("completion {completion} is {}", exact.unwrap_or("-"));
            assert_eq!(list.contains(&said), exact.is_some(), "{said}: {list}");
            assert!(list.contains(completion), "{list}");
            let page = root.get(&format!("/console/prices/edit?model={model}")).await.text();
            for (field, value) in [("prompt", prompt), ("completion", completion)] {
                let field = format!("<input id=\"f-{field}_million\"");
                let field = between(&page, &field, ">").unwrap();
                assert!(field.contains(&format!("value=\"{value}\"")), "{field}");
            }
            let hint = exact.is_none_or(|exact| page.contains(&format!("{exact}, as ratios")));
            assert!(hint, "{page}");
            // What is shown is saved as the same.
            let opened = between(&page, "name=\"opened\" value=\"", "\"").unwrap();
            let before = world.admin().get(&format!("/api/ability/{model}")).await;
            let again = format!("{price}&cached_million=&opened={opened}");
            root.send("/console/prices/edit", &again).await.expect(303);
            let after = world.admin().get(&format!("/api/ability/{model}")).await;
            assert_eq!(before["completion_ratio"], after["completion_ratio"]);
        }
        world.close().await;
    }

    async fn every_model_without_a_price_is_counted_and_listed(db: TestDb) {
        let world = World::open(db).await;
        let models: Vec<String> = (0..120).map(|nth| format!("free-{nth:03}")).collect();
        let models: Vec<&str> = models.iter().map(String::as_str).collect();
        world.channel(&models, json!({})).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("120 without a price, served free: free-000"), "{page}");
        let list = root.get("/console/prices?show=unpriced").await.expect(200).text();
        assert!(list.contains("(120)") && list.contains("1–25 of 120"), "{list}");
        let last = root.get("/console/prices?show=unpriced&page=5").await.expect(200).text();
        assert!(last.contains("free-119") && !last.contains("free-099"), "{last}");
        let one = root.get("/console/prices?show=unpriced&keyword=e-05").await.expect(200).text();
        assert!(one.contains("free-050") && !one.contains("free-060"), "{one}");

        // Those that are called come first, free as they are.
        world.upstream.on("/free-077", Reply::text("free"));
        let ann = world.payer(500).await;
        for _ in 0..3 {
            world.pay("free-077", &ann).await.expect(200);
        }
        let rows = world.admin().get("/api/price/unpriced").await;
        for (nth, name, calls) in [(0, "free-077", 3), (1, "free-000", 0)] {
            let row = (&rows[nth]["model_name"], &rows[nth]["calls"]);
            assert_eq!(row, (&json!(name), &json!(calls)), "{rows}");
        }
        let list = root.get("/console/prices?show=unpriced").await.expect(200).text();
        let place = |text: &str| list.find(text).unwrap_or_else(|| panic!("{text}: {list}"));
        assert!(place("free-077") < place("free-000"), "{list}");
        assert!(list.contains("last 3 hours on this node"), "{list}");
        world.close().await;
    }

    async fn a_table_of_prices_is_pasted_seen_and_saved_whole(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        admin.price("kept", json!({ "ratio": 1 })).await;
        admin.price("dear", json!({ "ratio": 3, "completion_ratio": 5 })).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console/prices/paste").await.expect(200).text();
        assert!(page.contains("/api/price/export"), "{page}");

        // Copied from a spreadsheet; one line is no price, so nothing can be saved.
        let table = "model_name\tratio\tfixed_quota\tcompletion_ratio\n\
            kept\t1\t\t\ndear\t1.5\t\t5\nfresh\t\t25000\t\nbad\t1,5\t\t\n";
        let paste = |table: &str, more: &[(&str, &str)]| {
            form(&[&[("csv", table)], more].concat())
        };
        let page = root.send("/console/prices/paste", &paste(table, &[])).await.expect(200).text();
        let main = between(&page, "<main", "</main>").unwrap();
        for words in ["1 new · 1 changed · 1 unchanged", "1 refused, so nothing can be saved",
            ">3 ($6.00/M)</span> → <b class=\"break\">1.5 ($3.00/M)", "25000 ($0.05)",
            "write a decimal"] {
            assert!(main.contains(words), "{words}: {main}");
        }
        assert!(!main.contains("Save all"), "{main}");
        let seen = between(&page, "name=\"seen\" value=\"", "\"").unwrap();
        let forced = paste(table, &[("seen", &seen)]);
        root.send("/console/prices/paste", &forced).await.expect(200);
        assert_eq!(admin.get("/api/ability/dear").await["ratio"], 3);

        let table = table.replace("bad\t1,5", "good\t1.5");
        let page = root.send("/console/prices/paste", &paste(&table, &[])).await.expect(200).text();
        assert!(page.contains("Save all (3)"), "{page}");
        let seen = between(&page, "name=\"seen\" value=\"", "\"").unwrap();
        // What was seen is what is saved: not what another has changed meanwhile.
        admin.price("dear", json!({ "ratio": 4, "completion_ratio": 5 })).await;
        let page = root.send("/console/prices/paste", &paste(&table, &[("seen", &seen)])).await;
        let page = page.expect(200).text();
        assert!(page.contains("Prices have changed meanwhile"), "{page}");
        assert_eq!(admin.get("/api/ability/dear").await["ratio"], 4);
        let seen = between(&page, "name=\"seen\" value=\"", "\"").unwrap();
        root.send("/console/prices/paste", &paste(&table, &[("seen", &seen)])).await.expect(303);
        assert_eq!(admin.get("/api/ability/dear").await["ratio"], 1.5);
        assert_eq!(admin.get("/api/ability/fresh").await["fixed_quota"], 25_000);

        // As the export writes it: nothing changes.
        let export = root.get("/api/price/export").await.expect(200).text();
        let page = root.send("/console/prices/paste", &paste(&export, &[])).await;
        let page = page.expect(200).text();
        assert!(page.contains("0 new · 0 changed · 4 unchanged"), "{page}");
        let dir = world.db.dir().join("prices.csv");
        std::fs::write(&dir, table.replace("1.5", "2")).unwrap();
        let told = world.server.cli_ok(
            &["price", "import", dir.to_str().unwrap(), "--dry-run"]
        ).await;
        assert!(told.contains("0 new, 2 changed, 2 unchanged, 0 refused"), "{told}");
        assert!(told.contains("dear changed: ratio \"1.5\" -> \"2\""), "{told}");
        let user = "username=ann&password=a+good+password&ratio=1&group=default&role=1";
        root.send("/console/users/new", user).await.expect(303);
        let ann = Browser::login(&world.server, "ann", PASSWORD).await;
        ann.send("/console/prices/paste", &paste(&table, &[])).await.expect(403);
        ann.get("/console/prices/paste").await.expect(403);
        world.close().await;
    }
}

on_sqlite! {
    async fn prices_are_as_typed_and_models_without_one_as_they_are_served(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_UNPRICED", "reject")]).await;
        let admin = world.admin();
        world.channel(&["m", "bare"], json!({})).await;
        // $1.10 beside $3: the ratio has six places, so a million comes to less.
        admin.price("m", json!({ "ratio": 1.5, "completion_ratio": 0.366_666 })).await;
        let user = json!({ "username": "ann", "password": PASSWORD });
        admin.user(user).await;
        let ann = Browser::login(&world.server, "ann", PASSWORD).await;
        let own = ann.get("/console/prices").await.expect(200).text();
        assert!(own.contains("≈ $1.10<span class=\"q\">$1.099998</span>"), "{own}");
        assert!(own.contains("no price: refused") && !own.contains(">free<"), "{own}");
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        for (path, words) in [
            ("/console/prices", "Its calls are refused from then on."),
            ("/console/prices?show=unpriced", ">refused<"),
            ("/console", "1 without a price, refused: bare"),
        ] {
            let page = root.get(path).await.expect(200).text();
            assert!(page.contains(words) && !page.contains("served free"), "{path}: {page}");
        }
        world.close().await;
    }
}
