//! The spans of a call. All of this is a no-op while no traces are sent.

use crate::call::RequestKind;
use domain::Fault;
use egress::Prepared;
use http::{Method, StatusCode};
use spans::{Span, key};

/// The span of a call, and that of the current attempt at an upstream.
pub(crate) struct Traced {
    attempt: Span,
    attempts: i64,
    pub(crate) call: Span,
}

impl Traced {
    pub(crate) fn new(call: Span) -> Self {
        Self { attempt: Span::default(), attempts: 0, call }
    }

    /// The span of a phase: open until it is dropped, or [`ended`].
    pub(crate) fn phase(&self, name: &'static str) -> Span {
        self.call.child(spans::Kind::Internal, name)
    }

    /// Records a failover to another channel.
    pub(crate) const fn next_attempt(&mut self) {
        self.attempts += 1;
    }

    /// Opens the span of a request to an upstream.
    pub(crate) fn request_sent(&mut self, method: &Method, prepared: &Prepared, kind: RequestKind) {
        if !self.call.is_recorded() {
            return;
        }
        let method = key::method(method);
        let mut span = self.call.child(spans::Kind::Client, method);
        span.set(key::METHOD, method);
        span.set(key::HOST, prepared.base.host().to_owned());
        span.set(key::PORT, i64::from(prepared.base.port()));
        span.set(key::CHANNEL_ID, prepared.channel.id.0);
        span.set(key::ATTEMPT, self.attempts);
        span.set(key::ESTIMATE, kind == RequestKind::Estimate);
        self.attempt = span;
    }

    /// Records its head; the rest of the reply may still be arriving.
    pub(crate) fn reply_received(&mut self, status: StatusCode) {
        self.attempt.status(status);
        if status.is_client_error() || status.is_server_error() {
            self.attempt.fail("UPSTREAM_STATUS");
        }
    }

    pub(crate) fn no_reply(&mut self, fault: &Fault) {
        self.attempt.fail(web::show(fault.kind).code);
    }

    /// Ends the span of the request.
    pub(crate) fn attempt_ends(&mut self) {
        self.attempt = Span::default();
    }
}

/// Ends the span of a phase with its result.
pub(crate) fn ended<T>(mut span: Span, result: Result<T, Fault>) -> Result<T, Fault> {
    if let Err(fault) = &result {
        span.fail(web::show(fault.kind).code);
    }
    result
}
