//! Moving balances at the console: what is said of it, and how it is moved back.

use crate::pages::{Browser, PASSWORD, attributes, between, lively, name_of};
use crate::world::{World, fixed};
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

/// The link of the line on a user's page that leads to its reversal.
fn reversal_of(page: &str, line: i64) -> Option<String> {
    let start = format!("reverse={line}&");
    attributes(page, "href").into_iter().find(|to| to.contains(&start))
}

on_both_databases! {
    async fn a_movement_says_the_balance_that_the_page_shows(db: TestDb) {
        let world = World::open(db).await;
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
        world.model("img/submit", fixed(1_000_000), taken).await;
        let ann = world.payer(6_000_000).await;
        let name = name_of(&world, ann.id).await;
        world.admin().put(&format!("/api/user/{}", ann.id), &json!({ "password": PASSWORD })).await;
        world.pay("img/submit", &ann).await.expect(200);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/users/{}/adjust", ann.id);
        let form = "direction=add&amount=%245&reason=the+prize&reference=a";
        let to = root.send(&path, form).await.expect(303).header("location").unwrap();
        let page = root.get(&to).await.expect(200).text();
        // $2 of the $17 are on hold: the form, the tile and the sentence leave them out.
        assert!(page.contains(&format!("$5.00 added to {name}; now $15.00")), "{page}");
        assert!(page.contains("<span>Balance</span><b><span class=\"amount\">$15.00"), "{page}");
        assert!(page.contains("<span>On hold</span><b><span class=\"amount\">$2.00"), "{page}");

        let both = "$15.00 available + $2.00 on hold = $17.00, the balance in the journal";
        assert!(page.contains(both), "{page}");
        let overview = root.get("/console?range=7d").await.expect(200).text();
        assert!(overview.contains("<span>Charged calls, 7 d</span>"), "{overview}");

        let lot = "name=x&quota=%241&count=1&reason=a+prize";
        let code = root.send("/console/codes/new", lot).await.expect(200).text();
        let code = between(&code, "id=\"new-codes\">", "<").unwrap();
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let to = user.send("/console/redeem", &format!("code={code}")).await.expect(303);
        let page = user.get(&to.header("location").unwrap()).await.expect(200).text();
        assert!(page.contains("Redeemed: +$1.00; now $16.00"), "{page}");
        let refund = "decision=refund&reason=the+vendor+lost+it";
        root.send("/console/tasks/1/decide", refund).await.expect(303);
        world.close().await;
    }

    async fn a_reversal_is_nothing_but_the_reversal_of_its_line(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/users/{ann}/adjust");
        let quota = world.admin().user_quota(ann).await;
        // What names no line is a form like others: its movement has a name, and is made once.
        let page = root.get(&format!("{path}?reverse=x&amount=2500000q")).await.expect(200).text();
        assert!(!page.contains("This is a reversal"), "{page}");
        let reference = between(&page, "name=\"reference\" value=\"", "\"").unwrap();
        assert!(reference.starts_with("console-"), "{page}");
        let odd = "direction=add&amount=%245&reason=a+slip&reversal_of=x";
        let page = root.send(&path, odd).await.expect(422).text();
        assert!(page.contains("is not the number of a line"), "{page}");
        let reference = between(&page, "name=\"reference\" value=\"", "\"").unwrap();
        assert!(reference.starts_with("console-"), "{page}");
        assert_eq!(world.admin().user_quota(ann).await, quota);

        // Why is asked as for every movement, by the page and by the API.
        let line = world.db.i64("SELECT id FROM logs WHERE type = 'topup' LIMIT 1").await;
        let page = root.get(&format!("{path}?reverse={line}&amount=-500000q")).await;
        assert!(page.expect(200).text().contains("This is a reversal"));
        let bare = format!("direction=take&amount=500000q&below=1&reversal_of={line}");
        let page = root.send(&path, &bare).await.expect(422).text();
        assert!(page.contains("at least 4 characters"), "{page}");
        let quota_of = format!("/api/user/{ann}/quota");
        let bare = json!({ "delta": -500_000, "reversal_of": line });
        let refused = world.admin().try_post(&quota_of, &bare).await;
        let refused = refused.expect(422).text();
        assert!(refused.contains("reason"), "{refused}");
        assert_eq!(world.admin().user_quota(ann).await, quota);
        world.close().await;
    }

    async fn a_refund_is_reversed_and_its_call_costs_that_again(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        admin.put(&format!("/api/user/{ann}"), &json!({ "daily_limit": 1_000 })).await;
        let key = world.key(&crate::world::Payer { id: ann, token_id: 0, key: String::new() },
            json!({ "daily_limit": 1_000 })).await;
        let paid = world.pay("chat", &key).await.expect(200);
        let request = paid.header("x-request-id").unwrap();
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/users/{ann}/adjust");
        let spent = |row: &serde_json::Value| row["daily_left"].as_i64().unwrap();
        let before = admin.user_row(ann).await;
        let form = format!("amount=30q&reason=our+fault&reference=x&refund_of={request}");
        root.send(&path, &form).await.expect(303);
        let refunded = admin.user_row(ann).await;
        assert_eq!(spent(&refunded), spent(&before) + 30);
        let line = world.db.i64("SELECT id FROM logs WHERE type = 'refund'").await;
        let user = format!("/console/users/{ann}");
        let page = root.get(&user).await.expect(200).text();
        let to = reversal_of(&page, line).unwrap_or_else(|| panic!("{page}"));
        let page = root.get(&to).await.expect(200).text();
        assert!(page.contains("value=\"$0.00006\"") && page.contains("costs that again"), "{page}");

        let back = |amount: i64| {
            format!("direction=take&amount={amount}q&reason=a+slip&reversal_of={line}")
        };
        root.send(&path, &back(29)).await.expect(422);
        for word in ["moved", "repeated"] {
            let to = root.send(&path, &back(30)).await.expect(303).header("location").unwrap();
            assert!(to.ends_with(&format!("done={word}")), "{to}");
        }
        let after = admin.user_row(ann).await;
        assert_eq!(after["quota"], before["quota"]);
        assert_eq!(after["used_quota"], before["used_quota"]);
        assert_eq!(spent(&after), spent(&before));
        let of_key = admin.get(&format!("/api/token/{}", key.token_id)).await;
        assert_eq!(spent(&of_key), 1_000 - 80, "{of_key}");
        assert_eq!(admin.user_quota(ann).await, before["quota"].as_i64().unwrap());

        // The call is explained without it, and may be refunded again; no line is offered again.
        let story = root.get(&format!("/api/audit/explain/{request}")).await.expect(200).json();
        let hold = &story["data"]["holds"][0];
        assert_eq!((&hold["charged"], &hold["refunded"]), (&json!(80), &json!(0)), "{hold}");
        let page = root.get(&format!("/console/explain/{request}")).await.expect(200).text();
        assert!(page.contains("amount=80q") && !page.contains("refunded $"), "{page}");
        let page = root.get(&user).await.expect(200).text();
        assert!(page.contains(">reversed<") && reversal_of(&page, line).is_none(), "{page}");
        // Both lines say the model, who moved it and why.
        for words in ["our fault (by root)", &format!("reverses line #{line}: a slip (by root)")] {
            assert!(page.contains(&format!("chat<span class=\"muted\"> · {words}")), "{page}");
        }
        let log = root.get("/console/log?type=refund").await.expect(200).text();
        assert!(log.contains("chat<span class=\"muted\"> · our fault (by root)"), "{log}");
        assert!(!page.contains("Explain</a><"), "{page}");
        let newest = "SELECT id FROM logs WHERE type = 'refund' ORDER BY id DESC LIMIT 1";
        let newest = world.db.i64(newest).await;
        assert!(newest > line && reversal_of(&page, newest).is_none(), "{page}");
        let again = form.replace("30q", "80q").replace("reference=x", "reference=y");
        root.send(&path, &again).await.expect(303);

        // What went back and forth is no call.
        let calls = "SELECT count(*) FROM logs WHERE type = 'consume' AND used_delta <> 0";
        let calls = world.db.i64(calls).await;
        for path in ["usage/table?per=user", "usage/table?per=day", "usage/models"] {
            let rows = admin.get(&format!("/api/{path}")).await;
            let rows = rows.get("rows").unwrap_or(&rows).as_array().unwrap();
            let sum: i64 = rows.iter().map(|row| row["calls"].as_i64().unwrap()).sum();
            assert_eq!(sum, calls, "{path}: {rows:?}");
        }
        world.close().await;
    }
}

