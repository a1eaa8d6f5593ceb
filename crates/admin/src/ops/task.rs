//! Asynchronous tasks for administrators: listing, settling, refunding and polling them again.

use super::log::read_time;
use super::record::{self, Subject};
use super::user;
use crate::page::{self, Page, PageRequest, Query, Where};
use crate::{Actor, AdminError, AdminState, exact, words};
use domain::{ChannelId, KeyId, Quota, TaskStatus, TaskUid, UnixMs, UserId};
use ledger::{Charge, TaskEnd, TaskProspect, TaskRef};
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use store::{Row, StoreError, TASK_DATA, Value};
use utoipa::ToSchema;
use uuid::Uuid;

const COLUMNS: &str = "id, uid, task_id, platform, user_id, token_id, channel_id, action, status, \
     upstream_status, progress, fail_reason, quota, precharge_quota, used_quota, request_id, \
     created_at, updated_at, submit_time, finish_time, lifetime_from";
/// Longest id of an upstream.
const MAX_ID_CHARS: usize = 255;
/// Most addresses that are read from a report.
const MAX_RESULTS: usize = 20;

/// A task as answers show it. What the upstream said of it is its owner's to read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TaskView {
    /// Number of the task.
    pub id: i64,
    /// Its hold, and the `Idempotency-Key` sent upstream.
    pub uid: TaskUid,
    /// The upstream's id; empty until it is known.
    pub task_id: String,
    /// Its submission was accepted with a reply that can't be read. It is not asked about: an
    /// operator settles or refunds it.
    pub unreadable: bool,
    /// That reply, as far as it was kept; for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// How the upstream is asked about it, while it is unfinished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling: Option<TaskPolling>,
    /// What a decision about an unfinished task would move; for administrators, and not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prospect: Option<TaskProspect>,
    /// Always `custompass`.
    pub platform: String,
    /// Owner.
    pub user_id: UserId,
    /// Key that submitted it.
    pub token_id: KeyId,
    /// Channel that has it; not shown to users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// Model asked for, with its `/submit`.
    pub action: String,
    /// `submitted`, `processing`, `completed`, `failed`, `unknown`.
    pub status: String,
    /// The upstream's own word.
    pub upstream_status: String,
    /// How far it is, in the upstream's words.
    pub progress: String,
    /// Why it failed.
    pub fail_reason: String,
    /// What it holds, or was charged in the end.
    pub quota: Quota,
    /// What it held at first.
    pub precharge_quota: Quota,
    /// What it was charged in the end.
    pub used_quota: Quota,
    /// `X-Request-Id` of the submission.
    pub request_id: String,
    /// When it was made, in seconds since 1970, like all times here.
    pub created_at: i64,
    /// When something about it last changed.
    pub updated_at: i64,
    /// When the upstream had taken it; 0: not yet.
    pub submit_time: i64,
    /// When it ended; 0: not yet.
    pub finish_time: i64,
    #[serde(skip)]
    lifetime_from: UnixMs,
}

/// How the upstream is asked about an unfinished task, together with others of its model and
/// channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskPolling {
    /// When it was last asked, to a few seconds; none: not yet.
    pub asked_at: Option<i64>,
    /// When it is asked next.
    pub next_at: Option<i64>,
    /// What went wrong the last time, if anything did; for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What an upstream last said of a task.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TaskReply {
    /// Number of the task.
    pub id: i64,
    /// Its uid.
    pub uid: TaskUid,
    /// When something about the task last changed.
    pub updated_at: i64,
    /// What was said, as it came: JSON, unless the reply to the submission can't be read.
    pub reply: String,
}

