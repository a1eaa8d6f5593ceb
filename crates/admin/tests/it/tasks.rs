//! Tasks, as administrators see and decide them.

use crate::House;
use domain::{ChannelId, HoldId, KeyId, NodeId, PriceRow, Pricing, Quota, Ratio, TaskUid, UserId};
use ledger::{AcceptedTask, HoldRequest, NewTask, TaskRecord};
use serde_json::json;
use std::sync::Arc;

on_both! { tasks_are_listed decisions_end_a_task_once explained_by_the_upstreams_id }

const CHANNEL: ChannelId = ChannelId(4);

/// A submitted task that holds 60 of its price.
async fn task(house: &House, user_id: i64, model: &str, task_id: &str) -> TaskUid {
    let row = PriceRow { fixed_quota: Some(Quota(60)), ..PriceRow::default() };
    let Ok(Pricing::Priced(price)) = Pricing::freeze(Some(&row), Ratio::ONE, Ratio::ONE) else {
        panic!("the row has a price")
    };
    let hold_id = HoldId(web::uuid_v7(house.state.clock.now()));
    let (uid, user_id, key_id) = (TaskUid::from(hold_id), UserId(user_id), KeyId(1));
    let new = NewTask {
        uid,
        user_id,
        token_id: key_id,
        key_sealed: String::new(),
        channel_id: CHANNEL,
        action: model.into(),
        request_id: format!("r-{task_id}"),
        node_id: NodeId(uuid::Uuid::nil()),
        request_sealed: None,
        webhook_url_sealed: None,
    };
    let request = HoldRequest {
        hold_id,
        user_id,
        key_id,
        key_is_limited: false,
        channel_id: Some(CHANNEL),
        model: model.into(),
        request_id: format!("r-{task_id}").into(),
        amount: Quota(60),
        price: Arc::new(price),
        deadline_at: house.state.clock.now().plus_ms(60_000),
        task: Some(Box::new(new)),
    };
    let mut hold = house.state.ledger.hold(request).await.unwrap();
    let task = TaskRecord::new(uid, task_id.into(), CHANNEL);
    let taken = AcceptedTask { task, hold: None, reply: None };
    house.state.ledger.record_task(&mut hold, taken).await.unwrap();
    uid
}

async fn tasks_are_listed(house: House) {
    let (ann, token) = house.user("ann", 1).await;
    let (bob, _) = house.user("bob", 1).await;
    let uid = task(&house, ann, "img/submit", "up-1").await;
    task(&house, bob, "video/submit", "up-2").await;
    for (query, want) in [
        ("", 2),
        ("status=submitted", 2),
        ("status=unfinished&username=ann", 1),
        ("status=failed", 0),
        ("model=img", 1),
        ("action=img/submit", 1),
        ("channel_id=4", 2),
        ("channel_id=5", 0),
        ("task_id=up-2", 1),
        ("start_timestamp=1700000000&end_timestamp=1700000001", 0),
        (&format!("user_id={bob}"), 1),
        ("before_id=2", 1),
    ] {
        let answer = house.get(&format!("/api/task?{query}")).await;
        assert_eq!(answer.json["total"], want, "{query}");
    }
    house.get("/api/task?status=done").await.refused(422, "status");
    for id in ["1".to_owned(), uid.to_string(), "up-1".to_owned()] {
        let seen = house.get(&format!("/api/task/{id}")).await.ok();
        assert_eq!((&seen["action"], &seen["quota"]), (&json!("img/submit"), &json!(60)), "{id}");
        assert_eq!((&seen["channel_id"], &seen["finish_time"]), (&json!(4), &json!(0)));
    }
    let own = house.call(&token, "GET", "/api/task/self?user_id=1", "").await.ok();
    assert_eq!(own.as_array().unwrap().len(), 1);
    assert!(own[0].get("channel_id").is_none());
    house.call(&token, "GET", "/api/task", "").await.refused(403, "administrator");
    house.call(&token, "GET", "/api/task/up-2", "").await.refused(404, "task");
    house.call(&token, "GET", "/api/task/up-1", "").await.ok();
}

async fn decisions_end_a_task_once(house: House) {
    let (ann, token) = house.user("ann", 1).await;
    for id in ["a", "b", "c"] {
        let gift = r#"{"delta":60,"reason":"a gift"}"#;
        house.post(&format!("/api/user/{ann}/quota"), gift).await.ok();
        task(&house, ann, "img/submit", id).await;
    }
    house.call(&token, "POST", "/api/task/a/settle-now", "").await.refused(403, "administrator");
    // Money moves with a reason: blanks are none.
    for call in ["settle-now", "fail-and-refund"] {
        for none in ["", "{}", r#"{"reason":"    "}"#] {
            house.post(&format!("/api/task/a/{call}"), none).await.refused(422, "reason");
        }
    }
    let unfinished = house.get("/api/task/a").await.ok();
    let prospect = json!({"held": 60, "charge": 60, "balance": 100});
    assert_eq!(unfinished["prospect"], prospect, "{unfinished}");
    let billed = r#"{"reason":"the upstream billed it"}"#;
    let settled = house.post("/api/task/a/settle-now", billed).await.ok();
    assert_eq!(
        (&settled["status"], &settled["quota"], &settled["used_quota"]),
        (&json!("completed"), &json!(60), &json!(60))
    );
    let why = r#"{"reason":"the upstream lost it"}"#;
    let failed = house.post("/api/task/b/fail-and-refund", why).await.ok();
    assert_eq!(
        (&failed["status"], &failed["quota"], &failed["fail_reason"]),
        (&json!("failed"), &json!(0), &json!("the upstream lost it"))
    );
    let queued = house.post("/api/task/c/requeue", "{}").await.ok();
    assert_eq!((&queued["status"], &queued["quota"]), (&json!("submitted"), &json!(60)));
    for (id, call) in [("a", "fail-and-refund"), ("b", "settle-now"), ("a", "requeue")] {
        house.post(&format!("/api/task/{id}/{call}"), "").await.refused(409, "ended");
    }
    house.post("/api/task/x/requeue", "").await.refused(404, "task");
    house.post("/api/task/c/requeue", r#"{"why":1}"#).await.refused(422, "why");
    let balance = house.get(&format!("/api/user/{ann}")).await.ok();
    assert_eq!((&balance["quota"], &balance["used_quota"]), (&json!(160), &json!(60)));
    let log = house.get("/api/log?type=manage").await.ok().to_string();
    assert!(log.contains("task.fail_and_refund") && log.contains("the upstream lost it"));
    assert_eq!(house.get("/api/audit/ledger").await.ok()["clean"], true);
}

async fn explained_by_the_upstreams_id(house: House) {
    let (ann, ann_token) = house.user("ann", 1).await;
    let (bob, _) = house.user("bob", 1).await;
    task(&house, ann, "img/submit", "same").await;
    task(&house, bob, "img/submit", "same").await;
    let all = house.get("/api/audit/explain/same").await.ok();
    assert_eq!(all["holds"].as_array().unwrap().len(), 2);
    assert!(all["holds"].as_array().unwrap().iter().all(|hold| hold["lines"][0].is_object()));
    let own = house.call(&ann_token, "GET", "/api/audit/explain/same", "").await.ok();
    assert_eq!((&own["holds"][0]["user_id"], &own["holds"][1]), (&json!(ann), &json!(null)));
}
