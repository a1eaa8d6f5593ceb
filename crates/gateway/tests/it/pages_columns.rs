//! Readers choose the columns of lists.

use crate::pages::{Browser, PASSWORD, attributes, between, name_of};
use crate::pages_whole::FullWorld;
use crate::world::World;
use testkit::{Answer, ROOT_PASSWORD, TestDb, json, on_both_databases};

/// The lists of administrators with a choice of columns.
const LISTS: [&str; 12] = [
    "/console/users",
    "/console/keys",
    "/console/channels",
    "/console/prices",
    "/console/prices?edit=chat",
    "/console/log",
    "/console/log?show=recent",
    "/console/tasks",
    "/console/usage?per=model",
    "/console/codes",
    "/console/groups",
    "/console/webhooks/1",
];

/// The heads of a table, as readers see them.
fn heads(page: &str) -> Vec<String> {
    let head = between(listed(page), "<thead>", "</thead>").unwrap_or_default();
    let heads = head.split("<th").skip(1).filter_map(|head| head.split_once('>'));
    let words = heads.map(|(_, rest)| {
        let texts = rest.split('<').enumerate();
        let texts = texts.map(|(n, part)| match n {
            0 => part,
            _ => part.split_once('>').map_or("", |(_, text)| text),
        });
        texts.collect::<String>()
    });
    words.collect()
}

/// The list of a page: its last table, behind the one of a chart.
fn listed(page: &str) -> &str {
    &page[page.rfind("<table").unwrap_or_default()..]
}

/// Fails where a row of a table has not as many cells as its head.
fn check_rows(page: &str, what: &str) {
    // One opens the row on a phone, where it has something to open.
    let is_cell = |cell: &&str| !cell.contains("class=\"unfold\"");
    let cells = |row: &str, name: &str| -> usize {
        let cells = row.split(name).skip(1).filter(is_cell);
        cells
            .map(|cell| {
                let tag = cell.split('>').next().unwrap_or_default();
                let columns = between(tag, " colspan=\"", "\"");
                columns.map_or(1, |columns| columns.parse().unwrap())
            })
            .sum()
    };
    for table in page.split("<table").skip(1) {
        let table = table.split("</table>").next().unwrap();
        let (head, body) = table.split_once("</thead>").unwrap_or(("", table));
        let wanted = cells(&head.replace("<thead", ""), "<th");
        for row in body.split("<tr").skip(1) {
            assert_eq!(cells(row, "<td"), wanted, "{what}: {row}\n{head}");
        }
    }
}

/// The choice of a reader, as its form sends it.
struct Choice {
    list: String,
    ids: Vec<String>,
}

impl Choice {
    fn of(page: &str) -> Self {
        let form = between(page, "action=\"/console/columns\"", "</form>").expect("a choice");
        let list = between(&form, "name=\"list\" value=\"", "\"").unwrap();
        let ids = form.split("name=\"of\"").skip(1);
        let ids = ids.map(|rest| attributes(&rest[..40], "value").remove(0)).collect();
        Self { list, ids }
    }

    /// Sends it with all but these.
    async fn send(&self, browser: &Browser<'_>, hidden: &[&str], more: &str) -> Answer {
        let mut form = format!("list={}", self.list);
        for id in &self.ids {
            form.push_str(&format!("&of={id}"));
            if !hidden.contains(&id.as_str()) {
                form.push_str(&format!("&shown={id}"));
            }
        }
        browser.send("/console/columns", &format!("{form}{more}")).await.expect(303)
    }
}

/// The cookie that an answer sets, with its value.
fn kept(answer: &Answer) -> String {
    let set = answer.header("set-cookie").expect("a cookie");
    for guard in ["HttpOnly", "SameSite=Lax", "Path=/console"] {
        assert!(set.contains(guard), "{set}");
    }
    set.split(';').next().unwrap().to_owned()
}

async fn with_cookie(browser: &Browser<'_>, path: &str, cookie: &str) -> String {
    browser.call("GET", path).header("Cookie", cookie).send().await.expect(200).text()
}

