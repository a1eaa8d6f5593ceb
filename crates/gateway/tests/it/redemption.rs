//! Redemption codes: each is credited exactly once, under concurrent attempts and crashes.

use crate::world::{Payer, World, node};
use testkit::{Admin, Answer, Server, TestDb, json, on_both_databases};
use tokio::task::JoinSet;

/// A user who redeems codes, and their access token.
#[derive(Clone)]
struct Redeemer {
    payer: Payer,
    access_token: String,
}

impl Redeemer {
    async fn new(world: &World, quota: i64) -> Self {
        let payer = world.payer(quota).await;
        let shown = world.admin().post(&format!("/api/user/{}/token", payer.id), &json!({})).await;
        Self { payer, access_token: shown.as_str().unwrap().to_owned() }
    }

    async fn redeem(&self, server: &Server, code: &str) -> Answer {
        let own = Admin::new(server.addr(), &self.access_token);
        own.try_post("/api/user/topup", &json!({ "key": code })).await
    }
}

async fn codes(world: &World, body: serde_json::Value) -> Vec<String> {
    let made = world.admin().post("/api/redemption/", &body).await;
    made.as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

/// What the journal paid for codes, and what the codes say was redeemed.
async fn paid_and_redeemed(world: &World) -> (i64, i64) {
    let paid = "SELECT CAST(coalesce(sum(delta), 0) AS bigint) FROM logs \
                WHERE type = 'topup' AND content LIKE 'redemption #%'";
    let redeemed = "SELECT CAST(coalesce(sum(quota), 0) AS bigint) FROM redemptions \
                    WHERE status = 3";
    (world.db.i64(paid).await, world.db.i64(redeemed).await)
}

on_both_databases! {
    async fn a_code_is_shown_once_and_pays_once(db: TestDb) {
        let world = World::open(db).await;
        let (ann, bob) = (Redeemer::new(&world, 100).await, Redeemer::new(&world, 0).await);
        let made = codes(&world, json!({"name": "spring", "quota": 500, "count": 2})).await;
        assert_eq!(made.len(), 2);
        assert_ne!(made[0], made[1]);

        let shown = ann.redeem(&world.server, &format!(" {}\n", made[0])).await.expect(200).json();
        assert_eq!((&shown["success"], &shown["data"]), (&json!(true), &json!(500)));
        assert_eq!(world.money(&ann.payer).await.quota, 600);
        bob.redeem(&world.server, &made[0]).await.expect(409);
        assert_eq!(world.money(&bob.payer).await.quota, 0);
        // Who lost the answer asks again, and gets it.
        let again = ann.redeem(&world.server, &made[0]).await.expect(200).json();
        assert_eq!(again["data"], 500);
        assert!(again["message"].as_str().unwrap().contains("nothing moved"), "{again}");
        assert_eq!(world.money(&ann.payer).await.quota, 600);

        let listed = world.admin().envelope("/api/redemption/?keyword=SPRING&p=1").await;
        assert_eq!(listed["total"], 2);
        let (open, redeemed) = (&listed["data"][0], &listed["data"][1]);
        assert_eq!((&open["status"], &open["used_user_id"]), (&json!(1), &json!(0)));
        assert_eq!(redeemed["status"], 3);
        assert_eq!(redeemed["used_user_id"], ann.payer.id);
        assert!(redeemed["redeemed_time"].as_i64().unwrap() > 0);
        assert!(!made.iter().any(|code| listed.to_string().contains(code)), "{listed}");
        let line = world.db.row("SELECT content, other FROM logs WHERE content LIKE 'redempt%'");
        let (line, id) = (line.await, &redeemed["id"]);
        assert!(line.text("content").starts_with(&format!("redemption #{id} spring (by ")));
        let log = world.admin().get("/api/log?type=topup").await;
        assert_eq!(log[0]["other"]["redemption_id"], *id, "{log}");
        world.close().await;

        // A code marked as redeemed by hand credited no user, and the audit reports it.
        let now = if world.db.is_postgres() { "now()" } else { "4000000000000" };
        let mark = format!(
            "UPDATE redemptions SET status = 3, redeemed_by = {}, redeemed_at = {now} \
             WHERE status = 1",
            bob.payer.id
        );
        world.db.execute(&mark).await;
        let audit = world.server.cli(&["audit"]).await;
        assert!(!audit.status.success());
        let said = String::from_utf8_lossy(&audit.stdout);
        assert!(said.contains("a redeemed code has its topup line"), "{said}");
    }

    async fn of_all_who_try_at_once_one_wins(db: TestDb) {
        let world = World::open(db).await;
        let second = if world.db.is_postgres() { Some(node(&world.db, &[]).await) } else { None };
        let made = codes(&world, json!({"quota": 7, "count": 4})).await;
        let mut people = Vec::new();
        for _ in 0..3 {
            people.push(Redeemer::new(&world, 0).await);
        }
        let doors = [Some(&world.server), second.as_ref()];
        let doors: Vec<&Server> = doors.into_iter().flatten().collect();

        let mut tries = JoinSet::new();
        for code in &made {
            for person in &people {
                for attempt in 0..2 {
                    let addr = doors[attempt % doors.len()].addr();
                    let own = Admin::new(addr, &person.access_token);
                    let body = json!({ "key": code });
                    tries.spawn(async move {
                        let answer = own.try_post("/api/user/topup", &body).await;
                        let moved = answer.status == 200 && answer.json()["message"] == "";
                        (answer.status, moved)
                    });
                }
            }
        }
        let answers = tries.join_all().await;

        assert_eq!(answers.iter().filter(|(_, moved)| *moved).count(), made.len(), "{answers:?}");
        assert!(answers.iter().all(|(status, _)| [200, 409].contains(status)), "{answers:?}");
        assert_eq!(paid_and_redeemed(&world).await, (28, 28));
        let sum = "SELECT CAST(sum(quota) AS bigint) FROM users WHERE role = 1";
        assert_eq!(world.db.i64(sum).await, 28);
        world.close().await;
    }

    async fn a_crash_leaves_both_halves_or_none(db: TestDb) {
        let mut world = World::open(db).await;
        let ann = Redeemer::new(&world, 0).await;
        let made = codes(&world, json!({"quota": 3, "count": 200})).await;
        let mut tries = JoinSet::new();
        for code in made.clone() {
            let own = Admin::new(world.server.addr(), &ann.access_token);
            tries.spawn(async move {
                let call = own.call("POST", "/api/user/topup").json(&json!({ "key": code }));
                call.try_send().await.is_ok_and(|answer| answer.status == 200)
            });
        }
        // Some attempts get a success response, and then the process dies.
        let mut told = 0;
        while told < 5 {
            told += i64::from(tries.join_next().await.unwrap().unwrap());
        }
        world.server.kill_9().await;
        told += tries.join_all().await.into_iter().map(i64::from).sum::<i64>();
        world.server.start_again().await;

        let (paid, redeemed) = paid_and_redeemed(&world).await;
        assert_eq!(paid, redeemed);
        assert_eq!(world.money(&ann.payer).await.quota, paid);
        assert!(paid >= 3 * told, "{told} were told, {paid} was paid");
        world.close().await;
    }

    async fn what_is_worth_nothing_says_why(db: TestDb) {
        let world = World::open(db).await;
        let ann = Redeemer::new(&world, 0).await;
        let admin = world.admin();
        let lot = json!({"quota": 5, "count": 4, "expired_time": 4_000_000_000_i64});
        let made = codes(&world, lot).await;
        let listed = admin.get("/api/redemption").await;
        let id = |nth: usize| listed[3 - nth]["id"].as_i64().unwrap();
        admin.post(&format!("/api/redemption/{}/disable", id(0)), &json!({})).await;
        let past = if world.db.is_postgres() { "to_timestamp(1)" } else { "1000" };
        let expire = format!("UPDATE redemptions SET expires_at = {past} WHERE id = {}", id(1));
        world.db.execute(&expire).await;
        admin.delete(&format!("/api/redemption/{}", id(2))).await;
        for (nth, status, word) in [(0, 409, "停用"), (1, 409, "过期"), (2, 404, "不存在")] {
            let refused = ann.redeem(&world.server, &made[nth]).await.expect(status);
            assert!(refused.text().contains(word), "{nth}: {}", refused.text());
        }

        admin.put("/api/redemption", &json!({"id": id(0), "status": 1, "quota": 5})).await;
        ann.redeem(&world.server, &made[0]).await.expect(200);
        let used = admin.call("PUT", &format!("/api/redemption/{}", id(0)));
        used.json(&json!({"status": 2})).send().await.expect(409);
        let dearer = admin.call("PUT", &format!("/api/redemption/{}", id(3)));
        dearer.json(&json!({"quota": 50})).send().await.expect(422);
        let own = Admin::new(world.server.addr(), &ann.access_token);
        own.try_post("/api/redemption", &json!({"quota": 5})).await.expect(403);
        admin.try_post("/api/redemption", &json!({"quota": 5, "count": 1001})).await.expect(422);
        assert_eq!(world.money(&ann.payer).await.quota, 5);

        // One wrong code was tried above; after nine more none is looked at, not even a right one.
        for nth in 0..9 {
            ann.redeem(&world.server, &format!("guess-{nth}")).await.expect(404);
        }
        let refused = ann.redeem(&world.server, &made[3]).await.expect(429);
        assert!(refused.header("Retry-After").is_some());
        let bob = Redeemer::new(&world, 0).await;
        bob.redeem(&world.server, &made[3]).await.expect(200);
        world.close().await;
    }
}
