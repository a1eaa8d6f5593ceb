//! Tasks of vendors' own APIs: submitted, polled, settled and refunded through the same ledger and
//! poller as those of CustomPass. Each upstream here refuses what its vendor refuses.

use crate::world::{Money, Payer, World, fixed};
use serde_json::Value;
use testkit::{
    Answer, Recorded, Reply, Row, Signal, Step, TestDb, eventually, json, on_both_databases,
};

/// Tasks are polled only on request.
pub const NEVER: (&str, &str) = ("CUSTOM_PASS_POLL_INTERVAL", "1h");

/// How a vendor is spoken to, from the submission to the end.
pub struct Vendor {
    pub protocol: &'static str,
    key: &'static str,
    pub model: &'static str,
    /// Where the client submits, and with which body.
    submit: (&'static str, Value),
    /// What the upstream gets there.
    pub path: &'static str,
    /// The first reply.
    pub taken: Value,
    /// Method and target of a poll.
    ask: (&'static str, &'static str),
    pub running: Value,
    pub done: Value,
    failed: Value,
    /// Whether the vendor accepts who calls.
    admits: fn(&Recorded) -> bool,
}

impl Vendor {
    pub fn all() -> Vec<Self> {
        vec![
            Self::openai(),
            Self::kling(),
            Self::runway(),
            Self::dashscope(),
            Self::suno(),
            Self::midjourney(),
            Self::replicate(),
            Self::fal(),
        ]
    }

    pub fn openai() -> Self {
        let video = |status: &str| {
            json!({"id": "video_1", "object": "video", "model": "sora-2",
            "status": status, "progress": 30, "seconds": "4", "size": "720x1280"})
        };
        let mut failed = video("failed");
        failed["error"] = json!({"code": "moderation", "message": "not this"});
        Self {
            protocol: "openai-video",
            key: "up-key",
            model: "sora-2",
            submit: ("/v1/videos", json!({"model": "sora-2", "prompt": "a cat", "seconds": "4"})),
            path: "/v1/videos",
            taken: video("queued"),
            ask: ("GET", "/v1/videos/video_1"),
            running: video("in_progress"),
            done: video("completed"),
            failed,
            admits: bearer,
        }
    }

    pub fn kling() -> Self {
        let task = |status: &str, more: Value| {
            let data = json!({"task_id": "841", "task_status": status,
                "task_status_msg": "risk control", "task_result": more});
            json!({"code": 0, "message": "SUCCEED", "request_id": "r", "data": data})
        };
        let videos =
            json!({"videos": [{"id": "v", "url": "https://x/v.mp4", "duration": "5.042"}]});
        Self {
            protocol: "kling",
            key: "access:secret",
            model: "kling-v2",
            submit: (
                "/pass/v1/videos/text2video",
                json!({"model_name": "kling-v2", "prompt": "a cat", "duration": "5"}),
            ),
            path: "/v1/videos/text2video",
            taken: json!({"code": 0, "message": "SUCCEED", "request_id": "r",
                "data": {"task_id": "841", "task_status": "submitted", "created_at": 1}}),
            ask: ("GET", "/v1/videos/text2video/841"),
            running: task("processing", json!({})),
            done: task("succeed", videos),
            failed: task("failed", json!({})),
            admits: signed,
        }
    }

    pub fn runway() -> Self {
        let task =
            |status: &str| json!({"id": "rw-1", "status": status, "createdAt": "2026-11-01"});
        let mut done = task("SUCCEEDED");
        done["output"] = json!(["https://x/v.mp4"]);
        let mut failed = task("FAILED");
        failed["failure"] = json!("an internal error");
        Self {
            protocol: "runway",
            key: "up-key",
            model: "gen4_turbo",
            submit: (
                "/v1/image_to_video",
                json!({"model": "gen4_turbo", "promptImage": "https://x/i.png", "duration": 5}),
            ),
            path: "/v1/image_to_video",
            taken: json!({"id": "rw-1"}),
            ask: ("GET", "/v1/tasks/rw-1"),
            running: task("RUNNING"),
            done,
            failed,
            admits: |request| {
                bearer(request)
                    && request.header("x-runway-version").as_deref() == Some("2024-11-06")
            },
        }
    }

