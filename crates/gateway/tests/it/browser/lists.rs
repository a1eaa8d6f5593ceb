//! Lists in Chromium: filtered, exported, in another time zone, and after the session has ended.

use super::journeys::DESK;
use super::{Chromium, ENTER};
use crate::pages::{PASSWORD, lively, name_of};
use testkit::{ROOT_PASSWORD, TestDb, eventually, json};

/// Waits until a script says so.
async fn until(window: &Chromium, what: &str, script: &str) {
    eventually(what, || async { (window.script(script).await == true).then_some(()) }).await;
}

on_sqlite! {
    async fn what_stands_beside_a_list_is_of_its_filters(db: TestDb) {
        let (world, _) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.script("window.stays = true").await;
        window.go("/console/log").await;
        window.type_into("[name=model]", &format!("chat{ENTER}")).await;
        let export = "return document.querySelector('#top a').search.includes('model=chat')";
        until(&window, "the export to be of the filters", export).await;
        until(&window, "no stream beside a part of the log",
            "return document.querySelector('#live') === null").await;

        window.go("/console/users").await;
        window.script("window.stays = true").await;
        let count = "return document.querySelector('#top .muted').textContent === '1'";
        assert_eq!(window.script(count).await, false);
        window.type_into("[name=keyword]", &format!("root{ENTER}")).await;
        until(&window, "the count to be of the filters", count).await;
        assert_eq!(window.script("return window.stays").await, true, "without loading it again");
        window.accessible("users, filtered").await;
        // Language and theme leave the list as it is.
        window.click("button[name=lang]").await;
        window.sees("名称").await;
        assert_eq!(window.script("return location.search").await, "?keyword=root");
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn tables_of_charts_are_in_utc_and_lists_in_the_readers_zone(db: TestDb) {
        let (world, _) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.travel("America/New_York").await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console?range=30d").await;
        // The day of the money is that of its line.
        let day = "SELECT max(created_at) FROM logs WHERE type = 'consume'";
        let day = world.db.i64(day).await;
        let same = format!(
            "const cells = [...document.querySelectorAll('.numbers tbody tr:last-child td')];
            return cells[0].textContent === new Date({day}).toISOString().slice(0, 10)"
        );
        assert_eq!(window.script(&same).await, true);
        window.go("/console/log").await;
        let local = "const time = document.querySelector('#list time');
            const hour = String(new Date(time.dateTime).getHours()).padStart(2, '0');
            return time.textContent.slice(11, 13) === hour
                && !time.dateTime.includes(`T${hour}:`)";
        assert_eq!(window.script(local).await, true);
        assert!(window.text("#zone").await.contains("America/New_York"));
        window.close().await;
        world.close().await;
    }

    async fn a_form_in_a_row_has_the_focus_and_is_not_dropped_unasked(db: TestDb) {
        let (world, _) = lively(db).await;
        world.admin().price("draw", json!({ "fixed_quota": 5 })).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/prices").await;
        let edit = |model: &str| format!("#list a[hx-get$='edit={model}']");
        let opened = |model: &str| format!(
            "return document.querySelector('#edited [name=model_name]')?.value === '{model}'"
        );
        window.click(&edit("chat")).await;
        until(&window, "the form", &opened("chat")).await;
        let focused = "return document.activeElement.closest('#edited') !== null";
        until(&window, "the focus in the form", focused).await;
        // Nothing was typed yet, so nothing is asked.
        let count = "window.asked = 0; window.confirm = () => { asked += 1; return false }";
        window.script(count).await;
        window.click(&edit("draw")).await;
        until(&window, "the other form", &opened("draw")).await;
        window.type_into("#edited [name=fixed_quota]", "1").await;
        window.click(&edit("chat")).await;
        until(&window, "the question", "return window.asked === 1").await;
        assert_eq!(window.script(&opened("draw")).await, true, "what was typed stays");
        window.script("window.confirm = () => true").await;
        window.click(&edit("chat")).await;
        until(&window, "the first form", &opened("chat")).await;
        window.accessible("a price in its row").await;
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn an_ended_session_shows_no_page_inside_a_page(db: TestDb) {
        let (world, _) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/channels?keyword=first").await;
        world.db.execute("DELETE FROM sessions").await;
        window.click("form[action='/console/channels/1/test'] button").await;
        until(&window, "the login", "return location.pathname === '/console/login'").await;
        window.type_into("#username", "root").await;
        window.type_into("#password", ROOT_PASSWORD).await;
        window.click("button.primary").await;
        let back = "return location.pathname + location.search ===
            '/console/channels?keyword=first'";
        until(&window, "the list with its filter", back).await;

        // A page that follows what happens comes back, and is told to stop.
        window.go("/console/log").await;
        let hide = |hidden: bool| {
            format!(
                "const hidden = {{ value: {hidden}, configurable: true }};
                Object.defineProperty(document, 'hidden', hidden);
                document.dispatchEvent(new Event('visibilitychange'))"
            )
        };
        let follows = "return Boolean(document.querySelector('#live')?._htmx?.sse?.reader)";
        until(&window, "a stream", follows).await;
        window.script(&hide(true)).await;
        world.db.execute("DELETE FROM sessions").await;
        window.script(&hide(false)).await;
        window.sees("The session has ended: log in again").await;
        let gone = "return document.querySelector('#live') === null";
        assert_eq!(window.script(gone).await, true);
        window.close().await;
        world.close().await;
    }

    async fn what_was_typed_stays_when_the_session_has_ended(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let window = Chromium::open(&world.server, DESK).await;
        let log_in = |name: &str, password: &str| {
            format!(
                "const body = new URLSearchParams({{ username: '{name}', password: '{password}' }});
                return fetch('/console/login', {{ method: 'POST', body }}).then((to) => to.url)"
            )
        };
        let dialog = "return document.getElementById('ended').open";
        let says = "const words = [...document.querySelectorAll('#ended [data-when]')];
            return words.filter((one) => !one.hidden).map((one) => one.dataset.when).join()";
        window.login("root", ROOT_PASSWORD).await;
        let before = world.admin().user_quota(ann).await;
        window.go(&format!("/console/users/{ann}/adjust")).await;
        window.type_into("#f-amount", "$1.5").await;
        window.type_into("#f-reason", "paid in cash").await;
        world.db.execute("DELETE FROM sessions").await;
        window.click("button[data-says-amount]").await;
        until(&window, "the dialog", dialog).await;
        assert_eq!(window.script(says).await, "over");
        window.accessible("a form without a session").await;
        // Still nobody, and then somebody else.
        window.click("#ended [value=again]").await;
        until(&window, "the dialog", dialog).await;
        window.script(&log_in(&name, PASSWORD)).await;
        window.click("#ended [value=again]").await;
        until(&window, "other words", &format!("{says} === 'other'")).await;
        assert_eq!(world.admin().user_quota(ann).await, before);
        window.script(&log_in("root", ROOT_PASSWORD)).await;
        window.click("#ended [value=again]").await;
        window.sees("$1.50 added to").await;
        assert_eq!(world.admin().user_quota(ann).await, before + 750_000);

        // A form of a page that is older than the session is sent in the new one, and what a part
        // of a page asks for leads nowhere while something is typed.
        window.go("/console/prices/edit").await;
        window.type_into("[name=model_name]", "song").await;
        // The preview was asked for by the page and by the name, and is not again by itself.
        let asked = "return performance.getEntriesByType('resource')
            .filter((one) => one.name.endsWith('/console/prices/preview')).length === 2";
        until(&window, "the preview", asked).await;
        world.db.execute("DELETE FROM sessions").await;
        window.type_into("[name=prompt_million]", "3").await;
        until(&window, "the dialog", dialog).await;
        window.script(&log_in("root", ROOT_PASSWORD)).await;
        window.click("#ended [value=no]").await;
        window.click("main form.form button.primary").await;
        window.sees("song").await;
        until(&window, "the list", "return location.pathname === '/console/prices'").await;
        window.close().await;
        world.close().await;
    }

    async fn who_comes_back_to_a_page_is_asked_again(db: TestDb) {
        let (world, _) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/keys").await;
        // What would be sent is counted, and not sent: the page stays, as if one came back to it.
        let count = "window.sent = 0; addEventListener('submit', (event) => {
            if (event.defaultPrevented || event.target.method !== 'post') return;
            window.sent += 1;
            event.preventDefault();
        })";
        window.script(count).await;
        let delete = "form[action$='/delete'] button";
        window.click(delete).await;
        window.click("#confirm button[value=yes]").await;
        until(&window, "the form to be sent", "return window.sent === 1").await;
        let back = "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
            return !document.querySelector(\"form[action$='/delete'] button\").disabled";
        until(&window, "the button to be there again", back).await;
        let batch = "return document.querySelector('#batch button').disabled";
        assert_eq!(window.script(batch).await, true, "nothing is ticked");
        window.click(delete).await;
        let asks = "return document.getElementById('confirm').open";
        assert_eq!(window.script(asks).await, true);
        assert_eq!(window.script("return window.sent").await, 1);
        window.clean().await;
        window.close().await;
        world.close().await;
    }
}
