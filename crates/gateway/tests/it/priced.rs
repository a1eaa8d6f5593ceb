//! What is priced is what runs: nothing that a client declares about its body makes an upstream
//! read another model than the one that was paid for, or skips an estimate.

use crate::world::{Payer, World, by_use, fixed};
use testkit::{Answer, Call, Reply, TestDb, json, on_both_databases};

const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data; boundary=b";

/// A world with a cheap and a dear model, under `/v1` and `/pass`.
async fn two_models(db: TestDb) -> World {
    let world = World::open(db).await;
    world.upstream.otherwise(Reply::json(&json!({"choices": []})));
    world.channel(&["cheap", "dear"], json!({})).await;
    world.admin().price("cheap", fixed(1)).await;
    world.admin().price("dear", fixed(1_000)).await;
    world
}

fn v1(world: &World, payer: &Payer, types: &[&str], body: impl Into<Vec<u8>>) -> Call {
    let call = world.server.call("POST", "/v1/chat/completions").key(&payer.key);
    types.iter().fold(call, |call, one| call.header("Content-Type", one)).body(body.into())
}

/// A part of a form with the boundary `b`.
fn part(headers: &str, value: &str) -> String {
    format!("--b\r\n{headers}\r\n\r\n{value}\r\n")
}

fn named(name: &str, value: &str) -> String {
    part(&format!("Content-Disposition: form-data; {name}"), value)
}

fn form(parts: &[String]) -> String {
    format!("{}--b--\r\n", parts.concat())
}

fn cheap_form() -> String {
    form(&[named("name=\"model\"", "cheap")])
}

/// A gzip file whose header has a comment: what does not decompress reads the comment.
fn gzip_with_comment(comment: &str, plain: &[u8]) -> Vec<u8> {
    let mut file = testkit::upstream::gzip(plain);
    assert_eq!(file[3], 0, "no flags yet");
    file[3] = 0x10;
    let comment = comment.bytes().chain([0]);
    file.splice(10..10, comment);
    file
}

/// Refused for its media type, with the way out.
fn refused_415(what: &str, answer: Answer) {
    assert_eq!(answer.status, 415, "{what}: {}", answer.text());
    let answer = answer.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let text = answer.text();
    assert!(text.contains("application/json") && text.contains("multipart/form-data"), "{text}");
}

