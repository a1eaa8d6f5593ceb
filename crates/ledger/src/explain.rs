//! Explains how one charge came about.

use crate::book::HOLD_LOST;
use domain::{
    ChargeNote, FrozenPrice, HOUR_MS, Quota, Rule, UNKNOWN_OUTCOME, UnixMs, Usage, UserId,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use store::{Db, Row, StoreError, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// Maximum number of calls at a time.
pub const CALLS_MAX: usize = 20;
/// Maximum number of lines of these.
const LINES_MAX: &str = "LIMIT 500";
/// How long after its hold was made a call's line is searched for, by the id of the hold alone.
const CALL_MS: i64 = HOUR_MS;

/// The history of what one id names: its holds, and their journal lines.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// Its holds, the newest first; nearly always one.
    pub holds: Vec<HoldStory>,
    /// There are older ones: they are asked for as those before this one.
    pub next_before: Option<Uuid>,
}

/// The history of a hold.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HoldStory {
    /// The hold.
    pub hold_id: Uuid,
    /// `X-Request-Id` of the call.
    pub request_id: String,
    /// The owner of the balance.
    pub user_id: i64,
    /// The key that called; 0 or none: not known.
    pub key_id: Option<i64>,
    /// Number of the task that it was held for, where there is one.
    pub task: Option<i64>,
    /// Requested model.
    pub model: String,
    /// Channel that was tried last.
    pub channel_id: Option<i64>,
    /// `held`, `settled`, `released` or `expired`.
    pub state: &'static str,
    /// The amount held.
    pub held: Quota,
    /// What it was based on: `price`, `min_hold`, `max_charge`, `estimate` (the upstream's, or by
    /// the request's text) or `none`.
    pub held_by: &'static str,
    /// The amount charged.
    pub charged: Quota,
    /// What of it was given back since.
    pub refunded: Quota,
    /// The frozen price.
    #[schema(value_type = Object)]
    pub price: serde_json::Value,
    /// The formula of the price.
    pub formula: String,
    /// The formula with the numbers of the call; empty until it is charged.
    pub calculation: String,
    /// What does not add up in the usage that was reported, or `estimated: …`: why tokens were
    /// counted here; mostly empty.
    pub usage_note: String,
    /// Why a task failed, in its upstream's words; a call's is in its line.
    pub fail_reason: String,
    /// When the hold was made, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it ended.
    pub closed_at_ms: Option<i64>,
    /// The journal's lines, in order.
    pub lines: Vec<JournalLine>,
}

/// A line of the journal.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JournalLine {
    /// `logs.id`.
    pub id: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The line's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The amount.
    pub quota: Quota,
    /// Its effect on the balance.
    pub delta: Quota,
    /// Tokens of the prompt.
    pub prompt_tokens: i64,
    /// Those of them that came from the upstream's cache.
    pub cached_tokens: i64,
    /// Tokens of the completion.
    pub completion_tokens: i64,
    /// Its description.
    pub content: String,
}

/// Which calls are to be explained.
#[derive(Clone, Debug, Default)]
pub struct ExplainRequest {
    /// A request id, a task's id at its upstream, or a hold id (for an hour after the hold was
    /// made, and of tasks for ever).
    pub id: String,
    /// This one of its calls alone.
    pub hold_id: Option<Uuid>,
    /// Calls of this user alone.
    pub user_id: Option<UserId>,
    /// Calls before this hold.
    pub before: Option<Uuid>,
    /// Maximum number of calls; 0: [`CALLS_MAX`].
    pub limit: usize,
}

/// Finds the history of what was asked for, the newest calls first: clients choose request ids, and
/// may choose the same for all their calls, and two upstreams may give their tasks the same id.
///
/// # Errors
/// When the database fails.
pub async fn explain(db: &Db, asked: &ExplainRequest) -> Result<Option<Explanation>, StoreError> {
    let limit = if asked.limit == 0 { CALLS_MAX } else { asked.limit.min(CALLS_MAX) };
    let mut calls = calls_of(db, asked, limit + 1).await?;
    let has_more = calls.len() > limit;
    calls.truncate(limit);
    let Some(oldest) = calls.last() else { return Ok(None) };
    let holds = stories(db, &calls).await?;
    Ok((!holds.is_empty()).then(|| Explanation {
        next_before: has_more.then_some(oldest.hold_id),
        holds: holds.into_values().rev().collect(),
    }))
}

/// A call, as its lines name it.
struct Call {
    request_id: String,
    hold_id: Uuid,
}

