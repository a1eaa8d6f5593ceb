//! Lists say whose they are and keep what they are of; a lot of codes is made once and ended as
//! one.

use crate::pages::{Browser, PASSWORD, attributes, between, lively, name_of};
use crate::pages_protocols::form as encoded;
use crate::world::{World, fixed};
use std::collections::BTreeSet;
use testkit::{Gate, ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

/// The form of the filters.
fn filters(page: &str) -> String {
    between(page, "<form class=\"bar\" method=\"get\"", "</form>").unwrap_or_default()
}

on_both_databases! {
    async fn a_list_of_a_user_says_so_and_stays_it(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let hook = json!({ "user_id": ann, "url": "https://example.com/hook" });
        world.admin().post("/api/webhook", &hook).await;
        for path in ["/console/keys", "/console/tasks", "/console/webhooks"] {
            let of_ann = format!("{path}?user_id={ann}&sort=name&order=asc&live=off&page_size=50");
            let of_ann = match path {
                "/console/keys" => of_ann,
                _ => of_ann.replace("&sort=name&order=asc", ""),
            };
            let page = root.get(&of_ann).await.expect(200).text();
            let form = filters(&page);
            let chip = format!("of <a href=\"/console/users/{ann}\">{name}</a>");
            assert!(form.contains(&chip), "{path}: {form}");
            for field in of_ann.split(['?', '&']).skip(1) {
                let (field, value) = field.split_once('=').unwrap();
                let kept = format!("type=\"hidden\" name=\"{field}\" value=\"{value}\"");
                assert!(form.contains(&kept), "{path} {field}: {form}");
            }
            // The cross leads to all, with the rest as it was.
            let all = attributes(&form, "href").into_iter().find(|to| to.contains("page_size=50"));
            let all = all.unwrap_or_else(|| panic!("{path}: {form}"));
            assert!(!all.contains("user_id"), "{all}");
            let page = root.get(&all).await.expect(200).text();
            assert!(!filters(&page).contains("class=\"chip\""), "{page}");
        }
        let list = root.get("/console/webhooks?status=1").await.expect(200).text();
        assert!(list.contains(&format!(">{name}</a>")), "{list}");
        let list = root.get("/console/webhooks?status=2").await.expect(200).text();
        assert!(!list.contains("example.com"), "{list}");
        world.close().await;
    }

    async fn keys_and_users_are_sorted_and_say_what_is_held(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("m", fixed(40), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(1_000).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let key = ann.key.clone();
        let call = world.server.call("POST", "/pass/m").key(&key).json(&json!({}));
        let waiting = tokio::spawn(call.send());
        gate.reached(1).await;
        let list = root.get("/console/users").await.expect(200).text();
        let row = between(&list, &format!("<tr id=\"user-{}\">", ann.id), "</tr>").unwrap();
        assert!(list.contains("On hold") && row.contains("$0.000080"), "{row}");
        gate.open();
        waiting.await.unwrap().expect(200);
        let row_of = async |to: &str| root.get(to).await.expect(200).text();
        let list = row_of("/console/users").await;
        let row = between(&list, &format!("<tr id=\"user-{}\">", ann.id), "</tr>").unwrap();
        assert!(!row.contains(">$0.000080</td><td class=\"num\">$0.000080"), "{row}");

        let keys = root.get("/console/keys").await.expect(200).text();
        for column in ["name", "used_quota", "remain_quota", "last_used_at"] {
            let to = attributes(&keys, "href").into_iter().find(|to| to.contains(column));
            root.get(&to.unwrap_or_else(|| panic!("{column}: {keys}"))).await.expect(200);
        }
        world.close().await;
    }

    async fn a_key_says_what_its_limits_leave(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(40), Reply::text("ok")).await;
        let ann = world.payer(1_000).await;
        let limits = json!({ "daily_limit": 100, "monthly_limit": 500, "rate_limit_rpm": 60,
            "rate_limit_tpm": 9_000 });
        world.admin().put(&format!("/api/token/{}", ann.token_id), &limits).await;
        world.pay("m", &ann).await.expect(200);
        let bare = world.admin().key_of(ann.id, json!({ "name": "bare" })).await.id;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/keys").await.expect(200).text();
        assert!(list.contains(">Left today</th>"), "{list}");
        let row = |id: i64| between(&list, &format!("<tr id=\"key-{id}\">"), "</tr>").unwrap();
        let limited = row(ann.token_id);
        let said = between(&limited, "title=\"Daily limit: ", "\"").unwrap();
        for words in ["$0.0002 ($0.00012 left)", "Monthly limit: $0.001 ($0.00092 left)",
            "Requests a minute: 60", "Tokens a minute: 9"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(limited.contains(">$0.00012"), "{limited}");
        assert!(!row(bare).contains("Daily limit"), "{list}");
        world.close().await;
    }

    async fn a_lot_of_codes_is_made_once_and_disabled_as_one(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console/codes/new").await.expect(200).text();
        let reference = between(&page, "name=\"reference\" value=\"", "\"").unwrap();
        let form = encoded(&[("name", "spring fair"), ("quota", "$1"), ("count", "30"),
            ("reason", "the fair"), ("reference", &reference)]);
        let made = root.send("/console/codes/new", &form).await.expect(200).text();
        let codes = between(&made, "id=\"new-codes\">", "</pre>").unwrap();
        let again = root.send("/console/codes/new", &form).await.expect(409).text();
        assert!(again.contains("made before: 30 codes, which are not shown again"), "{again}");
        let to_lot = attributes(&again, "href").into_iter().find(|to| to.contains("lot="));
        let to_lot = to_lot.unwrap_or_else(|| panic!("{again}"));
        let all = "SELECT count(*) FROM redemptions";
        assert_eq!(world.db.i64(all).await, 30);
        // Another lot of the same name, whose maker gave no reference.
        let other = json!({ "name": "spring fair", "quota": 7, "count": 3 });
        world.admin().post("/api/redemption", &other).await;
        let listed = world.admin().get("/api/redemption?keyword=spring").await;
        let listed = listed.as_array().unwrap().iter();
        let lots: BTreeSet<_> = listed.map(|code| code["lot"].to_string()).collect();
        assert_eq!(lots.len(), 2, "{lots:?}");
        let api = json!({ "name": "x", "quota": 5, "count": 2, "reference": "lot-1" });
        world.admin().post("/api/redemption", &api).await;
        world.admin().try_post("/api/redemption", &api).await.expect(409);

        let code = codes.lines().next().unwrap();
        root.send("/console/redeem", &encoded(&[("code", code)])).await.expect(303);
        // Who made it, and who redeemed it, by name.
        let list = root.get("/console/codes?status=3").await.expect(200).text();
        let by = "<a href=\"/console/users/1\" title=\"#1\">root</a>";
        assert!(list.contains("Made by") && list.matches(by).count() == 2, "{list}");
        let open = 29;
        let lot = root.get(&to_lot).await.expect(200).text();
        assert!(lot.contains(&format!("Disable all {open} open of this lot")), "{lot}");
        assert!(lot.contains("page_size=50") && lot.contains("page_size=100"), "{lot}");
        let of_lot = encoded(&[("lot", &reference)]);
        let asked = root.send("/console/codes/lot", &of_lot).await.expect(200).text();
        assert!(asked.contains(&format!("Disable {open} codes")), "{asked}");
        let disabled = "SELECT count(*) FROM redemptions WHERE status = 2";
        assert_eq!(world.db.i64(disabled).await, 0);
        assert!(asked.contains("<b>spring fair</b>") && asked.contains("$29.00"), "{asked}");
        // What was shown is what is done: another number is asked about again.
        let count = between(&asked, "name=\"count\" value=\"", "\"").unwrap();
        let code = codes.lines().nth(1).unwrap();
        root.send("/console/redeem", &encoded(&[("code", code)])).await.expect(303);
        let sure = |count: &str| format!("{of_lot}&count={count}&apply=1");
        let asked = root.send("/console/codes/lot", &sure(&count)).await.expect(409).text();
        assert!(asked.contains("28 codes are open by now: look again"), "{asked}");
        assert_eq!(world.db.i64(disabled).await, 0);
        let count = between(&asked, "name=\"count\" value=\"", "\"").unwrap();
        root.send("/console/codes/lot", &sure(&count)).await.expect(303);
        assert_eq!(world.db.i64(disabled).await, 28);
        assert_eq!(world.db.i64("SELECT count(*) FROM redemptions WHERE status = 1").await, 2 + 3);
        let actions = root.get("/console/actions").await.expect(200).text();
        assert!(actions.contains("disabled codes: spring fair × 28"), "{actions}");
        let disable = "/api/redemption/disable-lot";
        let told = world.admin().post(disable, &json!({ "lot": "lot-1", "dry_run": true })).await;
        assert_eq!(told, json!({ "dry_run": true, "name": "x", "changed": 2, "quota": 10 }));
        let three = json!({ "lot": "lot-1", "count": 3 });
        world.admin().try_post(disable, &three).await.expect(409);
        world.admin().try_post(disable, &json!({ "lot": "x" })).await.expect(404);
        let told = world.admin().post(disable, &json!({ "lot": "lot-1" })).await;
        assert_eq!(told["changed"], 2);
        world.close().await;
    }

    async fn an_account_gets_a_token_and_is_deleted_on_its_page(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/users/{ann}");
        let name = name_of(&world, ann).await;
        let own = Browser::login(&world.server, &name, PASSWORD).await;
        let page = root.get(&path).await.expect(200).text();
        assert!(page.contains(&format!("action=\"{path}/token\"")), "{page}");
        let sessions = format!("/api/user/{ann}/sessions");
        let listed = world.admin().get(&sessions).await;
        let session = listed[0]["id"].as_str().unwrap().to_owned();
        let end = format!("{path}/sessions/{session}/end");
        assert!(page.contains(&format!("action=\"{end}\"")), "{page}");
        root.send(&end, "").await.expect(303);
        own.get("/console").await.expect(303);
        assert_eq!(world.admin().get(&sessions).await, json!([]));
        let shown = root.send(&format!("{path}/token"), "").await.expect(200).text();
        let token = between(&shown, "id=\"new-token\">", "<").unwrap();
        let own = world.server.call("GET", "/api/user/self").key(&token).send().await.expect(200);
        assert_eq!(own.json()["data"]["id"], ann);
        let other = json!({ "username": "otto", "password": PASSWORD, "role": 10 });
        world.admin().user(other).await;
        let otto = Browser::login(&world.server, "otto", PASSWORD).await;
        otto.send("/console/users/1/delete", "").await.expect(403);
        otto.send("/console/users/1/token", "").await.expect(403);
        let of_root = world.admin().get("/api/user/self/sessions").await;
        let of_root = of_root[0]["id"].as_str().unwrap().to_owned();
        let end = format!("/console/users/1/sessions/{of_root}/end");
        otto.send(&end, "").await.expect(403);
        root.send(&format!("{path}/delete"), "").await.expect(303);
        let left = root.get(&path).await.expect(200).text();
        assert!(left.contains("Deleted on") && !left.contains(&format!("{path}/delete")), "{left}");
        // Nor is one's own page offered it.
        let page = root.get("/console/users/1").await.expect(200).text();
        assert!(!page.contains("/console/users/1/delete"), "{page}");
        world.close().await;
    }
}

on_both_databases! {
    async fn lists_are_found_by_name_and_saved_as_a_table(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        world.admin().key_of(1, json!({ "name": "of-root" })).await;
        let keys = root.get(&format!("/console/keys?username={name}")).await.expect(200).text();
        assert!(keys.contains("id=\"key-") && !keys.contains("of-root"), "{keys}");
        let none = root.get("/console/keys?username=nobody").await.expect(200).text();
        assert!(!none.contains("id=\"key-"), "{none}");
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let own = user.get("/console/keys?username=root").await.expect(200).text();
        assert!(own.contains("id=\"key-") && !own.contains("of-root"), "{own}");
        let log = root.get("/console/log").await.expect(200).text();
        assert!(log.contains("From (UTC)") && log.contains("To (UTC)"), "{log}");

        // Who did what, as a table, with the filters of the page.
        let page = root.get("/console/actions?username=root").await.expect(200).text();
        let to = attributes(&page, "href").into_iter().find(|to| to.contains("export"));
        let to = to.unwrap_or_else(|| panic!("{page}"));
        let led = root.get(&to).await.expect(303).header("location").unwrap();
        let csv = root.get(&led).await.expect(200).text();
        assert!(csv.contains(",manage,") && !csv.contains(",consume,"), "{csv}");
        world.close().await;
    }

    async fn a_customer_is_not_asked_to_decide(db: TestDb) {
        let world = World::open(db).await;
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
        world.model("img/submit", fixed(40), taken).await;
        let ann = world.payer(100).await;
        world.admin().put(&format!("/api/user/{}", ann.id), &json!({ "password": PASSWORD })).await;
        world.pay("img/submit", &ann).await.expect(200);
        // As a task whose reply could not be read.
        world.db.execute("UPDATE tasks SET task_id = ''").await;
        let name = name_of(&world, ann.id).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let page = user.get("/console/tasks").await.expect(200).text();
        assert!(page.contains("id=\"task-") && !page.contains("decision"), "{page}");
        // What is on hold leads to the tasks that hold it, and only to those.
        let home = user.get("/console").await.expect(200).text();
        assert!(home.contains("/console/tasks?status=unfinished\"><span>On hold"), "{home}");
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let told = world.admin().get(&format!("/api/user/{}", ann.id)).await;
        assert_eq!((&told["held"], &told["held_for_tasks"]), (&json!(40), &json!(40)), "{told}");
        let refund = "decision=refund&reason=the+vendor+lost+it";
        root.send("/console/tasks/1/decide", refund).await.expect(303);
        let home = user.get("/console").await.expect(200).text();
        assert!(home.contains("<div class=\"tile\"><span>On hold"), "{home}");
        world.close().await;
    }
}
