//! The address guard has no second door: what a proxy would reach is judged as what we reach.

use crate::house::House;
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

/// What trying this channel out answers.
async fn tried(house: &House, channel: i64) -> serde_json::Value {
    let path = format!("/api/channel/test/{channel}?model=m");
    house.admin().call("GET", &path).send().await.expect(200).json()["data"].clone()
}

on_sqlite! {
    async fn a_name_is_judged_before_a_proxy_gets_it(db: TestDb) {
        let Some(name) = private_name() else {
            crate::house::skipped("no name but localhost means this machine here");
            return;
        };
        let proxy = Upstream::start().await;
        proxy.otherwise(Reply::text("through the proxy"));
        let url = proxy.url();
        let settings = [("HTTP_PROXY", &*url), ("UPSTREAM_ALLOW_NETS", "")];
        let house = House::with(db, &settings).await;
        let inside = format!("http://{name}:{}", house.upstream.addr().port());
        let channel = house.channel(&["m"], json!({"base_url": inside})).await;

        let answer = tried(&house, channel).await;

        assert_eq!(answer["error"], "guarded", "{answer}");
        assert_eq!((proxy.count(), house.upstream.count()), (0, 0));
        house.close().await;
    }

    async fn a_channels_own_proxy_is_guarded(db: TestDb) {
        let proxy = Upstream::start().await;
        proxy.otherwise(Reply::text("through the proxy"));
        let house = House::with(db, &[("UPSTREAM_ALLOW_NETS", "")]).await;
        let socks = proxy.url().replace("http:", "socks5:");
        for url in [proxy.url(), socks] {
            // An address, so that no name has to be found.
            let fields = json!({"base_url": "http://1.1.1.1", "setting": {"proxy": url}});
            let channel = house.channel(&["m"], fields).await;
            let answer = tried(&house, channel).await;
            assert_eq!(answer["error"], "guarded", "{url}: {answer}");
        }
        assert_eq!((proxy.count(), proxy.connections()), (0, 0));
        house.close().await;
    }

    async fn webhooks_go_through_no_proxy_unless_it_is_set(db: TestDb) {
        let proxy = Upstream::start().await;
        proxy.otherwise(Reply::text("through the proxy"));
        let url = format!("http://us:er@{}", proxy.addr());
        let mut settings = vec![
            ("HTTP_PROXY", &*url),
            ("WEBHOOK_ALLOW_NETS", "127.0.0.0/8,::1/128"),
        ];
        let mut house = House::with(db, &settings).await;
        house.upstream.on("/hook", Reply::text("heard"));
        let ann = house.payer(0).await;
        let hook = format!("{}/hook", house.upstream.url());
        let hook = json!({"user_id": ann.id, "url": hook});
        let hook = house.admin().post("/api/webhook", &hook).await["id"].as_i64().unwrap();
        let deliver = async |house: &House, event: i64| {
            house.db.execute(&format!(
                "INSERT INTO tasks (uid, task_id, user_id, channel_id, action, status,
                        upstream_status, finish_time)
                 VALUES (x'{event:032x}', 'up-{event}', {}, 1, 'img/submit', 'completed', 'DONE',
                        CAST(unixepoch('subsec') * 1000 AS INTEGER));
                 INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, due_at)
                 VALUES ({hook}, {}, x'{event:032x}', 'task.completed', 1)", ann.id, ann.id
            )).await;
            let done = "SELECT count(*) FROM webhook_deliveries WHERE state = 'delivered'";
            eventually("the delivery", || async {
                (house.db.i64(done).await == event).then_some(())
            })
            .await;
        };

        deliver(&house, 1).await;
        assert_eq!((proxy.count(), house.upstream.count()), (0, 1));

        settings.push(("WEBHOOK_USE_PROXY", "true"));
        for (name, value) in settings {
            house.server.set_env(name, value);
        }
        house.server.restart().await;
        deliver(&house, 2).await;
        assert_eq!((proxy.count(), house.upstream.count()), (1, 1));

        // A name is the user's: what it means to the proxy may be another address than the one
        // that was judged, so that one is what the proxy gets. The endpoint is named to itself.
        let (port, by_name) = (house.upstream.addr().port(), "UPDATE webhook_endpoints SET url = ");
        let sql = format!("{by_name}'http://localhost:{port}/hook'");
        house.db.execute(&sql).await;
        proxy.handle(&format!("127.0.0.1:{port}"), |_| Reply::new(200));
        deliver(&house, 3).await;
        let seen = proxy.requests().await;
        let dug = (seen[1].method.as_str(), seen[1].target.clone());
        assert_eq!(dug, ("CONNECT", format!("127.0.0.1:{port}")));
        let (asked, host) = (&seen[2].target, seen[2].header("host"));
        assert_eq!((asked.as_str(), host), ("/hook", Some(format!("localhost:{port}"))));
        assert_eq!(seen[2].header("proxy-authorization"), None);
        house.close().await;
    }
}
