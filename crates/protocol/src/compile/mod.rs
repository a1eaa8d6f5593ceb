//! From a document to a protocol: everything is checked here, once, and nothing later.

mod problems;
mod replies;
mod requests;
mod sections;
mod tasks;

pub use problems::{DocumentProblem, DocumentProblems};

use crate::auth::Auth;
use crate::document::{AuthSection, Document, RouteSection, TaskWord, TextList};
use crate::ids::IdRules;
use crate::library::Library;
use crate::protocol::Protocol;
use crate::reads::reading_of;
use crate::route::{ProtocolRoute, RoutePattern};
use crate::task::TaskRules;
use crate::value_source::ValueSource;
use problems::ProblemList;
use requests::RequestSources;
use std::collections::BTreeMap;
use std::sync::Arc;
use tasks::TaskKinds;

/// Largest document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// Most routes of a protocol, with those of the ones that it speaks.
const MAX_ROUTES: usize = 256;
/// Most patterns of a route, sources of a model, words of a condition.
const MAX_LIST: usize = 32;
/// How long it is remembered who made a thing, unless the document says.
pub(crate) const RESOURCE_DAYS: u32 = 30;
/// The longest that may be.
const MAX_RESOURCE_DAYS: u32 = 3650;
/// The word for a route whose calls are never made twice.
const ALWAYS: &str = "always";
/// Longest word, name or title, in bytes.
const MAX_WORD: usize = 200;

/// Reads a document, with the protocols that it may build on.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn compile(
    text: &str,
    known: &Library,
) -> Result<(Document, Protocol), DocumentProblems> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(DocumentProblems::whole(format!("is larger than {MAX_DOCUMENT_BYTES} bytes")));
    }
    let (document, unknown) = problems::read(text)?;
    let mut found = ProblemList::default();
    let document = inherit(document, known, &mut found);
    let protocol = protocol(&document, known, &mut found);
    found.ended(text, unknown)?;
    Ok((document, protocol))
}

/// The document, with its base's sections where it has none of its own.
fn inherit(mut document: Document, known: &Library, found: &mut ProblemList) -> Document {
    let Some(name) = document.base.clone() else { return document };
    let Some(base) = known.document(&name) else {
        found.at("base", format!("there is no protocol {name:?}"));
        return document;
    };
    let base = base.clone();
    if let (Some(own), Some(its)) = (&document.auth, &base.auth) {
        let presents = |auth: &AuthSection| auth.header.is_some() || auth.query.is_some();
        if presents(its) && !presents(own) {
            let how = match (&its.header, &its.query) {
                (Some(header), _) => format!("header = {header:?}, and its value"),
                (None, query) => format!("query = {:?}", query.as_deref().unwrap_or_default()),
            };
            let what = format!(
                "takes the place of all that {name} says there, and presents no key: say {how}, too"
            );
            found.at("auth", what);
        }
    }
    document.auth = document.auth.or(base.auth);
    document.address = document.address.or(base.address);
    document.routes = document.routes.or(base.routes);
    document.hold = document.hold.or(base.hold);
    document.stream = document.stream.or(base.stream);
    document.text = document.text.or(base.text);
    document.outcome = document.outcome.or(base.outcome);
    document.usage = document.usage.or(base.usage);
    document.errors = document.errors.or(base.errors);
    document.defaults = document.defaults.or(base.defaults);
    document.resources = document.resources.or(base.resources);
    document.task = document.task.or(base.task);
    // What a base refuses has a cost that is not counted, also in documents that refuse more.
    document.refuse.get_or_insert_default().extend(base.refuse.unwrap_or_default());
    document.tasks = document.tasks.or(base.tasks);
    if document.speaks.is_empty() {
        document.speaks = base.speaks;
    }
    document
}

