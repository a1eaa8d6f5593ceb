//! Balances, the log and the proofs.

use crate::House;
use domain::{ChannelId, HoldId, KeyId, PriceRow, Pricing, Quota, Ratio, UserId};
use ledger::{HoldRequest, Settlement};
use serde_json::json;
use std::sync::Arc;

on_both! { balances_are_moved the_log an_edit_with_sql explanations }

async fn balances_are_moved(house: House) {
    let (ann, _) = house.user("ann", 1).await;
    let path = format!("/api/user/{ann}/quota");
    let moved = house.post(&path, r#"{"delta":50,"reason":"gift"}"#).await.ok();
    assert_eq!(moved["quota"], 150);
    let moved = house.post(&path, r#"{"delta":"-120","reason":"mistake"}"#).await.ok();
    assert_eq!(moved["quota"], 30);
    house.post(&path, r#"{"delta":0}"#).await.refused(422, "delta");
    house.post(&path, r#"{"delta":5}"#).await.refused(422, "reason");
    house.post(&path, r#"{"delta":5,"reason":"    "}"#).await.refused(422, "reason");
    house.post(&path, r#"{}"#).await.refused(422, "delta");
    house.post(&path, r#"{"quota":5}"#).await.refused(422, "delta");
    house.post(&path, r#"{"delta":5,"by":"me"}"#).await.refused(422, "by");
    let gift = r#"{"delta":5,"reason":"gift"}"#;
    house.post("/api/user/99/quota", gift).await.refused(404, "no such user");
    assert_eq!(house.get(&format!("/api/user/{ann}")).await.ok()["quota"], 30);
    let log = house.get(&format!("/api/log?user_id={ann}")).await.ok();
    let types: Vec<&str> =
        log.as_array().unwrap().iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["adjust", "topup", "topup"]);
    assert!(log[1].to_string().contains("gift") && log[1].to_string().contains("root"));
    // The admin journal has what was moved by hand, under its kind; and what is repeated once.
    let back = json!({ "delta": 120, "reason": "none", "reversal_of": log[0]["id"] }).to_string();
    house.post(&path, &back).await.ok();
    house.post(&path, &back).await.ok();
    house.post(&path, r#"{"delta":-120,"reason":"again"}"#).await.ok();
    let told = house.get(&format!("/api/audit/actions?kind=money&target_user_id={ann}")).await.ok();
    let of = |line: &serde_json::Value| {
        let other = &line["other"];
        assert!(line["type"] == "manage" && line["username"] == "root" && other["by"] == "root");
        assert!(line["delta"] == 0 && other["reason"].is_string(), "{line}");
        (other["action"].as_str().unwrap().to_owned(), other["delta"].as_i64().unwrap())
    };
    let told: Vec<_> = told.as_array().unwrap().iter().map(of).collect();
    let want = [
        ("balance.adjust", -120),
        ("balance.reverse", 120),
        ("balance.adjust", -120),
        ("balance.deposit", 50),
        ("balance.deposit", 100),
    ];
    assert_eq!(told, want.map(|(action, delta)| (action.to_owned(), delta)));
    assert_eq!(house.get("/api/audit/ledger").await.ok()["clean"], true);
}

async fn the_log(house: House) {
    let (ann, token) = house.user("ann", 1).await;
    house.user("bob", 1).await;
    for (query, want) in [
        ("username=ann", 1),
        ("username=nobody", 0),
        ("type=topup", 2),
        ("type=1&username=bob", 1),
        ("type=consume", 0),
        ("model=m", 0),
        ("channel=3", 0),
        ("token_name=k", 0),
        ("request_id=r-1", 0),
        ("end_timestamp=1700000000", 0),
        ("type=topup&start_time=2024-01-01T00:00:00Z", 2),
    ] {
        let answer = house.get(&format!("/api/log?{query}")).await;
        assert_eq!(answer.json["total"], want, "{query}");
    }
    let newest = house.get("/api/log?type=topup").await.ok();
    let id = newest[0]["id"].as_i64().unwrap();
    let older = house.get(&format!("/api/log?type=topup&before_id={id}")).await.ok();
    assert_eq!(older.as_array().unwrap().len(), 1);
    let own = house.call(&token, "GET", "/api/log/self?username=bob&user_id=1", "").await.ok();
    assert!(own.as_array().unwrap().iter().all(|line| line["user_id"] == ann));
    let sums = house.get("/api/log/stat").await.ok();
    let topups = sums["by_type"].as_array().unwrap().iter().find(|sum| sum["type"] == "topup");
    let want = json!({"type": "topup", "count": 2, "quota": 200, "delta": 200,
        "prompt_tokens": 0, "completion_tokens": 0});
    assert_eq!(topups, Some(&want));
    assert_eq!(sums["quota"], 0);
    let own = house.call(&token, "GET", "/api/log/self/stat", "").await.ok();
    assert_eq!(own["by_type"][0]["quota"], 100);
    house.get("/api/log/stat?start_time=1").await.refused(422, "31");
    house.get("/api/log?type=spend").await.refused(422, "type");
}

/// An operator's plain SQL, right before and after calls of ours: nothing of it is lost.
async fn an_edit_with_sql(house: House) {
    let (ann, _) = house.user("ann", 1).await;
    let sql = "UPDATE users SET quota = quota + 500 WHERE id = $1";
    house.state.db.execute(sql, &[ann.into()]).await.unwrap();
    house.put(&format!("/api/user/{ann}"), r#"{"group":"vip"}"#).await.ok();
    house.post(&format!("/api/user/{ann}/quota"), r#"{"delta":1,"reason":"x"}"#).await.ok();
    assert_eq!(house.get(&format!("/api/user/{ann}")).await.ok()["quota"], 601);
    assert_eq!(house.get("/api/audit/ledger").await.ok()["clean"], true);
}

/// A request id is the client's choice: here two users chose the same.
async fn explanations(house: House) {
    let (ann, ann_token) = house.user("ann", 1).await;
    let (bob, _) = house.user("bob", 1).await;
    let (_, eve_token) = house.user("eve", 1).await;
    for user_id in [ann, bob] {
        let body = format!(r#"{{"user_id":{user_id},"name":"k"}}"#);
        let key_id = house.post("/api/token", &body).await.ok()["id"].as_i64().unwrap();
        pay(&house, user_id, key_id).await;
    }
    let path = "/api/audit/explain/r-1";
    let all = house.get(path).await.ok();
    assert_eq!(all["holds"].as_array().unwrap().len(), 2);
    assert_eq!(all["holds"][0]["channel_id"], 4);
    let own = house.call(&ann_token, "GET", path, "").await.ok();
    assert_eq!(own["holds"].as_array().unwrap().len(), 1, "{own}");
    assert_eq!(
        (&own["holds"][0]["user_id"], &own["holds"][0]["charged"]),
        (&json!(ann), &json!(7))
    );
    assert_eq!(own["holds"][0]["channel_id"], json!(null));
    house.call(&eve_token, "GET", path, "").await.refused(404, "request or hold");
    let hold = own["holds"][0]["hold_id"].as_str().unwrap().to_owned();
    house
        .call(&eve_token, "GET", &format!("/api/audit/explain/{hold}"), "")
        .await
        .refused(404, "hold");
    house.get("/api/audit/explain/r-2").await.refused(404, "request or hold");

    let lines = house.get("/api/log?request_id=r-1&username=ann").await.ok();
    let lines = lines.as_array().unwrap();
    assert_eq!((&lines[0]["type"], &lines[0]["channel_id"]), (&json!("consume"), &json!(4)));
    let own = house.call(&ann_token, "GET", "/api/log/self?request_id=r-1", "").await.ok();
    assert_eq!(own.as_array().unwrap().len(), lines.len());
    assert!(own[0].get("channel_id").is_none());
    let sums = house.get("/api/log/stat?username=ann").await.ok();
    assert_eq!(sums["quota"], 7);
    let row = house.get(&format!("/api/user/{ann}")).await.ok();
    assert_eq!((&row["quota"], &row["used_quota"]), (&json!(93), &json!(7)));
    assert_eq!(house.get("/api/audit/ledger").await.ok()["clean"], true);
}

/// A call that cost 7.
async fn pay(house: &House, user_id: i64, key_id: i64) {
    let row = PriceRow { fixed_quota: Some(Quota(7)), ..PriceRow::default() };
    let Ok(Pricing::Priced(price)) = Pricing::freeze(Some(&row), Ratio::ONE, Ratio::ONE) else {
        panic!("the row has a price")
    };
    let request = HoldRequest {
        hold_id: HoldId(web::uuid_v7(house.state.clock.now())),
        user_id: UserId(user_id),
        key_id: KeyId(key_id),
        key_is_limited: false,
        channel_id: Some(ChannelId(4)),
        model: "m".into(),
        request_id: "r-1".into(),
        amount: Quota(7),
        price: Arc::new(price),
        deadline_at: house.state.clock.now().plus_ms(60_000),
        task: None,
    };
    let mut hold = house.state.ledger.hold(request).await.unwrap();
    let channel_id = Some(ChannelId(4));
    let settlement = Settlement { charge: Quota(7), channel_id, ..Settlement::default() };
    house.state.ledger.settle(&mut hold, settlement).await.unwrap();
}
