//! The child process and its handling, with this very test binary in place of the server: called
//! with `serve` it runs the test of that name, which then serves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::path::PathBuf;

use testkit::{Reply, Server, Signal, TestDb, Upstream, json, run};

fn this_binary() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// The server process; does nothing when the tests themselves run.
#[test]
fn serve() {
    let Ok(port) = std::env::var("PORT") else { return };
    if std::env::var("REFUSE").is_ok() {
        panic!("this setting is refused");
    }
    run(async move {
        let stub = Upstream::start_on(port.parse().unwrap()).await;
        stub.on("/api/status", Reply::json(&json!({"success": true})));
        stub.handle("/api/channel", |request| {
            assert!(request.header("authorization").unwrap().starts_with("Bearer root-"));
            assert_eq!(request.json()["key"], "upstream-key");
            Reply::json(&json!({"success": true, "message": "", "data": {"id": 7}}))
        });
        stub.on("/api/ability", Reply::json(&json!({"success": true, "data": {}})));
        stub.on("/api/user", Reply::json(&json!({"success": true, "data": {"id": 2}})));
        let token = json!({"success": true, "data": {"id": 3, "key": "sk-x"}});
        stub.on("/api/token", Reply::json(&token));
        let user = json!({"success": true, "data": {"id": 2, "quota": 940}});
        stub.on("/api/user/2", Reply::json(&user));
        let error = json!({"error": {
            "message": "余额不足 (insufficient quota)", "type": "t", "code": "INSUFFICIENT_QUOTA",
            "request_id": "r",
        }});
        stub.on("/pass/m", Reply::json(&error).status(402));
        // Not by `println!`, which the test harness would capture.
        std::io::stdout().write_all(b"ready to serve\n").unwrap();
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate()).unwrap().recv().await;
        std::process::exit(0);
    });
}

/// The audit process.
#[test]
fn audit() {
    if std::env::var("BREACH").is_ok() {
        panic!("a breach");
    }
}

#[test]
fn a_child_lives_and_dies() {
    run(async {
        let db = TestDb::sqlite().await;
        let mut child = Server::start(this_binary(), &db).await;
        assert_eq!(child.data_dir(), db.dir());
        child.wait_for_log(&["ready", "serve"]).await;
        let first = child.pid();
        child.restart().await;
        assert_ne!(child.pid(), first);
        child.kill_9().await;
        child.start_again().await;
        child.signal(Signal::STOP);
        child.signal(Signal::CONT);
        child.audit_clean().await;
        assert!(child.terminate().await.success());
        let ready = child.log_lines().iter().filter(|line| line.contains("ready")).count();
        assert_eq!(ready, 3);
    });
}

#[test]
fn bad_settings_and_breaches_are_reported() {
    run(async {
        let db = TestDb::sqlite().await;
        let output = Server::builder(this_binary(), &db).env("REFUSE", 1).start_refused().await;
        assert!(String::from_utf8_lossy(&output.stdout).contains("this setting is refused"));
        let child = Server::builder(this_binary(), &db).env("BREACH", 1).build();
        assert!(!child.cli(&["audit"]).await.status.success());
        let text = Server::builder(this_binary(), &db).build().cli_ok(&["audit"]).await;
        assert!(text.contains("1 passed"), "{text}");
    });
}

#[test]
fn the_admin_client_sets_up() {
    run(async {
        let db = TestDb::sqlite().await;
        let upstream = Upstream::start().await;
        let child = Server::start(this_binary(), &db).await;
        let ann = child.admin().set_up(&upstream, "m", json!({"ratio": 2.0}), 1000).await;
        assert_eq!((ann.channel_id, ann.user_id, ann.token_id), (7, 2, 3));
        assert_eq!(child.admin().user_quota(2).await, 940);
        let refused = child.post("/pass/m", &ann.key, &json!({})).await;
        refused.expect_error(402, "INSUFFICIENT_QUOTA");
    });
}
