//! A submission as it was received, stored until the upstream has accepted it: after a crash it is
//! repeated if the upstream recognises repetitions.

use crate::asked::Asked;
use crate::call::{ApiBody, ApiTarget, Call, CallTarget};
use crate::inlet::Inlet;
use crate::request_body::plain;
use crate::resources::ResourceEffect;
use crate::spoken::PathMeaning;
use crate::surface::{Surface, surface};
use crate::{Relay, RelayConfig, faults};
use bytes::Bytes;
use domain::Fault;
use egress::CallerKey;
use egress::request_body::{ModelPlaces, kind, model_in_body};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use protocol::SpokenProtocols;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::TASK_REQUEST;
use upstream::headers::ClientSecrets;

/// A larger submission is not stored; after a crash it has failed.
const MAX_BYTES: usize = 1024 * 1024;

/// All but the body, which follows after a line feed.
#[derive(Serialize, Deserialize)]
struct Head {
    method: String,
    path_and_query: String,
    headers: Vec<(String, String)>,
    /// The client's idempotency key, hashed: the claim belongs to the task.
    claim: Option<String>,
    /// It is sent as JSON, regardless of its headers.
    #[serde(default)]
    is_json: bool,
}

/// A submission, parsed.
pub(super) struct Kept {
    pub call: Call,
    pub claim: Option<String>,
}

/// Seals a submission; `None` when it is too large to be stored.
pub(super) fn seal(
    relay: &Relay,
    call: &Call,
    claim: Option<&str>,
) -> Result<Option<String>, Fault> {
    let Some(body) = call.inlet.whole() else { return Ok(None) };
    let Some(plain) = written(call, body, &relay.config, claim)? else { return Ok(None) };
    relay.sealer.seal(TASK_REQUEST, &plain).map(Some).map_err(faults::system)
}

fn written(
    call: &Call,
    body: &[u8],
    config: &RelayConfig,
    claim: Option<&str>,
) -> Result<Option<Vec<u8>>, Fault> {
    let path_and_query = call.uri.path_and_query().map_or("/", |both| both.as_str());
    // Without the keys: the caller's own is stored elsewhere.
    let names = std::slice::from_ref(&config.user_token_header);
    let ours = ClientSecrets { names, key: call.key.value.as_bytes() };
    let end_to_end = upstream::headers::forward_request_headers(&call.headers, ours);
    let headers = end_to_end.iter().map(|(name, value)| (name.to_string(), latin_1(value)));
    let head = Head {
        method: call.method.to_string(),
        path_and_query: path_and_query.to_owned(),
        headers: headers.collect(),
        claim: claim.map(str::to_owned),
        is_json: call.is_json,
    };
    let mut plain = serde_json::to_vec(&head).map_err(faults::system)?;
    plain.push(b'\n');
    plain.extend_from_slice(body);
    Ok(Some(plain).filter(|plain| plain.len() <= MAX_BYTES))
}

