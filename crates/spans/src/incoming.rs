//! Reads the parent span and the host from a client's request head.

use crate::{Span, key};
use http::HeaderMap;
use http::header::HOST;
use http::uri::Authority;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;

const TRACEPARENT: &str = "traceparent";

/// The parent span that the client sent; `None` when there is none, or it can't be parsed.
pub(crate) fn parent(headers: &HeaderMap) -> SpanContext {
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &ParentOnly(headers));
    context.span().span_context().clone()
}

/// Hides `tracestate`: client-supplied text that is not used here, and would be propagated.
struct ParentOnly<'a>(&'a HeaderMap);

impl Extractor for ParentOnly<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut given = self.0.get_all(key).iter().filter(|_| key == TRACEPARENT);
        match (given.next(), given.next()) {
            (Some(one), None) => one.to_str().ok(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// Which of our host names the client used.
pub(crate) fn host(headers: &HeaderMap, span: &mut Span) {
    if !span.is_recorded() {
        return;
    }
    let authority = headers.get(HOST).and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(authority): Option<Authority> = authority else { return };
    span.set(key::HOST, authority.host().to_owned());
    if let Some(port) = authority.port_u16() {
        span.set(key::PORT, i64::from(port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parsed(given: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in given {
            headers.append(TRACEPARENT, HeaderValue::from_static(value));
        }
        headers.insert("tracestate", HeaderValue::from_static("secret=1"));
        let parent = parent(&headers);
        assert_eq!(parent.trace_state().header(), "");
        parent.is_valid().then(|| format!("{} {}", parent.span_id(), parent.is_sampled()))
    }

    #[test]
    fn only_a_valid_parent_is_used() {
        let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert_eq!(parsed(&[sampled]).as_deref(), Some("b7ad6b7169203331 true"));
        assert_eq!(parsed(&[unsampled]).as_deref(), Some("b7ad6b7169203331 false"));
        for odd in [&[][..], &[""], &["00-0-0-01"], &["secret"], &[sampled, sampled]] {
            assert_eq!(parsed(odd), None, "{odd:?}");
        }
    }
}
