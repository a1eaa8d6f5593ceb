//! Idempotency: a repeated request with the same `Idempotency-Key` gets the stored reply, and is
//! charged once.

use crate::outcome::BodyEnd;
use crate::{Relay, faults};
use bytes::{Bytes, BytesMut};
use domain::{Fault, UserId};
use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RANGE,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use ledger::KeptReply;
use ring::digest::{Context, Digest, SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use store::idempotency::Claim;
use web::Body;
use web::memory::Share;

/// The header that identifies a request across repetitions.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const MAX_KEY_CHARS: usize = 255;
/// The headers that change what a request means. Not all: client libraries send retry counts, their
/// own names and trace ids in headers, and a repetition must not become another request by that.
const COUNTED: [HeaderName; 9] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    ACCEPT,
    ACCEPT_LANGUAGE,
    RANGE,
    HeaderName::from_static("prefer"),
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("anthropic-version"),
];

/// This request's claim on its key: to be completed, or deleted.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub user_id: UserId,
    pub key_hash: String,
}

/// The role of a request with an `Idempotency-Key`.
pub(crate) enum Claimed {
    /// The first with its key.
    Mine(Ticket),
    /// A repetition of one that has completed.
    Replay(Response<Body>),
}

/// The head of a stored reply; its body follows after a line feed.
#[derive(Debug, Serialize, Deserialize)]
struct KeptHead {
    status: u16,
    headers: Vec<(String, String)>,
}

/// A reply on its way to the client, copied as long as it is small enough to be stored.
pub(crate) struct Tee {
    head: KeptHead,
    body: Option<BytesMut>,
    limit_bytes: usize,
    share: Share,
}

/// The client's key, if it sent one.
pub(crate) fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().map_err(|_| faults::idempotency_key_invalid())?;
    if key.is_empty() || key.len() > MAX_KEY_CHARS {
        return Err(faults::idempotency_key_invalid());
    }
    Ok(Some(key))
}

/// The fingerprint of a request: everything that an upstream's reply is likely to depend on.
/// `webhook_url` is the client's option for its task, which is no longer among the headers.
pub(crate) fn fingerprint(
    head: (&Method, &Uri, &HeaderMap),
    webhook_url: Option<&str>,
    body: &[u8],
) -> [u8; 32] {
    let (method, uri, headers) = head;
    let mut context = Context::new(&SHA256);
    let mut part = |part: &[u8]| {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    };
    part(method.as_str().as_bytes());
    part(uri.path_and_query().map_or("", |both| both.as_str()).as_bytes());
    for (name, value) in COUNTED.iter().flat_map(|name| {
        headers.get_all(name).into_iter().map(move |value| (name, value.as_bytes()))
    }) {
        part(name.as_str().as_bytes());
        part(value);
    }
    part(webhook_url.unwrap_or_default().as_bytes());
    part(body);
    bytes_of(&context.finish())
}

