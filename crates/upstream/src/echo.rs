//! Prevents the leak of a channel's key to clients by an upstream that repeats its request: debug
//! pages, echo services, `message/http`.
//!
//! The key is found as it was sent, and in a compressed reply as well. A reply that can't be
//! decompressed can't be searched, so it is not passed on. A body that encodes the key otherwise
//! (Base64) is not recognised.

mod watch;

pub use watch::EchoWatch;

use crate::decode::Coding;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use memchr::memmem::Finder;
use std::fmt;
use std::sync::Arc;

/// Shorter keys are not searched for: they may occur in any text, which would break replies that
/// repeat nothing.
const SHORTEST_KEY: usize = 16;
/// What a text may show of the beginning of a key, where it was cut.
const SHORTEST_BEGINNING: usize = 8;

/// The secret that must not be repeated.
#[derive(Clone)]
pub struct EchoGuard(Arc<[Finder<'static>]>);

impl fmt::Debug for EchoGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EchoGuard(***)")
    }
}

/// Why a reply can't be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Echoed {
    /// The key was found.
    #[error("the upstream repeats the channel's key to clients; it was kept back")]
    Key,
    /// The key can't be searched for.
    #[error(
        "the upstream's reply has a Content-Encoding that is broken, or neither gzip nor deflate, \
         so that it can't be searched for the channel's key; it was kept back"
    )]
    Unreadable,
    /// Only a part of it is there, so that it may be a part of the key.
    #[error(
        "the upstream sends a part of a text (206, or multipart/byteranges), in which a part of \
         the channel's key would not be found; it was kept back"
    )]
    Partial,
}

impl EchoGuard {
    /// The guard of a channel's key, which is sent as it is and as `sent`; `None` where all are too
    /// short to be distinguished from other text.
    #[must_use]
    pub fn of(key: &str, sent: &[&str]) -> Option<Self> {
        let mut forms: Vec<String> = Vec::new();
        for form in std::iter::once(key).chain(sent.iter().copied()) {
            if form.len() < SHORTEST_KEY {
                continue;
            }
            // As some write it in JSON: PHP's `json_encode`, .NET's `System.Text.Json`.
            for form in [form.to_owned(), form.replace('/', "\\/"), form.replace('+', "\\u002B")] {
                if !forms.contains(&form) {
                    forms.push(form);
                }
            }
        }
        let finders: Arc<[_]> = forms.iter().map(|form| Finder::new(form).into_owned()).collect();
        (!finders.is_empty()).then_some(Self(finders))
    }

    /// Whether a text contains the key.
    #[must_use]
    pub fn finds(&self, text: &[u8]) -> bool {
        self.0.iter().any(|form| form.find(text).is_some())
    }

    /// Whether a text that may have been cut contains the key, or ends with what may be its
    /// beginning.
    #[must_use]
    pub fn finds_in(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let ends_within = |form: &Finder<'_>| {
            let key = form.needle();
            let longest = key.len().min(text.len() + 1);
            (SHORTEST_BEGINNING..longest).any(|len| text.ends_with(&key[..len]))
        };
        self.finds(text) || self.0.iter().any(ends_within)
    }

    /// A text without the key, and without what continues it: a token is known by its beginning.
    #[must_use]
    pub fn masked(&self, text: &str) -> String {
        let continues = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let mut text = text.to_owned();
        for form in self.0.iter().filter_map(|form| std::str::from_utf8(form.needle()).ok()) {
            let mut parts = text.split(form);
            let mut masked = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                masked.push_str("***");
                masked.push_str(part.trim_start_matches(continues));
            }
            text = masked;
        }
        text
    }

    /// How many bytes of a key a piece may end in without containing it.
    fn reach(&self) -> usize {
        self.0.iter().map(|form| form.needle().len() - 1).max().unwrap_or(0)
    }

    /// Removes the headers that contain the key; returns whether there were any.
    pub fn clean(&self, headers: &mut HeaderMap) -> bool {
        let with_key = |(name, value): (&HeaderName, &HeaderValue)| {
            self.finds(value.as_bytes()).then(|| name.clone())
        };
        let found: Vec<HeaderName> = headers.iter().filter_map(with_key).collect();
        for name in &found {
            headers.remove(name);
        }
        !found.is_empty()
    }

    /// Searches a whole body that came with these headers.
    ///
    /// # Errors
    /// When it contains the key, or can't be searched.
    pub fn search(&self, headers: &HeaderMap, body: &Bytes) -> Result<(), Echoed> {
        if body.is_empty() {
            return Ok(());
        }
        self.watch(headers)?.pass(body.clone()).map(|_| ())
    }

    /// Searches a body that is streamed, and came with these headers.
    ///
    /// # Errors
    /// When it can't be searched.
    pub fn watch(&self, headers: &HeaderMap) -> Result<EchoWatch, Echoed> {
        EchoWatch::new(self.clone(), coding_of(headers)?, false)
    }

    /// Like [`Self::watch`], but no part of the key passes either: the last bytes of each piece are
    /// withheld until the next one.
    ///
    /// # Errors
    /// When it can't be searched.
    pub fn withholding_watch(&self, headers: &HeaderMap) -> Result<EchoWatch, Echoed> {
        EchoWatch::new(self.clone(), coding_of(headers)?, true)
    }
}

