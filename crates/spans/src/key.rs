//! What spans may say. The first ones are OpenTelemetry's conventions for HTTP, the others ours.

use http::Method;

/// The method of a request, in one of the words of [`method`].
pub const METHOD: &str = "http.request.method";
/// The pattern that a request's path fits.
pub const ROUTE: &str = "http.route";
/// The status of a reply.
pub const STATUS: &str = "http.response.status_code";
/// The host of whoever answers.
pub const HOST: &str = "server.address";
/// Its port.
pub const PORT: &str = "server.port";
/// Why it failed: a code of ours.
pub const ERROR: &str = "error.type";
/// What a request is told by in log, journal and replies.
pub const REQUEST_ID: &str = "newapi.request.id";
/// Whose request it is.
pub const USER_ID: &str = "newapi.user.id";
/// By which key.
pub const KEY_ID: &str = "newapi.key.id";
/// Through which channel.
pub const CHANNEL_ID: &str = "newapi.channel.id";
/// What is asked for.
pub const MODEL: &str = "newapi.model";
/// The number of an attempt, from 1.
pub const ATTEMPT: &str = "newapi.attempt";
/// An attempt that only asks what the call would cost.
pub const ESTIMATE: &str = "newapi.estimate";
/// The money put aside.
pub const HOLD_ID: &str = "newapi.hold.id";
/// How much is put aside, or was charged.
pub const QUOTA: &str = "newapi.quota";
/// Why money is given back.
pub const REASON: &str = "newapi.reason";
/// Where a webhook goes.
pub const ENDPOINT_ID: &str = "newapi.endpoint.id";

/// A method as it is told: what a client made up could be anything.
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
