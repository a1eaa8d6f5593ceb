//! What fits on a page: amounts in their tiles, tables in a window, pages on a phone; and what
//! charts and tests of channels show.

use super::Chromium;
use super::journeys::DESK;
use super::phone::check_tables;
use super::pictures::{NARROW, WIDE};
use crate::pages::{Browser, PASSWORD, crawl, lively, name_of, shapes};
use crate::pages_whole::FullWorld;
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually, json};

/// $123,456.789012
const MUCH: i64 = 61_728_394_506;
/// Amounts that are wider than their place.
const CUT: &str = "return [...document.querySelectorAll('.tile b')]
    .filter((amount) => amount.scrollWidth > amount.clientWidth).map((amount) => amount.innerText)";
/// How much wider the page is than the window.
const WIDER: &str = "return document.documentElement.scrollWidth
    - document.documentElement.clientWidth";

/// Tables that are wider than their place, with what is cut.
const CUT_COLUMNS: &str = "return [...document.querySelectorAll('main .scroll')]
    .filter((box) => box.checkVisibility() && box.scrollWidth > box.clientWidth)
    .map((box) => box.innerText.slice(0, 120))";

on_sqlite! {
    async fn real_amounts_fit_their_tiles(db: TestDb) {
        let (world, ann) = lively(db).await;
        world.admin().add_quota(ann, MUCH - 499_920, "a great customer").await;
        let name = name_of(&world, ann).await;
        for (login, password, path) in [
            ("root", ROOT_PASSWORD, "/console".to_owned()),
            ("root", ROOT_PASSWORD, format!("/console/users/{ann}")),
            (&name, PASSWORD, "/console".to_owned()),
        ] {
            let window = Chromium::open(&world.server, DESK).await;
            window.login(login, password).await;
            for size in [WIDE, NARROW] {
                window.resize(size).await;
                window.go(&path).await;
                window.sees("$123,456.78").await;
                assert_eq!(window.script(CUT).await, json!([]), "{login} {path} {size:?}");
                assert_eq!(window.script(WIDER).await, 0, "{login} {path} {size:?}");
            }
            window.clean().await;
            window.close().await;
        }
        world.close().await;
    }

    async fn a_phone_shows_every_page_within_its_width(db: TestDb) {
        let full = FullWorld::open(db).await;
        let world = &full.world;
        let name = name_of(world, full.ann).await;
        let mut wide = Vec::new();
        for (login, password) in [("root", ROOT_PASSWORD), (name.as_str(), PASSWORD)] {
            let pages = shapes(crawl(&Browser::login(&world.server, login, password).await)
                .await.into_keys());
            let window = Chromium::open(&world.server, DESK).await;
            window.resize(NARROW).await;
            window.login(login, password).await;
            for path in &pages {
                window.go(path).await;
                let more = window.script(WIDER).await;
                if more != 0 {
                    wide.push(format!("{login} {path}: {more} px"));
                }
                let cut = window.script(CUT_COLUMNS).await;
                if cut != json!([]) {
                    wide.push(format!("{login} {path}: {cut}"));
                }
                check_tables(&window, &format!("{login} {path}"), &mut wide).await;
            }
            window.go("/console/log?type=consume").await;
            // What a row has no room for is below it, once it is opened.
            let seen = "return [...document.querySelectorAll('main tbody tr:first-child td')]
                .filter((cell) => cell.checkVisibility())
                .map((cell) => getComputedStyle(cell, '::before').content)";
            let before = window.script(seen).await;
            assert!(before.as_array().unwrap().len() <= 6, "{before}");
            window.click("main tbody .unfold input").await;
            let after = window.script(seen).await;
            assert!(after.to_string().contains("Took"), "{after}");
            assert!(!before.to_string().contains("Took"), "{before}");
            window.accessible("a row that is opened").await;
            window.click("label.menu").await;
            window.click("a[href='/console/account']").await;
            window.clean().await;
            window.close().await;
        }
        assert!(wide.is_empty(), "not for a phone: {wide:#?}");
        full.close().await;
    }

    async fn the_log_fits_beside_a_scroll_bar(db: TestDb) {
        let (world, _) = lively(db).await;
        let admin = world.admin();
        let model = "anthropic/claude-sonnet-4-5-20250929-thinking";
        world.upstream.on(&format!("/{model}"), Reply::result(82_000, 14_600));
        world.channel(&[model], json!({ "name": "azure-east" })).await;
        admin.price(model, json!({ "ratio": 1.25 })).await;
        let user = json!({ "username": "maria.oberhuber", "password": PASSWORD, "quota": MUCH });
        let user = admin.user(user).await;
        let key = admin.key_of(user, json!({ "name": "notebook of the office" })).await.key;
        world.server.post(&format!("/pass/{model}"), &key, &json!({})).await.expect(200);
        let window = Chromium::open(&world.server, DESK).await;
        window.resize(WIDE).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/log").await;
        window.script("document.documentElement.style.overflowY = 'scroll'").await;
        let cut = "const list = document.querySelector('#list .scroll');
            return [list.scrollWidth - list.clientWidth, innerWidth - document.body.clientWidth]";
        let cut = window.script(cut).await;
        assert_eq!(cut[0], 0, "{cut}");
        window.close().await;
        world.close().await;
    }

    async fn a_channels_own_page_tests_the_model_that_is_chosen(db: TestDb) {
        let (world, _) = lively(db).await;
        let said = r#"{"error":{"message":"The API key is <not> known to us"}}"#;
        world.upstream.on("/draw", Reply::raw_json(said).status(401));
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console/channels/1").await;
        let choose = "document.querySelector('select[name=model]').value = 'draw'";
        let calls = async || {
            let seen = world.upstream.requests().await;
            seen.iter().filter(|request| request.target == "/draw").count()
        };
        for times in 1..=2 {
            if times == 1 {
                window.script(choose).await;
            }
            window.click("form[action='/console/channels/1/test'] button").await;
            eventually("the test", || async { (calls().await == times).then_some(()) }).await;
            window.sees("401").await;
            // In sight, and not only under the mouse.
            window.sees("The API key is <not> known to us").await;
            assert_eq!(window.value("select[name=model]").await, "draw");
            let nested = "return document.querySelectorAll('form form').length
                + document.querySelectorAll('#probe form').length";
            assert_eq!(window.script(nested).await, 0);
        }
        window.accessible("a channel that was tested").await;
        window.close().await;
        world.close().await;
    }

    async fn a_chart_shows_its_last_step_and_what_is_below_zero(db: TestDb) {
        let (world, _) = lively(db).await;
        // More was given back than spent in this hour.
        let back = "UPDATE logs_by_hour SET used_delta = -500000 WHERE type = 'consume'";
        eventually("the lines to be added up", || async {
            let rows = world.db.i64("SELECT count(*) FROM logs_by_hour WHERE type = 'consume'");
            (rows.await > 0).then_some(())
        })
        .await;
        world.db.execute(back).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login("root", ROOT_PASSWORD).await;
        window.go("/console?range=24h").await;
        window.sees("Models that cost most").await;
        let scales = "const { scales } = document.querySelector('[data-chart]').plot;
            return [scales.y.min, scales.y.max, scales.right.min, scales.right.max]";
        let scales = window.script(scales).await;
        assert!(scales[0].as_f64().unwrap() <= -1.0, "{scales}");
        assert_eq!(scales[2], 0, "{scales}");
        let legend = window.text(".u-legend").await;
        assert!(legend.contains("spent") && legend.contains("−$1.00"), "{legend}");
        // The first step and the last are drawn whole.
        let edges = "const plot = document.querySelector('[data-chart]').plot;
            const [times] = plot.data;
            const half = (times[1] - times[0]) / 2;
            return [times[0] - plot.scales.x.min - half, plot.scales.x.max - times.at(-1) - half]";
        assert_eq!(window.script(edges).await, json!([0, 0]));
        window.clean().await;
        window.close().await;
        world.close().await;
    }

    async fn a_user_redeems_a_code(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let lot = json!({ "name": "spring", "quota": 2_500_000, "count": 1, "reason": "a prize" });
        let made = admin.post("/api/redemption", &lot).await;
        let code = made[0].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let before = admin.user_quota(ann).await;
        let window = Chromium::open(&world.server, DESK).await;
        window.login(&name_of(&world, ann).await, PASSWORD).await;
        window.go("/console/redeem").await;
        window.accessible("redeeming").await;
        window.type_into("#f-code", &code).await;
        window.click("main button.primary").await;
        eventually("the money", || async {
            (admin.user_quota(ann).await == before + 2_500_000).then_some(())
        })
        .await;
        window.sees("$5").await;
        window.accessible("a code that was redeemed").await;
        window.clean().await;
        window.close().await;
        world.close().await;
    }
}
