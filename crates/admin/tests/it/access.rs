//! Who may call what, and what every answer looks like.

use crate::{House, ROOT};
use axum::body::Body;
use http::Request;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};

on_both! { the_door envelopes roles first_start_happens_once }

async fn the_door(house: House) {
    for path in ["/api/channel", "/api/user/self", "/api/nowhere", "/api/audit/ledger"] {
        house.call("", "GET", path, "").await.refused(401, "Authorization");
        house.call("wrong-token", "GET", path, "").await.refused(401, "unknown");
    }
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let bare = Request::get("/api/user/self").header("authorization", ROOT).extension(peer);
    let me = house.send(bare.body(Body::empty()).unwrap()).await.ok();
    assert_eq!((me["username"].as_str(), me["role"].as_i64()), (Some("root"), Some(100)));
    let id = me["id"].as_i64().unwrap();
    for (named, status) in [(id, 200), (id + 1, 401)] {
        let request = Request::get("/api/user/self")
            .extension(peer)
            .header("authorization", format!("Bearer {ROOT}"))
            .header("new-api-user", named.to_string());
        assert_eq!(house.send(request.body(Body::empty()).unwrap()).await.status, status);
    }
}

async fn envelopes(house: House) {
    for path in ["/api/channel", "/api/channel/", "/api/channel/?p=1", "/api/user/", "/api/log/"] {
        let answer = house.get(path).await;
        assert_eq!((answer.status, answer.json["page"].as_i64()), (200, Some(1)), "{path}");
        assert!(answer.json["data"].is_array() && answer.json["total"].is_i64());
    }
    house.get("/api/nowhere").await.refused(404, "no such call");
    house.call(ROOT, "PATCH", "/api/group", "").await.refused(405, "PATCH");
    house.get("/api/channel/99").await.refused(404, "no such channel");
    house.get("/api/channel/x").await.refused(404, "number");
    house.get("/api/channel?type=x").await.refused(422, "type");
    house.get("/api/log?request_id=%00").await.refused(400, "address");
    house.get("/api/ability/%ff").await.refused(400, "address");
    house.post("/api/channel", "{").await.refused(400, "JSON");
    house.post("/api/channel", "").await.refused(400, "JSON");
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(1024 * 1024));
    house.post("/api/channel", &large).await.refused(413, "1024 KiB");
}

async fn roles(house: House) {
    let (ann_id, ann) = house.user("ann", 1).await;
    let (bob_id, bob) = house.user("bob", 10).await;
    for path in ["/api/channel", "/api/user", "/api/log", "/api/ability", "/api/audit/ledger"] {
        house.call(&ann, "GET", path, "").await.refused(403, "administrator");
        house.call(&bob, "GET", path, "").await.ok();
    }
    let named = r#"{"display_name":" Ann of the North "}"#;
    let me = house.call(&ann, "PATCH", "/api/user/self", named).await.ok();
    assert_eq!(me["display_name"], "Ann of the North");
    for (wrong, field) in
        [("{}", "language"), (r#"{"username":"x"}"#, "username"), (r#"{"role":100}"#, "role")]
    {
        house.call(&ann, "PATCH", "/api/user/self", wrong).await.refused(422, field);
    }
    let told = house.get("/api/audit/actions?kind=users&page_size=1").await.ok();
    assert_eq!(
        (&told[0]["username"], &told[0]["other"]["fields"][0]),
        (&json!("ann"), &json!("display_name"))
    );
    let me = house.call(&ann, "GET", "/api/user/self", "").await.ok();
    assert_eq!(me["display_name"], "Ann of the North");
    assert_eq!(me["id"], ann_id);
    house.call(&ann, "GET", "/api/log/self", "").await.ok();
    house
        .call(&ann, "POST", &format!("/api/user/{ann_id}/quota"), r#"{"delta":9}"#)
        .await
        .refused(403, "administrator");

    // Administrators reach down, not up or sideways.
    house
        .call(&bob, "POST", "/api/user", r#"{"username":"eve","role":10}"#)
        .await
        .refused(403, "role");
    let up = r#"{"role":10}"#;
    house.call(&bob, "PUT", &format!("/api/user/{ann_id}"), up).await.refused(403, "role");
    house
        .call(&bob, "PUT", "/api/user/1", r#"{"password":"taken over"}"#)
        .await
        .refused(403, "role");
    house.call(&bob, "POST", "/api/user/1/token", "").await.refused(403, "role");
    house
        .call(&bob, "PUT", &format!("/api/user/{bob_id}"), r#"{"role":100}"#)
        .await
        .refused(403, "role");
    house
        .call(&bob, "POST", &format!("/api/user/{bob_id}/disable"), "")
        .await
        .refused(409, "yourself");
    house.post("/api/user/1/disable", "").await.refused(409, "yourself");
    house.delete("/api/user/1").await.refused(409, "yourself");

    // A disabled user is out, a renewed access token ends the older one.
    house.call(&bob, "POST", &format!("/api/user/{ann_id}/disable"), "").await.ok();
    house.call(&ann, "GET", "/api/user/self", "").await.refused(403, "disabled");
    let newer = house.call(&bob, "GET", "/api/user/token", "").await.ok();
    house.call(&bob, "GET", "/api/user/self", "").await.refused(401, "unknown");
    house.call(newer.as_str().unwrap(), "GET", "/api/user/self", "").await.ok();
}

async fn first_start_happens_once(house: House) {
    let state = &house.state;
    let again = admin::ops::first_start::ensure_root(
        &state.db,
        &state.passwords,
        &state.clock,
        Some("another password"),
        None,
    );
    assert!(again.await.unwrap().is_none());
    let row = house.get("/api/user/1").await.ok();
    assert_eq!(row["has_password"], true);
}
