//! The journal as it is taken away: exports and statements.

use crate::world::{World, by_use, fixed};
use serde_json::Value;
use testkit::{Gate, Reply, TestDb, eventually, json, on_both_databases};

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
async fn proves_itself(world: &World, statement: &Value, balance: i64) {
    let (opening, closing) = (&statement["opening"], &statement["closing"]);
    assert_eq!(opening.as_i64().unwrap() + moved(statement), closing.as_i64().unwrap());
    let held = statement["held"].as_i64().unwrap();
    assert_eq!(closing.as_i64().unwrap() - held, balance, "{statement}");
    let id = statement["user_id"].as_i64().unwrap();
    let sql = format!("SELECT quota FROM users WHERE id = {id}");
    assert_eq!(world.db.i64(&sql).await, balance);
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

/// Lines of three users over forty days, as the ledger leaves them: the balances are their sums.
/// Their numbers are spread over several blocks of the journal.
async fn history(db: &TestDb, lines: i64) {
    let at = format!("1700000000 + CAST(n AS BIGINT) * 3456000 / {lines}");
    let at =
        if db.is_postgres() { format!("to_timestamp({at})") } else { format!("({at}) * 1000") };
    db.execute(&format!(
        "INSERT INTO users (id, username) VALUES (901, 'ann'), (902, 'bob'), (903, 'eve');
         INSERT INTO tokens (id, user_id, name, key_hash, unlimited_quota)
         SELECT id, id, 'key of ' || username, {hash}, true FROM users WHERE id > 900;
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {lines})
         INSERT INTO logs (id, user_id, created_at, type, model_name, channel_id, token_id, quota,
                           prompt_tokens, completion_tokens, delta, used_delta)
         SELECT 1000 + n * 100, 901 + n % 3, {at},
                CASE n % 5 WHEN 0 THEN 'topup' WHEN 1 THEN 'refund' ELSE 'consume' END,
                CASE n % 5 WHEN 0 THEN '' ELSE 'model-' || n % 7 END,
                CASE n % 5 WHEN 0 THEN NULL ELSE 1 + n % 4 END,
                CASE n % 5 WHEN 0 THEN NULL ELSE 901 + n % 3 END, n, n % 11, n % 13,
                CASE n % 5 WHEN 0 THEN 3 * n WHEN 1 THEN n ELSE -n END,
                CASE n % 5 WHEN 0 THEN 0 WHEN 1 THEN -n ELSE n END
         FROM n;
         UPDATE users SET revision = revision + 1,
             quota = (SELECT sum(delta) FROM logs WHERE user_id = users.id),
             used_quota = (SELECT sum(used_delta) FROM logs WHERE user_id = users.id)
         WHERE id > 900",
        hash = if db.is_postgres() { "sha256(username::bytea)" } else { "randomblob(32)" },
    ))
    .await;
    if db.is_postgres() {
        db.query("SELECT setval('logs_id_seq', (SELECT max(id) FROM logs))").await;
    }
}

/// Fifty more lines among those of [`history`], of one user.
async fn history_goes_on(db: &TestDb) {
    db.execute(
        "INSERT INTO logs (user_id, created_at, type, model_name, channel_id, token_id, quota,
                           prompt_tokens, delta, used_delta)
         SELECT 901, created_at, 'consume', 'model-3', 2, 901, 5, 1, -5, 5
         FROM logs WHERE user_id > 900 AND type <> 'topup' ORDER BY id LIMIT 50;
         UPDATE users SET revision = revision + 1, quota = quota - 250,
                          used_quota = used_quota + 250
         WHERE id = 901",
    )
    .await;
}

/// Lets the background add up what the journal has, and nothing that comes later.
async fn add_up(world: &mut World) {
    if world.db.is_postgres() {
        // The first start sees the lines; the next one can rule out hidden lines before them.
        world.server.restart().await;
        reach(&world.db, "newest").await;
        let long_ago = "UPDATE rollup_cursor SET seen_at = '2020-01-01', horizon = 0";
        world.db.execute(long_ago).await;
    }
    world.server.restart().await;
    reach(&world.db, "through").await;
    world
        .db
        .execute(if world.db.is_postgres() {
            "CREATE RULE stay AS ON UPDATE TO rollup_cursor DO INSTEAD NOTHING"
        } else {
            "CREATE TRIGGER stay BEFORE UPDATE ON rollup_cursor BEGIN SELECT RAISE(IGNORE); END"
        })
        .await;
}

