//! Paths that several APIs have, and of which each reads a call in its own way: what was priced is
//! what the document of the channel reads that got it.

use crate::vendor_tasks::NEVER;
use crate::world::{Payer, World, fixed};
use protocol::{Library, PriceWord, Protocol, ValueSource};
use serde_json::Value;
use testkit::{
    Answer, Recorded, Reply, Signal, TestDb, Upstream, eventually, json, on_both_databases,
};

/// A reply that all of them take for a result, and for the report of a task that is done.
fn reply(id: &str) -> Reply {
    let data = json!({"task_id": id, "task_status": "succeed"});
    Reply::json(&json!({"id": id, "code": 0, "message": "ok", "status": "completed",
        "data": data, "results": [{"index": 0, "relevance_score": 0.5}], "choices": []}))
}

/// A channel to an upstream of its own, which tells it from others.
async fn channel(world: &World, protocol: &str, models: &[&str]) -> Upstream {
    preferred(world, (protocol, 0), models).await
}

/// The same, with a priority.
async fn preferred(world: &World, (protocol, priority): (&str, i64), models: &[&str]) -> Upstream {
    let upstream = Upstream::start().await;
    let name = protocol.to_owned();
    upstream.otherwise_handle(move |request| match request.method.as_str() {
        "GET" => reply(request.path().rsplit('/').next().unwrap()),
        _ => reply(&format!("{name}-{}", request.index)),
    });
    let extra = json!({"protocol": protocol, "key": "up-key", "priority": priority});
    world.admin().channel_to(&upstream, models, extra).await;
    upstream
}

/// What clients have sent there: a new task is soon asked about as well.
async fn calls(upstream: &Upstream) -> Vec<Recorded> {
    let mut requests = upstream.requests().await;
    requests.retain(|request| request.method != "GET");
    requests
}

/// Tasks are reported as done.
async fn settled(world: &World) {
    eventually("all tasks to end", || async {
        world.server.signal(Signal::USR1);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        (world.open_holds().await == 0).then_some(())
    })
    .await;
}

/// OpenAI's, at an upstream that counts other members as text.
const OTHER_HOLD: &str = r#"
name = "other-hold"
base = "openai"
title = { zh = "其他", en = "Other" }

[hold]
input = ["/messages", "/context"]
"#;

const IMAGES: &str = "/v1/images/generations";

