use super::*;
use std::time::{Duration, Instant};
use store::key_hash;
use testkit::{eventually, on_both_databases};

/// Fails unless `seen` becomes true within the second that is promised.
async fn within_a_second(what: &str, seen: impl Fn() -> bool) {
    let started = Instant::now();
    eventually(what, || async { seen().then_some(()) }).await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "{what} took {took:?}");
}

on_both_databases! {
    async fn plain_sql_is_live_within_a_second(test: TestDb) {
        let db = open(&test).await;
        let here = Following::start(&db).await;
        let there = match test.is_postgres() {
            true => Some(Following::start(&open(&test).await).await),
            false => None,
        };
        let nodes: Vec<&Following> = std::iter::once(&here).chain(&there).collect();
        let everywhere = |seen: &dyn Fn(&Live) -> bool| nodes.iter().all(|node| seen(&node.live));
        test.execute("INSERT INTO abilities (model_name, ratio) VALUES ('m', 2)").await;
        within_a_second("a new price", || everywhere(&|live| {
            live.catalog.load().price("m").unwrap().is_some()
        })).await;
        test.execute("UPDATE abilities SET ratio = 3").await;
        let three = "3".parse().ok();
        within_a_second("a changed price", || everywhere(&|live| {
            live.catalog.load().price("m").unwrap().unwrap().ratio == three
        })).await;
        test.execute("INSERT INTO channels (base_url, models, key)
                      VALUES ('http://u', 'm', 'k')").await;
        within_a_second("a new channel", || everywhere(&|live| {
            live.catalog.load().candidates("default", "m").len() == 1
        })).await;
        test.execute("UPDATE channels SET status = 2").await;
        within_a_second("a disabled channel", || everywhere(&|live| {
            live.catalog.load().candidates("default", "m").is_empty()
        })).await;
        test.execute("DELETE FROM abilities").await;
        within_a_second("a deleted price", || everywhere(&|live| {
            live.catalog.load().price("m").unwrap().is_none()
        })).await;
        for node in std::iter::once(here).chain(there) {
            node.stop().await;
        }
    }

    async fn users_and_keys_are_invalidated_when_they_change(test: TestDb) {
        let db = open(&test).await;
        let following = Following::start(&db).await;
        let identities = &following.live.identities;
        let hash = key_hash("sk-1");
        let ann = user(&db, "ann", 0).await;
        key(&db, ann, "sk-1").await;
        for sql in [
            "UPDATE users SET status = 2",
            "UPDATE tokens SET status = 2",
            "UPDATE users SET ratio = 0.5",
            "UPDATE users SET \"group\" = 'vip'",
            "UPDATE tokens SET models = 'm', allow_ips = '127.0.0.1'",
            "UPDATE tokens SET rate_limit_tpm = 5",
            "UPDATE tokens SET monthly_limit = 5",
            "UPDATE tokens SET unlimited_quota = NOT unlimited_quota",
            "DELETE FROM tokens",
        ] {
            identities.by_key_hash(&hash).await.unwrap().unwrap();
            test.execute(sql).await;
            within_a_second(sql, || identities.cached(&hash).is_none()).await;
        }
        assert!(identities.by_key_hash(&hash).await.unwrap().is_none());
        following.stop().await;
    }

    async fn a_replaced_secret_is_invalidated_when_its_end_changes(test: TestDb) {
        let db = open(&test).await;
        let following = Following::start(&db).await;
        let identities = &following.live.identities;
        let ann = user(&db, "ann", 0).await;
        key(&db, ann, "sk-1").await;
        let (old, new) = (key_hash("sk-1"), key_hash("sk-2"));
        identities.by_key_hash(&old).await.unwrap().unwrap();
        let ends = UnixMs(1_900_000_000_000);
        let sql = "UPDATE tokens SET old_key_hash = key_hash, key_hash = $1, old_key_ends_at = $2";
        db.execute(sql, &[Value::from(&new), Value::from(ends)]).await.unwrap();
        within_a_second("a rotation", || identities.cached(&old).is_none()).await;
        let until = async |hash: &[u8; 32]| {
            identities.by_key_hash(hash).await.unwrap().map(|key| key.replaced_until)
        };
        assert_eq!((until(&old).await, until(&new).await), (Some(Some(ends)), Some(None)));
        let sooner = ends.plus_ms(-1);
        let sql = "UPDATE tokens SET old_key_ends_at = $1";
        db.execute(sql, &[Value::from(sooner)]).await.unwrap();
        within_a_second("another end", || identities.cached(&old).is_none()).await;
        assert_eq!(until(&old).await, Some(Some(sooner)));
        test.execute("UPDATE tokens SET old_key_hash = NULL, old_key_ends_at = NULL").await;
        within_a_second("the end", || identities.cached(&old).is_none()).await;
        assert_eq!((until(&old).await, until(&new).await), (None, Some(None)));
        following.stop().await;
    }

    async fn money_is_not_a_change_of_configuration(test: TestDb) {
        let db = open(&test).await;
        let following = Following::start(&db).await;
        let ann = user(&db, "ann", 0).await;
        key(&db, ann, "sk-1").await;
        let hash = key_hash("sk-1");
        following.live.identities.by_key_hash(&hash).await.unwrap().unwrap();
        test.execute("UPDATE users SET quota = 50, request_count = 1").await;
        test.execute("UPDATE tokens SET used_quota = 50, remain_quota = 3").await;
        test.execute("UPDATE channels SET used_quota = 50").await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(following.live.identities.cached(&hash).is_some());
        following.stop().await;
    }

    async fn refreshing_makes_it_live_at_once(test: TestDb) {
        let db = open(&test).await;
        let following = Following::start(&db).await;
        test.execute("INSERT INTO group_ratio (group_name, ratio) VALUES ('vip', 0.8)").await;
        following.live.refresh().await.unwrap();
        assert!(following.live.catalog.load().group_ratio("vip").is_some());
        following.stop().await;
    }

    async fn many_changes_at_once_are_taken_in(test: TestDb) {
        let db = open(&test).await;
        let following = Following::start(&db).await;
        let hash = key_hash("sk-1");
        for n in 0..30 {
            user(&db, &format!("user {n}"), 0).await;
        }
        key(&db, 1, "sk-1").await;
        for _ in 0..100 {
            db.execute("UPDATE users SET ratio = ratio + 1", &[]).await.unwrap();
        }
        let last = following.live.identities.by_key_hash(&hash).await.unwrap().unwrap();
        assert_eq!(last.user_ratio, "101".parse().unwrap());
        test.execute("UPDATE users SET ratio = 7").await;
        let seven = "7".parse().unwrap();
        eventually("the last change", || async {
            let now = following.live.identities.by_key_hash(&hash).await.unwrap().unwrap();
            (now.user_ratio == seven).then_some(())
        }).await;
        following.stop().await;
    }
}

#[test]
fn a_cut_connection_is_made_again() {
    testkit::run(async {
        let test = TestDb::postgres().await;
        let db = open(&test).await;
        let following = Following::start(&db).await;
        for round in 1..4 {
            test.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
            let sql = format!("INSERT INTO abilities (model_name, ratio) VALUES ('m{round}', 2)");
            test.execute(&sql).await;
            let model = format!("m{round}");
            within_a_second("a price set while no connection listened", || {
                following.live.catalog.load().price(&model).unwrap().is_some()
            })
            .await;
        }
        following.stop().await;
    });
}

#[test]
fn old_changes_are_removed_and_a_gap_is_noticed() {
    testkit::run(async {
        let test = TestDb::sqlite().await;
        let db = open(&test).await;
        let following = Following::start(&db).await;
        test.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12500)
             INSERT INTO config_changes (what) SELECT 'users:' || i FROM n",
        )
        .await;
        eventually("the old ones to be removed", || async {
            let left = test.i64("SELECT count(*) FROM config_changes").await;
            (left <= 10_501).then_some(())
        })
        .await;
        let ann = user(&db, "ann", 0).await;
        key(&db, ann, "sk-1").await;
        let hash = key_hash("sk-1");
        let identities = &following.live.identities;
        identities.by_key_hash(&hash).await.unwrap().unwrap();
        test.execute(
            "UPDATE users SET status = 2;
             DELETE FROM config_changes WHERE what = 'users:1';
             INSERT INTO config_changes (what) VALUES ('users:999')",
        )
        .await;
        within_a_second("a change that was removed", || identities.cached(&hash).is_none()).await;
        following.stop().await;
    });
}
