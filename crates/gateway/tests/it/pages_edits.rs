//! A form changes what its writer changed, and nothing that moved meanwhile.

use crate::pages::{Browser, between, lively};
use crate::pages_protocols::form as encoded;
use crate::world::{World, fixed};
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn editing_a_key_leaves_what_it_may_still_spend(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(100), Reply::text("ok")).await;
        let ann = world.payer(10_000).await;
        let key = world.key(&ann, json!({ "remain_quota": 1_000, "unlimited_quota": false })).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/keys/{}/edit", key.token_id);
        let left = async || {
            let key = world.admin().get(&format!("/api/token/{}", key.token_id)).await;
            (key["remain_quota"].clone(), key["unlimited_quota"].clone())
        };

        let hidden = |page: &str, name: &str| {
            between(page, &format!("name=\"{name}\" value=\""), "\"").unwrap()
        };
        // Each form is one that was just opened.
        let save = async |fields: &[(&str, &str)]| {
            let page = root.get(&path).await.expect(200).text();
            let opened = hidden(&page, "opened");
            let form = encoded(&[fields, &[("opened", &opened)]].concat());
            root.send(&path, &form).await
        };

        let page = root.get(&path).await.expect(200).text();
        assert!(page.contains("May still spend"), "{page}");
        let (was, opened) = (hidden(&page, "remain_was"), hidden(&page, "opened"));
        world.pay("m", &key).await.expect(200);
        let renamed = [("name", "renamed"), ("remain_quota", &was), ("remain_was", &was)];
        // A call is no change by another.
        let untouched = [&renamed[..], &[("opened", &opened)]].concat();
        root.send(&path, &encoded(&untouched)).await.expect(303);
        assert_eq!(left().await, (json!(900), json!(false)));
        // Another's change is.
        let again = [&untouched[..], &[("name", "mine")]].concat();
        let again: Vec<_> = again.into_iter().skip(1).collect();
        let asked = root.send(&path, &encoded(&again)).await.expect(409).text();
        assert!(asked.contains("Name: <span class=\"muted break\">renamed</span> → "), "{asked}");

        // Also after a complaint: what the form was opened with stays in it.
        let odd = [&renamed[..], &[("daily_limit", "five")]].concat();
        let page = save(&odd).await.expect(422).text();
        assert_eq!(hidden(&page, "remain_was"), was);
        let changed = [("name", "renamed"), ("remain_quota", "500q"), ("remain_was", &was)];
        save(&changed).await.expect(303);
        assert_eq!(left().await, (json!(500), json!(false)));
        save(&[("name", "renamed"), ("remain_quota", ""), ("remain_was", &was)]).await.expect(303);
        assert_eq!(left().await.1, json!(true));
        save(&[("name", "renamed"), ("remain_quota", ""), ("remain_was", "")]).await.expect(303);
        assert_eq!(left().await.1, json!(true));
        world.close().await;
    }
}

on_sqlite! {
    async fn an_emptied_setting_is_empty_or_refused(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = "/console/settings/edit";
        let now = async |key: &str| {
            let all = world.admin().get("/api/option").await;
            let found = all.as_array().unwrap().iter().find(|one| one["key"] == key).cloned();
            let found = found.unwrap();
            (found["value"].clone(), found["source"].clone())
        };
        // What may be nothing is nothing, and not what is configured.
        let configured = now("UPSTREAM_ALLOW_NETS").await;
        assert_ne!(configured.0, "");
        let emptied = encoded(&[("key", "UPSTREAM_ALLOW_NETS"), ("value", "")]);
        root.send(path, &emptied).await.expect(303);
        assert_eq!(now("UPSTREAM_ALLOW_NETS").await, (json!(""), json!("runtime")));
        let page = root.get("/console/settings/edit?key=UPSTREAM_ALLOW_NETS").await.expect(200);
        assert!(page.text().contains("Back to what is configured"));
        let back = encoded(&[("key", "UPSTREAM_ALLOW_NETS"), ("value", ""), ("do", "back")]);
        root.send(path, &back).await.expect(303);
        assert_eq!(now("UPSTREAM_ALLOW_NETS").await, configured);

        // What is always something says how one goes back.
        let level = |value: &str| encoded(&[("key", "LOG_LEVEL"), ("value", value)]);
        root.send(path, &level("debug")).await.expect(303);
        let emptied = root.send(path, &level("")).await.expect(422).text();
        assert!(emptied.contains("Back to what is configured)"), "{emptied}");
        assert_eq!(now("LOG_LEVEL").await.0, "debug");
        let put = json!({ "key": "LOG_LEVEL", "value": "" });
        world.admin().call("PUT", "/api/option").json(&put).send().await.expect(422);

        // A password that is not shown is not replaced by what is shown in its place.
        let proxy = |value: &str| encoded(&[("key", "HTTP_PROXY"), ("value", value)]);
        root.send(path, &proxy("http://ann:secret@127.0.0.1:1")).await.expect(303);
        let shown = now("HTTP_PROXY").await.0.as_str().unwrap().to_owned();
        let refused = root.send(path, &proxy(&shown)).await.expect(422).text();
        assert!(refused.contains("type the whole value"), "{refused}");
        world.close().await;
    }
}

