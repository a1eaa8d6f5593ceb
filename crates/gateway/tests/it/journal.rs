//! The journal as it is taken away: exports and statements.

use crate::house::{House, by_use, fixed};
use serde_json::Value;
use testkit::{Gate, Reply, TestDb, json, on_both_databases};

/// An export, as rows of cells. No cell of these tests holds a comma or a line break, but for what
/// is quoted.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.split_terminator("\r\n").map(|line| line.split(',').collect()).collect()
}

/// The sum of a statement's lines.
fn moved(statement: &Value) -> i64 {
    let lines = statement["lines"].as_array().unwrap();
    lines.iter().map(|line| line["amount"].as_i64().unwrap()).sum()
}

/// The lines of a statement: `charge m 2 -120`.
fn shown(statement: &Value) -> Vec<String> {
    let line = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        format!("{} {} {} {}", text("kind"), text("model_name"), line["count"], line["amount"])
    };
    statement["lines"].as_array().unwrap().iter().map(line).collect()
}

/// Whether opening and lines add up to closing, and closing to the balance.
async fn proves_itself(house: &House, statement: &Value, balance: i64) {
    let (opening, closing) = (&statement["opening"], &statement["closing"]);
    assert_eq!(opening.as_i64().unwrap() + moved(statement), closing.as_i64().unwrap());
    assert_eq!(closing.as_i64().unwrap(), balance, "{statement}");
    let id = statement["user_id"].as_i64().unwrap();
    let sql = format!("SELECT quota FROM users WHERE id = {id}");
    assert_eq!(house.db.i64(&sql).await, balance);
}

/// Writes lines that move nothing, of one user.
async fn chatter(db: &TestDb, user: i64, lines: i64) {
    db.execute(&format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {lines})
         INSERT INTO logs (user_id, username, type, content)
         SELECT {user}, 'chatty', 'system', 'line ' || n FROM n"
    ))
    .await;
}

