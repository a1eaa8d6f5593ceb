//! Which API a call speaks: the route of a protocol that its path fits, and where its model is.

use crate::call::pass_path;
use domain::{Fault, ModelName};
use egress::CUSTOM_PASS;
use egress::request_body::{ModelPlaces, resource_ids};
use egress::request_units::PricedRoute;
use http::Method;
use protocol::{
    ErrorShape, ListWord, PathCaptures, PriceWord, Protocol, ProtocolRoute, SpokenProtocols,
    TaskWord, ValueSource,
};
use std::sync::Arc;
use store::{ALWAYS_SPOKEN, Channel};

/// What paths of the data plane begin with.
pub(crate) const FRONTS: [&str; 6] = ["/pass/", "/v1/", "/v1beta/", "/v2/", "/openai/", "/upload/"];

/// What a path is read by: the models that there are, and the protocols that are spoken.
#[derive(Clone, Copy)]
pub(crate) struct PathMeaning<'a> {
    pub is_model: &'a dyn Fn(&str) -> bool,
    pub protocols: &'a SpokenProtocols,
    /// The shape that the client reads, as far as its headers say it: several APIs have a path like
    /// `/v1/files`.
    pub reads: Option<ErrorShape>,
}

/// A call's route, as a protocol has it.
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    protocol: Arc<Protocol>,
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
    /// The route that a method and an absolute path fit, if it can be served, and, where several
    /// APIs have the path, the others by which the call may be read. The one that the client reads
    /// is first. Those whose path names a model that there is not are left out, where others are,
    /// or where all of the path would be its name: else no path would be left to others.
    pub(crate) fn all_of(
        meaning: &PathMeaning<'_>,
        method: &Method,
        path: &str,
    ) -> Option<(Self, Vec<Self>)> {
        let is_model = |it: &Self| it.named_in_path().is_none_or(meaning.is_model);
        let served = |it: &Arc<Protocol>| {
            let spoken = Self::by(it, method, path).filter(|spoken| spoken.route.is_served())?;
            (!spoken.is_model_alone(path) || is_model(&spoken)).then_some(spoken)
        };
        let first = meaning.protocols.iter().find_map(served)?;
        let others = meaning.protocols.others(&first.route);
        if others.is_empty() {
            return Some((first, Vec::new()));
        }
        let mut all = vec![first];
        all.extend(others.iter().filter_map(served));
        if all.iter().any(is_model) {
            all.retain(is_model);
        }
        if let Some(shape) = meaning.reads
            && all.iter().any(|it| it.errors() == shape)
        {
            // A client that says so is not given the replies of another vendor's API.
            all.retain(|it| it.errors() == shape || it.errors() == ErrorShape::Plain);
            all.sort_by_key(|it| it.errors() != shape);
        }
        let mut distinct: Vec<Self> = Vec::with_capacity(all.len());
        for spoken in all {
            if !distinct.iter().any(|known| known.reads_as(&spoken)) {
                distinct.push(spoken);
            }
        }
        let mut distinct = distinct.into_iter();
        Some((distinct.next()?, distinct.collect()))
    }

    /// The route of a protocol that a call fits.
    pub(crate) fn by(protocol: &Arc<Protocol>, method: &Method, path: &str) -> Option<Self> {
        let found = protocol.route(method.as_str(), path)?;
        let route = Arc::clone(found.route);
        Some(Self { protocol: Arc::clone(protocol), route, captures: found.captures })
    }

    /// Whether both read a call alike.
    fn reads_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.route, &other.route)
            || self.captures == other.captures && self.route.reads_as(&other.route)
    }

    /// Whether a channel's own document reads the call as this one does, so that what is priced is
    /// what its upstream runs.
    pub(crate) fn is_read_by(&self, channel: &Channel, method: &Method, path: &str) -> bool {
        let Some(own) = &channel.protocol.found else { return false };
        if Arc::ptr_eq(own, &self.protocol) || is_custom_pass(channel) && own.has(&self.route) {
            return true;
        }
        match Self::by(own, method, path) {
            Some(its) => self.reads_as(&its),
            None => is_custom_pass(channel) && self.is_of_custom_pass(),
        }
    }

    /// Whether an upstream of CustomPass, which takes every path, reads it so: it has the model in
    /// the path or as `model`, and no call of it is free.
    fn is_of_custom_pass(&self) -> bool {
        let is_plain = |source: &ValueSource| match source {
            ValueSource::Path => true,
            ValueSource::Body(_) => source.form_field() == Some("model"),
            _ => false,
        };
        let (route, model) = (&self.route, &self.route.model);
        let is_plain =
            || !model.is_empty() && model.iter().all(is_plain) && route.model_suffix.is_none();
        ALWAYS_SPOKEN.contains(&&*route.protocol) || route.price == PriceWord::Model && is_plain()
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

    /// Whether all of a path is the name of its model, so that any path would fit.
    pub(crate) fn is_model_alone(&self, path: &str) -> bool {
        self.named_in_path().is_some_and(|model| path.strip_prefix('/') == Some(model))
    }

    /// Where else the model is named.
    pub(crate) fn model_places(&self) -> ModelPlaces<'_> {
        ModelPlaces::of(&self.route)
    }

    /// Whether a call names no model, but only what was made before, or nothing.
    pub(crate) fn names_no_model(&self) -> bool {
        self.route.model.is_empty()
    }

    /// Whether a call names neither, so that every channel of its protocol can be asked.
    pub(crate) fn names_nothing(&self) -> bool {
        self.names_no_model() && self.route.uses.is_empty()
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

    /// Whether its model, or which of its models there is, stands in the body.
    pub(crate) fn has_model_in_body(&self) -> bool {
        self.route.model.iter().any(ValueSource::is_in_body)
    }

    /// Its protocol.
    pub(crate) fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// Its protocol's route.
    pub(crate) fn route(&self) -> &Arc<ProtocolRoute> {
        &self.route
    }

    /// What its requests are read by.
    pub(crate) fn read_by(&self) -> (&ProtocolRoute, &PathCaptures) {
        (&self.route, &self.captures)
    }

    /// What its path captured.
    pub(crate) fn captures(&self) -> &PathCaptures {
        &self.captures
    }

    /// The ids of what a call is about, where no body names them.
    pub(crate) fn ids_outside_of_body(&self, query: Option<&str>) -> Result<Vec<String>, Fault> {
        resource_ids(self.read_by(), query, (None, b""))
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
    let (route, _) = route_in(egress::protocol_of(channel).ok()?, method, path)?;
    Some(route)
}

/// A route, and what it captures of a path.
type Captured = (Arc<ProtocolRoute>, PathCaptures);

fn route_in(protocol: &Protocol, method: &Method, path: &str) -> Option<Captured> {
    let found = protocol.route(method.as_str(), path)?;
    Some((Arc::clone(found.route), found.captures))
}

/// The routes by which a call is read for its price: that of the API that it speaks, or, under
/// `/pass`, those of its channels. A call of CustomPass says nothing that is known here.
pub(crate) fn priced_routes(
    candidates: &[Arc<Channel>],
    (spoken, path): (Option<&Spoken>, &str),
    method: &Method,
) -> Vec<PricedRoute> {
    let read = candidates.iter().filter(|channel| spoken.is_some() || !is_custom_pass(channel));
    // A channel whose protocol is not there can't take the call.
    let protocols = read.filter_map(|channel| egress::protocol_of(channel).ok());
    let read: Vec<_> = protocols.map(|protocol| route_in(protocol, method, path)).collect();
    let own = distinct(read.iter().flatten());
    let Some(spoken) = spoken else {
        let alone = |(route, captures): Captured| {
            let readers = vec![Arc::clone(&route)];
            PricedRoute { readers, route, captures }
        };
        return own.into_iter().map(alone).collect();
    };
    // All read the request alike, but for what they hold.
    let first = (Arc::clone(&spoken.route), spoken.captures.clone());
    let routes = distinct([&first].into_iter().chain(&own));
    let own = own.into_iter().map(|(route, _)| route).collect();
    let readers = if read.iter().any(Option::is_none) { Vec::new() } else { own };
    let priced = |(route, captures)| PricedRoute { route, captures, readers: readers.clone() };
    routes.into_iter().map(priced).collect()
}

fn distinct<'a>(routes: impl Iterator<Item = &'a Captured>) -> Vec<Captured> {
    let mut distinct: Vec<Captured> = Vec::new();
    for captured in routes {
        if !distinct.iter().any(|known| Arc::ptr_eq(&known.0, &captured.0)) {
            distinct.push(captured.clone());
        }
    }
    distinct
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

/// Whether a channel takes a path under `/pass` as the name of its model, and reads nothing else.
pub(crate) fn takes_as_model(channel: &Channel, method: &Method, model: &ModelName) -> bool {
    let Ok(own) = egress::protocol_of(channel) else { return true };
    let reads_it = |spoken: Spoken| {
        spoken.named_in_path() == Some(model.as_str()) && spoken.route.reads_path_alone()
    };
    is_custom_pass(channel) || Spoken::by(own, method, &pass_path(model)).is_some_and(reads_it)
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
        let protocols = &SpokenProtocols::new(protocols.into());
        let meaning = PathMeaning { is_model, protocols, reads: None };
        Spoken::all_of(&meaning, method, path).map(|(first, _)| first)
    }

    #[test]
    fn of_several_apis_with_a_path_the_one_that_the_client_reads() {
        let library = Library::builtin().unwrap();
        let protocols = ["openai", "gemini"].map(|name| Arc::clone(library.get(name).unwrap()));
        let protocols = &SpokenProtocols::new(protocols.into());
        let id = |reads, path| {
            let meaning = PathMeaning { is_model: &|_| false, protocols, reads };
            let (spoken, _) = Spoken::all_of(&meaning, &Method::GET, path).unwrap();
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
        ] {
            let found = spoken(Method::POST, path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((found.0.as_str(), found.1.as_deref()), (protocol, model), "{path}");
        }
        for none in ["/v1/unheard-of", "/v1beta/models/m:unheard-of", "/v3/chat"] {
            assert_eq!(spoken(Method::PUT, none), None, "{none}");
        }
        assert_eq!(spoken(Method::POST, "/fal-ai/unheard-of"), None);
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
