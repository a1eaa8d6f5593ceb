//! The call of a protocol that tries a channel.

use crate::route::{ProtocolRoute, RoutePattern};
use crate::task::{app_of, fill, within_quotes};

/// How a route tries a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteProbe {
    /// JSON, in which `{model}` stands for the model.
    pub(crate) body: Option<Box<str>>,
    /// Statuses with which a test is in order, besides those of success.
    pub(crate) ok: Vec<u16>,
}

/// A call that tries a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCall {
    /// The method.
    pub method: &'static str,
    /// The path, not encoded.
    pub path: String,
    /// The body; empty where it has none.
    pub body: String,
}

impl RouteProbe {
    /// The call by the first of a route's patterns; none where its path has something else in it
    /// than the model.
    pub(crate) fn call(&self, pattern: &RoutePattern, model: &str) -> Option<ProbeCall> {
        let (method, path) = pattern.filled(|name| match name {
            "model" => Some(model),
            "app" => Some(app_of(model)),
            _ => None,
        })?;
        let written = within_quotes(model);
        let template = self.body.as_deref().unwrap_or_default();
        let body = fill(template, |name| (name == "model").then_some(&*written));
        Some(ProbeCall { method, path, body })
    }

    /// Whether a test of the channel is in order with this status of an error.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        self.ok.contains(&status)
    }
}

impl ProtocolRoute {
    /// The call by which it tries a channel, if it is the one that does.
    #[must_use]
    pub fn probe_call(&self, model: &str) -> Option<ProbeCall> {
        self.probe.as_ref()?.call(self.patterns.first()?, model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_names_the_model_where_it_stands() {
        let probe = RouteProbe { body: Some("{\"model\":\"{model}\"}".into()), ok: vec![404] };
        let of = |pattern: &str, model: &str| {
            let call = probe.call(&RoutePattern::parse(pattern).unwrap(), model)?;
            Some((call.method, call.path, call.body))
        };
        let (method, path, body) = of("POST /v1/x", "a\"b").unwrap();
        assert_eq!((method, &*path, &*body), ("POST", "/v1/x", r#"{"model":"a\"b"}"#));
        let (method, path, _) = of("GET /{+app}/requests/0/status", "fal-ai/flux/dev").unwrap();
        assert_eq!((method, &*path), ("GET", "/fal-ai/flux/requests/0/status"));
        let (_, path, _) = of("* /models/{model}:count", "m").unwrap();
        assert_eq!(path, "/models/m:count");
        assert_eq!(of("GET /v1/{id}", "m"), None);
        assert_eq!(of("GET /v1/*", "m"), None);
        assert!(probe.expects(404) && !probe.expects(401));
    }
}
