//! Webhooks: sent once a task has ended, signed, retried, and no endpoint delays another.
//!
//! Ended tasks and their outbox rows are inserted with SQL.

use crate::pages::{Browser, between, name_of};
use crate::pages_protocols::form as encoded;
use crate::world::{World, node};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use testkit::server::SECRET_KEY;
use testkit::{Gate, ROOT_PASSWORD, Recorded, Reply, TestDb, eventually, json, on_both_databases};

const LOCAL: &[(&str, &str)] = &[("WEBHOOK_ALLOW_NETS", "127.0.0.0/8"), ("LOG_LEVEL", "debug")];
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA";
const OTHER_SECRET: &str = "whsec_AAAAQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAA";

/// The endpoints of a user, and tasks that have ended.
struct Hooks {
    world: World,
    user_id: i64,
}

impl Hooks {
    async fn open(db: TestDb) -> Self {
        let world = World::with(db, LOCAL).await;
        let user_id = world.payer(0).await.id;
        Self { world, user_id }
    }

    /// An endpoint at this path of the upstream.
    async fn endpoint(&self, path: &str) -> i64 {
        let url = format!("{}{path}", self.world.upstream.url());
        let body = json!({"user_id": self.user_id, "url": url, "secret": SECRET});
        self.world.admin().post("/api/webhook", &body).await["id"].as_i64().unwrap()
    }

    /// Inserts a completed task and its outbox rows for these endpoints; returns its uid.
    async fn ended(&self, endpoints: &[i64]) -> uuid::Uuid {
        self.ended_with(endpoints, "''", "NULL").await
    }

    async fn ended_with(&self, endpoints: &[i64], data: &str, url: &str) -> uuid::Uuid {
        let uid = uuid::Uuid::now_v7();
        let (db, user) = (&self.world.db, self.user_id);
        let (id, now) = if db.is_postgres() {
            (format!("'{uid}'"), "now()")
        } else {
            (format!("x'{}'", uid.simple()), "CAST(unixepoch('subsec') * 1000 AS INTEGER)")
        };
        let mut sql = format!(
            "INSERT INTO tasks (uid, task_id, user_id, channel_id, action, status,
                    upstream_status, data, webhook_url_sealed, finish_time)
             VALUES ({id}, 'up-1', {user}, 1, 'img/submit', 'completed', 'DONE', {data}, {url},
                    {now});"
        );
        for endpoint in endpoints {
            sql.push_str(&format!(
                "INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, due_at)
                 VALUES ({endpoint}, {user}, {id}, 'task.completed', {now});"
            ));
        }
        db.execute(&sql).await;
        uid
    }

    /// Waits until this many rows of an endpoint are in this state.
    async fn wait(&self, endpoint: i64, state: &str, count: i64) {
        let sql = format!(
            "SELECT count(*) FROM webhook_deliveries
             WHERE endpoint_id = {endpoint} AND state = '{state}'"
        );
        eventually(&format!("{count} {state} of endpoint {endpoint}"), || async {
            (self.world.db.i64(&sql).await == count).then_some(())
        })
        .await;
    }

    /// Waits for the row of an endpoint to have been tried so often, and to wait for the next.
    async fn wait_for_try(&self, endpoint: i64, attempts: i64, status: Option<u16>) {
        // A try is counted when it begins; its status is there when it has ended.
        let status = status.map_or("IS NULL".to_owned(), |status| format!("= {status}"));
        let sql = format!(
            "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = {endpoint}
             AND state = 'pending' AND attempts = {attempts} AND last_error <> ''
             AND last_status {status}"
        );
        eventually("a failed try to be written down", || async {
            (self.world.db.i64(&sql).await == 1).then_some(())
        })
        .await;
    }

    /// Sets all deliveries due now.
    async fn hurry(&self) {
        let now = if self.world.db.is_postgres() { "now()" } else { "1" };
        self.world.db.execute(&format!("UPDATE webhook_deliveries SET due_at = {now}")).await;
    }

    async fn requests_to(&self, path: &str) -> Vec<Recorded> {
        let all = self.world.upstream.requests().await;
        all.into_iter().filter(|one| one.target == path).collect()
    }
}