async fn reach(db: &TestDb, mark: &str) {
    let behind = format!("SELECT (SELECT max(id) FROM logs) - {mark} AS n FROM rollup_cursor");
    let there = || async { (db.i64(&behind).await == 0).then_some(()) };
    eventually("the journal to be added up", there).await;
}

/// What the lines of a condition add up to, as the API shows it.
async fn plain_sums(db: &TestDb, condition: &str) -> Value {
    let sql = format!(
        "SELECT type, count(*) AS n, sum(quota) AS quota, sum(delta) AS delta,
                sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens
         FROM logs WHERE {condition} GROUP BY type ORDER BY type"
    );
    let sum = |row: &testkit::Row| {
        json!({"type": row.text("type"), "count": row.i64("n"), "quota": row.i64("quota"),
               "delta": row.i64("delta"), "prompt_tokens": row.i64("prompt_tokens"),
               "completion_tokens": row.i64("completion_tokens")})
    };
    db.query(&sql).await.iter().map(sum).collect()
}

on_sqlite! {
    async fn old_lines_leave_once_they_are_to_be_kept_shorter(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_LOG_RETENTION_DAYS", "36500")]).await;
        history(&world.db, 300).await;
        let lines = "SELECT count(*) FROM logs WHERE user_id > 900";
        assert_eq!(world.db.i64(lines).await, 300);

        let short = json!({"key": "CUSTOM_PASS_LOG_RETENTION_DAYS", "value": "90"});
        world.admin().put("/api/option", &short).await;

        let gone = || async { (world.db.i64(lines).await == 0).then_some(()) };
        eventually("lines of years ago to be gone", gone).await;
        world.close().await;
    }
}

/// Fails unless pages are those of the journal, and their totals.
async fn pages_are_those_of_the_lines(world: &World, instant: impl Fn(i64) -> String) {
    let (middle, noon) = (150_000, 1_700_000_000 + 20 * 86_400);
    for (filter, condition) in [
        ("type=consume", "type = 'consume'".to_owned()),
        ("type=precharge", "1 = 0".to_owned()),
        ("type=spent", "type IN ('consume', 'refund')".to_owned()),
        ("type=spent&channel_id=2", "type IN ('consume', 'refund') AND channel_id = 2".to_owned()),
        ("type=spent&user_id=901", "type IN ('consume', 'refund') AND user_id = 901".to_owned()),
        ("model=model-3", "model_name = 'model-3'".to_owned()),
        ("channel_id=2&model=model-3", "channel_id = 2 AND model_name = 'model-3'".to_owned()),
        (&format!("type=refund&before_id={middle}"), format!("type = 'refund' AND id < {middle}")),
        (&format!("end_time={noon}"), format!("created_at < {}", instant(noon))),
        ("user_id=902", "user_id = 902".to_owned()),
        ("username=ann&type=consume", "user_id = 901 AND type = 'consume'".to_owned()),
        (
            &format!("token_id=903&before_id={middle}&end_time={noon}"),
            format!("token_id = 903 AND id < {middle} AND created_at < {}", instant(noon)),
        ),
        (
            &format!("channel_id=3&start_time={}&end_time={noon}", noon - 500_000),
            format!(
                "channel_id = 3 AND created_at >= {} AND created_at < {}",
                instant(noon - 500_000),
                instant(noon)
            ),
        ),
    ] {
        let lines = world.db.query(&format!("SELECT id FROM logs WHERE {condition}")).await;
        let mut lines: Vec<i64> = lines.iter().map(|line| line.i64("id")).collect();
        lines.sort_by_key(|&id| std::cmp::Reverse(id));
        for (page, size) in [(1, 20), (2, 7), (5, 60), (9, 100)] {
            let path = format!("/api/log?{filter}&p={page}&page_size={size}");
            let found = world.admin().call("GET", &path).send().await.expect(200).json();
            let ids = found["data"].as_array().unwrap().iter().map(|line| &line["id"]);
            let want = lines.iter().skip((page - 1) * size).take(size);
            assert!(ids.eq(want), "{path}: {found}");
            assert_eq!(found["total"], lines.len(), "{path}");
        }
        let path = format!("/api/log/export?{filter}");
        let text = world.admin().call("GET", &path).send().await.expect(200).text();
        assert!(
            rows(&text)[1..].iter().map(|row| row[0].parse::<i64>().unwrap()).eq(lines),
            "{path}"
        );
    }
}

