//! A user's usage by key, model and day: the same sums however it is cut.

use crate::pages::{Browser, PASSWORD, attributes, between, lively, name_of};
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

/// Fails unless each number leads to as many lines, or to as much.
async fn leads_to_its_sums(browser: &Browser<'_>, path: &str, page: &str) {
    let table = between(page, "id=\"usage\"", "</table>").unwrap();
    let body = between(&table, "<tbody>", "</tbody>").unwrap_or_else(|| panic!("{path}: {page}"));
    let mut seen = 0;
    for cell in body.split("<a href=\"/console/log?").skip(1) {
        let (to, rest) = cell.split_once('"').unwrap();
        let shown = rest.split(['>', '<']).nth(1).unwrap();
        let to = format!("/console/log?{}", to.replace("&amp;", "&"));
        let log = browser.get(&to).await.expect(200).text();
        let lines = log.matches("id=\"line-").count();
        let kinds = lines_of_kinds(&log);
        if to.contains("type=spent") {
            let left = kinds[0] - kinds[1];
            let want = (left * 80 * 2).to_string();
            assert!(
                shown.replace("0.000", "").contains(&want) || left == 0,
                "{path} {to}: {shown}"
            );
            assert!(lines > 0, "{path} {to}");
        } else if to.contains("type=consume") {
            // Calls, or their tokens: 20 and 60 of each.
            let ways = [1, 20, 60].map(|of| (lines * of).to_string());
            assert!(ways.contains(&shown.to_owned()), "{path} {to}: {shown}, {lines} lines");
        } else {
            panic!("{path} leads to {to}");
        }
        seen += 1;
    }
    assert!(seen >= 4, "{path}: {page}");
}

/// How many charges and how many refunds a log lists.
fn lines_of_kinds(log: &str) -> [usize; 2] {
    [">charge<", ">refund<"].map(|kind| {
        let body = between(log, "<tbody>", "</tbody>").unwrap_or_default();
        body.matches(kind).count()
    })
}