/// Which tasks.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Whose.
    pub user_id: Option<UserId>,
    /// Whose, by name.
    pub username: Option<String>,
    /// Where they stand; `unfinished` is every word that doesn't last, `undecided` are those that
    /// wait for an administrator.
    pub status: Option<String>,
    /// Of which model, with or without `/submit`.
    pub model: Option<String>,
    /// Through which channel.
    pub channel_id: Option<ChannelId>,
    /// With this id of the upstream's.
    pub task_id: Option<String>,
    /// Made from when.
    pub start_at: Option<UnixMs>,
    /// Made until when.
    pub end_at: Option<UnixMs>,
    /// Older than this one: the way through more than pages reach.
    pub before_id: Option<i64>,
}

/// Every word that doesn't last.
const UNFINISHED: &str = "unfinished";

/// Those that no upstream can be asked about: an administrator settles or refunds them.
const WAITING: &str = "undecided";
/// The condition for them.
pub(super) const UNDECIDED: &str = "status IN ('submitted', 'processing', 'unknown') \
     AND task_id = '' AND submit_time IS NOT NULL";

impl TaskFilter {
    /// Reads the filters of an address.
    ///
    /// # Errors
    /// When one of them means nothing.
    pub fn read(query: &Query) -> Result<Self, AdminError> {
        let owned = |name: &str| query.text(name).map(str::to_owned);
        let model = ["model", "model_name", "action"].into_iter().find_map(owned);
        let channel = query.number("channel_id")?.filter(|&id: &i64| id != 0);
        Ok(Self {
            user_id: query.number("user_id")?.map(UserId),
            username: owned("username"),
            status: query.text("status").map(read_status).transpose()?,
            model: model.map(|m| domain::submission_of(domain::task_base(&m))),
            channel_id: channel.map(ChannelId),
            task_id: owned("task_id"),
            start_at: read_time(query, ["start_time", "start_timestamp"])?,
            end_at: read_time(query, ["end_time", "end_timestamp"])?,
            before_id: query.number("before_id")?,
        })
    }

    fn conditions(&self, self_of: Option<UserId>) -> Where {
        let mut conditions = Where::default();
        conditions.with_some("user_id = ?", self_of.or(self.user_id));
        if self_of.is_none() {
            let by_name = "user_id = (SELECT id FROM users WHERE users.username = ?)";
            conditions.with_some(by_name, self.username.as_deref());
        }
        match self.status.as_deref() {
            Some(UNFINISHED) => {
                conditions.fixed("status IN ('submitted', 'processing', 'unknown')");
            }
            Some(WAITING) => conditions.fixed(UNDECIDED),
            status => conditions.with_some("status = ?", status),
        }
        conditions.with_some("action = ?", self.model.as_deref());
        conditions.with_some("channel_id = ?", self.channel_id);
        conditions.with_some("task_id = ?", self.task_id.as_deref());
        conditions.with_some("created_at >= ?", self.start_at);
        conditions.with_some("created_at < ?", self.end_at);
        conditions.with_some("id < ?", self.before_id);
        conditions
    }
}

fn read_status(text: &str) -> Result<String, AdminError> {
    let known = [UNFINISHED, WAITING].contains(&text) || TaskStatus::parse(text).is_some();
    if known {
        return Ok(text.to_owned());
    }
    let words = "submitted, processing, completed, failed, unknown, unfinished, undecided";
    Err(AdminError::field(
        "status",
        format!("必须是 {words} 之一"),
        format!("must be one of {words}"),
    ))
}

fn view(row: &Row) -> Result<TaskView, StoreError> {
    let seconds = |at: Option<UnixMs>| at.map_or(0, exact::seconds);
    let task_id: String = row.get("task_id")?;
    let submit_time: Option<UnixMs> = row.get("submit_time")?;
    Ok(TaskView {
        id: row.get("id")?,
        uid: TaskUid(row.get::<Uuid>("uid")?),
        unreadable: task_id.is_empty() && submit_time.is_some(),
        reply: None,
        polling: None,
        prospect: None,
        task_id,
        platform: row.get("platform")?,
        user_id: row.get("user_id")?,
        token_id: row.get("token_id")?,
        channel_id: row.get("channel_id")?,
        action: row.get("action")?,
        status: row.get("status")?,
        upstream_status: row.get("upstream_status")?,
        progress: row.get("progress")?,
        fail_reason: row.get("fail_reason")?,
        quota: row.get("quota")?,
        precharge_quota: row.get("precharge_quota")?,
        used_quota: row.get("used_quota")?,
        request_id: row.get("request_id")?,
        created_at: exact::seconds(row.get("created_at")?),
        updated_at: exact::seconds(row.get("updated_at")?),
        submit_time: seconds(submit_time),
        finish_time: seconds(row.get("finish_time")?),
        lifetime_from: row.get("lifetime_from")?,
    })
}