on_both_databases! {
    async fn the_log_is_exported_as_a_table(db: TestDb) {
        let house = House::open(db).await;
        house.model("=cmd()", fixed(60), Reply::text("x")).await;
        house.model("m", by_use(), Reply::result(1, 2)).await;
        let (ann, bob) = (house.payer(1_000).await, house.payer(1_000).await);
        let call = house.server.call("POST", "/pass/=cmd()").key(&ann.key).json(&json!({}));
        call.send().await.expect(200);
        house.pay("m", &bob).await.expect(200);
        house.admin().add_quota(ann.id, -200, "-1+1|calc, \"it\"").await;
        chatter(&house.db, bob.id, 2_500).await;

        let admin = house.admin();
        let export = async |filter: &str| {
            admin.call("GET", &format!("/api/log/export?{filter}")).send().await.expect(200)
        };
        let answer = export(&format!("user_id={}", ann.id)).await;
        assert_eq!(answer.header("Content-Type").as_deref(), Some("text/csv; charset=utf-8"));
        let file = answer.header("Content-Disposition").unwrap();
        assert!(file.starts_with("attachment; filename=\"logs-20") && file.ends_with("Z.csv\""));
        let text = answer.text();
        assert!(text.starts_with("id,created_at,type,user_id,"), "{text}");
        assert!(text.contains(",'=cmd(),60,"), "a formula is text: {text}");
        assert!(text.contains(",-60,"), "a number is a number: {text}");
        assert!(text.contains(r#""'-1+1|calc, ""it"" "#), "{text}");
        let times = rows(&text)[1..].iter().all(|row| row[1].len() == 20 && row[1].ends_with('Z'));
        assert!(times, "{text}");

        // Longer than a piece: every line once, newest first.
        let chatty = format!("username=&type=system&user_id={}", bob.id);
        let text = export(&chatty).await.text();
        let all = rows(&text);
        assert_eq!(all.len(), 1 + 2_500);
        let said = all[1..].iter().map(|row| row[13].to_owned());
        assert!(said.eq((1..=2_500).rev().map(|n| format!("line {n}"))));

        // A limit, and the way on.
        let text = export(&format!("{chatty}&limit=1200")).await.text();
        let some = rows(&text);
        assert_eq!(some.len(), 1 + 1_200);
        let on = format!("{chatty}&before_id={}", some.last().unwrap()[0]);
        assert_eq!(rows(&export(&on).await.text()).len(), 1 + 1_300);
        assert_eq!(rows(&export("model=none").await.text()).len(), 1, "the head alone");
        for bad in ["limit=0", "limit=1000001", "limit=x", "type=spent"] {
            admin.call("GET", &format!("/api/log/export?{bad}")).send().await.expect(422);
        }
        house.close().await;
    }

    async fn users_take_away_what_is_theirs(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(60), Reply::text("x")).await;
        let (ann, bob) = (house.payer(1_000).await, house.payer(1_000).await);
        for payer in [&ann, &bob] {
            house.pay("m", payer).await.expect(200);
        }
        let renew = format!("/api/user/{}/token", ann.id);
        let token = house.admin().post(&renew, &json!({})).await;
        let ann_calls = testkit::Admin::new(house.server.addr(), token.as_str().unwrap());

        for path in ["/api/log/export", "/api/statement?user_id=1"] {
            ann_calls.call("GET", path).send().await.expect(403);
        }
        let path = format!("/api/log/self/export?user_id={}", bob.id);
        let text = ann_calls.call("GET", &path).send().await.expect(200).text();
        let lines = rows(&text);
        assert!(lines.len() > 2 && lines[1..].iter().all(|row| row[3] == ann.id.to_string()));
        assert!(lines[1..].iter().all(|row| row[9].is_empty()), "channels are the house's: {text}");
        let own = ann_calls.get(&format!("/api/statement/self?user_id={}", bob.id)).await;
        assert_eq!(own["user_id"], ann.id);
        proves_itself(&house, &own, 940).await;
        house.close().await;
    }

    async fn a_statement_adds_up(db: TestDb) {
        let house = House::open(db).await;
        house.model("fixed", fixed(60), Reply::text("x")).await;
        house.model("used", json!({"ratio": 1, "min_hold": 50}), Reply::result(2, 3)).await;
        let gate = Gate::new();
        house.model("slow", fixed(80), Reply::text("x").gated(&gate)).await;
        let ann = house.payer(1_000).await;
        let path = format!("/api/statement?user_id={}", ann.id);
        for model in ["fixed", "fixed", "used"] {
            house.pay(model, &ann).await.expect(200);
        }
        let slow = house.server.call("POST", "/pass/slow").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(slow.send());
        gate.reached(1).await;
        house.admin().add_quota(ann.id, 300, "paid").await;
        let sql = format!("UPDATE users SET quota = quota - 7 WHERE id = {}", ann.id);
        house.db.execute(&sql).await;

        let early = house.admin().get(&path).await;
        assert!(shown(&early).contains(&"held  0 -80".to_owned()), "{early}");
        proves_itself(&house, &early, 1_000 - 125 - 80 + 300 - 7).await;
        gate.open();
        running.await.unwrap().expect(200);

        let done = house.admin().get(&path).await;
        let lines = shown(&done);
        let charges: Vec<_> = lines.iter().filter(|line| line.starts_with("charge")).collect();
        assert_eq!(charges, ["charge fixed 2 -120", "charge slow 1 -80", "charge used 1 -5"]);
        assert!(!lines.iter().any(|line| line.starts_with("held")), "{lines:?}");
        assert_eq!((&done["opening"], &done["complete"]), (&json!(0), &json!(false)));
        proves_itself(&house, &done, 1_088).await;

        let csv = house.admin().call("GET", &format!("{path}&format=csv")).send().await;
        let text = csv.expect(200).text();
        let table = rows(&text);
        assert_eq!((table[1][0], table[1][5]), ("opening", "0"));
        assert_eq!(table.last().map(|row| (row[0], row[5])), Some(("closing", "1088")));
        assert!(table.contains(&vec!["charge", "used", "1", "2", "3", "-5"]), "{text}");

        // Before there was anything, and after: a month that has not begun opens with what is left.
        let before = house.admin().get(&format!("{path}&month=2020-02")).await;
        assert_eq!((&before["opening"], &before["closing"]), (&json!(0), &json!(0)));
        assert_eq!((&before["complete"], moved(&before)), (&json!(true), 0));
        let after = house.admin().get(&format!("{path}&month=2999-01")).await;
        assert_eq!((&after["opening"], &after["closing"]), (&json!(1_088), &json!(1_088)));
        for (bad, status) in [("&month=2026-13", 422), ("&format=pdf", 422), ("999", 404)] {
            let answer = house.admin().call("GET", &format!("{path}{bad}")).send().await;
            answer.expect(status);
        }
        house.close().await;
    }

    async fn months_that_are_gone_still_count(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(60), Reply::text("x")).await;
        let ann = house.payer(1_000).await;
        house.pay("m", &ann).await.expect(200);
        // What retention leaves of an old month: its sum, and the mark of how far it came.
        let id = ann.id;
        house.db.execute(&format!(
            "UPDATE users SET quota = quota + 500, revision = revision + 1 WHERE id = {id};
             INSERT INTO ledger_carry (user_id, delta, used) VALUES ({id}, 500, 0)"
        )).await;
        if !house.db.is_postgres() {
            let march_2020 = 1_583_020_800_000_i64;
            house.db.execute(&format!(
                "UPDATE rollup_progress SET through = {march_2020} WHERE name = 'carried'"
            )).await;
        }

        let now = house.admin().get(&format!("/api/statement?user_id={id}")).await;
        assert_eq!(now["opening"], 500);
        proves_itself(&house, &now, 1_440).await;
        let gone = format!("/api/statement?user_id={id}&month=2020-02");
        house.admin().call("GET", &gone).send().await.expect(404);
        house.close().await;
    }
}
