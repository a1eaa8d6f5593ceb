//! The way from an empty database to the first paid call, and checks of the books in the
//! background.

use crate::pages::{Browser, attributes, between};
use crate::world::{World, fixed};
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually, json, on_both_databases};

/// The button of the step that comes next.
fn next(page: &str) -> String {
    let guide = between(page, "<section class=\"guide\"", "</section>").unwrap();
    let step = between(&guide, "aria-current=\"step\">", "</li>").unwrap_or_default();
    attributes(&step, "href").into_iter().next().unwrap_or_default()
}

on_both_databases! {
    async fn the_first_page_leads_to_the_first_paid_call(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/draw", Reply::result(20, 60));
        let mut root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("0 of 5"), "{page}");
        assert_eq!(next(&page), "/console/channels/new?then=setup");

        // Each form leads back to the guide, and the guide to the next one.
        let form = root.get(&next(&page)).await.expect(200).text();
        assert!(form.contains("name=\"then\" value=\"setup\""), "{form}");
        let base = world.upstream.url().replace(':', "%3A").replace('/', "%2F");
        let channel =
            format!("then=setup&name=one&base_url={base}&key=k&models=draw&groups=default");
        let refused = root.send("/console/channels/new", "then=setup&base_url=x&models=a").await;
        assert!(refused.expect(422).text().contains("name=\"then\" value=\"setup\""));
        let to = root.send("/console/channels/new", &channel).await.expect(303);
        assert_eq!(to.header("location").as_deref(), Some("/console?done=created"));
        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("1 of 5") && page.contains("not tested yet"), "{page}");
        assert_eq!(next(&page), "/console/prices/edit?model=draw&then=setup");

        let price = "then=setup&model_name=draw&kind=call&fixed_quota=%240.05";
        let to = root.send("/console/prices/edit", price).await.expect(303);
        assert_eq!(to.header("location").as_deref(), Some("/console?done=saved"));
        let page = root.get("/console").await.expect(200).text();
        assert_eq!(next(&page), "/console/users/new?then=setup");

        let user = "then=setup&username=ann&group=default&ratio=1&role=1&quota=%241\
            &reason=to+begin";
        root.send("/console/users/new", user).await.expect(303);
        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("3 of 5"), "{page}");
        assert_eq!(next(&page), "/console/keys/new?then=setup&user_id=ann");

        let form = "then=setup&name=k&user_id=ann";
        let made = root.send("/console/keys/new", form).await.expect(200).text();
        let on = "href=\"/console?then=setup\">I have it: to the first call";
        assert!(made.contains(on), "{made}");
        let key = between(&made, "id=\"new-key\">", "<").unwrap();
        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("/pass/draw"), "{page}");
        assert!(page.contains("hx-get=\"/console/setup\""), "{page}");
        let steps = root.get("/api/setup").await.expect(200).json()["data"].clone();
        let ready = (&steps["user"]["username"], &steps["priced_model"], &steps["call"]);
        assert_eq!(ready, (&json!("ann"), &json!("draw"), &json!(null)), "{steps}");

        let called = world.server.post("/pass/draw", &key, &json!({})).await.expect(200);
        let id = called.header("x-request-id").unwrap();
        let part = root.call("GET", "/console/setup").header("HX-Request", "true").send().await;
        let part = part.expect(200).text();
        assert!(part.contains("The first paid call has come: draw, charged $0.05."), "{part}");
        assert!(!part.contains("hx-get") && !part.contains("<html"), "{part}");
        let receipt = attributes(&part, "href").into_iter().find(|to| to.contains("explain"));
        let receipt = root.get(&receipt.unwrap()).await.expect(200).text();
        assert!(receipt.contains(&id) && receipt.contains("$0.05"), "{receipt}");
        root.get("/console/setup").await.expect(303);
        // Whom the guide leads to its end sees the call, also one that came before.
        let page = root.get("/console?then=setup").await.expect(200).text();
        assert!(page.contains("5 of 5") && page.contains("The first paid call has come"), "{page}");
        let page = root.get("/console").await.expect(200).text();
        assert!(!page.contains("class=\"guide\""), "its end: {page}");
        root.lang = "zh";
        let part = root.call("GET", "/console/setup").header("HX-Request", "true").send().await;
        assert!(part.expect(200).text().contains("第一次计费调用已到达: draw"));
        world.close().await;
    }

    async fn the_first_steps_are_ticked_by_what_there_is(db: TestDb) {
        let world = World::open(db).await;
        world.model("draw", fixed(80), Reply::text("ok")).await;
        let payer = world.payer(80).await;
        world.pay("draw", &payer).await.expect(200);
        // A call was paid for, and its user has nothing left: that step is to be made again.
        let mut root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("3 of 5") && page.contains("The first paid call has come"), "{page}");
        assert_eq!(next(&page), "/console/users/new?then=setup");
        let closed = root.send("/console/preferences", "guide=off&back=/console").await;
        let cookie = closed.expect(303).header("set-cookie").unwrap();
        assert!(cookie.starts_with("newapi_guide=off;"), "{cookie}");
        root.keep("newapi_guide=off");
        let page = root.get("/console").await.expect(200).text();
        assert!(!page.contains("class=\"guide\""), "{page}");
        world.close().await;
    }

    async fn the_books_are_checked_in_the_background(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let admin = world.admin();
        let state = admin.get("/api/audit/ledger/state").await;
        assert_eq!((&state["running_since"], &state["last"]), (&json!(null), &json!(null)));
        let page = root.get("/console/audit").await.expect(200).text();
        assert!(!page.contains("every 1s"), "{page}");

        // However many clicks, it is one check; the page follows it without them.
        for _ in 0..3 {
            root.send("/console/audit/run", "").await.expect(303);
        }
        let begun = admin.post("/api/audit/ledger", &json!({})).await;
        assert!(begun["running_since"].is_i64() || begun["last"].is_object(), "{begun}");
        let state = eventually("the end of the check", || async {
            let state = admin.get("/api/audit/ledger/state").await;
            (state["running_since"].is_null() && state["last"].is_object()).then_some(state)
        })
        .await;
        let (clean, failed) = (&state["last"]["report"]["clean"], &state["failed"]);
        assert_eq!((clean, failed), (&json!(true), &json!(null)));
        let page = root.get("/console/audit").await.expect(200).text();
        assert!(page.contains("the books balance") && !page.contains("every 1s"), "{page}");
        world.close().await;
    }
}