/// The tasks that changed from an instant on, each with a number that grows with every change.
pub(super) async fn changed_since(
    state: &AdminState,
    since: UnixMs,
    most: i64,
) -> Result<Vec<(TaskView, i64)>, StoreError> {
    // By the index over platform, status and time: it wants all three.
    let sql = format!(
        "SELECT {COLUMNS}, version FROM tasks WHERE platform = 'custompass' \
         AND status IN ('submitted', 'processing', 'unknown', 'completed', 'failed') \
         AND updated_at >= $1 ORDER BY id DESC LIMIT $2"
    );
    let rows = state.db.read(&sql, &[Value::Time(since), Value::Int(most)]).await?;
    rows.iter().map(|row| Ok((view(row)?, row.get("version")?))).collect()
}

/// What `actor` may see of a task.
pub(super) fn shown(actor: &Actor, mut task: TaskView) -> TaskView {
    if !actor.is_admin() {
        task.channel_id = None;
    }
    task
}

/// A page of the tasks that `filter` names, newest first. `own`: the actor's own alone.
///
/// # Errors
/// When the role doesn't reach, or the database fails.
pub async fn list(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    filter: &TaskFilter,
    page: PageRequest,
) -> Result<Page<TaskView>, AdminError> {
    let self_of = own.then_some(actor.user_id);
    if !own {
        actor.require_admin()?;
    }
    let conditions = filter.conditions(self_of);
    let mut page = conditions.page(&state.db, (COLUMNS, "tasks", "id DESC"), page, view).await?;
    let lanes = lanes_of(state, actor, &page.items).await?;
    for task in &mut page.items {
        let lane = task.channel_id.filter(|_| is_asked_about(task));
        task.polling = lane.and_then(|id| lanes.get(&(id, task.action.clone())).cloned());
    }
    page.items = page.items.into_iter().map(|task| shown(actor, task)).collect();
    Ok(page)
}

const fn is_asked_about(task: &TaskView) -> bool {
    task.finish_time == 0 && !task.unreadable
}

/// How upstreams are asked about the unfinished tasks of a page, by channel and model.
async fn lanes_of(
    state: &AdminState,
    actor: &Actor,
    tasks: &[TaskView],
) -> Result<BTreeMap<(ChannelId, String), TaskPolling>, AdminError> {
    let asked_about = tasks.iter().filter(|task| is_asked_about(task));
    let channels = asked_about.filter_map(|task| task.channel_id).map(|id| id.0);
    let Some(list) = page::number_list(channels) else { return Ok(BTreeMap::new()) };
    let sql = format!(
        "SELECT channel_id, action, asked_at, next_at, last_error FROM task_lanes
         WHERE channel_id IN ({list})"
    );
    let rows = state.db.read(&sql, &[]).await?;
    let lanes = rows
        .iter()
        .map(|row| Ok(((row.get("channel_id")?, row.get("action")?), lane_view(actor, row)?)));
    Ok(lanes.collect::<Result<_, StoreError>>()?)
}

fn lane_view(actor: &Actor, row: &Row) -> Result<TaskPolling, StoreError> {
    let seconds = |at: Option<UnixMs>| at.map(exact::seconds);
    let error: String = row.get("last_error")?;
    Ok(TaskPolling {
        asked_at: seconds(row.get("asked_at")?),
        next_at: seconds(row.get("next_at")?),
        error: Some(error).filter(|error| actor.is_admin() && !error.is_empty()),
    })
}

