//! Access tokens: guessing one is as slow as guessing a password.

use crate::world::NEWAPI;
use testkit::{Server, TestDb};

on_sqlite! {
    async fn guesses_at_access_tokens_are_slowed(db: TestDb) {
        let server = Server::start(NEWAPI, &db).await;
        // This one has come from here before.
        server.admin().get("/api/user/self").await;

        let mut statuses = Vec::new();
        for guess in 0..40 {
            let call = server.call("GET", "/api/user/self").key(&format!("guess-number-{guess}"));
            statuses.push(call.send().await);
        }

        assert_eq!(statuses[0].status, 401, "{}", statuses[0].text());
        let last = statuses.last().unwrap();
        assert_eq!(last.status, 429, "{}", last.text());
        assert!(last.header("Retry-After").is_some());
        // A guesser shuts out no caller that is known at the same address.
        server.admin().get("/api/user/self").await;
        server.wait_for_log(&["access_token_refused", "127.0.0.1"]).await;
        server.audit_clean().await;
    }

    async fn a_short_access_token_of_root_is_refused(db: TestDb) {
        let short = "only-23-characters-long";
        let builder = Server::builder(NEWAPI, &db).env("ROOT_ACCESS_TOKEN", short);
        let ended = builder.start_refused().await;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let said = said + &String::from_utf8_lossy(&ended.stdout);
        assert!(said.contains("ROOT_ACCESS_TOKEN") && said.contains("24"), "{said}");
        assert!(!said.contains(short), "{said}");
    }
}
