//! Keys.

use crate::House;
use admin::ops::token::{self, end_old_key_seen, rotate_seen};
use admin::{Actor, AdminError};
use domain::KeyId;
use serde_json::json;

on_both! { a_key_lives owners what_is_refused no_secret_is_ended_unseen }

async fn a_key_lives(house: House) {
    let (ann, _) = house.user("ann", 1).await;
    let body =
        format!(r#"{{"user_id":{ann},"name":"k","unlimited_quota":true,"expired_time":-1}}"#);
    let made = house.post("/api/token", &body).await.ok();
    let (id, key) = (made["id"].as_i64().unwrap(), made["key"].as_str().unwrap().to_owned());
    assert!(key.starts_with("sk-") && key.len() == 51);
    let live = house.state.live.as_ref().unwrap();
    let hash = store::key_hash(&key);
    let known = || async { live.identities.by_key_hash(&hash).await.unwrap() };
    let identity = known().await.unwrap();
    assert_eq!((identity.user_id.0, identity.unlimited), (ann, true));

    let path = format!("/api/token/{id}");
    let read = house.get(&path).await;
    assert!(!read.text.contains(&key) && !read.text.contains("sealed"), "{}", read.text);
    let start = read.text.find("\"data\":").unwrap() + 7;
    house.put("/api/token/", &read.text[start..read.text.len() - 1]).await.ok();

    let limits = r#"{"unlimited_quota":false,"remain_quota":5,"models":["m"],"group":"vip",
        "allow_ips":["10.0.0.1/8"],"rate_limit_rpm":60,"expired_time":4102444800}"#;
    let changed = house.put(&path, limits).await.ok();
    assert_eq!(changed["allow_ips"], json!(["10.0.0.0/8"]));
    assert_eq!(changed["expired_time"], 4_102_444_800_i64);
    let identity = known().await.unwrap();
    assert_eq!((identity.unlimited, identity.rate_limit_rpm), (false, Some(60)));
    assert_eq!(identity.key_group.as_deref(), Some("vip"));
    let loose = r#"{"group":null,"rate_limit_rpm":null,"expired_time":-1,"models":[]}"#;
    let changed = house.put(&path, loose).await.ok();
    assert_eq!((&changed["group"], &changed["expired_time"]), (&json!(null), &json!(-1)));
    assert_eq!(known().await.unwrap().models, None);

    house.post(&format!("{path}/disable"), "").await.ok();
    assert_eq!(known().await.unwrap().key_status, 2);
    house.delete(&path).await.ok();
    assert!(known().await.is_none());

    // The key is stored encrypted; only the secret key recovers it.
    let made = house.post("/api/token", &body).await.ok();
    let rows = house.state.db.read("SELECT key_sealed FROM tokens", &[]).await.unwrap();
    let sealed = rows[0].get::<String>("key_sealed").unwrap();
    let opened = house.state.sealer.open(store::TOKEN_KEY, &sealed).unwrap();
    assert_eq!(String::from_utf8(opened).unwrap(), made["key"].as_str().unwrap());
    let log = house.get("/api/log?type=manage").await;
    assert!(!log.text.contains(made["key"].as_str().unwrap()));
    let log = log.ok();
    let line =
        log.as_array().unwrap().iter().find(|line| line["other"]["action"] == "token.create");
    assert_eq!(line.unwrap()["token_id"], made["id"]);
}

