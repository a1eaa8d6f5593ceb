use super::*;
use domain::{ChannelId, Quota};
use store::{Catalog, Precharge};
use testkit::on_both_databases;

async fn load(db: &Db) -> Catalog {
    Catalog::load(db, &sealer()).await.unwrap()
}

async fn channel(test: &TestDb, columns: &str, values: &str) {
    let comma = if columns.is_empty() { "" } else { ", " };
    let sql = format!(
        "INSERT INTO channels (base_url{comma}{columns}) VALUES ('http://up'{comma}{values})"
    );
    test.execute(&sql).await;
}

on_both_databases! {
    async fn channels_are_found_by_group_and_model_in_order(test: TestDb) {
        let db = open(&test).await;
        channel(&test, "models, groups, priority", "'m, img/submit', 'default,vip', 1").await;
        channel(&test, "models, groups, priority", "'m', 'vip', 9").await;
        channel(&test, "models, groups, status", "'m,off', 'default', 2").await;
        channel(&test, "models, priority", "'m', 1").await;
        let catalog = load(&db).await;
        let ids = |group: &str, model: &str| -> Vec<i64> {
            catalog.candidates(group, model).iter().map(|c| c.id.0).collect()
        };
        assert_eq!(ids("default", "m"), [1, 4]);
        assert_eq!(ids("vip", "m"), [2, 1]);
        assert_eq!(ids("vip", "img/submit"), [1]);
        assert!(ids("default", "off").is_empty());
        // A group without channels of its own is served by the default's.
        assert_eq!(ids("gold", "m"), ids("default", "m"));
        assert!(catalog.model_exists("off") && !catalog.model_exists("nothing"));
        assert_eq!(catalog.models_of("default"), ["img/submit", "m"]);
        assert_eq!(catalog.models_of("gold"), ["img/submit", "m"]);
        assert_eq!(catalog.channel(ChannelId(3)).unwrap().status, 2);
        assert_eq!(catalog.channels().len(), 4);
        assert!(catalog.problems().is_empty());
    }

    async fn a_readable_key_works_and_is_sealed(test: TestDb) {
        let db = open(&test).await;
        channel(&test, "key, models", "' up-key ', 'm'").await;
        for _ in 0..2 {
            let catalog = load(&db).await;
            assert_eq!(catalog.candidates("default", "m")[0].key.expose(), "up-key");
            assert!(test.text("SELECT key FROM channels").await.starts_with("enc:v1:"));
        }
        let other = Catalog::load(&db, &Sealer::new(b"other")).await.unwrap();
        assert!(other.candidates("default", "m").is_empty());
        assert!(other.problems()[0].why.contains("SECRET_KEY"), "{:?}", other.problems());
    }

    async fn all_fields_are_read(test: TestDb) {
        let db = open(&test).await;
        channel(&test,
            "models, weight, auto_ban, other, model_mapping, param_override, status_code_mapping,
             custompass_status_mapping, setting",
            r#"'m', 3, FALSE, 'X-Up', '{"m":"real"}', '{"big":12345678901234567890123,"t":1.0}',
               '{"500":"502"}', '{"success":"done"}',
               '{"timeout":"2m","retry_count":1,"precharge":"body","concurrency":4,
                 "proxy":"http://p:1"}'"#,
        ).await;
        let catalog = load(&db).await;
        let channel = &catalog.channels()[0];
        assert_eq!((channel.weight, channel.auto_ban), (3, false));
        assert_eq!(channel.user_token_header.as_deref(), Some("X-Up"));
        assert_eq!(channel.model_mapping["m"], "real");
        assert!(channel.param_override.contains(&("big".into(), "12345678901234567890123".into())));
        assert!(channel.param_override.contains(&("t".into(), "1.0".into())));
        assert_eq!(channel.status_code_mapping[&500], 502);
        assert_eq!(channel.status_words.as_ref().unwrap().success, ["done"]);
        assert_eq!(channel.setting.timeout_ms, Some(120_000));
        assert_eq!(channel.setting.precharge, Precharge::Body);
        assert_eq!((channel.setting.retry_count, channel.setting.concurrency), (Some(1), Some(4)));
    }

    async fn one_bad_row_does_not_stop_its_neighbours(test: TestDb) {
        let db = open(&test).await;
        channel(&test, "models, setting", r#"'m', '{"timeout":"soon"}'"#).await;
        channel(&test, "models, model_mapping", r#"'m', '{"m":"../x"}'"#).await;
        channel(&test, "models, key", "'m', 'enc:v1:AAAA'").await;
        channel(&test, "models", "'m, ../x'").await;
        let catalog = load(&db).await;
        let ids: Vec<i64> = catalog.candidates("default", "m").iter().map(|c| c.id.0).collect();
        assert_eq!(ids, [4]);
        assert_eq!(catalog.problems().len(), 4, "{:?}", catalog.problems());
        assert_eq!(catalog.problems()[0].row, "1");
        assert!(catalog.problems()[0].why.contains("setting.timeout"));
    }

    async fn prices_and_groups_are_exact(test: TestDb) {
        let db = open(&test).await;
        test.execute("INSERT INTO abilities (model_name, ratio, completion_ratio)
                      VALUES ('m', 0.1, 1.5)").await;
        test.execute("INSERT INTO abilities (model_name, fixed_quota) VALUES ('f', 2500000)").await;
        test.execute("INSERT INTO group_ratio (group_name, ratio) VALUES ('vip', 0.8)").await;
        let catalog = load(&db).await;
        let price = catalog.price("m").unwrap().unwrap();
        assert_eq!(price.ratio, Some("0.1".parse().unwrap()));
        assert_eq!(price.completion_ratio, Some("1.5".parse().unwrap()));
        assert_eq!((price.fixed_quota, price.min_hold), (None, Some(Quota(1))));
        assert_eq!(catalog.price("f").unwrap().unwrap().fixed_quota, Some(Quota(2_500_000)));
        assert_eq!(catalog.price("free").unwrap(), None);
        assert_eq!(catalog.group_ratio("vip"), Some("0.8".parse().unwrap()));
        assert_eq!(catalog.group_ratio("default"), None);
    }

    async fn a_schedule_that_cannot_be_read_is_not_free(test: TestDb) {
        let db = open(&test).await;
        test.execute(r#"INSERT INTO abilities (model_name, ratio, meters, units, tiers)
            VALUES ('m', 1, '{"cache_write":1.25}', '{"images":20000}',
                    '[{"above":{"input":200000},"factor":2}]'),
                   ('plain', 1, '{}', '{}', '[]'),
                   ('unknown', 1, '{"cache_writ":1}', '{}', '[]'),
                   ('contradicts', 1, '{"output":2}', '{}', '[]')"#).await;
        test.execute("UPDATE abilities SET completion_ratio = 3 WHERE model_name = 'contradicts'")
            .await;
        let catalog = load(&db).await;
        let schedule = catalog.price("m").unwrap().unwrap().schedule.clone().unwrap();
        assert_eq!(schedule.parts()[0], r#"{"cache_write":1.25}"#);
        assert_eq!(catalog.price("plain").unwrap().unwrap().schedule, None);
        let why = |model: &str| catalog.price(model).unwrap_err().to_string();
        assert!(why("unknown").contains("meters.cache_writ is not known; there are cached,"));
        assert!(why("contradicts").contains("completion_ratio"));
        assert_eq!(catalog.problems().len(), 2, "{:?}", catalog.problems());
    }

    async fn a_wrong_secret_is_noticed_at_the_start(test: TestDb) {
        let db = open(&test).await;
        store::verify_secret(&db, &sealer(), NOW).await.unwrap();
        store::verify_secret(&db, &sealer(), NOW).await.unwrap();
        let other = store::verify_secret(&db, &Sealer::new(b"other"), NOW).await.unwrap_err();
        assert!(other.to_string().contains("SECRET_KEY"));
    }
}

/// The checks of the schema keep such rows out; a file that was written without them may hold some.
#[test]
fn an_unreadable_price_is_not_free_and_an_unreadable_group_is_not_served() {
    testkit::run(async {
        let test = TestDb::sqlite().await;
        let db = open(&test).await;
        channel(&test, "models, groups", "'m,n', 'default,vip'").await;
        test.execute(
            "PRAGMA ignore_check_constraints = ON;
             INSERT INTO abilities (model_name, ratio) VALUES ('m', 'cheap'), ('n', '2');
             INSERT INTO group_ratio (group_name, ratio) VALUES ('vip', 'low');
             UPDATE channels SET model_mapping = '{}' WHERE id = 1;
             INSERT INTO channels (base_url, models, param_override)
             VALUES ('http://x', 'm', '{');",
        )
        .await;
        let catalog = load(&db).await;
        let bad = catalog.price("m").unwrap_err();
        assert!(bad.to_string().contains("cheap"), "{bad}");
        assert!(catalog.price("n").unwrap().is_some());
        assert!(catalog.candidates("vip", "n").is_empty());
        assert_eq!(catalog.candidates("default", "n").len(), 1);
        assert_eq!(catalog.problems().len(), 3, "{:?}", catalog.problems());
    });
}