    fn dashscope() -> Self {
        let task = |status: &str| {
            json!({"request_id": "r", "output": {"task_id": "ds-1",
            "task_status": status, "message": "bad prompt"}})
        };
        let mut done = task("SUCCEEDED");
        done["output"]["video_url"] = json!("https://x/v.mp4");
        Self {
            protocol: "dashscope",
            key: "up-key",
            model: "wan2.2-t2v-plus",
            submit: (
                "/pass/api/v1/services/aigc/video-generation/video-synthesis",
                json!({"model": "wan2.2-t2v-plus", "input": {"prompt": "a cat"}}),
            ),
            path: "/api/v1/services/aigc/video-generation/video-synthesis",
            taken: json!({"request_id": "r",
                "output": {"task_id": "ds-1", "task_status": "PENDING"}}),
            ask: ("GET", "/api/v1/tasks/ds-1"),
            running: task("RUNNING"),
            done,
            failed: task("FAILED"),
            admits: |request| {
                let is_submission = request.method == "POST";
                let is_async = request.header("x-dashscope-async").as_deref() == Some("enable");
                bearer(request) && (is_async || !is_submission)
            },
        }
    }

    fn suno() -> Self {
        let task = |status: &str| {
            json!({"code": 200, "msg": "success", "data": {"taskId": "su-1",
            "status": status, "response": {"sunoData": [{"audioUrl": "https://x/a.mp3"}]}}})
        };
        Self {
            protocol: "suno",
            key: "up-key",
            model: "V5",
            submit: (
                "/pass/api/v1/generate",
                json!({"model": "V5", "prompt": "a song", "customMode": false}),
            ),
            path: "/api/v1/generate",
            taken: json!({"code": 200, "msg": "success", "data": {"taskId": "su-1"}}),
            ask: ("GET", "/api/v1/generate/record-info?taskId=su-1"),
            running: task("TEXT_SUCCESS"),
            done: task("SUCCESS"),
            failed: json!({"code": 200, "msg": "success", "data": {"taskId": "su-1",
                "status": "SENSITIVE_WORD_ERROR", "errorMessage": "a rude word"}}),
            admits: bearer,
        }
    }

    pub fn midjourney() -> Self {
        let task = |status: &str| {
            json!([{"id": "132", "action": "IMAGINE", "status": status,
            "progress": "50%", "failReason": "banned", "imageUrl": "https://x/i.png"}])
        };
        Self {
            protocol: "midjourney",
            key: "up-key",
            model: "imagine",
            submit: ("/pass/mj/submit/imagine", json!({"prompt": "a cat"})),
            path: "/mj/submit/imagine",
            taken: json!({"code": 1, "description": "ok", "result": "132"}),
            ask: ("POST", "/mj/task/list-by-condition"),
            running: task("IN_PROGRESS"),
            done: task("SUCCESS"),
            failed: task("FAILURE"),
            admits: |request| {
                let is_asking = request.path().ends_with("list-by-condition");
                request.header("mj-api-secret").as_deref() == Some("up-key")
                    && request.header("authorization").is_none()
                    && (!is_asking || request.json() == json!({"ids": ["132"]}))
            },
        }
    }

    fn replicate() -> Self {
        let task = |status: &str| {
            json!({"id": "rp-1", "model": "black/flux", "status": status,
            "error": (status == "failed").then_some("out of memory"), "output": null})
        };
        let mut done = task("succeeded");
        done["output"] = json!(["https://x/i.png"]);
        Self {
            protocol: "replicate",
            key: "up-key",
            model: "black/flux",
            submit: ("/v1/models/black/flux/predictions", json!({"input": {"prompt": "a cat"}})),
            path: "/v1/models/black/flux/predictions",
            taken: task("starting"),
            ask: ("GET", "/v1/predictions/rp-1"),
            running: task("processing"),
            done,
            failed: task("failed"),
            admits: bearer,
        }
    }

