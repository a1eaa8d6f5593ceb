//! The choice of columns in Chromium: by mouse and keyboard, at a desk and on a phone, and while
//! the list follows what happens.

use super::journeys::DESK;
use super::pictures::{NARROW, WIDE};
use super::{Chromium, ENTER, ESCAPE, TAB};
use crate::pages_whole::FullWorld;
use testkit::{ROOT_PASSWORD, TestDb, eventually, json};

const OPEN: &str = "return document.querySelector('.picker').matches(':popover-open')";
/// Whether all of it is in the window.
const FITS: &str = "const box = document.querySelector('.picker').getBoundingClientRect();
    return box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight";
const HEADS: &str = "return [...document.querySelectorAll('#list th')]
    .filter((head) => head.checkVisibility()).map((head) => head.innerText)";

async fn until(window: &Chromium, what: &str, script: &str) {
    eventually(what, || async { (window.script(script).await == true).then_some(()) }).await;
}

on_sqlite! {
    async fn columns_are_chosen_beside_the_list(db: TestDb) {
        let full = FullWorld::open(db).await;
        let window = Chromium::open(&full.world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        for (size, column, gone) in [(WIDE, "role", "Role"), (NARROW, "state", "State")] {
            window.resize(size).await;
            window.go("/console/users").await;
            let before = window.script(HEADS).await;
            assert!(before.to_string().contains(gone), "{size:?} {before}");
            window.script("document.querySelector('[popovertarget]').focus()").await;
            window.keys(ENTER).await;
            until(&window, "the choice", OPEN).await;
            assert_eq!(window.script(FITS).await, true, "{size:?}");
            window.accessible("the choice of columns").await;
            // Esc leaves it as it was, and leads back to its button.
            window.keys(ESCAPE).await;
            assert_eq!(window.script(OPEN).await, false);
            let back = "return document.activeElement.matches('[popovertarget]')";
            assert_eq!(window.script(back).await, true);
            window.keys(ENTER).await;
            window.keys(TAB).await;
            let first = "return document.activeElement.name === 'shown'";
            assert_eq!(window.script(first).await, true, "its first box is next");
            window.keys(ESCAPE).await;
            assert_eq!(window.script(OPEN).await, false, "from a box, too");
            window.keys(ENTER).await;
            window.click(&format!(".picker [name=shown][value={column}]")).await;
            window.click(".picker .primary").await;
            let without = format!(
                "return document.readyState === 'complete'
                    && document.querySelector('.picker [value={column}]')?.checked === false
                    && ![...document.querySelectorAll('#list th')].some((head) =>
                        head.innerText === '{gone}')"
            );
            until(&window, "the list without it", &without).await;
        }
        // Another column has the place of the one that is hidden, and the row opens.
        let now = window.script(HEADS).await;
        assert!(now.to_string().contains("Group"), "{now}");
        window.click("main tbody .unfold input").await;
        window.accessible("a row with columns hidden").await;
        window.click("[popovertarget]").await;
        until(&window, "the choice", OPEN).await;
        window.click(".picker [name=as]").await;
        until(&window, "the list as it was", "return !document.querySelector('.picker [name=as]')")
            .await;
        window.clean().await;
        window.close().await;
        full.close().await;
    }

    async fn a_choice_stays_open_while_its_list_follows(db: TestDb) {
        let full = FullWorld::open(db).await;
        let admin = full.world.admin();
        let key = admin.key_of(full.ann, json!({ "name": "desk" })).await.key;
        let window = Chromium::open(&full.world.server, DESK).await;
        window.resize(WIDE).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/tasks").await;
        until(&window, "the stream", "return document.querySelector('#live') !== null").await;
        window.click("[popovertarget]").await;
        until(&window, "the choice", OPEN).await;
        window.click(".picker [name=shown][value=progress]").await;
        full.world.server.post("/pass/img/submit", &key, &json!({})).await.expect(200);
        until(&window, "the new task", "return document.getElementById('task-2') !== null").await;
        assert_eq!(window.script(OPEN).await, true);
        let ticked =
            "return document.querySelector('.picker [value=progress][name=shown]').checked";
        assert_eq!(window.script(ticked).await, false, "what was chosen stays");
        window.click(".picker .primary").await;
        until(&window, "the list without it",
            "return document.querySelector('.picker [name=as]') !== null").await;
        window.clean().await;
        window.close().await;
        let over = json!({ "reason": "the test is over" });
        admin.post("/api/task/2/fail-and-refund", &over).await;
        full.close().await;
    }
}
