//! Tasks in the console: deciding over many, and where their results are.

use crate::pages::{Browser, PASSWORD, attributes, between, name_of};
use crate::world::{World, fixed};
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually, json, on_both_databases};

const LIST: &str = "/img/task/list-by-condition";

/// A world with a priced model whose tasks run.
async fn with_tasks(db: TestDb) -> World {
    let world = World::open(db).await;
    let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
    world.model("img/submit", fixed(40), taken).await;
    let running = r#"{"code":0,"data":[{"task_id":"up-1","status":"running"}]}"#;
    world.upstream.on(LIST, Reply::raw_json(running));
    world
}

on_both_databases! {
    async fn many_tasks_are_decided_at_once(db: TestDb) {
        let world = with_tasks(db).await;
        let ann = world.payer(200).await;
        for _ in 0..4 {
            world.pay("img/submit", &ann).await.expect(200);
        }
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/tasks").await.expect(200).text();
        assert_eq!(list.matches("name=\"id\"").count(), 4, "{list}");
        root.get("/console/tasks/batch").await.expect(303);
        let to = "/console/tasks/batch";

        // What it would move, of each and together; of one that is not there, that.
        let some = "id=1&id=2&id=99&decision=settle";
        let page = root.send(to, some).await.expect(200).text();
        for words in ["Settle 2 tasks: charge $0.00016", "$0.00008", "no such task"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        // Blanks are no reason.
        let page = root.send(to, &format!("{some}&apply=1&reason=++++")).await.expect(422).text();
        assert!(page.contains("needs at least 4 characters"), "{page}");
        assert_eq!(world.open_holds().await, 4);

        // The others are decided all the same, and what became of each is said.
        let settle = format!("{some}&apply=1&reason=the+vendor+billed+them");
        let page = root.send(to, &settle).await.expect(200).text();
        assert!(page.contains("2 tasks decided, 1 task not"), "{page}");
        let money = world.money(&ann).await;
        assert_eq!((money.quota, money.used, world.open_holds().await), (40, 80, 2));
        let actions = root.get("/console/actions").await.expect(200).text();
        assert_eq!(actions.matches("reason: the vendor billed them").count(), 4, "{actions}");

        // Sent again, it moves nothing.
        let page = root.send(to, &settle).await.expect(200).text();
        assert!(page.contains("the task has ended already"), "{page}");
        let page = root.send(to, some).await.expect(200).text();
        assert!(!page.contains("name=\"apply\""), "{page}");
        assert_eq!(world.money(&ann).await.used, 80);

        // Where all can be decided, the list comes back, with its filters.
        let page = root.send(to, "id=3&decision=requeue").await.expect(200).text();
        assert!(page.contains("Ask again about 1 task now"), "{page}");
        let back = "back=/console/tasks%3Fstatus%3Dunfinished";
        let refund = format!("id=3&decision=refund&apply=1&reason=they+lost+it&{back}");
        let answer = root.send(to, &refund).await.expect(303);
        let list = "/console/tasks?status=unfinished&done=decided-many";
        assert_eq!(answer.header("location").as_deref(), Some(list));
        assert_eq!(world.money(&ann).await.quota, 80);

        // The same through the API, for administrators.
        let admin = world.admin();
        let ask = json!({ "ids": [3, 4], "decision": "fail-and-refund", "dry_run": true });
        let told = admin.post("/api/task/batch", &ask).await;
        assert_eq!((&told["decided"], &told["returned"]), (&json!(1), &json!(40)));
        assert_eq!(told["items"][0]["problem"]["en"], "the task has ended already");
        let wrong = json!({ "ids": [4], "decision": "forget" });
        let refused = admin.try_post("/api/task/batch", &wrong).await.expect(422);
        assert!(refused.text().contains("fail-and-refund"), "{}", refused.text());
        let silent = json!({ "ids": [4], "decision": "fail-and-refund" });
        admin.try_post("/api/task/batch", &silent).await.expect(422);
        let body = json!({ "ids": [4], "decision": "fail-and-refund", "reason": "the end" });
        let done = admin.post("/api/task/batch", &body).await;
        assert_eq!((&done["decided"], &done["returned"]), (&json!(1), &json!(40)));
        assert_eq!(world.open_holds().await, 0);
        let name = name_of(&world, ann.id).await;
        admin.put(&format!("/api/user/{}", ann.id), &json!({ "password": PASSWORD })).await;
        let own = Browser::login(&world.server, &name, PASSWORD).await;
        own.send(to, some).await.expect(403);
        let list = own.get("/console/tasks").await.expect(200).text();
        assert!(!list.contains("name=\"id\""), "{list}");
        world.close().await;
    }

    async fn the_page_of_a_task_follows_it_until_it_has_ended(db: TestDb) {
        let world = with_tasks(db).await;
        let ann = world.payer(200).await;
        world.pay("img/submit", &ann).await.expect(200);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console/tasks/1").await.expect(200).text();
        assert!(page.contains("hx-sse:connect=\"/console/events?topics=tasks"), "{page}");
        let part = between(&page, "<div id=\"task\"", ">").unwrap();
        for words in ["hx-get=\"/console/tasks/1\"", "hx-select=\"#task\"", "tasks from:#live"] {
            assert!(part.contains(words), "{words}: {part}");
        }
        let paused = root.get("/console/tasks/1?live=off").await.expect(200).text();
        assert!(!paused.contains("sse:connect") && paused.contains("Resume updates"), "{paused}");
        assert!(!between(&paused, "<div id=\"task\"", ">").unwrap().contains("hx-get"));
        // What was asked for once would be gone with the first change.
        let reply = root.send("/console/tasks/1/reply", "").await.expect(200).text();
        assert!(!reply.contains("sse:connect"), "{reply}");
        let form = "decision=refund&reason=it+never+came";
        root.send("/console/tasks/1/decide", form).await.expect(303);
        let page = root.get("/console/tasks/1").await.expect(200).text();
        assert!(!page.contains("sse:connect"), "{page}");
        assert!(!between(&page, "<div id=\"task\"", ">").unwrap().contains("hx-get"), "{page}");
        world.close().await;
    }

    async fn what_a_task_made_is_linked(db: TestDb) {
        let world = with_tasks(db).await;
        let ann = world.payer(200).await;
        world.pay("img/submit", &ann).await.expect(200);
        let made = ["https://files.example/1.png", "https://files.example/2.png"];
        let report = json!({ "code": 0, "data": [{ "task_id": "up-1", "status": "DONE",
            "result": { "images": [{ "url": made[0] }, { "url": made[1] }],
                        "evil": "javascript:alert(1)" } }] });
        world.upstream.on(LIST, Reply::json(&report));
        world.admin().post("/api/task/1/requeue", &json!({})).await;
        eventually("the task to end", || async {
            let task = world.admin().get("/api/task/1").await;
            (task["status"] == "completed").then_some(())
        })
        .await;
        let name = name_of(&world, ann.id).await;
        let password = json!({ "password": PASSWORD });
        world.admin().put(&format!("/api/user/{}", ann.id), &password).await;
        let own = Browser::login(&world.server, &name, PASSWORD).await;
        let page = own.get("/console/tasks/1").await.expect(200).text();
        let links = attributes(&page, "href");
        let foreign: Vec<_> = links.iter().filter(|to| !to.starts_with(['/', '#'])).collect();
        let foreign: Vec<_> = foreign.into_iter().filter(|to| !to.starts_with("data:")).collect();
        assert_eq!(foreign, made, "{page}");
        world.close().await;
    }
}
