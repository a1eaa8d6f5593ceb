//! Prices and groups.

use crate::House;
use admin::Actor;
use admin::ops::price_table;
use domain::Ratio;

on_both! { prices_are_exact schedules_are_checked a_table_of_prices groups }

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

async fn schedules_are_checked(house: House) {
    let body = r#"{"model_name":"m","ratio":2,"meters":{"cache_write":1.25,"audio_out":"16"},
        "units":{"images":20000},
        "tiers":[{"above":{"input":200000},"input":2,"output":1.5},
                 {"at":"body:/size","is":"1792x1024","factor":1.67}]}"#;
    let made = house.post("/api/ability", body).await;
    let said = &made.json["data"];
    assert_eq!(said["meters"], serde_json::json!({ "audio_out": 16, "cache_write": 1.25 }));
    assert_eq!(said["tiers"][1]["is"], serde_json::json!(["1792x1024"]));
    let live = house.state.live.as_ref().unwrap();
    let price = live.catalog.load().price("m").unwrap().cloned().unwrap();
    let schedule = price.schedule.unwrap();
    assert_eq!((schedule.meters().len(), schedule.units().len()), (2, 1));
    assert_eq!(schedule.tiers().len(), 2);

    // What was read can be written back, also as the text that a form sends.
    let read = house.get("/api/ability/m").await;
    house.post("/api/ability", &read.json["data"].to_string()).await.ok();
    let text = r#"{"model_name":"m","ratio":1,"meters":"{\"reasoning\":2}","units":"","tiers":""}"#;
    house.post("/api/ability", text).await.ok();
    let price = live.catalog.load().price("m").unwrap().cloned().unwrap();
    assert_eq!(price.schedule.unwrap().meters().len(), 1);
    house.post("/api/ability", r#"{"model_name":"m","ratio":1}"#).await.ok();
    assert_eq!(live.catalog.load().price("m").unwrap().unwrap().schedule, None);

    for (more, field) in [
        (r#""meters":{"cache_writ":1}"#, "meters.cache_writ"),
        (r#""meters":"{""#, "meters"),
        (r#""meters":{"output":2},"completion_ratio":3"#, "completion_ratio"),
        (r#""units":{"image":1}"#, "units.image"),
        (r#""tiers":[{"above":{"input":1}}]"#, "tiers.0"),
        (r#""tiers":{"above":{"input":1}}"#, "tiers"),
    ] {
        let body = format!(r#"{{"model_name":"m","ratio":1,{more}}}"#);
        house.post("/api/ability", &body).await.refused(422, field);
    }
    let per_call = r#"{"model_name":"m","fixed_quota":5,"units":{"images":1}}"#;
    house.post("/api/ability", per_call).await.refused(422, "fixed_quota");
}

async fn a_table_of_prices(house: House) {
    let body = r#"{"model_name":"@cf/m","ratio":0.000001,"max_charge":900,
        "units":{"searches":5000}}"#;
    house.post("/api/ability", body).await.ok();
    house.post("/api/ability", r#"{"model_name":"n","fixed_quota":7}"#).await.ok();
    let table = price_table::export(&house.state, &Actor::command_line()).await.unwrap();
    let table = String::from_utf8(table).unwrap();
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("model_name,ratio,fixed_quota,"), "{table}");
    assert_eq!(
        lines.next().unwrap().replace(": ", ":"),
        r#"'@cf/m,0.000001,,1,1,1,1,1,900,,"{""searches"":5000}","#,
        "{table}"
    );
    assert_eq!(lines.next().unwrap(), "n,,7,1,1,1,1,1,,,,");

    // What was written is read back; a model that is not in the table keeps its price.
    house.delete("/api/ability/@cf/m").await.ok();
    house.post("/api/ability", r#"{"model_name":"o","ratio":3}"#).await.ok();
    let import = |csv: &str| serde_json::json!({ "csv": csv }).to_string();
    assert_eq!(house.post("/api/price/import", &import(&table)).await.ok(), 2);
    let live = house.state.live.as_ref().unwrap();
    let price = live.catalog.load().price("@cf/m").unwrap().cloned().unwrap();
    assert_eq!(price.max_charge.map(|quota| quota.0), Some(900));
    assert_eq!(price.schedule.unwrap().units().len(), 1);
    assert!(live.catalog.load().price("o").unwrap().is_some());

    // All, or nothing.
    let bad = import("model_name,ratio\nn,2\np,cheap\n");
    house.post("/api/price/import", &bad).await.refused(422, "line 3: ratio");
    let of_a_form = bad.replace("\\n", "\\r\\n");
    house.post("/api/price/import", &of_a_form).await.refused(422, "line 3: ratio");
    let fixed = live.catalog.load().price("n").unwrap().unwrap().fixed_quota;
    assert_eq!(fixed.map(|quota| quota.0), Some(7));
    house.post("/api/price/import", "{}").await.refused(422, "csv");

    // What it would change is told line by line, and changes nothing.
    let table = "model_name\tratio\tfixed_quota\tcompletion_ratio\nn\t\t7\t\no\t4\t\t2\n\
        new\t1\t\t\np\tcheap\t\t\n";
    let seen = house.post("/api/price/import/preview", &import(table)).await.ok();
    let outcomes: Vec<&str> =
        seen["rows"].as_array().unwrap().iter().map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["unchanged", "changed", "new", "refused"], "{seen}");
    let changed = serde_json::json!([
        { "field": "ratio", "old": "3", "new": "4" },
        { "field": "completion_ratio", "old": "1", "new": "2" },
    ]);
    assert_eq!(seen["rows"][1]["changes"], changed, "{seen}");
    let problem = &seen["rows"][3];
    assert_eq!((&problem["line"], &problem["problem"]["field"]), (&5.into(), &"ratio".into()));
    assert_eq!(seen["refused"], 1);
    let ratio = live.catalog.load().price("o").unwrap().unwrap().ratio;
    assert_eq!(ratio.map(|ratio| ratio.to_string()).as_deref(), Some("3"));

    // Hundreds of models without a price are counted, and shown page by page.
    let models: Vec<String> = (0..300).map(|nth| format!("free-{nth:03}")).collect();
    let channel = serde_json::json!({ "name": "c", "type": 52, "base_url": "http://127.0.0.1:9",
        "key": "k", "models": models, "groups": ["default"] });
    house.post("/api/channel", &channel.to_string()).await.ok();
    let look = house.get("/api/attention").await.ok();
    assert_eq!(look["unpriced_total"], 300, "{look}");
    assert_eq!(look["unpriced_models"].as_array().unwrap().len(), 50);
    let last = house.get("/api/price/unpriced?page=3&page_size=100").await;
    assert_eq!(last.json["total"], 300);
    assert_eq!(last.json["data"][99]["model_name"], "free-299");
    let one = house.get("/api/price/unpriced?keyword=free-123").await;
    let unpriced = serde_json::json!([{"model_name": "free-123", "channels": 1, "calls": null}]);
    assert_eq!(one.json["data"], unpriced);
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
