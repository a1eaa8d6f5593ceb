//! What operators see: log lines, metrics, health.

use crate::world::{World, by_use, fixed};
use testkit::{Reply, Server, TestDb, json, on_both_databases};

/// Whether a text is a time like `2024-01-01T12:00:00Z`.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00Z"
}

/// The fields of a log line of ours, checked for its shape: time, level, event, `key=value`.
fn fields(line: &str) -> (String, String, Vec<(String, String)>) {
    let mut words = line.splitn(4, ' ');
    let time = words.next().unwrap();
    assert!(is_time(time), "{line}");
    let level = words.next().unwrap().trim_matches(['[', ']']).to_owned();
    assert_eq!(words.next(), Some("custompass:"), "{line}");
    let rest = words.next().unwrap();
    let (event, mut rest) = rest.split_once(' ').unwrap();
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').unwrap_or_else(|| panic!("{line}"));
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name:?} in {line}");
        let (value, next) = if let Some(quoted) = after.strip_prefix('"') {
            let end = quoted.find("\" ").unwrap_or(quoted.len() - 1);
            (&quoted[..end], quoted[end + 1..].trim_start())
        } else {
            after.split_once(' ').unwrap_or((after, ""))
        };
        pairs.push((name.to_owned(), value.to_owned()));
        rest = next;
    }
    (level, event.to_owned(), pairs)
}

/// Whether a text is a duration like `1.500s`.
fn is_duration(text: &str) -> bool {
    let Some((whole, part)) = text.strip_suffix('s').and_then(|it| it.split_once('.')) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    digits(whole) && digits(part) && part.len() == 3
}

