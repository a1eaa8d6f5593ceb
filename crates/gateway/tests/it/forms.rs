//! Forms that are encoded as a query is: what they name is priced, and they go on as they came.

use crate::world::{Payer, World, fixed};
use testkit::{Answer, Reply, TestDb, json, on_both_databases};

const KIND: &str = "application/x-www-form-urlencoded";

/// Pictures, of which a form says how many.
const PAINT: &str = r#"
name = "paint"
title = { zh = "画", en = "Paint" }

[auth]
header = "authorization"
value = "Bearer {key}"

[[route]]
match = "POST /v2/paint"
model = "body:/engine"
reply = "json"
refuse = [{ at = "/callback", why = { zh = "不可", en = "no callback" } }]

[hold.units]
images = ["/count", "default:1"]
seconds = ["/film/length", "default:1"]
characters = "/text/#"
"#;

async fn painter(db: TestDb) -> (World, Payer) {
    let world = World::open(db).await;
    world.admin().post("/api/protocol", &json!({"document": PAINT})).await;
    let channel = json!({
        "protocol": "paint", "key": "up-key", "model_mapping": {"brush": "Brush 2/x"},
    });
    world.channel(&["oil", "brush", "ink", "film"], channel).await;
    let tiers = json!([{"at": "body:/size", "is": "big", "factor": 3}]);
    let price = json!({"units": {"images": 10}, "tiers": tiers});
    world.admin().price("oil", price.clone()).await;
    world.admin().price("brush", price).await;
    world.admin().price("ink", json!({"units": {"characters": 2}})).await;
    let tiers = json!([{"at": "body:/film/format", "is": "4k", "factor": 5}]);
    world.admin().price("film", json!({"units": {"seconds": 10}, "tiers": tiers})).await;
    world.upstream.on("/v2/paint", Reply::json(&json!({"ok": true})));
    let ann = world.payer(10_000).await;
    (world, ann)
}

async fn paint(world: &World, ann: &Payer, form: impl Into<Vec<u8>>) -> Answer {
    let call = world.server.call("POST", "/pass/v2/paint").key(&ann.key);
    call.header("content-type", KIND).body(form.into()).send().await
}

on_both_databases! {
    async fn a_form_is_priced_by_its_fields_and_goes_on_as_it_came(db: TestDb) {
        let (world, ann) = painter(db).await;
        let mut used = 0;
        for (form, sent, cost) in [
            ("engine=oil&count=3&x=%zz+%20", None, 30),
            ("engine=oil", None, 10),
            ("count=2&size=BIG&engine=oil", None, 60),
            ("engine=%6Fil&count=%32", None, 20),
            // To some it is the count, so it costs as much.
            ("engine=oil&count[]=9", None, 90),
            ("engine=ink&text=Guten+Tag%21", None, 20),
            ("engine=ink&text=日本", None, 4),
            ("engine=film&note[a]=b&x.y=z", None, 10),
            ("a=1&engine=brush&count=2", Some("a=1&engine=Brush%202%2Fx&count=2"), 20),
        ] {
            let answer = paint(&world, &ann, form).await.expect(200);
            assert_eq!(answer.header("X-Newapi-Quota"), Some(cost.to_string()), "{form}");
            let asked = world.upstream.requests().await;
            let last = asked.last().unwrap();
            assert_eq!(last.text(), sent.unwrap_or(form));
            assert_eq!(last.header("content-type").as_deref(), Some(KIND));
            used += cost;
            world.wait_for_money(&ann, 10_000 - used, used).await;
        }
        world.close().await;
    }

    async fn a_form_that_two_readers_read_apart_is_refused(db: TestDb) {
        let (world, ann) = painter(db).await;
        for (form, status) in [
            ("engine=oil&engine=brush", 400),
            ("Engine=oil", 400),
            ("engine=oil&engine[]=brush", 400),
            ("engine=oil&engine.x=brush", 400),
            ("engine=oil;engine=brush", 400),
            ("a=1;engine=oil", 400),
            ("engine=oil&count=1&count=9", 400),
            ("engine=oil&count=1;count=9", 400),
            ("engine=oil&COUNT=9", 400),
            ("engine=oil&count=%zz", 400),
            ("engine=oil&count=-1", 400),
            ("engine=oil&count=many", 400),
            ("engine=ink&text=%zz", 400),
            ("engine=ink&text=a%00b", 400),
            // What is deeper is not read here, and may be by others.
            ("engine=film&film[length]=8", 400),
            ("engine=film&film[format]=4k", 400),
            ("engine=film&film.length=8", 400),
            ("engine=film&film%255Blength%255D=8", 400),
            ("engine=oil&count%00=9", 400),
            ("engine=oil&callback%00=https://x", 400),
            ("engine=oil&callback[%zz]=y", 400),
            ("engine=oil&callback[x]=y", 400),
            ("engine=oil&callback.x=y", 400),
            ("engine=oil&count=99999999999", 400),
            ("engine=oil&size=big&size=small", 400),
            ("engine=oil&size=small;size=big", 400),
            ("engine=oil&callback=https://x", 400),
            ("engine=oil&_charset_=utf-7", 400),
            ("count=1", 400),
            ("", 400),
            (r#"{"a":"&engine=oil&b=","engine":"brush"}"#, 415),
            ("[1]&engine=oil", 415),
        ] {
            let answer = paint(&world, &ann, form).await;
            assert_eq!(answer.status, status, "{form}: {}", answer.text());
        }
        // Nor is the name of a field in quotes in every form.
        let part = |name: &str| {
            format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\noil\r\n")
        };
        let call = world.server.call("POST", "/pass/v2/paint").key(&ann.key);
        let call = call.header("content-type", "multipart/form-data; boundary=b");
        let form = format!("{}{}--b--\r\n", part("engine"), part("callback"));
        call.body(form).send().await.expect(400);
        let many = format!("{}engine=oil", "a=1&".repeat(1000));
        paint(&world, &ann, many).await.expect(400);
        paint(&world, &ann, &b"engine=oil&a=\xff"[..]).await.expect(400);
        let call = world.server.call("POST", "/pass/v2/paint").key(&ann.key);
        let call = call.header("content-type", format!("{KIND}; charset=latin1"));
        call.body("engine=oil").send().await.expect(415);
        assert_eq!(world.upstream.count(), 0);
        assert_eq!(world.money(&ann).await.used, 0);
        world.close().await;
    }

    async fn a_form_names_its_model_under_v1(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["whisper"], json!({"protocol": "openai", "key": "up-key"})).await;
        world.admin().price("whisper", fixed(7)).await;
        world.upstream.on("/v1/audio/speech", Reply::bytes("audio/mpeg", "ID3"));
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/v1/audio/speech").key(&ann.key);
        let call = call.header("content-type", KIND).body("model=whisper&input=hi");
        assert_eq!(call.send().await.expect(200).header("X-Newapi-Quota").as_deref(), Some("7"));
        world.close().await;
    }
}
