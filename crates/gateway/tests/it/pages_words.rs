//! What pages say: commands that work as they stand, and no words of the other language.

use crate::pages::{Browser, PASSWORD, between, is_foreign, lively, name_of, texts};
use crate::world::fixed;
use std::process::Stdio;
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually, json, on_both_databases};
use tokio::process::Command;

fn has_han(text: &str) -> bool {
    text.replace("中文", "").chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

on_sqlite! {
    async fn the_first_command_works_as_it_stands(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        for (protocol, path) in [("custompass", "/pass/chat"), ("openai", "/v1/chat/completions")] {
            let more = json!({ "name": "more", "protocol": protocol, "priority": path.len() });
            world.channel(&["chat"], more).await;
            let made = user.send("/console/keys/new", "name=k").await.expect(200).text();
            let key = between(&made, "id=\"new-key\">", "<").unwrap();
            let command = between(&made, "id=\"first-call\">", "</pre>").unwrap();
            let command = command.replace("&quot;", "\"").replace("&amp;", "&");
            // A shell reads it; what it would give to curl is printed.
            let script = format!("curl() {{ printf '%s\\n' \"$@\"; }}\n{command}");
            let run = Command::new("sh").args(["-c", &script]).stderr(Stdio::inherit()).output();
            let run = run.await.unwrap();
            assert!(run.status.success(), "{command}");
            let printed = String::from_utf8(run.stdout).unwrap();
            let words: Vec<&str> = printed.lines().collect();
            assert_eq!(words[0], format!("{}{path}", world.server.url()));
            let body: serde_json::Value = serde_json::from_str(words.last().unwrap()).unwrap();
            assert!(words.contains(&format!("Authorization: Bearer {key}").as_str()), "{words:?}");
            if protocol == "openai" {
                world.upstream.on(path, Reply::result(1, 1));
                assert_eq!(body["model"], "chat", "{body}");
            }
            world.server.post(path, &key, &body).await.expect(200);
        }
        world.close().await;
    }
}

on_both_databases! {
    async fn the_admin_journal_is_in_the_readers_language(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let name = name_of(&world, ann).await;
        admin.call("POST", "/api/channel/test").json(&json!({ "id": 1, "model": "chat" }))
            .send().await.expect(200);
        admin.put(&format!("/api/user/{ann}"), &json!({ "remark": "x" })).await;
        admin.call("DELETE", "/api/group/vip").send().await.expect(200);
        admin.call("POST", "/api/channel/1/copy").send().await.expect(200);
        admin.post(&format!("/api/user/{ann}/token"), &json!({})).await;
        let wrong = format!("username={name}&password=no");
        world.server.call("POST", "/console/login").body(wrong).send().await.expect(422);
        for path in ["/console/actions", "/console/log?type=manage"] {
            let page = root.get(path).await.expect(200).text();
            let main = between(&page, "<main", "</main>").unwrap();
            assert!(!has_han(&main), "{path}: {main}");
            for words in ["created the channel first", "deleted the group vip", "wrong password"] {
                assert!(main.contains(words), "{path}: {words}: {main}");
            }
            let page = root.call("GET", path).header("Accept-Language", "zh").send().await;
            let _ = page.expect(200);
        }
        world.close().await;
    }
}

/// The cells of a table's rows, as text.
fn cells(page: &str) -> Vec<Vec<String>> {
    let rows = page.split("<tr").skip(1).map(|row| {
        let row = row.split("</tr>").next().unwrap_or_default();
        let cells = row.split("<td").skip(1).map(|cell| {
            let cell = cell.split_once('>').map_or("", |(_, cell)| cell);
            let pieces = cell.split('<').enumerate().filter_map(|(nth, piece)| match nth {
                0 => Some(piece),
                _ => piece.split_once('>').map(|(_, text)| text),
            });
            pieces.collect::<String>()
        });
        cells.collect()
    });
    rows.collect()
}

on_both_databases! {
    async fn health_and_settings_are_in_chinese_too(db: TestDb) {
        let (world, ann) = lively(db).await;
        world.admin().add_quota(ann, -10_000_000, "a correction").await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let mut reader = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        reader.lang = "zh";
        let zh = async |path: &str| {
            let page = reader.get(path).await.expect(200).text();
            between(&page, "<main", "</main>").unwrap()
        };
        let health = zh("/console/doctor").await;
        // One more opens the row on a phone, where there is something to do.
        let checks = cells(&health).into_iter().filter(|row| matches!(row.len(), 4 | 5));
        let checks: Vec<_> = checks.collect();
        assert!(checks.len() > 8, "{health}");
        for row in checks {
            assert!(has_han(&row[0]) || row[0] == "Redis", "{row:?}");
            assert!(has_han(&row[2]), "{row:?}");
            assert!(row[3].is_empty() || has_han(&row[3]), "{row:?}");
            assert!(!row[3].contains("需要在服务器上处理"), "a remedy without words: {row:?}");
        }
        assert!(health.contains("/console/users?sort=quota&amp;order=asc"), "{health}");
        let settings = zh("/console/settings").await;
        for row in cells(&settings).into_iter().filter(|row| row.len() >= 4) {
            assert!(has_han(&row[2]), "{row:?}");
        }
        assert!(!settings.contains("其他</h2>"), "each setting has its section: {settings}");
        let english = root.get("/console/doctor").await.expect(200).text();
        assert!(english.contains("1 user is below zero, and gets 402"), "{english}");
        root.get("/console/").await.expect(303);
        world.close().await;
    }
}

on_both_databases! {
    async fn what_went_wrong_is_in_the_readers_language(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let taken = Reply::json(&json!({ "code": 0, "data": { "task_id": "up-1" } }));
        world.model("img/submit", fixed(40), taken).await;
        let key = admin.key_of(ann, json!({})).await.key;
        world.server.post("/pass/img/submit", &key, &json!({})).await.expect(200);
        let task = world.db.i64("SELECT max(id) FROM tasks").await;
        let hook = json!({ "user_id": ann, "url": "http://example.com/" });
        let hook = admin.post("/api/webhook", &hook).await["id"].as_i64().unwrap();
        admin.post(&format!("/api/webhook/{hook}/test"), &json!({})).await;
        for sql in [
            "UPDATE tasks SET fail_reason = \
                '任务超过最长时限仍未完成 (the task was not finished within its lifetime)'",
            "UPDATE webhook_deliveries SET state = 'failed', last_error = 'secret_unreadable'",
            "UPDATE webhook_endpoints SET status = 2, disabled_reason = 'answered 410 Gone'",
            "UPDATE users SET revision = revision + 1, used_quota = used_quota + 1",
        ] {
            world.db.execute(sql).await;
        }
        let mut root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        root.send("/console/audit/run", "").await.expect(303);
        eventually("the check", || async {
            let page = root.get("/console/audit").await.expect(200).text();
            page.contains("class=\"receipt\"").then_some(())
        })
        .await;
        let pages = [
            (format!("/console/tasks/{task}"), "超过最长时限", "not finished within its lifetime"),
            ("/console/tasks".to_owned(), "超过最长时限", "not finished within its lifetime"),
            (format!("/console/webhooks/{hook}"), "签名密钥无法读取", "the secret can't be read"),
            ("/console/webhooks".to_owned(), "应答 410, 已停用", "it answered 410 Gone"),
            ("/console/audit".to_owned(), "已消耗额度等于消耗之和", "used_quota is what was"),
        ];
        for (path, zh, en) in pages {
            for (lang, words) in [("zh", zh), ("en", en)] {
                root.lang = lang;
                let page = root.get(&path).await.expect(200).text();
                assert!(page.contains(words), "{path} in {lang}: {page}");
                let foreign: Vec<String> =
                    texts(&page).into_iter().filter(|text| is_foreign(text, lang)).collect();
                assert!(foreign.is_empty(), "{path} in {lang}: {foreign:?}");
            }
        }
        let back = "UPDATE users SET revision = revision + 1, used_quota = used_quota - 1";
        world.db.execute(back).await;
        let over = format!("/api/task/{task}/fail-and-refund");
        admin.post(&over, &json!({ "reason": "it is over" })).await;
        world.close().await;
    }
}
