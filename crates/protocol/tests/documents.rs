//! Documents: what is refused, where, and why; and what a base gives.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use domain::UnixMs;
use protocol::{Credential, Library, Meter, ReplyHead, ReplyReader};
use std::sync::Arc;

const HEAD: &str = "name = \"mine\"\ntitle = { zh = \"我的\", en = \"Mine\" }\n";
const ROUTE: &str = "[[route]]\nmatch = \"POST /v1/x\"\nmodel = \"body:/model\"\n";

/// Wrong in three ways.
const TASK: &str = "[task]
id = []
status = \"/s\"
words = { completed = [\"done\"], failed = [\"Done\"] }
ask = { request = \"FETCH /x\" }
";

fn refused(text: &str) -> String {
    let mut library = Library::builtin().unwrap().clone();
    library.add(text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_small_document_is_enough() {
    let mut library = Library::default();
    let protocol = library.add(&format!("{HEAD}{ROUTE}")).unwrap();
    assert_eq!((&*protocol.name, protocol.title.zh.as_str()), ("mine", "我的"));
    assert!(protocol.auth.apply("k", UnixMs(0)).is_none());
    assert!(library.get("mine").is_some());
}

#[test]
fn a_bad_document_is_refused_with_line_pointer_and_reason() {
    for (rest, said) in [
        ("[usage]\nmerge = \"min\"", "line 7: usage.merge: unknown variant `min`"),
        ("[usage]\nmeterz = {}", "line 7: usage.meterz: unknown field `meterz`"),
        (
            "[usage.meters]\ninput = [\"/a\", \"b\"]",
            "line 7: usage.meters.input[1]: \"b\" does not begin with /: a pointer is written \
             /a/b, its elements /a/*",
        ),
        (
            "[usage.meters]\ntokens = [\"/a\"]",
            "line 7: usage.meters.tokens: \"tokens\" is not a meter; there are input, cached",
        ),
        (
            "[usage.meters]\ninput = [\"/a/0/b\", \"/a/*/b\"]",
            "line 7: usage.meters.input[1]: names an element by its index",
        ),
        (
            "[usage.inside]\noutput = \"input\"",
            "line 7: usage.inside.output: output can't be inside input",
        ),
        (
            "[outcome]\nfailed = [\n  { at = \"/error\" },\n  { is = [\"x\"] },\n]",
            "line 9: outcome.failed[1]: says neither at, status nor event",
        ),
        (
            "[outcome]\nfailed = [{ at = \"/a\", is = [1], not = [2] }]",
            "line 7: outcome.failed[0].is: is beside not or text",
        ),
        (
            "[outcome]\nfailed = [{ at = \"/a\", missing = true, not = [2] }]",
            "line 7: outcome.failed[0].missing: is beside is, not or text",
        ),
        (
            "[outcome]\nfailed = [{ at = \"/a\", missing = true, event = \"x\" }]",
            "line 7: outcome.failed[0].missing: is true of a whole JSON reply alone",
        ),
        (
            "[outcome]\nfailed = [{ status = [200], missing = true }]",
            "line 7: outcome.failed[0]: says neither at, status nor event",
        ),
        (
            "[outcome]\naccount = [{ status = \"401\" }]",
            "line 7: outcome.account[0].status: invalid type: string \"401\"",
        ),
        ("[outcome]\naccount = [{ status = 42 }]", "line 7: outcome.account[0].status: names a"),
        (
            "[usage.meters]\ncredits = \"header:X-Cost\"",
            "usage.meters.credits[0]: is not header:NAME, up to 64 small letters",
        ),
        (
            "[usage.meters]\ncredits = [\"/a\", \"header:x-cost\", \"/b\"]",
            "usage.meters.credits[1]: stands between pointers: headers are first or last",
        ),
        (
            "[usage.meters]\ncredits = [\"header:x-cost\", \"header:x-cost\"]",
            "usage.meters.credits[1]: names x-cost twice",
        ),
        (
            "[[route]]\nmatch = \"GET /y\"\ntask = \"ask\"\nmeters = { items = \"header:x\" }",
            "route[1].meters.items: names a header: what a task uses is counted by the reports",
        ),
        (
            "[hold.units]\nseconds = \"query:\"",
            "hold.units.seconds[0]: \"query:\" is not query:NAME or path:NAME",
        ),
        (
            "[[route]]\nmatch = \"GET /y/{b}\"\nunits = { pages = \"path:a\" }",
            "route[1].units.pages: is path:a, and a pattern has no {a}",
        ),
        ("[outcome]\nrefused = [42]", "line 7: outcome.refused: names a status that is none"),
        (
            "[[route]]\nmatch = \"GET /y\"\nask_usage = true",
            "line 8: route[1].ask_usage: is true, and there is no [stream]",
        ),
        ("[text]\noutput = [\"/a/#\"]", "line 7: text.output[0]: ends in #"),
        ("[text]\noutput = [\"/a/*[b=c]/d\"]", "line 7: text.output[0]: has a [filter]"),
        (
            "[auth]\nheader = \"X-Key\"",
            "line 7: auth.header: \"X-Key\" is not a header's name in small letters",
        ),
        ("[auth]\nheader = \"host\"", "line 7: auth.header: host is about the connection"),
        ("[auth]\nheader = \"x\"\nvalue = \"Bearer\"", "line 8: auth.value: does not have {key}"),
        (
            "[auth]\nheader = \"x\"\nquery = \"key\"",
            "line 8: auth.query: a key is presented in a header or in the query",
        ),
        ("[auth]\nheaders = { x = \"a\\nb\" }", "line 7: auth.headers.x: has a value"),
        (
            "[[route]]\nmatch = \"POST /v1/x\"",
            "line 7: route[1].match[0]: POST /v1/x is never reached: POST /v1/x matches all of it",
        ),
        (
            "[[route]]\nmatch = \"* /{+all}\"\n[[route]]\nmatch = \"GET /a/{b}\"",
            "line 9: route[2].match[0]: GET /a/{b} is never reached: * /{+all} matches all of it",
        ),
        (
            "[[route]]\nmatch = \"POST /y\"\ntask = \"submit\"",
            "line 8: route[1].task: submits a task, and there is no [task]",
        ),
        (
            "[[route]]\nmatch = \"POST v1\"",
            "line 7: route[1].match[0]: \"POST v1\" is not METHOD /path",
        ),
        (
            "[[route]]\nmatch = \"GET /y\"\nmodel = [\"path\"]",
            "line 7: route[1].match: has a pattern without {model}",
        ),
        (
            "[[route]]\nmatch = \"GET /y\"\nmodel = [\"header:x\"]",
            "line 8: route[1].model[0]: \"header:x\" is none of body:/pointer",
        ),
        (
            "[[route]]\nmatch = \"GET /y\"\nreply = \"xml\"",
            "line 8: route[1].reply[0]: \"xml\" is none of json",
        ),
        (
            "[[route]]\nmatch = \"GET /y\"\nprice = \"free\"\nrefuse = [{ at = \"/x\", \
             priced = \"input\", why = { zh = \"a\", en = \"b\" } }]",
            "refuse[0].priced: is a unit, such as seconds, of a refusal that says at",
        ),
        (
            "[[route]]\nmatch = \"GET /y\"\nprice = \"free\"\nheaders = { host = \"x\" }",
            "route[1].headers.host: host is about the connection",
        ),
        (
            "[[route]]\nmatch = \"POST /y\"\nprice = \"free\"\nprobe = true",
            "route[1].probe: POST /y has a body: probe = { body =",
        ),
        (
            "[[route]]\nmatch = \"GET /y/{id}\"\nprice = \"free\"\nprobe = true",
            "route[1].probe: GET /y/{id} has something other than {model} and {app} in its path",
        ),
        (
            "[[route]]\nmatch = \"POST /y\"\nprice = \"free\"\nprobe = { body = \"{model}\" }",
            "route[1].probe.body: is no JSON",
        ),
        (
            "[[route]]\nmatch = \"POST /y\"\nmodel = \"body:/m\"\nmodel_stays = true",
            "route[1].model_stays: is of a route whose model the query names",
        ),
        ("[hold.units]\noutput = [\"/n\"]", "line 7: hold.units.output: output counts tokens"),
        (TASK, "line 7: task.id: names no pointer"),
    ] {
        let found = refused(&format!("{HEAD}{ROUTE}{rest}\n"));
        assert!(found.contains(said), "{rest}\n  is refused with: {found}\n  and not with: {said}");
    }
}

#[test]
fn a_task_is_read_in_one_way_whichever_method_submitted_it() {
    let kind = |name: &str, id: &str| {
        let words = "submitted = []\nprocessing = []\ncompleted = [\"done\"]\nfailed = []\n";
        let ask = "ask = { request = \"GET /y/{id}\" }\n";
        let reads = format!("id = \"/{id}\"\nstatus = \"/s\"\n{ask}");
        format!("[tasks.{name}]\n{reads}[tasks.{name}.words]\n{words}")
    };
    let route = |call: &str, kind: &str| {
        let more = "model = \"default:m\"\ntask = \"submit\"\ntasks";
        format!("[[route]]\nmatch = \"{call}\"\n{more} = \"{kind}\"\n")
    };
    let text = |calls: [&str; 2], kinds: [&str; 2]| {
        let routes = [route(calls[0], kinds[0]), route(calls[1], kinds[1])].concat();
        format!("{HEAD}{routes}{}{}", kind("a", "a"), kind("b", "b"))
    };
    let found = refused(&text(["PUT /y", "POST /y"], ["a", "b"]));
    assert!(found.contains("are read otherwise: PUT /y"), "{found}");
    let mut library = Library::builtin().unwrap().clone();
    for (calls, kinds, path) in [
        (["PUT /y", "POST /y"], ["a", "a"], "/y"),
        (["PUT /y/a", "POST /y/b"], ["a", "b"], "/y/a"),
        (["GET|PUT /y/a", "PUT /y/{x}"], ["a", "b"], "/y/a"),
    ] {
        let mine = library.add(&text(calls, kinds)).unwrap();
        let route = mine.submission(path).unwrap();
        assert_eq!(route.patterns[0].to_string(), calls[0]);
        assert!(mine.submission("/z").is_none());
    }
}

#[test]
fn routes_that_read_a_request_alike() {
    let mut library = Library::builtin().unwrap().clone();
    let text = |rest: &str| {
        let name = format!("mine-{}", rest.len());
        format!("{}base = \"openai\"\n{rest}", HEAD.replace("mine", &name))
    };
    let openai = |library: &Library, path: &str| {
        Arc::clone(library.get("openai").unwrap().route("POST", path).unwrap().route)
    };
    for (rest, path, alike) in [
        ("[auth]\nheader = \"x-key\"\n", "/v1/chat/completions", true),
        ("[outcome]\nretry = [500]\n", "/v1/chat/completions", true),
        ("[hold.units]\nimages = \"/pieces\"\n", "/v1/chat/completions", false),
        ("[hold.units]\nimages = \"/pieces\"\n", "/v1/files", true),
        ("[errors]\nshape = \"plain\"\n", "/v1/files", false),
        // Which model is meant says which channels may be called, whatever its client speaks.
        ("[errors]\nshape = \"plain\"\n", "/v1/chat/completions", true),
        ("[hold]\ninput = \"/text\"\n", "/v1/chat/completions", true),
        (
            "[[refuse]]\nat = \"/gold\"\nwhy = { zh = \"x\", en = \"x\" }\n",
            "/v1/chat/completions",
            false,
        ),
    ] {
        let mine = library.add(&text(rest)).unwrap();
        let route = mine.route("POST", path).unwrap().route;
        assert_eq!(openai(&library, path).reads_as(route), alike, "{rest} {path}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let gone = refused(&format!("{HEAD}{ROUTE}{TASK}gone = [401, 404]\n"));
    assert!(gone.contains("task.gone: has 404 and 410 alone"), "{gone}");
    let found = refused(&format!("{HEAD}{ROUTE}{TASK}"));
    assert_eq!(found.lines().count(), 3, "{found}");
    assert!(found.contains("\"Done\" has a meaning already"), "{found}");
    assert!(found.contains("\"FETCH /x\" is not METHOD /path/{id}"), "{found}");
}

#[test]
fn a_pointer_names_no_member_deep_in_a_text() {
    let library = Library::builtin().unwrap();
    let read = |protocol: &str, path: &str, body: &str| {
        let call = library.get(protocol).unwrap().route("POST", path).unwrap();
        let read = call.route.read_request(&call.captures, "", body.as_bytes());
        let refused = call.route.refusal_by_body(body.as_bytes());
        (read.ambiguous, read.resources.len(), refused.map(|it| it.is_some()))
    };
    let schema = r#"{"model":"m","tools":[{"name":"task","input_schema":{"type":"object",
        "properties":{"model":{"type":"string"},"Model":{"type":"string"}}}}]}"#;
    assert_eq!(read("anthropic", "/v1/messages", schema), (false, 0, Ok(false)));
    let input = r#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"tool_use",
        "id":"t","name":"read","input":{"file_id":"a","source":{"file_id":"b"}}}]}]}"#;
    assert_eq!(read("anthropic", "/v1/messages", input), (false, 0, Ok(false)));
    let advisor = r#"{"model":"m","tools":[{"type":"advisor_20260301","model":"dear"}]}"#;
    assert_eq!(read("anthropic", "/v1/messages", advisor), (false, 0, Ok(true)));
    let file = r#"{"model":"m","messages":[{"content":[{"source":{"file_id":"f"}}]}]}"#;
    assert_eq!(read("anthropic", "/v1/messages", file), (false, 1, Ok(false)));
}