fn protocol(document: &Document, known: &Library, found: &mut ProblemList) -> Protocol {
    sections::name(document, found);
    let name: Arc<str> = document.name.as_str().into();
    let task = document.task.as_ref().map(|it| tasks::rules(document, ("task", it), found));
    let task = task.flatten().map(Arc::new);
    let kinds = tasks::kinds(document, found);
    let mut routes = routes(document, (&name, task.as_ref(), &kinds), found);
    for (at, other) in document.speaks.iter().enumerate() {
        match known.get(other) {
            Some(other) => routes.extend(other.routes.iter().cloned()),
            None => found.at(format!("speaks.{at}"), format!("there is no protocol {other:?}")),
        }
    }
    if routes.is_empty() || routes.len() > MAX_ROUTES {
        found.at("route", format!("a protocol has between 1 and {MAX_ROUTES} routes"));
    }
    let auth = document.auth.as_ref().map_or_else(Auth::default, |it| sections::auth(it, found));
    let address = document.address.as_ref().map(|it| sections::address(it, found));
    let lifetime_days = document.resources.as_ref().map(|it| it.lifetime_days);
    if lifetime_days.is_some_and(|days| days == 0 || days > MAX_RESOURCE_DAYS) {
        found.at("resources.lifetime_days", format!("is between 1 and {MAX_RESOURCE_DAYS}"));
    }
    let is_under_pass = |pattern: &RoutePattern| pattern.begins_with("/pass/");
    Protocol {
        under_pass: routes.iter().any(|route| route.patterns.iter().any(is_under_pass)),
        name,
        title: document.title.clone(),
        sources: document.sources.clone(),
        auth,
        address: address.unwrap_or_default(),
        routes,
        task,
    }
}

fn routes(
    document: &Document,
    (name, task, kinds): (&Arc<str>, Option<&Arc<TaskRules>>, &TaskKinds),
    found: &mut ProblemList,
) -> Vec<Arc<ProtocolRoute>> {
    let sections = document.routes.as_deref().unwrap_or_default();
    if sections.len() > MAX_ROUTES {
        // Reported by the caller.
        return Vec::new();
    }
    let mut shared = SharedRules::default();
    let mut made: Vec<Arc<ProtocolRoute>> = Vec::new();
    for (at, section) in sections.iter().enumerate() {
        let at = format!("route.{at}");
        let Some(route) = route(document, section, &at, &mut shared, found) else { continue };
        let tasks = match &section.tasks {
            None => task.filter(|_| route.task.is_some()),
            Some(kind) => {
                let known = kinds.get(kind).filter(|_| route.task.is_some());
                if known.is_none() {
                    found.at(format!("{at}.tasks"), format!("there is no [tasks.{kind}] for it"));
                }
                known
            }
        };
        let tasks = tasks.map(Arc::clone);
        let route = ProtocolRoute { protocol: Arc::clone(name), tasks, ..route };
        for (number, pattern) in route.patterns.iter().enumerate() {
            let above = made.iter().flat_map(|route| &route.patterns);
            if let Some(first) = above.into_iter().find(|first| first.hides(pattern)) {
                let what = format!("{pattern} is never reached: {first} matches all of it");
                found.at(format!("{at}.match.{number}"), what);
            }
        }
        if let Some(other) = made.iter().find(|other| tasks::may_be_mistaken(&route, other)) {
            let what =
                "submits tasks to a path at which those of another method are read otherwise";
            found.at(format!("{at}.task"), format!("{what}: {}", other.patterns[0]));
        }
        made.push(Arc::new(route));
    }
    made
}

/// Rules are shared by the routes that read alike.
#[derive(Default)]
struct SharedRules {
    replies: BTreeMap<String, Arc<crate::rules::Rules>>,
    requests: BTreeMap<String, Arc<crate::request::RequestRules>>,
    ids: Option<Arc<IdRules>>,
}

