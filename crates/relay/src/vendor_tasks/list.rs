//! Lists of tasks in a vendor's own API, from our own record: the vendor's would show the tasks of
//! all who call through the channel.

use super::rows::{self, TaskPage, VendorTask};
use crate::identify::{Caller, may_call};
use crate::list_page::ListPage;
use crate::surface::ApiPath;
use crate::{Relay, faults, own_reply};
use domain::Fault;
use http::Response;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use store::TASK_DATA;
use upstream::query;
use web::Body;

/// Most members of a page.
const MAX_LISTED: i64 = 100;
const USUAL: i64 = 20;

/// Stands for a task whose report is too large for a list, or can't be opened.
#[derive(Serialize)]
struct BareTask<'a> {
    id: &'a str,
    status: &'a str,
    model: &'a str,
    created_at: i64,
}

/// Whether a path lists what is submitted to it.
pub(crate) fn lists_tasks(api: &ApiPath) -> bool {
    api.spoken.as_ref().is_some_and(|it| it.protocol().submission(api.path()).is_some())
}

/// Answers a list of the caller's tasks.
pub(crate) async fn list(
    relay: &Relay,
    caller: &Caller,
    api: &ApiPath,
    query: Option<&str>,
) -> Result<Response<Body>, Fault> {
    let mut share = relay.budget.share_of(caller.identity.user_id);
    let (user_id, query) = (caller.identity.user_id, query.unwrap_or_default());
    let said = |name: &str| query::parameter(query, name).map_err(|_| faults::ambiguous(name));
    let limit = match said("limit")? {
        None => USUAL,
        Some(text) => match text.parse::<i64>() {
            Ok(limit) if limit > 0 => limit.min(MAX_LISTED),
            _ => return Err(faults::bad_parameter("limit", "1 and above")),
        },
    };
    let ascending = match said("order")?.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(faults::bad_parameter("order", "asc or desc")),
    };
    let after = match said("after")? {
        Some(after) => Some(after),
        // Anthropic's word.
        None => said("after_id")?,
    };
    let behind = match after {
        None => None,
        Some(after) => {
            let found = rows::of_id(&relay.db, user_id, &after).await?;
            Some(found.first().map(|task| task.id).ok_or_else(faults::task_not_found)?)
        }
    };
    // All that the reports may take, before they are read.
    let most = usize::try_from(limit + 1).unwrap_or(0) * rows::MAX_LISTED_BYTES;
    if !share.grow_towards(most) {
        return Err(faults::overloaded());
    }
    let page = TaskPage { path: api.path(), behind, ascending, limit: limit + 1 };
    let mut tasks = rows::page(&relay.db, user_id, page).await?;
    let reports = tasks.iter().filter_map(|task| task.data.as_ref());
    share.shrink_to(reports.map(String::len).sum());
    let has_more = i64::try_from(tasks.len()).is_ok_and(|found| found > limit);
    tasks.truncate(usize::try_from(limit).unwrap_or(0));
    let last_id = tasks.last().map(|task| task.task_id.clone());
    let shown: Vec<_> =
        tasks.iter().filter(|task| may_call(&caller.identity, &task.model)).collect();
    let first_id = shown.first().map(|task| task.task_id.clone());
    let data = shown.into_iter().map(|task| member(relay, task)).collect::<Result<_, _>>()?;
    own_reply::json(&ListPage { first_id, last_id, has_more, data, ..ListPage::default() }, share)
}

fn member(relay: &Relay, task: &VendorTask) -> Result<Box<RawValue>, Fault> {
    let kept = task.data.as_deref().and_then(|sealed| {
        let report = relay.sealer.open(TASK_DATA, sealed).ok()?;
        let text = String::from_utf8(report).ok()?;
        RawValue::from_string(text).ok().filter(|value| value.get().starts_with('{'))
    });
    // What we have given up must not look as if it went on.
    match kept.filter(|_| task.status != domain::TaskStatus::Failed) {
        Some(kept) => Ok(kept),
        None => to_raw_value(&BareTask {
            id: &task.task_id,
            status: task.status.as_str(),
            model: &task.model,
            created_at: task.created_at.0 / 1_000,
        })
        .map_err(faults::system),
    }
}