on_both_databases! {
    async fn what_was_just_moved_is_read_from_its_line(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let name = crate::pages::name_of(&world, ann).await;
        let before = world.admin().user_quota(ann).await;
        let path = format!("/console/users/{ann}/adjust");
        let add = encoded(&[("direction", "add"), ("amount", "$5"), ("reason", "a prize"),
            ("reference", "r-1")]);
        let to = root.send(&path, &add).await.expect(303).header("location").unwrap();
        assert!(to.contains("line=") && !to.contains("by=") && !to.contains("now="), "{to}");
        let said = |page: &str| between(page, "<p class=\"toast\">", "</p>").unwrap_or_default();
        let page = root.get(&to).await.expect(200).text();
        assert!(said(&page).starts_with(&format!("$5.00 added to {name}; now $")), "{page}");
        assert_eq!(world.admin().user_quota(ann).await, before + 2_500_000);
        // A link that makes an amount up shows none.
        let lie = format!("/console/users/{ann}?done=moved&by=500000000&now=500000000&line=999999");
        let page = root.get(&lie).await.expect(200).text();
        assert!(!said(&page).contains('$'), "{page}");
        // Nor does one that names the line of another user.
        let line = between(&to, "line=", "&").unwrap();
        let other = format!("/console/users/1?done=moved&line={line}");
        let page = root.get(&other).await.expect(200).text();
        assert!(!said(&page).contains('$'), "{page}");

        // Who redeems a code is told what it was worth.
        let codes = json!({ "name": "s", "quota": 1_000_000 });
        let code = world.admin().post("/api/redemption", &codes).await;
        let code = code[0].as_str().unwrap().to_owned();
        let user = Browser::login(&world.server, &name, crate::pages::PASSWORD).await;
        let form = encoded(&[("code", &code)]);
        let to = user.send("/console/redeem", &form).await.expect(303).header("location").unwrap();
        let page = user.get(&to).await.expect(200).text();
        assert!(said(&page).starts_with("Redeemed: +$2.00; now $"), "{page}");
        let again = user.send("/console/redeem", &form).await.expect(303);
        let page = user.get(&again.header("location").unwrap()).await.expect(200).text();
        assert!(said(&page).contains("had redeemed this code before"), "{page}");
        world.close().await;
    }
}

on_both_databases! {
    async fn what_is_there_already_is_not_replaced_unseen(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let admin = world.admin();
        let replaces = |page: &str| between(page, "name=\"replaces\" value=\"", "\"").unwrap();

        let ratio = |ratio: &str| encoded(&[("group_name", "vip"), ("ratio", ratio)]);
        root.send("/console/groups", &ratio("0.8")).await.expect(303);
        root.send("/console/groups", &ratio("0.80")).await.expect(303);
        let asked = root.send("/console/groups", &ratio("8")).await.expect(409).text();
        assert!(asked.contains("vip has a ratio already, which this replaces"), "{asked}");
        assert!(asked.contains(">0.8</span> → <b>8</b>"), "{asked}");
        assert_eq!(admin.get("/api/group/vip").await["ratio"], 0.8);
        let sure = format!("{}&replaces={}", ratio("8"), replaces(&asked));
        root.send("/console/groups", &sure).await.expect(303);
        assert_eq!(admin.get("/api/group/vip").await["ratio"], 8);
        root.send("/console/groups", &sure).await.expect(303);
        let stale = format!("{}&replaces=0.8", ratio("9"));
        root.send("/console/groups", &stale).await.expect(409);

        let mine = "name = \"mine\"\ntitle = { zh = \"我\", en = \"M\" }\nbase = \"openai\"\n";
        let other = mine.replace("\"M\"", "\"Other\"");
        let edit = "/console/protocols/edit";
        let document = |text: &str| encoded(&[("document", text)]);
        root.send(edit, &document(mine)).await.expect(303);
        let asked = root.send(edit, &document(&other)).await.expect(409).text();
        assert!(asked.contains("mine exists already, and this replaces it"), "{asked}");
        assert!(asked.contains("&quot;Other&quot;") || asked.contains("\"Other\""), "{asked}");
        let title = async || admin.get("/api/protocol/mine").await["title_en"].clone();
        assert_eq!(title().await, "M");
        let sure = format!("{}&replaces={}", document(&other), replaces(&asked));
        root.send(edit, &sure).await.expect(303);
        assert_eq!(title().await, "Other");
        // The editor that was opened with a document changes it without being asked.
        let page = root.get("/console/protocols/edit?name=mine").await.expect(200).text();
        let opened = between(&page, "name=\"opened\" value=\"", "\"").unwrap();
        let own = format!("{}&opened={opened}", document(mine));
        root.send(edit, &own).await.expect(303);
        assert_eq!(title().await, "M");
        // Another one like it is not it.
        let page = root.get("/console/protocols/edit?from=mine").await.expect(200).text();
        assert!(page.contains("name=\"opened\" value=\"\""), "{page}");
        world.close().await;
    }
}

