//! Every table on a phone: about three columns, and the others of a row once it is opened.

use super::Chromium;
use super::journeys::DESK;
use super::pictures::NARROW;
use crate::pages_whole::FullWorld;
use serde_json::Value;
use testkit::{ROOT_PASSWORD, TestDb, json};

/// What is wrong with the tables of a page: rows that show too much, or can't be opened, or whose
/// cells leave the window; and how many rows there were.
const TABLES: &str = r"
    const wrong = [];
    let rows = 0;
    const isOut = (cell) => cell.getBoundingClientRect().right > innerWidth + 1;
    for (const row of document.querySelectorAll('main :is(tbody, tfoot) > tr')) {
        if (!row.checkVisibility()) continue;
        rows += 1;
        const say = (what) => wrong.push(`${what}: ${row.innerText.slice(0, 80)}`);
        const cells = [...row.cells].filter((cell) => !cell.matches('.tick, .unfold'));
        const seen = cells.filter((cell) => cell.checkVisibility());
        const folded = cells.filter((cell) => !seen.includes(cell) && cell.textContent.trim());
        if (seen.length > 4) say(`${seen.length} columns`);
        if (seen.some(isOut)) say('beyond the window');
        const box = row.querySelector(':scope > .unfold input');
        if (!box) {
            if (folded.length) say('can not be opened');
            continue;
        }
        if (!box.checkVisibility()) say('no box');
        if (!folded.length) say('nothing to open');
        box.click();
        const labelled = (cell) => cell.matches('.acts') || cell.dataset.label !== undefined;
        if (!folded.every((cell) => cell.checkVisibility())) say('does not open');
        if (!folded.every(labelled)) say('without the head of its column');
        if ([...seen, ...folded].some(isOut)) say('opened beyond the window');
    }
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth > clientWidth) wrong.push(`${scrollWidth - clientWidth} px too wide`);
    return [rows, wrong];";

/// Checks the tables of the page, and opens their rows; returns how many rows there are.
pub(super) async fn check_tables(window: &Chromium, what: &str, wrong: &mut Vec<String>) -> i64 {
    let found = window.script(TABLES).await;
    let faults = found[1].as_array().cloned().unwrap_or_default();
    wrong.extend(faults.iter().map(|fault: &Value| format!("{what}: {fault}")));
    found[0].as_i64().unwrap()
}

on_sqlite! {
    async fn tables_that_no_link_leads_to_fold_on_a_phone(db: TestDb) {
        let full = FullWorld::open(db).await;
        let mut wrong = Vec::new();
        let window = Chromium::open(&full.world.server, DESK).await;
        window.resize(NARROW).await;
        window.login("root", ROOT_PASSWORD).await;
        let statement = format!("/console/statements?user_id={}", full.ann);
        for path in ["/console", "/console/api?q=quota", &statement] {
            window.go(path).await;
            let rows = check_tables(&window, path, &mut wrong).await;
            assert!(rows > 1, "{path} has no table");
        }
        // A sum has nothing to open.
        let sums = "return [...document.querySelectorAll('main tbody tr')]
            .map((row) => row.querySelector('.unfold') !== null)";
        let sums = window.script(sums).await;
        let (first, last) = (&sums[0], sums.as_array().unwrap().last().unwrap());
        assert_eq!((first, last), (&json!(false), &json!(false)), "{sums}");
        assert!(sums.as_array().unwrap().contains(&json!(true)), "{sums}");
        // Tasks that are decided over, one of them with a problem.
        window.go("/console/tasks?live=off").await;
        window.click("main tbody .tick input").await;
        let another = "const id = document.createElement('input');
            [id.type, id.name, id.value] = ['hidden', 'id', '99'];
            document.getElementById('batch').append(id)";
        window.script(another).await;
        window.click("#batch button[value=settle]").await;
        window.sees("no such task").await;
        assert_eq!(check_tables(&window, "tasks that are decided over", &mut wrong).await, 2);
        assert!(wrong.is_empty(), "{wrong:#?}");
        window.clean().await;
        window.close().await;
        full.close().await;
    }

    async fn the_check_of_a_phone_finds_what_is_wrong(db: TestDb) {
        let full = FullWorld::open(db).await;
        let window = Chromium::open(&full.world.server, DESK).await;
        window.resize(NARROW).await;
        window.login("root", ROOT_PASSWORD).await;
        for (harm, fault) in [
            ("for (const cell of document.querySelectorAll('main .unfold')) cell.remove()",
                "can not be opened"),
            ("for (const cell of document.querySelectorAll('main .hide')) \
                cell.classList.remove('hide')", "columns"),
            ("document.querySelector('main td').style.minWidth = '600px'", "window"),
        ] {
            window.go("/console/users").await;
            window.script(harm).await;
            let mut wrong = Vec::new();
            check_tables(&window, "users", &mut wrong).await;
            assert!(wrong.iter().any(|it| it.contains(fault)), "{harm}: {wrong:?}");
        }
        assert_eq!(window.script("return 1").await, json!(1));
        window.close().await;
        full.close().await;
    }
}
