//! The playground, in Chromium: what is typed is sent, and what comes is shown as it comes.

use super::Chromium;
use super::journeys::{DESK, PHONE};
use crate::pages::{PASSWORD, lively, name_of};
use crate::world::by_use;
use testkit::{Gate, Reply, TestDb, eventually};

/// A call in the address of the playground.
const TO: &str = "/console/play?method=POST&path=/pass/talk&body=%7B%22stream%22%3Atrue%7D";

on_sqlite! {
    async fn a_reply_is_shown_as_it_arrives_and_then_its_cost(db: TestDb) {
        let (world, ann) = lively(db).await;
        let gate = Gate::new();
        let reply = Reply::sse([r#"{"choices":[{"delta":{"content":"<i>one</i>"}}]}"#])
            .wait(&gate)
            .event(r#"{"choices":[{"delta":{"content":"two"}}]}"#)
            .event(r#"{"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":30}}"#)
            .event("[DONE]");
        world.model("talk", by_use(), reply).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login(&name_of(&world, ann).await, PASSWORD).await;
        window.go(TO).await;
        window.click("#key-box button").await;
        window.sees("and spends $0.50 at most").await;
        assert_eq!(window.value("#play-body").await, "{\"stream\":true}", "what is typed stays");
        let key = window.value("#play-key").await;
        assert!(window.script("return document.getElementById('play-curl').textContent").await
            .as_str().is_some_and(|curl| curl.contains("/pass/talk'") && curl.contains(&key)));

        window.click("#play-send").await;
        eventually("the first event", || async {
            window.text("#play-events").await.contains("<i>one</i>").then_some(())
        })
        .await;
        gate.reached(1).await;
        assert!(!window.text("#play-events").await.contains("two"));
        gate.open();
        eventually("the charge", || async {
            window.text("#play-charge").await.starts_with("$0.0001").then_some(())
        })
        .await;
        assert!(window.text("#play-status").await.starts_with("HTTP 200"));
        assert_eq!(window.script("return document.querySelectorAll('#reply i').length").await, 0);
        let sent = world.upstream.requests().await;
        let sent = sent.into_iter().find(|call| call.path() == "/talk").unwrap();
        assert_eq!(sent.text(), "{\"stream\":true}");
        assert_eq!(sent.headers_named("content-type"), ["application/json"]);
        assert_eq!((sent.header("cookie"), sent.header("x-csrf-token")), (None, None));
        assert_eq!(world.admin().user_quota(ann).await, 500_000 - 80 - 50);
        let keys = world.db.row("SELECT remain_quota FROM tokens WHERE name = 'playground'").await;
        assert_eq!(keys.i64("remain_quota"), 250_000 - 50);
        window.accessible(TO).await;
        window.click("#play-cost a").await;
        window.sees("How this charge came about").await;
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn a_call_is_stopped_and_paid_for_as_far_as_it_came(db: TestDb) {
        let (world, ann) = lively(db).await;
        let gate = Gate::new();
        let reply = Reply::sse([r#"{"choices":[{"delta":{"content":"one"}}]}"#])
            .wait(&gate)
            .event(r#"{"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":30}}"#)
            .event("[DONE]");
        world.model("talk", by_use(), reply).await;
        let window = Chromium::open(&world.server, PHONE).await;
        window.login(&name_of(&world, ann).await, PASSWORD).await;
        window.go(TO).await;
        window.click("#key-box button").await;
        window.sees("and spends $0.50 at most").await;
        window.click("#play-send").await;
        window.sees("one").await;
        window.click("#play-stop").await;
        window.sees("stopped after").await;
        window.sees("on hold").await;
        gate.open();
        eventually("the charge", || async {
            window.text("#play-charge").await.starts_with("$0.0001").then_some(())
        })
        .await;
        let wide = "return document.documentElement.scrollWidth -
            document.documentElement.clientWidth";
        assert_eq!(window.script(wide).await, 0);
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn a_call_of_the_reference_is_tried_with_a_click(db: TestDb) {
        let (world, ann) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login(&name_of(&world, ann).await, PASSWORD).await;
        window.go("/console/api?tag=token#get_token").await;
        window.sees("Each item of data").await;
        window.type_into("#get_token [name=keyword]", "no such key").await;
        window.click("#get_token form button").await;
        eventually("the reply", || async {
            window.text("#try-get_token").await.contains("\n  \"total\": 0").then_some(())
        })
        .await;
        window.accessible("/console/api?tag=token").await;
        window.clean().await;
        window.close().await;
        world.close().await;
    }
}
