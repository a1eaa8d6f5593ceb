//! Prevents the leak of a channel's key to clients by an upstream that repeats its request: debug
//! pages, echo services, `message/http`.
//!
//! The key is found as it was sent. A body that is compressed, or encodes the key otherwise, is not
//! searched.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use memchr::memmem::Finder;
use std::fmt;
use std::sync::Arc;

/// Shorter keys are not searched for: they may occur in any text, which would break replies that
/// repeat nothing.
const SHORTEST_KEY: usize = 16;

/// The secret that must not be repeated.
#[derive(Clone)]
pub struct EchoGuard(Arc<Finder<'static>>);

impl fmt::Debug for EchoGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EchoGuard(***)")
    }
}

impl EchoGuard {
    /// The guard of a channel's key; `None` where it is too short to be distinguished from other
    /// text.
    #[must_use]
    pub fn of(key: &str) -> Option<Self> {
        (key.len() >= SHORTEST_KEY).then(|| Self(Arc::new(Finder::new(key).into_owned())))
    }

    /// Whether a text contains the key.
    #[must_use]
    pub fn finds(&self, text: &[u8]) -> bool {
        self.0.find(text).is_some()
    }

    /// Removes the headers that contain the key; returns whether there were any.
    pub fn clean(&self, headers: &mut HeaderMap) -> bool {
        let with_key = |(name, value): (&HeaderName, &http::HeaderValue)| {
            self.finds(value.as_bytes()).then(|| name.clone())
        };
        let found: Vec<HeaderName> = headers.iter().filter_map(with_key).collect();
        for name in &found {
            headers.remove(name);
        }
        !found.is_empty()
    }

    /// Searches a body that is streamed.
    #[must_use]
    pub fn watch(&self) -> EchoWatch {
        EchoWatch { guard: self.clone(), tail: Vec::new(), withholds: false }
    }

    /// Like [`Self::watch`], but no part of the key passes either: the last bytes of each piece are
    /// withheld until the next one.
    #[must_use]
    pub fn withholding_watch(&self) -> EchoWatch {
        EchoWatch { withholds: true, ..self.watch() }
    }
}

/// Whether a reply's type says that it repeats the request (RFC 9110 §9.3.8).
#[must_use]
pub fn is_repeated_request(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let essence = value.as_bytes().split(|&b| b == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii();
        [b"message/http".as_slice(), b"application/http"]
            .iter()
            .any(|kind| essence.eq_ignore_ascii_case(kind))
    })
}

/// The key was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream repeats the channel's key")]
pub struct Echoed;

/// A streamed body.
///
/// What is withheld doesn't depend on its content. If only possible beginnings of the key were
/// withheld, a client that can have an upstream repeat its own text could derive the key from the
/// pauses.
#[derive(Debug)]
pub struct EchoWatch {
    guard: EchoGuard,
    /// The last bytes, one fewer than the key has.
    tail: Vec<u8>,
    withholds: bool,
}

impl EchoWatch {
    /// Takes the next piece, and returns what may be passed on now.
    ///
    /// # Errors
    /// When the key ends in this piece.
    pub fn pass(&mut self, piece: Bytes) -> Result<Bytes, Echoed> {
        let reach = self.guard.0.needle().len() - 1;
        let before = self.tail.len();
        self.tail.extend_from_slice(&piece[..piece.len().min(reach)]);
        let spans_pieces = before > 0 && self.guard.finds(&self.tail);
        if spans_pieces || self.guard.finds(&piece) {
            return Err(Echoed);
        }
        if self.withholds {
            self.tail.truncate(before);
            self.tail.extend_from_slice(&piece);
            let withheld = self.tail.split_off(self.tail.len().saturating_sub(reach));
            return Ok(std::mem::replace(&mut self.tail, withheld).into());
        }
        if piece.len() >= reach {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - reach..]);
        } else {
            let excess = self.tail.len().saturating_sub(reach);
            self.tail.drain(..excess);
        }
        Ok(piece)
    }

    /// Whether trailers may be passed on: not before what is withheld, and not with the key in
    /// them.
    #[must_use]
    pub fn passes_trailers(&self, trailers: &HeaderMap) -> bool {
        !self.withholds && !trailers.values().any(|value| self.guard.finds(value.as_bytes()))
    }

    /// What was withheld, at the end of the body.
    pub fn rest(&mut self) -> Bytes {
        if self.withholds { std::mem::take(&mut self.tail).into() } else { Bytes::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "sk-0123456789abc";

    fn guard() -> EchoGuard {
        EchoGuard::of(KEY).unwrap()
    }

    #[test]
    fn short_keys_are_not_looked_for() {
        assert!(EchoGuard::of("sk-0123456789ab").is_none() && EchoGuard::of("").is_none());
        assert!(!format!("{:?}", guard()).contains("0123"));
    }

    #[test]
    fn headers_and_types() {
        let mut headers = HeaderMap::new();
        headers.append("x-seen", format!("Bearer {KEY}").parse().unwrap());
        headers.append("x-other", "1".parse().unwrap());
        assert!(guard().clean(&mut headers) && !guard().clean(&mut headers));
        assert_eq!(headers.len(), 1);
        headers.append(CONTENT_TYPE, "Message/HTTP; msgtype=request".parse().unwrap());
        assert!(is_repeated_request(&headers));
        headers.insert(CONTENT_TYPE, "message/http2".parse().unwrap());
        assert!(!is_repeated_request(&headers));
    }

    /// What is passed on of a text in pieces of these lengths; an error where it is cut.
    fn passed(text: &str, cuts: &[usize], withholds: bool) -> (String, Result<(), Echoed>) {
        let mut watch = if withholds { guard().withholding_watch() } else { guard().watch() };
        let (mut out, mut rest) = (Vec::new(), Bytes::copy_from_slice(text.as_bytes()));
        let mut cuts = cuts.iter().copied().cycle();
        while !rest.is_empty() {
            let length = cuts.next().unwrap_or(1).clamp(1, rest.len());
            match watch.pass(rest.split_to(length)) {
                Ok(piece) => out.extend_from_slice(&piece),
                Err(echoed) => return (String::from_utf8(out).unwrap(), Err(echoed)),
            }
        }
        out.extend_from_slice(&watch.rest());
        (String::from_utf8(out).unwrap(), Ok(()))
    }

    proptest! {
        #[test]
        fn the_key_is_found_however_it_is_cut(
            before in "[sk0-9-]{0,40}", after in "[sk0-9-]{0,40}",
            cuts in prop::collection::vec(1_usize..50, 1..6), withholds in any::<bool>(),
        ) {
            let text = format!("{before}{KEY}{after}");
            let (out, ended) = passed(&text, &cuts, withholds);
            prop_assert_eq!(ended, Err(Echoed));
            prop_assert!(!out.contains(KEY) && text.starts_with(&out));
            prop_assert!(!withholds || out.len() <= before.len());
        }

        #[test]
        fn other_text_passes_unchanged(
            text in "[sk0-9a-c-]{0,90}", cuts in prop::collection::vec(1_usize..50, 1..6),
            withholds in any::<bool>(),
        ) {
            prop_assume!(!text.contains(KEY));
            prop_assert_eq!(passed(&text, &cuts, withholds), (text, Ok(())));
        }
    }
}
