//! Forms that are refused say which field it is, and what was saved is what was chosen.

use crate::pages::{Browser, PASSWORD, between, lively, name_of};
use crate::world::World;
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

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
        let first = "<a href=\"#f-daily_limit\">Daily limit</a>: must be dollars";
        assert!(page.contains(first), "{page}");
        for name in ["quota", "daily_limit", "username"] {
            assert!(input(&page, name).contains("aria-invalid=\"true\""), "{name}: {page}");
        }
        let password = input(&page, "password");
        assert!(password.contains("required") && !page.contains("a good password"), "{page}");
        assert!(page.contains("type it again: it does not come back with the page"), "{page}");
        let users = "SELECT count(*) FROM users WHERE username = 'ann'";
        assert_eq!(world.db.i64(users).await, 0);
        let page = root.send("/console/users/new", &form.replace("five", "%245")).await.expect(303);
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
        root.send(&path, "name=k&expired_time=").await.expect(303);
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

        root.send("/console/prices/edit", &format!("kind=call&{both}")).await.expect(303);
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
        let form = "kind=use&unit=usd&model_name=u&prompt_million=&units=%7B%22images%22%3A8%7D";
        root.send("/console/prices/edit", form).await.expect(303);
        let price = world.admin().get("/api/ability/u").await;
        assert_eq!((&price["units"], &price["ratio"]), (&json!({"images": 8}), &json!(null)));

        let free = "kind=use&unit=usd&model_name=n&prompt_million=0";
        let refused = root.send("/console/prices/edit", free).await.expect(422).text();
        assert!(refused.contains("without a price the model is free"), "{refused}");
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
