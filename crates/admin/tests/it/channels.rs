//! Channels.

use crate::House;
use domain::ChannelId;
use serde_json::json;

on_both! { a_channel_lives filters_and_pages what_is_refused a_test_call }

const CHANNEL: &str = r#"{"name":"c","type":52,"base_url":"http://127.0.0.1:9000","key":" up-key ",
    "models":["m","img/submit"],"groups":["default"],
    "param_override":"{\"seed\":12345678901234567890123}","status_code_mapping":{"429":"503"},
    "setting":{"timeout":"30s","proxy":"http://u:hidden@127.0.0.1:1"},"tag":""}"#;

async fn a_channel_lives(house: House) {
    let made = house.post("/api/channel", CHANNEL).await;
    for secret in ["up-key", "hidden", "enc:v1"] {
        assert!(!made.text.contains(secret), "{}", made.text);
    }
    assert!(made.text.contains("12345678901234567890123"), "{}", made.text);
    let made = made.ok();
    let id = made["id"].as_i64().unwrap();
    assert_eq!(made["models"], json!(["m", "img/submit"]));
    assert_eq!(made["status_code_mapping"], json!({"429": 503}));
    assert_eq!((&made["has_key"], &made["auto_ban"]), (&json!(true), &json!(true)));

    // An answer means that it is live here, with its key.
    let live = house.state.live.as_ref().unwrap();
    let loaded = live.catalog.load();
    let channel = &loaded.candidates("default", "m")[0];
    assert_eq!((channel.id, channel.key.expose()), (ChannelId(id), "up-key"));
    assert_eq!(channel.setting.timeout_ms, Some(30_000));
    assert_eq!(channel.setting.proxy.as_ref().unwrap().expose(), "http://u:hidden@127.0.0.1:1");
    let stored = house.state.db.read("SELECT key FROM channels", &[]).await.unwrap();
    assert!(stored[0].get::<String>("key").unwrap().starts_with("enc:v1:"));

    // What was read can be written back; key and proxy stay.
    let read = house.get(&format!("/api/channel/{id}")).await;
    let start = read.text.find("\"data\":").unwrap() + 7;
    let body = &read.text[start..read.text.len() - 1];
    assert_eq!(house.put("/api/channel/", body).await.ok()["models"], made["models"]);
    let patch = r#"{"priority":5,"key":""}"#;
    let path = format!("/api/channel/{id}");
    assert_eq!(house.call(crate::ROOT, "PATCH", &path, patch).await.ok()["priority"], 5);
    let loaded = live.catalog.load();
    let channel = loaded.channel(ChannelId(id)).unwrap();
    assert_eq!((channel.key.expose(), channel.priority), ("up-key", 5));
    assert_eq!(channel.setting.proxy.as_ref().unwrap().expose(), "http://u:hidden@127.0.0.1:1");
    let (name, value) = &channel.param_override[0];
    assert_eq!((name.as_str(), value.as_str()), ("seed", "12345678901234567890123"));

    // Copied (disabled, without its key), disabled, enabled, deleted.
    let copy = house.post(&format!("/api/channel/copy/{id}"), "").await.ok();
    assert_eq!((copy["name"].as_str(), copy["status"].as_i64()), (Some("c_copy"), Some(2)));
    assert_eq!(house.post(&format!("/api/channel/{id}/disable"), "").await.ok()["status"], 2);
    assert!(live.catalog.load().candidates("default", "m").is_empty());
    let copy_id = copy["id"].as_i64().unwrap();
    house.post(&format!("/api/channel/{copy_id}/enable"), "").await.ok();
    assert_eq!(live.catalog.load().candidates("default", "m")[0].key.expose(), "");
    house.put(&format!("/api/channel/{copy_id}"), r#"{"key":"its-own"}"#).await.ok();
    assert_eq!(live.catalog.load().candidates("default", "m")[0].key.expose(), "its-own");
    house.delete(&format!("/api/channel/{id}")).await.ok();
    house.delete(&format!("/api/channel/{id}")).await.refused(404, "no such channel");

    // Each of it is in the log, about the right channel, without a secret.
    let log = house.get("/api/audit/actions?page_size=100").await;
    assert!(!log.text.contains("up-key") && !log.text.contains("hidden"));
    let log = log.ok();
    assert!(log.as_array().unwrap().iter().all(|line| line["other"]["by"] == "root"));
    let about = |action: &str| {
        let lines = log.as_array().unwrap().iter();
        let mut ids = lines.filter(|line| line["other"]["action"] == action);
        ids.next().map(|line| line["channel_id"].as_i64().unwrap())
    };
    assert_eq!(about("channel.create"), Some(id));
    assert_eq!(about("channel.copy"), Some(copy_id));
    assert_eq!(about("channel.delete"), Some(id));
}

async fn filters_and_pages(house: House) {
    for (name, models, group) in
        [("one", "m,n", "default"), ("two", "n_x", "vip"), ("50%", "m_", "default,vip")]
    {
        let body = json!({
            "name": name, "base_url": "https://a.example", "models": models, "group": group,
        });
        house.post("/api/channel", &body.to_string()).await.ok();
    }
    for (query, want) in [
        ("", 3),
        ("type=52", 3),
        ("type=1", 0),
        ("keyword=ONE", 1),
        ("keyword=50%25", 1),
        ("keyword=%25", 1),
        ("model=m", 1),
        ("model=n", 1),
        ("model=m_", 1),
        ("group=vip", 2),
        ("status=1", 3),
        ("status=disabled", 0),
        ("group=vip&model=n_x", 1),
    ] {
        let answer = house.get(&format!("/api/channel?{query}")).await;
        assert_eq!(answer.json["total"], want, "{query}");
        assert_eq!(answer.ok().as_array().unwrap().len(), want, "{query}");
    }
    let second = house.get("/api/channel?p=2&page_size=2").await;
    assert_eq!((&second.json["total"], &second.json["page"]), (&json!(3), &json!(2)));
    assert_eq!(second.ok().as_array().unwrap().len(), 1);
    let first = house.get("/api/channel?page_size=2").await;
    assert_eq!((&first.json["total"], &first.json["page_size"]), (&json!(3), &json!(2)));
    let beyond = house.get("/api/channel?p=9&page_size=2").await;
    assert_eq!(beyond.json["total"], 3);
    assert!(beyond.ok().as_array().unwrap().is_empty());
}

async fn what_is_refused(house: House) {
    for (body, word) in [
        (r#"{"name":"c","models":["m"]}"#, "base_url"),
        (r#"{"name":"c","base_url":"https://a.example"}"#, "models"),
        (r#"{"base_url":"https://a.example/v1","models":["m"]}"#, "base_url"),
        (r#"{"base_url":"https://a.example","models":["m"],"colour":1}"#, "colour"),
        (r#"{"base_url":"https://a.example","models":["img-submit"]}"#, "/submit"),
        (r#"{"base_url":"https://a.example","models":["m"],"key":"a b"}"#, "key"),
    ] {
        house.post("/api/channel", body).await.refused(422, word);
    }
    let nul = r#"{"base_url":"https://a.example","models":["m"],"param_override":{"a":"\u0000"}}"#;
    house.post("/api/channel", nul).await.refused(422, "param_override");
    house.put("/api/channel", r#"{"name":"x"}"#).await.refused(422, "id");
    house.put("/api/channel", r#"{"id":7,"name":"x"}"#).await.refused(404, "no such channel");
    let rows = house.state.db.read("SELECT id FROM channels", &[]).await.unwrap();
    assert!(rows.is_empty());
}

async fn a_test_call(house: House) {
    let upstream = testkit::Upstream::start().await;
    upstream.on("/m", testkit::Reply::json(&json!({"code": 0, "data": "fine"})));
    upstream.on("/sad", testkit::Reply::json(&json!({"code": 7})));
    let body = json!({
        "base_url": upstream.url(), "key": "up-key", "models": ["m", "sad"], "status": 2,
    });
    let id = house.post("/api/channel", &body.to_string()).await.ok()["id"].as_i64().unwrap();
    let path = "/api/channel/test";
    let body = json!({"channel_id": id, "test_data": {"n": 1.5}}).to_string();
    let tried = house.post(path, &body).await.ok();
    assert_eq!(
        (&tried["ok"], &tried["status"], &tried["model"]),
        (&json!(true), &json!(200), &json!("m"))
    );
    let sad = house.get(&format!("/api/channel/test/{id}?model=sad")).await;
    assert_eq!((sad.status, &sad.json["success"]), (200, &json!(false)));
    assert_eq!(sad.json["data"]["error"], "reply");
    let seen = upstream.requests().await;
    assert_eq!(seen[0].header("authorization").as_deref(), Some("Bearer up-key"));
    house.get("/api/channel/test/99").await.refused(404, "no such channel");
}