#[test]
fn all_that_is_wrong_is_told_beside_unknown_keys() {
    let text = format!(
        "{HEAD}colour = 1\n{ROUTE}modell = [\"body:/x\"]\n[bogus]\nx = 1\ny = [\n  1,\n]\n\
         [[refusal]]\nat = \"/x\"\n[usage]\nmeterz = {{}}\n[usage.meters]\nimgs = [\"/a\"]\n"
    );
    let found = refused(&text);
    let lines: Vec<_> = found.lines().collect();
    for said in [
        "line 3: colour: unknown field `colour`",
        "line 7: route[0].modell: unknown field `modell`",
        "line 8: bogus: unknown field `bogus`",
        "line 13: refusal: unknown field `refusal`",
        "line 16: usage.meterz: unknown field `meterz`",
        "line 18: usage.meters.imgs: \"imgs\" is not a meter",
    ] {
        assert!(lines.iter().any(|it| it.starts_with(said)), "{said}: {found}");
    }
    assert_eq!(lines.len(), 6, "{found}");
    // Where it can't be left out alone the rest is not looked at.
    let text = format!("{HEAD}colours = [\n  1,\n]\n{ROUTE}[usage.meters]\nimgs = [\"/a\"]\n");
    assert_eq!(refused(&text).lines().count(), 1);
    let many: String = (0..50).map(|n| format!("k{n} = 1\n")).collect();
    assert_eq!(refused(&format!("{HEAD}{many}{ROUTE}")).lines().count(), 20);
}

