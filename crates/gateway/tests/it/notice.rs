//! What users are told on their first page, and what they may know of the books.

use crate::pages::{Browser, PASSWORD, name_of};
use crate::world::World;
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

on_both_databases! {
    async fn users_read_the_notice_until_it_ends(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let ann = world.payer(1).await;
        admin.put(&format!("/api/user/{}", ann.id), &json!({"password": PASSWORD})).await;
        let name = name_of(&world, ann.id).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let told = async || user.get("/api/notice").await.expect(200).json()["data"].clone();
        assert_eq!(told().await, json!({
            "zh": "", "en": "", "expired_time": -1, "shown": false, "updated_at": 0,
        }));

        let form = "zh=%E7%BB%B4%E6%8A%A4&en=down+%3Csoon%3E&expired_time=2999-01-01T00%3A00";
        user.send("/console/notice", form).await.expect(403);
        let put = user.call("PUT", "/api/notice").header("X-CSRF-Token", user.csrf().await);
        put.json(&json!({"en": "x"})).send().await.expect(403);
        root.send("/console/notice", form).await.expect(303);
        let shown = told().await;
        assert_eq!((&shown["zh"], &shown["shown"]), (&json!("维护"), &json!(true)));
        assert_eq!(shown["expired_time"], 32_472_144_000_i64);
        let home = user.get("/console").await.expect(200).text();
        assert!(home.contains("lang=\"en\">down &lt;soon&gt;"), "{home}");
        let page = root.get("/console/notice").await.expect(200).text();
        assert!(page.contains("value=\"2999-01-01T00:00\"") && page.contains("Users see it"));
        for wrong in ["expired_time=2001-01-01T00%3A00", "expired_time=soon"] {
            let refused = root.send("/console/notice", &format!("en=x&{wrong}")).await;
            assert!(refused.expect(422).text().contains("expired_time"));
        }

        // One that has ended is no user's any more, and still its writers'.
        let ended = r#"UPDATE options SET value = '{"zh":"","en":"bygone","expired_time":5}'
            WHERE key = 'notice'"#;
        world.db.execute(ended).await;
        assert_eq!((&told().await["en"], &told().await["shown"]), (&json!(""), &json!(false)));
        assert!(!user.get("/console").await.expect(200).text().contains("bygone"));
        let page = root.get("/console/notice").await.expect(200).text();
        assert!(page.contains("bygone</textarea>") && page.contains("It has ended"), "{page}");
        world.server.cli_ok(&["notice", "set", "--zh", "新公告"]).await;
        assert_eq!(told().await["zh"], "新公告");
        let shown = world.server.cli_ok(&["notice", "show"]).await;
        assert_eq!(shown, "zh: 新公告\nusers see it\n");
        world.server.cli_ok(&["notice", "clear"]).await;
        assert_eq!(told().await["shown"], false);
        let journal = root.get("/console/actions").await.expect(200).text();
        assert!(journal.contains("set the notice"), "{journal}");
        world.close().await;
    }

    async fn users_see_that_balances_were_verified(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let ann = world.payer(1).await;
        admin.put(&format!("/api/user/{}", ann.id), &json!({"password": PASSWORD})).await;
        let name = name_of(&world, ann.id).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        user.get("/api/audit/ledger/clean").await.expect(404);
        assert!(!user.get("/console").await.expect(200).text().contains("Balances verified"));
        admin.get("/api/audit/ledger").await;
        let clean = user.get("/api/audit/ledger/clean").await.expect(200).json();
        assert!(clean["data"]["at"].as_i64().unwrap() > 0, "{clean}");
        assert!(user.get("/console").await.expect(200).text().contains("Balances verified"));
        user.get("/api/audit/ledger/last").await.expect(403);
        world.close().await;
    }
}
