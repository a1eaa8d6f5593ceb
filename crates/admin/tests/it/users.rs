//! Users.

use crate::House;
use serde_json::json;

on_both! { a_user_lives a_disabled_user_has_a_balance twins names_stay_taken search }

async fn a_user_lives(house: House) {
    let body = r#"{"username":"ann","password":"correct horse","group":"vip","quota":1000}"#;
    let made = house.post("/api/user", body).await;
    assert!(!made.text.contains("argon2") && !made.text.contains("correct"), "{}", made.text);
    let made = made.ok();
    let id = made["id"].as_i64().unwrap();
    let want = (json!(1000), json!(0), json!(0), json!("vip"));
    let got = |v: &serde_json::Value| {
        (
            v["quota"].clone(),
            v["used_quota"].clone(),
            v["request_count"].clone(),
            v["group"].clone(),
        )
    };
    assert_eq!(got(&made), want);
    let path = format!("/api/user/{id}");
    house.put(&path, r#"{"quota":9,"group":"a"}"#).await.refused(422, "/quota");
    let body = format!(r#"{{"id":{id},"ratio":0.5,"display_name":"Ann"}}"#);
    let changed = house.put("/api/user", &body).await;
    assert!(changed.text.contains(r#""ratio":0.5"#), "{}", changed.text);
    assert_eq!(got(&changed.ok()), want);
    house.put(&path, r#"{"password":"short"}"#).await.refused(422, "password");
    house.put(&path, r#"{"id":99}"#).await.refused(422, "id");
    assert_eq!(house.get(&path).await.ok()["deleted_at"], json!(null));
    house.delete(&path).await.ok();
    // The balance is kept, and with it who had it.
    let kept = house.get(&path).await.ok();
    assert!(kept["deleted_at"].is_i64(), "{kept}");
    assert_eq!(got(&kept), want);
    assert_eq!(house.get("/api/user?keyword=ann").await.json["total"], 0);
    assert_eq!(house.get("/api/user?keyword=ann&deleted=true").await.json["total"], 1);
    house.put(&path, r#"{"group":"a"}"#).await.refused(404, "no such user");
}

/// Who is locked out can still be paid back.
async fn a_disabled_user_has_a_balance(house: House) {
    let body = r#"{"username":"off","status":2,"quota":5}"#;
    let made = house.post("/api/user", body).await.ok();
    assert_eq!((&made["status"], &made["quota"]), (&json!(2), &json!(5)));
    let path = format!("/api/user/{}/quota", made["id"]);
    assert_eq!(house.post(&path, r#"{"delta":-3,"reason":"paid out"}"#).await.ok()["quota"], 2);
}

/// Two administrators make the same user at once: one does.
async fn twins(house: House) {
    let body = r#"{"username":"ann","quota":10}"#;
    let both = tokio::join!(house.post("/api/user", body), house.post("/api/user", body));
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(house.get("/api/audit/ledger").await.ok()["clean"], true);
}

async fn names_stay_taken(house: House) {
    let (id, _) = house.user("ann", 1).await;
    house.post("/api/user", r#"{"username":"ann"}"#).await.refused(409, "taken");
    house.delete(&format!("/api/user/{id}")).await.ok();
    house.post("/api/user", r#"{"username":"ann"}"#).await.refused(409, "taken");
    let (bob, _) = house.user("bob", 1).await;
    house.put(&format!("/api/user/{bob}"), r#"{"username":"ann"}"#).await.refused(409, "taken");
    house.post("/api/user", r#"{"username":"a b"}"#).await.refused(422, "username");
    house.post("/api/user", r#"{"password":"long enough"}"#).await.refused(422, "username");
    let report = house.get("/api/audit/ledger").await.ok();
    assert_eq!(report["clean"], true, "{report}");
}

async fn search(house: House) {
    house.user("ann_1", 1).await;
    house.user("annx1", 10).await;
    for (query, want) in [
        ("keyword=ANN", 2),
        ("keyword=n_1", 1),
        ("role=10", 1),
        ("group=default", 3),
        ("username=ann_1", 1),
        ("status=2", 0),
        ("keyword=1", 3),
    ] {
        let answer = house.get(&format!("/api/user/search?{query}")).await;
        assert_eq!(answer.json["total"], want, "{query}");
    }
}
