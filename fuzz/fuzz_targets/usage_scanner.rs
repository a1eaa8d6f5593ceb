//! The usage that is found does not depend on how the reply is cut, and is the one that
//! `serde_json` finds.
#![no_main]

use domain::UsageReport;
use fuzz::Reply;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
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
    if serde_json::from_slice::<Value>(reply.body).is_err() {
        return;
    }
    assert!(whole.well_formed);
    // The text of a report, not its value: that would hide a member that is there twice.
    let top = members(reply.body).unwrap_or_default();
    let nested = |name: &str| members(top.get(name)?.get().as_bytes())?.get("usage").copied();
    let candidates = [top.get("usage").copied(), nested("response"), nested("message")];
    let found = candidates.into_iter().flatten().find(|usage| usage.get() != "null");
    let expected: Option<UsageReport> =
        found.and_then(|usage| serde_json::from_str(usage.get()).ok());
    if whole.usage_error.is_none() {
        assert_eq!(whole.usage, expected);
    }
});

/// The members of an object; the last one of a name.
fn members(json: &[u8]) -> Option<HashMap<Cow<'_, str>, &RawValue>> {
    serde_json::from_slice(json).ok()
}