on_both_databases! {
    async fn a_refund_is_offered_where_it_can_be_made(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let adam = json!({ "username": "adam", "password": PASSWORD, "role": 10 });
        world.admin().user(adam).await;
        let adam = Browser::login(&world.server, "adam", PASSWORD).await;
        let key = world.admin().key_of(ann, json!({ "name": "k" })).await.key;
        let of_root = world.admin().key_of(1, json!({ "name": "k" })).await.key;
        world.admin().add_quota(1, 1_000, "a test").await;
        let pay = async |key: &str, id: &str| {
            let call = world.server.call("POST", "/pass/chat").key(key).json(&json!({}));
            call.header("X-Request-Id", id).send().await.expect(200);
        };
        let offers = async |browser: &Browser<'_>, id: &str| {
            let page = browser.get(&format!("/console/explain/{id}")).await.expect(200).text();
            let mut offers = page.matches("refund=").count();
            let calls = attributes(&page, "href").into_iter().filter(|to| to.contains("?hold="));
            for to in calls {
                let page = browser.get(&to).await.expect(200).text();
                offers += page.matches("refund=").count();
            }
            offers
        };
        // An administrator refunds those below, as on their pages.
        pay(&of_root, "of-root").await;
        assert_eq!((offers(&root, "of-root").await, offers(&adam, "of-root").await), (1, 0));
        pay(&key, "of-ann").await;
        assert_eq!((offers(&root, "of-ann").await, offers(&adam, "of-ann").await), (1, 1));
        // The same id of two users is two calls, each by its own.
        pay(&of_root, "of-ann").await;
        assert_eq!((offers(&root, "of-ann").await, offers(&adam, "of-ann").await), (2, 1));
        // Of two charges of one user the id alone would mean neither: the ledger refuses it.
        pay(&key, "of-ann").await;
        assert_eq!((offers(&root, "of-ann").await, offers(&adam, "of-ann").await), (3, 2));
        let path = format!("/console/users/{ann}/adjust");
        let form = "amount=1q&reason=our+fault&reference=x&refund_of=of-ann";
        root.send(&path, form).await.expect(422);
        world.close().await;
    }

    async fn a_refund_that_was_spent_is_reversed_below_zero(db: TestDb) {
        let world = World::open(db).await;
        world.model("chat", fixed(80), Reply::result(20, 60)).await;
        world.model("draw", fixed(30), Reply::text("ok")).await;
        let ann = world.payer(80).await;
        let request = world.pay("chat", &ann).await.expect(200).header("x-request-id").unwrap();
        let quota_of = format!("/api/user/{}/quota", ann.id);
        let refund = json!({ "delta": 30, "reason": "our fault", "refund_of": request });
        world.admin().post(&quota_of, &refund).await;
        world.pay("draw", &ann).await.expect(200);
        assert_eq!(world.money(&ann).await.quota, 0);
        let line = "SELECT id FROM logs WHERE type = 'refund'";
        let line = world.db.i64(line).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/users/{}/adjust", ann.id);
        let back = format!("direction=take&amount=30q&reason=a+slip&reversal_of={line}");
        let asked = root.send(&path, &back).await.expect(422).text();
        assert!(asked.contains("would leave −$0.00006"), "{asked}");
        root.send(&path, &format!("{back}&below=1")).await.expect(303);
        let money = world.money(&ann).await;
        assert_eq!((money.quota, money.used), (-30, 110));
        // The books, which every test ends with, know why it is below zero.
        world.close().await;
    }
}
