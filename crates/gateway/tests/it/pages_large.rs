//! Money moves above the limit that root sets: the name of the user is typed as well.

use crate::pages::{Browser, PASSWORD, lively, name_of};
use crate::world::{World, fixed};
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn no_group_of_many_is_taken_for_a_slip(db: TestDb) {
        let (world, _) = lively(db).await;
        world.admin().post("/api/group", &json!({ "group_name": "zebra", "ratio": 1 })).await;
        world.db.execute("INSERT INTO group_ratio (group_name, ratio, updated_at)
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
            SELECT 'g' || i, ratio, updated_at FROM group_ratio, n WHERE group_name = 'zebra'")
            .await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        for (group, is_known) in [("zebra", true), ("default", true), ("zebr", false)] {
            let form = format!("name=k&group={group}");
            let made = root.send("/console/keys/new", &form).await.expect(200).text();
            assert_eq!(made.contains("no channel knows the group"), !is_known, "{group}: {made}");
        }
        world.close().await;
    }

    async fn a_large_amount_moves_only_to_the_user_who_is_named(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/users/{ann}/adjust");
        let page = root.get(&path).await.expect(200).text();
        // Hidden until the amount that is typed needs it.
        assert!(page.contains("<div data-above=\"50000000\" hidden>"), "{page}");
        let before = world.admin().user_quota(ann).await;

        let large = "direction=add&amount=%24100.000002&reason=a+big+one&reference=a";
        for name in ["", "root", "ann "] {
            let form = format!("{large}&username={name}");
            let page = root.send(&path, &form).await.expect(422).text();
            assert!(page.contains("to move more than $100.00, type the name"), "{page}");
            assert!(page.contains("<div data-above=\"50000000\">"), "{page}");
            let kept = page.contains("value=\"$100.000002\"") && page.contains("a big one");
            assert!(kept, "{page}");
        }
        assert_eq!(world.admin().user_quota(ann).await, before);
        root.send(&path, &format!("{large}&username={name}")).await.expect(303);
        assert_eq!(world.admin().user_quota(ann).await, before + 50_000_001);

        // Its reversal moves as much, and so does what is taken.
        let line = world.db.i64("SELECT max(id) FROM logs WHERE type = 'topup'").await;
        let asked = format!("{path}?reverse={line}&amount=-50000001q");
        let page = root.get(&asked).await.expect(200).text();
        assert!(page.contains("<div data-above=\"50000000\">"), "{page}");
        let back = format!("direction=take&amount=50000001q&reason=a+slip&reversal_of={line}");
        root.send(&path, &back).await.expect(422);
        let taken = "direction=take&amount=%24101&reason=a+slip&below=1&reference=b";
        root.send(&path, taken).await.expect(422);
        root.send(&path, &format!("{back}&username={name}")).await.expect(303);
        assert_eq!(world.admin().user_quota(ann).await, before);

        // At the limit, and where there is none, nobody is named.
        let at = "direction=add&amount=%24100&reason=at+the+limit&reference=c";
        root.send(&path, at).await.expect(303);
        set_limit(&world, "off").await;
        let large = "direction=add&amount=%245000&reason=a+big+one&reference=d";
        root.send(&path, large).await.expect(303);
        let page = root.get(&path).await.expect(200).text();
        assert!(!page.contains("data-above") && !page.contains("f-username"), "{page}");
        let shown = root.get("/api/option/console").await.expect(200).json();
        assert_eq!(shown["data"]["confirm_above"], json!(null), "{shown}");
        world.close().await;
    }

    async fn the_limit_is_a_setting_and_scripts_may_name_a_user_too(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let settings = root.get("/console/settings?keyword=confirm").await.expect(200).text();
        assert!(settings.contains("$100"), "{settings}");
        for odd in ["-1", "1,5", "much"] {
            let change = json!({"key": "CONSOLE_CONFIRM_ABOVE", "value": odd});
            let call = world.admin().call("PUT", "/api/option").json(&change);
            call.send().await.expect(422);
        }
        set_limit(&world, "$1").await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        user.get("/api/option/console").await.expect(403);
        let shown = root.get("/api/option/console").await.expect(200).json();
        assert_eq!(shown["data"]["confirm_above"], json!(500_000), "{shown}");
        let path = format!("/console/users/{ann}/adjust");
        let form = "direction=add&amount=%242&reason=two+dollars&reference=a";
        root.send(&path, form).await.expect(422);

        let to = format!("/api/user/{ann}/quota");
        let mut input = json!({ "delta": 1_000_000, "reason": "a gift", "username": "another" });
        let refused = world.admin().try_post(&to, &input).await.expect(422).text();
        assert!(refused.contains("is not the name of this user"), "{refused}");
        input["username"] = json!(name);
        world.admin().post(&to, &input).await;
        world.close().await;
    }

    async fn tasks_that_move_much_are_decided_by_name(db: TestDb) {
        let world = World::open(db).await;
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
        world.model("img/submit", fixed(600_000), taken).await;
        let ann = world.payer(6_000_000).await;
        let name = name_of(&world, ann.id).await;
        for _ in 0..3 {
            world.pay("img/submit", &ann).await.expect(200);
        }
        set_limit(&world, "$2").await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let one = "/console/tasks/1/decide";
        let page = root.get(&format!("{one}?decision=refund")).await.expect(200).text();
        assert!(!page.contains("f-username"), "$1.20 is below the limit: {page}");

        // Together they give back more to one user.
        let many = "/console/tasks/batch";
        let some = "id=1&id=2&decision=refund";
        let page = root.send(many, some).await.expect(200).text();
        assert!(page.contains("f-username"), "{page}");
        let whose = format!("{name} is moved most, more than $2.00: type this user&#39;s name");
        assert!(page.contains(&whose.replace("&#39;", "'")) || page.contains(&whose), "{page}");
        let apply = format!("{some}&apply=1&reason=the+vendor+is+down");
        let page = root.send(many, &apply).await.expect(422).text();
        assert!(page.contains("the vendor is down"), "{page}");
        assert_eq!(world.open_holds().await, 3);
        root.send(many, &format!("{apply}&username={name}")).await.expect(303);
        assert_eq!(world.open_holds().await, 1);

        set_limit(&world, "$1").await;
        let page = root.get("/console/tasks/3/decide?decision=settle").await.expect(200).text();
        assert!(page.contains("f-username"), "{page}");
        let settle = "decision=settle&reason=it+was+made";
        root.send("/console/tasks/3/decide", settle).await.expect(422);
        let named = format!("{settle}&username={name}");
        root.send("/console/tasks/3/decide", &named).await.expect(303);
        assert_eq!(world.money(&ann).await.quota, 6_000_000 - 600_000);
        world.close().await;
    }
}

async fn set_limit(world: &World, limit: &str) {
    let change = json!({"key": "CONSOLE_CONFIRM_ABOVE", "value": limit});
    world.admin().put("/api/option", &change).await;
}
