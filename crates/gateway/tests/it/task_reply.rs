//! What an upstream said of a task, and how it is asked: who may read it, and that reading is
//! recorded.

use crate::pages::{Browser, PASSWORD, name_of};
use crate::world::{World, fixed};
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually, json, on_both_databases};

const SETTINGS: [(&str, &str); 2] =
    [("CUSTOM_PASS_POLL_INTERVAL", "1s"), ("WEBHOOK_ALLOW_NETS", "127.0.0.0/8")];
const LIST: &str = "/img/task/list-by-condition";
const RUNNING: &str =
    r#"{"code":0,"data":[{"task_id":"up-1","status":"running","note":"<b>","n":1.50}]}"#;
const DONE: &str = r#"{"code":0,"data":[{"task_id":"up-1","status":"DONE"}]}"#;

on_both_databases! {
    async fn the_last_reply_is_its_owners_and_others_reading_it_is_told(db: TestDb) {
        let world = World::with(db, &SETTINGS).await;
        let admin = world.admin();
        world.upstream.on(LIST, Reply::raw_json(RUNNING));
        world.upstream.on("/hook", Reply::text("ok"));
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
        world.model("img/submit", fixed(40), taken).await;
        let (ann, eve) = (world.payer(100).await, world.payer(1).await);
        let hook = json!({ "user_id": ann.id, "url": format!("{}/hook", world.upstream.url()) });
        admin.post("/api/webhook", &hook).await;
        for payer in [&ann, &eve] {
            admin.put(&format!("/api/user/{}", payer.id), &json!({ "password": PASSWORD })).await;
        }
        world.pay("img/submit", &ann).await.expect(200);
        let user = Browser::login(&world.server, &name_of(&world, ann.id).await, PASSWORD).await;
        let other = Browser::login(&world.server, &name_of(&world, eve.id).await, PASSWORD).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let said = eventually("a reply about the task", || async {
            let answer = user.get("/api/task/1/reply").await;
            answer.text().contains("note").then(|| answer.json()["data"].clone())
        })
        .await;
        assert!(said["reply"].as_str().unwrap().contains(r#""note":"<b>","n":1.50"#), "{said}");
        other.get("/api/task/1/reply").await.expect(404);
        other.get("/api/task/1/deliveries").await.expect(404);
        let page = user.get("/console/tasks/1").await.expect(200).text();
        assert!(page.contains("&quot;note&quot;:&quot;&lt;b&gt;&quot;"), "{page}");
        let read = "SELECT count(*) FROM logs WHERE type = 'manage' AND content LIKE '%应答%'";
        assert_eq!(world.db.i64(read).await, 0);

        let page = root.get("/console/tasks/1").await.expect(200).text();
        assert!(!page.contains("&lt;b&gt;"), "{page}");
        assert!(page.contains("action=\"/console/tasks/1/reply\""), "a button: {page}");
        // What only reads writes nothing: a link, a reload, a crawler.
        for path in ["/console/tasks/1?show=reply", "/console/tasks/1", "/console/tasks/1/reply"] {
            assert!(!root.get(path).await.text().contains("&lt;b&gt;"), "{path}");
        }
        assert_eq!(world.db.i64(read).await, 0, "a GET writes nothing");
        let page = root.send("/console/tasks/1/reply", "").await.expect(200).text();
        assert!(page.contains("&lt;b&gt;"), "{page}");
        let actions = admin.envelope("/api/audit/actions").await;
        let line = &actions["data"][0]["other"];
        assert_eq!(line["action"], "task.reply", "{actions}");
        assert_eq!(line["target_user_id"], ann.id, "{actions}");
        assert_eq!(world.db.i64(read).await, 1);

        let polling = admin.get("/api/task/1").await["polling"].clone();
        assert!(polling["next_at"].as_i64() >= polling["asked_at"].as_i64(), "{polling}");
        assert!(polling["asked_at"].is_i64() && polling["error"].is_null(), "{polling}");
        world.upstream.on(LIST, Reply::new(500));
        eventually("the error of the poller", || async {
            let task = admin.get("/api/task/1").await;
            (task["polling"]["error"] == "status 500").then_some(())
        })
        .await;
        let own = user.get("/api/task/1").await.expect(200).json();
        assert!(own["data"]["polling"]["asked_at"].is_i64(), "{own}");
        assert!(own["data"]["polling"]["error"].is_null(), "{own}");

        world.upstream.on(LIST, Reply::raw_json(DONE));
        eventually("the webhook", || async {
            let all = user.get("/api/task/1/deliveries").await.expect(200).json();
            (all["data"][0]["state"] == "delivered").then_some(())
        })
        .await;
        let page = user.get("/console/tasks/1").await.expect(200).text();
        assert!(page.contains("task.completed") && page.contains("DONE"), "{page}");
        assert!(admin.get("/api/task/1").await["polling"].is_null());
        world.close().await;
    }
}