impl SharedRules {
    fn reply(
        &mut self,
        document: &Document,
        section: &RouteSection,
        at: &str,
        found: &mut ProblemList,
    ) -> Option<Arc<crate::rules::Rules>> {
        let RouteSection { reply, empty, text, whole, meters, makes, task, .. } = section;
        let key = format!("{reply:?} {empty:?} {text:?} {whole:?} {meters:?} {makes:?} {task:?}");
        if let Some(known) = self.replies.get(&key) {
            return Some(Arc::clone(known));
        }
        let ids = Arc::clone(self.ids(document));
        let made = Arc::new(replies::rules((document, ids), section, at, found)?);
        self.replies.insert(key, Arc::clone(&made));
        Some(made)
    }

    fn request(
        &mut self,
        document: &Document,
        sources: RequestSources<'_>,
        found: &mut ProblemList,
    ) -> Option<Arc<crate::request::RequestRules>> {
        let key = format!("{sources:?}");
        if let Some(known) = self.requests.get(&key) {
            return Some(Arc::clone(known));
        }
        let made = Arc::new(requests::rules(document, sources, found)?);
        self.requests.insert(key, Arc::clone(&made));
        Some(made)
    }

    /// Which addresses are ids.
    fn ids(&mut self, document: &Document) -> &Arc<IdRules> {
        let all = |texts: &TextList| texts.0.iter().map(|text| text.as_str().into()).collect();
        self.ids.get_or_insert_with(|| {
            let rules = document
                .resources
                .as_ref()
                .map(|it| IdRules { hosts: all(&it.hosts), below: all(&it.below) });
            Arc::new(rules.unwrap_or_default())
        })
    }
}

fn route(
    document: &Document,
    section: &RouteSection,
    at: &str,
    shared: &mut SharedRules,
    found: &mut ProblemList,
) -> Option<ProtocolRoute> {
    let patterns = patterns(section, at, found);
    let model = sources(&section.model.0, &format!("{at}.model"), found);
    let uses = sources(&section.uses.0, &format!("{at}.uses"), found);
    captured(&patterns, &model, "model", at, found);
    one_place(&model, at, found);
    if section.model_stays && !model.iter().any(|it| matches!(it, ValueSource::Query(_))) {
        found.at(format!("{at}.model_stays"), "is of a route whose model the query names");
    }
    captured(&patterns, &uses, "id", at, found);
    if section.task == Some(TaskWord::Submit) && document.task.is_none() && section.tasks.is_none()
    {
        found.at(format!("{at}.task"), "submits a task, and there is no [task] that reads it");
    }
    let rules = shared.reply(document, section, at, found)?;
    let always = section.once.0 == [ALWAYS];
    let once = if always { TextList::default() } else { section.once.clone() };
    let sources = RequestSources { model: &model, uses: &uses, once: &once, section, at };
    let request = shared.request(document, sources, found)?;
    let route = ProtocolRoute {
        probe: requests::probe((section, &patterns), at, found),
        patterns,
        model,
        price: section.price.unwrap_or_default(),
        uses,
        makes: !section.makes.0.is_empty(),
        reuses_ids: document.resources.as_ref().is_some_and(|it| it.reused),
        resource_days: document.resources.as_ref().map_or(RESOURCE_DAYS, |it| it.lifetime_days),
        collection: requests::collection(section, at, found),
        shown: replies::shown(section),
        model_prefix: section.model_prefix.as_deref().map(Into::into),
        model_suffix: section.model_suffix.as_deref().map(Into::into),
        model_stays: section.model_stays,
        links: requests::links(section, at, found),
        session: requests::session(section, at, found),
        ids: Arc::clone(shared.ids(document)),
        list: section.list,
        task: section.task,
        tasks: None,
        once: always || section.task == Some(TaskWord::Submit),
        ask_usage: requests::ask_usage(document, &section.ask_usage, at, found),
        headers: sections::headers(&format!("{at}.headers"), &section.headers, found),
        errors: document.errors.as_ref().map(|it| it.shape).unwrap_or_default(),
        protocol: Arc::from(""),
        reads: reading_of(document, section),
        first_byte_s: document.defaults.as_ref().and_then(|it| it.first_byte_s),
        rules,
        request,
    };
    if !route.is_served() && route.probe.is_none() {
        let what = "names no model, uses nothing that was made, lists nothing and is not free: \
                    such a call can't be served. Give it a model, such as \"default:NAME\", or \
                    price = \"free\"";
        found.at(at, what);
    }
    Some(route)
}