fn sealed(purpose: &str, text: &str) -> String {
    let sealer = store::Sealer::new(SECRET_KEY.as_bytes());
    format!("'{}'", sealer.seal(purpose, text.as_bytes()).unwrap())
}

/// Whether one of a request's signatures is made with this secret.
fn signed_with(request: &Recorded, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let (id, time) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    let signed = format!("{}.{}.{}", id.unwrap(), time.unwrap(), request.text());
    let signatures = request.header("webhook-signature").unwrap();
    signatures.split(' ').any(|signature| {
        let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
    })
}

on_both_databases! {
    async fn a_test_is_sent_when_asked_for(db: TestDb) {
        let hooks = Hooks::open(db).await;
        let admin = hooks.world.admin();
        hooks.world.upstream.on("/works", Reply::new(204));
        hooks.world.upstream.on("/fails", Reply::new(500));
        let works = hooks.endpoint("/works").await;
        let test = |id: i64| format!("/api/webhook/{id}/test");

        let asked = admin.post(&test(works), &json!({})).await;
        assert_eq!((&asked["event"], &asked["state"]), (&json!("webhook.test"), &json!("pending")));
        hooks.wait(works, "delivered", 1).await;
        let got = hooks.requests_to("/works").await;
        assert!(signed_with(&got[0], SECRET));
        let body = got[0].json();
        assert_eq!(body["type"], "webhook.test");
        assert_eq!(body["data"]["webhook_id"], works);
        admin.post(&test(works), &json!({})).await;
        hooks.wait(works, "delivered", 2).await;

        let fails = hooks.endpoint("/fails").await;
        admin.post(&test(fails), &json!({})).await;
        hooks.wait_for_try(fails, 1, Some(500)).await;
        let refused = admin.try_post(&test(fails), &json!({})).await.expect(409).text();
        assert!(refused.contains("pending"), "{refused}");
        admin.post(&format!("/api/webhook/{fails}/disable"), &json!({})).await;
        let refused = admin.try_post(&test(fails), &json!({})).await.expect(409).text();
        assert!(refused.contains("disabled"), "{refused}");
        admin.try_post(&test(999), &json!({})).await.expect(404);
        hooks.world.close().await;
    }

    async fn an_ended_task_is_told_of(db: TestDb) {
        let hooks = Hooks::open(db).await;
        hooks.world.upstream.otherwise(Reply::new(204));
        let endpoint = hooks.endpoint("/hook?a=1").await;
        let said = r#"{"task_id":"up-1","result":{"n": 1.50,"n":2},"usage":{"total_tokens":3}}"#;
        let uid = hooks.ended_with(&[endpoint], &sealed(store::TASK_DATA, said), "NULL").await;

        hooks.wait(endpoint, "delivered", 1).await;

        let got = hooks.world.upstream.requests().await;
        assert_eq!(got.len(), 1);
        let got = &got[0];
        assert_eq!((got.method.as_str(), got.target.as_str()), ("POST", "/hook?a=1"));
        let id = format!("msg_{}_{endpoint}", uid.simple());
        assert_eq!(got.header("webhook-id").unwrap(), id);
        assert_eq!(got.header("user-agent").unwrap(), "newapi");
        assert!(signed_with(got, SECRET) && !signed_with(got, OTHER_SECRET));
        assert!(got.text().contains(r#""result":{"n": 1.50,"n":2},"#), "{}", got.text());
        let body = got.json();
        assert_eq!(body["type"], "task.completed");
        assert_eq!(body["data"]["id"], uid.to_string());
        assert_eq!(body["data"]["task_id"], "up-1");
        let row = hooks.world.db.row("SELECT attempts, last_status FROM webhook_deliveries").await;
        assert_eq!((row.i64("attempts"), row.i64("last_status")), (1, 204));
        let sample = "custompass_webhooks_total{result=\"delivered\"}";
        assert_eq!(hooks.world.server.metric(sample).await, 1);
        hooks.world.close().await;
    }

    async fn a_failed_one_is_tried_again(db: TestDb) {
        let hooks = Hooks::open(db).await;
        let upstream = &hooks.world.upstream;
        upstream.queue("/hook", Reply::new(500));
        upstream.queue("/hook", Reply::redirect(302, &format!("{}/other", upstream.url())));
        upstream.queue("/hook", Reply::reset());
        upstream.on("/hook", Reply::text("ok"));
        let endpoint = hooks.endpoint("/hook").await;
        hooks.ended(&[endpoint]).await;

        for (attempt, status) in [(1, Some(500)), (2, Some(302)), (3, None)] {
            hooks.wait_for_try(endpoint, attempt, status).await;
            hooks.hurry().await;
        }
        hooks.wait(endpoint, "delivered", 1).await;

        let got = upstream.requests().await;
        assert_eq!(got.len(), 4, "no redirect is followed");
        let id = got[0].header("webhook-id");
        assert!(got.iter().all(|one| one.header("webhook-id") == id && one.target == "/hook"));
        assert!(got.iter().all(|one| signed_with(one, SECRET)));

        // The last of all tries.
        upstream.on("/hook", Reply::new(503));
        let admin = hooks.world.admin();
        hooks.world.db.execute("UPDATE webhook_deliveries SET attempts = 10").await;
        let list = admin.get(&format!("/api/webhook/{endpoint}/deliveries")).await;
        let delivery = list[0]["id"].as_i64().unwrap();
        admin.post(&format!("/api/webhook/delivery/{delivery}/redeliver"), &json!({})).await;
        hooks.wait(endpoint, "failed", 1).await;
        let path = format!("/api/webhook/{endpoint}/deliveries?state=failed");
        let history = admin.get(&path).await;
        assert_eq!(history[0]["attempts"], 11);
        assert_eq!(history[0]["last_status"], 503);
        upstream.on("/hook", Reply::text("ok"));
        admin.post(&format!("/api/webhook/delivery/{delivery}/redeliver"), &json!({})).await;
        hooks.wait(endpoint, "delivered", 1).await;
        let last = upstream.requests().await.pop().unwrap();
        assert_eq!(last.header("webhook-id"), id);
        hooks.world.close().await;
    }

    async fn both_secrets_sign_for_a_while(db: TestDb) {
        let hooks = Hooks::open(db).await;
        hooks.world.upstream.on("/hook", Reply::text("ok"));
        let endpoint = hooks.endpoint("/hook").await;
        let path = format!("/api/webhook/{endpoint}/rotate");
        let body = json!({"secret": OTHER_SECRET});
        assert_eq!(hooks.world.admin().post(&path, &body).await["secret"], OTHER_SECRET);

        hooks.ended(&[endpoint]).await;
        hooks.wait(endpoint, "delivered", 1).await;
        let past = if hooks.world.db.is_postgres() { "now()" } else { "1" };
        let over = format!("UPDATE webhook_endpoints SET previous_until = {past}");
        hooks.world.db.execute(&over).await;
        hooks.ended(&[endpoint]).await;
        hooks.wait(endpoint, "delivered", 2).await;

        let got = hooks.world.upstream.requests().await;
        assert!(signed_with(&got[0], SECRET) && signed_with(&got[0], OTHER_SECRET));
        assert!(!signed_with(&got[1], SECRET) && signed_with(&got[1], OTHER_SECRET));
        let of = format!("/api/webhook/{endpoint}");
        assert_eq!(hooks.world.admin().get(&of).await["previous_until"], json!(null), "past");
        let list = hooks.world.admin().get("/api/webhook").await;
        assert_eq!(list[0]["previous_until"], json!(null), "past");
        let made = hooks.world.admin().call("POST", &path).send().await.expect(200).json();
        assert!(made["data"]["secret"].as_str().unwrap().starts_with("whsec_"));
        assert!(made["data"]["previous_until"].is_i64());
        hooks.world.close().await;
    }

    async fn an_old_secret_is_ended_at_once(db: TestDb) {
        let hooks = Hooks::open(db).await;
        hooks.world.upstream.on("/hook", Reply::text("ok"));
        let endpoint = hooks.endpoint("/hook").await;
        let admin = hooks.world.admin();
        let old = format!("/api/webhook/{endpoint}/old-secret");
        // There is none yet: nothing changes, and nothing is entered.
        assert_eq!(admin.delete(&old).await["previous_until"], json!(null));
        let body = json!({"secret": OTHER_SECRET});
        admin.post(&format!("/api/webhook/{endpoint}/rotate"), &body).await;
        assert_eq!(admin.delete(&old).await["previous_until"], json!(null));
        assert_eq!(admin.delete(&old).await["previous_until"], json!(null));
        hooks.ended(&[endpoint]).await;
        hooks.wait(endpoint, "delivered", 1).await;
        let got = hooks.world.upstream.requests().await;
        assert!(!signed_with(&got[0], SECRET) && signed_with(&got[0], OTHER_SECRET));
        let kept = "SELECT count(*) FROM webhook_endpoints
            WHERE previous_secret_sealed IS NOT NULL OR previous_until IS NOT NULL";
        assert_eq!(hooks.world.db.i64(kept).await, 0);
        let journal = admin.get("/api/log?type=manage").await.to_string();
        assert_eq!(journal.matches("webhook.end_old_secret").count(), 1, "{journal}");
        admin.call("DELETE", "/api/webhook/999/old-secret").send().await.expect(404);
        hooks.world.close().await;
    }

    async fn a_secret_is_rotated_once_in_the_console(db: TestDb) {
        let hooks = Hooks::open(db).await;
        hooks.world.upstream.on("/hook", Reply::text("ok"));
        let endpoint = hooks.endpoint("/hook").await;
        let server = &hooks.world.server;
        let name = name_of(&hooks.world, hooks.user_id).await;
        let mut user = Browser::login(server, &name, "correct horse 42").await;
        let root = Browser::login(server, "root", ROOT_PASSWORD).await;
        let (here, path) = {
            let here = format!("/console/webhooks/{endpoint}");
            (here.clone(), format!("{here}/rotate"))
        };
        let form = |page: &str| {
            let value = |name: &str| between(page, &format!("name=\"{name}\" value=\""), "\"");
            encoded(&[("once", &value("once").unwrap()), ("opened", &value("opened").unwrap())])
        };
        let page = user.get(&here).await.expect(200).text();
        assert!(page.contains(&format!("href=\"{path}\"")) && !page.contains("old-secret"));
        let sent = form(&user.get(&path).await.expect(200).text());
        let stale = form(&root.get(&path).await.expect(200).text());
        let shown = user.send(&path, &sent).await.expect(200).text();
        let new = between(&shown, "id=\"new-secret\">", "<").unwrap();
        let again = user.send(&path, &sent).await.expect(303).header("location").unwrap();
        assert_eq!(again, format!("{here}?done=hook-rotated-before"));
        let page = user.get(&again).await.expect(200).text();
        assert!(page.contains("was rotated once") && !page.contains(&new), "{page}");
        // Whoever has not seen that it was rotated is asked.
        let asked = root.send(&path, &stale).await.expect(409).text();
        assert!(asked.contains("It was changed since this form was opened"), "{asked}");
        assert!(asked.contains("Old secret until: "), "{asked}");
        assert!(asked.contains("another rotation ends it at once"), "{asked}");
        hooks.ended(&[endpoint]).await;
        hooks.wait(endpoint, "delivered", 1).await;
        let got = hooks.world.upstream.requests().await;
        assert!(signed_with(&got[0], SECRET) && signed_with(&got[0], &new), "both still sign");

        // The button ends the secret that the page showed, and no later one.
        let note = between(&user.get(&here).await.text(), "id=\"old-secret\"", "</form>").unwrap();
        assert!(note.contains("still signs"), "{note}");
        let end = between(&note, "action=\"", "\"").unwrap().replace("&amp;", "&");
        user.send(&end.replace("of=", "of=1"), "").await.expect(409);
        let to = user.send(&end, "").await.expect(303).header("location").unwrap();
        let page = user.get(&to).await.expect(200).text();
        assert!(page.contains("The old secret has ended") && !page.contains("id=\"old-secret\""));
        hooks.ended(&[endpoint]).await;
        hooks.wait(endpoint, "delivered", 2).await;
        let got = hooks.world.upstream.requests().await;
        assert!(!signed_with(&got[1], SECRET) && signed_with(&got[1], &new));
        user.lang = "zh";
        let page = user.get(&path).await.expect(200).text();
        assert!(page.contains("现在的密钥再签名一天"), "{page}");
        let journal = root.get("/console/actions").await.expect(200).text();
        assert!(journal.contains("ended the old secret of the webhook"), "{journal}");

        let eve = hooks.world.payer(0).await;
        let eve = name_of(&hooks.world, eve.id).await;
        let eve = Browser::login(server, &eve, "correct horse 42").await;
        eve.get(&path).await.expect(404);
        eve.send(&path, &sent).await.expect(404);
        eve.send(&format!("{here}/end-old"), "").await.expect(404);
        hooks.world.close().await;
    }

    async fn an_endpoint_that_nothing_reaches_needs_a_look(db: TestDb) {
        let hooks = Hooks::open(db).await;
        hooks.world.upstream.on("/fails", Reply::new(500));
        hooks.world.upstream.on("/works", Reply::new(204));
        let (fails, works) = (hooks.endpoint("/fails").await, hooks.endpoint("/works").await);
        let admin = hooks.world.admin();
        let root = Browser::login(&hooks.world.server, "root", ROOT_PASSWORD).await;
        let shown = admin.get(&format!("/api/webhook/{fails}")).await;
        let last = (&shown["last_delivery_state"], &shown["last_delivery_at"], &shown["failing"]);
        assert_eq!(last, (&json!(null), &json!(null), &json!(0)));
        hooks.ended(&[works, fails]).await;
        hooks.wait(works, "delivered", 1).await;
        for attempt in 1..=3 {
            hooks.wait_for_try(fails, attempt, Some(500)).await;
            let told = admin.get("/api/attention").await["webhooks_failing"].clone();
            assert_eq!(told, json!(i64::from(attempt == 3)), "after {attempt} tries");
            if attempt < 3 {
                hooks.hurry().await;
            }
        }
        let shown = admin.get(&format!("/api/webhook/{fails}")).await;
        assert_eq!(shown["last_delivery_state"], "pending");
        assert!(shown["last_delivery_at"].is_i64() && shown["failing"] == 1, "{shown}");
        // A script that sends back what it was shown changes nothing.
        admin.put(&format!("/api/webhook/{fails}"), &shown).await;
        let list = admin.get("/api/webhook?status=failing").await;
        assert_eq!((list.as_array().unwrap().len(), &list[0]["id"]), (1, &json!(fails)));

        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("nothing reaches 1 that is enabled"), "{page}");
        assert!(page.contains("href=\"/console/webhooks?status=failing\""), "{page}");
        let list = root.get("/console/webhooks").await.expect(200).text();
        assert!(list.contains("Last delivery") && list.contains("delivered"), "{list}");
        let list = root.get("/console/webhooks?status=failing").await.expect(200).text();
        assert!(list.contains("/fails") && !list.contains("/works"), "{list}");

        hooks.world.upstream.on("/fails", Reply::new(204));
        hooks.hurry().await;
        hooks.wait(fails, "delivered", 1).await;
        assert_eq!(admin.get("/api/attention").await["webhooks_failing"], 0);
        let list = admin.get("/api/webhook?status=failing").await;
        assert!(list.as_array().unwrap().is_empty(), "{list}");
        // One that is off needs no look of this kind: it has its own.
        let off = format!("UPDATE webhook_deliveries SET state = 'failed',
            last_error = 'status_500',
            attempts = 11 WHERE endpoint_id = {fails}");
        hooks.world.db.execute(&off).await;
        assert_eq!(admin.get("/api/attention").await["webhooks_failing"], 1, "given up");
        admin.post(&format!("/api/webhook/{fails}/disable"), &json!({})).await;
        assert_eq!(admin.get("/api/attention").await["webhooks_failing"], 0);
        hooks.world.close().await;
    }

    async fn gone_ends_an_endpoint(db: TestDb) {
        let hooks = Hooks::open(db).await;
        hooks.world.upstream.on("/hook", Reply::new(410));
        let endpoint = hooks.endpoint("/hook").await;
        hooks.ended(&[endpoint]).await;
        hooks.wait(endpoint, "failed", 1).await;

        let shown = hooks.world.admin().get(&format!("/api/webhook/{endpoint}")).await;
        assert_eq!(shown["status"], 2);
        assert_eq!(shown["disabled_reason"], "answered 410 Gone");
        // What still came for it is given up, unsent.
        hooks.ended(&[endpoint]).await;
        hooks.wait(endpoint, "failed", 2).await;
        assert_eq!(hooks.world.upstream.count(), 1);
        let again = format!("/api/webhook/{endpoint}/enable");
        let shown = hooks.world.admin().post(&again, &json!({})).await;
        assert_eq!((&shown["status"], &shown["disabled_reason"]), (&json!(1), &json!("")));
        hooks.world.close().await;
    }

    async fn a_slow_endpoint_delays_nobody(db: TestDb) {
        let hooks = Hooks::open(db).await;
        let gate = Gate::new();
        hooks.world.upstream.on("/slow", Reply::text("ok").gated(&gate));
        hooks.world.upstream.on("/fast", Reply::text("ok"));
        let (slow, fast) = (hooks.endpoint("/slow").await, hooks.endpoint("/fast").await);
        for _ in 0..40 {
            hooks.ended(&[slow]).await;
        }
        gate.reached(4).await;
        for _ in 0..8 {
            hooks.ended(&[fast]).await;
        }

        hooks.wait(fast, "delivered", 8).await;

        assert_eq!(hooks.requests_to("/slow").await.len(), 4);
        gate.open();
        hooks.wait(slow, "delivered", 40).await;
        hooks.world.close().await;
    }

    async fn users_whose_endpoints_hang_delay_nobody_else(db: TestDb) {
        let mut hooks = Hooks::open(db).await;
        let gate = Gate::new();
        hooks.world.upstream.otherwise(Reply::text("ok").gated(&gate));
        for user in 0..2 {
            for n in 0..10 {
                let endpoint = hooks.endpoint(&format!("/slow/{user}/{n}")).await;
                for _ in 0..4 {
                    hooks.ended(&[endpoint]).await;
                }
            }
            hooks.user_id = hooks.world.payer(0).await.id;
        }
        gate.reached(16).await;
        hooks.world.upstream.on("/fast", Reply::text("ok"));
        let fast = hooks.endpoint("/fast").await;
        for _ in 0..4 {
            hooks.ended(&[fast]).await;
        }

        hooks.wait(fast, "delivered", 4).await;

        // Each has its share of what is under way, and no more.
        assert_eq!(hooks.world.upstream.count(), 16 + 4);
        gate.open();
        hooks.world.close().await;
    }

    async fn users_with_a_backlog_take_turns(db: TestDb) {
        let mut hooks = Hooks::open(db).await;
        let gate = Gate::new();
        hooks.world.upstream.otherwise(Reply::text("ok").gated(&gate));
        for user in 0..8 {
            let mut endpoints = Vec::new();
            for n in 0..2 {
                endpoints.push(hooks.endpoint(&format!("/slow/{user}/{n}")).await);
            }
            for _ in 0..20 {
                hooks.ended(&endpoints).await;
            }
            hooks.user_id = hooks.world.payer(0).await.id;
        }
        gate.reached(64).await;
        let fast = hooks.endpoint("/fast").await;
        hooks.ended(&[fast]).await;

        gate.open();

        hooks.wait(fast, "delivered", 1).await;
        let place = hooks.requests_to("/fast").await[0].index;
        // With those that were free at the same time, and before the rest of 320.
        assert!(place < 2 * 64, "it was number {place} of all");
        hooks.world.close().await;
    }

    async fn a_submission_names_its_own_address(db: TestDb) {
        let hooks = Hooks::open(db).await;
        let upstream = &hooks.world.upstream;
        upstream.on("/own", Reply::text("ok"));
        let admin = hooks.world.admin();
        let path = format!("/api/webhook/submission-secret?user_id={}", hooks.user_id);
        let made = admin.post(&path, &json!({"secret": SECRET})).await;
        let endpoint = made["id"].as_i64().unwrap();
        let url = sealed(store::WEBHOOK_URL, &format!("{}/own", upstream.url()));
        hooks.ended_with(&[endpoint], "''", &url).await;
        hooks.wait(endpoint, "delivered", 1).await;
        assert!(signed_with(&upstream.requests().await[0], SECRET));

        // 410 of one submission's address ends nothing but this delivery.
        upstream.on("/own", Reply::new(410));
        hooks.ended_with(&[endpoint], "''", &url).await;
        hooks.wait(endpoint, "failed", 1).await;
        let shown = admin.get(&path).await;
        assert_eq!((&shown["id"], &shown["status"]), (&json!(endpoint), &json!(1)));
        assert_eq!(shown.get("secret"), None);
        let again = admin.post(&path, &json!({})).await;
        assert_eq!(again["id"], json!(endpoint));
        assert_ne!(again["secret"], json!(SECRET));
        assert!(again["previous_until"].is_i64());
        assert!(admin.get("/api/webhook").await.as_array().unwrap().is_empty());
        hooks.world.close().await;
    }

    async fn a_death_in_between_tells_again(db: TestDb) {
        let mut hooks = Hooks::open(db).await;
        hooks.world.upstream.queue("/hook", Reply::hang());
        hooks.world.upstream.on("/hook", Reply::text("ok"));
        let endpoint = hooks.endpoint("/hook").await;
        hooks.ended(&[endpoint]).await;
        hooks.world.upstream.wait_for_requests(1).await;

        hooks.world.server.kill_9().await;
        hooks.world.server.start_again().await;
        // Its claim lapses after a minute.
        hooks.hurry().await;

        hooks.wait(endpoint, "delivered", 1).await;
        let got = hooks.world.upstream.requests().await;
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
        hooks.world.close().await;
    }

    async fn private_addresses_are_refused(db: TestDb) {
        let world = World::open(db).await;
        let user_id = world.payer(0).await.id;
        let admin = world.admin();
        let body = json!({"user_id": user_id, "url": world.upstream.url()});
        let refused = admin.try_post("/api/webhook", &body).await.expect(422);
        assert!(refused.text().contains("WEBHOOK_ALLOW_NETS"), "{}", refused.text());

        // A host name does not reveal its address: the connection itself is refused.
        let body = json!({"user_id": user_id, "url": "http://example.com/", "secret": SECRET});
        let endpoint = admin.post("/api/webhook", &body).await["id"].as_i64().unwrap();
        let url = world.upstream.url();
        world.db.execute(&format!("UPDATE webhook_endpoints SET url = '{url}'")).await;
        let hooks = Hooks { world, user_id };
        hooks.ended(&[endpoint]).await;
        hooks.wait_for_try(endpoint, 1, None).await;

        let error = hooks.world.db.text("SELECT last_error FROM webhook_deliveries").await;
        assert_eq!((error.as_str(), hooks.world.upstream.count()), ("guarded", 0));
        hooks.world.close().await;
    }

    async fn nothing_secret_is_readable(db: TestDb) {
        let hooks = Hooks::open(db).await;
        hooks.world.upstream.on("/hook", Reply::new(500));
        let endpoint = hooks.endpoint("/hook").await;
        let said = r#"{"result":"a-private-picture"}"#;
        hooks.ended_with(&[endpoint], &sealed(store::TASK_DATA, said), "NULL").await;
        hooks.wait_for_try(endpoint, 1, Some(500)).await;
        let words = ["webhook_failed", &format!("endpoint_id={endpoint}")];
        hooks.world.server.wait_for_log(&words).await;

        let log = hooks.world.server.log_lines().join("\n");
        let row = hooks.world.db.row("SELECT secret_sealed FROM webhook_endpoints").await;
        let kept = row.text("secret_sealed");
        let lines = hooks.world.db.query("SELECT content, other FROM logs").await;
        let shown = hooks.world.admin().get("/api/webhook").await.to_string();
        let bare = &SECRET[6..];
        for text in [&log, kept, &format!("{lines:?}"), &shown] {
            assert!(!text.contains(bare) && !text.contains("a-private-picture"), "{text}");
        }
        assert!(!log.contains("/hook"), "{log}");
        hooks.world.close().await;
    }
}

on_postgres! {
    async fn two_nodes_deliver_once(db: TestDb) {
        let hooks = Hooks::open(db).await;
        let second = node(&hooks.world.db, LOCAL).await;
        hooks.world.upstream.on("/hook", Reply::text("ok"));
        let endpoint = hooks.endpoint("/hook").await;
        for _ in 0..60 {
            hooks.ended(&[endpoint]).await;
        }

        hooks.wait(endpoint, "delivered", 60).await;

        let got = hooks.world.upstream.requests().await;
        let ids: std::collections::HashSet<_> =
            got.iter().map(|one| one.header("webhook-id")).collect();
        assert_eq!((got.len(), ids.len()), (60, 60));
        second.audit_clean().await;
        hooks.world.close().await;
    }
}