/// Where the results of a task are, as the protocol of its channel reads this reply, or all that
/// are in the `result` of a task under `/pass`: addresses of the web alone. None where that is not
/// known (any more).
///
/// # Errors
/// When the database fails.
pub async fn results(
    state: &AdminState,
    task: &TaskView,
    reply: &str,
) -> Result<Vec<String>, AdminError> {
    let sql = "SELECT path, channel_id FROM tasks WHERE id = $1";
    let rows = state.db.read(sql, &[task.id.into()]).await?;
    let (Some(row), Some(live)) = (rows.first(), &state.live) else { return Ok(Vec::new()) };
    let (path, channel): (String, Option<ChannelId>) = (row.get("path")?, row.get("channel_id")?);
    if path.is_empty() {
        return Ok(addresses_in(reply));
    }
    let catalog = live.catalog.load();
    let channel = channel.and_then(|id| catalog.channel(id));
    let protocol = channel.and_then(|channel| egress::protocol_of(channel).ok());
    let route = protocol.and_then(|protocol| protocol.submission(&path));
    let rules = route.and_then(|route| route.tasks.as_ref());
    let read = rules.map(|rules| rules.read_one(reply.as_bytes()).results).unwrap_or_default();
    Ok(read.into_iter().filter(|address| is_of_the_web(address)).collect())
}

/// The addresses in the member `result` of a report, wherever they stand in it, each once.
fn addresses_in(report: &str) -> Vec<String> {
    let report: Json = serde_json::from_str(report).unwrap_or_default();
    let Some(result) = report.get("result") else { return Vec::new() };
    let (mut ahead, mut found) = (vec![result], Vec::new());
    while let Some(value) = ahead.pop() {
        match value {
            Json::String(text) if is_of_the_web(text) && !found.contains(text) => {
                found.push(text.clone());
            }
            Json::Array(items) => ahead.extend(items.iter().rev()),
            Json::Object(members) => ahead.extend(members.values().rev()),
            _ => {}
        }
        if found.len() == MAX_RESULTS {
            break;
        }
    }
    found
}

fn is_of_the_web(address: &str) -> bool {
    let uri = address.parse::<http::Uri>().ok();
    uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
}

/// One task: by its number, its uid, or its upstream's id (of several, the newest). Users see
/// their own.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(state: &AdminState, actor: &Actor, id: &str) -> Result<TaskView, AdminError> {
    let found = find(state, id).await?.filter(|task| actor.owns(task.user_id));
    let mut task = found.ok_or_else(not_found)?;
    if task.unreadable && actor.is_admin() {
        task.reply = last_reply(state, &task).await?;
    }
    if task.finish_time == 0 && !task.unreadable {
        task.polling = polling(state, actor, &task).await?;
    }
    if task.finish_time == 0 && actor.is_admin() {
        task.prospect = ledger::task_prospect(&state.db, task.uid).await?;
    }
    Ok(shown(actor, task))
}

