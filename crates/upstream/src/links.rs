//! Addresses at the upstream that a reply names. A client would go there past us, and with its key:
//! only their path is shown, which clients read as one of the server that they call.

use crate::splice;
use bytes::Bytes;

/// The reply with the path in the place of each of these addresses; the same bytes where it has
/// none.
#[must_use]
pub fn shown(reply: Bytes, members: &[Box<str>]) -> Bytes {
    let mut changed = Vec::new();
    for member in members {
        let Ok(address) = splice::top_level_string(&reply, member) else { continue };
        if let Some(path) = path_of(&address) {
            changed.push((&**member, serde_json::Value::from(path).to_string()));
        }
    }
    match changed.is_empty() {
        true => reply,
        false => splice::override_members(&reply, &changed).unwrap_or(reply),
    }
}

/// The path, and what follows it, of an address of the web.
fn path_of(address: &str) -> Option<&str> {
    let (scheme, rest) = address.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    rest.find('/').filter(|_| is_web).map(|at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_at_the_upstream_is_shown_as_a_path() {
        let shown = |reply: &'static str| {
            let reply = super::shown(Bytes::from(reply), &["url".into()]);
            String::from_utf8(reply.to_vec()).unwrap()
        };
        let reply = r#"{ "id":"b", "url" : "https://api.vendor.com/v1/b/1?x=2", "n":1.0 }"#;
        assert_eq!(shown(reply), r#"{ "id":"b", "url" : "/v1/b/1?x=2", "n":1.0 }"#);
        for same in [r#"{"url":null}"#, r#"{"url":"/v1/b"}"#, r#"{"a":1}"#, "no", "", "[1]"] {
            assert_eq!(shown(same), same);
        }
    }
}