fn call(row: &Row) -> Result<Call, StoreError> {
    Ok(Call { request_id: row.get("request_id")?, hold_id: row.get("hold_id")? })
}

/// The calls that were asked for, the newest first.
async fn calls_of(db: &Db, asked: &ExplainRequest, limit: usize) -> Result<Vec<Call>, StoreError> {
    if asked.id.is_empty() {
        return Ok(Vec::new());
    }
    let of_request = of_request(db, asked, limit).await?;
    if !of_request.is_empty() {
        return Ok(of_request);
    }
    let of_hold = match Uuid::parse_str(&asked.id) {
        Ok(hold_id) if asked.hold_id.is_none_or(|asked| asked == hold_id) => {
            of_hold(db, hold_id, asked.user_id).await?
        }
        _ => None,
    };
    match of_hold {
        Some(call) => Ok(vec![call]),
        None => of_tasks(db, asked, limit).await,
    }
}

/// A condition of the rows `l`; a number can be nothing but digits.
fn of_user(user_id: Option<UserId>) -> String {
    user_id.map(|user| format!("AND l.user_id = {}", user.0)).unwrap_or_default()
}

/// The condition that the column is one of the holds that were asked for; what it names comes after
/// the id in `params`.
fn which(asked: &ExplainRequest, column: &str, params: &mut Vec<Value>) -> String {
    params.truncate(1);
    let named = [("=", asked.hold_id), ("<", asked.before)];
    let named = named.into_iter().filter_map(|(sign, hold)| Some((sign, hold?)));
    named.fold(String::new(), |which, (sign, hold)| {
        params.push(Value::Uuid(hold));
        format!("{which} AND {column} {sign} ${}", params.len())
    })
}

/// The calls of a request id.
async fn of_request(
    db: &Db,
    asked: &ExplainRequest,
    limit: usize,
) -> Result<Vec<Call>, StoreError> {
    let of_user = of_user(asked.user_id);
    let mut params = vec![Value::Text(asked.id.clone())];
    // Holds are numbered in the order in which they were made, and so is the index.
    let sql = format!(
        "SELECT hold_id FROM (SELECT DISTINCT l.hold_id FROM logs l
             WHERE l.request_id = $1 AND l.request_id <> '' AND l.hold_id IS NOT NULL {of_user} {}
             ORDER BY l.hold_id DESC LIMIT {limit}) AS ended
         UNION SELECT hold_id FROM (SELECT l.id AS hold_id FROM holds l
             WHERE l.request_id = $1 {of_user} {}
             ORDER BY l.id DESC LIMIT {limit}) AS open
         ORDER BY hold_id DESC LIMIT {limit}",
        which(asked, "l.hold_id", &mut params),
        which(asked, "l.id", &mut params),
    );
    let call = |row: &Row| Ok(Call { request_id: asked.id.clone(), hold_id: row.get("hold_id")? });
    db.search(&sql, &params).await?.iter().map(call).collect()
}

/// The call of a hold.
async fn of_hold(
    db: &Db,
    hold_id: Uuid,
    user_id: Option<UserId>,
) -> Result<Option<Call>, StoreError> {
    let of_user = of_user(user_id);
    let sql = format!(
        "SELECT l.request_id, l.id AS hold_id FROM holds l WHERE l.id = $1 {of_user}
         UNION ALL SELECT l.request_id, l.uid AS hold_id FROM tasks l WHERE l.uid = $1 {of_user}"
    );
    let mut found = db.read(&sql, &[Value::Uuid(hold_id)]).await?;
    if found.is_empty()
        && let Some(made_at) = made_at(hold_id)
    {
        let sql = format!(
            "SELECT l.request_id, l.hold_id FROM logs l WHERE l.hold_id = $1
             AND l.created_at >= $2 AND l.created_at < $3 {of_user} LIMIT 1"
        );
        let until = Value::Time(made_at.plus_ms(CALL_MS));
        found = db.read(&sql, &[Value::Uuid(hold_id), Value::Time(made_at), until]).await?;
    }
    found.first().map(call).transpose()
}

/// The calls whose tasks have this id at their upstreams.
async fn of_tasks(db: &Db, asked: &ExplainRequest, limit: usize) -> Result<Vec<Call>, StoreError> {
    let mut params = vec![Value::Text(asked.id.clone())];
    let sql = format!(
        "SELECT l.request_id, l.uid AS hold_id FROM tasks l WHERE l.task_id = $1 {} {}
         ORDER BY l.uid DESC LIMIT {limit}",
        of_user(asked.user_id),
        which(asked, "l.uid", &mut params),
    );
    db.read(&sql, &params).await?.iter().map(call).collect()
}

