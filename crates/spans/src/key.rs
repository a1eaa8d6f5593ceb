//! Attribute keys of spans. The first ones are OpenTelemetry's conventions for HTTP, the others
//! ours.

use http::Method;

/// The method of a request, normalised by [`method`].
pub const METHOD: &str = "http.request.method";
/// The route pattern that a request's path matches.
pub const ROUTE: &str = "http.route";
/// The status of a reply.
pub const STATUS: &str = "http.response.status_code";
/// The host that the request is sent to.
pub const HOST: &str = "server.address";
/// The port that the request is sent to.
pub const PORT: &str = "server.port";
/// Why it failed: one of our error codes.
pub const ERROR: &str = "error.type";
/// The request id, as in log, journal and replies.
pub const REQUEST_ID: &str = "newapi.request.id";
/// The id of the user.
pub const USER_ID: &str = "newapi.user.id";
/// The id of the key.
pub const KEY_ID: &str = "newapi.key.id";
/// The id of the channel.
pub const CHANNEL_ID: &str = "newapi.channel.id";
/// The requested model.
pub const MODEL: &str = "newapi.model";
/// The number of an attempt, from 1.
pub const ATTEMPT: &str = "newapi.attempt";
/// Marks an attempt that only asks for an estimate.
pub const ESTIMATE: &str = "newapi.estimate";
/// The id of the hold.
pub const HOLD_ID: &str = "newapi.hold.id";
/// The amount held or charged.
pub const QUOTA: &str = "newapi.quota";
/// Why a hold is released.
pub const REASON: &str = "newapi.reason";
/// The id of a webhook's endpoint.
pub const ENDPOINT_ID: &str = "newapi.endpoint.id";

/// Normalises a method: a name made up by a client would have unbounded cardinality.
#[must_use]
pub fn method(method: &Method) -> &'static str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::CONNECT,
        Method::TRACE,
    ];
    const WORDS: [&str; 9] =
        ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
    KNOWN.iter().position(|known| known == method).map_or("_OTHER", |at| WORDS[at])
}
