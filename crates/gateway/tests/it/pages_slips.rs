//! Small faults of pages, each as a reader met it.

use crate::pages::{Browser, PASSWORD, attributes, between, lively, name_of};
use crate::pages_protocols::form as encoded;
use crate::world::World;
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};
use tokio::net::TcpListener;

/// A world with an administrator, `adam`.
async fn with_adam(db: TestDb) -> (World, i64) {
    let (world, ann) = lively(db).await;
    let adam = json!({ "username": "adam", "password": PASSWORD, "role": 10 });
    world.admin().user(adam).await;
    (world, ann)
}

on_both_databases! {
    async fn keys_that_one_may_not_change_are_not_offered(db: TestDb) {
        let (world, ann) = with_adam(db).await;
        let roots = world.admin().key_of(1, json!({ "name": "of-root" })).await.id;
        let anns = world.admin().key_of(ann, json!({ "name": "of-ann" })).await.id;
        let adam = Browser::login(&world.server, "adam", PASSWORD).await;
        let list = adam.get("/console/keys").await.expect(200).text();
        let row = |id: i64| between(&list, &format!("<tr id=\"key-{id}\">"), "</tr>").unwrap();
        for (id, reaches) in [(roots, false), (anns, true)] {
            let row = row(id);
            assert_eq!(row.contains(&format!("value=\"{id}\"")), reaches, "a box: {row}");
            for part in [format!("/console/keys/{id}/edit"), format!("/console/keys/{id}/status")] {
                assert_eq!(row.contains(&part), reaches, "{part}: {row}");
            }
        }
        let refused = adam.get(&format!("/console/keys/{roots}/edit")).await.expect(403).text();
        assert!(refused.contains("of a higher role"), "{refused}");
        adam.get(&format!("/console/keys/{anns}/edit")).await.expect(200);

        // Sent all the same: nothing is done, and the row is named.
        let both = format!("id={roots}&id={anns}&status=2");
        let refused = adam.send("/console/keys/batch", &both).await.text();
        assert!(refused.contains(&format!("(#{roots})")), "{refused}");
        let off = "SELECT count(*) FROM tokens WHERE status = 2";
        assert_eq!(world.db.i64(off).await, 0);
        let own = adam.send("/console/keys/batch", &format!("id={anns}&status=2")).await;
        assert!(own.expect(200).text().contains("What will change"));
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        root.get(&format!("/console/keys/{roots}/edit")).await.expect(200);
        world.close().await;
    }

    async fn webhooks_that_one_may_not_change_are_not_offered(db: TestDb) {
        let (world, ann) = with_adam(db).await;
        let adam = Browser::login(&world.server, "adam", PASSWORD).await;
        for (owner, reaches) in [(1, false), (ann, true)] {
            let hook = json!({ "user_id": owner, "url": "http://example.com/" });
            let hook = world.admin().post("/api/webhook", &hook).await["id"].as_i64().unwrap();
            world.admin().post(&format!("/api/webhook/{hook}/test"), &json!({})).await;
            let path = format!("/console/webhooks/{hook}");
            let page = adam.get(&path).await.expect(200).text();
            for part in ["/edit", "/rotate", "/delete", "/again"] {
                let to = |page: &str, name| attributes(page, name).into_iter();
                let mut ways = to(&page, "href").chain(to(&page, "action"));
                assert_eq!(ways.any(|to| to.contains(part)), reaches, "{part}: {page}");
            }
            adam.get(&format!("{path}/edit")).await.expect(if reaches { 200 } else { 403 });
            let page = adam.get(&format!("{path}?state=failed")).await.expect(200).text();
            assert!(page.contains("Nothing fits these filters."), "{page}");
        }
        world.close().await;
    }

    async fn nodes_are_seen_while_a_health_check_is_under_way(db: TestDb) {
        let world = World::open(db).await;
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", upstream.local_addr().unwrap());
        world.channel(&["slow"], json!({ "base_url": base })).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let meanwhile = async {
            // The check asks this upstream, and waits for it.
            let (asked, _) = upstream.accept().await.unwrap();
            let page = root.get("/console/doctor").await.expect(200).text();
            let nodes = ["id=\"nodes\"", "0.1.0", "Held for unfinished"];
            for words in nodes.into_iter().chain(["A health check is under way"]) {
                assert!(page.contains(words), "{words}: {page}");
            }
            drop((asked, upstream));
        };
        let (checked, ()) = tokio::join!(root.send("/console/doctor", ""), meanwhile);
        let checked = checked.expect(200).text();
        assert!(!checked.contains("A health check is under way"), "{checked}");
        let page = root.get("/console/doctor").await.expect(200).text();
        assert!(!page.contains("A health check is under way"), "{page}");
        world.close().await;
    }

    async fn a_price_is_previewed_for_every_group_that_is_offered(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["m"], json!({ "groups": ["office"] })).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console/prices/edit").await.expect(200).text();
        for group in ["default", "office"] {
            assert!(page.contains(&format!("<option value=\"{group}\">")), "{group}: {page}");
            let price = json!({ "model_name": "m", "ratio": 1.5, "prompt_tokens": 1_000_000,
                "group": group });
            let seen = world.admin().post("/api/price/preview", &price).await;
            assert_eq!(seen["charge"], 1_500_750, "{seen}");
        }
        let none = json!({ "model_name": "m", "ratio": 1.5, "group": "nobodys" });
        let refused = world.admin().try_post("/api/price/preview", &none).await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        world.close().await;
    }

    async fn what_is_wrong_is_said_in_ones_language_and_at_its_field(db: TestDb) {
        let world = World::open(db).await;
        let mut root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let broken = encoded(&[("document", "name = \"mine\"\nodd = 1\n")]);
        let page = root.send("/console/protocols/edit", &broken).await.expect(422).text();
        assert!(page.contains("line 2: odd: "), "{page}");
        root.lang = "zh";
        let page = root.send("/console/protocols/edit", &broken).await.expect(422).text();
        assert!(page.contains("第 2 行 odd 处有误: "), "{page}");

        root.lang = "en";
        for (field, text) in [
            ("tiers", r#"[{"at": "nowhere"}]"#),
            ("meters", r#"{"cache_writ": 2}"#),
            ("units", r#"{"images": -1}"#),
        ] {
            let price = [("model_name", "m"), ("kind", "use"), ("ratio", "1.5"), (field, text)];
            let page = root.send("/console/prices/edit", &encoded(&price)).await;
            let page = page.expect(422).text();
            assert!(page.contains(&format!("href=\"#f-{field}\"")), "{field}: {page}");
            let area = between(&page, &format!(" id=\"f-{field}\""), ">").unwrap();
            assert!(area.contains("aria-invalid=\"true\""), "{field}: {area}");
        }
        world.close().await;
    }

    async fn a_filter_that_cannot_be_read_is_named_as_its_form_names_it(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        for (path, says) in [
            ("/console/log?channel_id=mock", "Channel: must be a whole number"),
            ("/console/usage?token_id=k", "Key: must be a whole number"),
        ] {
            let page = root.get(path).await.expect(422).text();
            assert!(page.contains(says), "{path}: {page}");
        }
        world.close().await;
    }

    async fn a_list_that_a_filter_empties_does_not_say_that_nothing_is_there(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        for path in ["keys", "channels", "codes", "webhooks", "prices", "tasks"] {
            let empty = root.get(&format!("/console/{path}?page_size=50")).await.expect(200).text();
            let note = between(&empty, "<div class=\"empty\">", "</div>").unwrap();
            assert!(!note.contains("filter"), "{path}: {note}");
        }
        let recent = root.get("/console/log?show=recent").await.expect(200).text();
        assert!(recent.contains("No call has failed or was free yet"), "{recent}");
        for path in [
            "keys?keyword=zzz", "channels?keyword=zzz", "codes?keyword=zzz", "webhooks?status=2",
            "prices?keyword=zzz", "tasks?model=zzz", "users?keyword=zzz", "log?model=zzz",
            "actions?username=zzz", "log?show=recent&model=zzz",
        ] {
            let page = root.get(&format!("/console/{path}")).await.expect(200).text();
            let note = between(&page, "<div class=\"empty\">", "</div>").unwrap();
            assert!(note.contains("Nothing fits these filters."), "{path}: {note}");
            let all = attributes(&note, "href").pop().unwrap();
            let is_whole = !all.contains("zzz") && !all.contains("status");
            assert!(is_whole && all.contains("show=") == path.contains("show="), "{all}");
            root.get(&all).await.expect(200);
        }
        world.close().await;
    }

    async fn first_steps_are_for_who_has_never_called(db: TestDb) {
        let world = World::open(db).await;
        for name in ["ann", "bob"] {
            world.admin().user(json!({ "username": name, "password": PASSWORD })).await;
        }
        // Of calls that are older than every range, the count alone is left.
        world.db.execute("UPDATE users SET request_count = 3 WHERE username = 'ann'").await;
        for (name, is_new) in [("ann", false), ("bob", true)] {
            let user = Browser::login(&world.server, name, PASSWORD).await;
            let page = user.get("/console").await.expect(200).text();
            assert_eq!(page.contains("First steps"), is_new, "{name}: {page}");
        }
        world.close().await;
    }

    async fn older_lines_are_offered_where_there_are_some(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000).await;
        let path = format!("/console/users/{}", ann.id);
        let lines = format!("SELECT count(*) FROM logs WHERE user_id = {}", ann.id);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let older = |page: &str| {
            attributes(page, "href").into_iter().find(|to| to.contains("before_id="))
        };
        while world.db.i64(&lines).await < 25 {
            world.admin().add_quota(ann.id, 1, "a test").await;
        }
        let page = root.get(&path).await.expect(200).text();
        assert_eq!(page.matches("<tr id=\"line-").count(), 25, "{page}");
        assert_eq!(older(&page), None, "there is nothing older");

        // The line that takes the balance below zero is the 26th, and the newest.
        let quota = world.admin().user_quota(ann.id).await;
        world.admin().add_quota(ann.id, -quota - 5, "a test").await;
        let page = root.get(&path).await.expect(200).text();
        assert!(page.contains("Below zero"), "{page}");
        let to = older(&page).expect("one more");
        let page = root.get(&to).await.expect(200).text();
        assert_eq!(page.matches("<tr id=\"line-").count(), 1, "{page}");
        assert!(!page.contains("Below zero") && older(&page).is_none(), "{page}");
        world.close().await;
    }

    async fn a_test_of_a_webhook_is_confirmed_as_one(db: TestDb) {
        let (world, ann) = lively(db).await;
        let hook = json!({ "user_id": ann, "url": "http://example.com/" });
        let hook = world.admin().post("/api/webhook", &hook).await["id"].as_i64().unwrap();
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let to = root.send(&format!("/console/webhooks/{hook}/test"), "").await.expect(303);
        let page = root.get(&to.header("location").unwrap()).await.expect(200).text();
        assert!(page.contains("A test is delivered now"), "{page}");
        assert!(!page.contains("delivered again"), "{page}");
        world.close().await;
    }

    async fn slips_of_pages_stay_mended(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        // An address that is no text has a page of the console.
        let page = root.get("/console/explain/%FF").await.expect(404).text();
        let has_menu = page.contains("href=\"/console/log\"");
        assert!(page.contains("<!DOCTYPE html>") && has_menu, "{page}");
        // Where there is no statement, another month can be chosen.
        let page = root.get("/console/statements?user_id=9999&month=2026-01").await.expect(200);
        let page = page.text();
        assert!(page.contains("type=\"month\" name=\"month\" value=\"2026-01\""), "{page}");
        // Of channels to test one may be gone.
        let page = root.send("/console/channels/test", "id=1&id=9999").await.expect(200).text();
        assert!(page.contains("/console/channels/1/test"), "{page}");
        // All that was ticked comes back with a complaint.
        let ticked = "id=1&models=a&models=b&priority=x";
        let page = root.send("/console/channels/batch", ticked).await.expect(422).text();
        assert!(page.contains("value=\"a, b\""), "{page}");
        // A key that is saved leads back to the list that one came from.
        let key = world.admin().key_of(ann, json!({ "name": "k" })).await.id;
        let list = format!("/console/keys?user_id={ann}&sort=name");
        let page = root.get(&format!("/console/keys/{key}/edit")).await.expect(200).text();
        let opened = between(&page, "name=\"opened\" value=\"", "\"").unwrap();
        let form = encoded(&[("back", list.as_str()), ("name", "kk"), ("opened", &opened)]);
        let to = root.send(&format!("/console/keys/{key}/edit"), &form).await.expect(303);
        assert_eq!(to.header("location"), Some(format!("{list}&done=saved")));
        world.close().await;
    }

    async fn keys_of_the_playground_end_among_many(db: TestDb) {
        let (world, ann) = lively(db).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        for _ in 0..100 {
            world.admin().key_of(ann, json!({ "name": "k" })).await;
        }
        user.send("/console/play/key", "like=").await.expect(200);
        let ended = if world.db.is_postgres() { "now() - interval '1 hour'" } else { "1" };
        let end = format!("UPDATE tokens SET expired_at = {ended} WHERE name = 'playground'");
        world.db.execute(&end).await;
        user.send("/console/play/key", "like=").await.expect(200);
        let keys = "SELECT count(*) FROM tokens WHERE name = 'playground'";
        assert_eq!(world.db.i64(keys).await, 1);
        world.close().await;
    }
}