fn patterns(section: &RouteSection, at: &str, found: &mut ProblemList) -> Vec<RoutePattern> {
    let texts = &section.matches.0;
    if texts.is_empty() || texts.len() > MAX_LIST {
        found.at(format!("{at}.match"), format!("a route has between 1 and {MAX_LIST} patterns"));
        return Vec::new();
    }
    let mut patterns = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        match RoutePattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => found.at(format!("{at}.match.{number}"), format!("{text:?} {error}")),
        }
    }
    patterns
}

/// `body:/model`, `path`, `query:model`, `default:NAME`.
fn sources(texts: &[String], at: &str, found: &mut ProblemList) -> Vec<ValueSource> {
    if texts.len() > MAX_LIST {
        found.at(at, format!("names more than {MAX_LIST} sources"));
        return Vec::new();
    }
    let mut sources = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let at = format!("{at}.{number}");
        let source = match text.split_once(':') {
            Some(("body", pointer)) => found.pointer(&at, pointer).map(ValueSource::Body),
            Some(("every", pointer)) => found.pointer(&at, pointer).map(ValueSource::Every),
            Some(("any", pointer)) => found.pointer(&at, pointer).map(ValueSource::Anywhere),
            Some(("query", name)) if !name.is_empty() => Some(ValueSource::Query(name.into())),
            Some(("default", name)) if !name.is_empty() => Some(ValueSource::Default(name.into())),
            None if text == "path" => Some(ValueSource::Path),
            _ => {
                let what = "is none of body:/pointer, every:/pointer, any:/pointer, path, \
                            query:name and default:NAME";
                found.at(at, format!("{text:?} {what}"));
                None
            }
        };
        sources.extend(source);
    }
    sources
}

/// A body's model is exchanged where it stands, which is done at the top alone; and of a query and
/// a body that both name one, only one would be priced.
fn one_place(model: &[ValueSource], at: &str, found: &mut ProblemList) {
    let in_body = |source: &&ValueSource| matches!(source, ValueSource::Body(_));
    if model.iter().any(|it| matches!(it, ValueSource::Anywhere(_))) {
        found.at(format!("{at}.model"), "a model does not stand anywhere: body:/NAME");
    }
    let is_every = |it: &ValueSource| matches!(it, ValueSource::Every(_));
    if model.len() > 1 && model.iter().any(is_every) {
        found.at(format!("{at}.model"), "every:/pointer stands alone");
    }
    if model.iter().filter(in_body).any(|source| source.form_field().is_none()) {
        found.at(format!("{at}.model"), "a model stands at the top of a body: body:/NAME");
    }
    let in_query = |source: &ValueSource| matches!(source, ValueSource::Query(_));
    if model.iter().any(in_query) && model.iter().any(|it| in_body(&it)) {
        found.at(format!("{at}.model"), "is named by the query or by the body, not by either");
    }
}

/// A source `path` needs a capture of its name in every pattern.
fn captured(
    patterns: &[RoutePattern],
    sources: &[ValueSource],
    name: &str,
    at: &str,
    found: &mut ProblemList,
) {
    let from_path = sources.contains(&ValueSource::Path);
    if from_path && patterns.iter().any(|pattern| !pattern.has_capture(name)) {
        found.at(
            format!("{at}.match"),
            format!("has a pattern without {{{name}}}, which is \"path\""),
        );
    }
}
