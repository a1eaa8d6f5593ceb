//! The admin journal by the kind of what was done, by whom it was done to, and by its time.

use crate::pages::{Browser, PASSWORD, attributes, lively, name_of};
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

/// The actions of lines of the journal.
fn actions(lines: &serde_json::Value) -> Vec<String> {
    let lines = lines.as_array().unwrap().iter();
    lines.map(|line| line["other"]["action"].as_str().unwrap().to_owned()).collect()
}

on_both_databases! {
    async fn actions_are_found_by_kind_target_and_time(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let name = name_of(&world, ann).await;
        let bob = json!({ "username": "bob", "password": PASSWORD });
        let bob = admin.user(bob).await;
        admin.key_of(ann, json!({ "name": "of-ann" })).await;
        admin.key_of(bob, json!({ "name": "of-bob" })).await;
        admin.put(&format!("/api/user/{ann}"), &json!({ "display_name": "Ann" })).await;
        admin.put("/api/notice", &json!({ "en": "hello" })).await;
        let wrong = json!({ "username": "bob", "password": "not the password" });
        world.server.call("POST", "/api/user/login").json(&wrong).send().await.expect(401);

        let of = async |filter: &str| {
            actions(&admin.get(&format!("/api/audit/actions?page_size=100&{filter}")).await)
        };
        let all = of("").await;
        let keys = of("kind=keys").await;
        assert_eq!(keys.len(), all.iter().filter(|it| it.starts_with("token.")).count(), "{all:?}");
        assert!(keys.len() >= 3 && keys.iter().all(|it| it.starts_with("token.")), "{keys:?}");
        assert_eq!(of("kind=refused").await, ["user.login_failed"]);
        assert!(of("kind=settings").await.iter().all(|it| it == "notice.put"));
        for (kind, parts) in [
            ("prices", &["ability.", "group."][..]),
            ("channels", &["channel."]),
            ("users", &["user."]),
        ] {
            let found = of(&format!("kind={kind}")).await;
            let fits = |it: &String| parts.iter().any(|part| it.starts_with(part));
            assert!(!found.is_empty() && found.iter().all(fits), "{kind}: {found:?}");
        }
        // Each line is of one kind.
        let mut sum = 0;
        for kind in ["refused", "logins", "money", "users", "keys", "channels", "protocols",
            "prices", "settings", "tasks", "webhooks"] {
            sum += of(&format!("kind={kind}")).await.len();
        }
        assert_eq!(sum, all.len(), "{all:?}");
        // What was done to a user, by number and by name.
        let to_bob = of(&format!("target_user_id={bob}")).await;
        assert_eq!(to_bob.last().unwrap(), "user.create", "newest first: {to_bob:?}");
        let to_ann = of(&format!("target_user_id={ann}")).await;
        assert!(to_ann.contains(&"user.update".to_owned()), "{to_ann:?}");
        assert!(to_ann.contains(&"token.create".to_owned()), "{to_ann:?}");
        assert_eq!(of(&format!("target_username={name}")).await, to_ann);
        assert_eq!(of("target_username=nobody").await, Vec::<String>::new());
        assert_eq!(of("target_username=bob&kind=keys").await, ["token.create"]);
        // By time.
        assert_eq!(of("kind=keys&start_time=4102444800").await, Vec::<String>::new());
        assert_eq!(of("kind=keys&end_time=4102444800").await, keys);
        for bad in ["kind=nothing", "kind=keys&type=consume", "target_user_id=ann"] {
            let path = format!("/api/log?{bad}");
            admin.call("GET", &path).send().await.expect(422);
        }
        // The log and its table take the same.
        assert_eq!(actions(&admin.get("/api/log?page_size=100&kind=keys").await), keys);
        let csv = admin.call("GET", "/api/log/export?kind=keys").send().await.expect(200).text();
        assert_eq!(csv.lines().count(), 1 + keys.len(), "{csv}");
        assert_eq!(csv.matches("token.").count(), keys.len(), "{csv}");
        world.close().await;
    }

    async fn a_reader_of_the_journal_chooses_what_it_shows(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        world.admin().key_of(ann, json!({ "name": "of-ann" })).await;
        let mut root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/actions").await.expect(200).text();
        for field in ["kind", "username", "target_username", "channel_id", "from", "to"] {
            assert!(list.contains(&format!("name=\"{field}\"")), "{field}: {list}");
        }
        let to = format!("/console/actions?kind=keys&target_username={name}&from=2020-01-01");
        let page = root.get(&to).await.expect(200).text();
        assert!(page.contains("token.create") && !page.contains("channel.create"), "{page}");
        let export = attributes(&page, "href").into_iter().find(|to| to.contains("/export"));
        let export = root.get(&export.unwrap().replace("&amp;", "&")).await.expect(303);
        let export = export.header("location").unwrap();
        for part in ["/api/log/export?", "type=manage", "kind=keys", "start_time=1577836800"] {
            assert!(export.contains(part), "{part}: {export}");
        }
        let csv = root.get(&export).await.expect(200).text();
        assert!(csv.contains("token.create") && !csv.contains("channel.create"), "{csv}");
        let none = root.get("/console/actions?kind=keys&to=2020-01-01").await.expect(200).text();
        assert!(none.contains("Nothing fits these filters."), "{none}");
        let money = root.get("/console/actions?kind=money").await.expect(200).text();
        assert!(money.contains("balance.deposit"), "what was moved by hand: {money}");
        root.lang = "zh";
        let page = root.get("/console/actions?kind=refused").await.expect(200).text();
        assert!(page.contains("登录被拒"), "{page}");
        world.close().await;
    }
}