    pub fn fal() -> Self {
        let status = |status: &str| {
            json!({"request_id": "fa-1", "status": status,
            "response_url": "https://queue.fal.run/fal-ai/flux/requests/fa-1"})
        };
        let mut failed = status("COMPLETED");
        failed["error"] = json!("the image is too large");
        Self {
            protocol: "fal",
            key: "up-key",
            model: "fal-ai/flux/dev",
            submit: ("/pass/fal-ai/flux/dev", json!({"prompt": "a cat"})),
            path: "/fal-ai/flux/dev",
            taken: json!({"request_id": "fa-1", "status": "IN_QUEUE", "queue_position": 0}),
            ask: ("GET", "/fal-ai/flux/requests/fa-1/status"),
            running: status("IN_PROGRESS"),
            done: status("COMPLETED"),
            failed,
            admits: |request| request.header("authorization").as_deref() == Some("Key up-key"),
        }
    }

    /// Lets the upstream take submissions, and answer polls with this.
    pub fn serve(&self, world: &World, report: &Value) {
        let admits = self.admits;
        let guarded = move |reply: Value, compresses: bool| {
            move |request: &Recorded| {
                if !(admits(request) && no_foreign_key(request)) {
                    return Reply::json(&json!({"error": "who are you?"})).status(401);
                }
                let reply = Reply::json(&reply);
                // Some compress what they were asked not to.
                let is_plain = request.header("accept-encoding").as_deref() == Some("identity");
                if compresses && is_plain { reply.gzip() } else { reply }
            }
        };
        let (_, path) = (self.ask.0, self.ask.1.split('?').next().unwrap());
        world.upstream.handle(self.path, guarded(self.taken.clone(), false));
        world.upstream.handle(path, guarded(report.clone(), true));
    }

    pub async fn channel(&self, world: &World) -> i64 {
        let extra = json!({"protocol": self.protocol, "key": self.key});
        let channel = world.channel(&[self.model], extra).await;
        world.admin().price(self.model, fixed(40)).await;
        channel
    }

    pub async fn submit(&self, world: &World, payer: &Payer) -> Answer {
        let (path, body) = &self.submit;
        world.server.post(path, &payer.key, body).await
    }
}

/// An API that nothing of ours knows, whose task's id stands at the top of the reply.
const JOBS: &str = r#"
name = "jobs"
title = { zh = "任务", en = "Jobs" }

[auth]
header = "authorization"
value = "Bearer {key}"

[[route]]
match = "POST /jobs"
model = "body:/engine"
reply = "json"
makes = "/task_id"
task = "submit"

[[route]]
match = "GET /jobs/{id}"
uses = "path"
price = "free"
task = "ask"

[task]
id = "/task_id"
status = "/state"
error = "/why"
result = "/url"
ask = { request = "GET /jobs/{id}" }

[task.words]
processing = ["working"]
completed = ["made"]
failed = ["broken"]
"#;

fn jobs() -> Vendor {
    let job = |state: &str| json!({"task_id": "job-1", "state": state, "why": "no ink"});
    Vendor {
        protocol: "jobs",
        key: "up-key",
        model: "press",
        submit: ("/pass/jobs", json!({"engine": "press", "prompt": "a cat"})),
        path: "/jobs",
        taken: json!({"task_id": "job-1"}),
        ask: ("GET", "/jobs/job-1"),
        running: job("working"),
        done: job("made"),
        failed: job("broken"),
        admits: bearer,
    }
}

fn bearer(request: &Recorded) -> bool {
    request.header("authorization").as_deref() == Some("Bearer up-key")
}

/// A token of three parts, of which the second names the access key.
fn signed(request: &Recorded) -> bool {
    let header = request.header("authorization").unwrap_or_default();
    let token = header.strip_prefix("Bearer ").unwrap_or_default();
    token.split('.').count() == 3 && token.len() > 60 && !token.contains("secret")
}

/// No key of a client reaches a vendor.
fn no_foreign_key(request: &Recorded) -> bool {
    let named = |name| request.header(name).is_some_and(|value| value.contains("sk-"));
    !["authorization", "x-api-key", "x-custom-token"].into_iter().any(named)
}

async fn task(world: &World) -> Row {
    world.db.row("SELECT * FROM tasks").await
}

/// Polls until the only task has this status.
pub async fn polled(world: &World, status: &str) -> Row {
    eventually(&format!("the task to be {status}"), || async {
        world.server.signal(Signal::USR1);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let row = task(world).await;
        (row.text("status") == status).then_some(row)
    })
    .await
}

fn quotas(task: &Row) -> (i64, i64, i64) {
    (task.i64("quota"), task.i64("precharge_quota"), task.i64("used_quota"))
}

/// From the submission to the settlement.
async fn completes(world: &World, vendor: &Vendor, ann: &Payer) {
    let name = vendor.protocol;
    let channel = vendor.channel(world).await;
    vendor.serve(world, &vendor.running);
    let before = world.money(ann).await;

    let answer = vendor.submit(world, ann).await;

    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    assert_eq!(answer.text(), vendor.taken.to_string(), "{name}: byte for byte");
    assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("40"), "{name}");
    let row = task(world).await;
    let uid = answer.header("Location").unwrap();
    assert!(uid.starts_with("/v1/tasks/"), "{name}: {uid}");
    assert_eq!(row.i64("channel_id"), channel, "{name}");
    assert_eq!((row.text("action"), row.text("path")), (vendor.model, vendor.path));
    assert_eq!(quotas(&row), (40, 40, 0), "{name}");
    let own = world.server.call("GET", &uid).key(&ann.key).send().await.expect(200).json();
    assert_eq!(own["task_id"], row.text("task_id"), "{name}");