on_both_databases! {
    async fn what_another_has_changed_is_not_set_back_unseen(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let admin = world.admin();
        let value = |page: &str, name: &str| {
            between(page, &format!("name=\"{name}\" value=\""), "\"").unwrap()
        };

        let one = world.channel(&["a", "b"], json!({ "name": "one", "tag": "old" })).await;
        let path = format!("/console/channels/{one}/edit");
        let page = root.get(&path).await.expect(200).text();
        let base = world.upstream.url();
        let opened = value(&page, "opened");
        let form = |tag: &str, more: &str| {
            let fields = [("name", "one"), ("base_url", &base), ("protocol", "custompass"),
                ("models", "a\r\nb"), ("groups", "default"), ("priority", "0"), ("weight", "1"),
                ("auto_ban", "1"), ("tag", tag), ("opened", &opened)];
            format!("{}{more}", encoded(&fields))
        };
        let channel = format!("/api/channel/{one}");
        admin.call("PATCH", &channel).json(&json!({ "models": ["a", "b", "c"] })).send().await
            .expect(200);
        let asked = root.send(&path, &form("new", "")).await.expect(409).text();
        assert!(asked.contains("It was changed since this form was opened"), "{asked}");
        assert!(asked.contains("Models: <span class=\"muted break\">a, b, c</span> → "), "{asked}");
        assert!(asked.contains("<b class=\"break\">new</b>"), "{asked}");
        assert!(asked.contains("a\r\nb</textarea>") && asked.contains("value=\"new\""), "{asked}");
        let now = admin.get(&channel).await;
        assert_eq!((&now["models"], &now["tag"]), (&json!(["a", "b", "c"]), &json!("old")));
        // Who has seen it may set it back.
        let sure = format!("&replaces={}", value(&asked, "replaces"));
        root.send(&path, &form("new", &sure)).await.expect(303);
        let now = admin.get(&channel).await;
        assert_eq!((&now["models"], &now["tag"]), (&json!(["a", "b"]), &json!("new")));
        // Nothing that would be set back is nothing to ask about.
        root.send(&path, &form("new", "")).await.expect(303);
        // What moves by itself is no change: the state, a test, what was spent.
        let page = root.get(&path).await.expect(200).text();
        let before = value(&page, "opened");
        admin.post(&format!("{channel}/disable"), &json!({})).await;
        let page = root.get(&path).await.expect(200).text();
        assert_eq!(value(&page, "opened"), before);

        let ann = world.payer(1_000).await.id;
        let name = crate::pages::name_of(&world, ann).await;
        let path = format!("/console/users/{ann}/edit");
        let page = root.get(&path).await.expect(200).text();
        let opened = value(&page, "opened");
        let form = |more: &[(&str, &str)]| {
            let fields = [("username", &*name), ("group", "default"), ("role", "1"),
                ("ratio", "1.0"), ("daily_limit", ""), ("opened", &opened)];
            encoded(&[&fields[..], more].concat())
        };
        admin.put(&format!("/api/user/{ann}"), &json!({ "ratio": 0.5, "daily_limit": 500 })).await;
        let shown = [("display_name", "Ann")];
        let asked = root.send(&path, &form(&shown)).await.expect(409).text();
        assert!(asked.contains("Ratio: <span class=\"muted break\">0.5</span> → "), "{asked}");
        let limit = "Daily limit: <span class=\"muted break\">$0.001</span>";
        assert!(asked.contains(limit), "{asked}");
        assert_eq!(admin.user_row(ann).await["ratio"], 0.5);
        let wrong = root.send(&path, &form(&[("monthly_limit", "x")])).await.expect(422).text();
        assert_eq!(value(&wrong, "opened"), opened, "a complaint is no look at what changed");
        let replaces = value(&asked, "replaces");
        root.send(&path, &form(&[shown[0], ("replaces", &replaces)])).await.expect(303);
        let row = admin.user_row(ann).await;
        assert_eq!((&row["ratio"], &row["daily_limit"]), (&json!(1), &json!(null)), "{row}");
        world.close().await;
    }

    async fn a_webhook_is_made_for_a_user_and_its_address_changes(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let name = crate::pages::name_of(&world, ann).await;
        let list = root.get(&format!("/console/webhooks?user_id={ann}")).await.expect(200).text();
        let new = format!("/console/webhooks/new?user_id={ann}");
        assert!(list.contains(&format!("href=\"{new}\"")), "{list}");
        let page = root.get(&new).await.expect(200).text();
        let owner = format!("name=\"user_id\" type=\"text\" value=\"{ann}\"");
        assert!(page.contains(&owner), "{page}");
        let url = "https://hooks.example/one";
        let none = encoded(&[("url", url), ("user_id", "nobody")]);
        let page = root.send("/console/webhooks/new", &none).await.expect(422).text();
        assert!(page.contains("<a href=\"#f-user_id\">"), "{page}");
        let form = encoded(&[("url", url), ("events", "balance.low"), ("user_id", &name)]);
        root.send("/console/webhooks/new", &form).await.expect(200);
        let made = world.db.row("SELECT id, user_id, url FROM webhook_endpoints").await;
        assert_eq!(made.i64("user_id"), ann);
        // A user makes none for another.
        let user = Browser::login(&world.server, &name, crate::pages::PASSWORD).await;
        let page = user.get("/console/webhooks/new").await.expect(200).text();
        assert!(!page.contains("name=\"user_id\""), "{page}");
        let own = encoded(&[("url", "https://hooks.example/own"), ("user_id", "root")]);
        user.send("/console/webhooks/new", &own).await.expect(200);
        let of_ann = format!("SELECT count(*) FROM webhook_endpoints WHERE user_id = {ann}");
        assert_eq!(world.db.i64(&of_ann).await, 2);

        let path = format!("/console/webhooks/{}/edit", made.i64("id"));
        let page = user.get(&path).await.expect(200).text();
        assert!(page.contains("value=\"https://hooks.example/one\""), "{page}");
        let opened = between(&page, "name=\"opened\" value=\"", "\"").unwrap();
        let form = |url: &str, events: &str| {
            encoded(&[("url", url), ("events", events), ("opened", &opened)])
        };
        user.send(&path, &form("nowhere", "")).await.expect(422);
        let two = "https://hooks.example/two";
        let to = user.send(&path, &form(two, "task.failed, balance.low")).await.expect(303);
        let page = user.get(&to.header("location").unwrap()).await.expect(200).text();
        assert!(page.contains(two) && page.contains("task.failed, balance.low"), "{page}");
        let asked = root.send(&path, &form(url, "")).await.expect(409).text();
        assert!(asked.contains("It was changed since this form was opened"), "{asked}");
        world.close().await;
    }
}

on_sqlite! {
    async fn a_setting_says_the_line_that_keeps_it(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let set = |value: &str| encoded(&[("key", "LOG_LEVEL"), ("value", value)]);
        root.send("/console/settings/edit", &set("debug")).await.expect(303);
        for page in ["/console/settings", "/console/settings/edit?key=LOG_LEVEL"] {
            let page = root.get(page).await.expect(200).text();
            assert!(page.contains(">LOG_LEVEL=debug</code>"), "{page}");
        }
        // What may stand there is told at the field, in the reader's language.
        let mut root = root;
        root.lang = "zh";
        let page = root.send("/console/settings/edit", &set("loud")).await.expect(422).text();
        let complaint = between(&page, "class=\"complaint\"", "</p>").unwrap();
        assert!(complaint.contains("LOG_LEVEL 不能取这个值"), "{complaint}");
        assert!(!complaint.contains("trace"), "{complaint}");
        world.close().await;
    }
}
