//! The list of prices: each row with its form, and with numbers that lead to what they count.

use crate::pages::{Browser, PASSWORD, between, lively, name_of};
use crate::pages_protocols::form;
use crate::world::{Payer, World, fixed};
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn the_form_of_a_row_keeps_the_page_and_the_filter(db: TestDb) {
        let world = World::open(db).await;
        for nth in 0..27 {
            world.admin().price(&format!("m-{nth:02}"), json!({ "ratio": 1 })).await;
        }
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = "/console/prices?keyword=m-&page=2";
        let page = root.get(list).await.expect(200).text();
        let row = between(&page, "edit?model=m%2D26", "</tr>").unwrap();
        let edit = between(&row, "hx-get=\"", "\"").unwrap().replace("&amp;", "&");
        let page = root.get(&edit).await.expect(200).text();
        let open = between(&page, "id=\"edited\">", "</tr>").unwrap_or_default();
        assert!(open.contains("value=\"m-26\""), "{edit}: {page}");
        let cancel = between(&open, "<a class=\"button\" href=\"", "\"").unwrap();
        assert_eq!(cancel.replace("&amp;", "&"), list);

        let value = |page: &str, name: &str| {
            let value = between(page, &format!("name=\"{name}\" value=\""), "\"").unwrap();
            value.replace("&amp;", "&")
        };
        let fields = [("opened", &*value(&open, "opened")), ("list", &value(&open, "list")),
            ("model_name", "m-26"), ("kind", "use"), ("unit", "ratio"), ("ratio", "2")];
        // What changes is shown once, and leads back from there as well.
        let asked = root.send("/console/prices/edit", &form(&fields)).await.expect(200).text();
        let sure = form(&[&fields[..5], &[
            ("ratio", "2"), ("replaces", &value(&asked, "replaces")),
        ]].concat()).replace(&form(&[fields[1]]), &form(&[("list", &value(&asked, "list"))]));
        let to = root.send("/console/prices/edit", &sure).await.expect(303);
        let to = to.header("location").unwrap();
        assert_eq!(to, format!("{list}&saved=m%2D26&done=saved"));
        let page = root.get(&to).await.expect(200).text();
        assert!(page.contains("m-26") && !page.contains("price-form"), "{page}");

        // A form leads to no other address.
        for (model, list) in [
            ("new1", "//evil.example"),
            ("new2", "/console/users"),
            ("new3", "/console/prices\\"),
            ("new4", "/console/pricesx"),
        ] {
            let fields = form(&[("list", list), ("model_name", model), ("ratio", "1")]);
            let to = root.send("/console/prices/edit", &fields).await.expect(303);
            let to = to.header("location").unwrap();
            assert!(to.starts_with(&format!("/console/prices?saved={model}")), "{list}: {to}");
        }
        let body = format!("csrf={}", root.csrf().await);
        let from = format!("http://{}{list}", world.server.addr());
        let gone = root.call("POST", "/console/prices/delete?model=m-25").header("Referer", &from)
            .header("Sec-Fetch-Site", "same-origin").body(body).send().await.expect(303);
        assert_eq!(gone.header("location").unwrap(), format!("{list}&done=deleted"));
        world.close().await;
    }

    async fn a_row_counts_the_channels_that_its_link_shows(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        world.channel(&["gpt-*"], json!({ "name": "wide" })).await;
        world.channel(&["gpt-4o"], json!({ "name": "named" })).await;
        let off = world.channel(&["gpt-4o"], json!({ "name": "off" })).await;
        admin.post(&format!("/api/channel/{off}/disable"), &json!({})).await;
        world.channel(&["other-*"], json!({ "name": "other" })).await;
        for model in ["gpt-4*", "gpt-4o", "claude*"] {
            admin.price(model, fixed(5)).await;
        }
        let counts = async |model: &str| {
            admin.get(&format!("/api/ability?model_name={model}")).await[0]["channels"].clone()
        };
        assert_eq!(counts("gpt-4o").await, 2);
        assert_eq!(counts("gpt-4*").await, 1, "a channel's pattern is wider than the price's");
        assert_eq!(counts("claude*").await, 0);

        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/prices").await.expect(200).text();
        let row = between(&list, "edit?model=gpt%2D4o\"", "</tr>").unwrap();
        let link = between(&row, "href=\"/console/channels", "\"").unwrap().replace("&amp;", "&");
        let page = root.get(&format!("/console/channels{link}")).await.expect(200).text();
        let main = between(&page, "<main", "</main>").unwrap();
        let names = [("wide", true), ("named", true), ("off", false), ("other", false)];
        for (name, is_there) in names {
            assert_eq!(main.contains(&format!(">{name}<")), is_there, "{name}: {main}");
        }
        world.close().await;
    }

    async fn what_was_used_leads_to_the_lines_of_its_days(db: TestDb) {
        let (world, _) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/prices").await.expect(200).text();
        let row = between(&list, "edit?model=chat\"", "</tr>").unwrap();
        let link = between(&row, "href=\"/console/log", "\"").unwrap();
        let day = match world.db.is_postgres() {
            true => "SELECT to_char((now() AT TIME ZONE 'UTC')::date - 29,
                'YYYY\"%2D\"MM\"%2D\"DD')",
            false => "SELECT strftime('%Y%%2D%m%%2D%d', 'now', '-29 days')",
        };
        let day = world.db.text(day).await.replace("%%", "%");
        assert!(link.ends_with(&format!("&amp;from={day}")), "{link} {day}");
        world.close().await;
    }

    async fn a_month_is_no_longer_than_the_log_is_kept(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_LOG_RETENTION_DAYS", "7")]).await;
        world.admin().price("m", fixed(5)).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        for page in ["/console/prices", "/console/users"] {
            let page = root.get(page).await.expect(200).text();
            assert!(page.contains("Used 7 d") && !page.contains("Used 30 d"), "{page}");
        }
        world.close().await;
    }

    async fn who_needs_no_sums_does_not_wait_for_them(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let price = form(&[("model_name", "new"), ("kind", "use"), ("unit", "ratio"),
            ("ratio", "1")]);
        let price = format!("csrf={}&{price}", root.csrf().await);
        let tables = ["logs_by_hour", "logs_by_day"];
        for table in tables {
            world.db.execute(&format!("ALTER TABLE {table} RENAME TO {table}_away")).await;
        }
        root.get("/console/prices").await.expect(500);
        root.get("/console/prices/edit?model=chat").await.expect(200);
        root.call("POST", "/console/prices/edit").header("Sec-Fetch-Site", "same-origin")
            .body(price).send().await.expect(303);
        root.get("/api/ability/chat").await.expect(200);
        let csv = root.get("/api/price/export").await.expect(200).text();
        assert!(csv.contains("\nchat,") && csv.contains("\nnew,"), "{csv}");
        let told = world.server.cli_ok(&["price", "list"]).await;
        assert!(told.contains("chat") && told.contains("new"), "{told}");
        let found = root.get(&format!("/console/find?q={name}")).await.expect(200).text();
        assert!(found.contains(&format!("/console/users/{ann}\"")), "{found}");
        let found = root.get("/console/find?q=first").await.expect(200).text();
        assert!(found.contains("/console/channels/1\""), "{found}");
        let keys = root.get("/console/keys/new").await.expect(200).text();
        assert!(keys.contains(&format!("<option value=\"{name}\"")), "{keys}");
        for table in tables {
            world.db.execute(&format!("ALTER TABLE {table}_away RENAME TO {table}")).await;
        }
        world.close().await;
    }
}

