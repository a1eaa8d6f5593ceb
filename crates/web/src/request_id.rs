//! Request ids: the client's, when it is valid, else generated.

use domain::UnixMs;
use http::{HeaderMap, HeaderName};
use std::sync::Arc;
use uuid::Uuid;

/// The header that carries a request's id, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is kept.
const MAX_CHARS: usize = 128;

/// The id of a request: the client's own, if it is at most 128 visible ASCII characters.
#[must_use]
pub fn request_id(headers: &HeaderMap, now: UnixMs) -> Arc<str> {
    let sane = |text: &&str| {
        (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane);
    match given {
        Some(id) => id.into(),
        None => {
            let mut buffer = Uuid::encode_buffer();
            (&*uuid_v7(now).hyphenated().encode_lower(&mut buffer)).into()
        }
    }
}

/// A fresh UUIDv7 of this instant.
#[must_use]
pub fn uuid_v7(now: UnixMs) -> Uuid {
    let ms = u64::try_from(now.0).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(ms, &rand::random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn id_for(value: &[u8]) -> Arc<str> {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        request_id(&headers, UnixMs(1_700_000_000_000))
    }

    #[test]
    fn keeps_a_sane_id() {
        assert_eq!(&*id_for(b"trace-1/a=b;c"), "trace-1/a=b;c");
        assert_eq!(&*id_for(&[b'x'; 128]), "x".repeat(128));
    }

    #[test]
    fn makes_one_in_place_of_any_other() {
        for odd in [&b"a b"[..], b"", b"a\tb", &[b'x'; 129], "编号".as_bytes()] {
            let made: Uuid = id_for(odd).parse().unwrap();
            assert_eq!(made.get_version_num(), 7);
            assert_eq!(made.get_timestamp().unwrap().to_unix().0, 1_700_000_000);
        }
        let made = || request_id(&HeaderMap::new(), UnixMs(0));
        assert_ne!(made(), made());
    }
}
