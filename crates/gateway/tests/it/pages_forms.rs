//! Forms that are refused say which field it is, and what was saved is what was chosen.

use crate::pages::{Browser, PASSWORD, between, lively, name_of};
use crate::pages_protocols::form as encoded;
use crate::world::{World, fixed};
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

/// The input of a form, as it stands on the page.
fn input(page: &str, name: &str) -> String {
    between(page, &format!("<input id=\"f-{name}\""), ">").unwrap_or_default()
}

on_both_databases! {
    async fn a_refused_form_marks_the_field_and_asks_for_the_password_again(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let form = "username=ann&password=a+good+password&quota=five&ratio=1&group=default&role=1";
        let wrong = form.replace("ann", "").replace("ratio", "daily_limit=x&ratio");
        let page = root.send("/console/users/new", &wrong).await.expect(422).text();
        let first = "<a href=\"#f-daily_limit\">Daily limit</a>: must be an amount";
        assert!(page.contains(first), "{page}");
        for name in ["quota", "daily_limit", "username"] {
            assert!(input(&page, name).contains("aria-invalid=\"true\""), "{name}: {page}");
        }
        let password = input(&page, "password");
        assert!(password.contains("required") && !page.contains("a good password"), "{page}");
        assert!(page.contains("type it again: it does not come back with the page"), "{page}");
        let users = "SELECT count(*) FROM users WHERE username = 'ann'";
        assert_eq!(world.db.i64(users).await, 0);
        let five = form.replace("five", "%245");
        let page = root.send("/console/users/new", &five).await.expect(422).text();
        assert!(input(&page, "reason").contains("aria-invalid"), "{page}");
        let five = format!("{five}&reason=the+pilot");
        let page = root.send("/console/users/new", &five).await.expect(303);
        let made = root.get(&page.header("location").unwrap()).await.expect(200).text();
        assert!(!made.contains("No ratio and no channel knows"), "default is known: {made}");
        let odd = "username=bob&ratio=1&group=vpi&role=1";
        let page = root.send("/console/users/new", odd).await.expect(303);
        let made = root.get(&page.header("location").unwrap()).await.expect(200).text();
        assert!(made.contains("No ratio and no channel knows the group vpi"), "{made}");
        world.close().await;
    }

    async fn a_key_is_made_for_a_user_by_name_until_a_day(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let form = root.get("/console/keys/new").await.expect(200).text();
        assert!(form.contains(&format!("<option value=\"{name}\">")), "{form}");
        let none = root.send("/console/keys/new", "name=k&user_id=nobody").await.expect(422);
        let none = none.text();
        assert!(input(&none, "user_id").contains("aria-invalid"), "{none}");
        let made = format!("name=k&user_id={name}&expired_time=2099-01-02T03:04");
        root.send("/console/keys/new", &made).await.expect(200);
        let key = "SELECT id, user_id FROM tokens WHERE name = 'k'";
        let row = world.db.row(key).await;
        assert_eq!(row.i64("user_id"), ann);
        let path = format!("/console/keys/{}/edit", row.i64("id"));
        let page = root.get(&path).await.expect(200).text();
        assert!(input(&page, "expired_time").contains("value=\"2099-01-02T03:04\""), "{page}");
        let opened = between(&page, "name=\"opened\" value=\"", "\"").unwrap();
        let never = format!("name=k&expired_time=&opened={opened}");
        root.send(&path, &never).await.expect(303);
        let told = world.admin().get(&format!("/api/token/{}", row.i64("id"))).await;
        assert_eq!(told["expired_time"], -1, "{told}");

        // A user's own: there is no choice of an owner.
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let own = user.get("/console/keys/new").await.expect(200).text();
        assert!(!own.contains("known-users"), "{own}");
        world.close().await;
    }

    async fn a_price_is_by_use_or_per_call_and_typed_in_dollars(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let both = "model_name=m&unit=usd&prompt_million=%243&completion_million=15\
            &cached_million=0.3&fixed_quota=%241&min_hold=%240.01";
        root.send("/console/prices/edit", &format!("kind=use&{both}")).await.expect(303);
        let price = world.admin().get("/api/ability/m").await;
        let ratios = [&price["ratio"], &price["completion_ratio"], &price["cache_ratio"]];
        assert_eq!(ratios, [&json!(1.5), &json!(5), &json!(0.1)], "{price}");
        assert_eq!((&price["fixed_quota"], &price["min_hold"]), (&json!(null), &json!(5_000)));
        let page = root.get("/console/prices/edit?model=m").await.expect(200).text();
        assert!(input(&page, "completion_million").contains("value=\"$15.00\""), "{page}");
        let chosen = |page: &str, value: &str| page.contains(&format!("value=\"{value}\" checked"));
        assert!(chosen(&page, "use") && chosen(&page, "usd"), "{page}");

        // A form that has not seen this price says what it would replace, and asks.
        let again = format!("kind=call&{both}");
        let asked = root.send("/console/prices/edit", &again).await.expect(409).text();
        assert!(asked.contains("m has a price already, which this replaces"), "{asked}");
        assert!(asked.contains(">1.5 ($3.00/M)</span> → "), "{asked}");
        assert_eq!(world.admin().get("/api/ability/m").await["ratio"], 1.5);
        assert!(chosen(&asked, "call"), "what was typed stands in it: {asked}");
        let seen = between(&asked, "name=\"replaces\" value=\"", "\"").unwrap();
        world.admin().price("m", json!({ "ratio": 2, "completion_ratio": 5 })).await;
        let stale = format!("{again}&replaces={seen}");
        let asked = root.send("/console/prices/edit", &stale).await.expect(409).text();
        assert!(asked.contains(">2 ($4.00/M)</span> → "), "changed meanwhile: {asked}");
        let seen = between(&asked, "name=\"replaces\" value=\"", "\"").unwrap();
        let sure = format!("{again}&replaces={seen}");
        root.send("/console/prices/edit", &sure).await.expect(303);
        let price = world.admin().get("/api/ability/m").await;
        assert_eq!((&price["fixed_quota"], &price["ratio"]), (&json!(500_000), &json!(null)));
        let page = root.get("/console/prices/edit?model=m").await.expect(200).text();
        assert!(chosen(&page, "call"), "{page}");

        // Ratios that dollars would round stay ratios.
        world.admin().price("m", json!({ "ratio": "0.000001", "completion_ratio": 0.1 })).await;
        let page = root.get("/console/prices/edit?model=m").await.expect(200).text();
        assert!(chosen(&page, "ratio") && !chosen(&page, "usd"), "{page}");
        // A price of units alone is by use, without a price of tokens.
        let units = json!({ "ratio": null, "units": { "images": 7 } });
        world.admin().price("u", units).await;
        let page = root.get("/console/prices/edit?model=u").await.expect(200).text();
        assert!(chosen(&page, "use"), "{page}");
        // The form that shows a price says what changes, once, before it is saved.
        let opened = between(&page, "name=\"opened\" value=\"", "\"").unwrap();
        let form = "kind=use&unit=usd&model_name=u&prompt_million=&units=%7B%22images%22%3A8%7D";
        let form = format!("{form}&opened={opened}");
        let asked = root.send("/console/prices/edit", &form).await.expect(200).text();
        assert!(asked.contains("The price of u becomes:"), "{asked}");
        assert_eq!(world.admin().get("/api/ability/u").await["units"], json!({"images": 7}));
        let seen = between(&asked, "name=\"replaces\" value=\"", "\"").unwrap();
        root.send("/console/prices/edit", &format!("{form}&replaces={seen}")).await.expect(303);
        let price = world.admin().get("/api/ability/u").await;
        assert_eq!((&price["units"], &price["ratio"]), (&json!({"images": 8}), &json!(null)));

        let free = "kind=use&unit=usd&model_name=n&prompt_million=0";
        let refused = root.send("/console/prices/edit", free).await.expect(422).text();
        assert!(refused.contains("a model without a price is free, or refused"), "{refused}");
        world.close().await;
    }
}

