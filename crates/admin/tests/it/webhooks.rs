//! Endpoints of webhooks.

use crate::House;
use admin::ops::webhook::{self, end_old_secret_seen, rotate_seen};
use admin::{Actor, AdminError};
use serde_json::json;

on_both! { an_endpoint_lives its_owner_alone no_secret_is_ended_unseen }

async fn an_endpoint_lives(house: House) {
    let (ann, token) = house.user("ann", 1).await;
    let body = r#"{"url":"https://example.com/hook","events":["task.failed"]}"#;
    let made = house.call(&token, "POST", "/api/webhook", body).await.ok();
    assert_eq!((&made["user_id"], &made["events"]), (&json!(ann), &json!(["task.failed"])));
    let secret = made["secret"].as_str().unwrap();
    assert!(store::webhooks::signing_key(&secret.into()).is_some());
    let path = format!("/api/webhook/{}", made["id"]);
    let read = house.call(&token, "GET", &path, "").await;
    assert!(!read.text.contains(secret) && !read.text.contains("sealed"), "{}", read.text);

    let start = read.text.find("\"data\":").unwrap() + 7;
    house.call(&token, "PUT", &path, &read.text[start..read.text.len() - 1]).await.ok();
    let changed = house.call(&token, "PATCH", &path, r#"{"events":""}"#).await.ok();
    assert_eq!(changed["events"], json!([]));
    for bad in [
        r#"{"url":"http://10.0.0.1/"}"#,
        r#"{"events":"task.started"}"#,
        r#"{"user_id":1}"#,
        r#"{"secret":"whsec_AAAAQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAA"}"#,
    ] {
        assert_eq!(house.call(&token, "PUT", &path, bad).await.status, 422, "{bad}");
    }
    let rotated = house.call(&token, "POST", &format!("{path}/rotate"), "").await.ok();
    assert_ne!(rotated["secret"], made["secret"]);
    let bad = r#"{"secret":""}"#;
    assert_eq!(house.call(&token, "POST", &format!("{path}/rotate"), bad).await.status, 422);
    house.call(&token, "POST", &format!("{path}/disable"), "").await.ok();

    for _ in 1..10 {
        house.call(&token, "POST", "/api/webhook", body).await.ok();
    }
    assert_eq!(house.call(&token, "POST", "/api/webhook", body).await.status, 409);
    house.call(&token, "DELETE", &path, "").await.ok();
    assert_eq!(house.call(&token, "GET", &path, "").await.status, 404);
    let log = house.get("/api/log?type=manage").await;
    for action in ["webhook.create", "webhook.update", "webhook.rotate", "webhook.delete"] {
        assert!(log.text.contains(action), "{action}");
    }
    assert!(!log.text.contains("whsec_") && !log.text.contains("example.com"));
}

async fn its_owner_alone(house: House) {
    let (ann, ann_token) = house.user("ann", 1).await;
    let (_, bob_token) = house.user("bob", 1).await;
    let body = r#"{"url":"https://example.com/hook"}"#;
    let made = house.call(&ann_token, "POST", "/api/webhook", body).await.ok();
    let path = format!("/api/webhook/{}", made["id"]);
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/rotate")),
        ("POST", format!("{path}/disable")),
        ("GET", format!("{path}/deliveries")),
    ] {
        assert_eq!(house.call(&bob_token, method, &path, "").await.status, 404, "{path}");
    }
    for path in ["/api/webhook?user_id=", "/api/webhook/submission-secret?user_id="] {
        let path = format!("{path}{ann}");
        assert_eq!(house.call(&bob_token, "GET", &path, "").await.status, 403, "{path}");
        assert_eq!(house.get(&path).await.status, 200, "{path}");
    }
    let others = format!(r#"{{"user_id":{ann},"url":"https://example.com/"}}"#);
    assert_eq!(house.call(&bob_token, "POST", "/api/webhook", &others).await.status, 403);
    assert_eq!(house.call(&bob_token, "GET", "/api/webhook", "").await.ok(), json!([]));
    assert_eq!(house.get("/api/webhook").await.ok().as_array().unwrap().len(), 1);

    let sql = "INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, state,
               due_at) VALUES ($1, $2, $3, 'task.failed', 'delivered', $4) RETURNING id";
    let params: [store::Value; 4] = [
        made["id"].as_i64().unwrap().into(),
        ann.into(),
        uuid::Uuid::now_v7().into(),
        house.state.clock.now().into(),
    ];
    let rows = house.state.db.write(sql, &params).await.unwrap();
    let delivery: i64 = rows[0].get("id").unwrap();
    let again = format!("/api/webhook/delivery/{delivery}/redeliver");
    assert_eq!(house.call(&bob_token, "POST", &again, "").await.status, 404);
    assert_eq!(house.call(&ann_token, "POST", &again, "").await.ok()["state"], "pending");
    let history = house.call(&ann_token, "GET", &format!("{path}/deliveries"), "").await.ok();
    assert_eq!(history[0]["id"], json!(delivery));
    house.call(&ann_token, "POST", &format!("{path}/disable"), "").await.ok();
    assert_eq!(house.call(&ann_token, "POST", &again, "").await.status, 409);
}

async fn no_secret_is_ended_unseen(house: House) {
    let made = house.post("/api/webhook", r#"{"url":"https://example.com/hook"}"#).await.ok();
    let id = made["id"].as_i64().unwrap();
    let (state, actor) = (&house.state, Actor::command_line());
    let first = webhook::get(state, &actor, id).await.unwrap();
    let second = rotate_seen(state, &actor, &first, None).await.unwrap().endpoint;
    assert!(second.previous_until.is_some());

    // Who saw the webhook before that rotation would end the first secret.
    let late = rotate_seen(state, &actor, &first, None).await;
    assert!(matches!(late, Err(AdminError::Conflict { .. })), "{late:?}");
    let third = rotate_seen(state, &actor, &second, None).await.unwrap().endpoint;
    let late = end_old_secret_seen(state, &actor, &second).await;
    assert!(matches!(late, Err(AdminError::Conflict { .. })), "{late:?}");
    let ended = end_old_secret_seen(state, &actor, &third).await.unwrap();
    assert_eq!(ended.previous_until, None);
}
