//! A user's usage by key, model and day: the same sums however it is cut.

use crate::pages::{Browser, PASSWORD, lively, name_of};
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

on_both_databases! {
    async fn each_key_model_and_day_has_its_sum(db: TestDb) {
        let (world, ann) = lively(db).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        let key = world.admin().key_of(ann, json!({ "name": "=1+1" })).await.key;
        for _ in 0..2 {
            world.server.post("/pass/chat", &key, &json!({})).await.expect(200);
        }
        let eve = world.payer(1_000).await;
        world.pay("chat", &eve).await.expect(200);
        let table = async |per: &str| {
            let path = format!("/api/usage/self/table?per={per}");
            user.get(&path).await.expect(200).json()["data"]["rows"].clone()
        };
        let keys = table("key").await;
        assert_eq!(keys.as_array().unwrap().len(), 2, "{keys}");
        assert_eq!((&keys[0]["name"], &keys[0]["calls"]), (&json!("=1+1"), &json!(2)), "{keys}");
        assert_eq!((&keys[0]["spent"], &keys[1]["spent"]), (&json!(160), &json!(80)), "{keys}");
        for per in ["model", "day"] {
            let rows = table(per).await;
            let row = &rows[0];
            assert_eq!((&row["calls"], &row["spent"]), (&json!(3), &json!(240)), "{per}: {rows}");
            assert_eq!(row["completion_tokens"], 180, "{rows}");
        }
        user.get("/api/usage/self/table?per=hour").await.expect(422);
        let csv = user.get("/api/usage/self/table?per=key&format=csv").await.expect(200).text();
        let line = "'=1+1,2,160,40,120\r\n";
        assert!(csv.starts_with("name,calls,spent,") && csv.contains(line), "{csv}");

        // Everybody's, for administrators: by user too, and of one user the same as their own.
        user.get("/api/usage/table").await.expect(403);
        user.get("/api/usage/self/table?per=user").await.expect(422);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let all = async |query: &str| {
            let path = format!("/api/usage/table?{query}");
            root.get(&path).await.expect(200).json()["data"]["rows"].clone()
        };
        let users = all("").await;
        for (row, id, spent) in [(&users[0], ann, 240), (&users[1], eve.id, 80)] {
            assert_eq!((&row["user_id"], &row["spent"]), (&json!(id), &json!(spent)), "{users}");
        }
        assert_eq!(users[0]["name"], name_of(&world, ann).await.as_str(), "{users}");
        assert_eq!(all("per=key").await.as_array().unwrap().len(), 3);
        assert_eq!(all("per=model").await[0]["spent"], 320);
        assert_eq!(all("per=day").await[0]["calls"], 4);
        for by in ["day", "hour"] {
            let of_ann = all(&format!("per=key&user_id={ann}&by={by}")).await;
            assert_eq!(of_ann, keys, "{by}");
        }
        root.get("/api/usage/table?per=hour").await.expect(422);
        for path in ["/console/usage?per=user&range=24h", "/console/usage?per=user&top=5"] {
            let page = root.get(path).await.expect(200).text();
            assert!(page.contains(&format!("/console/users/{ann}")), "{path}: {page}");
        }
        let own = user.get("/console/usage?per=user").await.expect(200).text();
        assert!(own.contains("=1+1") && !own.contains("By user"), "{own}");

        let page = user.get("/console/usage?per=key&sort=spent&order=asc").await.expect(200).text();
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(place("$0.000160") < place("=1+1") && page.contains("$0.000480"), "{page}");
        world.close().await;
    }
}