on_sqlite! {
    async fn a_private_address_is_said_when_it_is_saved_and_tested(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let form = "base_url=http%3A%2F%2F10.1.2.3%3A8443&models=m&groups=default&key=k";
        let made = root.send("/console/channels/new", form).await.expect(303);
        let to = made.header("location").unwrap();
        let page = root.get(&to).await.expect(200).text();
        assert!(page.contains("http://10.1.2.3:8443 is a private address"), "{page}");
        let path = to.split('?').next().unwrap();
        let test = root.send(&format!("{path}/test"), "model=m").await.expect(200).text();
        let words = "10.1.2.3 is a private address: allow it with the setting UPSTREAM_ALLOW_NETS";
        assert!(test.contains(words), "{test}");
        let list = root.get("/console/channels").await.expect(200).text();
        assert!(list.contains(">10.1.2.3:8443</a>") && list.contains("private address"), "{list}");
        world.close().await;
    }
}

on_both_databases! {
    async fn an_amount_is_what_its_writer_means_or_none(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let quota = world.admin().user_quota(ann).await;
        let path = format!("/console/users/{ann}/adjust");
        let name = name_of(&world, ann).await;
        let form = |way: &str, amount: &str| {
            encoded(&[("direction", way), ("amount", amount), ("reason", "a prize"),
                ("reference", amount), ("below", "1"), ("username", &name)])
        };
        // A sign is no direction, a comma no point, and nothing is none.
        let wrong =
            ["-5", "+5", "−5", "-$5", "$-5", "-5q", "0,50", "0,150", "1,5", "1 000", "$0"];
        for amount in wrong {
            for way in ["take", "add"] {
                let page = root.send(&path, &form(way, amount)).await.expect(422).text();
                assert!(input(&page, "amount").contains("aria-invalid"), "{amount}: {page}");
                assert!(page.contains("<a href=\"#f-amount\">Amount</a>"), "{amount}: {page}");
            }
        }
        assert_eq!(world.admin().user_quota(ann).await, quota);
        root.send(&path, &form("add", "$1,234.5")).await.expect(303);
        assert_eq!(world.admin().user_quota(ann).await, quota + 617_250_000);
        root.send(&path, &form("take", "617,250,000 q")).await.expect(303);
        assert_eq!(world.admin().user_quota(ann).await, quota);

        let price = |of: &str| format!("kind=use&unit=usd&model_name=n&prompt_million={of}");
        let page = root.send("/console/prices/edit", &price("0%2C15")).await.expect(422).text();
        assert!(input(&page, "prompt_million").contains("aria-invalid"), "{page}");
        let ratio = "kind=use&unit=ratio&model_name=n&ratio=0%2C5";
        let page = root.send("/console/prices/edit", ratio).await.expect(422).text();
        assert!(input(&page, "ratio").contains("aria-invalid"), "{page}");
        for (path, form, field) in [
            ("/console/keys/new", "name=k&rate_limit_rpm=1%2C000", "rate_limit_rpm"),
            ("/console/keys/new", "name=k&remain_quota=0%2C5", "remain_quota"),
            ("/console/keys/new", "name=k&daily_limit=-5", "daily_limit"),
            ("/console/codes/new", "quota=%245&count=1%2C0&reason=a+prize", "count"),
            ("/console/codes/new", "quota=0%2C5&count=1&reason=a+prize", "quota"),
            ("/console/account/low-balance", "threshold=0%2C5", "threshold"),
        ] {
            let page = root.send(path, form).await.expect(422).text();
            assert!(input(&page, field).contains("aria-invalid"), "{path} {field}: {page}");
        }
        world.close().await;
    }

    async fn a_form_asks_and_warns_in_time(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        // Who may not change a user learns it before typing.
        let adam = json!({ "username": "adam", "password": PASSWORD, "role": 10 });
        world.admin().user(adam).await;
        let adam = Browser::login(&world.server, "adam", PASSWORD).await;
        for form in ["edit", "adjust"] {
            adam.get(&format!("/console/users/1/{form}")).await.expect(403);
            adam.get(&format!("/console/users/{ann}/{form}")).await.expect(200);
        }
        // A deletion asks by a page, where no script has asked.
        let prices = "SELECT count(*) FROM abilities WHERE model_name = 'chat'";
        let list = root.get("/console/prices").await.expect(200).text();
        assert!(list.contains("name=\"asks\" value=\"Delete the price of chat?"), "{list}");
        let delete = "/console/prices/delete?model=chat";
        let page = root.send(delete, "asks=Delete+it%3F").await.expect(200).text();
        assert!(page.contains("Delete it?") && page.contains(delete), "{page}");
        assert!(!page.contains("name=\"asks\""), "{page}");
        assert_eq!(world.db.i64(prices).await, 1);
        root.send(delete, "").await.expect(303);
        assert_eq!(world.db.i64(prices).await, 0);
        // A form in which nothing was typed has nothing wrong with it.
        let preview = "/console/prices/preview";
        let empty = root.send(preview, "kind=use&unit=usd&prompt_tokens=1000").await.expect(200);
        assert_eq!(empty.text(), "");
        let typed = root.send(preview, "kind=use&unit=usd&prompt_million=x").await.expect(200);
        assert!(typed.text().contains("Prompt $/M"), "{}", typed.text());
        // Names that nothing knows are said, and saved.
        let form = "name=k&group=vpi&models=draw%2Cdrwa";
        let made = root.send("/console/keys/new", form).await.expect(200).text();
        for words in ["knows the group vpi", "No enabled channel serves: drwa<"] {
            assert!(made.contains(words), "{words}: {made}");
        }
        // Events are boxes to tick.
        let page = root.get("/console/webhooks/new").await.expect(200).text();
        assert_eq!(page.matches("type=\"checkbox\" name=\"events\"").count(), 3, "{page}");
        let form = "url=https%3A%2F%2Fu.example%2Fhook&events=task.failed&events=balance.low";
        root.send("/console/webhooks/new", form).await.expect(200);
        let made = world.admin().get("/api/webhook").await;
        let events = &made[0]["events"];
        assert_eq!(events, &json!(["task.failed", "balance.low"]), "{made}");
        let page = root.get("/console/webhooks/1/edit").await.expect(200).text();
        assert_eq!(page.matches(" checked>").count(), 2, "{page}");
        world.close().await;
    }

    async fn a_form_that_is_sent_again_makes_nothing_twice(db: TestDb) {
        let (world, _) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let channel = "name=twice&base_url=http%3A%2F%2Fu.example&models=a";
        for (path, refused, form, table) in [
            ("channels", "base_url=nowhere&models=a", channel, "channels"),
            ("keys", "name=k&user_id=nobody", "name=twice", "tokens"),
            ("webhooks", "url=nowhere", "url=https%3A%2F%2Fu.example%2Fhook", "webhook_endpoints"),
        ] {
            let count = format!("SELECT count(*) FROM {table}");
            let before = world.db.i64(&count).await;
            let path = format!("/console/{path}/new");
            let page = root.get(&path).await.expect(200).text();
            let token = between(&page, "name=\"once\" value=\"", "\"").unwrap();
            // What is refused may be mended and sent again.
            root.send(&path, &format!("once={token}&{refused}")).await.expect(422);
            let form = format!("once={token}&{form}");
            let made = root.send(&path, &form).await;
            assert!([200, 303].contains(&made.status), "{path}: {}", made.text());
            let again = root.send(&path, &form).await.expect(303).header("location").unwrap();
            assert!(again.ends_with("done=made-before"), "{again}");
            let page = root.get(&again).await.expect(200).text();
            assert!(page.contains("This form was sent before"), "{page}");
            assert_eq!(world.db.i64(&count).await, before + 1, "{path}");
            let fresh = root.get(&path).await.expect(200).text();
            assert!(!fresh.contains(&token), "{fresh}");
        }
        world.close().await;
    }

    async fn a_complaint_stands_at_its_form_and_leads_to_its_field(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let adjust = format!("/console/users/{ann}/adjust");
        let line = world.db.i64("SELECT id FROM logs WHERE type = 'topup' LIMIT 1").await;
        let reversal = format!("amount=%241&direction=take&reversal_of={line}&reason=a+slip");
        let foreign = "amount=%241&direction=add&reversal_of=999999&reason=a+slip";
        let long = "x".repeat(999);
        let reference = format!("amount=%241&direction=add&reason=a+prize&reference={long}");
        for (path, form) in [
            (&*adjust, "amount=%240&direction=add&reason=a+prize&reference=r"),
            (&*adjust, &*reversal),
            (&*adjust, foreign),
            (&*adjust, &*reference),
            ("/console/account/low-balance", "threshold=five"),
            ("/console/account/token", "password=wrong"),
            ("/console/account/password", "old_password=x&new_password=y&again=z"),
            ("/console/channels/new", "base_url=nowhere&models=a"),
            (
                "/console/channels/new",
                "base_url=http%3A%2F%2Fx&models=a&setting=%7B%22timeout%22%3A-1%7D",
            ),
            ("/console/prices/edit", "model_name=m&ratio=x"),
            ("/console/prices/edit", "model_name=m&kind=call&units=%7B%7D&tiers=5"),
            ("/console/prices/paste", "csv="),
            ("/console/prices/paste", "csv=model_name%2Cprice%0Aa%2C1"),
            ("/console/users/new", "username=%20&ratio=1"),
            ("/console/keys/new", "name=k&user_id=nobody"),
            ("/console/codes/new", "quota=%245&count=1&reason=%20%20%20%20"),
            ("/console/groups", "group_name=&ratio=1"),
            ("/console/webhooks/new", "url=nowhere"),
            ("/console/redeem", "code=x"),
        ] {
            let page = root.send(path, form).await.expect(422).text();
            let complaint = between(&page, "class=\"complaint\"", "</p>").unwrap();
            if let Some(field) = between(&complaint, "href=\"#", "\"") {
                let at = page.find(&format!("id=\"{field}\""));
                let at = at.unwrap_or_else(|| panic!("{path} {form}: no {field} in {page}"));
                let complained = page.find("class=\"complaint\"").unwrap();
                let begins = page[..at].rfind("<form").unwrap();
                assert!(complained > begins, "{path} {form}: above another form: {page}");
            }
        }
        world.close().await;
    }

    async fn a_decision_about_a_task_says_what_it_moves_and_why(db: TestDb) {
        let world = World::open(db).await;
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
        world.model("img/submit", fixed(40), taken).await;
        world.upstream.on(
            "/img/task/list-by-condition",
            Reply::raw_json(r#"{"code":0,"data":[{"task_id":"up-1","status":"running"}]}"#),
        );
        let ann = world.payer(100).await;
        let name = name_of(&world, ann.id).await;
        world.pay("img/submit", &ann).await.expect(200);
        world.pay("img/submit", &ann).await.expect(200);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let user = root.get(&format!("/console/users/{}", ann.id)).await.expect(200).text();
        assert!(user.contains("<span>On hold</span><b><span class=\"amount\">$0.00016"), "{user}");

        let page = root.get("/console/tasks/1").await.expect(200).text();
        assert!(page.contains("/console/tasks/1/decide?decision=settle"), "{page}");
        let page = root.get("/console/tasks/1/decide?decision=settle").await.expect(200).text();
        let button = format!("Charge $0.00008 to {name}");
        for words in ["Balance now", "$0.00004", &button] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let page = root.get("/console/tasks/1/decide?decision=refund").await.expect(200).text();
        let button = format!("Give $0.00008 back to {name}");
        for words in ["Balance then", "$0.00012", &button] {
            assert!(page.contains(words), "{words}: {page}");
        }
        root.get("/console/tasks/1/decide?decision=other").await.expect(400);
        // Blanks are no reason, and what was chosen stays.
        let none = "decision=refund&reason=++++";
        let page = root.send("/console/tasks/1/decide", none).await.expect(422).text();
        assert!(input(&page, "reason").contains("aria-invalid"), "{page}");
        assert!(page.contains(&button), "{page}");
        assert_eq!(world.open_holds().await, 2);
        let refund = "decision=refund&reason=the+vendor+lost+it";
        root.send("/console/tasks/1/decide", refund).await.expect(303);
        assert_eq!(world.money(&ann).await.quota, 60);
        // It has ended: the page says so, with what was typed.
        let page = root.send("/console/tasks/1/decide", refund).await.expect(422).text();
        assert!(page.contains("the task has ended already"), "{page}");
        assert!(input(&page, "reason").contains("the vendor lost it"), "{page}");
        let settle = "decision=settle&reason=the+vendor+billed+it";
        root.send("/console/tasks/2/decide", settle).await.expect(303);
        assert_eq!(world.money(&ann).await.quota, 60);
        assert_eq!(world.money(&ann).await.used, 40);
        world.close().await;
    }

    async fn a_first_deposit_and_a_lot_of_codes_have_a_reason(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let ann = "username=ann&ratio=1&group=default&role=1&quota=%245&reason=the+pilot";
        let to = root.send("/console/users/new", ann).await.expect(303).header("location").unwrap();
        let page = root.get(&to).await.expect(200).text();
        assert!(page.contains("first deposit: the pilot (by root)"), "{page}");
        // Who gets nothing needs none.
        root.send("/console/users/new", "username=bob&ratio=1&group=default&role=1").await
            .expect(303);
        let codes = "name=spring&quota=%245&count=1000&expired_time=2099-01-02T03:04";
        root.send("/console/codes/new", codes).await.expect(422);
        let made = root.send("/console/codes/new", &format!("{codes}&reason=the+fair")).await;
        made.expect(200);
        let lot = "SELECT count(*) AS codes, min(quota) AS each FROM redemptions";
        let lot = world.db.row(lot).await;
        assert_eq!((lot.i64("codes"), lot.i64("each")), (1_000, 2_500_000));
        let actions = root.get("/console/actions").await.expect(200).text();
        assert!(actions.contains("reason: the fair"), "{actions}");
        let list = root.get("/console/codes").await.expect(200).text();
        assert!(list.contains("2099-01-02"), "{list}");
        world.close().await;
    }
}