fn bytes_of(digest: &Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Claims a key for a request.
pub(crate) async fn claim(
    relay: &Relay,
    user_id: UserId,
    key: &str,
    fingerprint: &[u8; 32],
) -> Result<Claimed, Fault> {
    let key_hash = hex(digest(&SHA256, key.as_bytes()).as_ref());
    let now = relay.clock.now();
    let expires_at = now.plus_ms(relay.config.idempotency_ttl_ms);
    let node = relay.node_id;
    let claim = store::idempotency::claim(
        &relay.db,
        user_id,
        &key_hash,
        fingerprint,
        node,
        now,
        expires_at,
    );
    match claim.await? {
        Claim::Mine => Ok(Claimed::Mine(Ticket { user_id, key_hash })),
        Claim::Running => Err(faults::still_running()),
        Claim::Mismatch => Err(faults::other_request()),
        Claim::Done { reply_bytes: None } => Err(faults::reply_not_kept()),
        Claim::Done { reply_bytes: Some(bytes) } => {
            let mut share = relay.budget.share_of(user_id);
            if !share.grow_towards(bytes) {
                return Err(faults::overloaded());
            }
            let sealed = store::idempotency::reply(&relay.db, user_id, &key_hash).await?;
            let sealed = sealed.ok_or_else(faults::reply_not_kept)?;
            let opened = relay.sealer.open(store::REPLY, &sealed).map_err(faults::system)?;
            drop(sealed);
            share.shrink_to(opened.len());
            replay(opened.into(), share).map(Claimed::Replay)
        }
    }
}

fn replay(kept: Bytes, share: Share) -> Result<Response<Body>, Fault> {
    let broken = || faults::system("the kept reply can't be read");
    let line = memchr::memchr(b'\n', &kept).ok_or_else(broken)?;
    let head: KeptHead = serde_json::from_slice(&kept[..line]).map_err(faults::system)?;
    let mut response = Response::new(web::boxed(share.hold(kept.slice(line + 1..))));
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(faults::system)?;
    for (name, value) in &head.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

impl Tee {
    pub(crate) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        limit_bytes: usize,
        share: Share,
    ) -> Self {
        let kept = |name: &HeaderName| {
            *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING && *name != web::X_REQUEST_ID
        };
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let headers = headers
            .iter()
            .filter(|(name, _)| kept(name))
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
            .collect();
        let head = KeptHead { status: status.as_u16(), headers };
        Self { head, body: Some(BytesMut::new()), limit_bytes, share }
    }

    /// Takes the next piece of the body.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let Some(body) = &mut self.body else { return };
        let bytes = body.len() + piece.len();
        if bytes > self.limit_bytes || !self.share.grow_to(bytes) {
            self.body = None;
        } else {
            body.extend_from_slice(piece);
        }
    }

    /// The stream has sent `[DONE]` in a line whose blank line may not have arrived yet: what
    /// follows is not stored, and without the blank line clients of a replay would discard the last
    /// event.
    pub(crate) fn close_event(&mut self) {
        let Some(body) = &mut self.body else { return };
        for line_end in [b"\r\n".as_slice(), b"\n"] {
            let Some(line) = body.strip_suffix(line_end) else { continue };
            if !line.ends_with(line_end) {
                body.extend_from_slice(line_end);
            }
            return;
        }
    }

    /// The reply has ended like this. An incomplete one is not stored: replayed, it would look
    /// complete.
    #[must_use]
    pub(crate) fn ended(mut self, end: BodyEnd) -> Self {
        if end != BodyEnd::Complete {
            self.body = None;
        }
        self
    }

    /// What is stored for a claim: only its end, when the reply is too large or incomplete.
    pub(crate) fn keep(self, relay: &Relay, ticket: &Ticket) -> KeptReply {
        let sealed = self.body.and_then(|body| {
            let mut plain = serde_json::to_vec(&self.head).ok()?;
            plain.push(b'\n');
            plain.extend_from_slice(&body);
            relay.sealer.seal(store::REPLY, &plain).ok()
        });
        let (user_id, idempotency_key) = (ticket.user_id, ticket.key_hash.clone());
        KeptReply { user_id, idempotency_key, sealed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn share() -> Share {
        web::memory::Budget::new(1_000).share_of(UserId(1))
    }

    #[test]
    fn fingerprints_distinguish_parts() {
        let of = |method: Method, path: &str, headers: &[(&str, &str)], url, body: &[u8]| {
            let pairs = headers.iter().map(|(name, value)| {
                (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
            });
            let (uri, headers) = (path.parse().unwrap(), pairs.collect());
            fingerprint((&method, &uri, &headers), url, body)
        };
        let (post, path) = (Method::POST, "/pass/m");
        let one = of(post.clone(), path, &[], None, b"ab");
        assert_eq!(one, of(post.clone(), path, &[("user-agent", "x")], None, b"ab"));
        for other in [
            of(Method::PUT, path, &[], None, b"ab"),
            of(post.clone(), "/pass/ma", &[], None, b"b"),
            of(post.clone(), path, &[], None, b"abc"),
            of(post.clone(), path, &[], Some("ab"), b""),
            of(post.clone(), path, &[("accept", "ab")], None, b""),
            of(post, path, &[("content-type", "x")], None, b"ab"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn keys_have_a_length() {
        let with = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, value)]);
            key_of(&headers).map(|key| key.map(str::to_owned))
        };
        assert!(matches!(with("k-1"), Ok(Some(key)) if key == "k-1"));
        assert!(with(&"x".repeat(255)).is_ok() && with(&"x".repeat(256)).is_err());
        assert!(with("").is_err() && with("键").is_err());
        assert!(matches!(key_of(&HeaderMap::new()), Ok(None)));
    }

    #[tokio::test]
    async fn a_kept_reply_comes_back_as_it_was() {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("application/json"));
        headers.append("content-length", HeaderValue::from_static("4"));
        headers.append("x-two", HeaderValue::from_static("1"));
        headers.append("x-two", HeaderValue::from_static("2"));
        let mut tee = Tee::new(StatusCode::CREATED, &headers, 4, share());
        tee.feed(b"a\n");
        tee.feed(b"\0\xff");
        let mut kept = serde_json::to_vec(&tee.head).unwrap();
        kept.push(b'\n');
        kept.extend_from_slice(tee.body.as_ref().unwrap());
        let response = replay(kept.into(), share()).unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["idempotent-replayed"], "true");
        assert_eq!(response.headers().get_all("x-two").iter().count(), 2);
        assert!(!response.headers().contains_key("content-length"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"a\n\0\xff");
        tee.feed(b"x");
        assert!(tee.body.is_none(), "too large to keep");
    }

    #[test]
    fn a_kept_stream_ends_its_last_event() {
        for (kept, closed) in [
            ("x\n", "x\n\n"),
            ("x\n\n", "x\n\n"),
            ("x\r\n", "x\r\n\r\n"),
            ("x\r\n\r\n", "x\r\n\r\n"),
        ] {
            let mut tee = Tee::new(StatusCode::OK, &HeaderMap::new(), 99, share());
            tee.feed(kept.as_bytes());
            tee.close_event();
            assert_eq!(tee.body.as_deref(), Some(closed.as_bytes()));
        }
    }
}