#[test]
fn a_document_is_bounded() {
    assert!(refused(&"#".repeat(70_000)).contains("larger than 65536 bytes"));
    let routes = (0..300)
        .fold(HEAD.to_owned(), |text, n| format!("{text}[[route]]\nmatch = \"GET /{n}\"\n"));
    assert!(refused(&routes).contains("between 1 and 256 routes"));
    let pointers: Vec<String> = (0..200).map(|n| format!("\"/a{n}\"")).collect();
    let many = format!("{HEAD}{ROUTE}[usage.meters]\ninput = [{}]\n", pointers.join(","));
    let found = refused(&many);
    assert!(found.contains("is one too many"), "{found}");
    let stranger = refused(&format!("{HEAD}colour = 1\n{ROUTE}"));
    assert!(stranger.contains("line 3: colour: unknown field `colour`"), "{stranger}");
    assert!(refused(HEAD).contains("between 1 and 256 routes"));
    assert!(refused(&HEAD.replace("mine", "Mine!")).contains("small letters, digits and hyphens"));
}

#[test]
fn a_base_gives_what_the_document_leaves_out() {
    let mut library = Library::builtin().unwrap().clone();
    let text = format!("{HEAD}base = \"openai\"\n[auth]\nheader = \"api-key\"\n");
    let mine = library.add(&text).unwrap();
    assert_eq!(
        mine.auth.apply("k", UnixMs(0)),
        Some(Credential::Header("api-key".into(), "k".into()))
    );
    let call = mine.route("POST", "/v1/chat/completions").unwrap();
    assert_eq!(&*call.route.protocol, "mine");
    let mut reader = ReplyReader::new(call.route, ReplyHead { status: 200, content_type: None });
    reader.push(b"{\"usage\":{\"prompt_tokens\":3}}");
    assert_eq!(reader.finish().meters.get(Meter::Input), Some(3));
    assert!(refused(&format!("{HEAD}base = \"nothing\"\n{ROUTE}")).contains("no protocol"));
    let keyless = format!("{HEAD}base = \"openai\"\n[auth]\nheaders = {{ x-org = \"a\" }}\n");
    let said = "line 4: auth: takes the place of all that openai says there, and presents no key: \
                say header = \"authorization\", and its value, too";
    assert!(refused(&keyless).contains(said), "{}", refused(&keyless));
}

