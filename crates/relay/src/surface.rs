//! The routes of the data plane.

use crate::task_view::{self, TaskCall};
use crate::{faults, methods};
use domain::{Fault, ModelName};
use http::Method;
use upstream::PathError;

/// All routes of the data plane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// `ANY /pass/{model…}`
    Pass(ModelName),
    /// `ANY /v1/{path…}`: the model is in the body.
    V1(ModelName),
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

impl Surface {
    /// The pattern that its paths match.
    pub(crate) const fn route(&self) -> &'static str {
        match self {
            Self::Pass(_) => "/pass/{model}",
            Self::V1(_) => "/v1/{path}",
            Self::Models => "/v1/models",
            Self::Model(_) => "/v1/models/{model}",
            Self::Subscription => "/v1/dashboard/billing/subscription",
            Self::Usage => "/v1/dashboard/billing/usage",
            Self::Tasks(call) => call.route(),
            Self::Unknown => "",
        }
    }
}

/// Parses a request's raw path. `is_model`: whether a model of this name exists.
pub(crate) fn surface(
    method: &Method,
    path: &str,
    is_model: impl Fn(&str) -> bool,
) -> Result<Surface, Fault> {
    methods::check(method)?;
    let decode = |raw| upstream::decode_model_path(raw).map_err(bad_path);
    if let Some(raw) = path.strip_prefix("/pass/") {
        return match task_view::under_pass(method, raw, is_model)? {
            Some(call) => Ok(Surface::Tasks(call)),
            None => Ok(Surface::Pass(decode(raw)?)),
        };
    }
    let Some(raw) = path.strip_prefix("/v1/") else { return Ok(Surface::Unknown) };
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
            return Ok(Surface::Model(decode(model)?));
        }
    }
    Ok(Surface::V1(decode(raw)?))
}

pub(crate) fn bad_path(error: PathError) -> Fault {
    faults::invalid(format!("路径无效: {}", error.zh()), format!("bad path: {}", error.en()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, path: &str) -> String {
        surface(&method, path, |_| false).map_or_else(|fault| fault.en, |s| format!("{s:?}"))
    }

    #[test]
    fn every_path_has_one_meaning() {
        for (method, path, meaning) in [
            (Method::POST, "/pass/gpt-4", "Pass(ModelName(\"gpt-4\"))"),
            (Method::GET, "/pass/img%2Fsubmit", "Pass(ModelName(\"img/submit\"))"),
            (Method::POST, "/v1/chat/completions", "V1(ModelName(\"chat/completions\"))"),
            (Method::GET, "/v1/models", "Models"),
            (Method::GET, "/v1/models/org/m", "Model(ModelName(\"org/m\"))"),
            (Method::POST, "/v1/models", "V1(ModelName(\"models\"))"),
            (Method::GET, "/v1/dashboard/billing/subscription", "Subscription"),
            (Method::GET, "/v1/dashboard/billing/usage", "Usage"),
            (Method::GET, "/v1/tasks", "Tasks(Page)"),
            (Method::POST, "/v1/tasks", "V1(ModelName(\"tasks\"))"),
            (Method::POST, "/pass/m/task/list-by-condition", "Tasks(List { model: \"m/submit\" })"),
            (Method::GET, "/pass/m/tasks/7", "Pass(ModelName(\"m/tasks/7\"))"),
            (Method::GET, "/elsewhere", "Unknown"),
        ] {
            assert_eq!(read(method, path), meaning, "{path}");
        }
    }

    #[test]
    fn odd_paths_are_refused() {
        for path in ["/pass/", "/pass/a/../b", "/pass/%2e%2e/x", "/pass/%", "/v1/a//b", "/v1/"] {
            assert!(surface(&Method::POST, path, |_| false).is_err(), "{path}");
        }
    }
}
