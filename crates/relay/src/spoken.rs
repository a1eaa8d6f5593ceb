//! Which API a call speaks: the route of a protocol that its path fits, and where its model is.

use crate::call::pass_path;
use domain::ModelName;
use egress::CUSTOM_PASS;
use http::Method;
use protocol::{
    ErrorShape, ListWord, PathCaptures, PriceWord, Protocol, ProtocolRoute, TaskWord, ValueSource,
};
use std::sync::Arc;
use store::Channel;

/// What paths of the data plane begin with.
pub(crate) const FRONTS: [&str; 6] = ["/pass/", "/v1/", "/v1beta/", "/v2/", "/openai/", "/upload/"];

/// What a path is read by: the models that there are, and the protocols that are spoken.
#[derive(Clone, Copy)]
pub(crate) struct PathMeaning<'a> {
    pub is_model: &'a dyn Fn(&str) -> bool,
    pub protocols: &'a [Arc<Protocol>],
    /// The shape that the client reads, as far as its headers say it: several APIs have a path like
    /// `/v1/files`.
    pub reads: Option<ErrorShape>,
}

/// Where calls of a route name their model, if not in their path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelPlaces<'a> {
    /// Members at the top of a JSON body, or fields of a form; the preferred one first.
    pub members: Vec<&'a str>,
    /// A parameter of the query.
    pub parameter: Option<&'a str>,
    /// The model of a call that names none.
    pub default: Option<&'a str>,
    /// What stands before the model's name in a body.
    pub prefix: Option<&'a str>,
}

