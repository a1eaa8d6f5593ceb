//! Scripts written for new-api and its kin, as they stand.

use crate::world::World;
use testkit::{Call, Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn a_script_for_new_api_sets_up_a_channel_and_reads_its_bill(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/m", Reply::result(20, 80));
        let root = |method: &str, path: &str| -> Call {
            world.admin().call(method, path).header("New-Api-User", "1")
        };

        let channel = json!({"mode": "single", "channel": {
            "type": 52, "name": "c", "key": "up-key", "base_url": world.upstream.url(),
            "models": "m,n", "groups": ["default"], "group": "default", "priority": 0,
            "weight": 0, "auto_ban": 1, "other": "", "model_mapping": "", "setting": "{}",
            "settings": "{}", "tag": null, "test_model": "", "status_code_mapping": "",
            "param_override": null, "openai_organization": "",
        }});
        let made = root("POST", "/api/channel/").json(&channel).send().await.expect(200).json();
        assert_eq!(made["success"], true, "{made}");
        world.admin().price("m", json!({"ratio": 2.0, "completion_ratio": 1.5})).await;
        let user = json!({"username": "ann", "password": "a good password", "quota": 1000});
        root("POST", "/api/user/").json(&user).send().await.expect(200);
        let users = root("GET", "/api/user/?p=0&page_size=10").send().await.expect(200).json();
        assert_eq!((&users["page"], &users["page_size"]), (&json!(1), &json!(10)));
        let ann = users["data"].as_array().unwrap().iter().find(|it| it["username"] == "ann");
        let ann = ann.unwrap()["id"].as_i64().unwrap();
        let found = root("GET", "/api/user/search?keyword=ann").send().await.expect(200).json();
        assert_eq!(found["data"][0]["id"], ann);

        let key = json!({
            "user_id": ann, "name": "k", "remain_quota": 500, "unlimited_quota": false,
            "expired_time": -1, "model_limits_enabled": false, "model_limits": "", "group": "",
            "allow_ips": "", "cross_group_retry": false,
        });
        let key = root("POST", "/api/token/").json(&key).send().await.expect(200).json();
        let key = key["data"]["key"].as_str().unwrap().to_owned();
        let tokens = root("GET", "/api/token/?p=1&size=10").send().await.expect(200).json();
        assert_eq!(tokens["data"][0]["name"], "k");
        let disabled = json!({"id": tokens["data"][0]["id"], "status": 2});
        root("PUT", "/api/token/?status_only=true").json(&disabled).send().await.expect(200);
        let enabled = json!({"id": tokens["data"][0]["id"], "status": 1});
        root("PUT", "/api/token/?status_only=true").json(&enabled).send().await.expect(200);

        world.server.post("/pass/m", &key, &json!({})).await.expect(200);
        // Number 2 is what is called `consume` here.
        let path = "/api/log/?p=0&page_size=20&type=2&username=&token_name=&model_name=m\
                    &start_timestamp=0&end_timestamp=0&channel=0&group=";
        let log = root("GET", path).send().await.expect(200).json();
        assert_eq!((&log["total"], &log["data"][0]["quota"]), (&json!(1), &json!(280)));
        assert_eq!(log["data"][0]["type"], "consume");
        let row = root("GET", &format!("/api/user/{ann}")).send().await.expect(200).json();
        assert_eq!(row["data"]["quota"], 720);

        // A request that names a user other than its token's is refused.
        let other = world.admin().call("GET", "/api/user/self").header("New-Api-User", "2");
        other.send().await.expect(401);
        world.close().await;
    }
}
