//! A key gets a new secret: what is good for how long, and that all else stays.

use crate::pages::{Browser, PASSWORD, attributes, between, name_of};
use crate::pages_protocols::form as encoded;
use crate::world::{Payer, World, fixed, node};
use std::collections::BTreeSet;
use testkit::{Admin, ROOT_PASSWORD, Reply, Server, TestDb, eventually, json, on_both_databases};

/// The key with a new secret, and the reply about it.
async fn rotated(world: &World, payer: &Payer, body: serde_json::Value) -> Payer {
    let path = format!("/api/token/{}/rotate", payer.token_id);
    let made = world.admin().post(&path, &body).await;
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("sk-") && key != payer.key, "{made}");
    assert_eq!((&made["id"], &made["user_id"]), (&json!(payer.token_id), &json!(payer.id)));
    Payer { key, ..payer.clone() }
}

async fn key_row(world: &World, payer: &Payer) -> serde_json::Value {
    world.admin().get(&format!("/api/token/{}", payer.token_id)).await
}

async fn end_old(world: &World, payer: &Payer) -> serde_json::Value {
    world.admin().delete(&format!("/api/token/{}/old-key", payer.token_id)).await
}

/// Refused, in these words.
async fn refused(world: &World, payer: &Payer, words: &str) {
    let answer = world.pay("m", payer).await.expect_error(401, "AUTH_ERROR");
    assert!(answer.text().contains(words), "{}", answer.text());
}

const UNKNOWN: &str = "is not valid";

