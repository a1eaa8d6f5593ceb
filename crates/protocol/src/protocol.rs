//! A protocol, ready to be used.

use crate::auth::{Address, Auth};
use crate::document::{ProtocolTitle, TaskWord};
use crate::route::{ProtocolRoute, RouteMatch, RoutePattern};
use crate::task::TaskRules;
use std::sync::Arc;

/// How one kind of API is spoken to. Immutable, and shared.
#[derive(Debug)]
pub struct Protocol {
    /// Its name, which channels name it by.
    pub name: Arc<str>,
    /// What it is called in front of people.
    pub title: ProtocolTitle,
    /// Where its facts come from.
    pub sources: Vec<String>,
    /// How a channel's key is presented.
    pub auth: Auth,
    /// Where an API stands.
    pub address: Address,
    /// Its calls, in the order in which they are matched.
    pub routes: Vec<Arc<ProtocolRoute>>,
    /// How its tasks are polled, if it has any.
    pub task: Option<Arc<TaskRules>>,
    /// It has routes under `/pass`.
    pub(crate) under_pass: bool,
}

impl Protocol {
    /// The first route that a call fits. The path is as it came: encoded, without its query.
    /// What stands behind `/pass` is the path, unless the protocol has routes there itself.
    #[must_use]
    pub fn route(&self, method: &str, path: &str) -> Option<RouteMatch<'_>> {
        let behind = path.strip_prefix("/pass").filter(|path| path.starts_with('/'));
        let path = behind.filter(|_| !self.under_pass).unwrap_or(path);
        self.routes.iter().find_map(|route| {
            let captures =
                route.patterns.iter().find_map(|pattern| pattern.captures(method, path))?;
            Some(RouteMatch { route, captures })
        })
    }

    /// Whether it speaks the document of a route, and has it.
    #[must_use]
    pub fn has(&self, route: &Arc<ProtocolRoute>) -> bool {
        self.routes.iter().any(|own| Arc::ptr_eq(own, route))
    }

    /// The route by which a task was submitted to this path, by whichever method: a document has no
    /// two that read their tasks otherwise.
    #[must_use]
    pub fn submission(&self, path: &str) -> Option<&Arc<ProtocolRoute>> {
        let has_path = |pattern: &RoutePattern| pattern.captures_of_path(path).is_some();
        self.routes.iter().find(|route| {
            route.task == Some(TaskWord::Submit) && route.patterns.iter().any(has_path)
        })
    }

    /// The cheapest route, for trying a channel.
    #[must_use]
    pub fn probe(&self) -> Option<&Arc<ProtocolRoute>> {
        self.routes.iter().find(|route| route.probe.is_some())
    }
}
