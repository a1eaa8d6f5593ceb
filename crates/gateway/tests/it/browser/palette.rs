//! Going by a name, with the keyboard alone.

use super::journeys::DESK;
use super::{Chromium, ENTER, ESCAPE};
use crate::pages::lively;
use testkit::{ROOT_PASSWORD, TestDb, eventually};

const ARROW_DOWN: &str = "\u{e015}";
const ARROW_UP: &str = "\u{e013}";
const CONTROL_K: &str = "document.dispatchEvent(new KeyboardEvent('keydown',
    { key: 'k', ctrlKey: true, bubbles: true, cancelable: true }))";

on_sqlite! {
    async fn a_name_leads_to_its_page(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = crate::pages::name_of(&world, ann).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        let here = async |path: &str| {
            eventually(path, || async {
                (window.script("return location.pathname").await == path).then_some(())
            })
            .await;
        };
        // All pages, before something is typed.
        window.script(CONTROL_K).await;
        window.sees("Admin journal").await;
        let shown = "return document.querySelectorAll('#found a').length";
        eventually("the pages", || async {
            (window.script(shown).await.as_i64() > Some(15)).then_some(())
        })
        .await;
        window.accessible("the palette").await;
        // The first with Enter, others by the arrows; from within any page, and from a field.
        window.keys("firs").await;
        let first = "const found = document.getElementById('found');
            return found.dataset.of === 'firs'
                && found.querySelector('a')?.href.endsWith('/channels/1')";
        eventually("the channel", || async {
            (window.script(first).await == true).then_some(())
        })
        .await;
        window.accessible("the palette, with what was found").await;
        window.keys(ENTER).await;
        here("/console/channels/1").await;
        window.go("/console/log").await;
        window.click("[name=model]").await;
        window.script(CONTROL_K).await;
        window.keys(&name).await;
        let both = format!(
            "return document.getElementById('found').dataset.of === '{name}'
                 && document.querySelectorAll('#found a').length === 1"
        );
        eventually("the user", || async {
            (window.script(&both).await == true).then_some(())
        })
        .await;
        window.keys(&format!("{ARROW_DOWN}{ARROW_DOWN}{ARROW_UP}{ENTER}")).await;
        here(&format!("/console/users/{ann}")).await;

        // Its link in the menu, in Chinese; Escape closes it.
        window.click("button[name=lang]").await;
        window.sees("使用日志").await;
        window.click("[data-palette]").await;
        window.keys("价格").await;
        let price = "return document.querySelector('#found a')?.innerText.includes('价格')";
        eventually("the page", || async { (window.script(price).await == true).then_some(()) })
            .await;
        window.accessible("the palette in Chinese").await;
        window.keys(ESCAPE).await;
        window.keys(ESCAPE).await;
        assert_eq!(window.script("return document.getElementById('palette').open").await, false);
        window.clean().await;
        window.close().await;
        world.close().await;
    }
}
