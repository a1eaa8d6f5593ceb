//! The metrics page in both formats that are read of it.

use crate::world::{World, fixed};
use std::io::Write as _;
use std::process::{Command, Stdio};
use testkit::{Answer, Call, Reply, TestDb};

/// What Prometheus 2 and 3 send: they prefer OpenMetrics.
const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0;q=0.5,\
     application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
     application/openmetrics-text;version=0.0.1;q=0.4,\
     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
/// Prometheus with `scrape_protocols: [PrometheusText0.0.4, OpenMetricsText1.0.0]`.
const TEXT_FIRST: &str = "text/plain;version=0.0.4;q=0.5,\
     application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.3";

async fn page(world: &World, accept: Option<&str>) -> Answer {
    let call = Call::new(world.server.metrics_addr(), "GET", "/metrics");
    let call = match accept {
        Some(accept) => call.header("Accept", accept),
        None => call,
    };
    call.send().await.expect(200)
}

/// The samples of a page, without what changes between two scrapes.
fn names(page: &str) -> Vec<&str> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

/// Whether `promtool` finds nothing wrong with the page.
fn promtool(page: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut started) = started else {
        crate::world::skipped("promtool is not in the path");
        return;
    };
    started.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let ended = started.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
}

on_sqlite! {
    async fn metrics_are_in_the_format_that_is_asked_for(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);
        let counter = "custompass_requests_total";

        let mut plain = Vec::new();
        for accept in [None, Some("*/*"), Some("text/plain"), Some(TEXT_FIRST),
                       Some("application/openmetrics-text;q=0, text/plain")] {
            let page = page(&world, accept).await;
            let kind = page.header("Content-Type").unwrap();
            assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8", "{accept:?}");
            let text = page.text();
            let info = "# TYPE newapi_build_info gauge".to_owned();
            for line in [format!("# TYPE {counter} counter"), info] {
                assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
            }
            assert!(text.contains(&format!("# HELP {counter} ")), "{text}");
            assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
            promtool(&text);
            plain.push(text);
        }
        for accept in [PROMETHEUS_2, PROMETHEUS_3, "application/openmetrics-text"] {
            let page = page(&world, Some(accept)).await;
            let kind = page.header("Content-Type").unwrap();
            assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
            let text = page.text();
            assert!(text.contains("# TYPE custompass_requests counter\n"), "{text}");
            assert!(text.ends_with("# EOF\n"), "{text}");
            assert_eq!(names(&text), names(&plain[0]));
        }
        world.close().await;
    }
}
