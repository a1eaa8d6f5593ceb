//! The usage that is found does not depend on how the reply is cut, and is the one that
//! `serde_json` finds.
#![no_main]

use domain::UsageReport;
use fuzz::Reply;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use upstream::BodyKind;

fuzz_target!(|input: &[u8]| {
    let Some(reply) = Reply::read(input) else { return };
    let whole = reply.scan_whole();
    let pieces = reply.scan_in_pieces();
    assert_eq!(whole, pieces);
    if let Some(usage) = &whole.usage {
        let _ = usage.check();
    }
    if reply.encoding.is_some() || whole.kind != BodyKind::Json {
        return;
    }
    // serde_json's own depth ends at 128, and its numbers at what fits: it may refuse what we read.
    let Ok(value) = serde_json::from_slice::<Value>(reply.body) else { return };
    assert!(whole.well_formed);
    let top = |name: &str| value.as_object().and_then(|object| object.get(name));
    let nested = |name: &str| top(name)?.as_object()?.get("usage");
    let candidates = [top("usage"), nested("response"), nested("message")];
    let found = candidates.into_iter().flatten().find(|usage| !usage.is_null());
    let read = |usage: &serde_json::Value| serde_json::from_value(usage.clone()).ok();
    let expected: Option<UsageReport> = found.and_then(read);
    // Of a report that names a field twice, a Value keeps the last; we refuse it.
    if whole.usage_error.is_none() {
        assert_eq!(whole.usage, expected);
    }
});
