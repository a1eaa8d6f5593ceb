//! The per-request context of the phases.

use crate::Relay;
use crate::client_link::ClientLink;
use crate::record::Record;
use std::sync::Arc;
use web::memory::Share;

/// What every phase of a request may need: one value in place of five.
pub(crate) struct Context<'a> {
    /// The data plane that serves it.
    pub relay: &'a Arc<Relay>,
    /// Whether the client is still connected, and whether the request must complete without it.
    pub link: &'a ClientLink,
    /// What metrics, log and traces will record of it.
    pub record: &'a mut Record,
    /// The bytes that it holds in memory.
    pub share: Share,
    /// The client has come by https, says a proxy that is trusted.
    pub over_https: bool,
}