/// The histories of these calls, by their holds.
async fn stories(db: &Db, calls: &[Call]) -> Result<BTreeMap<Uuid, HoldStory>, StoreError> {
    let requests: BTreeSet<&str> = calls.iter().map(|call| call.request_id.as_str()).collect();
    let places = |from: usize, count: usize| {
        let places: Vec<String> = (from..from + count).map(|place| format!("${place}")).collect();
        places.join(", ")
    };
    let (of_requests, of_holds) =
        (places(1, requests.len()), places(1 + requests.len(), calls.len()));
    let requests = requests.into_iter().map(|request| Value::Text(request.to_owned()));
    let params: Vec<Value> =
        requests.chain(calls.iter().map(|call| Value::Uuid(call.hold_id))).collect();
    let sql = format!(
        "SELECT h.id AS hold_id, h.request_id, h.user_id, h.key_id, h.model_name,
                h.channel_id, h.amount AS held, p.price
         FROM holds h LEFT JOIN price_snapshots p ON p.id = h.price_id
         WHERE h.request_id IN ({of_requests}) AND h.id IN ({of_holds})"
    );
    let open = db.read(&sql, &params).await?;
    let sql = format!(
        "SELECT l.id, l.created_at, l.type, l.quota, l.delta, l.prompt_tokens,
                l.completion_tokens, l.content, l.other, l.hold_id, l.request_id, l.user_id,
                l.token_id AS key_id, l.model_name, l.channel_id, l.held, p.price
         FROM logs l LEFT JOIN price_snapshots p ON p.id = l.price_id
         WHERE l.request_id IN ({of_requests}) AND l.request_id <> '' AND l.hold_id IN ({of_holds})
         ORDER BY l.id {LINES_MAX}"
    );
    let lines = db.read(&sql, &params).await?;
    let mut stories: BTreeMap<Uuid, HoldStory> = BTreeMap::new();
    for row in &open {
        let story = story(row)?;
        stories.insert(story.hold_id, story);
    }
    let still_open: BTreeSet<Uuid> = stories.keys().copied().collect();
    for row in &lines {
        let hold_id: Uuid = row.get("hold_id")?;
        let is_open = still_open.contains(&hold_id);
        let story = match stories.entry(hold_id) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(story(row)?),
        };
        story.add(row, is_open && story.closed_at_ms.is_none())?;
    }
    add_tasks(db, &mut stories).await?;
    Ok(stories)
}

/// The tasks that holds were made for.
async fn add_tasks(db: &Db, stories: &mut BTreeMap<Uuid, HoldStory>) -> Result<(), StoreError> {
    let uids: Vec<Value> = stories.keys().map(|hold| Value::Uuid(*hold)).collect();
    let places: Vec<String> = (1..=uids.len()).map(|place| format!("${place}")).collect();
    let sql =
        format!("SELECT id, uid, fail_reason FROM tasks WHERE uid IN ({})", places.join(", "));
    for task in db.read(&sql, &uids).await? {
        let Some(story) = stories.get_mut(&task.get("uid")?) else { continue };
        story.task = Some(task.get("id")?);
        if story.state == "released" {
            story.fail_reason = task.get("fail_reason")?;
        }
    }
    Ok(())
}

/// The beginning of a history: the hold, from its row or the first of its lines.
fn story(row: &Row) -> Result<HoldStory, StoreError> {
    let hold_id: Uuid = row.get("hold_id")?;
    let price: Option<serde_json::Value> = row.get("price")?;
    let price = price.unwrap_or_default();
    let held = Quota(row.get::<Option<i64>>("held")?.unwrap_or_default());
    let frozen: Option<FrozenPrice> = serde_json::from_value(price.clone()).ok();
    Ok(HoldStory {
        hold_id,
        request_id: row.get("request_id")?,
        user_id: row.get("user_id")?,
        key_id: row.get("key_id")?,
        task: None,
        model: row.get("model_name")?,
        channel_id: row.get("channel_id")?,
        state: "held",
        held,
        held_by: held_by(frozen.as_ref(), held),
        charged: Quota::ZERO,
        refunded: Quota::ZERO,
        formula: frozen.as_ref().map(FrozenPrice::formula).unwrap_or_default(),
        price,
        calculation: String::new(),
        usage_note: String::new(),
        fail_reason: String::new(),
        created_at_ms: made_at(hold_id).map_or(0, |at| at.0),
        closed_at_ms: None,
        lines: Vec::new(),
    })
}