/// What was last said of a task; none: nothing yet, or it was sealed under another secret.
async fn last_reply(state: &AdminState, task: &TaskView) -> Result<Option<String>, AdminError> {
    let rows = state.db.read("SELECT data FROM tasks WHERE id = $1", &[task.id.into()]).await?;
    let sealed: String = rows.first().map(|row| row.get("data")).transpose()?.unwrap_or_default();
    if sealed.is_empty() {
        return Ok(None);
    }
    let opened = state.sealer.open(TASK_DATA, &sealed).ok();
    Ok(opened.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

async fn polling(
    state: &AdminState,
    actor: &Actor,
    task: &TaskView,
) -> Result<Option<TaskPolling>, AdminError> {
    let sql = "SELECT asked_at, next_at, last_error FROM task_lanes
        WHERE channel_id = $1 AND action = $2";
    let lane = [task.channel_id.into(), task.action.clone().into()];
    let rows = state.db.read(sql, &lane).await?;
    Ok(rows.first().map(|row| lane_view(actor, row)).transpose()?)
}

/// What the upstream last said of a task. It is its owner's; that another reads it is entered in
/// the log.
///
/// # Errors
/// When there is no such task, nothing was said yet, or the database fails.
pub async fn reply(state: &AdminState, actor: &Actor, id: &str) -> Result<TaskReply, AdminError> {
    let found = find(state, id).await?.filter(|task| actor.owns(task.user_id));
    let task = found.ok_or_else(not_found)?;
    let said = last_reply(state, &task).await?;
    let reply = said.ok_or_else(|| AdminError::not_found("应答", "reply about it"))?;
    if task.user_id != actor.user_id {
        user::require_reach(state, actor, task.user_id).await?;
        let content = format!("查看任务 #{} 的应答", task.id);
        let details = json!({ "task": task.id, "uid": task.uid, "target_user_id": task.user_id });
        record::write(state, actor, vec![], Subject::Other, ("task.reply", content), details)
            .await?;
    }
    Ok(TaskReply { id: task.id, uid: task.uid, updated_at: task.updated_at, reply })
}

fn not_found() -> AdminError {
    AdminError::not_found("任务", "task")
}

async fn find(state: &AdminState, id: &str) -> Result<Option<TaskView>, AdminError> {
    if id.is_empty() || id.chars().count() > MAX_ID_CHARS {
        return Ok(None);
    }
    // A number is taken as our own id first: the uid can be used where the upstream's id is meant.
    let mut ways: Vec<(&str, Value)> = Vec::new();
    ways.extend(id.parse::<i64>().ok().map(|number| ("id", Value::Int(number))));
    ways.extend(Uuid::parse_str(id).ok().map(|uid| ("uid", Value::Uuid(uid))));
    ways.push(("task_id", Value::from(id)));
    for (column, value) in ways {
        let sql =
            format!("SELECT {COLUMNS} FROM tasks WHERE {column} = $1 ORDER BY id DESC LIMIT 1");
        if let Some(row) = state.db.read(&sql, &[value]).await?.first() {
            return Ok(Some(view(row)?));
        }
    }
    Ok(None)
}

/// What an operator decides about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is done: charged at its price, or at what it holds where use is unknown.
    SettleNow,
    /// It has failed: everything goes back.
    FailAndRefund,
    /// Continues the task: its lifetime begins anew, and it is polled at once.
    Requeue,
}

impl Decision {
    /// All of them, as requests name them.
    pub(super) const NAMED: [(&'static str, Self); 3] = [
        ("settle-now", Self::SettleNow),
        ("fail-and-refund", Self::FailAndRefund),
        ("requeue", Self::Requeue),
    ];

    /// Why it is decided so: what moves money has a reason.
    pub(super) fn reason(self, text: &str) -> Result<String, AdminError> {
        match self {
            Self::Requeue => words::reason_if_any(text),
            Self::SettleNow | Self::FailAndRefund => words::reason(text),
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::SettleNow => "task.settle_now",
            Self::FailAndRefund => "task.fail_and_refund",
            Self::Requeue => "task.requeue",
        }
    }
}

/// Applies a decision to an unfinished task, and returns its new state. Where it moves money, it
/// has a reason.
///
/// # Errors
/// When the reason is missing, there is no such task, it has ended already, or the database fails.
pub async fn decide(
    state: &AdminState,
    actor: &Actor,
    id: &str,
    decision: Decision,
    reason: &str,
) -> Result<TaskView, AdminError> {
    let task = to_decide(state, actor, id, decision).await?;
    let reason = decision.reason(reason)?;
    let changed = match decision {
        Decision::SettleNow => {
            finish(state, &task, Charge::Price(None), TaskEnd::completed()).await?
        }
        Decision::FailAndRefund => {
            finish(state, &task, Charge::Nothing("operator"), TaskEnd::failed(&reason)).await?
        }
        Decision::Requeue => requeue(state, &task).await?,
    };
    if !changed {
        return Err(ended_already());
    }
    let content = format!("任务 {} (#{}): {}", task.task_id, task.id, decision.action());
    let details = json!({ "task": task.id, "uid": task.uid, "owner": task.user_id,
                          "reason": reason });
    record::write(state, actor, vec![], Subject::Other, (decision.action(), content), details)
        .await?;
    find(state, &task.uid.to_string()).await?.ok_or_else(not_found)
}

/// A task over which this may be decided.
pub(super) async fn to_decide(
    state: &AdminState,
    actor: &Actor,
    id: &str,
    decision: Decision,
) -> Result<TaskView, AdminError> {
    actor.require_admin()?;
    let task = find(state, id).await?.ok_or_else(not_found)?;
    user::require_reach(state, actor, task.user_id).await?;
    if task.finish_time != 0 {
        return Err(ended_already());
    }
    if task.unreadable && decision == Decision::Requeue {
        let zh = "上游没有给出任务 ID, 无法查询; 请结算或退还";
        return Err(AdminError::conflict(zh, "it has no id to be asked by; settle or refund it"));
    }
    Ok(task)
}

fn ended_already() -> AdminError {
    AdminError::conflict("任务已经结束", "the task has ended already")
}

/// Ends a task together with its hold, and returns whether this call ended it.
async fn finish(
    state: &AdminState,
    task: &TaskView,
    charge: Charge,
    end: TaskEnd,
) -> Result<bool, AdminError> {
    let subject = TaskRef {
        uid: task.uid,
        user_id: task.user_id,
        channel_id: task.channel_id,
        since: task.lifetime_from,
    };
    Ok(!state.ledger.finish_task(&subject, charge, end).await?.repeated)
}

async fn requeue(state: &AdminState, task: &TaskView) -> Result<bool, AdminError> {
    let restarted = store::tasks::restart_lifetime(&state.db, task.uid, state.clock.now()).await?;
    if restarted {
        store::request_poll(&state.db).await?;
    }
    Ok(restarted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(pairs: &[(&str, &str)]) -> Result<TaskFilter, AdminError> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        TaskFilter::read(&pairs.collect())
    }

    #[test]
    fn a_model_is_meant_with_or_without_its_suffix() {
        for model in ["img", "img/submit"] {
            let read = filter(&[("model", model)]).unwrap();
            assert_eq!(read.model.as_deref(), Some("img/submit"));
        }
    }

    #[test]
    fn status_words() {
        let sql = |status| filter(&[("status", status)]).unwrap().conditions(None).parts().0.len();
        assert!(sql("unfinished") > sql("failed"));
        assert!(filter(&[("status", "done")]).is_err());
    }

    #[test]
    fn the_addresses_of_a_report_are_those_of_its_result() {
        let report = r#"{"task_id": "https://no.example/1", "result": {"files": [
            {"url": "https://a.example/1.png", "size": 3}, {"url": "https://a.example/2.png"}],
            "preview": "https://a.example/1.png", "kind": "javascript:alert(1)",
            "text": "see https://no.example"}}"#;
        assert_eq!(addresses_in(report), ["https://a.example/1.png", "https://a.example/2.png"]);
        assert_eq!(addresses_in(r#"{"result": "http://a.example"}"#), ["http://a.example"]);
        let many: Vec<String> = (0..50).map(|n| format!("https://a.example/{n}")).collect();
        assert_eq!(addresses_in(&json!({ "result": many }).to_string()).len(), MAX_RESULTS);
        for none in ["", "no JSON", "{}", r#"{"result": null}"#, r#"["https://a.example"]"#] {
            assert_eq!(addresses_in(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn users_only_ever_reach_their_own() {
        let filter = filter(&[("user_id", "7"), ("username", "eve")]).unwrap();
        let own = filter.conditions(Some(UserId(2)));
        assert_eq!(own.parts(), (" WHERE user_id = $1", &[Value::Int(2)][..]));
    }
}
