//! Pages that follow what happens, in Chromium.

use super::journeys::DESK;
use super::{Chromium, TAB};
use crate::pages::{PASSWORD, lively, name_of};
use crate::world::fixed;
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually, json};

const LIST: &str = "/img/task/list-by-condition";

on_sqlite! {
    async fn tasks_are_followed_until_they_end(db: TestDb) {
        let (world, ann) = lively(db).await;
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
        let running = r#"{"code":0,"data":[{"task_id":"up-1","status":"running"}]}"#;
        world.upstream.on(LIST, Reply::raw_json(running));
        world.model("img/submit", fixed(40), taken).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/tasks").await;
        window.sees("No task.").await;
        let loaded = "window.stays = true";
        window.script(loaded).await;
        let key = world.admin().key_of(ann, json!({})).await.key;
        world.server.post("/pass/img/submit", &key, &json!({})).await.expect(200);
        window.sees("#1").await;
        let done = r#"{"code":0,"data":[{"task_id":"up-1","status":"DONE"}]}"#;
        world.upstream.on(LIST, Reply::raw_json(done));
        world.admin().post("/api/task/1/requeue", &json!({})).await;
        window.sees("completed").await;
        assert_eq!(window.script("return window.stays").await, true, "without loading it again");

        window.click("a[href='/console/tasks?live=off']").await;
        window.sees("Resume updates").await;
        assert_eq!(window.script("return document.querySelector('#live')").await, json!(null));
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn a_channels_form_is_checked_when_a_field_is_left(db: TestDb) {
        let (world, _) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/channels/1/edit").await;
        window.script("document.getElementById('f-name').value = ''").await;
        window.type_into("#f-name", &format!("renamed{TAB}")).await;
        window.sees("→ renamed").await;
        // At the foot of the window, however long the form is.
        let place = "const box = document.querySelector('.check').getBoundingClientRect();
            return box.top >= 0 && box.bottom <= innerHeight";
        assert_eq!(window.script(place).await, true);
        window.type_into("#f-priority", &format!("x{TAB}")).await;
        window.sees("Priority: ").await;
        window.accessible("a form that was checked").await;
        window.click(".check a").await;
        let focus = "return location.hash === '#f-priority'";
        assert_eq!(window.script(focus).await, true);
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn a_price_is_worked_out_while_it_is_typed(db: TestDb) {
        let (world, _) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/prices/edit?model=chat").await;
        window.sees("= 1500 quota = $0.003").await;
        // In dollars or in ratios: only the fields of one are shown.
        window.click("input[name=unit][value=ratio]").await;
        window.type_into("#f-completion_ratio", "0").await;
        window.sees("= 6000 quota = $0.012").await;
        window.accessible("/console/prices/edit").await;
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn the_log_says_how_much_is_new(db: TestDb) {
        let (world, ann) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login(&name_of(&world, ann).await, PASSWORD).await;
        window.go("/console/log").await;
        let key = world.admin().key_of(ann, json!({})).await.key;
        let body = json!({});
        let pay = || world.server.post("/pass/chat", &key, &body);
        pay().await.expect(200);
        window.sees("1 new line: show").await;
        pay().await.expect(200);
        window.sees("2 new lines: show").await;
        let rows = "return document.querySelectorAll('#list tbody tr').length";
        let before = window.script(rows).await.as_i64().unwrap();
        window.accessible("/console/log").await;
        window.click("a.fresh").await;
        eventually("the new lines", || async {
            (window.script(rows).await.as_i64() == Some(before + 2)).then_some(())
        })
        .await;
        window.clean().await;
        window.close().await;
        world.close().await;
    }
}
