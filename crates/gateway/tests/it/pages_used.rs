//! What lists say of how much is used: of prices, channels, users and groups.

use crate::pages::{Browser, PASSWORD, between, lively, name_of};
use crate::world::{Payer, World};
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually, json, on_both_databases};

/// The row of a list that begins with this.
fn row(page: &str, start: &str) -> String {
    between(page, start, "</tr>").unwrap_or_else(|| panic!("no {start}: {page}"))
}

/// What lists say of one call of 80 quota.
async fn says_what_was_used(world: &World, ann: i64) {
    let admin = world.admin();
    let price = admin.get("/api/ability?model_name=chat").await[0].clone();
    assert_eq!((&price["channels"], &price["used_30d"]), (&json!(1), &json!(80)), "{price}");
    let pattern = admin.get("/api/ability?model_name=dr*").await[0].clone();
    let demand = (&pattern["channels"], &pattern["used_30d"]);
    assert_eq!(demand, (&json!(1), &json!(0)), "{pattern}");
    let channel = admin.get("/api/channel").await[0].clone();
    assert_eq!(channel["used_today"], 80, "{channel}");
    let users = admin.get("/api/user").await;
    let of_ann = users.as_array().unwrap().iter().find(|user| user["id"] == ann).unwrap();
    assert_eq!(of_ann["used_30d"], 80, "{of_ann}");
    let vip = admin.get("/api/group/vip").await;
    let example = json!({"model_name": "chat", "a_call": null, "prompt_million": 800_000,
        "completion_million": 800_000});
    assert_eq!(vip["example"], example, "{vip}");

    let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
    let prices = root.get("/console/prices").await.expect(200).text();
    let chat = row(&prices, "<a href=\"/console/prices/edit?model=chat\"");
    for part in ["/console/channels?status=1&amp;model=chat\">1<", "\">$0.000160<"] {
        assert!(chat.contains(part), "{part}: {chat}");
    }
    let channels = root.get("/console/channels").await.expect(200).text();
    let today = "data-label=\"Today\">$0.000160</td>";
    assert!(row(&channels, "<tr id=\"channel-1\"").contains(today), "{channels}");
    let users = root.get("/console/users").await.expect(200).text();
    let of_ann = row(&users, &format!("<tr id=\"user-{ann}\""));
    assert!(of_ann.contains("data-label=\"Used 30 d\">$0.000160</td>"), "{of_ann}");
    let groups = root.get("/console/groups").await.expect(200).text();
    assert!(groups.contains("chat: </span>$1.60 / $1.60"), "{groups}");
}

on_both_databases! {
    async fn lists_say_what_was_used_lately(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        admin.price("dr*", json!({"fixed_quota": 7})).await;
        says_what_was_used(&world, ann).await;
        eventually("the lines to be added up", || async {
            let seen = "UPDATE rollup_cursor SET seen_at = '2020-01-01', horizon = 0
                WHERE newest > through";
            if world.db.is_postgres() {
                world.db.execute(seen).await;
            }
            let behind = "SELECT (SELECT max(id) FROM logs WHERE held IS NOT NULL) - through
                FROM rollup_cursor";
            (world.db.i64(behind).await <= 0).then_some(())
        })
        .await;
        says_what_was_used(&world, ann).await;

        // A call of a model that a pattern prices counts to the pattern.
        let ann = Payer { id: ann, token_id: 0, key: String::new() };
        let key = world.key(&ann, json!({})).await;
        world.upstream.on("/draw", Reply::text("drawn"));
        world.pay("draw", &key).await.expect(200);
        let pattern = admin.get("/api/ability?model_name=dr*").await[0].clone();
        assert_eq!(pattern["used_30d"], 7, "{pattern}");
        // What an answer says may be sent back, and is no other price.
        let own = admin.get("/api/ability?model_name=chat").await[0].clone();
        admin.put("/api/ability", &own).await;
        world.close().await;
    }
    async fn pages_say_the_days_that_the_log_is_kept(db: TestDb) {
        let kept = [("CUSTOM_PASS_LOG_RETENTION_DAYS", "10")];
        let world = World::with(db, &kept).await;
        let admin = world.admin();
        world.upstream.on("/chat", Reply::result(20, 60));
        world.channel(&["chat"], json!({})).await;
        admin.price("chat", json!({ "fixed_quota": 7 })).await;
        let ann = world.payer(500).await;
        admin.put(&format!("/api/user/{}", ann.id), &json!({ "password": PASSWORD })).await;
        world.pay("chat", &ann).await.expect(200);
        let name = name_of(&world, ann.id).await;
        let own = format!("/console/users/{}", ann.id);
        let of_root = [("/console", "Spent, 10 d"), ("/console/usage", "10 d"),
            ("/console/users", "Used 10 d"), (&*own, "Spent, 10 d"), ("/console/groups", "chat"),
            ("/console/prices", "Used 10 d"), ("/console/log", "10 d")];
        let of_ann = [("/console", "Spent, 10 d"), ("/console/usage", "10 d"),
            ("/console/prices", "chat"), ("/console/log", "10 d")];
        for (login, password, pages) in
            [("root", ROOT_PASSWORD, &of_root[..]), (&name, PASSWORD, &of_ann[..])]
        {
            let browser = Browser::login(&world.server, login, password).await;
            for (path, words) in pages {
                let page = browser.get(path).await.expect(200).text();
                assert!(page.contains(words), "{login} {path}: {page}");
                for more in ["30 d<", "30 d ", "30 days"] {
                    assert!(!page.contains(more), "{login} {path} says {more}: {page}");
                }
            }
        }
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        // A link that was kept from longer times leads to all that there is.
        for range in ["30d", "7d", "24h"] {
            let page = root.get(&format!("/console?range={range}")).await.expect(200).text();
            let days = if range == "30d" { "10 d" } else { &range.replace('d', " d") };
            let days = days.replace("24h", "24 h");
            assert!(page.contains(&format!("Spent, {days}")), "{range}: {page}");
        }
        let price = "model_name=x*&kind=use&unit=ratio&ratio=2";
        let preview = root.send("/console/prices/preview", price).await.expect(200).text();
        assert!(preview.contains("in the last 10 days"), "{preview}");
        world.close().await;
    }

    async fn groups_are_listed_page_by_page(db: TestDb) {
        let (world, _) = lively(db).await;
        let admin = world.admin();
        for n in 10..40 {
            let user = json!({ "username": format!("of-{n}"), "group": format!("plain-{n}") });
            admin.user(user).await;
        }
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let first = root.get("/console/groups").await.expect(200).text();
        let second = root.get("/console/groups?page=2").await.expect(200).text();
        // `default`, thirty of users, and `vip`, which alone has a ratio.
        assert!(first.contains("1–25 of 32") && second.contains("26–32 of 32"), "{first}");
        for n in 10..40 {
            let row = format!("#f-ratio\">plain-{n}</a>");
            let on = [&first, &second].map(|page| page.matches(&row).count());
            assert_eq!(on, if n < 34 { [1, 0] } else { [0, 1] }, "{row}");
        }
        let vip = row(&second, "<a href=\"/console/groups?edit=vip");
        assert!(vip.contains(">0.8<") && vip.contains("chat: "), "{vip}");
        let plain = row(&second, "<a href=\"/console/groups?name=plain%2D39");
        assert!(plain.contains("?group=plain%2D39\">1</a>") && plain.contains(">1<"), "{plain}");
        // The API has those with a ratio of their own.
        let listed = admin.get("/api/group").await;
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        world.close().await;
    }
}