/// The coding of a reply's body, if it can be decoded.
fn coding_of(headers: &HeaderMap) -> Result<Coding, Echoed> {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let lines: Option<Vec<&str>> = values.map(|value| value.to_str().ok()).collect();
    let coding = Coding::of(Some(&lines.ok_or(Echoed::Unreadable)?.join(",")));
    // `gzip, chunked` compresses without a Content-Encoding.
    let transfers = headers.get_all(TRANSFER_ENCODING).iter();
    let mut transfers = transfers.flat_map(|value| value.as_bytes().split(|&b| b == b','));
    let is_chunked = |it: &[u8]| it.trim_ascii().eq_ignore_ascii_case(b"chunked");
    if coding == Coding::Other || !transfers.all(is_chunked) {
        return Err(Echoed::Unreadable);
    }
    Ok(coding)
}

/// Limits what a client accepts to what the guard can search.
pub fn keep_readable_codings(headers: &mut HeaderMap) {
    let Some(accepted) = headers.remove(ACCEPT_ENCODING) else { return };
    let accepted = accepted.to_str().unwrap_or_default().split(',').map(str::trim);
    let is_readable = |token: &&str| {
        let name = token.split(';').next().unwrap_or_default().trim();
        ["gzip", "x-gzip", "deflate", "identity"].iter().any(|it| name.eq_ignore_ascii_case(it))
    };
    let readable: Vec<&str> = accepted.filter(is_readable).collect();
    let value = HeaderValue::try_from(readable.join(", ")).ok().filter(|it| !it.is_empty());
    headers.insert(ACCEPT_ENCODING, value.unwrap_or(HeaderValue::from_static("identity")));
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

/// Whether a reply is a part of what may be a text, which is what is not said to be none: an
/// upstream that repeats its request shows any part of it that a client asks for, one after the
/// other. Files without a type of their own (`application/octet-stream`) are downloaded in parts.
#[must_use]
pub fn is_part_of_a_text(status: StatusCode, headers: &HeaderMap) -> bool {
    const NO_TEXTS: [&str; 7] = [
        "audio/",
        "video/",
        "image/",
        "application/octet-stream",
        "application/pdf",
        "application/zip",
        "application/gzip",
    ];
    let kinds = headers.get_all(CONTENT_TYPE).iter();
    let kinds = kinds.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let kinds: Vec<String> = kinds.collect();
    let is_part = status == StatusCode::PARTIAL_CONTENT
        || kinds.iter().any(|kind| kind.contains("multipart/byteranges"));
    let is_no_text = |kind: &String| {
        let kind = kind.trim();
        let is_listed = NO_TEXTS.iter().any(|known| kind.starts_with(known));
        is_listed && !kind.contains("svg") && !kind.contains("mpegurl")
    };
    is_part && (kinds.is_empty() || !kinds.iter().all(is_no_text))
}

#[cfg(test)]
mod tests;