#[test]
fn what_a_base_refuses_is_refused_still() {
    let mut library = Library::builtin().unwrap().clone();
    let own = "[[refuse]]\nquery = \"mine\"\nwhy = { zh = \"否\", en = \"no\" }\n";
    let mine = library.add(&format!("{HEAD}base = \"gemini\"\n{own}")).unwrap();
    let call = mine.route("POST", "/v1beta/models/m:generateContent").unwrap();
    let refused = |query: &str| call.route.refusal_by_head(query, |_| Vec::new()).is_some();
    assert!(refused("mine=1") && refused("fields=candidates") && !refused("x=1"));
}

#[test]
fn a_protocol_speaks_others_with_its_own_address_and_keys() {
    let mut library = Library::builtin().unwrap().clone();
    let text = format!("{HEAD}speaks = [\"anthropic\"]\n{ROUTE}");
    let mine = library.add(&text).unwrap();
    let call = mine.route("POST", "/v1/messages").unwrap();
    assert_eq!(&*call.route.protocol, "anthropic");
    assert!(mine.auth.apply("k", UnixMs(0)).is_none());
    let bad = format!("{HEAD}speaks = [\"nothing\"]\n{ROUTE}");
    assert!(refused(&bad).contains("line 3: speaks[0]: there is no protocol \"nothing\""));
}

