//! What charts and the front page of the console read.

use crate::House;
use admin::Actor;
use admin::ops::events::{self, EventRequest};
use domain::UserId;
use serde_json::json;
use std::time::Duration;

on_both! {
    usage_is_added_up_by_step
    what_needs_a_look
    prices_are_those_of_the_caller
    the_last_check_is_kept
    users_are_sorted
    a_stream_of_events_ends_whatever_is_left_to_read
}

async fn a_stream_of_events_ends_whatever_is_left_to_read(house: House) {
    let root =
        Actor { user_id: UserId(1), username: "root".into(), role: 100, group: String::new() };
    let request = EventRequest { calls: true, tasks: true, after: None };
    let mut stream = events::open(&house.state, &root, request).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(300)).await;
    assert!(stream.next().await.is_none(), "its reader has to prove its rights again");
    tokio::time::resume();
}

async fn usage_is_added_up_by_step(house: House) {
    let user = json!({ "username": "ann", "quota": 500 });
    let ann = house.post("/api/user", &user.to_string()).await.ok()["id"].as_i64().unwrap();
    for by in ["day", "hour"] {
        let series = house.get(&format!("/api/usage?by={by}")).await.ok();
        let points = series["points"].as_array().unwrap();
        assert_eq!(points.len(), if by == "day" { 30 } else { 24 }, "{series}");
        let last = points.last().unwrap();
        assert_eq!((&last["paid_in"], &last["spent"]), (&json!(500), &json!(0)), "{series}");
        let others = house.get(&format!("/api/usage?by={by}&user_id=1")).await.ok();
        let paid_in = others["points"].as_array().unwrap().iter();
        assert!(paid_in.into_iter().all(|point| point["paid_in"] == 0), "{others}");
    }
    // A reversed deposit is not paid in, and one whose reversal is reversed is.
    let lines = format!("/api/log?type=topup&user_id={ann}");
    for (nth, delta, paid_in) in [(1, -500, 0), (2, 500, 500)] {
        let last = house.get(&lines).await.ok()[0]["id"].clone();
        let back = json!({ "delta": delta, "reason": "a slip", "reversal_of": last });
        house.post(&format!("/api/user/{ann}/quota"), &back.to_string()).await.ok();
        let series = house.get(&format!("/api/usage?by=day&user_id={ann}")).await.ok();
        let last = series["points"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["paid_in"], &last["spent"]), (&json!(paid_in), &json!(0)), "{series}");
        assert_eq!(house.get(&lines).await.ok().as_array().unwrap().len(), nth + 1);
    }
    let models = house.get(&format!("/api/usage/models?user_id={ann}")).await.ok();
    assert_eq!(models, json!([]));
    house.get("/api/usage?by=minute").await.refused(422, "by");
    house.get("/api/usage?by=hour&start_time=1").await.refused(422, "start_time");
    house.get("/api/usage/self").await.ok();
}

async fn what_needs_a_look(house: House) {
    let empty = house.get("/api/attention").await.ok();
    assert_eq!((&empty["channels_on"], &empty["users"]), (&json!(0), &json!(1)), "{empty}");
    let channel = json!({ "name": "c", "base_url": "http://u.example", "models": ["b", "a"] });
    let channel = house.post("/api/channel", &channel.to_string()).await.ok();
    let price = json!({ "model_name": "a", "ratio": 1 });
    house.post("/api/ability", &price.to_string()).await.ok();
    let look = house.get("/api/attention").await.ok();
    assert_eq!(look["unpriced_models"], json!(["b"]), "{look}");
    let path = format!("/api/channel/{}", channel["id"]);
    house.put(&path, r#"{"status":3}"#).await.ok();
    let look = house.get("/api/attention").await.ok();
    assert_eq!(look["channels_off"][0]["name"], "c", "{look}");
    assert_eq!(look["unpriced_models"], json!([]), "{look}");
}

async fn prices_are_those_of_the_caller(house: House) {
    let channel = json!({ "base_url": "http://u.example", "models": ["a", "b", "c"] });
    house.post("/api/channel", &channel.to_string()).await.ok();
    let price = json!({ "model_name": "a", "ratio": 2, "completion_ratio": 1.5 });
    house.post("/api/ability", &price.to_string()).await.ok();
    let price = json!({ "model_name": "b", "fixed_quota": 1000 });
    house.post("/api/ability", &price.to_string()).await.ok();
    let group = json!({ "group_name": "default", "ratio": 0.5 });
    house.post("/api/group", &group.to_string()).await.ok();
    let prices = house.get("/api/price").await.ok();
    assert_eq!(prices[0]["prompt_million"], 1_000_000, "{prices}");
    assert_eq!(prices[0]["completion_million"], 1_500_000, "{prices}");
    assert_eq!((&prices[1]["a_call"], &prices[2]["free"]), (&json!(500), &json!(true)), "{prices}");
}

async fn users_are_sorted(house: House) {
    for (name, quota) in [("ann", 5), ("bob", 50), ("cay", 20)] {
        let user = json!({ "username": name, "quota": quota });
        house.post("/api/user", &user.to_string()).await.ok();
    }
    for (query, want) in [
        ("sort=quota", ["bob", "cay", "ann", "root"]),
        ("sort=quota&order=asc", ["root", "ann", "cay", "bob"]),
        ("sort=username&order=asc", ["ann", "bob", "cay", "root"]),
        ("", ["root", "ann", "bob", "cay"]),
    ] {
        let users = house.get(&format!("/api/user?{query}")).await.ok();
        let names: Vec<_> =
            users.as_array().unwrap().iter().map(|user| user["username"].clone()).collect();
        assert_eq!(json!(names), json!(want), "{query}");
    }
    house.get("/api/user?sort=password_hash").await.refused(422, "sort");
    house.get("/api/user?order=up").await.refused(422, "order");
}

async fn the_last_check_is_kept(house: House) {
    house.get("/api/audit/ledger/last").await.refused(404, "since its start");
    let report = house.get("/api/audit/ledger").await.ok();
    let last = house.get("/api/audit/ledger/last").await.ok();
    assert_eq!(last["report"], report);
    assert!(last["at"].as_i64().unwrap() > 0, "{last}");
}
