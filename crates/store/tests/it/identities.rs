use super::*;
use domain::{KeyId, UserId};
use std::time::Duration;
use store::{Identities, key_hash};
use testkit::{eventually, on_both_databases};

on_both_databases! {
    async fn a_key_identifies_its_owner(test: TestDb) {
        let db = open(&test).await;
        let ann = user(&db, "ann", 0).await;
        let id = key(&db, ann, "sk-1").await;
        test.execute(r#"UPDATE tokens SET models = 'a, b', allow_ips = '10.0.0.0/8',
                        "group" = 'vip',
                        rate_limit_rpm = 60, name = 'k'"#).await;
        test.execute("UPDATE users SET ratio = 0.5").await;
        let identities = Identities::new(db);
        let hash = key_hash("sk-1");
        assert!(identities.cached(&hash).is_none());
        let known = identities.by_key_hash(&hash).await.unwrap().unwrap();
        assert_eq!((known.user_id, known.key_id), (UserId(ann), KeyId(id)));
        assert_eq!((&*known.username, known.user_group.as_str()), ("ann", "default"));
        assert_eq!((known.key_group.as_deref(), known.rate_limit_rpm), (Some("vip"), Some(60)));
        assert_eq!(known.models.as_ref().map(|set| set.contains("b")), Some(true));
        assert_eq!(known.allow_ips, ["10.0.0.0/8"]);
        assert_eq!(known.user_ratio, "0.5".parse().unwrap());
        assert!(known.unlimited && !known.deleted && known.expires_at.is_none());
        assert!(identities.cached(&hash).is_some());
        identities.invalidate_user(UserId(ann));
        assert!(identities.cached(&hash).is_none());
        identities.by_key_hash(&hash).await.unwrap();
        identities.invalidate_key(KeyId(id));
        assert!(identities.cached(&hash).is_none());
    }

    async fn a_new_key_is_known_within_a_second(test: TestDb) {
        let db = open(&test).await;
        let ann = user(&db, "ann", 0).await;
        let identities = Identities::new(db.clone());
        let hash = key_hash("sk-2");
        assert!(identities.by_key_hash(&hash).await.unwrap().is_none());
        key(&db, ann, "sk-2").await;
        let known = eventually("the key", || async {
            identities.by_key_hash(&hash).await.unwrap()
        });
        tokio::time::timeout(Duration::from_secs(1), known).await.unwrap();
    }

    async fn access_tokens_are_looked_up_each_time(test: TestDb) {
        let db = open(&test).await;
        let ann = user(&db, "ann", 0).await;
        let hash = key_hash("access");
        db.execute("UPDATE users SET access_token_hash = $1, role = 100", &[Value::from(hash)])
            .await.unwrap();
        let identities = Identities::new(db);
        let root = identities.by_access_token(&hash).await.unwrap().unwrap();
        assert_eq!((root.user_id, root.role, root.deleted), (UserId(ann), 100, false));
        test.execute("UPDATE users SET status = 2").await;
        assert_eq!(identities.by_access_token(&hash).await.unwrap().unwrap().status, 2);
        assert_eq!(identities.by_access_token(&key_hash("other")).await.unwrap(), None);
    }
}