/// Maps any bytes to text, and back, without loss.
fn latin_1(value: &HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

fn of_latin_1(text: &str) -> Option<HeaderValue> {
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    HeaderValue::from_bytes(&bytes.ok()?).ok()
}

/// Parses a stored submission. `None`: it is damaged, so it can't be repeated.
pub(super) fn open(relay: &Relay, sealed: &str, key: CallerKey, request_id: &str) -> Option<Kept> {
    let plain = relay.sealer.open(TASK_REQUEST, sealed).ok()?;
    again(&plain, key, request_id, &relay.config)
}

fn again(kept: &[u8], key: CallerKey, request_id: &str, config: &RelayConfig) -> Option<Kept> {
    let line = memchr::memchr(b'\n', kept)?;
    let head: Head = serde_json::from_slice(&kept[..line]).ok()?;
    let body = Bytes::copy_from_slice(&kept[line + 1..]);
    let method = Method::from_bytes(head.method.as_bytes()).ok()?;
    let uri: Uri = head.path_and_query.parse().ok()?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for (name, value) in &head.headers {
        headers.append(HeaderName::try_from(name).ok()?, of_latin_1(value)?);
    }
    // What a submission is sent to follows from its path alone.
    let none = SpokenProtocols::default();
    let meaning = PathMeaning { is_model: &|_| true, protocols: &none, reads: None };
    let (model, target) = match surface(meaning, &method, uri.path()).ok()? {
        Surface::Pass(model) => (model, CallTarget::Model),
        Surface::Api(api) => {
            let plain = plain(&headers, &body, config).ok()?;
            let kind = kind(&headers).ok()?;
            let (model, named_by) = model_in_body(&kind, &plain, &ModelPlaces::unspoken()).ok()?;
            let body = ApiBody { plain: Some(plain), named_by };
            let effect = ResourceEffect::None;
            (model, CallTarget::Api(ApiTarget { api, body, effect }))
        }
        _ => return None,
    };
    let (inlet, request_id) = (Inlet::Whole(body), Arc::from(request_id));
    // What it asked for is frozen with its price.
    let (is_json, asked) = (head.is_json, Asked::default());
    let call = Call { method, uri, headers, key, request_id, model, target, inlet, is_json, asked };
    Some(Kept { call, claim: head.claim })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{ModelName, UserId};

    fn config() -> RelayConfig {
        RelayConfig::default()
    }

    fn key() -> CallerKey {
        CallerKey { value: HeaderValue::from_static("sk-secret"), user_id: UserId(2), role: 1 }
    }

    fn call(path: &str, body: &[u8]) -> Call {
        let mut headers = HeaderMap::new();
        headers.append("x-bytes", HeaderValue::from_bytes(b"\xff\x80").unwrap());
        headers.append("x-two", HeaderValue::from_static("1"));
        headers.append("x-two", HeaderValue::from_static("2"));
        headers.append("content-type", HeaderValue::from_static("application/json"));
        headers.append("authorization", HeaderValue::from_static("Bearer sk-secret"));
        Call {
            method: Method::POST,
            uri: path.parse().unwrap(),
            headers,
            key: key(),
            request_id: "r".into(),
            model: ModelName::parse("img/submit").unwrap(),
            target: CallTarget::Model,
            inlet: Inlet::Whole(Bytes::copy_from_slice(body)),
            is_json: true,
            asked: Asked::default(),
        }
    }

    fn kept(path: &str, body: &[u8]) -> Option<(Vec<u8>, Kept)> {
        let plain = written(&call(path, body), body, &config(), Some("k")).unwrap()?;
        let kept = again(&plain, key(), "r", &config())?;
        Some((plain, kept))
    }

    #[test]
    fn a_submission_is_read_as_it_was() {
        let body = b"{\"a\":1}\n\xff\0";
        let (plain, Kept { call, claim }) = kept("/pass/img%2Fsubmit?q=%20", body).unwrap();
        assert!(memchr::memmem::find(&plain, b"sk-secret").is_none(), "no key is in it");
        assert_eq!((call.model.as_str(), claim.as_deref()), ("img/submit", Some("k")));
        assert_eq!(call.uri.to_string(), "/pass/img%2Fsubmit?q=%20");
        assert_eq!(call.inlet.whole().map(|body| &body[..]), Some(&body[..]));
        assert_eq!(call.headers["x-bytes"].as_bytes(), b"\xff\x80");
        assert_eq!(call.headers.get_all("x-two").iter().count(), 2);
        assert!(call.is_json && !call.headers.contains_key("authorization"));
    }

    #[test]
    fn a_submission_under_v1_keeps_its_model() {
        let body = br#"{"model":"img/submit"}"#;
        let (_, Kept { call, .. }) = kept("/v1/images", body).unwrap();
        assert_eq!(call.model.as_str(), "img/submit");
        assert!(matches!(call.target, CallTarget::Api(_)));
        assert!(kept("/v1/images", b"{}").is_none(), "it names no model");
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        assert!(kept("/pass/img/submit", &vec![b'x'; MAX_BYTES]).is_none());
    }
}