/// Fails unless the usage of channels is that of their lines, added up or not.
async fn channels_have_their_sums(world: &World, filter: &str, condition: &str) {
    let time = "start_time=1700000000&end_time=1702000000";
    let path = format!("/api/usage/table?per=channel&{time}{filter}");
    let found = world.admin().get(&path).await["rows"].clone();
    let start = 1_700_000_000 / 86_400 * 86_400;
    let instant = |seconds: i64| match world.db.is_postgres() {
        true => format!("to_timestamp({seconds})"),
        false => (seconds * 1000).to_string(),
    };
    let (from, to) = (instant(start), instant(1_702_000_000));
    let sql = format!(
        "SELECT channel_id, sum(used_delta) AS spent,
                sum(CASE WHEN type = 'consume' AND used_delta <> 0 THEN 1 ELSE 0 END) AS calls
         FROM logs WHERE channel_id IS NOT NULL AND {condition}
           AND created_at >= {from} AND created_at < {to}
         GROUP BY channel_id ORDER BY 2 DESC, 1"
    );
    let rows = world.db.query(&sql).await;
    assert!(!rows.is_empty(), "{path}");
    let want: Vec<_> = rows
        .iter()
        .map(|row| [row.i64("channel_id"), row.i64("spent"), row.i64("calls")])
        .collect();
    let of = |row: &Value, name: &str| row[name].as_i64().unwrap();
    let found: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|row| [of(row, "channel_id"), of(row, "spent"), of(row, "calls")])
        .collect();
    assert_eq!(found, want, "{path}");
}

