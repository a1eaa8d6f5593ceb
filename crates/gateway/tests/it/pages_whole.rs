//! A world with something on every page, and what holds for all of them: that they are there, that
//! they are small, and that none keeps a session by itself.

use crate::pages::{
    Browser, MAX_PAGE_BYTES, PASSWORD, attributes, crawl, gzipped, lively, name_of, shape,
};
use crate::world::{World, fixed};
use std::collections::{BTreeMap, BTreeSet};
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually, json, on_both_databases};

const OWN_PROTOCOL: &str = r#"name = "mine"
title = { zh = "我的", en = "Mine" }

[auth]
header = "x-key"

[[route]]
match = "POST /v2/draw"
model = "body:/engine"
reply = "json"

[usage.meters]
images = ["/pictures/#"]
"#;

/// A lively world with a task, a webhook, its delivery and an own protocol as well.
pub(crate) struct FullWorld {
    pub(crate) world: World,
    /// A user who paid for a call, submitted the task, and owns the webhook.
    pub(crate) ann: i64,
}

impl FullWorld {
    pub(crate) async fn open(db: TestDb) -> Self {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        admin.post("/api/protocol", &json!({ "document": OWN_PROTOCOL })).await;
        let hook = json!({ "user_id": ann, "url": "http://example.com/" });
        let hook = admin.post("/api/webhook", &hook).await["id"].as_i64().unwrap();
        admin.post(&format!("/api/webhook/{hook}/test"), &json!({})).await;
        let running = r#"{"code":0,"data":[{"task_id":"up-1","status":"running"}]}"#;
        world.upstream.on("/img/task/list-by-condition", Reply::raw_json(running));
        let taken = Reply::json(&json!({ "code": 0, "data": { "task_id": "up-1" } }));
        world.model("img/submit", fixed(40), taken).await;
        let key = admin.key_of(ann, json!({ "name": "laptop" })).await.key;
        world.server.post("/pass/img/submit", &key, &json!({})).await.expect(200);
        let parts = json!({ "ratio": 1.5, "completion_ratio": 4,
            "meters": { "cache_write": 1.25 }, "units": { "images": 20_000 },
            "tiers": [{ "above": { "input": 200_000 }, "input": 2 }] });
        admin.price("metered", parts).await;
        world.channel(&["metered"], json!({ "name": "third" })).await;
        let tagged = json!({ "name": "second", "tag": "cheap" });
        world.channel(&["free-model"], tagged).await;
        gone(&world, false).await;
        Self { world, ann }
    }

    /// Ends the task, and the test.
    pub(crate) async fn close(&self) {
        let over = json!({ "reason": "the test is over" });
        self.world.admin().post("/api/task/1/fail-and-refund", &over).await;
        self.world.close().await;
    }
}

/// A user who was deleted, and the channel that served them, with a call that was charged and,
/// where it is asked for, one that failed. Returns their numbers.
pub(crate) async fn gone(world: &World, fails: bool) -> (i64, i64) {
    let admin = world.admin();
    let channel = world.model("old", fixed(10), Reply::text("ok")).await;
    let bob = world.payer(1_000).await;
    world.pay("old", &bob).await.expect(200);
    if fails {
        world.upstream.on("/old", Reply::failure(7, "no"));
        world.pay("old", &bob).await.expect(200);
    }
    admin.delete(&format!("/api/channel/{channel}")).await;
    admin.delete(&format!("/api/user/{}", bob.id)).await;
    (bob.id, channel)
}

