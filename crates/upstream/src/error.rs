//! Failures of a request to an upstream, and whether any of it had been sent by then.

use std::error::Error;
use std::net::IpAddr;

/// Any error, boxed.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Whether the upstream may have received the request. Only after [`Sent::No`] may another channel
/// be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte of the request was written.
    No,
    /// The upstream may be processing it.
    Maybe,
}

/// What a request was waiting for when a deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The connection: DNS, TCP, proxy, TLS.
    Connect,
    /// The client: the next piece of the request's body.
    ClientBody,
    /// The client: to take the reply, including what was sent before.
    ClientReply,
    /// The upstream: the head of its reply.
    FirstByte,
    /// The upstream: the next piece of the reply's body.
    Idle,
    /// The upstream: its total time.
    Total,
}

/// Why a connection failed. Nothing was sent. The details are for the log only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, or the resolver is unavailable.
    #[error("dns: {0}")]
    Dns(String),
    /// All the addresses of the host are in networks that are not allowed.
    #[error("guarded: {} is not an allowed address", host_or(*.0))]
    Guarded(Option<IpAddr>),
    /// Refused, unreachable, reset.
    #[error("refused: {0}")]
    Refused(String),
    /// Not within the connect deadline.
    #[error("connect timed out")]
    Timeout,
    /// The handshake failed, or the certificate is not trusted.
    #[error("tls: {0}")]
    Tls(String),
    /// The proxy can't be reached, or refuses.
    #[error("proxy: {0}")]
    Proxy(String),
    /// The address has no host, or a scheme that is not HTTP.
    #[error("address: {0}")]
    Address(&'static str),
}

/// Why a request has no reply, or no whole reply.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A deadline passed.
    #[error("timed out waiting for {0:?}")]
    Timeout(Phase),
    /// The connection ended before the request was written.
    #[error("closed before the request: {0}")]
    Unsent(String),
    /// The request's own body failed: the client has disconnected, or sent too much. The cause is
    /// in the chain of sources.
    #[error("the request's body failed: {0}")]
    Payload(#[source] BoxError),
    /// A connection that had been used before was closed before a byte of the reply: as a rule
    /// the upstream has not read the request.
    #[error("closed while it waited to be used again: {0}")]
    Stale(String),
    /// The connection broke off: before the reply, or in it.
    #[error("broke off: {0}")]
    Cut(String),
    /// What came back is not HTTP.
    #[error("not a valid reply: {0}")]
    BadReply(String),
}

impl SendError {
    /// Whether the upstream may have received the request.
    #[must_use]
    pub const fn sent(&self) -> Sent {
        match self {
            Self::Connect(_) | Self::Unsent(_) | Self::Timeout(Phase::Connect) => Sent::No,
            _ => Sent::Maybe,
        }
    }

    /// Whether the upstream was too slow (and not the client, and nothing else): to connect, to
    /// reply, or to continue.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Timeout) => true,
            Self::Timeout(phase) => !matches!(phase, Phase::ClientBody | Phase::ClientReply),
            _ => false,
        }
    }

    /// Whether the client is to blame: it doesn't count as a failure of the upstream.
    #[must_use]
    pub const fn is_clients_fault(&self) -> bool {
        matches!(self, Self::Payload(_) | Self::Timeout(Phase::ClientBody | Phase::ClientReply))
    }

    /// A label for logs and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Connect(ConnectError::Dns(_)) => "dns",
            Self::Connect(ConnectError::Guarded(_)) => "guarded",
            Self::Connect(ConnectError::Refused(_)) => "refused",
            Self::Connect(ConnectError::Timeout) | Self::Timeout(Phase::Connect) => {
                "connect_timeout"
            }
            Self::Connect(ConnectError::Tls(_)) => "tls",
            Self::Connect(ConnectError::Proxy(_)) => "proxy",
            Self::Connect(ConnectError::Address(_)) => "address",
            Self::Timeout(Phase::ClientBody) => "client_body_timeout",
            Self::Timeout(Phase::ClientReply) => "client_reply_timeout",
            Self::Timeout(Phase::FirstByte) => "first_byte_timeout",
            Self::Timeout(Phase::Idle) => "idle_timeout",
            Self::Timeout(Phase::Total) => "total_timeout",
            Self::Unsent(_) => "unsent",
            Self::Payload(_) => "client_body",
            Self::Stale(_) => "stale",
            Self::Cut(_) => "cut",
            Self::BadReply(_) => "bad_reply",
        }
    }
}

/// The chain of causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The first cause of type `E`.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}
/// The address, or "the host" where a name is refused by itself.
fn host_or(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "the host".to_owned(), |address| address.to_string())
}