on_both_databases! {
    async fn sums_are_those_of_the_lines(db: TestDb) {
        let mut world = World::with(db, &[("CUSTOM_PASS_LOG_RETENTION_DAYS", "36500")]).await;
        history(&world.db, 3_000).await;
        add_up(&mut world).await;
        // Lines of the same days that come later, and are not added up yet.
        history_goes_on(&world.db).await;
        let behind = "SELECT max(id) - (SELECT through FROM rollup_cursor) AS n FROM logs";
        assert_eq!(world.db.i64(behind).await, 50);

        let instant = |s: i64| match world.db.is_postgres() {
            true => format!("to_timestamp({s})"),
            false => (s * 1000).to_string(),
        };
        const DAY: i64 = 86_400;
        let first = 1_700_000_000;
        let midnight = first / DAY * DAY;
        for (filter, condition) in [
            ("", "1 = 1"),
            ("type=consume", "type = 'consume'"),
            ("type=topup", "type = 'topup'"),
            ("type=spent", "type IN ('consume', 'refund')"),
            ("type=spent&user_id=901", "type IN ('consume', 'refund') AND user_id = 901"),
            ("model=model-3", "model_name = 'model-3'"),
            ("channel_id=2", "channel_id = 2"),
            ("channel_id=2&model=model-3&type=refund",
             "channel_id = 2 AND model_name = 'model-3' AND type = 'refund'"),
            ("user_id=901", "user_id = 901"),
            ("username=bob&model=model-1", "user_id = 902 AND model_name = 'model-1'"),
            ("user_id=901&channel_id=2", "user_id = 901 AND channel_id = 2"),
            ("token_id=901&channel_id=2&before_id=5", "token_id = 901 AND channel_id = 2"),
            ("token_id=903", "token_id = 903"),
            ("token_name=key%20of%20eve&type=consume", "token_id = 903 AND type = 'consume'"),
            ("user_id=901&token_id=902", "1 = 0"),
            ("model=none", "1 = 0"),
        ] {
            for (start, end) in [
                (midnight, midnight + 31 * DAY),
                (midnight + DAY + 1, midnight + 20 * DAY + 12_345),
                (midnight + 3 * DAY + 1_800, midnight + 3 * DAY + 5_400),
                (midnight + 3 * DAY + 1_800, midnight + 3 * DAY + 9_000),
                (midnight + 30 * DAY + 77, midnight + 60 * DAY),
            ] {
                let path = format!("/api/log/stat?{filter}&start_time={start}&end_time={end}");
                let sums = world.admin().get(&path).await;
                let (from, to) = (instant(start), instant(end));
                let times = format!("{condition} AND created_at >= {from} AND created_at < {to}");
                assert_eq!(sums["by_type"], plain_sums(&world.db, &times).await, "{path}");
            }
        }
        pages_are_those_of_the_lines(&world, instant).await;
        channels_have_their_sums(&world, "", "1 = 1").await;
        channels_have_their_sums(&world, "&model=model-3", "model_name = 'model-3'").await;
        channels_have_their_sums(&world, "&user_id=902", "user_id = 902").await;
        channels_have_their_sums(&world, "&channel_id=2", "channel_id = 2").await;

        // A deleted key leaves its lines behind.
        let of_key = ["/api/log/stat?token_id=903&start_time=1700000000&end_time=1702000000",
                      "/api/log?token_id=903&type=refund", "/api/log/export?token_id=903"];
        let admin = world.admin();
        let read = async |path| admin.call("GET", path).send().await.expect(200).text();
        let before = [read(of_key[0]).await, read(of_key[1]).await, read(of_key[2]).await];
        admin.call("DELETE", "/api/token/903").send().await.expect(200);
        let after = [read(of_key[0]).await, read(of_key[1]).await, read(of_key[2]).await];
        assert_eq!(before, after);
        assert_eq!(admin.get("/api/log?token_id=904").await, json!([]), "no such key");

        // A name that many keys share is no useful filter.
        let hash = if world.db.is_postgres() { "sha256(n::text::bytea)" } else { "randomblob(32)" };
        world.db.execute(&format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 101)
             INSERT INTO tokens (user_id, name, key_hash) SELECT 901, 'mine', {hash} FROM n"
        )).await;
        admin.call("GET", "/api/log/stat?token_name=mine").send().await.expect(422);
        admin.call("GET", "/api/log/stat?token_name=mine&user_id=901").send().await.expect(200);

        // A statement of a month that ended, and the one behind it.
        for month in ["2023-11", "2023-12"] {
            let path = format!("/api/statement?user_id=901&month={month}");
            let statement = world.admin().get(&path).await;
            let end = instant(statement["end_time"].as_i64().unwrap());
            let closing = "SELECT sum(delta) AS n FROM logs WHERE user_id = 901 AND created_at <";
            let closing = world.db.i64(&format!("{closing} {end}")).await;
            assert_eq!(statement["closing"], closing);
            assert_eq!(statement["opening"].as_i64().unwrap() + moved(&statement), closing);
        }
        world.close().await;
    }

    async fn the_log_is_exported_as_a_table(db: TestDb) {
        let world = World::open(db).await;
        world.model("=cmd()", fixed(60), Reply::text("x")).await;
        world.model("m", by_use(), Reply::result(1, 2)).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let call = world.server.call("POST", "/pass/=cmd()").key(&ann.key).json(&json!({}));
        call.send().await.expect(200);
        world.model("＝cmd()", fixed(60), Reply::text("x")).await;
        world.upstream.on("/%EF%BC%9Dcmd()", Reply::text("x"));
        let call = world.server.call("POST", "/pass/%EF%BC%9Dcmd()").key(&ann.key);
        call.json(&json!({})).send().await.expect(200);
        world.pay("m", &bob).await.expect(200);
        world.admin().add_quota(ann.id, -200, "-1+1|calc, \"it\"").await;
        chatter(&world.db, bob.id, 2_500).await;

        let admin = world.admin();
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
        assert!(text.contains(",'＝cmd(),60,"), "so is one with a full-width sign: {text}");
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
        for bad in ["limit=0", "limit=1000001", "limit=x", "type=spend"] {
            admin.call("GET", &format!("/api/log/export?{bad}")).send().await.expect(422);
        }
        world.close().await;
    }

    async fn users_take_away_what_is_theirs(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(60), Reply::text("x")).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        for payer in [&ann, &bob] {
            world.pay("m", payer).await.expect(200);
        }
        let renew = format!("/api/user/{}/token", ann.id);
        let token = world.admin().post(&renew, &json!({})).await;
        let ann_calls = testkit::Admin::new(world.server.addr(), token.as_str().unwrap());

        for path in ["/api/log/export", "/api/statement?user_id=1"] {
            ann_calls.call("GET", path).send().await.expect(403);
        }
        let path = format!("/api/log/self/export?user_id={}", bob.id);
        let text = ann_calls.call("GET", &path).send().await.expect(200).text();
        let lines = rows(&text);
        assert!(lines.len() > 2 && lines[1..].iter().all(|row| row[3] == ann.id.to_string()));
        assert!(lines[1..].iter().all(|row| row[9].is_empty()), "channels are the world's: {text}");
        let own = ann_calls.get(&format!("/api/statement/self?user_id={}", bob.id)).await;
        assert_eq!(own["user_id"], ann.id);
        proves_itself(&world, &own, 940).await;
        world.close().await;
    }

    async fn a_statement_adds_up(db: TestDb) {
        let world = World::open(db).await;
        world.model("fixed", fixed(60), Reply::text("x")).await;
        world.model("used", json!({"ratio": 1, "min_hold": 50}), Reply::result(2, 3)).await;
        let gate = Gate::new();
        world.model("slow", fixed(80), Reply::text("x").gated(&gate)).await;
        let ann = world.payer(1_000).await;
        let path = format!("/api/statement?user_id={}", ann.id);
        for model in ["fixed", "fixed", "used"] {
            world.pay(model, &ann).await.expect(200);
        }
        let slow = world.server.call("POST", "/pass/slow").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(slow.send());
        gate.reached(1).await;
        world.admin().add_quota(ann.id, 300, "paid").await;
        let sql = format!("UPDATE users SET quota = quota - 7 WHERE id = {}", ann.id);
        world.db.execute(&sql).await;

        let early = world.admin().get(&path).await;
        assert_eq!(early["held"], 80);
        proves_itself(&world, &early, 1_000 - 125 - 80 + 300 - 7).await;
        gate.open();
        running.await.unwrap().expect(200);

        let done = world.admin().get(&path).await;
        let lines = shown(&done);
        let charges: Vec<_> = lines.iter().filter(|line| line.starts_with("charge")).collect();
        assert_eq!(charges, ["charge fixed 2 -120", "charge slow 1 -80", "charge used 1 -5"]);
        assert_eq!(done["held"], 0);
        assert_eq!((&done["opening"], &done["complete"]), (&json!(0), &json!(false)));
        proves_itself(&world, &done, 1_088).await;

        let csv = world.admin().call("GET", &format!("{path}&format=csv")).send().await;
        let text = csv.expect(200).text();
        let table = rows(&text);
        assert_eq!((table[1][0], table[1][5]), ("opening", "0"));
        assert_eq!(table.last().map(|row| (row[0], row[5])), Some(("held", "0")));
        assert!(table.contains(&vec!["closing", "", "", "", "", "1088"]), "{text}");
        assert!(table.contains(&vec!["charge", "used", "1", "2", "3", "-5"]), "{text}");

        // Before there was anything, and after: a month that has not begun opens with what is left.
        let before = world.admin().get(&format!("{path}&month=2020-02")).await;
        assert_eq!((&before["opening"], &before["closing"]), (&json!(0), &json!(0)));
        assert_eq!((&before["complete"], moved(&before)), (&json!(true), 0));
        let after = world.admin().get(&format!("{path}&month=2999-01")).await;
        assert_eq!((&after["opening"], &after["closing"]), (&json!(1_088), &json!(1_088)));
        for (bad, status) in [("&month=2026-13", 422), ("&format=pdf", 422), ("999", 404)] {
            let answer = world.admin().call("GET", &format!("{path}{bad}")).send().await;
            answer.expect(status);
        }
        world.close().await;
    }

    async fn months_that_are_gone_still_count(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(60), Reply::text("x")).await;
        let ann = world.payer(1_000).await;
        world.pay("m", &ann).await.expect(200);
        // What retention leaves of an old month: its sum, and the mark of how far it came.
        let id = ann.id;
        world.db.execute(&format!(
            "UPDATE users SET quota = quota + 500, revision = revision + 1 WHERE id = {id};
             INSERT INTO ledger_carry (user_id, delta, used) VALUES ({id}, 500, 0)"
        )).await;
        if !world.db.is_postgres() {
            let march_2020 = 1_583_020_800_000_i64;
            world.db.execute(&format!(
                "UPDATE rollup_cursor SET kept_from = {march_2020}"
            )).await;
        }

        let now = world.admin().get(&format!("/api/statement?user_id={id}")).await;
        assert_eq!(now["opening"], 500);
        proves_itself(&world, &now, 1_440).await;
        let gone = format!("/api/statement?user_id={id}&month=2020-02");
        world.admin().call("GET", &gone).send().await.expect(404);
        world.close().await;
    }
}