    polled(world, "processing").await;
    vendor.serve(world, &vendor.done);
    let row = polled(world, "completed").await;
    assert_eq!(quotas(&row), (40, 40, 40), "{name}");
    let asked = world.upstream.requests().await;
    let asked = asked.iter().find(|one| one.target == vendor.ask.1).unwrap();
    assert_eq!(asked.method, vendor.ask.0, "{name}");
    let money = Money { quota: before.quota - 40, used: before.used + 40, calls: before.calls + 1 };
    assert_eq!(world.money(ann).await, money, "{name}");
    world.db.execute("DELETE FROM tasks").await;
}

/// From the submission to the refund.
async fn fails(world: &World, vendor: &Vendor, ann: &Payer) {
    let before = world.money(ann).await;
    vendor.serve(world, &vendor.failed);
    vendor.submit(world, ann).await.expect(200);
    let row = polled(world, "failed").await;
    assert_eq!(quotas(&row), (0, 40, 0), "{}", vendor.protocol);
    let why = row.text("fail_reason");
    assert!(!why.is_empty(), "{}", vendor.protocol);
    let told = world.server.cli_ok(&["explain", row.text("task_id")]).await;
    assert!(told.contains(why), "{}: {told}", vendor.protocol);
    let after = world.money(ann).await;
    assert_eq!((after.quota, after.used), (before.quota, before.used), "{}", vendor.protocol);
    world.db.execute("DELETE FROM tasks").await;
}

