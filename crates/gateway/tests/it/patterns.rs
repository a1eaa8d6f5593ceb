//! Models by pattern, in channels and in prices.

use crate::world::{World, fixed};
use testkit::{Reply, TestDb, eventually, json, on_both_databases};

on_both_databases! {
    async fn the_name_counts_and_then_the_longest_pattern(db: TestDb) {
        // R51.
        let world = World::open(db).await;
        world.upstream.otherwise(Reply::text("ok"));
        for (models, key) in [(["gpt-4o"], "named"), (["gpt-4*"], "long"), (["gpt-*"], "short")] {
            world.channel(&models, json!({"key": key})).await;
        }
        world.channel(&["org/*", "*/submit"], json!({"key": "org"})).await;
        for (model, quota) in [("gpt-4o", 1), ("gpt-4*", 2), ("gpt-*", 3), ("org/*", 5)] {
            world.admin().price(model, fixed(quota)).await;
        }
        let ann = world.payer(100).await;
        for (model, key, quota) in [
            ("gpt-4o", "named", 1),
            ("gpt-4.1", "long", 2),
            ("gpt-3.5", "short", 3),
            ("org/m", "org", 5),
        ] {
            let before = world.money(&ann).await.used;
            world.pay(model, &ann).await.expect(200);
            let request = world.upstream.requests().await.pop().unwrap();
            assert_eq!(request.path(), format!("/{model}"));
            let sent = request.header("Authorization");
            assert_eq!(sent, Some(format!("Bearer {key}")), "{model}");
            assert_eq!(world.money(&ann).await.used - before, quota, "{model}");
        }
        for model in ["claude", "org/a/b", "gpt-4/x"] {
            world.pay(model, &ann).await.expect_error(404, "MODEL_NOT_FOUND");
        }
        let list = world.server.call("GET", "/v1/models").key(&ann.key).send().await.expect(200);
        let list = list.json();
        let ids: Vec<&str> =
            list["data"].as_array().unwrap().iter().filter_map(|it| it["id"].as_str()).collect();
        assert_eq!(ids, ["gpt-4o"], "what is known by name");
        let one = world.server.call("GET", "/v1/models/gpt-3.5").key(&ann.key).send().await;
        one.expect(200);
        world.close().await;
    }

    async fn a_pattern_by_sql_holds_and_a_wrong_one_is_refused(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.otherwise(Reply::text("ok"));
        let id = world.channel(&["m"], json!({})).await;
        let ann = world.payer(100).await;
        world.db.execute("INSERT INTO abilities (model_name, fixed_quota) VALUES ('x-*', 7)").await;
        let sql = format!("UPDATE channels SET models = 'm,x-*,a//*' WHERE id = {id}");
        world.db.execute(&sql).await;
        eventually("the pattern to be live", || async {
            (world.pay("x-1", &ann).await.status == 200).then_some(())
        })
        .await;
        assert_eq!(world.money(&ann).await.used, 7);
        // A price that can't be read makes nothing free that fits it.
        let odd = "UPDATE abilities SET meters = '{\"odd\":1}' WHERE model_name = 'x-*'";
        world.db.execute(odd).await;
        eventually("the price to be refused", || async {
            (world.pay("x-2", &ann).await.status == 503).then_some(())
        })
        .await;
        for models in [json!(["a//*"]), json!(["../*"])] {
            let body = json!({"id": id, "models": models});
            let answer = world.admin().call("PUT", "/api/channel").json(&body).send().await;
            assert_eq!(answer.status, 422, "{}", answer.text());
        }
        let body = json!({"model_name": "a//*", "channel_type": 52, "fixed_quota": 1});
        let answer = world.admin().try_post("/api/ability", &body).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        world.close().await;
    }
}