on_both_databases! {
    async fn a_price_of_units_alone_is_tried_and_shown(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let price = json!({ "model_name": "draw", "units": { "images": 20_000 } });
        let seen = admin.post("/api/price/preview", &price).await;
        assert!(seen["formula"].as_str().unwrap().contains("images × 20000"), "{seen}");
        assert_eq!((&seen["charge"], &seen["calculation"]), (&json!(null), &json!(null)));
        assert_eq!(seen["last_charges"]["charges"], 0, "{seen}");
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let part = form(&[("model_name", "draw"), ("units", "{\"images\":20000}")]);
        let part = root.send("/console/prices/preview", &part).await.expect(200).text();
        for words in ["Priced by units alone", "images × 20000", "has not been charged yet"] {
            assert!(part.contains(words), "{words}: {part}");
        }

        admin.put("/api/ability", &price).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        let own = user.get("/api/price").await.expect(200).json();
        let draw = own["data"].as_array().unwrap().iter().find(|it| it["model_name"] == "draw");
        let draw = draw.unwrap_or_else(|| panic!("{own}"));
        assert_eq!(draw["prompt_million"], json!(null), "{draw}");
        assert_eq!(draw["units"], json!({ "images": 20_000 }), "{draw}");
        let page = user.get("/console/prices").await.expect(200).text();
        assert!(page.contains("by use · units") && page.contains("images × 20000"), "{page}");
        let reach = root.get("/console/channels/1").await.expect(200).text();
        assert!(reach.contains("by units"), "{reach}");
        world.close().await;
    }

    async fn a_pattern_is_tried_on_the_charges_of_what_it_prices(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        admin.price("dr*", fixed(7)).await;
        world.upstream.on("/draw", Reply::text("drawn"));
        let ann = Payer { id: ann, token_id: 0, key: String::new() };
        let key = world.key(&ann, json!({})).await;
        world.pay("draw", &key).await.expect(200);
        let last = async |model: &str| {
            let price = json!({ "model_name": model, "fixed_quota": 9 });
            admin.post("/api/price/preview", &price).await["last_charges"].clone()
        };
        let sums = |charges: i64, charged: i64, would_be: i64| {
            json!({ "charges": charges, "charged": charged, "would_be": would_be, "left_out": 0 })
        };
        assert_eq!(last("dr*").await, sums(1, 7, 9));
        // A longer one would take it over; what another price has is no other's.
        assert_eq!(last("dra*").await, sums(1, 7, 9));
        assert_eq!(last("d*").await, sums(0, 0, 0));
        assert_eq!(last("cha*").await, sums(0, 0, 0));
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let part = form(&[("model_name", "cha*"), ("kind", "use"), ("unit", "ratio"),
            ("ratio", "1")]);
        let part = root.send("/console/prices/preview", &part).await.expect(200).text();
        assert!(part.contains("was charged in the last 30 days, so there is nothing"), "{part}");
        world.close().await;
    }
}
