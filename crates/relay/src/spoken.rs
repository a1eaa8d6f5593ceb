//! Which API a call speaks: the route of a protocol that its path fits, and where its model is.

use crate::faults;
use crate::reply::Asked;
use domain::{Fault, ModelName};
use egress::CUSTOM_PASS;
use http::Method;
use protocol::{ErrorShape, PathCaptures, PriceWord, Protocol, ProtocolRoute, ValueSource};
use std::sync::Arc;
use store::Channel;

/// What paths of the data plane begin with.
const FRONTS: [&str; 5] = ["/pass/", "/v1/", "/v1beta/", "/v2/", "/openai/"];

/// Whether a path is one of the data plane.
pub(crate) fn is_served(path: &str) -> bool {
    FRONTS.iter().any(|front| path.starts_with(front))
}

/// What a path is read by: the models that there are, and the protocols that are spoken.
#[derive(Clone, Copy)]
pub(crate) struct PathMeaning<'a> {
    pub is_model: &'a dyn Fn(&str) -> bool,
    pub protocols: &'a [Arc<Protocol>],
}

/// A call's route, as its protocol has it.
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    route: Arc<ProtocolRoute>,
    captures: PathCaptures,
}

impl PartialEq for Spoken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.route, &other.route) && self.captures == other.captures
    }
}

impl Eq for Spoken {}

impl Spoken {
    /// The route that a method and an absolute path fit, if its calls name a model. Of several, one
    /// whose path names a model that exists, or whose path names none.
    pub(crate) fn of(meaning: &PathMeaning<'_>, method: &Method, path: &str) -> Option<Self> {
        let mut unknown = None;
        for protocol in meaning.protocols {
            let Some(found) = protocol.route(method.as_str(), path) else { continue };
            let spoken = Self { route: Arc::clone(found.route), captures: found.captures };
            if spoken.route.model.is_empty() {
                continue;
            }
            match spoken.named_in_path() {
                Some(model) if !(meaning.is_model)(model) => unknown = unknown.or(Some(spoken)),
                _ => return Some(spoken),
            }
        }
        unknown
    }

    /// What a request asks for.
    pub(crate) fn asked(&self, body: &[u8]) -> Asked {
        let read = self.route.read_request(&self.captures, "", body);
        let allows_nothing = read.output_limit == Some(0);
        Asked { input_tokens: read.input_tokens, allows_nothing }
    }

    /// The shape of our own errors.
    pub(crate) fn errors(&self) -> ErrorShape {
        self.route.errors
    }

    /// Whether such calls cost nothing, whatever their model's price is.
    pub(crate) fn is_free(&self) -> bool {
        self.route.price == PriceWord::Free
    }

    /// The model that the path names, where it is the path that names it.
    pub(crate) fn model_in_path(&self) -> Option<Result<ModelName, Fault>> {
        let parsed = ModelName::parse(self.named_in_path()?);
        let invalid = |e| faults::invalid(format!("model 无效: {e}"), format!("model {e}"));
        Some(parsed.map_err(invalid))
    }

    /// What the path says the model is, where it is the path that names it.
    pub(crate) fn named_in_path(&self) -> Option<&str> {
        self.captures.get("model").filter(|_| self.route.model.contains(&ValueSource::Path))
    }

    /// The model of a body that names none.
    pub(crate) fn default_model(&self) -> Option<&str> {
        self.route.model.iter().find_map(|source| match source {
            ValueSource::Default(name) => Some(&**name),
            ValueSource::Body(_) | ValueSource::Path | ValueSource::Query(_) => None,
        })
    }

    /// `path` with what a channel calls the model, where the path names it.
    pub(crate) fn path_for(&self, path: &str, model: &str) -> Option<String> {
        if !self.route.model.contains(&ValueSource::Path) {
            return None;
        }
        self.captures.replaced(path, "model", model)
    }
}

/// The route by which a channel's replies to such a call are read; none: its protocol does not have
/// the call.
pub(crate) fn route_of(
    channel: &Channel,
    method: &Method,
    path: &str,
) -> Option<Arc<ProtocolRoute>> {
    let protocol = egress::protocol_of(channel).ok()?;
    protocol.route(method.as_str(), path).map(|found| Arc::clone(found.route))
}

/// Whether a channel's upstream speaks CustomPass.
pub(crate) fn is_custom_pass(channel: &Channel) -> bool {
    channel.protocol.name == CUSTOM_PASS
}

/// Whether a channel can be asked such a call. One of CustomPass takes every path, and one whose
/// protocol is gone is refused for that, and not for its path.
pub(crate) fn takes(channel: &Channel, method: &Method, path: &str) -> bool {
    is_custom_pass(channel)
        || egress::protocol_of(channel).is_err()
        || route_of(channel, method, path).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Library;

    fn of(method: &Method, path: &str) -> Option<Spoken> {
        let library = Library::builtin().unwrap();
        let protocols = ["custompass", "azure", "cohere", "fal", "ollama"];
        let protocols = protocols.map(|name| Arc::clone(library.get(name).unwrap()));
        let meaning = PathMeaning { is_model: &|it| it == "fal-ai/flux", protocols: &protocols };
        Spoken::of(&meaning, method, path)
    }

    fn spoken(method: Method, path: &str) -> Option<(String, Option<String>)> {
        let spoken = of(&method, path)?;
        let model = spoken.model_in_path().map(|model| model.unwrap().as_str().to_owned());
        Some((spoken.route.protocol.to_string(), model))
    }

    #[test]
    fn a_path_says_which_api_is_spoken() {
        for (path, protocol, model) in [
            ("/v1/chat/completions", "openai", None),
            ("/v1/messages", "anthropic", None),
            ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini", Some("gemini-2.5-pro")),
            ("/v1/models/g:streamGenerateContent", "gemini", Some("g")),
            ("/openai/deployments/gpt/chat/completions", "azure", Some("gpt")),
            ("/v2/rerank", "cohere", None),
            ("/v1/rerank", "openai", None),
            ("/fal-ai/flux", "fal", Some("fal-ai/flux")),
            ("/api/chat", "ollama", None),
            ("/fal-ai/unheard-of", "fal", Some("fal-ai/unheard-of")),
        ] {
            let found = spoken(Method::POST, path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((found.0.as_str(), found.1.as_deref()), (protocol, model), "{path}");
        }
        for none in ["/v1/unheard-of", "/v1beta/models/m:unheard-of", "/v3/chat"] {
            assert_eq!(spoken(Method::PUT, none), None, "{none}");
        }
        assert_eq!(spoken(Method::GET, "/v1/files/f-1"), None, "it names no model");
    }

    #[test]
    fn what_is_free_and_what_has_a_default() {
        let of = |path| of(&Method::POST, path).unwrap();
        assert!(of("/v1/messages/count_tokens").is_free() && !of("/v1/messages").is_free());
        assert_eq!(of("/v1/moderations").default_model(), Some("omni-moderation-latest"));
        assert_eq!(of("/v1/chat/completions").default_model(), None);
        let path = "/v1beta/models/a:generateContent";
        let other = of(path).path_for(path, "b");
        assert_eq!(other.as_deref(), Some("/v1beta/models/b:generateContent"));
    }
}