impl ModelPlaces<'_> {
    /// Those of a path that no protocol has.
    pub(crate) fn unspoken() -> Self {
        Self { members: vec!["model"], ..Self::default() }
    }
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
    /// The route that a method and an absolute path fit, if it can be served. Of several, one whose
    /// path names a model that exists, or whose path names none.
    pub(crate) fn of(meaning: &PathMeaning<'_>, method: &Method, path: &str) -> Option<Self> {
        let mut unknown = None;
        let found = || meaning.protocols.iter().filter_map(|it| Self::by(it, method, path));
        let is_read = |it: &Self| meaning.reads == Some(it.errors());
        // Most clients say nothing: then no protocol is looked at twice.
        let preferred = meaning.reads.map(|_| found().filter(is_read)).into_iter().flatten();
        let others = found().filter(|it| !is_read(it));
        for spoken in preferred.chain(others) {
            if !spoken.route.is_served() {
                continue;
            }
            match spoken.named_in_path() {
                Some(model) if !(meaning.is_model)(model) => unknown = unknown.or(Some(spoken)),
                _ => return Some(spoken),
            }
        }
        unknown
    }

    /// The route of a protocol that a call fits.
    pub(crate) fn by(protocol: &Protocol, method: &Method, path: &str) -> Option<Self> {
        let found = protocol.route(method.as_str(), path)?;
        Some(Self { route: Arc::clone(found.route), captures: found.captures })
    }

    /// Whether it is about a task that was submitted before.
    pub(crate) fn is_about_task(&self) -> bool {
        use TaskWord::{Ask, Cancel, Fetch};
        matches!(self.route.task, Some(Ask | Fetch | Cancel))
    }

    /// The shape of our own errors.
    pub(crate) fn errors(&self) -> ErrorShape {
        self.route.errors
    }

    /// Whether such calls cost nothing, whatever their model's price is.
    pub(crate) fn is_free(&self) -> bool {
        self.route.price == PriceWord::Free || self.is_about_task()
    }

    /// What the path says the model is, where it is the path that names it.
    pub(crate) fn named_in_path(&self) -> Option<&str> {
        self.captures.get("model").filter(|_| self.route.model.contains(&ValueSource::Path))
    }

    /// Where else the model is named.
    pub(crate) fn model_places(&self) -> ModelPlaces<'_> {
        let prefix = self.route.model_prefix.as_deref();
        let mut places = ModelPlaces { prefix, ..ModelPlaces::default() };
        for source in &self.route.model {
            match source {
                ValueSource::Body(_) => places.members.extend(source.form_field()),
                ValueSource::Query(name) => places.parameter = Some(name),
                ValueSource::Default(name) => places.default = Some(name),
                ValueSource::Path | ValueSource::Every(_) | ValueSource::Anywhere(_) => {}
            }
        }
        places
    }

    /// Whether a call names no model, but only what was made before, or nothing.
    pub(crate) fn names_no_model(&self) -> bool {
        self.route.model.is_empty()
    }

    /// Whether a call names neither, so that every channel of its protocol can be asked.
    pub(crate) fn names_nothing(&self) -> bool {
        self.names_no_model() && self.route.uses.is_empty()
    }

    /// Whether a channel speaks the protocol of the call, and has its route.
    pub(crate) fn is_spoken_by(&self, channel: &Channel, method: &Method, path: &str) -> bool {
        route_of(channel, method, path).is_some_and(|its| its.protocol == self.route.protocol)
    }

    /// Whether nothing of a call's body is read.
    pub(crate) fn streams_body(&self) -> bool {
        let mut sources = self.route.model.iter().chain(&self.route.uses);
        let reads = self.route.refuses_by_body() || sources.any(ValueSource::is_in_body);
        self.is_free() && !reads
    }

    /// Whether it lists what was made, and what is done then.
    pub(crate) fn list(&self) -> Option<ListWord> {
        self.route.list
    }

    /// What it is to a task.
    pub(crate) fn task(&self) -> Option<TaskWord> {
        self.route.task
    }

    /// Its protocol's route.
    pub(crate) fn route(&self) -> &Arc<ProtocolRoute> {
        &self.route
    }

    /// What its path captured.
    pub(crate) fn captures(&self) -> &PathCaptures {
        &self.captures
    }

    /// The id of what was made before, where the path names it.
    pub(crate) fn id_in_path(&self) -> Option<&str> {
        self.captures.get("id").filter(|_| self.route.uses.contains(&ValueSource::Path))
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

/// The routes by which a call is read for its price: that of the API that it speaks, or, under
/// `/pass`, those of its channels. A call of CustomPass says nothing that is known here.
pub(crate) fn priced_routes(
    candidates: &[Arc<Channel>],
    spoken: Option<&Spoken>,
    (method, model): (&Method, &ModelName),
) -> Vec<Arc<ProtocolRoute>> {
    if let Some(spoken) = spoken {
        return vec![Arc::clone(&spoken.route)];
    }
    let mut routes: Vec<Arc<ProtocolRoute>> = Vec::new();
    for channel in candidates.iter().filter(|channel| !is_custom_pass(channel)) {
        let found = route_of(channel, method, &pass_path(model));
        routes.extend(found.filter(|new| !routes.iter().any(|route| Arc::ptr_eq(route, new))));
    }
    routes
}

/// The route by which a channel takes a call as the submission of a task; none: it does not, or it
/// does so by CustomPass.
pub(crate) fn submit_route(
    channel: &Channel,
    method: &Method,
    path: &str,
) -> Option<Arc<ProtocolRoute>> {
    route_of(channel, method, path).filter(|route| route.task == Some(TaskWord::Submit))
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
        let is_model: &dyn Fn(&str) -> bool = &|it| it == "fal-ai/flux";
        let meaning = PathMeaning { is_model, protocols: &protocols, reads: None };
        Spoken::of(&meaning, method, path)
    }

    #[test]
    fn of_several_apis_with_a_path_the_one_that_the_client_reads() {
        let library = Library::builtin().unwrap();
        let protocols = ["openai", "gemini"].map(|name| Arc::clone(library.get(name).unwrap()));
        let id = |reads, path| {
            let meaning = PathMeaning { is_model: &|_| false, protocols: &protocols, reads };
            let spoken = Spoken::of(&meaning, &Method::GET, path).unwrap();
            spoken.id_in_path().map(str::to_owned)
        };
        assert_eq!(id(None, "/v1/files/f").as_deref(), Some("f"));
        assert_eq!(id(Some(ErrorShape::Gemini), "/v1/files/f").as_deref(), Some("files/f"));
        assert_eq!(id(Some(ErrorShape::Gemini), "/v1/batches/b").as_deref(), Some("b"));
    }

    fn spoken(method: Method, path: &str) -> Option<(String, Option<String>)> {
        let spoken = of(&method, path)?;
        let model = spoken.named_in_path().map(str::to_owned);
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
        let file = of(&Method::GET, "/v1/files/f-1").unwrap();
        assert!(file.names_no_model() && file.streams_body());
        assert_eq!(file.id_in_path(), Some("f-1"));
    }

    #[test]
    fn what_is_free_and_what_has_a_default() {
        let of = |path| of(&Method::POST, path).unwrap();
        assert!(of("/v1/messages/count_tokens").is_free() && !of("/v1/messages").is_free());
        let moderations = of("/v1/moderations");
        let members = vec!["model"];
        let expected =
            ModelPlaces { members, default: Some("omni-moderation-latest"), ..Default::default() };
        assert_eq!(moderations.model_places(), expected);
        assert_eq!(of("/v1/chat/completions").model_places(), ModelPlaces::unspoken());
        assert_eq!(of("/v1/files").model_places().parameter, Some("model"));
        let path = "/v1beta/models/a:generateContent";
        let other = of(path).path_for(path, "b");
        assert_eq!(other.as_deref(), Some("/v1beta/models/b:generateContent"));
    }
}
