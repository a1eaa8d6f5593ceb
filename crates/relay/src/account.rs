//! Recognises that the account of a channel is broken: its key is revoked, its money used up. That
//! is not the call's fault, and the next call fares no better, so the channel is paused for all.
//!
//! What a client can cause itself never counts. A 403 (another's file, a model that the account
//! does not have) is a reason to probe, and no more; so is a 401 where there is a free probe, which
//! has nothing of a client's in it; and where the caller's own key goes upstream, a refusal may be
//! about that one.

use crate::reply::ReadAs;
use http::StatusCode;
use protocol::{ProtocolRoute, ReplyHead, ReplyReader};
use std::sync::Arc;
use upstream::Decoded;
use upstream::{EchoGuard, Reply};

/// Of a larger error page the rest is not read.
pub(crate) const MAX_READ_BYTES: usize = 64 * 1024;
/// Longest reason that is kept.
const MAX_REASON_CHARS: usize = 200;

/// An account that is broken, as an upstream's reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountFault {
    /// In words, for the operator.
    pub why: String,
    pub evidence: Evidence,
}

/// What a reply proves of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// That it is broken: no client can have caused it.
    Proof,
    /// That the key was not taken, for this call: the probe decides, and where nothing can be told
    /// by one, it is broken.
    Likely,
    /// That something was forbidden, to this call: it is broken where the probe says so.
    Hint,
}

impl AccountFault {
    pub(crate) fn is_likely(&self) -> bool {
        self.evidence == Evidence::Likely
    }
}

impl Evidence {
    pub(crate) const fn of(status: u16) -> Self {
        match status {
            401 => Self::Likely,
            403 => Self::Hint,
            _ => Self::Proof,
        }
    }
}

/// Reads an error reply on its way.
pub(crate) struct AccountWatch {
    reader: Box<Decoded<ReplyReader>>,
    route: Arc<ProtocolRoute>,
    status: StatusCode,
    left_bytes: usize,
}

impl AccountWatch {
    /// For the reply to a call that a protocol reads.
    pub(crate) fn of(read_as: &ReadAs, reply: &Reply) -> Option<Self> {
        let route = read_as.route()?;
        (!reply.status.is_success()).then(|| Self::by(route, reply))
    }

    pub(crate) fn by(route: &Arc<ProtocolRoute>, reply: &Reply) -> Self {
        let content_type = reply.headers.get(http::header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let head = ReplyHead { status: reply.status.as_u16(), content_type };
        let reader = ReplyReader::new(route, head);
        Self {
            reader: Box::new(Decoded::for_headers(&reply.headers, reader)),
            route: Arc::clone(route),
            status: reply.status,
            left_bytes: MAX_READ_BYTES,
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let read = &bytes[..bytes.len().min(self.left_bytes)];
        self.left_bytes -= read.len();
        self.reader.feed(read);
    }

    /// What the reply said, now that it is over. `echo` is the guard of the channel's key.
    pub(crate) fn finish(self, echo: Option<&EchoGuard>) -> Option<AccountFault> {
        let status = self.status.as_u16();
        // Of a long reply the beginning is read.
        let (is_broken, message) = match self.reader.finish_in_part().0 {
            Some(reader) => {
                let reading = reader.finish();
                (reading.account, reading.message)
            }
            None => (self.route.is_account_broken_by(status), None),
        };
        let message = message.filter(|text| !echo.is_some_and(|it| it.finds_in(text)));
        is_broken.then(|| AccountFault {
            why: reason(&format!("status {status}"), message.as_deref()),
            evidence: Evidence::of(status),
        })
    }
}

/// A reason in words: where it was said, and what.
pub(crate) fn reason(place: &str, message: Option<&str>) -> String {
    let Some(message) = message else { return place.to_owned() };
    format!("{place}: {}", in_short(message))
}

/// What an upstream said, as it may stand in a line.
pub(crate) fn in_short(message: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = message.chars().map(visible).take(MAX_REASON_CHARS).collect();
    text.trim().to_owned()
}
