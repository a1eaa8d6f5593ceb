//! A document is compiled or refused with words; one that is compiled reads anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{Library, PathCaptures, ReplyHead, ReplyReader};
use std::sync::OnceLock;

const BODY: &str =
    r#"{"model":"m","usage":{"input_tokens":5,"a":[{"b":"c","d":1},{"b":2}]},"error":{}}"#;

fuzz_target!(|input: &[u8]| {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| Library::builtin().expect("built-in protocols").clone());
    let Ok(text) = std::str::from_utf8(input) else { return };
    let protocol = match library.clone().add(text) {
        Ok(protocol) => protocol,
        Err(problems) => {
            assert!(!problems.0.is_empty() && problems.0.iter().all(|it| !it.reason.is_empty()));
            return;
        }
    };
    for route in &protocol.routes {
        for pattern in &route.patterns {
            let written = pattern.to_string();
            assert_eq!(protocol::RoutePattern::parse(&written).as_ref(), Ok(pattern));
        }
        let _ = route.read_request(&PathCaptures::default(), "a=b", BODY.as_bytes());
        let _ = route.refusal_by_head("a=b&fields=c", |name| vec![name.to_owned()]);
        let _ = route.refusal_by_body(BODY.as_bytes());
        let _ = route.shown_of(BODY.as_bytes());
        let head = ReplyHead { status: 200, content_type: None };
        let mut reader = ReplyReader::new(route, head);
        reader.push(BODY.as_bytes());
        let _ = reader.finish();
    }
    let _ = protocol.auth.apply("id:secret", domain::UnixMs(1));
    if let Some(task) = &protocol.task {
        let _ = task.read_all(BODY.as_bytes());
        for id in ["../x", "a/../x", "x/.."] {
            let path = task.ask.path_for(id, "a/b/submit", "/p");
            assert!(!path.split('/').any(|part| part == ".."));
        }
    }
});
