//! The address guard has no second door: what a proxy would reach is judged as what we reach.

use crate::world::World;
use std::net::ToSocketAddrs;
use testkit::{Reply, TestDb, Upstream, eventually, json};

/// A name, other than `localhost`, that means this machine.
fn private_name() -> Option<String> {
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let names = [own.trim().to_owned(), "ip6-localhost".to_owned(), "ip6-loopback".to_owned()];
    names.into_iter().find(|name| {
        let found = (name.as_str(), 80).to_socket_addrs().ok();
        found.is_some_and(|mut all| all.len() > 0 && all.all(|one| one.ip().is_loopback()))
    })
}

/// Returns the result of a probe of this channel.
async fn tried(world: &World, channel: i64) -> serde_json::Value {
    let path = format!("/api/channel/test/{channel}?model=m");
    world.admin().call("GET", &path).send().await.expect(200).json()["data"].clone()
}

on_sqlite! {
    async fn a_name_is_judged_before_a_proxy_gets_it(db: TestDb) {
        let Some(name) = private_name() else {
            crate::world::skipped("no name but localhost means this machine here");
            return;
        };
        let proxy = Upstream::start().await;
        proxy.otherwise(Reply::text("through the proxy"));
        let url = proxy.url();
        let settings = [("HTTP_PROXY", &*url), ("UPSTREAM_ALLOW_NETS", "")];
        let world = World::with(db, &settings).await;
        let inside = format!("http://{name}:{}", world.upstream.addr().port());
        let channel = world.channel(&["m"], json!({"base_url": inside})).await;

        let answer = tried(&world, channel).await;

        assert_eq!(answer["error"], "guarded", "{answer}");
        assert_eq!((proxy.count(), world.upstream.count()), (0, 0));
        world.close().await;
    }

    async fn a_channels_own_proxy_is_guarded(db: TestDb) {
        let proxy = Upstream::start().await;
        proxy.otherwise(Reply::text("through the proxy"));
        let world = World::with(db, &[("UPSTREAM_ALLOW_NETS", "")]).await;
        let socks = proxy.url().replace("http:", "socks5:");
        for url in [proxy.url(), socks] {
            // An address, so that no name has to be found.
            let fields = json!({"base_url": "http://1.1.1.1", "setting": {"proxy": url}});
            let channel = world.channel(&["m"], fields).await;
            let answer = tried(&world, channel).await;
            assert_eq!(answer["error"], "guarded", "{url}: {answer}");
        }
        assert_eq!((proxy.count(), proxy.connections()), (0, 0));
        world.close().await;
    }

    async fn webhooks_go_through_no_proxy_unless_it_is_set(db: TestDb) {
        let proxy = Upstream::start().await;
        proxy.otherwise(Reply::text("through the proxy"));
        let url = format!("http://us:er@{}", proxy.addr());
        let mut settings = vec![
            ("HTTP_PROXY", &*url),
            ("WEBHOOK_ALLOW_NETS", "127.0.0.0/8,::1/128"),
        ];
        let mut world = World::with(db, &settings).await;
        world.upstream.on("/hook", Reply::text("heard"));
        let ann = world.payer(0).await;
        let hook = format!("{}/hook", world.upstream.url());
        let hook = json!({"user_id": ann.id, "url": hook});
        let hook = world.admin().post("/api/webhook", &hook).await["id"].as_i64().unwrap();
        let deliver = async |world: &World, event: i64| {
            world.db.execute(&format!(
                "INSERT INTO tasks (uid, task_id, user_id, channel_id, action, status,
                        upstream_status, finish_time)
                 VALUES (x'{event:032x}', 'up-{event}', {}, 1, 'img/submit', 'completed', 'DONE',
                        CAST(unixepoch('subsec') * 1000 AS INTEGER));
                 INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, due_at)
                 VALUES ({hook}, {}, x'{event:032x}', 'task.completed', 1)", ann.id, ann.id
            )).await;
            let done = "SELECT count(*) FROM webhook_deliveries WHERE state = 'delivered'";
            eventually("the delivery", || async {
                (world.db.i64(done).await == event).then_some(())
            })
            .await;
        };

        deliver(&world, 1).await;
        assert_eq!((proxy.count(), world.upstream.count()), (0, 1));

        settings.push(("WEBHOOK_USE_PROXY", "true"));
        for (name, value) in settings {
            world.server.set_env(name, value);
        }
        world.server.restart().await;
        deliver(&world, 2).await;
        assert_eq!((proxy.count(), world.upstream.count()), (1, 1));

        // A name is the user's: what it means to the proxy may be another address than the one
        // that was judged, so that one is what the proxy gets. The endpoint is named to itself.
        let (port, by_name) = (world.upstream.addr().port(), "UPDATE webhook_endpoints SET url = ");
        let sql = format!("{by_name}'http://localhost:{port}/hook'");
        world.db.execute(&sql).await;
        proxy.handle(&format!("127.0.0.1:{port}"), |_| Reply::new(200));
        deliver(&world, 3).await;
        let seen = proxy.requests().await;
        let dug = (seen[1].method.as_str(), seen[1].target.clone());
        assert_eq!(dug, ("CONNECT", format!("127.0.0.1:{port}")));
        let (asked, host) = (&seen[2].target, seen[2].header("host"));
        assert_eq!((asked.as_str(), host), ("/hook", Some(format!("localhost:{port}"))));
        assert_eq!(seen[2].header("proxy-authorization"), None);
        world.close().await;
    }
}