on_both_databases! {
    async fn two_secrets_of_a_key_are_one_key(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(1_000).await;
        let limits = json!({"name": "bot", "remain_quota": 50, "unlimited_quota": false});
        let first = world.key(&ann, limits).await;
        world.pay("m", &first).await.expect(200);
        assert_eq!(key_row(&world, &first).await["rotated_at"], json!(null));

        let second = rotated(&world, &first, json!({})).await;

        let row = key_row(&world, &first).await;
        let (at, ends) = (row["rotated_at"].as_i64(), row["old_key_ends_at"].as_i64());
        assert_eq!(ends.unwrap() - at.unwrap(), 86_400, "{row}");
        assert_eq!((&row["name"], &row["remain_quota"]), (&json!("bot"), &json!(40)));
        assert_eq!(row["old_key_hint"].as_str().unwrap()[..5], first.key[..5]);
        assert_eq!(row["key_hint"].as_str().unwrap()[..5], second.key[..5]);
        for payer in [&first, &second, &first] {
            world.pay("m", payer).await.expect(200);
        }
        let keys = "SELECT count(DISTINCT token_id) FROM logs WHERE type = 'consume'";
        assert_eq!((world.db.i64(keys).await, world.lines("consume").await), (1, 4));
        assert_eq!(key_row(&world, &first).await["remain_quota"], 10);
        world.pay("m", &second).await.expect(200);
        for payer in [&first, &second] {
            world.pay("m", payer).await.expect_error(402, "INSUFFICIENT_QUOTA");
        }
        let more = json!({"unlimited_quota": true});
        world.admin().put(&format!("/api/token/{}", first.token_id), &more).await;

        // Of two secrets before only the later one is good.
        let third = rotated(&world, &second, json!({"grace_seconds": 3600})).await;
        refused(&world, &first, UNKNOWN).await;
        world.pay("m", &second).await.expect(200);
        world.pay("m", &third).await.expect(200);
        let row = end_old(&world, &third).await;
        for field in ["old_key_hint", "old_key_ends_at", "old_key_used_at"] {
            assert!(row[field].is_null(), "{row}");
        }
        refused(&world, &second, UNKNOWN).await;
        let lines = world.db.i64("SELECT count(*) FROM logs WHERE type = 'manage'").await;
        end_old(&world, &third).await;
        let again = world.db.i64("SELECT count(*) FROM logs WHERE type = 'manage'").await;
        assert_eq!(again, lines, "nothing was ended");

        let fourth = rotated(&world, &third, json!({"grace_seconds": 0})).await;
        refused(&world, &third, UNKNOWN).await;
        world.pay("m", &fourth).await.expect(200);
        assert!(key_row(&world, &fourth).await["old_key_ends_at"].is_null());
        world.close().await;
    }

    async fn a_key_that_is_shut_out_is_so_with_either_secret(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let old = world.payer(1_000).await;
        let new = rotated(&world, &old, json!({})).await;
        let path = format!("/api/token/{}", old.token_id);
        let both = [&old, &new];
        for payer in both {
            world.pay("m", payer).await.expect(200);
        }
        world.admin().put(&path, &json!({"status": 2})).await;
        for payer in both {
            refused(&world, payer, "is disabled").await;
        }
        // A disabled key can be given a new secret, and stays disabled.
        let third = rotated(&world, &new, json!({})).await;
        refused(&world, &third, "is disabled").await;
        world.admin().put(&path, &json!({"status": 1})).await;
        for payer in [&new, &third] {
            world.pay("m", payer).await.expect(200);
        }
        world.admin().delete(&path).await;
        for payer in [&old, &new, &third] {
            refused(&world, payer, UNKNOWN).await;
        }
        world.close().await;
    }

    async fn an_old_secret_ends_by_the_clock(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let old = world.payer(100_000_000).await;
        world.pay("m", &old).await.expect(200);
        let new = rotated(&world, &old, json!({"grace_seconds": 4})).await;
        world.pay("m", &old).await.expect(200);
        // It is known in memory for a minute, and nothing is announced: the clock ends it.
        eventually("the end of the old secret", || async {
            let answer = world.pay("m", &old).await;
            (answer.status == 401 && answer.text().contains("was replaced")).then_some(())
        })
        .await;
        let row = key_row(&world, &new).await;
        assert!(row["old_key_ends_at"].is_null() && row["rotated_at"].is_i64(), "{row}");
        assert!(row["old_key_hint"].is_null(), "{row}");
        world.pay("m", &new).await.expect(200);
        world.close().await;
    }

    async fn whether_an_old_secret_is_in_use_is_told(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let old = world.payer(1_000).await;
        world.pay("m", &old).await.expect(200);
        let new = rotated(&world, &old, json!({})).await;
        world.pay("m", &new).await.expect(200);
        // What was noted is written at a stop.
        world.server.restart().await;
        let row = key_row(&world, &old).await;
        assert!(row["old_key_used_at"].is_null() && row["last_used_at"].is_i64(), "{row}");
        world.pay("m", &old).await.expect(200);
        world.server.restart().await;
        assert!(key_row(&world, &old).await["old_key_used_at"].is_i64());
        rotated(&world, &new, json!({})).await;
        assert!(key_row(&world, &old).await["old_key_used_at"].is_null());
        world.close().await;
    }

    async fn whose_key_it_is_rotates_it_and_nothing_shows_the_secret(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let (ann, eve) = (world.payer(1_000).await, world.payer(1_000).await);
        let own = async |payer: &Payer| {
            let path = format!("/api/user/{}/token", payer.id);
            let token = world.admin().post(&path, &json!({})).await;
            Admin::new(world.server.addr(), token.as_str().unwrap())
        };
        let (by_ann, by_eve) = (own(&ann).await, own(&eve).await);
        let rotate = format!("/api/token/{}/rotate", ann.token_id);
        let old_key = format!("/api/token/{}/old-key", ann.token_id);
        by_eve.try_post(&rotate, &json!({})).await.expect(404);
        by_eve.call("DELETE", &old_key).send().await.expect(404);
        for bad in [
            json!({"grace_seconds": -1}), json!({"grace_seconds": 604_801}),
            json!({"grace_seconds": "soon"}), json!({"grace": 5}),
        ] {
            let answer = by_ann.try_post(&rotate, &bad).await.expect(422);
            assert!(answer.text().contains("grace"), "{}", answer.text());
        }
        world.pay("m", &ann).await.expect(200);
        let made = by_ann.call("POST", &rotate).send().await.expect(200).json();
        let new = Payer { key: made["data"]["key"].as_str().unwrap().to_owned(), ..ann.clone() };
        world.pay("m", &new).await.expect(200);
        by_ann.call("DELETE", &old_key).send().await.expect(200);
        refused(&world, &ann, UNKNOWN).await;

        let mut shown = String::new();
        for table in ["tokens", "logs", "holds", "options"] {
            shown += &format!("{:?}", world.db.query(&format!("SELECT * FROM {table}")).await);
        }
        for path in ["/api/token", "/api/log", "/api/audit/actions"] {
            shown += &world.admin().envelope(path).await.to_string();
        }
        shown += &world.server.log_lines().join("\n");
        for payer in [&ann, &new] {
            let secret = payer.key.trim_start_matches("sk-");
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!shown.contains(secret) && !shown.contains(&hex), "{shown}");
        }
        let told = world.admin().get("/api/audit/actions").await.to_string();
        for words in ["\"token.rotate\"", "\"token.end_old_key\"", "\"grace_seconds\":86400"] {
            assert!(told.contains(words), "{words}: {told}");
        }
        world.close().await;
    }

    async fn no_secret_is_that_of_two_keys(db: TestDb) {
        let world = World::open(db).await;
        let (ann, bob) = (world.payer(10).await, world.payer(10).await);
        rotated(&world, &ann, json!({})).await;
        let (ann, bob) = (ann.token_id, bob.token_id);
        let old = format!("(SELECT old_key_hash FROM tokens WHERE id = {ann})");
        let ends = if world.db.is_postgres() { "now()" } else { "1" };
        for set in [
            format!("key_hash = {old}"),
            format!("old_key_hash = {old}, old_key_ends_at = {ends}"),
            format!("old_key_hash = (SELECT key_hash FROM tokens WHERE id = {ann}),
                     old_key_ends_at = {ends}"),
            format!("old_key_hash = key_hash, old_key_ends_at = {ends}"),
            format!("old_key_ends_at = {ends}"),
        ] {
            let sql = format!("UPDATE tokens SET {set} WHERE id = {bob}");
            assert!(world.db.try_execute(&sql).await.is_err(), "{sql}");
        }
        let sql = format!("INSERT INTO tokens (user_id, key_hash) SELECT user_id, old_key_hash
                           FROM tokens WHERE id = {ann}");
        assert!(world.db.try_execute(&sql).await.is_err(), "{sql}");
        world.close().await;
    }

    async fn tasks_are_asked_about_with_the_secret_that_submitted_them(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_POLL_INTERVAL", "1s")]).await;
        let list = "/img/task/list-by-condition";
        let element = |id: &str, word: &str| json!({"task_id": id, "status": word});
        let said = |elements: Vec<serde_json::Value>| {
            Reply::json(&json!({"code": 0, "data": elements}))
        };
        world.model("img/submit", fixed(40), Reply::text("no")).await;
        for id in ["a", "b", "c", "d"] {
            let data = json!({"task_id": id, "status": "queued"});
            world.upstream.queue("/img/submit", Reply::json(&json!({"code": 0, "data": data})));
        }
        world.upstream.on(list, said(vec![]));
        let old = world.payer(1_000).await;
        let submit = async |payer: &Payer| world.pay("img/submit", payer).await.expect(200);
        submit(&old).await;
        let new = rotated(&world, &old, json!({})).await;
        // They take turns: as many questions as secrets, and not as tasks.
        for payer in [&new, &old, &new] {
            submit(payer).await;
        }
        world.upstream.forget();
        let asked = |all: &[testkit::Recorded]| {
            let questions = all.iter().filter(|one| one.path() == list && one.answered);
            let pairs = questions.map(|one| {
                (one.header("x-custom-token").unwrap(), one.json()["task_ids"].to_string())
            });
            pairs.collect::<BTreeSet<_>>()
        };
        let expected = [(old.key.clone(), r#"["a","c"]"#), (new.key.clone(), r#"["b","d"]"#)];
        let expected = expected.map(|(key, ids)| (key, ids.to_owned()));
        // A pass that began before the last submission asks about what there was by then.
        let whole = BTreeSet::from(expected.clone());
        world.upstream.wait_until("a pass over all", |all| asked(all).is_superset(&whole)).await;
        world.upstream.forget();
        let all = world.upstream.wait_until("both questions", |all| asked(all).len() >= 2).await;
        assert_eq!(asked(&all), BTreeSet::from(expected.clone()));

        // Either secret sees all of them; the other's end does not touch them.
        let shown = async |id: &str, payer: &Payer| {
            world.server.call("GET", &format!("/pass/img/task/{id}")).key(&payer.key).send().await
        };
        for payer in [&old, &new] {
            for id in ["a", "b"] {
                shown(id, payer).await.expect(200);
            }
        }
        end_old(&world, &new).await;
        shown("a", &old).await.expect(401);
        world.upstream.forget();
        let all = world.upstream.wait_until("both questions", |all| asked(all).len() >= 2).await;
        assert_eq!(asked(&all), BTreeSet::from(expected));
        world.upstream.on(list, said(["a", "b", "c", "d"].map(|id| element(id, "done")).to_vec()));
        world.wait_for_money(&old, 840, 160).await;
        shown("a", &new).await.expect(200);
        world.close().await;
    }

    async fn a_secret_is_rotated_by_commands(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(1_000_000).await;
        let bot = world.key(&ann, json!({"name": "bot"})).await;
        world.key(&ann, json!({"name": "twin"})).await;
        world.key(&ann, json!({"name": "twin"})).await;

        let key = world.server.cli_ok(&["token", "rotate", "bot"]).await.trim().to_owned();

        let new = Payer { key, ..bot.clone() };
        eventually("the new secret", || async {
            (world.pay("m", &new).await.status == 200).then_some(())
        })
        .await;
        world.pay("m", &bot).await.expect(200);
        let row = key_row(&world, &bot).await;
        let day = row["old_key_ends_at"].as_i64().unwrap() - row["rotated_at"].as_i64().unwrap();
        assert_eq!(day, 86_400);
        let number = bot.token_id.to_string();
        world.server.cli_ok(&["token", "end-old", &number]).await;
        eventually("the end of the old secret", || async {
            (world.pay("m", &bot).await.status == 401).then_some(())
        })
        .await;
        let at_once = ["token", "rotate", &number, "--grace", "0", "--json"];
        let said: serde_json::Value =
            serde_json::from_str(&world.server.cli_ok(&at_once).await).unwrap();
        assert_eq!(said["id"], bot.token_id);
        assert!(said["key"].is_string() && said["token"]["old_key_ends_at"].is_null(), "{said}");
        eventually("the end of the second secret", || async {
            (world.pay("m", &new).await.status == 401).then_some(())
        })
        .await;
        for (arguments, words) in [
            (["token", "rotate", "twin", "--grace=1h"], "several keys have this name"),
            (["token", "rotate", "nobody", "--grace=1h"], "no such key"),
            (["token", "rotate", "bot", "--grace=8d"], "up to 7d"),
            (["token", "rotate", "bot", "--grace=soon"], "up to 7d"),
        ] {
            let output = world.server.cli(&arguments).await;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && text.contains(words), "{arguments:?}: {text}");
        }
        world.close().await;
    }

    async fn a_secret_is_rotated_in_the_console(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let old = world.payer(1_000).await;
        let name = name_of(&world, old.id).await;
        let mut user = Browser::login(&world.server, &name, "correct horse 42").await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let (edit, path) = {
            let base = format!("/console/keys/{}", old.token_id);
            (format!("{base}/edit"), format!("{base}/rotate"))
        };
        let value = |page: &str, name: &str| {
            between(page, &format!("name=\"{name}\" value=\""), "\"").unwrap()
        };
        let page = user.get(&edit).await.expect(200).text();
        assert!(page.contains(&format!("href=\"{path}\"")) && !page.contains("old-secret"));
        let page = user.get(&path).await.expect(200).text();
        assert!(page.contains("<option value=\"86400\" selected>24 hours"), "{page}");
        let stale = root.get(&path).await.expect(200).text();
        let form = |page: &str, grace: &str| {
            encoded(&[("once", &value(page, "once")), ("opened", &value(page, "opened")),
                ("grace_seconds", grace)])
        };
        let odd = user.send(&path, &form(&page, "99999999")).await.expect(422).text();
        assert!(odd.contains("href=\"#f-grace_seconds\""), "{odd}");
        let sent = form(&page, "3600");
        let shown = user.send(&path, &sent).await.expect(200).text();
        let key = between(&shown, "id=\"new-key\">", "<").unwrap();
        assert!(shown.contains("still works, until") && shown.contains("id=\"first-call\""));
        assert!(shown.contains(&format!("Bearer {key}")), "a call to copy: {shown}");
        let new = Payer { key, ..old.clone() };
        for payer in [&old, &new] {
            world.pay("m", payer).await.expect(200);
        }
        // Sent twice it is rotated once.
        let again = user.send(&path, &sent).await.expect(303).header("location").unwrap();
        assert_eq!(again, format!("{edit}?done=rotated-before"));
        let page = user.get(&again).await.expect(200).text();
        assert!(page.contains("was rotated once") && !page.contains(&new.key), "{page}");
        world.pay("m", &new).await.expect(200);

        // Whoever has not seen that it was rotated is asked, and told what another one ends.
        let asked = root.send(&path, &form(&stale, "0")).await.expect(409).text();
        assert!(asked.contains("It was changed since this form was opened"), "{asked}");
        assert!(asked.contains("another rotation ends it at once"), "{asked}");
        world.pay("m", &old).await.expect(200);

        let page = user.get(&edit).await.expect(200).text();
        let note = between(&page, "id=\"old-secret\"", "</form>").unwrap();
        assert!(note.contains("still works") && note.contains("Not used since"), "{note}");
        let end = between(&note, "action=\"", "\"").unwrap().replace("&amp;", "&");
        assert!(user.get("/console/keys").await.text().contains("old one works"));
        user.lang = "zh";
        let page = user.get(&edit).await.expect(200).text();
        assert!(page.contains("立即失效") && page.contains("更换后没有使用过"), "{page}");
        let page = user.get(&path).await.expect(200).text();
        assert!(page.contains("24 小时") && page.contains("再次更换会立即使它失效"), "{page}");
        user.lang = "en";
        // The button ends the secret that the page showed, and no later one.
        let third = rotated(&world, &new, json!({})).await;
        user.send(&end, "").await.expect(409);
        world.pay("m", &new).await.expect(200);
        let page = user.get(&edit).await.expect(200).text();
        let note = between(&page, "id=\"old-secret\"", "</form>").unwrap();
        let end = between(&note, "action=\"", "\"").unwrap().replace("&amp;", "&");
        let to = user.send(&end, "").await.expect(303).header("location").unwrap();
        let page = user.get(&to).await.expect(200).text();
        assert!(page.contains("The old secret has ended") && !page.contains("id=\"old-secret\""));
        refused(&world, &new, UNKNOWN).await;
        world.pay("m", &third).await.expect(200);
        // The journal says it in the reader's language.
        let journal = root.get("/console/actions").await.expect(200).text();
        for words in ["gave the key", "ended the old secret of the key"] {
            assert!(journal.contains(words), "{journal}");
        }
        let eve = world.payer(10).await;
        let eve = Browser::login(&world.server, &name_of(&world, eve.id).await,
            "correct horse 42").await;
        eve.get(&path).await.expect(404);
        eve.send(&path, "grace_seconds=0").await.expect(404);
        world.pay("m", &third).await.expect(200);
        world.close().await;
    }

    async fn what_a_deleted_user_left_gets_no_new_secret_and_stays_off(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let admin = world.admin();
        let ann = world.payer(1_000).await;
        let hook = json!({"user_id": ann.id, "url": "https://hooks.example/x"});
        let hook = admin.post("/api/webhook", &hook).await["id"].as_i64().unwrap();
        admin.post(&format!("/api/webhook/{hook}/disable"), &json!({})).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let (keys, hooks) = (
            format!("/console/keys?user_id={}", ann.id),
            format!("/console/webhooks?user_id={}", ann.id),
        );
        let (new_key, new_hook) = (
            format!("/console/keys/new?user_id={}", ann.id),
            format!("/console/webhooks/new?user_id={}", ann.id),
        );
        for (list, new) in [(&keys, &new_key), (&hooks, &new_hook)] {
            let page = root.get(list).await.expect(200).text();
            assert!(attributes(&page, "href").contains(new), "{page}");
        }

        admin.delete(&format!("/api/user/{}", ann.id)).await;

        let (of_key, of_hook) =
            (format!("/api/token/{}", ann.token_id), format!("/api/webhook/{hook}"));
        let on = json!({"status": 1});
        for (method, path, body) in [
            ("POST", format!("{of_key}/rotate"), json!({})),
            ("POST", format!("{of_key}/enable"), json!({})),
            ("PUT", of_key.clone(), on.clone()),
            ("POST", "/api/token/batch".to_owned(), json!({"ids": [ann.token_id], "set": &on})),
            ("POST", format!("{of_hook}/rotate"), json!({})),
            ("POST", format!("{of_hook}/enable"), json!({})),
        ] {
            let answer = admin.call(method, &path).json(&body).send().await.expect(409);
            assert!(answer.text().contains("its user was deleted"), "{path}: {}", answer.text());
        }
        for (list, new) in [(&keys, &new_key), (&hooks, &new_hook)] {
            let page = root.get(list).await.expect(200).text();
            assert!(!attributes(&page, "href").contains(new), "{page}");
        }
        let key_page = format!("/console/keys/{}", ann.token_id);
        let hook_page = format!("/console/webhooks/{hook}");
        let edit = format!("{key_page}/edit");
        for (page, thing) in [(&keys, &key_page), (&edit, &key_page), (&hook_page, &hook_page)] {
            let text = root.get(page).await.expect(200).text();
            for way in ["rotate", "status?to=on"] {
                assert!(!text.contains(&format!("{thing}/{way}")), "{page}: {text}");
            }
        }
        for page in [&edit, &hook_page] {
            let text = root.get(page).await.expect(200).text();
            assert!(text.contains(" (deleted)"), "{page}: {text}");
        }
        for thing in [&key_page, &hook_page] {
            root.get(&format!("{thing}/rotate")).await.expect(409);
            root.send(&format!("{thing}/rotate"), "grace_seconds=0").await.expect(409);
            root.send(&format!("{thing}/status?to=on"), "").await.expect(409);
        }
        // It is ended as that of anybody.
        for thing in [&of_key, &of_hook] {
            admin.post(&format!("{thing}/disable"), &json!({})).await;
            admin.delete(thing).await;
        }
        world.close().await;
    }

    async fn of_a_disabled_key_no_secret_is_said_to_work(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000).await;
        let of_key = format!("/api/token/{}", ann.token_id);
        world.admin().put(&of_key, &json!({"status": 2})).await;
        let mut root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let (edit, path) = {
            let base = format!("/console/keys/{}", ann.token_id);
            (format!("{base}/edit"), format!("{base}/rotate"))
        };
        let page = root.get(&path).await.expect(200).text();
        assert!(page.contains("id=\"key-is-off\"") && !page.contains("still works,"), "{page}");
        let opened = between(&page, "name=\"opened\" value=\"", "\"").unwrap();
        let form = encoded(&[("opened", &opened), ("grace_seconds", "3600")]);
        let shown = root.send(&path, &form).await.expect(200).text();
        for page in [shown, root.get(&edit).await.text(), root.get(&path).await.text()] {
            assert!(page.contains("works once the key is on, until"), "{page}");
            assert!(!page.contains("still works,"), "{page}");
        }
        let list = root.get("/console/keys").await.expect(200).text();
        assert!(list.contains("old one: works once on"), "{list}");
        assert!(!list.contains("old one works"), "{list}");
        root.lang = "zh";
        assert!(root.get(&edit).await.text().contains("在令牌启用后有效"));
        root.lang = "en";
        world.admin().put(&of_key, &json!({"status": 1})).await;
        assert!(root.get("/console/keys").await.text().contains("old one works"));
        let page = root.get(&edit).await.text();
        assert!(page.contains("still works, until"), "{page}");
        // It says whose key it is, to who does not know it, and whether it is in use.
        let owner = format!("/console/users/{}", ann.id);
        assert!(attributes(&page, "href").contains(&owner), "{page}");
        let name = name_of(&world, ann.id).await;
        let user = Browser::login(&world.server, &name, "correct horse 42").await;
        let page = user.get(&edit).await.expect(200).text();
        assert!(!attributes(&page, "href").contains(&owner), "{page}");
        assert!(page.contains("Last used") && page.contains("never"), "{page}");
        world.close().await;
    }

    async fn who_may_not_rotate_a_key_is_not_asked_how(db: TestDb) {
        let world = World::open(db).await;
        let key = world.admin().key_of(1, json!({})).await.id;
        let adam = json!({"username": "adam", "password": PASSWORD, "role": 10});
        world.admin().user(adam).await;
        let adam = Browser::login(&world.server, "adam", PASSWORD).await;
        let path = format!("/console/keys/{key}");
        for way in ["edit", "rotate"] {
            adam.get(&format!("{path}/{way}")).await.expect(403);
        }
        adam.send(&format!("{path}/rotate"), "grace_seconds=0").await.expect(403);
        adam.send(&format!("{path}/end-old?of=x"), "").await.expect(403);
        assert!(world.admin().get(&format!("/api/token/{key}")).await["rotated_at"].is_null());
        world.close().await;
    }
}

on_postgres! {
    async fn every_node_hears_that_a_secret_was_replaced(db: TestDb) {
        let world = World::open(db).await;
        let second = node(&world.db, &[]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let old = world.payer(1_000_000).await;
        let status = async |server: &Server, payer: &Payer| {
            server.post("/pass/m", &payer.key, &json!({})).await.status
        };
        let turns = async |payer: &Payer, wanted: u16| {
            for server in [&world.server, &second] {
                eventually(&format!("{wanted}"), || async {
                    (status(server, payer).await == wanted).then_some(())
                })
                .await;
            }
        };
        turns(&old, 200).await;
        let new = rotated(&world, &old, json!({})).await;
        turns(&new, 200).await;
        turns(&old, 200).await;
        end_old(&world, &old).await;
        turns(&old, 401).await;
        let third = rotated(&world, &new, json!({"grace_seconds": 0})).await;
        turns(&new, 401).await;
        turns(&third, 200).await;
        world.close().await;
    }
}