on_postgres! {
    async fn a_check_under_way_says_how_far_it_is(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let admin = world.admin();
        // Four of its steps can be made; the fifth waits for this.
        let lock = world.db.transaction("LOCK TABLE redemptions IN ACCESS EXCLUSIVE MODE").await;
        root.send("/console/audit/run", "").await.expect(303);
        let progress = eventually("the check to reach the codes", || async {
            let state = admin.get("/api/audit/ledger/state").await;
            (state["progress"]["step"] == "codes").then(|| state["progress"].clone())
        })
        .await;
        assert_eq!((&progress["steps_done"], &progress["steps"]), (&json!(4), &json!(7)));
        assert!(progress["running_ms"].is_i64(), "{progress}");
        let page = root.get("/console/audit").await.expect(200).text();
        for words in ["every 1s", "4 of 7 steps done", "redeemed codes", "max=\"7\""] {
            assert!(page.contains(words), "{words}: {page}");
        }

        lock.end().await;
        eventually("the end of the check", || async {
            let state = admin.get("/api/audit/ledger/state").await;
            (state["progress"].is_null() && state["last"].is_object()).then_some(())
        })
        .await;
        let page = root.get("/console/audit").await.expect(200).text();
        assert!(page.contains("the books balance") && !page.contains("<progress"), "{page}");
        world.close().await;
    }
}
