//! The routes of the data plane.

use crate::identify::X_GOOG_API_KEY;
use crate::models::ModelList;
use crate::spoken::{PathMeaning, Spoken, is_custom_pass};
use crate::task_view::{self, TaskCall};
use crate::{faults, lenient, methods};
use domain::{Fault, FrozenPrice, ModelName, ModelNameError};
use http::{HeaderMap, Method};
use protocol::{ErrorShape, ListWord, PriceWord};
use store::Channel;
use upstream::PathError;

/// A header that clients of Anthropic's API must send.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// All routes of the data plane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// `ANY /pass/{model…}`
    Pass(ModelName),
    /// A path of an API: under `/v1` the body names the model, elsewhere a protocol says where.
    Api(ApiPath),
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{model}`
    Model(ModelName),
    /// `GET /v1/dashboard/billing/subscription`
    Subscription,
    /// `GET /v1/dashboard/billing/usage`
    Usage,
    /// Calls about tasks.
    Tasks(TaskCall),
    /// No route.
    Unknown,
}

/// The shape that a client reads, as far as its headers say it.
pub(crate) fn read_shape(headers: &HeaderMap) -> Option<ErrorShape> {
    if headers.contains_key(X_GOOG_API_KEY) {
        return Some(ErrorShape::Gemini);
    }
    headers.contains_key(ANTHROPIC_VERSION).then_some(ErrorShape::Anthropic)
}

/// A path of an API.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ApiPath {
    /// Decoded, with the slash in front: `/v1/chat/completions`.
    path: Box<str>,
    /// The route of a protocol that it fits; none: the path is passed on as it is.
    pub spoken: Option<Spoken>,
    /// Those of other protocols, which read a call otherwise: its body may say which is meant.
    others: Vec<Spoken>,
}

impl ApiPath {
    /// The path, decoded, with the slash in front.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The same path, spoken by this route and by no other.
    pub(crate) fn spoken_by(self, spoken: Spoken) -> Self {
        Self { spoken: Some(spoken), others: Vec::new(), ..self }
    }

    /// Whether several APIs have the path, and read a call of it otherwise.
    pub(crate) const fn is_shared(&self) -> bool {
        !self.others.is_empty()
    }

    /// All routes by which a call of it may be read.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &Spoken> {
        self.spoken.iter().chain(&self.others)
    }

    /// The shape of our own errors.
    pub(crate) fn errors(&self) -> ErrorShape {
        self.spoken.as_ref().map_or(ErrorShape::Plain, Spoken::errors)
    }

    /// Whether it lists something, and what is done then.
    pub(crate) fn list(&self) -> Option<ListWord> {
        self.spoken.as_ref().and_then(Spoken::list)
    }

    /// Whether it is about a task that was submitted before.
    pub(crate) fn is_about_task(&self) -> bool {
        self.spoken.as_ref().is_some_and(Spoken::is_about_task)
    }

    /// Refuses a price by which its calls can't be sold.
    pub(crate) fn check_price(&self, model: &str, price: &FrozenPrice) -> Result<(), Fault> {
        let route = self.spoken.as_ref().map(|it| it.route());
        // What many requests count together says nothing of the size of each.
        if price.has_size_tiers() && route.is_some_and(|route| route.has_models()) {
            return Err(faults::tiers_of_batch(model));
        }
        match (route.map(|route| route.price), price.is_by_use()) {
            (Some(PriceWord::Use), false) => Err(faults::priced_by_use_alone(model)),
            (Some(PriceWord::Call), true) => Err(match route.is_some_and(|it| it.takes_any()) {
                true => faults::call_not_counted(model),
                false => faults::priced_per_call_alone(model),
            }),
            _ => Ok(()),
        }
    }

    /// Whether its calls name no model, but only what was made before.
    pub(crate) fn names_no_model(&self) -> bool {
        self.spoken.as_ref().is_some_and(Spoken::names_no_model)
    }

    /// Whether a channel's own document reads a call of it as it is priced. What no protocol has is
    /// for upstreams that take every path.
    pub(crate) fn is_read_by(&self, channel: &Channel, method: &Method) -> bool {
        match &self.spoken {
            Some(spoken) => spoken.is_read_by(channel, method, &self.path),
            None => is_custom_pass(channel),
        }
    }

    /// Refuses a query that says a name by which some upstream may look for its model there, where
    /// it is not.
    pub(crate) fn check_query(&self, query: &str) -> Result<(), Fault> {
        self.spoken.as_ref().map(Spoken::model_places).unwrap_or_default().check_query(query)
    }

    fn read(meaning: &PathMeaning<'_>, method: &Method, raw: &str) -> Result<Self, Fault> {
        let decoded = upstream::decode_model_path(raw).map_err(bad_path)?;
        Ok(Self::behind_pass(meaning, method, &decoded))
    }

    /// What stands behind `/pass/`, decoded, as a path.
    pub(crate) fn behind_pass(
        meaning: &PathMeaning<'_>,
        method: &Method,
        model: &ModelName,
    ) -> Self {
        let path: Box<str> = ["/", model.as_str()].concat().into();
        match Spoken::all_of(meaning, method, &path) {
            Some((first, others)) => Self { path, spoken: Some(first), others },
            None => Self { path, spoken: None, others: Vec::new() },
        }
    }

    /// Without our own list of models, where an upstream's document has a call of that path: who
    /// wants ours asks for it at `/v1/models`.
    fn without_our_list(mut self) -> Self {
        let is_call = |it: &Spoken| it.list().is_none();
        if ModelList::of(&self).is_none() || !self.readings().any(is_call) {
            return self;
        }
        let all = self.spoken.take().into_iter().chain(std::mem::take(&mut self.others));
        let mut calls = all.filter(is_call);
        self.spoken = calls.next();
        self.others = calls.collect();
        self
    }
}

impl Surface {
    /// Whether it is a route of ours, a model's, or one that a protocol has. A path outside `/pass`
    /// that is all a model's name may be meant otherwise.
    fn is_known(&self, meaning: PathMeaning<'_>) -> bool {
        match self {
            Self::Pass(model) => (meaning.is_model)(model.as_str()),
            Self::Api(api) => api.spoken.as_ref().is_some_and(|it| !it.is_model_alone(&api.path)),
            Self::Models | Self::Model(_) | Self::Subscription | Self::Usage | Self::Tasks(_) => {
                true
            }
            Self::Unknown => false,
        }
    }

    /// The shape of our own errors. Several APIs list their models at one path: the client's
    /// headers say which of them it reads.
    pub(crate) fn errors(&self, headers: &HeaderMap) -> ErrorShape {
        match self {
            Self::Api(api) => api.errors(),
            Self::Models | Self::Model(_) => read_shape(headers).unwrap_or(ErrorShape::Openai),
            Self::Subscription | Self::Usage => ErrorShape::Openai,
            Self::Pass(_) | Self::Tasks(_) | Self::Unknown => ErrorShape::Plain,
        }
    }

    /// The pattern that its paths fit.
    pub(crate) fn route(&self) -> &'static str {
        match self {
            Self::Pass(_) => "/pass/{model}",
            Self::Api(api) => match api.path.split('/').nth(1) {
                Some("v1beta") => "/v1beta/{path}",
                Some("v2") => "/v2/{path}",
                Some("openai") => "/openai/{path}",
                Some("upload") => "/upload/{path}",
                _ => "/v1/{path}",
            },
            Self::Models => "/v1/models",
            Self::Model(_) => "/v1/models/{model}",
            Self::Subscription => "/v1/dashboard/billing/subscription",
            Self::Usage => "/v1/dashboard/billing/usage",
            Self::Tasks(call) => call.route(),
            Self::Unknown => "",
        }
    }
}

/// Parses a request's raw path: as it stands, or, where it has no meaning so, as the one path that
/// it can mean. What is under `/pass` is a model's name, and is never read otherwise.
pub(crate) fn surface(
    meaning: PathMeaning<'_>,
    method: &Method,
    path: &str,
) -> Result<Surface, Fault> {
    methods::check(method)?;
    let exact = read(meaning, method, path);
    let is_final = path.starts_with("/pass/");
    if is_final || exact.as_ref().is_ok_and(|surface| surface.is_known(meaning)) {
        return exact;
    }
    let mut known: Vec<_> = meant(meaning, method, path).collect();
    match (known.pop(), exact) {
        (Some((_, only)), _) if known.is_empty() => Ok(only),
        (Some((last, _)), _) => {
            let others = known.into_iter().map(|(path, _)| path);
            Err(faults::which_path(others.chain([last])))
        }
        (None, Err(fault)) => match read(meaning, method, &lenient::tidied(path)) {
            Ok(surface) if surface != Surface::Unknown => Ok(surface),
            _ => Err(fault),
        },
        (None, exact) => exact,
    }
}

/// The same, and the method by which it is served: a `HEAD` that no route has is a `GET` whose body
/// is not sent, where that costs nothing.
pub(crate) fn surface_and_method(
    meaning: PathMeaning<'_>,
    method: &Method,
    path: &str,
) -> Result<(Surface, Method), Fault> {
    let exact = surface(meaning, method, path);
    if *method == Method::HEAD && !exact.as_ref().is_ok_and(|it| it.is_known(meaning)) {
        let read = surface(meaning, &Method::GET, path);
        if let Ok(Surface::Api(api)) = read
            && (api.list().is_some() || api.spoken.as_ref().is_some_and(Spoken::is_free))
        {
            return Ok((Surface::Api(api), Method::GET));
        }
    }
    Ok((exact?, method.clone()))
}

/// The paths that one which is nearly right may mean.
pub(crate) fn meant<'a>(
    meaning: PathMeaning<'a>,
    method: &'a Method,
    path: &str,
) -> impl Iterator<Item = (String, Surface)> + use<'a> {
    lenient::readings(path).into_iter().filter_map(move |path| {
        let surface = read(meaning, method, &path).ok()?;
        surface.is_known(meaning).then_some((path, surface))
    })
}

/// Parses a path as it stands.
fn read(meaning: PathMeaning<'_>, method: &Method, path: &str) -> Result<Surface, Fault> {
    let decode = |raw| upstream::decode_model_path(raw).map_err(bad_path);
    if let Some(raw) = path.strip_prefix("/pass/") {
        if let Some(call) = task_view::under_pass(method, raw, meaning.is_model)? {
            // Some vendors have such paths, too: the model decides.
            if !call.model().is_some_and(meaning.is_model) {
                let api = ApiPath::read(&meaning, method, raw)?;
                if api.is_about_task() {
                    return Ok(Surface::Api(api));
                }
            }
            return Ok(Surface::Tasks(call));
        }
        let model = decode(raw)?;
        if !(meaning.is_model)(model.as_str()) {
            // No model, but perhaps a path of a vendor: `/pass/api/chat` is Ollama's.
            let api = ApiPath::read(&meaning, method, raw)?.without_our_list();
            let of_a_vendor = |it: &Spoken| it.named_in_path() != Some(model.as_str());
            if api.spoken.as_ref().is_some_and(of_a_vendor) {
                return Ok(Surface::Api(api));
            }
        }
        return Ok(Surface::Pass(model));
    }
    let Some(raw) = path.strip_prefix("/v1/") else {
        let api = ApiPath::read(&meaning, method, path.strip_prefix('/').unwrap_or(path))?;
        // Elsewhere only what a protocol has.
        return Ok(if api.spoken.is_some() { Surface::Api(api) } else { Surface::Unknown });
    };
    if let Some(call) = task_view::under_v1(method, raw)? {
        return Ok(Surface::Tasks(call));
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        match raw.trim_end_matches('/') {
            "models" => return Ok(Surface::Models),
            "dashboard/billing/subscription" => return Ok(Surface::Subscription),
            "dashboard/billing/usage" => return Ok(Surface::Usage),
            _ => {}
        }
        if let Some(model) = raw.strip_prefix("models/") {
            // Gemini's operations have such names.
            let api = ApiPath::read(&meaning, method, path.strip_prefix('/').unwrap_or(path))?;
            return match api.is_about_task() {
                true => Ok(Surface::Api(api)),
                false => Ok(Surface::Model(decode(model)?)),
            };
        }
    }
    if raw.is_empty() {
        return Err(bad_path(PathError::Name(ModelNameError::Empty)));
    }
    ApiPath::read(&meaning, method, path.strip_prefix('/').unwrap_or(path)).map(Surface::Api)
}

pub(crate) fn bad_path(error: PathError) -> Fault {
    faults::invalid(format!("路径无效: {}", error.zh()), format!("bad path: {}", error.en()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, LazyLock};

    fn meaning() -> PathMeaning<'static> {
        static PROTOCOLS: LazyLock<protocol::SpokenProtocols> = LazyLock::new(|| {
            let library = protocol::Library::builtin().unwrap();
            let protocols = ["custompass", "ollama"];
            let protocols = protocols.map(|name| Arc::clone(library.get(name).unwrap()));
            protocol::SpokenProtocols::new(protocols.into())
        });
        PathMeaning { is_model: &|_| false, protocols: &PROTOCOLS, reads: None }
    }

    fn read(method: Method, path: &str) -> String {
        match surface(meaning(), &method, path) {
            Ok(Surface::Api(api)) => {
                format!("Api({}, {})", api.path, api.spoken.is_some())
            }
            Ok(other) => format!("{other:?}"),
            Err(fault) => fault.en,
        }
    }

    #[test]
    fn every_path_has_one_meaning() {
        for (method, path, meaning) in [
            (Method::POST, "/pass/gpt-4", "Pass(ModelName(\"gpt-4\"))"),
            (Method::GET, "/pass/img%2Fsubmit", "Pass(ModelName(\"img/submit\"))"),
            (Method::POST, "/v1/chat/completions", "Api(/v1/chat/completions, true)"),
            (Method::GET, "/v1/models", "Models"),
            (Method::GET, "/v1/models/org/m", "Model(ModelName(\"org/m\"))"),
            (Method::GET, "/v1/models/m/operations/o", "Api(/v1/models/m/operations/o, true)"),
            (Method::POST, "/v1/models", "Api(/v1/models, false)"),
            (Method::GET, "/v1/dashboard/billing/subscription", "Subscription"),
            (Method::GET, "/v1/dashboard/billing/usage", "Usage"),
            (Method::GET, "/v1/tasks", "Tasks(Page)"),
            (Method::POST, "/v1/tasks", "Api(/v1/tasks, false)"),
            (Method::POST, "/pass/m/task/list-by-condition", "Tasks(List { model: \"m/submit\" })"),
            (Method::GET, "/pass/m/tasks/7", "Pass(ModelName(\"m/tasks/7\"))"),
            (
                Method::POST,
                "/v1beta/models/m:generateContent",
                "Api(/v1beta/models/m:generateContent, true)",
            ),
            (Method::POST, "/pass/api/chat", "Api(/api/chat, true)"),
            (Method::POST, "/pass/v1/chat/completions", "Api(/v1/chat/completions, true)"),
            (Method::POST, "/v1beta/models/m:other", "Unknown"),
            (Method::POST, "//v1//chat/completions/", "Api(/v1/chat/completions, true)"),
            (Method::POST, "/v1/v1/chat/completions", "Api(/v1/chat/completions, true)"),
            (Method::POST, "/chat/completions", "Api(/v1/chat/completions, true)"),
            (Method::POST, "/v1/pass/api/chat", "Api(/api/chat, true)"),
            (Method::GET, "/v1/v1/models/", "Models"),
            (
                Method::GET,
                "/models",
                "no such path; it may mean one of: /v1/models, /v1beta/models",
            ),
            (Method::POST, "/v1/a//b", "Api(/v1/a/b, false)"),
            (Method::POST, "/v1/v1/unheard-of", "Api(/v1/v1/unheard-of, false)"),
            (Method::GET, "/elsewhere", "Unknown"),
        ] {
            assert_eq!(read(method, path), meaning, "{path}");
        }
    }

    #[test]
    fn odd_paths_are_refused() {
        for path in [
            "/pass/",
            "/pass/a//b",
            "/pass/a/",
            "/pass/a/../b",
            "/pass/%2e%2e/x",
            "/pass/%",
            "/v1/a%2F%2Fb",
            "/v1/",
            "//",
        ] {
            assert!(surface(meaning(), &Method::POST, path).is_err(), "{path}");
        }
    }
}