on_both_databases! {
    async fn a_model_is_priced_by_the_member_that_its_channel_reads(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let kling = channel(&world, "kling", &["kling-cheap", "kling-dear"]).await;
        world.admin().price("kling-cheap", fixed(3)).await;
        world.admin().price("kling-dear", fixed(500)).await;
        let ann = world.payer(10_000).await;
        let limited = json!({"model_limits_enabled": true, "model_limits": ["kling-cheap"]});
        let limited = world.key(&ann, limited).await;
        let both = json!({"model": "kling-cheap", "model_name": "kling-dear", "prompt": "x"});
        let turned = json!({"model": "kling-dear", "model_name": "kling-cheap", "prompt": "x"});
        for path in [IMAGES, "/pass/v1/images/generations"] {
            world.server.post(path, &limited.key, &both).await.expect(403);
            assert_eq!(kling.count(), 0, "{path}");
            let dear = world.server.post(path, &ann.key, &both).await.expect(200);
            assert_eq!(dear.header("X-Newapi-Quota").as_deref(), Some("500"), "{path}");
            let cheap = world.server.post(path, &limited.key, &turned).await.expect(200);
            assert_eq!(cheap.header("X-Newapi-Quota").as_deref(), Some("3"), "{path}");
            kling.forget();
        }
        settled(&world).await;
        assert_eq!(world.money(&ann).await.used, 2 * 503);
        world.close().await;
    }

    async fn each_of_two_apis_with_a_path_gets_its_own_calls(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let openai = channel(&world, "openai", &["dall-e-2", "gpt-image"]).await;
        let kling = channel(&world, "kling", &["kling-v1", "kling-v2"]).await;
        for model in ["dall-e-2", "gpt-image", "kling-v1", "kling-v2"] {
            world.admin().price(model, fixed(3)).await;
        }
        let ann = world.payer(10_000).await;
        let counts = async || (calls(&openai).await.len(), calls(&kling).await.len());
        for (body, expected) in [
            // As Kling's documentation has it.
            (json!({"model_name": "kling-v2", "prompt": "x"}), (0, 1)),
            (json!({"model": "gpt-image", "prompt": "x"}), (1, 1)),
            // Who names none means OpenAI's, whose default is served.
            (json!({"prompt": "x"}), (2, 1)),
            (json!({"model": "kling-v2", "prompt": "x"}), (2, 2)),
        ] {
            world.server.post(IMAGES, &ann.key, &body).await.expect(200);
            assert_eq!(counts().await, expected, "{body}");
        }
        // What no channel reads is refused, and not sent.
        let none = json!({"model_name": "gpt-image", "model": "kling-v9", "prompt": "x"});
        world.server.post(IMAGES, &ann.key, &none).await.expect(404);
        assert_eq!(counts().await, (2, 2));
        settled(&world).await;
        world.close().await;
    }

    async fn a_path_that_is_a_model_is_not_sold_as_another_call(db: TestDb) {
        let world = World::open(db).await;
        let http = channel(&world, "http", &["v1/files", "v1/moderations"]).await;
        world.admin().price("v1/files", fixed(7)).await;
        world.admin().price("v1/moderations", fixed(1)).await;
        let ann = world.payer(10_000).await;
        let quota = |answer: &Answer| answer.header("X-Newapi-Quota");

        let free = world.server.post("/v1/files?model=v1/files", &ann.key, &json!({})).await;
        assert!(free.status >= 400, "{}", free.text());
        let cheap = json!({"model": "v1/moderations", "prompt": "x"});
        world.server.post(IMAGES, &ann.key, &cheap).await.expect(404);
        assert_eq!(http.count(), 0);
        for path in ["/v1/files", "/pass/v1/files"] {
            let paid = world.server.post(path, &ann.key, &json!({"a": 1})).await.expect(200);
            assert_eq!(quota(&paid).as_deref(), Some("7"), "{path}");
        }
        world.close().await;
    }

    async fn priorities_hold_across_the_apis_that_have_a_path(db: TestDb) {
        let world = World::open(db).await;
        let openai = preferred(&world, ("openai", 0), &["rr", "held"]).await;
        let cohere = preferred(&world, ("cohere", 10), &["rr"]).await;
        let other = OTHER_HOLD.to_owned();
        world.admin().post("/api/protocol", &json!({"document": other})).await;
        let own = preferred(&world, ("other-hold", 10), &["held"]).await;
        for model in ["rr", "held"] {
            world.admin().price(model, fixed(3)).await;
        }
        let ann = world.payer(10_000).await;
        let rerank = json!({"model": "rr", "query": "x", "documents": ["y"]});
        let chat = json!({"model": "held", "messages": []});
        for (path, body, upstream) in
            [("/v1/rerank", &rerank, &cohere), ("/v1/chat/completions", &chat, &own)]
        {
            world.server.post(path, &ann.key, body).await.expect(200);
            assert_eq!((upstream.count(), openai.count()), (1, 0), "{path}");
        }
        // Who differs in what is held alone stands in for the other.
        own.on("/v1/chat/completions", Reply::text("busy").status(429));
        world.server.post("/v1/chat/completions", &ann.key, &chat).await.expect(200);
        assert_eq!((own.count(), openai.count()), (2, 1));
        world.close().await;
    }

    async fn an_own_document_is_obeyed_on_a_path_of_another(db: TestDb) {
        let world = World::open(db).await;
        world.admin().post("/api/protocol", &json!({"document": PAINTER})).await;
        let painter = channel(&world, "painter", &["brush"]).await;
        let openai = channel(&world, "openai", &["gpt"]).await;
        world.admin().price("brush", json!({"units": {"images": 10}})).await;
        world.admin().price("gpt", fixed(1)).await;
        let ann = world.payer(10_000).await;
        let post = async |path: &str, body: &Value| world.server.post(path, &ann.key, body).await;

        // Its model, and its units.
        let body = json!({"engine": "brush", "model": "gpt-9", "pieces": 3});
        let paid = post("/v1/chat/completions", &body).await.expect(200);
        assert_eq!(paid.header("X-Newapi-Quota").as_deref(), Some("30"));
        // What it refuses, and what it says is not free.
        let refused = json!({"engine": "brush", "pieces": 3, "gold": true});
        post("/v1/chat/completions", &refused).await.expect(400);
        let counted = post("/v1/messages/count_tokens", &body).await.expect(200);
        assert_eq!(counted.header("X-Newapi-Quota").as_deref(), Some("30"));
        assert_eq!((painter.count(), openai.count()), (2, 0));
        // OpenAI's own calls go on as they were.
        post("/v1/chat/completions", &json!({"model": "gpt"})).await.expect(200);
        assert_eq!((painter.count(), openai.count()), (2, 1));
        world.close().await;
    }

    async fn a_path_of_a_document_that_reads_more_is_no_bare_model(db: TestDb) {
        let world = World::open(db).await;
        world.admin().post("/api/protocol", &json!({"document": WATCHED})).await;
        let watched = channel(&world, "watched", &["do/this"]).await;
        // A pattern that the path of a vendor fits, too.
        let any = channel(&world, "openai", &["*/*/*"]).await;
        world.admin().price("do/this", fixed(5)).await;
        world.admin().price("a/b/dear", fixed(500)).await;
        let ann = world.payer(10_000).await;

        let refused = json!({"gold": true});
        world.server.post("/pass/do/this", &ann.key, &refused).await.expect(400);
        assert_eq!(watched.count(), 0);
        let paid = world.server.post("/pass/do/this", &ann.key, &json!({})).await.expect(200);
        assert_eq!(paid.header("X-Newapi-Quota").as_deref(), Some("5"));
        let dear = json!({"model": "a/b/dear", "messages": []});
        let path = "/pass/v1/chat/completions";
        let paid = world.server.post(path, &ann.key, &dear).await.expect(200);
        assert_eq!(paid.header("X-Newapi-Quota").as_deref(), Some("500"));
        assert_eq!(any.count(), 1);
        world.close().await;
    }

    async fn what_is_priced_is_what_the_channel_s_document_reads(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let library = Library::builtin().unwrap();
        let shared = shared(library);
        assert!(shared.len() >= 5, "{shared:?}");
        let mut vendors: Vec<Vendor> = Vec::new();
        for name in shared.iter().flat_map(|it| [it.one.as_str(), it.other.as_str()]) {
            if !vendors.iter().any(|known| known.name == name) {
                let price = 3 + 2 * i64::try_from(vendors.len()).unwrap();
                vendors.push(Vendor::open(&world, name, price).await);
            }
        }
        let ann = world.payer(1_000_000).await;
        for path in &shared {
            for name in [&path.one, &path.other] {
                let own = vendors.iter().find(|it| it.name == *name).unwrap();
                let protocol = library.get(name).unwrap();
                let Some(call) = own.call(protocol, path) else { continue };
                for body in call.bodies(&vendors) {
                    try_call(&world, &ann, (&vendors, path), (&call.query, &body)).await;
                }
                // Its own clients' calls arrive there.
                let before = calls(&own.upstream).await.len();
                let target = format!("{}{}", path.path, call.query);
                let answer = world.server.post(&target, &ann.key, &call.plain).await;
                assert_eq!(answer.status, 200, "{name} {path:?}: {}", answer.text());
                assert_eq!(calls(&own.upstream).await.len(), before + 1, "{name} {path:?}");
            }
        }
        settled(&world).await;
        world.close().await;
    }
}