on_sqlite! {
    async fn a_call_is_one_line(db: TestDb) {
        let world = World::open(db).await;
        let channel = world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(10).await;
        let call = |id: &str| {
            let call = world.server.call("POST", "/pass/m?secret=1").key(&ann.key);
            call.header("X-Request-Id", id).body("a private prompt").send()
        };
        call("good").await.expect(200);
        call("poor").await.expect(402);

        let line = world.server.wait_for_log(&["sync_request", "request_id=good"]).await;
        let (level, event, pairs) = fields(&line);
        assert_eq!((level.as_str(), event.as_str()), ("INFO", "sync_request"));
        let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).take(6).collect();
        let in_order = ["user_id", "channel_id", "model", "duration", "status", "request_id"];
        assert_eq!(names, in_order, "{line}");
        let value = |wanted: &str| {
            pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()).unwrap()
        };
        assert_eq!(value("user_id"), ann.id.to_string());
        assert_eq!(value("channel_id"), channel.to_string());
        assert_eq!((value("model").as_str(), value("status").as_str()), ("m", "success"));
        assert!(is_duration(&value("duration")), "{line}");

        let failed = world.server.wait_for_log(&["sync_request", "request_id=poor"]).await;
        assert!(failed.contains("status=error"), "{failed}");
        let held = world.server.wait_for_log(&["precharge_failed", "request_id=poor"]).await;
        let (level, event, pairs) = fields(&held);
        assert_eq!((level.as_str(), event.as_str()), ("ERROR", "precharge_failed"));
        assert!(pairs.contains(&("error".to_owned(), "insufficient quota".to_owned())), "{held}");
        let log = world.server.log_lines().join("\n");
        for secret in ["private prompt", &ann.key, "upstream-key", "secret=1"] {
            assert!(!log.contains(secret), "{secret} in the log");
        }
        world.close().await;
    }

    async fn nobody_writes_lines_into_the_log(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.otherwise(Reply::text("ok"));
        let ann = world.payer(10).await;
        let forged = "x%0A2024-01-01T12:00:00Z%20[INFO]%20custompass:%20forged%20user_id=1";
        let path = format!("/pass/{forged}");
        world.server.call("POST", &path).key(&ann.key).send().await.expect(400);
        let body = json!({"model": "a\u{1b}[31m b\"c status=success"});
        world.server.post("/v1/x", &ann.key, &body).await;
        let mark = world.server.call("POST", "/pass/mark").key(&ann.key);
        mark.header("X-Request-Id", "mark").send().await;
        world.server.wait_for_log(&["request_id=mark"]).await;

        for line in world.server.log_lines() {
            assert!(!line.contains("custompass: forged"), "{line}");
            assert!(!line.contains('\u{1b}'), "{line}");
        }
    }

    async fn the_log_can_be_json(db: TestDb) {
        let world = World::with(db, &[("LOG_FORMAT", "json")]).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(10).await;
        world.pay("m", &ann).await.expect(200);

        let line = world.server.wait_for_log(&["sync_request"]).await;

        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["event"], "sync_request", "{line}");
        assert_eq!(line["user_id"], ann.id, "{line}");
        assert_eq!(line["status"], "success", "{line}");
    }

    async fn settings_that_cannot_be_used_stop_the_start(db: TestDb) {
        let server = Server::builder(crate::world::NEWAPI, &db)
            .env("PORT", "70000")
            .env("CUSTOM_PASS_HTTP_TIMEOUT", "soon")
            .env("ENABLE_METRICS", "perhaps");
        let output = server.start_refused().await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for word in ["PORT", "70000", "CUSTOM_PASS_HTTP_TIMEOUT", "soon", "ENABLE_METRICS"] {
            assert!(said.contains(word), "all that is wrong at once: {word} is missing in {said}");
        }
    }

    async fn settings_are_shown_with_their_source_and_without_secrets(db: TestDb) {
        let server = Server::builder(crate::world::NEWAPI, &db).env("LOG_LEVEL", "warn").build();
        let shown = server.cli_ok(&["config"]).await;
        assert!(shown.contains("CUSTOM_PASS_HTTP_TIMEOUT") && shown.contains("warn"), "{shown}");
        assert!(shown.contains("environment") && shown.contains("default"), "{shown}");
        for secret in [testkit::server::SECRET_KEY, testkit::server::ROOT_PASSWORD] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

on_both_databases! {
    async fn the_metrics_of_the_handbook(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::result(10, 20)).await;
        world.upstream.on_estimate("/m", Reply::estimate(10, 40), Reply::result(10, 20));
        world.model("fails", fixed(5), Reply::text("no").status(500)).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);
        world.pay("fails", &ann).await.expect(500);
        let poor = world.payer(0).await;
        world.pay("m", &poor).await.expect(402);
        world.server.wait_for_log(&["precharge_failed"]).await;

        let metric = async |sample: &str| world.server.metric(sample).await;
        let requests = "custompass_requests_total{type=\"sync\",status=";
        assert_eq!(metric(&format!("{requests}\"success\"}}")).await, 1);
        assert_eq!(metric(&format!("{requests}\"error\"}}")).await, 2);
        let durations = "custompass_request_duration_seconds_count{type=\"sync\",status=";
        assert_eq!(metric(&format!("{durations}\"success\"}}")).await, 1);
        assert_eq!(metric("custompass_errors_total{code=\"INSUFFICIENT_QUOTA\"}").await, 1);
        assert_eq!(metric("custompass_open_holds").await, 0);
        let quota = "custompass_quota_total{kind=";
        assert_eq!(metric(&format!("{quota}\"held\"}}")).await, 55);
        assert_eq!(metric(&format!("{quota}\"settled\"}}")).await, 30);
        assert_eq!(metric(&format!("{quota}\"released\"}}")).await, 25);
        let page = world.server.metrics().await;
        for name in [
            "custompass_request_duration_seconds_bucket", "custompass_upstream_duration_seconds",
            "custompass_overhead_seconds", "custompass_precharge_total{result=",
        ] {
            assert!(page.contains(name), "{name}");
        }
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let labels = line.rsplit_once(' ').unwrap().0;
            assert!(!labels.contains(' '), "awk's $2 must be the value: {line}");
        }
        world.close().await;
    }

    async fn the_health_check_needs_no_key(db: TestDb) {
        let world = World::open(db).await;
        for path in ["/api/status", "/api/status/", "/livez", "/readyz"] {
            let answer = world.server.call("GET", path).send().await.expect(200);
            let text = answer.text();
            assert!(!text.contains("postgres://") && !text.contains("newapi.db"), "{text}");
        }
        world.close().await;
    }
}