on_sqlite! {
    async fn a_media_type_that_two_readers_read_apart_is_refused(db: TestDb) {
        let world = two_models(db).await;
        let ann = world.payer(10_000).await;
        let cheap = r#"{"model":"cheap","a":"&model=dear&b="}"#;
        for types in [
            &[][..],
            &["application/x-www-form-urlencoded"],
            &["text/plain"],
            &["text/json"],
            &["application/octet-stream"],
            &["application/jsonp"],
            &["application/json; charset=utf-7"],
            &["application/json; charset=utf-16"],
            &["application/json; charset=\"utf-7\""],
            &["application/json; charset=utf-8; charset=utf-7"],
            &["application/json; charset*=utf-7''utf-8"],
            &["application/json; charset*0=utf-; charset*1=7"],
            &["application/json; a=\"; charset=utf-7\""],
            &["application/json; charset = utf-7"],
            &["application/json, text/plain"],
            &["application/json; charset"],
            &["application/json\u{e9}"],
            &[JSON, JSON],
            &[JSON, "application/json; charset=utf-7"],
            &[JSON, FORM],
        ] {
            refused_415(&format!("{types:?}"), v1(&world, &ann, types, cheap).send().await);
        }
        for types in [
            &["multipart/form-data; boundary=b; boundary*=us-ascii''evil"][..],
            &["multipart/form-data; boundary*=us-ascii''evil; boundary=b"],
            &["multipart/form-data; boundary=b; boundary*0=ev; boundary*1=il"],
            &["multipart/form-data; boundary=b; boundary=evil"],
            &["multipart/form-data; boundary=b; x=\"; boundary=evil\""],
            &["multipart/form-data; boundary=b; charset=utf-7"],
            &["multipart/form-data; boundary=\"\\b\""],
            &["multipart/form-data; boundary=b/evil"],
            &["multipart/form-data"],
            &["multipart/mixed; boundary=b"],
            &["multipart/related; boundary=b"],
            &[FORM, FORM],
            &[FORM, "multipart/form-data; boundary=evil"],
        ] {
            refused_415(&format!("{types:?}"), v1(&world, &ann, types, cheap_form()).send().await);
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn a_body_that_two_readers_read_apart_is_refused(db: TestDb) {
        // R43.
        let world = two_models(db).await;
        let ann = world.payer(10_000).await;
        let utf_16: Vec<u8> =
            r#"{"model":"cheap"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for body in [
            &b"\xef\xbb\xbf{\"model\":\"cheap\"}"[..],
            &utf_16,
            b"{\"model\":\"cheap\",\"Model\":\"dear\"}",
            b"{\"model\":\"cheap\",\"\\u006dodel\":\"dear\"}",
            b"{\"model\":\"cheap\",\"model \":\"dear\"}",
            b"{\"model\":\"cheap\",\"model\\u0000\":\"dear\"}",
            b"{\"model\":\"cheap\",\"\\tmodel\":\"dear\"}",
            b"{\"model\":\"cheap\",\"[model]\":\"dear\"}",
            b"{\"model\":\"cheap\"}{\"model\":\"dear\"}",
            b"{\"model\":\"cheap\",/*\"*/\"a\":1}",
            b"[{\"model\":\"cheap\"}]",
        ] {
            let answer = v1(&world, &ann, &[JSON], body).send().await;
            assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
        }
        let cheap = named("name=\"model\"", "cheap");
        for dear in [
            named("name=\"mod\\el\"", "dear"),
            named("name=\"Model\"", "dear"),
            named("name=\"mod%65l\"", "dear"),
            named("name=\" model\"", "dear"),
            named("name=\"[model]\"", "dear"),
            named("name=\"[model\"", "dear"),
            named("name=\"%5Bmodel%5D\"", "dear"),
            named("name=\".model\"", "dear"),
            named("name=\"model\"; filename=\"x\"", "dear"),
            named("name*0=\"mod\"; name*1=\"el\"", "dear"),
            named("name*=us-ascii''model", "dear"),
            named("x=\"; name=model\"; name=\"other\"", "dear"),
            named("filename=\"; name=model\"; name=\"other\"", "dear"),
            named("name=\"=?utf-8?B?bW9kZWw=?=\"", "dear"),
            named("name=\"other\"; name=\"model\"", "dear"),
            named("name =\"model\"", "dear"),
            part("Content-Disposition: form-data; name=\"a\"\r\n x: y; name=\"model\"", "dear"),
            named("name=\"_charset_\"", "utf-7"),
            part(
                "Content-Disposition: form-data; name=\"a\"\r\n\
                 Content-Type: Multipart/Mixed; boundary=c",
                "--c\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ndear\r\n--c--",
            ),
        ] {
            for parts in [[dear.clone(), cheap.clone()], [cheap.clone(), dear.clone()]] {
                let answer = v1(&world, &ann, &[FORM], form(&parts)).send().await;
                assert_eq!(answer.status, 400, "{dear}: {}", answer.text());
            }
        }
        for headers in [
            "Content-Type: text/plain; charset=utf-16le",
            "Content-Type: application/json",
            "Content-Type: multipart/mixed; boundary=c",
            "Content-Transfer-Encoding: base64",
        ] {
            let odd = format!("Content-Disposition: form-data; name=\"model\"\r\n{headers}");
            let answer = v1(&world, &ann, &[FORM], form(&[part(&odd, "cheap")])).send().await;
            assert_eq!(answer.status, 400, "{headers}: {}", answer.text());
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn a_model_that_is_spelt_otherwise_is_no_default(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.otherwise(Reply::json(&json!({"choices": []})));
        let defaults = ["omni-moderation-latest", "dall-e-2", "sora-2", "dear"];
        world.channel(&defaults, json!({})).await;
        world.channel(&defaults, json!({"protocol": "openai"})).await;
        for model in defaults {
            world.admin().price(model, fixed(1)).await;
        }
        let ann = world.payer(10_000).await;
        for path in [
            "/v1/moderations", "/v1/images/generations", "/v1/images/edits",
            "/v1/images/variations", "/v1/videos",
        ] {
            for key in ["MODEL", "Model", " model", "\\u004dodel", "model\\u0000", "model[]"] {
                let body = format!("{{\"{key}\":\"dear\",\"input\":\"x\"}}");
                let call = world.server.call("POST", path).key(&ann.key);
                let answer = call.header("Content-Type", JSON).body(body).send().await;
                assert_eq!(answer.status, 400, "{path} {key}: {}", answer.text());
            }
            for name in ["MODEL", " model", "model[]", "mod%65l", "[model]"] {
                let body = form(&[named(&format!("name=\"{name}\""), "dear")]);
                let call = world.server.call("POST", path).key(&ann.key);
                let answer = call.header("Content-Type", FORM).body(body).send().await;
                assert_eq!(answer.status, 400, "{path} {name}: {}", answer.text());
            }
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn a_model_in_the_query_is_refused(db: TestDb) {
        let world = two_models(db).await;
        let ann = world.payer(10_000).await;
        for query in
            ["model=dear", "a=1&Model=dear", "mod%65l=dear", "model[]=dear", "a;model=dear",
             "[model]=dear", "%5Bmodel%5D=dear"]
        {
            for (kind, body) in [(FORM, cheap_form()), (JSON, r#"{"model":"cheap"}"#.to_owned())] {
                let target = format!("/v1/chat/completions?{query}");
                let call = world.server.call("POST", &target).key(&ann.key);
                let answer = call.header("Content-Type", kind).body(body).send().await;
                answer.expect_error(400, "INVALID_REQUEST");
            }
        }
        assert_eq!(world.upstream.count(), 0);
        // Where the path names the model, the query belongs to the upstream.
        let call = world.server.call("POST", "/pass/cheap?model=dear").key(&ann.key);
        call.json(&json!({})).send().await.expect(200);
        world.close().await;
    }

    async fn nothing_that_is_read_passes_in_another_spelling(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.otherwise(Reply::json(&json!({"choices": []})));
        for (model, protocol) in
            [("gpt", "openai"), ("claude", "anthropic"), ("gem", "gemini"), ("m", "custompass")]
        {
            world.channel(&[model], json!({"protocol": protocol})).await;
            world.admin().price(model, by_use()).await;
        }
        let tiers = json!([{"at": "body:/size", "is": "1792x1024", "factor": 4}]);
        for model in ["gpt", "m"] {
            world.admin().price(model, json!({"ratio": 1, "tiers": tiers})).await;
        }
        let ann = world.payer(1_000_000).await;
        let message =
            r#"{"custom_id":"a","params":{"model":"claude","max_tokens":9,"messages":[]}}"#;
        let part = |part: &str| {
            format!(r#"{{"model":"gpt","input":[{{"role":"user","content":[{part}]}}]}}"#)
        };
        let of_gpt = |more: &str| format!(r#"{{"model":"gpt","messages":[],{more}}}"#);
        for (path, body) in [
            ("/v1/chat/completions", of_gpt(r#""max_tokens":1,"Max_Tokens":100000"#)),
            ("/v1/chat/completions", of_gpt(r#""max_tokens":1,"max_token\u017f":100000"#)),
            ("/v1/chat/completions", of_gpt("\"max_tokens\":1,\"max_to\u{212a}ens\":100000")),
            ("/v1/chat/completions", of_gpt(r#""Messages":[{"role":"user","content":"long"}]"#)),
            ("/v1/chat/completions", of_gpt(r#""size":"256x256","ſize":"1792x1024""#)),
            ("/v1/responses", r#"{"model":"gpt","input":"x","Background":true}"#.to_owned()),
            ("/v1/responses", part(r#"{"type":"input_file","File_id":"file-of-another"}"#)),
            ("/v1/responses", part(r#"{"type":"input_file","fıle_id":"file-of-another"}"#)),
            ("/v1/messages/batches", format!(r#"{{"requests":[{message}],"Requests":[]}}"#)),
            (
                "/v1/messages/batches",
                format!(r#"{{"requests":[{message}]}}"#)
                    .replace(r#""params""#, r#""Params":{"model":"x"},"params""#),
            ),
            (
                "/v1/messages/batches",
                format!(r#"{{"requests":[{message}]}}"#).replace(r#""max"#, r#""Model":"x","max"#),
            ),
            ("/pass/m", r#"{"size":"256x256","ſize":"1792x1024"}"#.to_owned()),
            ("/pass/m", r#"{"size":"256x256","[size]":"1792x1024"}"#.to_owned()),
        ] {
            let call = world.server.call("POST", path).key(&ann.key).header("Content-Type", JSON);
            let call = call.header("Anthropic-Version", "2023-06-01");
            let answer = call.body(body.clone()).send().await;
            assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text());
        }
        for name in ["[size]", "size[]", "SIZE", "%5Bsize%5D"] {
            let other = named(&format!("name=\"{name}\""), "1792x1024");
            let parts = [named("name=\"size\"", "256x256"), other];
            let call = world.server.call("POST", "/pass/m").key(&ann.key);
            let answer = call.header("Content-Type", FORM).body(form(&parts)).send().await;
            assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        }
        // An id is its maker's, however its member is spelt.
        let uri = "https://generativelanguage.googleapis.com/v1beta/files/of-another";
        let data = json!({"FileData": {"FILEURI": uri}});
        let body = json!({"contents": [{"role": "user", "parts": [data]}]});
        let call = world.server.call("POST", "/v1beta/models/gem:generateContent").key(&ann.key);
        call.json(&body).send().await.expect(404);
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn a_compressed_body_is_sent_on_as_it_was_read(db: TestDb) {
        let world = two_models(db).await;
        let ann = world.payer(10_000).await;
        // To a reader that does not decompress, a preamble and then a form with another model.
        let dear = format!("\r\n{}", form(&[named("name=\"model\"", "dear")]));
        let body = gzip_with_comment(&dear, cheap_form().as_bytes());
        let call = v1(&world, &ann, &[FORM], body).header("Content-Encoding", "gzip");
        call.send().await.expect(200);
        let cheap = r#"{"model":"cheap"}"#;
        let body = testkit::upstream::gzip(cheap.as_bytes());
        let call = v1(&world, &ann, &[JSON], body.clone()).header("Content-Encoding", "gzip");
        call.send().await.expect(200);

        let requests = world.upstream.requests().await;
        assert_eq!(requests[0].text(), cheap_form());
        assert_eq!(requests[1].text(), cheap);
        assert!(requests.iter().all(|one| one.header("Content-Encoding").is_none()));
        let twice = v1(&world, &ann, &[JSON], body).header("Content-Encoding", "gzip");
        let twice = twice.header("Content-Encoding", "gzip");
        assert_eq!(twice.send().await.status, 400);
        assert_eq!(world.money(&ann).await.used, 2);
        world.close().await;
    }

    async fn what_honest_clients_send_passes(db: TestDb) {
        let world = two_models(db).await;
        let ann = world.payer(10_000).await;
        let json = r#"{"model":"cheap"}"#;
        for kind in [
            "application/json", "application/json;charset=UTF-8", "APPLICATION/JSON; charset=utf8",
            "application/json; charset=\"utf-8\"", "application/vnd.api+json",
            "application/json; profile=x;",
        ] {
            let answer = v1(&world, &ann, &[kind], json).send().await;
            assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        }
        let file = "name=\"file\"; filename=\"C:\\\\a \\\"b\\\"; c.wav\"; \
            filename*=UTF-8''%E5%9B%BE.wav";
        for kind in [
            FORM, "multipart/form-data;boundary=\"b\"",
            "Multipart/Form-Data; charset=utf-8; Boundary=b",
        ] {
            for model in [
                named("name=\"model\"", "cheap"), named("name=model", "cheap"),
                part(
                    "Content-Disposition: form-data; name=\"model\"\r\n\
                     Content-Type: text/plain; charset=UTF-8",
                    "cheap",
                ),
            ] {
                let body = form(&[named(file, "RIFF"), model]);
                let answer = v1(&world, &ann, &[kind], body).send().await;
                assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
            }
        }
        world.close().await;
    }

    async fn headers_that_send_a_request_elsewhere_stay_here(db: TestDb) {
        let world = two_models(db).await;
        let ann = world.payer(10_000).await;
        let names = [
            "X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Original-Method",
            "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Forwarded-Uri",
            "X-Forwarded-Prefix", "X-Forwarded-Method", "X-Envoy-Original-Path",
        ];
        let call = world.server.call("POST", "/pass/cheap").key(&ann.key).json(&json!({}));
        let call = names.iter().fold(call, |call, name| call.header(name, "/dear"));
        call.header("X-Other", "1").send().await.expect(200);

        let request = &world.upstream.requests().await[0];
        for name in names {
            assert_eq!(request.header(name), None, "{name}");
        }
        assert_eq!(request.header("X-Other").as_deref(), Some("1"));
        world.close().await;
    }
}

/// Creates a model whose price is estimated from the body; the upstream reports a high one.
async fn estimated(db: TestDb) -> World {
    let world = World::open(db).await;
    world.upstream.otherwise_handle(|request| {
        let real = !request.text().contains("precharge\":true");
        if real { Reply::result(1_000_000, 9) } else { Reply::estimate(1_000_000, 9) }
    });
    world.channel(&["m", "gpt"], json!({"setting": {"precharge": "body"}})).await;
    world.admin().price("m", by_use()).await;
    world.admin().price("gpt", by_use()).await;
    world
}

on_both_databases! {
    async fn no_content_type_leaves_the_estimate_out(db: TestDb) {
        let world = estimated(db).await;
        let ann = world.payer(1).await;
        for kind in [
            "application/json", "text/plain", "application/x-www-form-urlencoded",
            "application/octet-stream", "application/json; charset=utf-7", "", "odd",
        ] {
            let call = world.server.call("POST", "/pass/m").key(&ann.key);
            let call = if kind.is_empty() { call } else { call.header("Content-Type", kind) };
            let answer = call.body("{\"a\":1}").send().await;
            assert_eq!(answer.status, 402, "{kind}: {}", answer.text());
        }
        world.wait_for_money(&ann, 1, 0).await;
        for request in world.upstream.requests().await {
            let kind = request.header("Content-Type");
            assert_eq!(kind.as_deref(), Some("application/json"), "read as what it was read as");
            assert!(request.text().starts_with("{\"precharge\":true"), "{}", request.text());
        }
        world.close().await;
    }

    async fn what_can_not_be_estimated_is_refused(db: TestDb) {
        let world = estimated(db).await;
        let ann = world.payer(1).await;
        let form = form(&[named("name=\"model\"", "gpt")]);
        for (target, kind, body) in [
            ("/pass/m", "text/plain", "plain text"),
            ("/pass/m", "application/json", "[1]"),
            ("/pass/m", "application/json", "\u{feff}{}"),
            ("/pass/m", "application/json", "{\"precharge\":false}"),
            ("/pass/m", "text/plain", "{\"precharge\":false}"),
            ("/pass/m", "text/plain", "{\"\\u0070recharge\":false}"),
            ("/pass/m", "application/x-www-form-urlencoded", "a=1&precharge=false"),
            ("/pass/m", "application/json", ""),
            ("/v1/x", FORM, &form),
        ] {
            let call = world.server.call("POST", target).key(&ann.key);
            let answer = call.header("Content-Type", kind).body(body.to_owned()).send().await;
            assert_eq!(answer.status, 400, "{kind} {body}: {}", answer.text());
            answer.expect_error(400, "INVALID_REQUEST");
        }
        assert_eq!(world.upstream.count(), 0);
        world.wait_for_money(&ann, 1, 0).await;
        world.close().await;
    }
}

on_sqlite! {
    async fn a_fixed_price_asks_for_no_json(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.otherwise(Reply::text("ok"));
        world.channel(&["m"], json!({"setting": {"precharge": "body"}})).await;
        world.admin().price("m", fixed(1)).await;
        let ann = world.payer(100).await;
        for (kind, coding, body, status) in [
            ("text/plain", "identity", "plain text", 200),
            ("multipart/odd", "identity", "no form", 200),
            ("application/json", "compress", "?", 200),
            // What is read compressed has to be in order.
            ("application/json", "br", "?", 400),
            ("text/plain", "identity", "{\"precharge\":true}", 400),
        ] {
            let call = world.server.call("POST", "/pass/m").key(&ann.key);
            let call = call.header("Content-Type", kind).header("Content-Encoding", coding);
            call.body(body).send().await.expect(status);
        }
        let requests = world.upstream.requests().await;
        let kinds: Vec<_> = requests.iter().filter_map(|one| one.header("Content-Type")).collect();
        assert_eq!(kinds, ["text/plain", "multipart/odd", "application/json"]);
        world.close().await;
    }

    async fn a_body_does_not_speak_against_the_estimates_query(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::text("-")).await;
        world.upstream.on_estimate("/m", Reply::estimate(1, 1), Reply::result(1, 1));
        let ann = world.payer(100).await;
        let part = form(&[named("name=\"precharge\"", "false")]);
        let gzipped = testkit::upstream::gzip(b"{\"precharge\":false}");
        for (kind, coding, body) in [
            (JSON, "identity", b"{\"a\":1,\"Precharge\":false}".to_vec()),
            (JSON, "identity", b"{\"\\u0070recharge\":false}".to_vec()),
            ("text/plain", "identity", b"{\"precharge\":false}".to_vec()),
            (JSON, "gzip", gzipped),
            ("application/x-www-form-urlencoded", "identity", b"a=1&precharge=false".to_vec()),
            ("application/x-www-form-urlencoded", "identity", b"%70recharge=false".to_vec()),
            (FORM, "identity", part.into_bytes()),
        ] {
            let call = world.server.call("POST", "/pass/m").key(&ann.key);
            let call = call.header("Content-Type", kind).header("Content-Encoding", coding);
            let answer = call.body(body).send().await;
            assert_eq!(answer.status, 400, "{kind}: {}", answer.text());
        }
        assert_eq!(world.upstream.count(), 0);
        for (kind, body) in [
            (JSON, "{\"a\":{\"precharge\":1},\"b\":\"precharge %\"}"),
            ("application/x-www-form-urlencoded", "a=precharge&b=%20"),
            ("application/octet-stream", "precharge=false"),
        ] {
            let call = world.server.call("POST", "/pass/m").key(&ann.key);
            call.header("Content-Type", kind).body(body).send().await.expect(200);
        }
        world.close().await;
    }
}
