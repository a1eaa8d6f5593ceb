//! Limits on what is spent in a day and in a month, of users and of keys.

use crate::world::{Money, Payer, World, by_use, fixed};
use testkit::{Admin, Reply, TestDb, eventually, json, on_both_databases};

/// A day of another month that is over.
const LONG_AGO: u32 = 20_000_115;

/// Tomorrow. A count that has begun on it stays there today, so midnight can't fall into a test.
fn tomorrow() -> jiff::civil::Date {
    jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date().tomorrow().unwrap()
}

fn counted_day() -> String {
    tomorrow().strftime("%Y%m%d").to_string()
}

/// Lets the counts of a user and of the user's keys begin tomorrow.
async fn count_tomorrow(world: &World, payer: &Payer) {
    let (id, day) = (payer.id, counted_day());
    for sql in [
        format!("UPDATE users SET spent_on = {day} WHERE id = {id}"),
        format!("UPDATE tokens SET spent_on = {day} WHERE user_id = {id}"),
    ] {
        world.db.execute(&sql).await;
    }
}

/// A user with limits, whose day is today.
async fn limited(world: &World, quota: i64, limits: serde_json::Value) -> Payer {
    let payer = world.payer(quota).await;
    world.admin().put(&format!("/api/user/{}", payer.id), &limits).await;
    count_tomorrow(world, &payer).await;
    payer
}