on_both_databases! {
    async fn a_choice_of_columns_is_kept_by_list(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(500).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/users").await.expect(200).text();
        let before = heads(&list);
        let choice = Choice::of(&list);
        assert!(!list.contains("As delivered") && choice.list == "users", "{list}");
        // The thing, the box and what can be done are no choice.
        assert_eq!(choice.ids.len() + 4, before.len(), "{:?} {before:?}", choice.ids);

        let back = "&back=/console/users%3Fsort%3Dused_quota";
        let answer = choice.send(&root, &["role", "used_quota", "keys", "held"], back).await;
        assert_eq!(answer.header("location").as_deref(), Some("/console/users?sort=used_quota"));
        let cookie = kept(&answer);
        assert_eq!(cookie, "newapi_columns=users.role.held.used_quota.keys");
        let page = with_cookie(&root, "/console/users?sort=used_quota", &cookie).await;
        let gone = ["Role", "On hold", "Spent", "Keys"];
        let left: Vec<_> =
            before.iter().filter(|head| !gone.contains(&head.as_str())).cloned().collect();
        assert_eq!(heads(&page), left);
        let row = between(&page, &format!("<tr id=\"user-{}\"", ann.id), "</tr>").unwrap();
        assert!(!row.contains("/console/keys?user_id="), "{row}");
        assert!(page.contains("As delivered"), "{page}");
        let boxes = page.matches("name=\"shown\"").count() - page.matches(" checked>").count();
        assert_eq!(boxes, 4, "{page}");

        // Another list keeps its own, and this one is taken back alone.
        let mut later = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        later.keep(&cookie);
        let keys = Choice::of(&later.get("/console/keys").await.expect(200).text());
        let both = kept(&keys.send(&later, &["models"], "").await);
        assert_eq!(both, "newapi_columns=keys.models-users.role.held.used_quota.keys");
        let mut latest = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        latest.keep(&both);
        let reset = choice.send(&latest, &[], "&as=delivered").await;
        assert_eq!(kept(&reset), "newapi_columns=keys.models");
        // What was chosen may be all.
        assert_eq!(kept(&choice.send(&root, &[], "").await), "newapi_columns=users");
        let reset = choice.send(&root, &["role"], "&as=delivered").await;
        assert!(reset.header("set-cookie").unwrap().contains("newapi_columns=; "));
        assert!(reset.header("set-cookie").unwrap().ends_with("Max-Age=0"));
        world.close().await;
    }

    async fn what_is_hidden_is_not_read(db: TestDb) {
        let world = World::open(db).await;
        world.payer(500).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        world.db.execute("ALTER TABLE logs_by_day RENAME TO logs_by_day_away").await;
        root.get("/console/users").await.expect(500);
        let page = with_cookie(&root, "/console/users", "newapi_columns=users.used_30d").await;
        let heads = heads(&page).join(" ");
        assert!(heads.contains("Spent") && !heads.contains("Used 30 d"), "{heads}");
        world.db.execute("ALTER TABLE logs_by_day_away RENAME TO logs_by_day").await;
        world.close().await;
    }

    async fn a_cookie_of_another_making_hides_nothing(db: TestDb) {
        let world = World::open(db).await;
        world.payer(500).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console/users").await.expect(200).text();
        let before = heads(&page);
        let long = format!("users.{}role", "group.".repeat(1_000));
        let names = format!("users.{}", before.join(".").to_lowercase());
        for hostile in
            ["users.<script>", "users..", "users.ROLE", "-", "users", &long, &names, "users.name"]
        {
            let cookie = format!("newapi_columns={hostile}");
            assert_eq!(heads(&with_cookie(&root, "/console/users", &cookie).await), before);
        }
        // Nor does a form keep what is none, or lead elsewhere.
        let form = "list=users&of=%3Cb%3E&of=role&back=https%3A%2F%2Fevil.example%2Fconsole";
        let answer = root.send("/console/columns", form).await.expect(303);
        assert_eq!(answer.header("location").as_deref(), Some("/console"));
        assert_eq!(kept(&answer), "newapi_columns=users.role");
        let many: String = (0..2_000).map(|n| format!("&of=column_{n}")).collect();
        let answer = root.send("/console/columns", &format!("list=users{many}")).await.expect(303);
        assert!(kept(&answer).len() < 2_100);
        let nowhere = root.send("/console/columns", "list=a%3Bb&of=role").await.expect(303);
        assert_eq!(nowhere.header("set-cookie"), None);
        // A write, so that no other site makes it.
        root.call("POST", "/console/columns").body("list=users&of=role").send().await.expect(403);
        root.get("/console/columns").await.expect(405);
        world.close().await;
    }

    async fn rows_have_the_cells_of_their_head_whatever_is_hidden(db: TestDb) {
        let full = FullWorld::open(db).await;
        let admin = full.world.admin();
        let name = name_of(&full.world, full.ann).await;
        // A call that leaves a line beside the journal.
        let key = admin.key_of(full.ann, json!({ "name": "phone" })).await.key;
        full.world.server.post("/pass/none", &key, &json!({})).await;
        let mut seen = 0;
        for (login, password) in [("root", ROOT_PASSWORD), (name.as_str(), PASSWORD)] {
            let browser = Browser::login(&full.world.server, login, password).await;
            for path in LISTS {
                let answer = browser.get(path).await;
                let page = answer.text();
                if answer.status != 200 || !page.contains("/console/columns") {
                    assert_ne!(login, "root", "{path}: {page}");
                    continue;
                }
                seen += 1;
                check_rows(&page, path);
                let Choice { list, ids } = Choice::of(&page);
                let all = heads(&page).len();
                let each = ids.iter().map(|id| vec![id.as_str()]);
                let none_left = ids.iter().map(String::as_str).collect();
                let every_second = ids.iter().step_by(2).map(String::as_str).collect();
                for hidden in each.chain([vec![], none_left, every_second]) {
                    let cookie =
                        format!("newapi_columns={}", [&[&*list], &hidden[..]].concat().join("."));
                    let page = with_cookie(&browser, path, &cookie).await;
                    check_rows(&page, &format!("{login} {path} {cookie}"));
                    let opener = usize::from(!listed(&page).contains("<th class=\"unfold\">"));
                    let left = heads(&page).len() + opener;
                    assert_eq!(left + hidden.len(), all, "{login} {path} {cookie}");
                }
            }
        }
        assert_eq!(seen, LISTS.len() + 6, "lists of users, too");
        full.close().await;
    }
}
