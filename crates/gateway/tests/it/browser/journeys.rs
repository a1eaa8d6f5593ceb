//! What people do in the console, done in Chromium.

use super::{Chromium, ENTER, ESCAPE};
use crate::pages::{Browser, PASSWORD, crawl, lively, name_of, shapes};
use crate::pages_whole::FullWorld;
use crate::world::World;
use testkit::{ROOT_PASSWORD, TestDb, eventually, json};

/// A window of a desk.
pub(super) const DESK: (u32, u32) = (1280, 900);
/// As narrow as Chromium's windows get.
pub(super) const PHONE: (u32, u32) = (500, 900);

on_sqlite! {
    async fn an_operator_moves_money_and_explains_a_charge(db: TestDb) {
        let (world, ann) = lively(db).await;
        let before = world.admin().user_quota(ann).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.sees("Models that cost most").await;
        assert!(window.script("return document.querySelectorAll('canvas').length").await != 0);

        window.go(&format!("/console/users/{ann}/adjust")).await;
        window.type_into("#f-amount", "$5").await;
        eventually("the balance then", || async {
            (window.text("#then").await == "$5.99984").then_some(())
        })
        .await;
        assert!(window.text("button.primary").await.starts_with("Add $5.00 to "));
        window.type_into("#f-reason", "a prize").await;
        window.click("button.primary").await;
        window.sees("$5.00 added to ").await;
        window.sees("a prize").await;
        assert_eq!(world.admin().user_quota(ann).await, before + 2_500_000);

        window.click("a[href^='/console/explain/']").await;
        window.sees("How this charge came about").await;
        window.sees("= 80 quota = $0.00016").await;
        window.go("/console/channels").await;
        window.click("form[action='/console/channels/1/test'] button").await;
        window.sees("works").await;
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn the_script_reads_amounts_as_the_server_does(db: TestDb) {
        let world = World::with(db, &[("CONSOLE_UNIT", "¥7.25")]).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        for (typed, quota, shown) in [
            ("100", 6_896_552, "¥100.00"),
            ("¥ 1,234,567.89", 85_142_613_103_i64, "¥1,234,567.89"),
            ("$5", 2_500_000, "¥36.25"),
            ("1 q", 1, "¥0.00001"),
            (".00116", 80, "¥0.00116"),
        ] {
            let reads = format!("return String(amounts.read({typed:?}))");
            assert_eq!(window.script(&reads).await, quota.to_string(), "{typed}");
            let shows = format!("return amounts.show({quota}n)");
            assert_eq!(window.script(&shows).await, shown);
        }
        for typed in ["-5", "0,50", "$0.000001", "¥¥1", "", "¥"] {
            let reads = format!("return amounts.read({typed:?})");
            assert_eq!(window.script(&reads).await, json!(null), "{typed}");
        }
        assert_eq!(window.script("return amounts.show(-500000n)").await, "−¥7.25");
        window.go("/console/account").await;
        for (typed, beside) in [
            ("$5", "= 2,500,000 q"),
            ("36.25", "= 2,500,000 q"),
            ("80 q", "= ¥0.00116"),
            ("5€", ""),
        ] {
            let types = format!(
                "const field = document.getElementById('f-threshold'); field.value = {typed:?};
                 field.dispatchEvent(new Event('input', {{ bubbles: true }}));
                 return document.querySelector('output[for=f-threshold]').value;"
            );
            assert_eq!(window.script(&types).await, beside, "{typed}");
        }
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn a_sign_moves_no_money_the_other_way(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let before = world.admin().user_quota(ann).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        let path = format!("/console/users/{ann}/adjust");
        window.go(&path).await;
        window.click("input[value=take]").await;
        for amount in ["-5", "0,50", "1,0000"] {
            window.script("document.getElementById('f-amount').value = ''").await;
            window.type_into("#f-amount", amount).await;
            let said = window.text("button.primary").await;
            assert_eq!(said, format!("Take … from {name}"), "{amount}");
            assert_eq!(window.text("#then").await, "–", "{amount}");
        }
        window.type_into("#f-reason", "a mistake").await;
        window.click("button.primary").await;
        window.sees("without a sign").await;
        window.accessible(&path).await;
        assert_eq!(world.admin().user_quota(ann).await, before);
        window.script("document.getElementById('f-amount').value = ''").await;
        window.type_into("#f-amount", "$0.5").await;
        assert_eq!(window.text("button.primary").await, format!("Take $0.50 from {name}"));
        assert_eq!(window.text("#then").await, "$0.49984");
        window.click("button.primary").await;
        window.sees("$0.50 taken from ").await;
        assert_eq!(world.admin().user_quota(ann).await, before - 250_000);

        // A lot of codes and a first deposit say what they come to as well.
        window.go("/console/codes/new").await;
        window.type_into("#f-quota", "$1,000").await;
        window.script("document.getElementById('f-count').value = ''").await;
        window.type_into("#f-count", "100").await;
        assert_eq!(window.text("button.primary").await, "Make codes worth $100,000.00");
        // A second click sends nothing: it would replace the page that shows the codes.
        window.type_into("#f-reason", "the fair").await;
        let twice = "const button = document.querySelector('button.primary'); \
                     button.click(); setTimeout(() => button.click());";
        window.script(twice).await;
        window.sees("This is the only time the codes are shown").await;
        window.go("/console/users/new").await;
        assert_eq!(window.text("button.primary").await, "Create user");
        window.type_into("#f-quota", "$5").await;
        assert_eq!(window.text("button.primary").await, "Create user with $5.00");
        assert_eq!(window.text("#then").await, "$5.00");
        // Not clean: a refused form is an error to the browser.
        window.close().await;
        world.close().await;
    }

    async fn an_empty_installation_is_set_up_by_clicking(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/draw", testkit::Reply::result(20, 60));
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.sees("0 of 5").await;
        window.accessible("the guide").await;
        let next = "#setup li[aria-current] a.primary";
        window.click(next).await;
        window.type_into("#f-name", "vendor").await;
        window.script("document.getElementById('f-base_url').value = ''").await;
        window.type_into("#f-base_url", &world.upstream.url()).await;
        window.type_into("#f-key", "a-key").await;
        window.type_into("#f-models", "draw").await;
        window.click("button.primary").await;
        window.sees("1 of 5").await;
        window.click(next).await;
        assert_eq!(window.value("#f-model_name").await, "draw");
        window.click("input[name=kind][value=call]").await;
        window.type_into("#f-fixed_quota", "$0.05").await;
        window.click("button.primary").await;
        window.sees("2 of 5").await;
        window.click(next).await;
        window.type_into("#f-username", "ann").await;
        window.type_into("#f-quota", "$1").await;
        window.type_into("#f-reason", "to begin with").await;
        window.click("button.primary").await;
        window.sees("3 of 5").await;
        window.click(next).await;
        assert_eq!(window.value("#f-user_id").await, "ann");
        window.click("button.primary").await;
        window.sees("the only time the key is shown").await;
        let key = window.text("#new-key").await;
        window.click(".buttons a.primary").await;
        window.sees("4 of 5").await;
        window.sees("/pass/draw").await;
        window.accessible("the guide that waits").await;
        let stays = "window.stays = true";
        window.script(stays).await;
        world.server.post("/pass/draw", &key, &testkit::json!({})).await.expect(200);
        window.sees("The first paid call has come: draw, charged $0.05.").await;
        assert_eq!(window.script("return window.stays").await, true, "without loading it again");
        window.click("#setup a.primary").await;
        window.sees("How this charge came about").await;
        window.go("/console").await;
        window.sees("Models that cost most").await;
        let guide = "return document.querySelector('#setup')";
        assert_eq!(window.script(guide).await, testkit::json!(null));
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn the_first_page_loads_little(db: TestDb) {
        let (world, _) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.go("/console/login").await;
        let loaded = "return performance.getEntriesByType('resource').map((one) => one.name)";
        let loaded = window.script(loaded).await;
        assert_eq!(loaded.as_array().unwrap().len(), 2, "page, style and script: {loaded}");
        window.close().await;
        world.close().await;
    }

    async fn an_operator_disables_channels_together(db: TestDb) {
        let (world, _) = lively(db).await;
        world.channel(&["chat"], testkit::json!({ "name": "second" })).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/channels").await;
        window.click("th.tick input").await;
        window.click("#batch button[value='2']").await;
        window.sees("Apply to 2 channels").await;
        let on = "SELECT count(*) FROM channels WHERE status = 1";
        assert_eq!(world.db.i64(on).await, 2, "nothing has changed yet");
        window.accessible("what a batch changes").await;
        window.click("button[name=apply]").await;
        window.sees("Disabled").await;
        assert_eq!(world.db.i64(on).await, 0);

        // Undone, and done again; so is one row.
        window.accessible("what can be undone").await;
        let address = "return location.search";
        assert_eq!(window.script(address).await, "", "the address is the list again");
        window.click(".toast button").await;
        window.sees("Enabled").await;
        assert_eq!(world.db.i64(on).await, 2);
        window.click(".toast button").await;
        window.sees("Disabled").await;
        assert_eq!(world.db.i64(on).await, 0);
        window.click("form[action='/console/channels/1/status?to=on'] button").await;
        window.sees("Enabled").await;
        assert_eq!(world.db.i64(on).await, 1);
        window.click(".toast button").await;
        window.sees("Disabled").await;
        assert_eq!(world.db.i64(on).await, 0);

        // Codes and users go the same way.
        for (list, apply) in [("codes", "Apply to 2 codes"), ("users", "Apply to 1 user")] {
            window.go(&format!("/console/{list}")).await;
            window.click("th.tick input").await;
            window.click("#batch button[value='2']").await;
            window.sees(apply).await;
            window.accessible(&format!("what a batch of {list} changes")).await;
            window.click("button[name=apply]").await;
            window.sees("Disabled").await;
        }
        assert_eq!(world.db.i64("SELECT count(*) FROM redemptions WHERE status = 2").await, 2);

        // One by its row and the key x, changed by the form.
        window.go("/console/channels?sort=name&order=asc").await;
        window.type_into("body", "jx").await;
        window.click("#batch button[name=edit]").await;
        window.sees("Change 1 channel").await;
        window.accessible("the form of a batch").await;
        window.type_into("#f-add_models", "other, more").await;
        window.click("button.primary").await;
        window.sees("+ other").await;
        window.click("button[name=apply]").await;
        window.sees("Saved").await;
        let models = "SELECT count(*) FROM channels WHERE models LIKE '%,other,more'";
        assert_eq!(world.db.i64(models).await, 1);

        // Tested together, row by row; what failed is ticked.
        world.upstream.on("/chat", testkit::Reply::text("no").status(500));
        world.upstream.on("/fine", testkit::Reply::text("ok"));
        world.channel(&["fine"], testkit::json!({ "name": "third" })).await;
        window.go("/console/channels?sort=name&order=asc").await;
        window.click("th.tick input").await;
        window.click("#batch button[formaction]").await;
        window.sees("works").await;
        eventually("two that failed", || async {
            let ticked = "return document.querySelectorAll('td input:checked').length";
            (window.script(ticked).await == 2).then_some(())
        })
        .await;
        window.accessible("tests of many channels").await;
        window.click("#batch button[value='2']").await;
        window.sees("nothing changes").await;
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn a_user_makes_a_key_and_reads_in_their_language(db: TestDb) {
        let (world, ann) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login(&name_of(&world, ann).await, PASSWORD).await;
        window.go("/console/keys/new").await;
        window.type_into("#f-name", "laptop").await;
        window.click("button.primary").await;
        window.sees("the only time the key is shown").await;
        let key = window.text("#new-key").await;
        let body = testkit::json!({ "q": 1 });
        world.server.post("/pass/chat", &key, &body).await.expect(200);

        window.click("button[name=lang]").await;
        window.sees("使用日志").await;
        assert_eq!(window.script("return document.documentElement.lang").await, "zh-CN");
        let paper = "return getComputedStyle(document.body).backgroundColor";
        let light = window.script(paper).await;
        let dark = "const theme = document.querySelector('[name=theme]'); theme.value = 'dark';
            theme.dispatchEvent(new Event('change', { bubbles: true }))";
        window.script(dark).await;
        eventually("a dark page", || async {
            (window.script(paper).await != light).then_some(())
        })
        .await;
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn keys_reach_every_page_and_deletions_are_asked_about(db: TestDb) {
        let (world, _) = lively(db).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        assert_eq!(window.text("[data-go=p] kbd").await, "p", "the menu says where g leads");
        window.keys("gp").await;
        window.sees("Completion $/M").await;
        window.keys("?").await;
        window.sees("Shortcuts").await;
        window.keys(ESCAPE).await;
        let open = "return document.querySelectorAll('dialog[open]').length";
        assert_eq!(window.script(open).await, 0);
        // From a row on to what can be done with it.
        let delete = "form[action='/console/prices/delete?model=chat'] button";
        window.keys("j").await;
        window.tab_to(delete).await;
        window.keys(ENTER).await;
        window.sees("free from then on").await;
        window.keys(ENTER).await;
        assert_eq!(window.script(open).await, 0);
        assert_eq!(world.db.i64("SELECT count(*) FROM abilities").await, 1);
        window.keys(ENTER).await;
        window.sees("free from then on").await;
        window.tab_to("#confirm button[value=yes]").await;
        window.keys(ENTER).await;
        window.sees("Deleted").await;
        assert_eq!(world.db.i64("SELECT count(*) FROM abilities").await, 0);

        // A list is searched, and its first row opened: a charge by how it came about.
        window.keys("gl").await;
        window.sees("Export CSV").await;
        window.keys("jj").await;
        let here = "return [...document.querySelectorAll('tbody tr')]
            .findIndex((row) => row.classList.contains('here'))";
        assert_eq!(window.script(here).await, 1);
        window.keys("/").await;
        window.tab_to("[name=model]").await;
        window.keys(&format!("chat{ENTER}")).await;
        eventually("the lines of the model", || async {
            let rows = window.script("return document.querySelectorAll('#list tbody tr').length");
            (rows.await == 1).then_some(())
        })
        .await;
        window.keys(ESCAPE).await;
        window.keys(&format!("j{ENTER}")).await;
        window.sees("How this charge came about").await;

        // When exactly: of times that say how long ago.
        window.keys("gc").await;
        window.sees("Last test").await;
        window.keys("gr").await;
        window.sees("Redeemed by").await;
        let time = "#list time";
        assert!(window.text(time).await.contains("ago") || window.text(time).await == "now");
        window.keys("t").await;
        let year = window.text(time).await;
        assert!(year.starts_with("20") && year.contains(':'), "{year}");
        window.clean().await;
        window.close().await;
        world.close().await;
    }
}

#[test]
fn every_page_of_operators_is_accessible_in_english() {
    testkit::run(every_page_is_accessible("en", true));
}

#[test]
fn every_page_of_operators_is_accessible_in_chinese() {
    testkit::run(every_page_is_accessible("zh", true));
}

#[test]
fn every_page_of_users_is_accessible_in_english() {
    testkit::run(every_page_is_accessible("en", false));
}

#[test]
fn every_page_of_users_is_accessible_in_chinese() {
    testkit::run(every_page_is_accessible("zh", false));
}

/// Looks at the pages of root, or of a user, in this language, light and dark.
async fn every_page_is_accessible(lang: &str, of_root: bool) {
    let FullWorld { world, ann } = FullWorld::open(TestDb::sqlite().await).await;
    let name = name_of(&world, ann).await;
    let (name, password) = if of_root { ("root", ROOT_PASSWORD) } else { (&*name, PASSWORD) };
    let browser = Browser::login(&world.server, name, password).await;
    let pages = shapes(crawl(&browser).await.into_keys());
    assert!(pages.len() > 20, "{pages:?}");
    let window = Chromium::open(&world.server, DESK).await;
    window.login(name, password).await;
    let prefer = format!(
        "return fetch('/console/preferences', {{ method: 'POST', body:
            new URLSearchParams({{ lang: '{lang}', theme: 'light' }}) }})
            .then((answer) => answer.status)"
    );
    assert_eq!(window.script(&prefer).await, 200);
    for path in &pages {
        window.go(path).await;
        let tag = window.script("return document.documentElement.lang").await;
        assert!(tag.as_str().unwrap().starts_with(lang), "{path}");
        window.accessible(&format!("{name} {lang} {path}")).await;
    }
    window.clean().await;
    window.close().await;
    FullWorld { world, ann }.close().await;
}
