//! What a vendor's own client does with its tasks: it asks, fetches, cancels and lists, and sees
//! its own alone.

use crate::vendor_tasks::{NEVER, Vendor, polled};
use crate::world::{Money, Payer, World};
use testkit::{Answer, Reply, Signal, TestDb, eventually, json, on_both_databases};

async fn call(world: &World, payer: &Payer, method: &str, path: &str) -> Answer {
    world.server.call(method, path).key(&payer.key).send().await
}

/// A world with a vendor, and a task of its own.
async fn submitted(db: TestDb, vendor: &Vendor) -> (World, Payer) {
    let world = World::with(db, &[NEVER]).await;
    let ann = world.payer(100).await;
    vendor.channel(&world).await;
    vendor.serve(&world, &vendor.running);
    vendor.submit(&world, &ann).await.expect(200);
    (world, ann)
}

on_both_databases! {
    async fn a_list_of_tasks_is_in_the_order_asked_for(db: TestDb) {
        let video = Vendor::openai();
        let (world, ann) = submitted(db, &video).await;
        world.admin().add_quota(ann.id, 100, "for three").await;
        for id in ["video_2", "video_3"] {
            let mut next = video.running.clone();
            next["id"] = json!(id);
            world.upstream.on("/v1/videos", Reply::json(&next));
            video.submit(&world, &ann).await.expect(200);
        }
        let listed = async |query: &str| -> Vec<String> {
            let path = format!("/v1/videos?{query}");
            let list = call(&world, &ann, "GET", &path).await.expect(200).json();
            let ids = list["data"].as_array().unwrap().iter();
            ids.map(|it| it["id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(listed("").await, ["video_3", "video_2", "video_1"]);
        assert_eq!(listed("order=desc&limit=2").await, ["video_3", "video_2"]);
        assert_eq!(listed("order=asc").await, ["video_1", "video_2", "video_3"]);
        assert_eq!(listed("order=asc&after=video_1&limit=1").await, ["video_2"]);
        assert_eq!(listed("order=desc&after=video_2").await, ["video_1"]);
        call(&world, &ann, "GET", "/v1/videos?order=newest").await.expect(400);
        world.server.audit_clean().await;
    }

    async fn what_a_task_has_made_is_used_by_its_owner(db: TestDb) {
        let kling = Vendor::kling();
        let (world, ann) = submitted(db, &kling).await;
        let bob = world.payer(100).await;
        let extend = async |payer: &Payer| {
            let body = json!({"model_name": kling.model, "video_id": "film-1"});
            world.server.post("/pass/v1/videos/video-extend", &payer.key, &body).await.status
        };
        let submission = Reply::json(&json!({"code": 0, "data": {"task_id": "extended",
            "task_status": "submitted"}}));
        world.upstream.on("/v1/videos/video-extend", submission);
        let before = world.upstream.count();
        assert_eq!((extend(&ann).await, extend(&bob).await), (404, 404));
        assert_eq!(world.upstream.count(), before);
        // Its owner asks about the task, and knows the film from then on.
        let task = world.db.row("SELECT task_id, path FROM tasks").await;
        let (id, path) = (task.text("task_id"), task.text("path"));
        let path = format!("{path}/{id}");
        let done = json!({"code": 0, "data": {"task_id": id, "task_status": "succeed",
            "task_result": {"videos": [{"id": "film-1", "url": "https://x.example/f.mp4"}]}}});
        world.upstream.on(&path, Reply::json(&done));
        call(&world, &ann, "GET", &format!("/pass{path}")).await.expect(200);
        assert_eq!((extend(&ann).await, extend(&bob).await), (200, 404));
        world.server.audit_clean().await;
    }

    async fn a_video_is_asked_for_fetched_and_listed_by_its_owner(db: TestDb) {
        // R40.
        let video = Vendor::openai();
        let (world, ann) = submitted(db, &video).await;
        let bob = world.payer(100).await;
        let narrow = world.key(&ann, json!({"model_limits": ["other"]})).await;
        world.upstream.on("/v1/videos/video_1/content", Reply::bytes("video/mp4", "a film"));
        // A channel of higher priority has nothing of it.
        let other = json!({"protocol": "openai-video", "key": "other", "priority": 99});
        world.channel(&[video.model], other).await;

        let shown = call(&world, &ann, "GET", "/v1/videos/video_1").await.expect(200);
        assert_eq!(shown.text(), video.running.to_string(), "the vendor's own words");
        let film = call(&world, &ann, "GET", "/v1/videos/video_1/content?variant=video").await;
        let film = film.expect(200);
        assert_eq!((film.text().as_str(), film.header("content-type").unwrap().as_str()),
            ("a film", "video/mp4"));
        let sent = world.upstream.requests().await;
        let sent = sent.last().unwrap();
        assert_eq!(sent.query(), Some("variant=video"));
        assert_eq!(sent.header("authorization").as_deref(), Some("Bearer up-key"));
        let list = call(&world, &ann, "GET", "/v1/videos?limit=1").await.expect(200).json();
        assert_eq!((list["data"][0]["id"].as_str(), list["has_more"].as_bool()),
            (Some("video_1"), Some(false)));

        let before = world.upstream.count();
        for other in [&bob, &narrow] {
            for (method, path) in [
                ("GET", "/v1/videos/video_1"),
                ("GET", "/v1/videos/video_1/content"),
                ("DELETE", "/v1/videos/video_1"),
                ("GET", "/v1/videos/video_2"),
            ] {
                let refused = call(&world, other, method, path).await;
                assert_eq!(refused.status, 404, "{method} {path}: {}", refused.text());
            }
            let remix = json!({"prompt": "a dog", "model": "sora-2"});
            let refused = world.server.post("/v1/videos/video_1/remix", &other.key, &remix).await;
            assert_eq!(refused.status, 404, "{}", refused.text());
            let list = call(&world, other, "GET", "/v1/videos").await.expect(200).json();
            assert_eq!(list["data"], json!([]));
        }
        assert_eq!(world.upstream.count(), before, "no upstream was asked");
        video.serve(&world, &video.done);
        polled(&world, "completed").await;
        assert_eq!(world.money(&ann).await, Money { quota: 60, used: 40, calls: 1 });
        world.close().await;
    }

    async fn a_completed_task_can_t_be_cancelled_to_be_free(db: TestDb) {
        let video = Vendor::openai();
        let (world, ann) = submitted(db, &video).await;
        video.serve(&world, &video.done);

        let refused = call(&world, &ann, "DELETE", "/v1/videos/video_1").await.expect(409);
        assert!(refused.header("Retry-After").is_some());
        let deleted = |one: &testkit::Recorded| one.method == "DELETE";
        assert!(!world.upstream.requests().await.iter().any(deleted));

        polled(&world, "completed").await;
        world.upstream.on("/v1/videos/video_1", Reply::json(&json!({"deleted": true})));
        call(&world, &ann, "DELETE", "/v1/videos/video_1").await.expect(200);
        assert!(world.upstream.requests().await.iter().any(deleted));
        assert_eq!(world.money(&ann).await, Money { quota: 60, used: 40, calls: 1 });
        world.close().await;
    }

    async fn a_cancelled_task_is_refunded_and_gives_nothing_away(db: TestDb) {
        let runway = Vendor::runway();
        let (world, ann) = submitted(db, &runway).await;
        let cancelled = json!({"id": "rw-1", "status": "CANCELLED", "output": ["https://x/free"]});
        world.upstream.handle("/v1/tasks/rw-1", {
            let (running, cancelled) = (runway.running.clone(), cancelled.clone());
            let gone = std::sync::atomic::AtomicBool::new(false);
            move |request| {
                use std::sync::atomic::Ordering::SeqCst;
                match request.method.as_str() {
                    "DELETE" => { gone.store(true, SeqCst); Reply::new(204) }
                    _ if gone.load(SeqCst) => Reply::json(&cancelled),
                    _ => Reply::json(&running),
                }
            }
        });

        call(&world, &ann, "DELETE", "/pass/v1/tasks/rw-1").await.expect(204);
        let row = polled(&world, "failed").await;
        assert_eq!(row.text("upstream_status"), "CANCELLED");
        assert_eq!(world.money(&ann).await, Money { quota: 100, used: 0, calls: 0 });

        // What its vendor said when it failed; nothing of what it may say later.
        let later = json!({"id": "rw-1", "status": "SUCCEEDED", "output": ["https://x/free"]});
        world.upstream.on("/v1/tasks/rw-1", Reply::json(&later));
        let shown = call(&world, &ann, "GET", "/pass/v1/tasks/rw-1").await.expect(200);
        assert_eq!(shown.text(), cancelled.to_string());
        // One that we gave up is refused.
        world.db.execute("UPDATE tasks SET data = ''").await;
        call(&world, &ann, "GET", "/pass/v1/tasks/rw-1").await.expect(409);
        world.close().await;
    }

    async fn a_cancel_that_is_sent_slowly_is_judged_at_its_end(db: TestDb) {
        let video = Vendor::openai();
        let (world, ann) = submitted(db, &video).await;
        let mut slow = world.server.raw().await;
        slow.send(format!(
            "DELETE /v1/videos/video_1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n",
            ann.key
        ))
        .await;
        // While it waits the task completes.
        call(&world, &ann, "GET", "/v1/videos/video_1").await.expect(200);
        video.serve(&world, &video.done);
        slow.send("{}").await;
        slow.read_answer().await.unwrap().expect(409);
        let deleted = |one: &testkit::Recorded| one.method == "DELETE";
        assert!(!world.upstream.requests().await.iter().any(deleted));
        polled(&world, "completed").await;
        assert_eq!(world.money(&ann).await, Money { quota: 60, used: 40, calls: 1 });
        world.close().await;
    }

    async fn a_cancelled_task_that_its_vendor_forgot_is_refunded(db: TestDb) {
        let runway = Vendor::runway();
        let (world, ann) = submitted(db, &runway).await;
        let forgotten = Reply::json(&json!({"error": "not found"})).status(404);
        // One that nobody cancelled stays.
        world.upstream.on("/v1/tasks/rw-1", forgotten);
        let before = world.upstream.count();
        eventually("the task to be asked about", || async {
            world.server.signal(Signal::USR1);
            (world.upstream.count() > before + 1).then_some(())
        })
        .await;
        // Nor does a cancel that the vendor refused end it.
        call(&world, &ann, "DELETE", "/pass/v1/tasks/rw-1").await.expect(404);
        let before = world.upstream.count();
        eventually("the task to be asked about again", || async {
            world.server.signal(Signal::USR1);
            (world.upstream.count() > before + 1).then_some(())
        })
        .await;
        assert_ne!(world.db.text("SELECT status FROM tasks").await, "failed");
        assert_eq!(world.money(&ann).await, Money { quota: 60, used: 0, calls: 0 });

        world.upstream.handle("/v1/tasks/rw-1", |request| match request.method.as_str() {
            "DELETE" => Reply::new(204),
            _ => Reply::json(&json!({"error": "not found"})).status(404),
        });
        call(&world, &ann, "DELETE", "/pass/v1/tasks/rw-1").await.expect(204);
        let row = polled(&world, "failed").await;
        assert!(row.text("fail_reason").contains("cancelled"), "{}", row.text("fail_reason"));
        assert_eq!(world.money(&ann).await, Money { quota: 100, used: 0, calls: 0 });
        world.close().await;
    }

    async fn each_vendor_s_paths_lead_to_its_tasks(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let vendors = Vendor::all();
        // All at once, so that one's path is not taken for another's.
        for vendor in &vendors {
            vendor.channel(&world).await;
            vendor.serve(&world, &vendor.running);
            vendor.submit(&world, &ann).await.expect(200);
        }
        for (vendor, path) in vendors.iter().zip([
            "/v1/videos/video_1",
            "/pass/v1/videos/text2video/841",
            "/pass/v1/tasks/rw-1",
            "/pass/api/v1/tasks/ds-1",
            "/pass/api/v1/generate/record-info?taskId=su-1",
            "/pass/mj/task/132/fetch",
            "/v1/predictions/rp-1",
            "/pass/fal-ai/flux/requests/fa-1/status",
        ]) {
            if vendor.protocol == "midjourney" {
                world.upstream.on("/mj/task/132/fetch", Reply::json(&vendor.running));
            }
            let shown = call(&world, &ann, "GET", path).await;
            assert_eq!(shown.status, 200, "{path}: {}", shown.text());
            assert_eq!(shown.text(), vendor.running.to_string(), "{path}");
            let refused = call(&world, &bob, "GET", path).await;
            assert_eq!(refused.status, 404, "{path}: {}", refused.text());
        }
        for vendor in &vendors {
            vendor.serve(&world, &vendor.done);
        }
        testkit::eventually("every task to end", || async {
            world.server.signal(testkit::Signal::USR1);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            let open = "SELECT count(*) FROM tasks WHERE status <> 'completed'";
            (world.db.i64(open).await == 0).then_some(())
        })
        .await;
        world.close().await;
    }

    async fn a_remix_is_made_where_its_source_is(db: TestDb) {
        let video = Vendor::openai();
        let (world, ann) = submitted(db, &video).await;
        let other = json!({"protocol": "openai-video", "key": "other", "priority": 99});
        world.channel(&[video.model, "sora-2-pro"], other).await;
        let remixed = json!({"id": "video_2", "status": "queued"});
        world.upstream.on("/v1/videos/video_1/remix", Reply::json(&remixed));
        let remix = json!({"prompt": "a dog"});

        let answer = world.server.post("/v1/videos/video_1/remix", &ann.key, &remix).await;

        assert_eq!(answer.expect(200).json(), remixed);
        let sent = world.upstream.requests().await;
        assert_eq!(sent.last().unwrap().header("authorization").as_deref(), Some("Bearer up-key"));
        assert_eq!(sent.last().unwrap().json(), remix);
        let row = world.db.row("SELECT * FROM tasks WHERE task_id = 'video_2'").await;
        assert_eq!((row.text("action"), row.i64("quota")), ("sora-2", 40));
        let remix = json!({"prompt": "a dog", "model": "sora-2-pro"});
        world.server.post("/v1/videos/video_1/remix", &ann.key, &remix).await.expect(400);
        video.serve(&world, &video.done);
        let done = json!({"id": "video_2", "status": "completed"});
        world.upstream.on("/v1/videos/video_2", Reply::json(&done));
        testkit::eventually("both to end", || async {
            world.server.signal(testkit::Signal::USR1);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            (world.money(&ann).await.used == 80).then_some(())
        })
        .await;
        world.close().await;
    }
}