/// Pays so often at once; returns how many were answered 200.
async fn storm(world: &World, payer: &Payer, calls: usize) -> usize {
    let calls = (0..calls).map(|_| world.pay("m", payer));
    let answers = futures_util::future::join_all(calls).await;
    let (paid, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    for answer in refused {
        answer.expect_error(402, "SPENDING_LIMIT");
    }
    paid.len()
}

on_both_databases! {
    async fn a_users_limits_reset(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(60), Reply::text("x")).await;
        world.model("fails", fixed(60), Reply::failure(7, "no")).await;
        let ann = limited(&world, 10_000, json!({"daily_limit": 130})).await;

        world.pay("fails", &ann).await.expect(200);
        world.pay("m", &ann).await.expect(200);
        world.pay("m", &ann).await.expect(200);
        let refused = world.pay("m", &ann).await.expect_error(402, "SPENDING_LIMIT");
        let text = refused.text();
        let resets = format!("{} 00:00 UTC", tomorrow().tomorrow().unwrap());
        for said in ["用户每日消费限额不足", "60 needed, 10 left", &resets] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert_eq!(world.upstream.count(), 3, "the upstream hears nothing of it");

        assert_eq!(world.money(&ann).await, Money { quota: 9_880, used: 120, calls: 2 });

        // The spent day has passed; and the monthly limit is reached before the daily one.
        let bob = world.payer(10_000).await;
        world.db.execute(&format!(
            "UPDATE users SET daily_limit = 100, monthly_limit = 70, spent_on = {LONG_AGO},
                    spent_day = 100, spent_month = 100 WHERE id = {}", bob.id
        )).await;
        world.pay("m", &bob).await.expect(200);
        let refused = world.pay("m", &bob).await.expect_error(402, "SPENDING_LIMIT");
        assert!(refused.text().contains("每月"), "{}", refused.text());

        // Who is not limited is not counted.
        let eve = world.payer(100).await;
        world.pay("m", &eve).await.expect(200);
        let count = "SELECT count(*) FROM users WHERE spent_on IS NOT NULL";
        assert_eq!(world.db.i64(count).await, 2);
        world.close().await;
    }

    async fn a_count_of_a_clock_gone_wrong_is_not_believed(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(60), Reply::text("x")).await;
        let ann = world.payer(1_000).await;
        world.admin().put(&format!("/api/user/{}", ann.id), &json!({"daily_limit": 100})).await;
        // One call while the clock said 2030, with all the day spent.
        world.db.execute(&format!(
            "UPDATE users SET spent_on = 20300602, spent_day = 100, spent_month = 100
             WHERE id = {}", ann.id
        )).await;
        world.pay("m", &ann).await.expect(200);
        world.pay("m", &ann).await.expect_error(402, "SPENDING_LIMIT");

        // A count that was spoilt by hand is added up again from the journal.
        let spoil = format!("UPDATE users SET spent_day = 100 WHERE id = {}", ann.id);
        world.db.execute(&spoil).await;
        assert_eq!(world.server.cli(&["audit"]).await.status.code(), Some(1));
        let id = ann.id.to_string();
        let printed = world.server.cli_ok(&["user", "recount", &id]).await;
        assert!(printed.contains("40 of 100 today"), "{printed}");
        world.close().await;
    }

    async fn limits_hold_for_many_calls_at_once(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(7), Reply::text("x")).await;
        let ann = limited(&world, 10_000, json!({"monthly_limit": 15 * 7 + 6})).await;
        let small = world.key(&ann, json!({"daily_limit": 4 * 7})).await;
        count_tomorrow(&world, &ann).await;

        assert_eq!(storm(&world, &small, 20).await, 4);
        assert_eq!(storm(&world, &ann, 40).await, 11);
        assert_eq!(world.money(&ann).await, Money { quota: 9_895, used: 105, calls: 15 });
        let refused = world.pay("m", &small).await.expect_error(402, "SPENDING_LIMIT");
        assert!(refused.text().contains("用户每月"), "the user's comes first: {}", refused.text());
        world.close().await;
    }

    async fn a_keys_limit_set_with_sql_is_live(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::result(20, 30)).await;
        let ann = world.payer(10_000).await;
        let small = world.key(&ann, json!({})).await;
        world.pay("m", &small).await.expect(200);
        let limit = |sql: &str| {
            let (day, id) = (counted_day(), small.token_id);
            format!("UPDATE tokens SET {sql}, spent_on = {day} WHERE id = {id}")
        };

        // What was spent before there was a limit is not counted.
        world.db.execute(&limit("daily_limit = 50")).await;
        let path = format!("/api/token/{}", small.token_id);
        eventually("the key's limit to be counted", || async {
            world.pay("m", &small).await;
            let left = world.admin().get(&path).await["daily_left"].as_i64();
            (left == Some(0)).then_some(())
        })
        .await;
        let refused = world.pay("m", &small).await.expect_error(402, "SPENDING_LIMIT");
        assert!(refused.text().contains("令牌每日"), "{}", refused.text());
        world.pay("m", &ann).await.expect(200);
        world.db.execute(&limit("daily_limit = NULL")).await;
        world.pay("m", &small).await.expect(200);
        world.close().await;
    }

    async fn who_is_limited_sees_what_is_left(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(100_000), Reply::text("x")).await;
        let limits = json!({"daily_limit": 250_000, "monthly_limit": 1_000_000});
        let ann = limited(&world, 5_000_000, limits).await;
        let key = world.key(&ann, json!({"monthly_limit": 150_000})).await;
        count_tomorrow(&world, &ann).await;
        world.pay("m", &key).await.expect(200);

        let renewed = world.admin().post(&format!("/api/user/{}/token", ann.id), &json!({})).await;
        let own = Admin::new(world.server.addr(), renewed.as_str().unwrap());
        let seen = own.get("/api/user/self").await;
        let left = |row: &serde_json::Value| {
            (row["daily_left"].clone(), row["monthly_left"].clone())
        };
        assert_eq!(left(&seen), (json!(150_000), json!(900_000)));
        let path = format!("/api/token/{}", key.token_id);
        let seen = own.get(&path).await;
        assert_eq!(left(&seen), (json!(null), json!(50_000)));
        // Dollars: what there was in all, and what of it may be spent now.
        let subscription = "/v1/dashboard/billing/subscription";
        let answer = world.server.call("GET", subscription).key(&key.key).send().await;
        let answer = answer.expect(200).json();
        assert_eq!((&answer["hard_limit_usd"], &answer["system_hard_limit_usd"]),
            (&json!(0.3), &json!(10)));

        // A key's limits are its owner's business, a user's are not.
        own.put(&path, &json!({"monthly_limit": null, "daily_limit": 0})).await;
        let seen = own.get(&path).await;
        assert_eq!(left(&seen), (json!(null), json!(null)));
        let user = format!("/api/user/{}", ann.id);
        own.call("PUT", &user).json(&json!({"daily_limit": 0})).send().await.expect(403);
        world.close().await;
    }
}
