//! Films of Azure's jobs: another kind of tasks beside those of `/openai/v1/videos`.

use crate::vendor_tasks::{NEVER, polled};
use crate::world::World;
use serde_json::Value;
use testkit::{Recorded, Reply, TestDb, json, on_both_databases};

const JOBS: &str = "/openai/v1/video/generations/jobs";
const JOB: &str = "/openai/v1/video/generations/jobs/task_1";
const FILM: &str = "/openai/v1/video/generations/gen_1/content/video?api-version=preview";

fn job(status: &str, films: &Value) -> Value {
    json!({"object": "video.generation.job", "id": "task_1", "status": status,
        "generations": films, "failure_reason": (status == "failed").then_some("not this")})
}

on_both_databases! {
    async fn a_job_is_charged_by_its_seconds_and_fetched_by_its_owner(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        world.channel(&["sora"], json!({"protocol": "azure"})).await;
        world.admin().price("sora", json!({"units": {"seconds": 10}})).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        world.upstream.on(JOBS, Reply::json(&job("queued", &json!([]))));
        let path = FILM.split('?').next().unwrap();
        world.upstream.on(path, Reply::text("MP4"));
        let submit = format!("{JOBS}?api-version=preview");
        let film = |seconds: Value, variants: Value| json!({"model": "sora", "prompt": "a cat",
            "n_seconds": seconds, "n_variants": variants});
        for several in [json!(2), json!("2"), json!([1])] {
            let body = film(json!(5), several);
            world.server.post(&submit, &ann.key, &body).await.expect(400);
        }
        let form = |variants: &str| {
            let field = |name: &str, value: &str| format!(
                "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            [field("model", "sora"), field("n_seconds", "3"), field("n_variants", variants),
                "--b--\r\n".to_owned()].concat()
        };
        let send = |form: String| {
            let call = world.server.call("POST", &submit).key(&ann.key);
            call.header("content-type", "multipart/form-data; boundary=b").body(form).send()
        };
        send(form("3")).await.expect(400);
        assert_eq!(world.upstream.count(), 0, "none of these reached the upstream");

        world.server.post(&submit, &ann.key, &film(json!("7"), json!("1"))).await.expect(200);
        assert_eq!(world.money(&ann).await.quota, 930);
        let films = json!([{"object": "video.generation", "id": "gen_1"}]);
        world.upstream.handle(JOB, move |request: &Recorded| {
            assert_eq!(request.query(), Some("api-version=preview"));
            Reply::json(&job("succeeded", &films))
        });
        polled(&world, "completed").await;
        assert_eq!(world.money(&ann).await.used, 70);
        let ask = async |payer: &crate::world::Payer, path: &str| {
            world.server.call("GET", path).key(&payer.key).send().await
        };
        ask(&ann, FILM).await.expect(404);
        let shown = format!("{JOB}?api-version=preview");
        ask(&ann, &shown).await.expect(200);
        ask(&bob, &shown).await.expect(404);
        assert_eq!(ask(&ann, FILM).await.expect(200).text(), "MP4");
        ask(&bob, FILM).await.expect(404);
        assert_eq!(ask(&ann, JOBS).await.expect(200).json()["data"][0]["id"], "task_1");
        assert_eq!(ask(&bob, JOBS).await.expect(200).json()["data"], json!([]));
        world.db.execute("DELETE FROM tasks").await;

        send(form("1")).await.expect(200);
        assert_eq!(world.money(&ann).await.quota, 900, "a form says how long, too");
        world.upstream.on(JOB, Reply::json(&job("failed", &json!([]))));
        assert_eq!(polled(&world, "failed").await.text("fail_reason"), "not this");
        assert_eq!(world.money(&ann).await.quota, 930);
        world.close().await;
    }
}
