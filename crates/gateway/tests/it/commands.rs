//! The command line: everything that runs a world without a browser.

use crate::world::{NEWAPI, Payer, World, fixed};
use testkit::{Reply, Server, TestDb, json, on_both_databases};

/// What a command prints as JSON.
async fn said(world: &World, arguments: &[&str]) -> serde_json::Value {
    let text = world.server.cli_ok(arguments).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?} {error}: {text}"))
}

on_both_databases! {
    async fn a_house_is_set_up_and_run_by_commands(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/m", Reply::text("ok"));
        let url = world.upstream.url();

        world.server.cli_ok(&["channel", "create", "c", "--base-url", &url, "--key", "up-key",
            "--models", "m", "--json"]).await;
        world.server.cli_ok(&["price", "set", "m", "--fixed-quota", "10"]).await;
        world.server.cli_ok(&["price", "group", "vip", "0.5"]).await;
        let user = said(&world, &["user", "create", "ann", "--group", "vip", "--quota", "100",
            "--json"]).await;
        let token = said(&world, &["token", "create", "ann", "--json"]).await;
        let ann = Payer {
            id: user["id"].as_i64().unwrap(),
            token_id: token["id"].as_i64().unwrap(),
            key: token["key"].as_str().unwrap().to_owned(),
        };

        // The server picks up what the commands wrote to the database.
        testkit::eventually("the first call to go through", || async {
            let answer = world.pay("m", &ann).await;
            (answer.status == 200 && answer.header("X-Newapi-Quota")? == "5").then_some(())
        })
        .await;
        let used = world.money(&ann).await.used;
        world.server.cli_ok(&["user", "topup", "ann", "400", "--reason", "cash"]).await;
        assert_eq!(world.money(&ann).await.quota, 500 - used);
        let shown = world.server.cli_ok(&["user", "list"]).await;
        assert!(shown.contains("ann"), "{shown}");
        for list in ["token", "channel", "price"] {
            let shown = world.server.cli_ok(&[list, "list"]).await;
            assert!(!shown.contains(&ann.key) && !shown.contains("up-key"), "{shown}");
        }
        let limits = ["user", "limit", "ann", "--daily", "300", "--monthly", "4000"];
        let said = world.server.cli_ok(&limits).await;
        assert!(said.contains("300 of 300 today, 4000 of 4000 this month"), "{said}");
        let said = world.server.cli_ok(&["user", "limit", "ann", "--daily", "0"]).await;
        assert!(!said.contains("today") && said.contains("4000 this month"), "{said}");
        let key = ann.token_id.to_string();
        let said = world.server.cli_ok(&["token", "limit", &key, "--daily", "4"]).await;
        assert!(said.contains("4 of 4 today"), "{said}");
        testkit::eventually("the key's limit to be heard of", || async {
            (world.pay("m", &ann).await.status == 402).then_some(())
        })
        .await;
        world.server.cli_ok(&["user", "disable", "ann"]).await;
        testkit::eventually("the user to be shut out", || async {
            (world.pay("m", &ann).await.status == 403).then_some(())
        })
        .await;
        world.close().await;
    }

    async fn another_secret_key_is_noticed_before_it_does_harm(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        assert!(world.server.terminate().await.success());

        world.server.set_env("SECRET_KEY", "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItMTI=");
        let output = world.server.cli(&["serve"]).await;

        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("SECRET_KEY"), "{text}");
        world.server.set_env("SECRET_KEY", testkit::server::SECRET_KEY);
        world.server.start_again().await;
        let ann = world.payer(10).await;
        world.pay("m", &ann).await.expect(200);
        world.close().await;
    }

    async fn a_schema_of_the_future_is_left_alone(db: TestDb) {
        let server = Server::start(NEWAPI, &db).await;
        drop(server);
        let at = if db.is_postgres() { "now()" } else { "0" };
        db.execute(&format!(
            "INSERT INTO schema_migrations (version, name, sha256, applied_at) \
             VALUES (9999, 'later', '', {at})"
        ))
        .await;

        let output = Server::builder(NEWAPI, &db).start_refused().await;

        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("9999") || text.contains("newer"), "{text}");
    }

    async fn an_audit_may_run_beside_the_server(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100_000).await;
        let load: Vec<_> = (0..4)
            .map(|_| {
                let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
                tokio::spawn(async move {
                    for _ in 0..50 {
                        call.clone().send().await.expect(200);
                    }
                })
            })
            .collect();

        for _ in 0..3 {
            world.server.audit_clean().await;
        }

        for running in load {
            running.await.unwrap();
        }
        assert_eq!(world.money(&ann).await.used, 200);
        world.close().await;
    }
}

on_sqlite! {
    async fn the_demo_tells_its_story_and_ends(db: TestDb) {
        let server = Server::builder(NEWAPI, &db)
            .without("PORT").without("METRICS_PORT")
            .build();

        let story = server.cli_ok(&["demo"]).await;

        for word in ["balance", "precharge", "refund", "sync_request", "audit"] {
            assert!(story.contains(word), "{word} is missing: {story}");
        }
        assert!(!story.contains('✗'), "{story}");
        // Its health is that of its own process, whatever the environment says.
        assert!(story.contains(" checks, 0 broken"), "{story}");
    }

    async fn every_command_says_what_it_does(db: TestDb) {
        let server = Server::builder(NEWAPI, &db).build();
        let help = server.cli_ok(&["--help"]).await;
        for command in ["serve", "demo", "migrate", "check", "audit", "explain", "user", "token",
            "channel", "price", "mock-upstream", "config"]
        {
            assert!(help.contains(command), "{command} is missing: {help}");
            server.cli_ok(&[command, "--help"]).await;
        }
        server.cli_ok(&["--version"]).await;
        assert_eq!(server.cli(&["no-such-command"]).await.status.code(), Some(2));
    }
}
