//! What is left of users and channels that were deleted: money is seen, and moved by a line; no
//! link leads nowhere.

use crate::pages::{Browser, PASSWORD, attributes, lively, name_of};
use crate::pages_whole::gone;
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

on_both_databases! {
    async fn the_money_of_a_deleted_user_is_seen_and_moved_by_a_line(db: TestDb) {
        let (world, _) = lively(db).await;
        let (bob, _) = gone(&world, false).await;
        let (admin, name) = (world.admin(), name_of(&world, bob).await);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;

        // In no list but that of the deleted, by the console and by the API.
        let row = format!("id=\"user-{bob}\"");
        let list = root.get("/console/users").await.expect(200).text();
        assert!(!list.contains(&row), "{list}");
        let list = root.get("/console/users?status=deleted").await.expect(200).text();
        assert!(list.contains(&row) && !list.contains("id=\"user-1\""), "{list}");
        assert!(!list.contains("name=\"id\""), "nothing to tick: {list}");
        let ids = async |query: &str| -> Vec<i64> {
            let users = admin.get(&format!("/api/user?{query}")).await;
            users.as_array().unwrap().iter().map(|user| user["id"].as_i64().unwrap()).collect()
        };
        assert_eq!(ids("deleted=true").await, [bob]);
        for query in ["", "deleted=", "deleted=false"] {
            let there = ids(query).await;
            assert!(there.contains(&1) && !there.contains(&bob), "{query}: {there:?}");
        }
        let odd = admin.call("GET", "/api/user?deleted=x").send().await;
        assert_eq!(odd.status, 422, "{}", odd.text());
        let view = admin.get(&format!("/api/user/{bob}")).await;
        assert_eq!((&view["quota"], view["deleted_at"].is_i64()), (&json!(990), true), "{view}");
        assert_eq!(admin.get("/api/user/1").await["deleted_at"], json!(null));

        // The page: balance, journal, statement; nothing that changes the account.
        let path = format!("/console/users/{bob}");
        let page = root.get(&path).await.expect(200).text();
        for words in ["Deleted on", "$0.00198", "old", &name] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let actions = attributes(&page, "action");
        assert!(!actions.iter().any(|to| to.starts_with(&path)), "{actions:?}");
        let links = attributes(&page, "href");
        assert!(!links.contains(&format!("{path}/edit")), "{links:?}");
        let statement = format!("/console/statements?user_id={bob}");
        assert!(links.contains(&statement), "{links:?}");
        root.get(&statement).await.expect(200);
        root.get(&format!("{path}/edit")).await.expect(404);
        root.send(&format!("{path}/status?to=on"), "").await.expect(404);
        let back = admin.call("PUT", &format!("/api/user/{bob}")).json(&json!({ "status": 1 }));
        assert_eq!(back.send().await.status, 404);

        // It is taken off by a line, and that line is reversed; none is given anew.
        let adjust = format!("{path}/adjust");
        let form = root.get(&adjust).await.expect(200).text();
        assert!(form.contains("can only be taken off"), "{form}");
        assert!(!form.contains("value=\"add\""), "{form}");
        let add = "direction=add&amount=5q&reason=a+prize&reference=a";
        let refused = root.send(&adjust, add).await.expect(422).text();
        assert!(refused.contains("this user was deleted"), "{refused}");
        let take = "direction=take&amount=990q&reason=paid+out&reference=b";
        root.send(&adjust, take).await.expect(303);
        assert_eq!(admin.user_quota(bob).await, 0);
        let page = root.get(&path).await.expect(200).text();
        let line = world.db.i64("SELECT max(id) AS id FROM logs WHERE type = 'adjust'").await;
        let way = format!("reverse={line}&");
        let mut ways = attributes(&page, "href").into_iter();
        let to = ways.find(|to| to.contains(&way)).expect("a way back");
        root.get(&to).await.expect(200);
        let back = format!("direction=add&amount=990q&reason=a+slip&reversal_of={line}");
        root.send(&adjust, &back).await.expect(303);
        assert_eq!(admin.user_quota(bob).await, 990);

        // A charge is given back; the API has the same rules.
        let request = "SELECT request_id FROM logs WHERE type = 'consume' AND model_name = 'old'";
        let request = world.db.text(request).await;
        let receipt = root.get(&format!("/console/explain/{request}")).await.expect(200).text();
        let to = attributes(&receipt, "href").into_iter().find(|to| to.contains("refund="));
        root.get(&to.expect("a refund")).await.expect(200);
        let quota_of = format!("/api/user/{bob}/quota");
        let refund = json!({ "delta": 10, "reason": "our fault", "refund_of": request });
        admin.post(&quota_of, &refund).await;
        let given = admin.try_post(&quota_of, &json!({ "delta": 1, "reason": "a prize" })).await;
        assert_eq!(given.status, 409, "{}", given.text());
        admin.post(&quota_of, &json!({ "delta": -1, "reason": "paid out" })).await;
        assert_eq!(admin.user_quota(bob).await, 999);

        // Whose role does not reach sees it, and moves nothing.
        let adam = json!({ "username": "adam", "password": PASSWORD, "role": 10 });
        admin.user(adam).await;
        world.db.execute(&format!("UPDATE users SET role = 10 WHERE id = {bob}")).await;
        let adam = Browser::login(&world.server, "adam", PASSWORD).await;
        let page = adam.get(&path).await.expect(200).text();
        assert!(page.contains("Deleted on") && !page.contains("/adjust"), "{page}");
        adam.get(&adjust).await.expect(403);
        let take = take.replace("reference=b", "reference=c");
        let refused = adam.send(&adjust, &take).await.expect(422).text();
        assert!(refused.contains("of a higher role"), "{refused}");
        assert_eq!(admin.user_quota(bob).await, 999);
        world.close().await;
    }

    async fn nothing_leads_to_a_channel_that_was_deleted(db: TestDb) {
        let (world, _) = lively(db).await;
        let (bob, channel) = gone(&world, true).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let to = format!("/console/channels/{channel}");
        root.get(&to).await.expect(404);
        for path in [
            "/console", "/console/log", "/console/log?show=recent", "/console/log?request_id=x",
            "/console/actions", "/console/doctor", &format!("/console/users/{bob}"),
        ] {
            let page = root.get(path).await.expect(200).text();
            assert!(!attributes(&page, "href").contains(&to), "{path}: {page}");
        }
        let log = root.get("/console/log?model=old").await.expect(200).text();
        assert!(log.contains(&format!("title=\"deleted\">#{channel}</span>")), "{log}");
        let first = root.get("/console/log?model=chat").await.expect(200).text();
        assert!(first.contains("\"/console/channels/1\""), "{first}");
        world.close().await;
    }
}
