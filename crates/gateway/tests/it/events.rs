//! What happens, as it happens, over a session: one's own for users, everything for operators.

use crate::pages::{Browser, PASSWORD, lively, name_of};
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn a_stream_begins_with_how_things_stand_and_follows(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let eve = world.payer(1_000).await;
        let key = admin.key_of(ann, json!({})).await.key;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        user.get("/api/events?topics=channels").await.expect(422);
        world.server.call("GET", "/api/events").send().await.expect(401);
        let before = world.db.i64("SELECT max(id) FROM logs").await;

        let mut all = root.call("GET", "/api/events?topics=calls").stream().await;
        let path = "/api/events?topics=calls,tasks&after=0";
        let mut own = user.call("GET", path).stream().await;
        assert_eq!((all.status, own.status), (200, 200));
        let first = all.read_until("\n\n").await;
        assert!(first.starts_with(&format!("id: {before}\nevent: state\ndata: ")), "{first}");
        let first = own.read_until("\n\n").await;
        let lines = format!("SELECT count(*) FROM logs WHERE user_id = {ann}");
        let missed = format!("\"missed\":{},", world.db.i64(&lines).await);
        assert!(first.contains(&missed) && first.contains("\"unfinished\":[]"), "{first}");

        world.pay("chat", &eve).await.expect(200);
        let seen = all.read_until("\n\n").await;
        assert!(seen.contains("event: call\n") && seen.contains("\"channel_id\":1"), "{seen}");
        assert!(seen.contains(&format!("\"user_id\":{}", eve.id)), "{seen}");
        world.server.post("/pass/chat", &key, &json!({})).await.expect(200);
        let seen = own.read_until("\n\n").await;
        assert!(seen.contains("event: call\n") && !seen.contains("channel_id"), "{seen}");
        assert!(seen.contains(&format!("\"user_id\":{ann}")), "another's line came first: {seen}");
        let newest = world.db.i64("SELECT max(id) FROM logs").await;
        assert!(seen.starts_with(&format!("id: {newest}\n")), "{seen}");

        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "t"}}));
        world.upstream.on("/img/submit", taken);
        world.channel(&["img/submit"], json!({})).await;
        world.server.post("/pass/img/submit", &key, &json!({})).await.expect(200);
        let seen = own.read_until("\"task_id\":\"t\"").await;
        assert!(seen.contains("event: task\n") && !seen.contains("channel_id"), "{seen}");

        // A client that reconnects learns how much it missed.
        let back = user.call("GET", "/api/events?topics=calls").header("Last-Event-ID", "0");
        let first = back.stream().await.read_until("\n\n").await;
        let missed = format!("\"missed\":{},", world.db.i64(&lines).await);
        assert!(first.contains(&missed), "{first}");
        drop((all, own));
        world.close().await;
    }
}

on_sqlite! {
    async fn streams_are_few_and_no_stop_waits_for_them(db: TestDb) {
        let (mut world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let mut streams = Vec::new();
        for _ in 0..6 {
            let mut stream = user.call("GET", "/api/events").stream().await;
            stream.read_until("event: state").await;
            streams.push(stream);
        }
        let refused = user.get("/api/events").await.expect(429);
        assert_eq!(refused.header("retry-after").as_deref(), Some("5"));
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        root.call("GET", "/console/events?topics=calls").stream().await.read_until("\n\n").await;
        drop(streams.pop());
        testkit::eventually("a place", || async {
            let mut stream = user.call("GET", "/api/events").stream().await;
            if stream.status != 200 {
                return None;
            }
            stream.read_until("event: state").await;
            Some(())
        })
        .await;
        let began = std::time::Instant::now();
        let ended = world.server.terminate().await;
        assert!(ended.success() && began.elapsed().as_secs() < 5, "a stop waits for streams");
        world.server.start_again().await;
        world.close().await;
    }
}