#[test]
fn an_ambiguous_model_is_said() {
    let library = Library::builtin().unwrap();
    let call = library.get("openai").unwrap().route("POST", "/v1/chat/completions").unwrap();
    let read = |body: &str| call.route.read_request(&call.captures, "", body.as_bytes());
    assert!(read(r#"{"model":"a","model":"b"}"#).ambiguous);
    assert!(read(r#"{"model":"a","\u006dodel":"b"}"#).ambiguous);
    assert!(!read(r#"{"model":"a","x":{"model":"b"}}"#).ambiguous);
    assert!(!read(r#"{"model":"a"} {"#).well_formed);
}

#[test]
fn a_refused_word_is_refused_in_capitals() {
    let mut library = Library::builtin().unwrap().clone();
    let own = "[[refuse]]\nquery = \"callback\"\nwhy = { zh = \"否\", en = \"no\" }\n\
        [[refuse]]\nquery = \"size\"\nis = [\"4k\"]\nwhy = { zh = \"否\", en = \"no\" }\n\
        [[refuse]]\nat = \"/size\"\nis = [\"4k\"]\nwhy = { zh = \"否\", en = \"no\" }\n";
    let mine = library.add(&format!("{HEAD}{ROUTE}{own}")).unwrap();
    let call = mine.route("POST", "/v1/x").unwrap();
    let in_query = |query: &str| call.route.refusal_by_head(query, |_| Vec::new()).is_some();
    assert!(in_query("callback=https://x") && in_query("size=4K"));
    // A vendor may take a parameter for set that says nothing.
    assert!(in_query("callback=") && in_query("callback=false") && !in_query("size=1k"));
    let in_body = |body: &str| call.route.refusal_by_body(body.as_bytes()).unwrap().is_some();
    assert!(in_body(r#"{"size":"4K"}"#) && !in_body(r#"{"size":"1K"}"#));
}

#[test]
fn what_tries_a_channel_says_what_may_come() {
    for protocol in Library::builtin().unwrap().iter() {
        let silent = protocol.probe().is_some_and(|route| route.promised().is_empty());
        assert!(!silent, "{}: a page would pass for an answer", protocol.name);
    }
}
