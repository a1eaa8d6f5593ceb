//! Spans: what a call did, and when, for those who collect traces (OpenTelemetry).
//!
//! Spans of a [`Tracer`] that is off are empty, so carrying one costs a branch. Attributes of a
//! call are ids, amounts and codes of ours: see [`key`]. Of the client's input, only `Host` and
//! `X-Request-Id` go into a span; of the upstream's, only its status.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod incoming;
pub mod key;

use http::{HeaderMap, Method, StatusCode};
use opentelemetry::trace::{Span as _, SpanContext, Status, TraceContextExt, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;
use std::fmt::Display;

pub use opentelemetry::trace::{SpanKind as Kind, TraceId};

/// Creates spans, or, by default, none.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<SdkTracer>);

impl Tracer {
    /// Creates spans with `tracer`.
    #[must_use]
    pub const fn new(tracer: SdkTracer) -> Self {
        Self(Some(tracer))
    }

    /// Starts the span of an incoming request. It belongs to the trace that the client names
    /// (`traceparent`), which then decides whether it is recorded.
    #[must_use]
    pub fn incoming(&self, method: &Method, headers: &HeaderMap) -> Span {
        let Some(tracer) = &self.0 else { return Span::default() };
        let mut span =
            Span::begin(tracer, Kind::Server, key::method(method), incoming::parent(headers));
        span.set(key::METHOD, key::method(method));
        incoming::host(headers, &mut span);
        span
    }

    /// Starts the root span of work that no request triggered.
    #[must_use]
    pub fn root(&self, kind: Kind, name: &'static str) -> Span {
        let Some(tracer) = &self.0 else { return Span::default() };
        Span::begin(tracer, kind, name, SpanContext::NONE)
    }
}

/// Open from its creation until it is dropped. Empty when its tracer is off.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Live>>);

#[derive(Debug)]
struct Live {
    span: opentelemetry_sdk::trace::Span,
    tracer: SdkTracer,
}

impl Span {
    fn begin(tracer: &SdkTracer, kind: Kind, name: &'static str, parent: SpanContext) -> Self {
        // A sampler takes an invalid parent for one that is not recorded.
        let parent = match parent.is_valid() {
            true => Context::new().with_remote_span_context(parent),
            false => Context::new(),
        };
        let builder = tracer.span_builder(name).with_kind(kind);
        let span = tracer.build_with_context(builder, &parent);
        Self(Some(Box::new(Live { span, tracer: tracer.clone() })))
    }

    /// A child span; empty when this one is not recorded.
    #[must_use]
    pub fn child(&self, kind: Kind, name: &'static str) -> Self {
        match &self.0 {
            Some(live) if live.span.is_recording() => {
                Self::begin(&live.tracer, kind, name, live.span.span_context().clone())
            }
            _ => Self::default(),
        }
    }

    /// Whether the span is recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|live| live.span.is_recording())
    }

    /// The trace id, whether it is recorded or not.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.0.as_ref().map(|live| live.span.span_context().trace_id())
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(live) = &mut self.0 {
            live.span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Like [`Self::set`], for a value that is only formatted when the span is recorded.
    pub fn show(&mut self, key: &'static str, value: impl Display) {
        if self.is_recorded() {
            self.set(key, value.to_string());
        }
    }

    /// Sets the route of the request: a pattern, never the path itself.
    pub fn route(&mut self, method: &Method, route: &str) {
        let Some(live) = self.0.as_mut().filter(|live| live.span.is_recording()) else { return };
        live.span.update_name(format!("{} {route}", key::method(method)));
        live.span.set_attribute(KeyValue::new(key::ROUTE, route.to_owned()));
    }

    /// Sets the status of the reply.
    pub fn status(&mut self, status: StatusCode) {
        self.set(key::STATUS, i64::from(status.as_u16()));
    }

    /// Marks the request as failed, with one of our error codes. Where the client is to blame
    /// (`status`), the server has not failed.
    pub fn unserved(&mut self, code: &'static str, status: Option<StatusCode>) {
        if status.is_some_and(|status| status.is_client_error()) {
            self.set(key::ERROR, code);
        } else {
            self.fail(code);
        }
    }

    /// Marks the span as failed, with one of our error codes.
    pub fn fail(&mut self, code: &'static str) {
        self.set(key::ERROR, code);
        if let Some(live) = &mut self.0 {
            live.span.set_status(Status::Error { description: "".into() });
        }
    }
}