impl HoldStory {
    fn add(&mut self, row: &Row, is_open: bool) -> Result<(), StoreError> {
        let line = line(row)?;
        let held = row.get::<Option<i64>>("held")?.map(Quota);
        let frozen: Option<FrozenPrice> = serde_json::from_value(self.price.clone()).ok();
        match line.kind.as_str() {
            "consume" => {
                self.state = "settled";
                self.charged = line.quota;
                self.usage_note =
                    detailed(row)?.and_then(|usage| usage.inconsistency).unwrap_or_default();
                self.calculation = match &frozen {
                    Some(price) if is_by_formula(&line.content) => {
                        calculation(price, row, line.quota)?
                    }
                    _ => format!("{} ({})", line.quota, line.content),
                };
            }
            // Given back by an operator; what a settlement leaves of its hold moves nothing.
            "refund" if self.state == "settled" => {
                self.refunded = self.refunded.sum_with(line.delta);
            }
            // Of a call, or of a task, that was released.
            "error" | "refund" if !is_open && self.state == "held" => {
                let unknown = line.content == UNKNOWN_OUTCOME && line.kind == "error";
                self.state = if unknown { "expired" } else { "released" };
            }
            _ => {}
        }
        if let Some(held) = held.filter(|_| line.kind != "precharge") {
            self.held = held;
            self.held_by = held_by(frozen.as_ref(), held);
        }
        if self.state != "held" && self.closed_at_ms.is_none() {
            self.closed_at_ms = Some(line.at_ms);
        }
        self.channel_id = row.get::<Option<i64>>("channel_id")?.or(self.channel_id);
        self.lines.push(line);
        Ok(())
    }
}

impl HoldStory {
    /// What the call has cost in the end.
    #[must_use]
    pub fn cost(&self) -> Quota {
        Quota(self.charged.0.saturating_sub(self.refunded.0))
    }
}

fn line(row: &Row) -> Result<JournalLine, StoreError> {
    Ok(JournalLine {
        cached_tokens: detailed(row)?.map_or(0, |usage| usage.cached_tokens),
        id: row.get("id")?,
        at_ms: row.get::<UnixMs>("created_at")?.0,
        kind: row.get("type")?,
        quota: Quota(row.get("quota")?),
        delta: Quota(row.get("delta")?),
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
        content: row.get("content")?,
    })
}

/// The estimate that an amount was based on.
fn held_by(price: Option<&FrozenPrice>, held: Quota) -> &'static str {
    match price.map(|price| &price.rule) {
        _ if held == Quota::ZERO => "none",
        Some(Rule::PerCall { .. }) => "price",
        Some(Rule::ByUse(ratios)) if held == ratios.min_hold => "min_hold",
        Some(_) if price.and_then(FrozenPrice::bound) == Some(held) => "max_charge",
        _ => "estimate",
    }
}

/// The time at which a UUIDv7 was made.
fn made_at(id: Uuid) -> Option<UnixMs> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let ms = i64::try_from(seconds).ok()?.checked_mul(1_000)?;
    Some(UnixMs(ms.checked_add(i64::from(nanos / 1_000_000))?))
}

/// Whether the charge of a line with this text is what the price's formula comes to. One whose hold
/// was lost is charged by its usage all the same.
pub(crate) fn is_by_formula(content: &str) -> bool {
    let note = content.strip_prefix(HOLD_LOST).unwrap_or(content).trim_start();
    note.is_empty() || ChargeNote::is_of_bound(note)
}

/// The usage of a line, where its details have one.
fn detailed(row: &Row) -> Result<Option<Usage>, StoreError> {
    let other: Option<serde_json::Value> = row.get("other")?;
    let usage = other.and_then(|mut other| other.get_mut("usage").map(serde_json::Value::take));
    Ok(usage.and_then(|usage| serde_json::from_value(usage).ok()))
}

/// What a line counts.
pub(crate) fn counts(row: &Row) -> Result<Usage, StoreError> {
    Ok(match detailed(row)? {
        Some(usage) => usage,
        None => Usage {
            prompt_tokens: row.get("prompt_tokens")?,
            completion_tokens: row.get("completion_tokens")?,
            ..Usage::default()
        },
    })
}

/// The formula with the numbers of a line.
fn calculation(price: &FrozenPrice, row: &Row, charged: Quota) -> Result<String, StoreError> {
    Ok(price.calculation(&counts(row)?, charged))
}