async fn owners(house: House) {
    let (ann, ann_token) = house.user("ann", 1).await;
    let (bob, _) = house.user("bob", 1).await;
    let own = house.call(&ann_token, "POST", "/api/token", r#"{"name":"mine"}"#).await.ok();
    assert_eq!((own["user_id"].as_i64(), &own["unlimited_quota"]), (Some(ann), &json!(true)));
    let for_bob = format!(r#"{{"user_id":{bob},"name":"theirs"}}"#);
    house.call(&ann_token, "POST", "/api/token", &for_bob).await.refused(403, "others");
    let theirs = house.post("/api/token", &for_bob).await.ok()["id"].as_i64().unwrap();
    let path = format!("/api/token/{theirs}");
    house.call(&ann_token, "GET", &path, "").await.refused(404, "no such key");
    house.call(&ann_token, "PUT", &path, r#"{"status":2}"#).await.refused(404, "no such key");
    house.call(&ann_token, "DELETE", &path, "").await.refused(404, "no such key");
    let listed = house.call(&ann_token, "GET", "/api/token", "").await;
    assert_eq!(listed.json["total"], 1);
    let other = format!("/api/token?user_id={bob}");
    house.call(&ann_token, "GET", &other, "").await.refused(403, "your keys");
    assert_eq!(house.get(&other).await.json["total"], 1);
    assert_eq!(house.get("/api/token").await.json["total"], 2);
    // A cheaper group is not the user's to choose.
    let cheap = r#"{"group":"vip"}"#;
    house.call(&ann_token, "POST", "/api/token", cheap).await.refused(403, "group");
    let mine = format!("/api/token/{}", own["id"]);
    house.call(&ann_token, "PUT", &mine, cheap).await.refused(403, "group");
    // Keys of a deleted user end with them.
    house.delete(&format!("/api/user/{bob}")).await.ok();
    assert_eq!(house.get(&path).await.ok()["status"], 2);
    for way in ["rotate", "enable"] {
        house.post(&format!("{path}/{way}"), "").await.refused(409, "was deleted");
    }
    house.put(&path, r#"{"status":1}"#).await.refused(409, "was deleted");
    house.put(&path, r#"{"status":2}"#).await.ok();
    house.delete(&path).await.ok();
}

async fn no_secret_is_ended_unseen(house: House) {
    let made = house.post("/api/token", r#"{"name":"k"}"#).await.ok();
    let id = KeyId(made["id"].as_i64().unwrap());
    let (state, actor) = (&house.state, Actor::command_line());
    let first = token::get(state, &actor, id).await.unwrap();
    let second = rotate_seen(state, &actor, &first, 60).await.unwrap().token;
    assert_eq!(second.old_key_hint.as_ref(), Some(&first.key_hint));

    // Who saw the key before that rotation would end the first secret.
    let late = rotate_seen(state, &actor, &first, 60).await;
    assert!(matches!(late, Err(AdminError::Conflict { .. })), "{late:?}");
    let kept = token::get(state, &actor, id).await.unwrap();
    assert_eq!((&kept.key_hint, &kept.old_key_hint), (&second.key_hint, &second.old_key_hint));

    let third = rotate_seen(state, &actor, &second, 60).await.unwrap().token;
    let late = end_old_key_seen(state, &actor, &second).await;
    assert!(matches!(late, Err(AdminError::Conflict { .. })), "{late:?}");
    let kept = token::get(state, &actor, id).await.unwrap();
    assert_eq!(kept.old_key_hint.as_ref(), Some(&second.key_hint));
    let ended = end_old_key_seen(state, &actor, &third).await.unwrap();
    assert_eq!(ended.old_key_hint, None);
}

async fn what_is_refused(house: House) {
    house.post("/api/token", r#"{"user_id":99,"name":"k"}"#).await.refused(422, "user_id");
    house.post("/api/token", r#"{"expired_time":5}"#).await.refused(422, "past");
    house.post("/api/token", r#"{"remain_quota":-5}"#).await.refused(422, "remain_quota");
    house.post("/api/token", r#"{"allow_ips":"nowhere"}"#).await.refused(422, "allow_ips");
    house.post("/api/token", r#"{"unlimited":true}"#).await.refused(422, "unlimited");
    let made = house.post("/api/token", r#"{"name":"k"}"#).await.ok();
    let path = format!("/api/token/{}", made["id"]);
    house.put(&path, r#"{"user_id":99}"#).await.refused(422, "owner");
}
