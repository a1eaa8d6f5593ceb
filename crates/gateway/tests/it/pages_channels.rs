//! A channel's tag and remark, who can reach it, and what was done to it.

use crate::pages::{Browser, between};
use crate::world::{World, by_use, fixed};
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

/// The text of a page without its tags.
fn words(page: &str) -> String {
    page.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, text)| text).collect()
}

on_both_databases! {
    async fn a_form_says_what_it_changes_and_what_is_wrong_before_it_is_saved(db: TestDb) {
        let world = World::open(db).await;
        let one = world.channel(&["a"], json!({"name": "one"})).await;
        let url = world.upstream.url();
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let check = format!("/console/channels/{one}/check");
        let said = async |to: &str, form: &str| {
            words(&root.send(to, form).await.expect(200).text())
        };
        let same = format!("name=one&base_url={url}&models=a&groups=default&weight=1&auto_ban=on");
        assert_eq!(said(&check, &same).await, "");
        let changed = same.replace("name=one", "name=%3Cb%3E").replace("models=a", "models=a%0Ab");
        let changes = said(&check, &format!("{changed}&key=sk-secret")).await;
        assert_eq!(changes, "Saving makes it:Name: one → &lt;b&gt;Models: a → a, bKey: a new one");
        let odd = said(&check, &format!("{same}&priority=high")).await;
        assert!(odd.starts_with("Priority: ") && !odd.contains('→'), "{odd}");
        let elsewhere = same.replace(&url, "https://api.example.com");
        let moved = said(&check, &elsewhere).await;
        assert!(moved.contains("key"), "another host needs the key again: {moved}");
        let now = world.admin().get(&format!("/api/channel/{one}")).await;
        assert_eq!(now["name"], "one", "nothing is written");

        // Of a new one, what was not come to yet is no fault.
        let new = "/console/channels/new/check";
        assert_eq!(said(new, "name=x&base_url=&models=").await, "");
        let wrong = said(new, "name=x&base_url=ftp%3A%2F%2Fx&models=a").await;
        assert!(wrong.starts_with("Address: "), "{wrong}");
        let form = root.get(&format!("/console/channels/{one}/edit")).await.expect(200).text();
        assert!(form.contains(&format!("hx-post=\"{check}\"")), "{form}");
        world.close().await;
    }

    async fn channels_are_found_and_changed_by_their_tag(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let own = json!({"name": "one", "tag": " cheap ", "remark": "paid by <Ann>\r\nuntil May"});
        let one = world.channel(&["a"], own).await;
        let two = world.channel(&["a"], json!({"name": "two"})).await;
        let shown = admin.get(&format!("/api/channel/{one}")).await;
        assert_eq!((&shown["tag"], &shown["remark"]), (
            &json!("cheap"), &json!("paid by <Ann>\nuntil May"),
        ));
        let found = async |query: &str| {
            let list = admin.get(&format!("/api/channel?{query}")).await;
            let list = list.as_array().unwrap().iter();
            list.map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("tag=cheap").await, "one");
        assert_eq!(found("keyword=%3Cann").await, "one", "a remark is searched");
        assert_eq!(found("sort=tag&order=desc").await, "one two");
        for (field, text) in [("tag", "x".repeat(65)), ("remark", "\u{1}".to_owned())] {
            let wrong = admin.call("PUT", &format!("/api/channel/{two}"));
            let refused = wrong.json(&json!({(field): text})).send().await.expect(422);
            assert!(refused.text().contains(field));
        }
        let copy = admin.post(&format!("/api/channel/{one}/copy"), &json!({})).await;
        assert_eq!((&copy["tag"], &copy["remark"]), (&shown["tag"], &shown["remark"]));

        // Together, and away again; in the console an empty field stays as it is.
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let form = format!("id={one}&id={two}&tag=dear");
        let page = root.send("/console/channels/batch", &form).await.expect(200).text();
        assert!(words(&page).contains("Tagcheapdear") && words(&page).contains("Tag–dear"));
        root.send("/console/channels/batch", &format!("{form}&apply=1")).await.expect(303);
        assert_eq!(found("tag=dear").await, "one two");
        let form = format!("id={two}&tag=&weight=3&apply=1");
        root.send("/console/channels/batch", &form).await.expect(303);
        let away = format!("id={one}&tag=-&apply=1");
        root.send("/console/channels/batch", &away).await.expect(303);
        assert_eq!(found("tag=dear").await, "two");

        let list = root.get("/console/channels?tag=dear").await.expect(200).text();
        assert!(list.contains("/console/channels?tag=dear\">dear</a>") && !list.contains(">one<"));
        let page = root.get(&format!("/console/channels/{one}")).await.expect(200).text();
        assert!(page.contains("paid by &lt;Ann&gt;\nuntil May"), "{page}");
        let form = root.get(&format!("/console/channels/{one}/edit")).await.expect(200).text();
        assert!(form.contains("until May</textarea>"), "{form}");
        let listed = world.server.cli_ok(&["channel", "list", "--tag", "dear"]).await;
        assert!(listed.contains("two") && !listed.contains("one"), "{listed}");
        world.close().await;
    }

    async fn a_channel_says_who_reaches_it_and_what_they_pay(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        admin.group(json!({"group_name": "vip", "ratio": 0.5})).await;
        admin.group(json!({"group_name": "inner", "ratio": 1})).await;
        admin.price("call", fixed(500_000)).await;
        admin.price("talk", by_use()).await;
        let one = world.channel(&["call", "talk", "gift"], json!({"name": "one"})).await;
        world.channel(&["call"], json!({"name": "first", "priority": 9})).await;
        world.channel(&["talk"], json!({"name": "inner", "groups": ["inner"]})).await;
        let path = format!("/api/channel/{one}/reach");
        let told = admin.get(&path).await;
        assert_eq!(told["groups"], json!(["default", "inner", "vip"]));
        let cell = |told: &serde_json::Value, model: usize, group: usize| {
            told["models"][model]["groups"][group].clone()
        };
        let (plain, vip) = (cell(&told, 0, 0), cell(&told, 0, 2));
        assert_eq!((&plain["reachable"], &plain["after"]), (&json!(true), &json!(1)));
        assert_eq!((&plain["a_call"], &vip["a_call"]), (&json!(500_000), &json!(250_000)));
        let (talk, inner) = (cell(&told, 1, 0), cell(&told, 1, 1));
        assert_eq!(talk["prompt_million"], 1_000_000);
        assert_eq!((&inner["reachable"], &inner["why"]), (&json!(false), &json!("other_channels")));
        assert_eq!(cell(&told, 2, 0)["free"], true);

        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get(&format!("/console/channels/{one}")).await.expect(200).text();
        let matrix = words(&between(&page, "<table class=\"reach\">", "</table>").unwrap());
        for text in ["$1.00a callafter 1 others", "$0.50a call", "other channels", "free"] {
            assert!(matrix.contains(text), "{text}: {matrix}");
        }
        admin.post(&format!("/api/channel/{one}/disable"), &json!({})).await;
        assert_eq!(cell(&admin.get(&path).await, 0, 0)["why"], "disabled");
        admin.call("GET", "/api/channel/99/reach").send().await.expect(404);

        // Its own journal, and no other channel's.
        let page = root.get(&format!("/console/channels/{one}")).await.expect(200).text();
        assert!(words(&page).contains("changed the channel one"), "{page}");
        assert!(!words(&page).contains("created the channel first"), "{page}");
        let all = format!("/console/actions?channel_id={one}");
        assert!(page.contains(&all), "{page}");
        let journal = words(&root.get(&all).await.expect(200).text());
        assert!(journal.contains("created the channel one"), "{journal}");
        assert!(!journal.contains("the channel first"), "{journal}");
        world.close().await;
    }

    async fn a_model_without_a_price_is_not_called_free_where_it_is_refused(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_UNPRICED", "reject")]).await;
        let one = world.channel(&["gift"], json!({"name": "one"})).await;
        let told = world.admin().get(&format!("/api/channel/{one}/reach")).await;
        let cell = &told["models"][0]["groups"][0];
        let cell = (&cell["reachable"], &cell["why"], &cell["free"]);
        assert_eq!(cell, (&json!(false), &json!("unpriced"), &json!(false)), "{told}");
        let mut root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/channels/{one}");
        let page = root.get(&path).await.expect(200).text();
        let matrix = words(&between(&page, "<table class=\"reach\">", "</table>").unwrap());
        assert!(matrix.contains("no price: refused") && !matrix.contains("free"), "{matrix}");
        root.lang = "zh";
        let page = root.get(&path).await.expect(200).text();
        assert!(page.contains("未定价, 被拒绝"), "{page}");
        world.close().await;
    }
}
