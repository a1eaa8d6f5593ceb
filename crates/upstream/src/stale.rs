//! Connections that an upstream closes while they wait to be used again. A request that is written
//! just then gets no reply, and was as a rule not read: it is repeated once, on a new connection.

use crate::error::find;
use http::{Extensions, Response};
use hyper_util::client::legacy;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What breaks off later than this was read: closing takes no longer than a round trip.
pub(crate) const WITHIN: Duration = Duration::from_secs(1);

/// How a connection has been used.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionUse(Arc<UseFlags>);

#[derive(Debug, Default)]
struct UseFlags {
    /// It has carried a reply.
    has_replied: AtomicBool,
    /// Bytes have come since the last ones were written.
    has_read: AtomicBool,
}

impl ConnectionUse {
    pub(crate) fn wrote(&self) {
        self.0.has_read.store(false, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) {
        self.0.has_read.store(true, Ordering::Relaxed);
    }
}

/// Notes that the connection of a reply has carried one.
pub(crate) fn has_replied<B>(response: &Response<B>) {
    if let Some(ConnectionUse(flags)) = response.extensions().get() {
        flags.has_replied.store(true, Ordering::Relaxed);
    }
}

/// Whether a request failed because its connection, which had been used before, was closed before a
/// byte of its reply.
pub(crate) fn is_cause_of(error: &legacy::Error) -> bool {
    let mut extensions = Extensions::new();
    let Some(connected) = error.connect_info() else { return false };
    connected.get_extras(&mut extensions);
    let Some(ConnectionUse(flags)) = extensions.get() else { return false };
    let is_closed = find::<hyper::Error>(error).is_some_and(|e| {
        let io = find::<std::io::Error>(e).map(std::io::Error::kind);
        e.is_incomplete_message()
            || e.is_closed()
            || matches!(io, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
    });
    is_closed
        && flags.has_replied.load(Ordering::Relaxed)
        && !flags.has_read.load(Ordering::Relaxed)
}
