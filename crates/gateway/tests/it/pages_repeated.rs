//! Calls whose client repeats its `X-Request-Id`: each is found, explained and refunded by itself.

use crate::pages::{
    Browser, MAX_PAGE_BYTES, PASSWORD, attributes, between, gzipped, lively, name_of,
};
use crate::world::{World, fixed};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

const CALLS: i64 = 600;

/// As many calls of one request id, 10 each; returns the numbers of their holds, oldest first.
async fn nightly(world: &World, key: &str) -> Vec<String> {
    world.model("night", fixed(10), Reply::text("ok")).await;
    let call = async || {
        let call = world.server.call("POST", "/pass/night").key(key).json(&json!({}));
        call.header("X-Request-Id", "nightly").send().await.expect(200);
    };
    for _ in 0..CALLS / 50 - 1 {
        join_all((0..50).map(|_| call())).await;
    }
    // The newest by itself: of calls at once, the last to begin need not be the last to end.
    join_all((1..50).map(|_| call())).await;
    call().await;
    let lines = "SELECT count(*) FROM logs WHERE request_id = 'nightly'";
    assert_eq!(world.db.i64(lines).await, CALLS);
    let mut holds = BTreeSet::new();
    let mut before = String::new();
    loop {
        let path = format!("/api/audit/explain/nightly?before={before}");
        let story = world.admin().get(&path).await;
        let page: Vec<String> = story["holds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hold| hold["hold_id"].as_str().unwrap().to_owned())
            .collect();
        assert!(page.len() <= 20 && page.is_sorted_by(|a, b| a > b), "newest first: {page:?}");
        holds.extend(page);
        match story["next_before"].as_str() {
            Some(next) => next.clone_into(&mut before),
            None => break,
        }
    }
    assert_eq!(i64::try_from(holds.len()), Ok(CALLS));
    holds.into_iter().collect()
}

/// Where a page leads to explanations of `nightly`.
fn explained(page: &str) -> Vec<String> {
    let of_nightly = |to: &String| to.starts_with("/console/explain/nightly?hold=");
    attributes(page, "href").into_iter().filter(of_nightly).collect()
}

on_both_databases! {
    async fn tasks_that_share_an_id_are_explained_each_by_itself(db: TestDb) {
        let (world, ann) = lively(db).await;
        let key = world.admin().key_of(ann, json!({ "name": "k" })).await.key;
        for model in ["img/submit", "vid/submit"] {
            let taken = json!({ "code": 0, "data": { "task_id": "same" } });
            world.model(model, fixed(10), Reply::json(&taken)).await;
            let call = world.server.call("POST", &format!("/pass/{model}")).key(&key);
            let call = call.json(&json!({})).header("X-Request-Id", format!("of-{model}"));
            call.send().await.expect(200);
        }
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        for browser in [&root, &user] {
            let page = browser.get("/console/explain/same").await.expect(200).text();
            assert!(page.contains("Tasks with one id"), "{page}");
            let each = attributes(&page, "href");
            let each: Vec<_> = each.iter().filter(|to| to.contains("?hold=")).collect();
            assert_eq!(each.len(), 2, "{page}");
            for (to, model) in each.into_iter().zip(["vid/submit", "img/submit"]) {
                let page = browser.get(to).await.expect(200).text();
                assert!(page.contains(&format!("of-{model}")), "{to}: {page}");
                assert_eq!(page.matches("Where the money went").count(), 1, "{page}");
            }
        }
        let told = world.server.cli_ok(&["explain", "same"]).await;
        assert!(told.contains("request of-vid/submit"), "{told}");
        assert!(told.contains("request of-img/submit"), "{told}");
        for task in world.admin().get("/api/task").await.as_array().unwrap() {
            let path = format!("/api/task/{}/fail-and-refund", task["id"]);
            let reason = json!({ "reason": "the test ends" });
            world.admin().post(&path, &reason).await;
        }
        world.close().await;
    }

    async fn each_call_of_a_repeated_request_id_is_explained_by_itself(db: TestDb) {
        let (world, ann) = lively(db).await;
        let key = world.admin().key_of(ann, json!({ "name": "k" })).await.key;
        let holds = nightly(&world, &key).await;
        let newest = holds.last().unwrap();
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        for (browser, is_root) in [(&root, true), (&user, false)] {
            let log = browser.get("/console/log?request_id=nightly").await.expect(200).text();
            let to = explained(&log).into_iter().find(|to| to.ends_with(newest));
            let page = browser.get(&to.expect("the newest call")).await.expect(200).text();
            assert!(page.contains("How this charge came about"), "{page}");
            assert_eq!(page.matches("Where the money went").count(), 1, "{page}");
            assert_eq!(page.contains("Refund…"), is_root, "{page}");

            // Without a hold: all of them, the newest first, a page at a time.
            let mut path = Some("/console/explain/nightly".to_owned());
            let mut found = Vec::new();
            while let Some(here) = path {
                let page = browser.get(&here).await.expect(200).text();
                assert!(gzipped(&page) < MAX_PAGE_BYTES, "{here}");
                assert!(page.contains("Several calls have this request id"), "{page}");
                found.extend(explained(&page));
                path = attributes(&page, "href").into_iter().find(|to| to.contains("before="));
            }
            let all = holds.iter().rev().map(|id| format!("/console/explain/nightly?hold={id}"));
            assert_eq!(found, all.collect::<Vec<_>>());

            let found = browser.get("/console/find?q=nightly").await.expect(200).text();
            assert!(found.contains("\"/console/explain/nightly\""), "{found}");
        }
        let page = user.get("/console/play/cost/nightly").await.expect(200).text();
        assert_eq!(explained(&page), [format!("/console/explain/nightly?hold={newest}")]);
        let journal = root.get(&format!("/console/users/{ann}")).await.expect(200).text();
        assert!(explained(&journal).iter().any(|to| to.ends_with(newest)), "{journal}");

        // Others have none of them, and of the same id their own alone.
        let bob = json!({ "username": "bob", "password": PASSWORD });
        let id = world.admin().user(bob).await;
        let bob = Browser::login(&world.server, "bob", PASSWORD).await;
        let foreign = format!("/console/explain/nightly?hold={newest}");
        for path in ["/console/explain/nightly", &foreign] {
            bob.get(path).await.expect(404);
        }
        let nothing = bob.get("/console/find?q=nightly").await.expect(200).text();
        assert!(!nothing.contains("/console/explain/nightly"), "{nothing}");
        world.admin().add_quota(id, 100, "a test").await;
        let key = world.admin().key_of(id, json!({ "name": "k" })).await.key;
        let call = world.server.call("POST", "/pass/night").key(&key).json(&json!({}));
        call.header("X-Request-Id", "nightly").send().await.expect(200);
        let page = bob.get("/console/explain/nightly").await.expect(200).text();
        assert!(page.contains("How this charge came about"), "{page}");
        bob.get(&foreign).await.expect(404);

        let printed = world.server.cli_ok(&["explain", "nightly"]).await;
        assert_eq!(printed.matches("hold ").count(), 20, "{printed}");
        let before = between(&printed, "--before ", "\n").unwrap();
        let older = world.server.cli_ok(&["explain", "nightly", "--before", &before]).await;
        assert!(!older.contains(newest), "{older}");
        let one = world.server.cli_ok(&["explain", "nightly", "--hold", newest]).await;
        assert!(one.contains(newest) && one.matches("hold ").count() == 1, "{one}");
        for odd in ["hold=x", "before=x"] {
            root.get(&format!("/console/explain/nightly?{odd}")).await.expect(422);
            root.get(&format!("/api/audit/explain/nightly?{odd}")).await.expect(422);
        }
        world.close().await;
    }

    async fn each_call_of_a_repeated_request_id_is_refunded_by_itself(db: TestDb) {
        let (world, ann) = lively(db).await;
        world.model("night", fixed(10), Reply::text("ok")).await;
        let key = world.admin().key_of(ann, json!({ "name": "k" })).await.key;
        for _ in 0..2 {
            let call = world.server.call("POST", "/pass/night").key(&key).json(&json!({}));
            call.header("X-Request-Id", "nightly").send().await.expect(200);
        }
        let story = world.admin().get("/api/audit/explain/nightly").await;
        let [second, first] = [0, 1].map(|n| story["holds"][n]["hold_id"].as_str().unwrap());
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let before = world.admin().user_quota(ann).await;

        // By the console: the form is of this call.
        let page = root.get(&format!("/console/explain/nightly?hold={first}")).await;
        let to = attributes(&page.expect(200).text(), "href");
        let to = to.into_iter().find(|to| to.contains("refund=")).expect("a refund");
        let form = root.get(&to).await.expect(200).text();
        assert!(form.contains("at most $0.00002"), "{form}");
        let hidden = format!("name=\"refund_hold\" value=\"{first}\"");
        assert!(form.contains(&hidden), "{form}");
        let path = format!("/console/users/{ann}/adjust");
        let of = |hold: &str, amount: i64, reference: &str| format!(
            "amount={amount}q&reason=our+fault&reference={reference}&refund_of=nightly\
             &refund_hold={hold}"
        );
        let refused = root.send(&path, &of(first, 11, "a")).await.expect(422).text();
        assert!(refused.contains("at most $0.00002") && refused.contains(&hidden), "{refused}");
        root.send(&path, &of(first, 4, "a")).await.expect(303);
        // The same form is no second refund, and none of another call.
        let to = root.send(&path, &of(first, 4, "a")).await.expect(303).header("location");
        assert!(to.unwrap().contains("repeated"));
        let other = root.send(&path, &of(second, 4, "a")).await.expect(422).text();
        assert!(other.contains("this form has moved the balance already"), "{other}");
        let cost = async |hold: &str| {
            let path = format!("/api/audit/explain/nightly?hold={hold}");
            let story = world.admin().get(&path).await;
            assert_eq!(story["holds"].as_array().unwrap().len(), 1, "{story}");
            (story["holds"][0]["charged"].clone(), story["holds"][0]["refunded"].clone())
        };
        assert_eq!(cost(first).await, (json!(10), json!(4)));
        assert_eq!(cost(second).await, (json!(10), json!(0)));

        // By the API and the command line; without a hold it means neither.
        let quota_of = format!("/api/user/{ann}/quota");
        let refund = |hold: Option<&str>| json!({
            "delta": 6, "reason": "our fault", "refund_of": "nightly", "refund_hold": hold,
        });
        let neither = world.admin().try_post(&quota_of, &refund(None)).await;
        assert_eq!(neither.status, 404, "{}", neither.text());
        let alone = json!({ "delta": 6, "reason": "x", "refund_hold": first });
        for odd in [refund(Some("x")), alone] {
            let refused = world.admin().try_post(&quota_of, &odd).await.expect(422).text();
            assert!(refused.contains("refund_hold"), "{refused}");
        }
        let unknown = "018f0000-0000-7000-8000-000000000000";
        let none = world.admin().try_post(&quota_of, &refund(Some(unknown))).await;
        assert_eq!(none.status, 404, "{}", none.text());
        world.admin().post(&quota_of, &refund(Some(first))).await;
        assert_eq!(cost(first).await, (json!(10), json!(10)));
        let id = ann.to_string();
        let of_second = ["--refund-of", "nightly", "--refund-hold", second];
        world.server.cli_ok(&[&["user", "topup", &id, "5"], &of_second[..]].concat()).await;
        assert_eq!(world.admin().user_quota(ann).await, before + 15);

        // What was given back of one of them is taken back of that one.
        let line = "SELECT min(id) AS id FROM logs WHERE type = 'refund'";
        let line = world.db.i64(line).await;
        let back = json!({ "delta": -4, "reason": "a slip", "reversal_of": line });
        world.admin().post(&quota_of, &back).await;
        assert_eq!(cost(first).await, (json!(10), json!(6)));
        assert_eq!(cost(second).await, (json!(10), json!(5)));
        world.close().await;
    }
}