on_both_databases! {
    async fn each_key_model_and_day_has_its_sum(db: TestDb) {
        let (world, ann) = lively(db).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        let key = world.admin().key_of(ann, json!({ "name": "=1+1" })).await;
        let (key, key_id) = (key.key, key.id);
        for _ in 0..2 {
            world.server.post("/pass/chat", &key, &json!({})).await.expect(200);
        }
        let eve = world.payer(1_000).await;
        world.pay("chat", &eve).await.expect(200);
        let table = async |per: &str| {
            let path = format!("/api/usage/self/table?per={per}");
            user.get(&path).await.expect(200).json()["data"]["rows"].clone()
        };
        let keys = table("key").await;
        assert_eq!(keys.as_array().unwrap().len(), 2, "{keys}");
        assert_eq!((&keys[0]["name"], &keys[0]["calls"]), (&json!("=1+1"), &json!(2)), "{keys}");
        assert_eq!((&keys[0]["spent"], &keys[1]["spent"]), (&json!(160), &json!(80)), "{keys}");
        for per in ["model", "day"] {
            let rows = table(per).await;
            let row = &rows[0];
            assert_eq!((&row["calls"], &row["spent"]), (&json!(3), &json!(240)), "{per}: {rows}");
            assert_eq!(row["completion_tokens"], 180, "{rows}");
        }
        user.get("/api/usage/self/table?per=hour").await.expect(422);
        let csv = user.get("/api/usage/self/table?per=key&format=csv").await.expect(200).text();
        let line = format!("'=1+1,2,160,40,120,{},{}\r\n", key_id, name_of(&world, ann).await);
        assert!(csv.starts_with("name,calls,spent,") && csv.contains(&line), "{csv}");

        // Everybody's, for administrators: by user too, and of one user the same as their own.
        user.get("/api/usage/table").await.expect(403);
        user.get("/api/usage/self/table?per=user").await.expect(422);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let all = async |query: &str| {
            let path = format!("/api/usage/table?{query}");
            root.get(&path).await.expect(200).json()["data"]["rows"].clone()
        };
        let users = all("").await;
        for (row, id, spent) in [(&users[0], ann, 240), (&users[1], eve.id, 80)] {
            assert_eq!((&row["user_id"], &row["spent"]), (&json!(id), &json!(spent)), "{users}");
        }
        assert_eq!(users[0]["name"], name_of(&world, ann).await.as_str(), "{users}");
        assert_eq!(all("per=key").await.as_array().unwrap().len(), 3);
        assert_eq!(all("per=model").await[0]["spent"], 320);
        assert_eq!(all("per=day").await[0]["calls"], 4);
        for by in ["day", "hour"] {
            let of_ann = all(&format!("per=key&user_id={ann}&by={by}")).await;
            assert_eq!(of_ann, keys, "{by}");
        }
        root.get("/api/usage/table?per=hour").await.expect(422);
        for path in ["/console/usage?per=user&range=24h", "/console/usage?per=user&top=5"] {
            let page = root.get(path).await.expect(200).text();
            assert!(page.contains(&format!("/console/users/{ann}")), "{path}: {page}");
        }
        let own = user.get("/console/usage?per=user").await.expect(200).text();
        assert!(own.contains("=1+1") && !own.contains("By user"), "{own}");

        let page = user.get("/console/usage?per=key&sort=spent&order=asc").await.expect(200).text();
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(place("$0.000160") < place("=1+1") && page.contains("$0.000480"), "{page}");
        world.close().await;
    }

    async fn numbers_of_usage_lead_to_the_lines_that_they_count(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let name = name_of(&world, ann).await;
        let eve = world.payer(500_000).await;
        let channel = admin.get("/api/channel").await[0]["id"].as_i64().unwrap();
        // Two keys of one name, of two users; a call of one is refunded whole.
        let keys = [
            admin.key_of(ann, json!({ "name": "default" })).await,
            admin.key_of(eve.id, json!({ "name": "default" })).await,
        ];
        for key in &keys {
            world.server.post("/pass/chat", &key.key, &json!({})).await.expect(200);
        }
        let sql = format!("SELECT request_id FROM logs WHERE type = 'consume' AND token_id = {}",
            keys[1].id);
        let request = world.db.query(&sql).await[0].text("request_id").to_owned();
        let refund = json!({ "delta": 80, "reason": "our fault", "reference": "r",
            "refund_of": request });
        admin.post(&format!("/api/user/{}/quota", eve.id), &refund).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;

        // Who they are of can be told, by people and by programs.
        let page = root.get("/console/usage?per=key").await.expect(200).text();
        for (key, owner) in [(&keys[0], ann), (&keys[1], eve.id)] {
            let row = between(&page, &format!("token_id={}\">default</a>", key.id), "</tr>");
            let row = row.unwrap_or_else(|| panic!("no key {}: {page}", key.id));
            assert!(row.contains(&format!("#{}<", key.id)), "{row}");
            assert!(row.contains(&format!("/console/users/{owner}\"")), "{row}");
        }
        let rows = admin.get("/api/usage/table?per=key").await["rows"].clone();
        let of = |id: i64| rows.as_array().unwrap().iter().find(|row| row["token_id"] == id);
        let row = of(keys[1].id).unwrap_or_else(|| panic!("{rows}"));
        assert_eq!((&row["user_id"], &row["calls"]), (&json!(eve.id), &json!(1)), "{row}");
        assert_eq!(row["username"], name_of(&world, eve.id).await.as_str(), "{row}");
        let rows = admin.get("/api/usage/table?per=channel").await["rows"].clone();
        let row = (&rows[0]["channel_id"], &rows[0]["name"], &rows[0]["spent"]);
        assert_eq!(row, (&json!(channel), &json!("first"), &json!(160)), "{rows}");
        user.get("/api/usage/self/table?per=channel").await.expect(422);
        // In a spreadsheet as well: a name may be that of several, and goes with what is deleted.
        for (per, column, id) in [("channel", "channel_id", channel), ("user", "user_id", eve.id)] {
            let path = format!("/api/usage/table?per={per}&format=csv");
            let csv = root.get(&path).await.expect(200).text();
            let mut lines = csv.lines();
            let head = format!("name,calls,spent,prompt_tokens,completion_tokens,{column}");
            assert_eq!(lines.next(), Some(&*head), "{csv}");
            assert!(lines.any(|line| line.ends_with(&format!(",{id}"))), "{csv}");
        }

        // A number leads to lines that add up to it, with the filters and the time of the page.
        let today = &admin.get("/api/usage/table?per=day").await["rows"][0]["name"];
        let days = format!("&from={0}&to={0}", today.as_str().unwrap());
        for filter in ["", "&model=chat", &format!("&username={name}"), "&range=24h", &days,
            &format!("&channel_id={channel}&from={}", today.as_str().unwrap())]
        {
            for per in ["user", "key", "channel", "model", "day"] {
                let path = format!("/console/usage?per={per}{filter}");
                let page = root.get(&path).await.expect(200).text();
                leads_to_its_sums(&root, &path, &page).await;
                assert!(page.contains("Show as a table"), "{path}: {page}");
            }
        }
        for per in ["key", "model", "day"] {
            for filter in ["", "&token_name=default", "&model=chat&username=eve&channel_id=999"] {
                let path = format!("/console/usage?per={per}{filter}");
                let page = user.get(&path).await.expect(200).text();
                leads_to_its_sums(&user, &path, &page).await;
                let to_log = |to: &String| to.starts_with("/console/log?");
                let mut ways = attributes(&page, "href").into_iter().filter(to_log);
                assert!(ways.all(|to| !to.contains("channel_id")), "{path}: {page}");
            }
        }
        // A filter leaves out what does not fit it.
        let none = root.get("/console/usage?per=user&model=none").await.expect(200).text();
        assert!(none.contains("No call was charged in this time."), "{none}");
        let old = root.get("/console/usage?from=2020-01-01&to=2020-02-01").await.expect(200).text();
        assert!(old.contains("No call was charged in this time."), "{old}");
        let path = "/console/usage?username=nobody&from=2020-01-01";
        let nobody = root.get(path).await.expect(200).text();
        assert!(nobody.contains("There is no user nobody"), "{nobody}");
        // Of a long time there is no chart, and the table is whole.
        for per in ["user", "key", "channel", "model"] {
            let path = format!("/console/usage?per={per}&from=2020-01-01");
            let page = root.get(&path).await.expect(200).text();
            assert!(page.contains("A chart is of at most 400 days"), "{page}");
            leads_to_its_sums(&root, &path, &page).await;
            let mut ways = attributes(&page, "href").into_iter();
            let csv = ways.find(|to| to.contains("format=csv")).unwrap();
            let csv = root.get(&csv.replace("&amp;", "&")).await.expect(200).text();
            assert!(csv.lines().count() > 1, "{path}: {csv}");
        }
        let days = root.get("/console/usage?per=day&from=2020-01-01").await.expect(200).text();
        assert!(days.contains("By day at most 400 days are listed"), "{days}");
        assert!(!days.contains("format=csv"), "{days}");
        let of_ann = root.get(&format!("/console/usage?per=user&username={name}")).await;
        let of_ann = of_ann.expect(200).text();
        assert!(!of_ann.contains(&format!("/console/users/{}\"", eve.id)), "{of_ann}");
        let page = root.get(&format!("/console/users/{ann}")).await.expect(200).text();
        assert!(page.contains("/console/usage?per=model&amp;username="), "{page}");

        // What is said to be spent leads to charges and refunds, which add up to it.
        let page = root.get("/console").await.expect(200).text();
        let to = attributes(&page, "href").into_iter().find(|to| to.contains("type=spent&from="));
        let log = root.get(&to.unwrap()).await.expect(200).text();
        let sums = between(&log, "Sums (", "</p>").unwrap();
        assert!(sums.contains("charge ×3 −$0.00048"), "{sums}");
        assert!(sums.contains("refund ×1 +$0.00016"), "{sums}");
        world.close().await;
    }

    async fn a_users_first_page_says_what_today_and_the_month_cost(db: TestDb) {
        let (world, ann) = lively(db).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        let home = user.get("/console").await.expect(200).text();
        for label in ["Spent today", "Spent this month"] {
            let tile = between(&home, &format!("<span>{label}</span>"), "</a>");
            let tile = tile.unwrap_or_else(|| panic!("no {label}: {home}"));
            assert!(tile.contains("$0.00016<"), "{tile}");
        }
        assert!(!home.contains("You are told when"), "{home}");
        user.send("/console/account/low-balance", "threshold=50000q").await.expect(303);
        let home = user.get("/console").await.expect(200).text();
        assert!(home.contains("You are told when the balance falls below $0.10"), "{home}");
        world.close().await;
    }
}
