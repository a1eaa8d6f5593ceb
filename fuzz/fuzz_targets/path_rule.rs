//! A path that is accepted addresses exactly what it was priced as.
#![no_main]

use libfuzzer_sys::fuzz_target;
use upstream::{BaseUrl, decode_model_path, says, with_precharge};

fuzz_target!(|input: &str| {
    let _ = BaseUrl::parse(input);
    let (path, query) = match input.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (input, None),
    };
    if let Some(query) = query {
        let _ = says(query.as_bytes(), "precharge");
        assert!(says(with_precharge(Some(query)).as_bytes(), "precharge"));
    }
    let Ok(name) = decode_model_path(path) else { return };
    assert!(!name.as_str().contains("..") && !name.as_str().contains(['?', '#', '\\']));
    let base = BaseUrl::parse("https://up.example").expect("a base");
    let target = base.target(name.as_str(), None).expect("a target");
    assert_eq!(target.host(), Some("up.example"));
    assert_eq!(target.query(), None);
    assert_eq!(decode_model_path(&target.path()[1..]).as_ref(), Ok(&name));
    if let Ok(target) = base.at_path(&format!("/v1/{}", name.as_str()), query) {
        assert_eq!(target.query(), query);
        assert_eq!(decode_model_path(&target.path()[4..]).as_ref(), Ok(&name));
    }
});
