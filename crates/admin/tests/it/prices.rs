//! Prices and groups.

use crate::House;
use domain::Ratio;

on_both! { prices_are_exact groups }

async fn prices_are_exact(house: House) {
    let body = r#"{"model_name":"img/submit","channel_type":52,"ratio":2.0,
        "completion_ratio":0.000001}"#;
    let made = house.post("/api/ability", body).await;
    assert!(made.text.contains(r#""ratio":2,"#), "{}", made.text);
    assert!(made.text.contains(r#""completion_ratio":0.000001"#), "{}", made.text);
    assert!(made.text.contains(r#""cache_ratio":1,"#), "{}", made.text);
    assert!(made.text.contains(r#""fixed_quota":null"#), "{}", made.text);
    let live = house.state.live.as_ref().unwrap();
    let price = live.catalog.load().price("img/submit").unwrap().cloned().unwrap();
    assert_eq!(price.completion_ratio.map(Ratio::micros), Some(1));

    // Replaced whole, not merged.
    house.post("/api/ability/", r#"{"model_name":"img/submit","fixed_quota":2500000}"#).await.ok();
    let price = live.catalog.load().price("img/submit").unwrap().cloned().unwrap();
    assert_eq!((price.ratio, price.fixed_quota.map(|q| q.0)), (None, Some(2_500_000)));

    // What was read can be written back.
    let read = house.get("/api/ability/img/submit").await;
    let start = read.text.find("\"data\":").unwrap() + 7;
    house.post("/api/ability", &read.text[start..read.text.len() - 1]).await.ok();

    house
        .post("/api/ability", r#"{"model_name":"m","ratio":0.1234567}"#)
        .await
        .refused(422, "ratio");
    house.post("/api/ability", r#"{"model_name":"m"}"#).await.refused(422, "fixed_quota");
    assert_eq!(house.get("/api/ability?keyword=IMG").await.json["total"], 1);
    assert_eq!(house.get("/api/ability?model_name=img").await.json["total"], 0);
    house.delete("/api/ability/img/submit/").await.ok();
    assert!(live.catalog.load().price("img/submit").unwrap().is_none());
    house.delete("/api/ability?model_name=img/submit").await.refused(404, "price");
    house.delete("/api/ability").await.refused(422, "model_name");
}

async fn groups(house: House) {
    let made = house.post("/api/group", r#"{"group_name":"vip","ratio":0.8}"#).await;
    assert!(made.text.contains(r#""ratio":0.8"#), "{}", made.text);
    made.ok();
    let live = house.state.live.as_ref().unwrap();
    let ratio = || live.catalog.load().group_ratio("vip").map(Ratio::micros);
    assert_eq!(ratio(), Some(800_000));
    house.post("/api/group", r#"{"group_name":"vip","ratio":"1.25"}"#).await.ok();
    assert_eq!(ratio(), Some(1_250_000));
    assert_eq!(house.get("/api/group").await.ok().as_array().unwrap().len(), 1);
    house.get("/api/group/vip").await.ok();
    house.delete("/api/group/vip").await.ok();
    assert_eq!(ratio(), None);
    house.delete("/api/group/vip").await.refused(404, "group");
}