/// One that reads paths of others in its own way.
const PAINTER: &str = r#"
name = "painter"
title = { zh = "画", en = "Painter" }

[auth]
header = "x-key"

[[refuse]]
at = "/gold"
why = { zh = "不可以", en = "no gold" }

[[route]]
match = ["POST /v1/chat/completions", "POST /v1/messages/count_tokens"]
model = "body:/engine"
reply = "json"

[hold.units]
images = "/pieces"
"#;

/// One whose path is the model, and that refuses something all the same.
const WATCHED: &str = r#"
name = "watched"
title = { zh = "看", en = "Watched" }

[auth]
header = "x-key"

[[refuse]]
at = "/gold"
why = { zh = "不可以", en = "no gold" }

[[route]]
match = "* /{+model}"
model = "path"
"#;

/// A call that two documents have, and read otherwise.
#[derive(Debug, PartialEq, Eq)]
struct Shared {
    path: String,
    one: String,
    other: String,
}

/// All of them, of the documents that are built in. Those that have every path are none.
fn shared(library: &Library) -> Vec<Shared> {
    let mut found = Vec::new();
    let has_own_paths = |it: &&std::sync::Arc<Protocol>| {
        let patterns = it.routes.iter().flat_map(|route| &route.patterns);
        !patterns.into_iter().any(|pattern| pattern.to_string().contains(" /{+"))
    };
    let documents: Vec<_> = library.iter().filter(has_own_paths).collect();
    for one in &documents {
        let routes = one.routes.iter().filter(|it| it.protocol == one.name);
        for pattern in routes.flat_map(|route| &route.patterns) {
            let Some(path) = posted(&pattern.to_string()) else { continue };
            let read = one.route("POST", &path).unwrap();
            for other in &documents {
                let is_own = |it: &protocol::RouteMatch<'_>| it.route.protocol == other.name;
                let Some(its) = other.route("POST", &path).filter(is_own) else { continue };
                let is_known = found.iter().any(|it: &Shared| {
                    it.path == path
                        && [&it.one, &it.other].contains(&&other.name.to_string())
                        && [&it.one, &it.other].contains(&&one.name.to_string())
                });
                if one.name != other.name && !read.route.reads_as(its.route) && !is_known {
                    let (one, other) = (one.name.to_string(), other.name.to_string());
                    found.push(Shared { path: path.clone(), one, other });
                }
            }
        }
    }
    found
}