/// What each reader is led to, by the shapes of addresses.
const OF_ROOT: &[&str] = &[
    "/console",
    "/console/account",
    "/console/actions",
    "/console/api",
    "/console/api?tag",
    "/console/audit",
    "/console/channels",
    "/console/channels/N",
    "/console/channels/N/edit",
    "/console/channels/new",
    "/console/channels?tag",
    "/console/codes",
    "/console/codes/new",
    "/console/doctor",
    "/console/explain/N",
    "/console/find",
    "/console/groups",
    "/console/keys",
    "/console/keys/N/edit",
    "/console/keys/N/rotate",
    "/console/keys/new",
    "/console/log",
    "/console/log?show=recent",
    "/console/notice",
    "/console/play",
    "/console/prices",
    "/console/prices/edit",
    "/console/prices/paste",
    "/console/prices?show=unpriced",
    "/console/protocols",
    "/console/protocols/edit",
    "/console/protocols/view",
    "/console/settings",
    "/console/settings/edit",
    "/console/statements",
    "/console/tasks",
    "/console/tasks/N",
    "/console/tasks/N/decide",
    "/console/usage",
    "/console/usage?per=channel",
    "/console/usage?per=day",
    "/console/usage?per=key",
    "/console/usage?per=model",
    "/console/usage?per=user",
    "/console/users",
    "/console/users/N",
    "/console/users/N/adjust",
    "/console/users/N/edit",
    "/console/users/new",
    "/console/webhooks",
    "/console/webhooks/N",
    "/console/webhooks/N/edit",
    "/console/webhooks/N/rotate",
    "/console/webhooks/new",
];
const OF_USERS: &[&str] = &[
    "/console",
    "/console/account",
    "/console/api",
    "/console/api?tag",
    "/console/explain/N",
    "/console/find",
    "/console/keys",
    "/console/keys/N/edit",
    "/console/keys/N/rotate",
    "/console/keys/new",
    "/console/log",
    "/console/log?show=recent",
    "/console/play",
    "/console/prices",
    "/console/redeem",
    "/console/statements",
    "/console/tasks",
    "/console/tasks/N",
    "/console/usage",
    "/console/usage?per=day",
    "/console/usage?per=key",
    "/console/usage?per=model",
    "/console/webhooks",
    "/console/webhooks/N",
    "/console/webhooks/N/edit",
    "/console/webhooks/N/rotate",
    "/console/webhooks/new",
];

fn shapes_of(pages: &BTreeMap<String, String>) -> BTreeSet<String> {
    pages.keys().filter(|path| !path.contains("export")).map(|path| shape(path)).collect()
}

