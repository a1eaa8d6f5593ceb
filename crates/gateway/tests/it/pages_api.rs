//! The reference of the API in the console: what a role reaches, found by a text, tried by address.

use crate::pages::{Browser, PASSWORD, lively, name_of};
use testkit::{ROOT_PASSWORD, TestDb};

on_sqlite! {
    async fn the_reference_shows_what_the_reader_may_call(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        let all = root.get("/console/api").await.expect(200).text();
        let own = user.get("/console/api").await.expect(200).text();
        for section in ["token", "log", "plane", "webhook"] {
            let link = format!("?tag={section}\"");
            assert!(all.contains(&link) && own.contains(&link), "{section}: {own}");
        }
        for section in ["channel", "redemption", "option"] {
            let link = format!("?tag={section}\"");
            assert!(all.contains(&link) && !own.contains(&link), "{section}: {own}");
            let path = format!("/console/api?tag={section}");
            assert_eq!(root.get(&path).await.status, 200);
            assert_eq!(user.get(&path).await.status, 404);
        }
        let tokens = user.get("/console/api?tag=token").await.expect(200).text();
        let curl = format!("curl '{}/api/token/ID'", world.server.url());
        for words in [curl.as_str(), "the owner gave it", "string[]", "Authorization: B"] {
            assert!(tokens.contains(words), "{words}: {tokens}");
        }
        let tasks = user.get("/console/api?tag=task").await.expect(200).text();
        assert!(tasks.contains("/api/task/self") && !tasks.contains("settle-now"), "{tasks}");
        let found = user.get("/console/api?q=Remain_Quota").await.expect(200).text();
        assert!(found.contains("#post_token") && !found.contains("/api/user/{id}"), "{found}");
        let in_chinese = "/console/api?q=%E6%96%B0%E5%BB%BA%E4%BB%A4%E7%89%8C";
        let found = user.get(in_chinese).await.expect(200).text();
        assert!(found.contains("#post_token\"") && !found.contains("#get_token\""), "{found}");
        let none = root.get("/console/api?q=no+such+field").await.expect(200).text();
        assert!(none.contains("No call has that"), "{none}");
        world.close().await;
    }

    async fn a_call_that_reads_is_tried_and_no_other(db: TestDb) {
        let (world, ann) = lively(db).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        let to = |call: &str| format!("/console/api/try?call={call}");
        let led = user.get(&to("get_token_id&id=%2F..%2F1&page=3")).await.expect(303);
        assert_eq!(led.header("location").as_deref(), Some("/api/token/%2F%2E%2E%2F1"));
        let led = user.get(&to("get_log_self&type=consume&page=")).await.expect(303);
        assert_eq!(led.header("location").as_deref(), Some("/api/log/self?type=consume"));
        user.get(&led.header("location").unwrap()).await.expect(200);
        user.get(&to("get_token_id&id=..")).await.expect(400);
        let others = ["get_user_token", "get_user_logout", "get_channel_test_id", "post_token"];
        for call in others {
            user.get(&to(call)).await.expect(404);
        }
        world.close().await;
    }
}