/// A path of a pattern that is posted to, without an id in it.
fn posted(pattern: &str) -> Option<String> {
    let (methods, path) = pattern.split_once(' ')?;
    let is_posted = methods == "*" || methods.split('|').any(|it| it == "POST");
    (is_posted && !path.contains(['{', '*'])).then(|| path.to_owned())
}

/// A document, a channel of it, and the model that it alone serves.
struct Vendor {
    name: String,
    model: String,
    price: i64,
    upstream: Upstream,
}

/// A call in the words of one document.
struct VendorCall {
    query: String,
    /// As its documentation has it.
    plain: Value,
    members: Vec<String>,
}

impl Vendor {
    async fn open(world: &World, name: &str, price: i64) -> Self {
        let model = format!("{name}-model");
        let upstream = channel(world, name, &[&model]).await;
        world.admin().price(&model, fixed(price)).await;
        Self { name: name.to_owned(), model, price, upstream }
    }

    /// Nothing, of a call that names no model.
    fn call(&self, protocol: &Protocol, shared: &Shared) -> Option<VendorCall> {
        let route = protocol.route("POST", &shared.path)?.route;
        let members: Vec<String> =
            route.model.iter().filter_map(|it| Some(it.form_field()?.to_owned())).collect();
        let query = route.model.iter().find_map(|source| match source {
            ValueSource::Query(name) => Some(format!("?{name}={}", self.model)),
            _ => None,
        });
        let plain = match members.first() {
            Some(member) => json!({"prompt": "x", (member.as_str()): self.model}),
            None => json!({"prompt": "x"}),
        };
        let names_one = query.is_some() || !members.is_empty();
        names_one.then(|| VendorCall { query: query.unwrap_or_default(), plain, members })
    }
}

impl VendorCall {
    /// Bodies that name each of the models by each of the members, and some by two of them.
    fn bodies(&self, vendors: &[Vendor]) -> Vec<Value> {
        let mut bodies = vec![json!({"prompt": "x"})];
        let mut members: Vec<&str> = self.members.iter().map(String::as_str).collect();
        members.extend(["model", "model_name"]);
        for one in vendors {
            for member in &members {
                bodies.push(json!({"prompt": "x", (*member): one.model}));
            }
            for other in vendors {
                bodies.push(json!({"prompt": "x", "model": one.model, "model_name": other.model}));
            }
        }
        bodies
    }
}

/// Makes a call, and asks the document of whoever got it what it has to cost.
async fn try_call(
    world: &World,
    ann: &Payer,
    (vendors, shared): (&[Vendor], &Shared),
    (query, body): (&str, &Value),
) {
    for vendor in vendors {
        vendor.upstream.forget();
    }
    let target = format!("{}{query}", shared.path);
    let answer = world.server.post(&target, &ann.key, body).await;
    let library = Library::builtin().unwrap();
    for vendor in vendors {
        for request in calls(&vendor.upstream).await {
            let protocol = library.get(&vendor.name).unwrap();
            let found = protocol.route(&request.method, request.path()).unwrap();
            let sent = request.text();
            let read = found.route.read_request(&found.captures, "", sent.as_bytes());
            let price_of =
                |model: String| vendors.iter().find(|it| it.model == model).map(|it| it.price);
            let price = match found.route.price {
                PriceWord::Free => None,
                _ => read.model.and_then(price_of),
            };
            let charged = answer.header("X-Newapi-Quota").and_then(|text| text.parse().ok());
            assert_eq!(charged, price, "{}: {target} {body} sent as {sent}", vendor.name);
        }
    }
}