on_both_databases! {
    async fn every_page_that_there_is_is_reached_and_small(db: TestDb) {
        let full = FullWorld::open(db).await;
        let name = name_of(&full.world, full.ann).await;
        for (login, password, expected) in
            [("root", ROOT_PASSWORD, OF_ROOT), (name.as_str(), PASSWORD, OF_USERS)]
        {
            let browser = Browser::login(&full.world.server, login, password).await;
            let pages = crawl(&browser).await;
            let found = shapes_of(&pages);
            let expected: BTreeSet<String> = expected.iter().map(|it| (*it).to_owned()).collect();
            let lost: Vec<_> = expected.difference(&found).collect();
            let new: Vec<_> = found.difference(&expected).collect();
            assert!(lost.is_empty() && new.is_empty(), "{login}: lost {lost:#?}, new {new:#?}");
            for (path, page) in &pages {
                let size = gzipped(page);
                assert!(size <= MAX_PAGE_BYTES, "{path}: {size} bytes");
            }
        }
        full.close().await;
    }

    async fn what_is_on_hold_is_found_where_it_leads(db: TestDb) {
        let full = FullWorld::open(db).await;
        let admin = full.world.admin();
        let adam = json!({ "username": "adam", "password": PASSWORD, "role": 10 });
        admin.user(adam).await;
        let adam = Browser::login(&full.world.server, "adam", PASSWORD).await;
        let first = adam.get("/console").await.expect(200).text();
        assert!(first.contains("href=\"/console/doctor#nodes\""), "{first}");
        let nodes = adam.get("/console/doctor").await.expect(200).text();
        for words in ["root alone sees it", "Held for unfinished tasks", "$0.00008", "0.1.0"] {
            assert!(nodes.contains(words), "{words}: {nodes}");
        }
        // A task is its own, and no call of a node.
        let list = admin.get("/api/node").await;
        let node = &list[0];
        assert_eq!((&node["open_holds"], &node["held"]), (&json!(0), &json!(0)), "{node}");
        full.close().await;
    }

    async fn a_page_that_is_only_open_keeps_no_session(db: TestDb) {
        // Empty but for what the guide asks for, so that it waits for a call.
        let world = World::open(db).await;
        let admin = world.admin();
        world.channel(&["chat"], json!({})).await;
        admin.price("chat", fixed(5)).await;
        world.payer(500).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let waiting = root.get("/console").await.expect(200).text();
        assert!(waiting.contains("hx-trigger=\"every"), "{waiting}");
        world.close().await;
        let mut pages = BTreeMap::from([("the guide".to_owned(), waiting)]);

        let full = FullWorld::open(TestDb::sqlite().await).await;
        let root = Browser::login(&full.world.server, "root", ROOT_PASSWORD).await;
        // While the books are checked its page asks as well.
        root.send("/console/audit/run", "").await.expect(303);
        pages.insert("the audit".to_owned(), root.get("/console/audit").await.text());
        pages.extend(crawl(&root).await);
        let mut seen = 0;
        for (path, page) in &pages {
            for tag in page.split('<').filter_map(|piece| piece.split('>').next()) {
                let trigger = attributes(&format!(" {tag}"), "hx-trigger").pop();
                let trigger = trigger.unwrap_or_default();
                // What is typed is no page that asks by itself.
                let by_itself = ["every", "from:#live", "load delay"];
                let asks = by_itself.iter().any(|it| trigger.contains(it));
                if asks {
                    seen += 1;
                    assert!(tag.contains("X-Background"), "{path}: <{tag}>");
                }
            }
        }
        assert!(seen >= 2, "the guide and the tasks");
        full.close().await;
    }

    async fn a_task_says_when_it_is_asked_about_and_leads_to_its_results(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_POLL_INTERVAL", "1h")]).await;
        let admin = world.admin();
        let own = json!({ "protocol": "runway", "key": "up-key" });
        world.channel(&["gen4_turbo"], own).await;
        admin.price("gen4_turbo", fixed(40)).await;
        world.upstream.on("/v1/image_to_video", Reply::json(&json!({ "id": "rw-1" })));
        let asked = "/v1/tasks/rw-1";
        world.upstream.on(asked, Reply::json(&json!({ "id": "rw-1", "status": "RUNNING" })));
        let ann = world.payer(100).await;
        let body = json!({ "model": "gen4_turbo", "duration": 5,
            "promptImage": "https://x/i.png" });
        world.server.post("/v1/image_to_video", &ann.key, &body).await.expect(200);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        eventually("when it is asked about next", || async {
            let list = root.get("/console/tasks").await.expect(200).text();
            list.contains("asked next <time").then_some(())
        })
        .await;
        let done = json!({ "id": "rw-1", "status": "SUCCEEDED",
            "output": ["https://x/v.mp4?a=1&b=2", "javascript:alert(1)", "/etc/passwd"] });
        world.upstream.on(asked, Reply::json(&done));
        admin.post("/api/task/1/requeue", &json!({})).await;
        eventually("its end", || async {
            let list = root.get("/console/tasks").await.expect(200).text();
            (list.contains("completed") && !list.contains("asked next")).then_some(())
        })
        .await;
        let page = root.get("/console/tasks/1").await.expect(200).text();
        assert!(!page.contains("v.mp4"), "it is its owner's: {page}");
        let page = root.send("/console/tasks/1/reply", "").await.expect(200).text();
        let links = attributes(&page, "href");
        assert!(links.contains(&"https://x/v.mp4?a=1&b=2".to_owned()), "{links:?}");
        assert!(page.contains("rel=\"noopener noreferrer\""), "{page}");
        assert!(!links.iter().any(|to| to.contains("alert") || to.contains("passwd")), "{links:?}");
        world.close().await;
    }
}

on_sqlite! {
    async fn the_shown_command_is_of_a_model_that_its_key_reaches(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        admin.group(json!({ "group_name": "vip", "ratio": 0.5 })).await;
        world.upstream.on("/a-open", Reply::result(1, 1));
        world.upstream.on("/z-vip", Reply::result(1, 1));
        // Root's group reaches the one, the user's the other.
        world.channel(&["a-open"], json!({ "groups": ["office"] })).await;
        world.channel(&["z-vip"], json!({ "groups": ["vip"] })).await;
        admin.price("a-open", fixed(5)).await;
        admin.price("z-vip", fixed(5)).await;
        admin.put("/api/user/1", &json!({ "group": "office" })).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let ann = json!({ "username": "ann", "password": PASSWORD, "quota": 100, "group": "vip" });
        let ann = admin.user(ann).await;
        let made = root.send("/console/keys/new", "name=k&user_id=ann").await.expect(200).text();
        assert!(made.contains("/pass/z-vip"), "{made}");
        // So does the guide, while it waits for the first call.
        let guide = root.get("/console").await.expect(200).text();
        assert!(guide.contains("id=\"guide-call\"") && guide.contains("/pass/z-vip"), "{guide}");
        assert_eq!(admin.user_quota(ann).await, 100);
        world.close().await;
    }
}