on_both_databases! {
    async fn every_vendor_s_tasks_are_settled_and_refunded(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(10_000).await;
        for vendor in Vendor::all() {
            completes(&world, &vendor, &ann).await;
            fails(&world, &vendor, &ann).await;
        }
        world.close().await;
    }

    async fn an_operator_s_own_document_makes_tasks_of_any_api(db: TestDb) {
        // R54: the id of the task stands where the document says.
        let world = World::with(db, &[NEVER]).await;
        world.admin().post("/api/protocol", &json!({"document": JOBS})).await;
        let ann = world.payer(100).await;
        completes(&world, &jobs(), &ann).await;
        fails(&world, &jobs(), &ann).await;
        // A name for the id that the document doesn't know: taken, unread, and not free.
        world.upstream.on("/jobs", Reply::json(&json!({"job": "job-2"})));
        jobs().submit(&world, &ann).await.expect(200);
        let row = task(&world).await;
        assert_eq!((row.text("status"), quotas(&row)), ("unknown", (40, 40, 0)));
        let refund = format!("/api/task/{}/fail-and-refund", row.i64("id"));
        world.admin().try_post(&refund, &json!({"reason": "not made"})).await.expect(200);
        assert_eq!(world.money(&ann).await, Money { quota: 60, used: 40, calls: 1 });
        world.close().await;
    }

    async fn a_task_may_be_submitted_by_any_method(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let vendor = jobs();
        let document = JOBS.replace("POST /jobs", "PUT /jobs");
        world.admin().post("/api/protocol", &json!({"document": document})).await;
        vendor.channel(&world).await;
        vendor.serve(&world, &vendor.running);
        let ann = world.payer(100).await;
        let call = world.server.call("PUT", "/pass/jobs").key(&ann.key).json(&vendor.submit.1);
        call.send().await.expect(200);
        polled(&world, "processing").await;
        vendor.serve(&world, &vendor.done);
        assert_eq!(quotas(&polled(&world, "completed").await), (40, 40, 40));
        assert_eq!(world.money(&ann).await.used, 40);
        world.close().await;
    }

    async fn a_submission_that_was_refused_costs_nothing(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(100).await;
        let kling = Vendor::kling();
        kling.channel(&world).await;
        let refusal = json!({"code": 1301, "message": "a rude word", "request_id": "r"});
        world.upstream.on(kling.path, Reply::json(&refusal));

        let answer = kling.submit(&world, &ann).await.expect(200);

        assert_eq!(answer.json(), refusal);
        let row = task(&world).await;
        assert_eq!(row.text("status"), "failed");
        assert_eq!(row.text("fail_reason"), "a rude word");
        world.upstream.on(kling.path, Reply::json(&refusal).status(400));
        kling.submit(&world, &ann).await.expect(400);
        assert_eq!(world.money(&ann).await, Money { quota: 100, used: 0, calls: 0 });
        assert_eq!(world.upstream.count(), 2, "asked once each");
        world.close().await;
    }

    async fn what_was_accepted_and_cannot_be_read_waits_for_an_operator(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(200).await;
        let runway = Vendor::runway();
        runway.channel(&world).await;
        // Another channel, which must not be asked after the first may have taken it.
        let other = json!({"protocol": "runway", "key": "up-key", "priority": -1});
        world.channel(&[runway.model], other).await;
        let page = "<html>accepted</html>";
        world.upstream.queue(runway.path, Reply::bytes("text/html", page));
        let cut = Reply::raw_json("{\"id\": \"rw").chunked().step(Step::Close);
        world.upstream.queue(runway.path, cut);

        let answer = runway.submit(&world, &ann).await.expect(200);
        assert_eq!(answer.text(), page, "byte for byte");
        let uid = answer.header("Location").unwrap();
        runway.submit(&world, &ann).await.expect_error(502, "UPSTREAM_ERROR");

        assert_eq!(world.upstream.count(), 2);
        let rows = world.db.query("SELECT * FROM tasks ORDER BY id").await;
        for row in &rows {
            assert_eq!((row.text("status"), row.text("task_id")), ("unknown", ""));
            assert_eq!(quotas(row), (40, 40, 0));
            assert!(row.get("node_id").is_none() && row.get("finish_time").is_none());
        }
        assert_eq!((world.money(&ann).await.quota, world.open_holds().await), (120, 2));
        world.server.wait_for_log(&["ERROR", "submission_unreadable"]).await;
        world.server.audit_clean().await;
        let own = world.server.call("GET", &uid).key(&ann.key).send().await.expect(200).json();
        assert_eq!(own["status"], "unknown");
        let unreadable = "custompass_tasks_in_queue{status=\"unreadable\"}";
        eventually("the metric", || async {
            (world.server.metric(unreadable).await == 2).then_some(())
        })
        .await;

        // Polling does not end them, and an operator sees the reply and decides.
        world.server.signal(Signal::USR1);
        let first = world.admin().get(&format!("/api/task/{}", rows[0].i64("id"))).await;
        assert_eq!(first["unreadable"], true);
        assert_eq!(first["reply"], page);
        let requeue = format!("/api/task/{}/requeue", rows[0].i64("id"));
        world.admin().try_post(&requeue, &json!({"reason": "try"})).await.expect(409);
        let settle = format!("/api/task/{}/settle-now", rows[0].i64("id"));
        let billed = json!({"reason": "the vendor billed it"});
        world.admin().try_post(&settle, &billed).await.expect(200);
        let refund = format!("/api/task/{}/fail-and-refund", rows[1].i64("id"));
        world.admin().try_post(&refund, &json!({"reason": "it did not"})).await.expect(200);
        assert_eq!(world.money(&ann).await, Money { quota: 160, used: 40, calls: 1 });
        world.close().await;
    }

    async fn a_task_charges_no_more_than_its_price_allows(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(1_000).await;
        let vendor = Vendor::openai();
        vendor.channel(&world).await;
        let price = json!({"ratio": 0, "units": {"seconds": 10}, "max_charge": 60});
        world.admin().price(vendor.model, price).await;
        let mut done = vendor.done.clone();
        done["seconds"] = json!("1000000");
        vendor.serve(&world, &done);
        vendor.submit(&world, &ann).await.expect(200);
        polled(&world, "completed").await;
        assert_eq!(world.money(&ann).await, Money { quota: 940, used: 60, calls: 1 });
        let newest = "SELECT request_id, content FROM logs WHERE type = 'consume'";
        let line = world.db.row(newest).await;
        assert_eq!(line.text("content"), "settled at max_charge: reported 10000000");
        world.server.wait_for_log(&["WARN", "charge_bounded", "task_uid", "10000000"]).await;
        let told = world.server.cli_ok(&["explain", line.text("request_id")]).await;
        assert!(told.contains("round(max_charge 60 × group 1 × user 1) = 60, in place"), "{told}");
        world.close().await;
    }

    async fn a_task_that_made_nothing_costs_nothing(db: TestDb) {
        // Kling's reports count no seconds: those that were asked for would be charged.
        let by_seconds = json!({"ratio": 0, "units": {"seconds": 10}});
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(100).await;
        for (vendor, at, prices) in [
            (Vendor::kling(), "/data/task_result/videos", vec![fixed(40), by_seconds.clone()]),
            (Vendor::runway(), "/output", vec![fixed(40), by_seconds]),
            (Vendor::suno(), "/data/response/sunoData", vec![fixed(40)]),
        ] {
            vendor.channel(&world).await;
            let mut done = vendor.done.clone();
            *done.pointer_mut(at).unwrap() = json!([]);
            vendor.serve(&world, &done);
            for price in prices {
                world.admin().price(vendor.model, price).await;
                vendor.submit(&world, &ann).await.expect(200);
                let row = polled(&world, "completed").await;
                assert_eq!(quotas(&row).2, 0, "{}", vendor.protocol);
                assert_eq!(world.money(&ann).await, Money { quota: 100, used: 0, calls: 0 });
                let told = world.server.cli_ok(&["explain", row.text("task_id")]).await;
                assert!(told.contains("upstream_empty"), "{}: {told}", vendor.protocol);
                world.db.execute("DELETE FROM tasks").await;
            }
        }
        world.close().await;
    }

    async fn units_are_held_as_asked_for_and_charged_as_made(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(1_000).await;
        // Kling counts no seconds in its results: those asked for are billed.
        for (vendor, charged) in [(Vendor::kling(), 50), (Vendor::openai(), 30)] {
            vendor.channel(&world).await;
            world.admin().price(vendor.model, json!({"ratio": 0, "units": {"seconds": 10}})).await;
            let before = world.money(&ann).await;
            let mut done = vendor.done.clone();
            if vendor.protocol == "openai-video" {
                done["seconds"] = json!("3");
            }
            vendor.serve(&world, &done);
            let held = vendor.submit(&world, &ann).await.expect(200).header("X-Newapi-Quota");
            let wanted = if vendor.protocol == "kling" { "50" } else { "40" };
            assert_eq!(held.as_deref(), Some(wanted), "{}", vendor.protocol);
            polled(&world, "completed").await;
            let after = world.money(&ann).await;
            assert_eq!(before.quota - after.quota, charged, "{}", vendor.protocol);
            world.db.execute("DELETE FROM tasks").await;
        }
        world.close().await;
    }
}
