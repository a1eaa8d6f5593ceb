//! How one charge came about.

use domain::{FrozenPrice, Quota, Rule, UnixMs};
use serde::Serialize;
use store::{Db, Row, StoreError, Value};
use utoipa::ToSchema;
use uuid::Uuid;

const HOLD_COLUMNS: &str = "id, user_id, model_name, channel_id, request_id, amount, price,
    state, charged, created_at, closed_at";

/// The story of a request: every hold it made, and every line of the journal about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// `X-Request-Id` of the call.
    pub request_id: String,
    /// Its holds; nearly always one.
    pub holds: Vec<HoldStory>,
}

/// The story of a hold.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HoldStory {
    /// The hold.
    pub hold_id: Uuid,
    /// Whose balance.
    pub user_id: i64,
    /// Model asked for.
    pub model: String,
    /// Channel that was asked last.
    pub channel_id: Option<i64>,
    /// `held`, `settled`, `released` or `expired`.
    pub state: String,
    /// What was held.
    pub held: Quota,
    /// What was charged.
    pub charged: Quota,
    /// The price as it was frozen.
    #[schema(value_type = Object)]
    pub price: serde_json::Value,
    /// The price in words.
    pub formula: String,
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
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// The amount.
    pub quota: Quota,
    /// Its effect on the balance.
    pub delta: Quota,
    /// Tokens of the prompt.
    pub prompt_tokens: i64,
    /// Tokens of the completion.
    pub completion_tokens: i64,
    /// In words.
    pub content: String,
}

/// Finds the story behind a request id, a hold id, or a task's id at its upstream.
///
/// # Errors
/// When the database doesn't answer.
pub async fn explain(db: &Db, id: &str) -> Result<Option<Explanation>, StoreError> {
    let mut holds = holds_of_request(db, id).await?;
    if holds.is_empty()
        && let Ok(hold_id) = Uuid::parse_str(id)
    {
        let sql = format!("SELECT {HOLD_COLUMNS} FROM holds WHERE id = $1");
        holds = db.read(&sql, &[Value::Uuid(hold_id)]).await?;
    }
    if holds.is_empty() {
        holds = holds_of_task(db, id).await?;
    }
    let Some(first) = holds.first() else { return Ok(None) };
    let request_id: String = first.get("request_id")?;
    let mut stories = Vec::new();
    for hold in &holds {
        stories.push(story(db, hold).await?);
    }
    Ok(Some(Explanation { request_id, holds: stories }))
}

/// The journal has an index by request, holds have not: their ids come from its lines.
async fn holds_of_request(db: &Db, request_id: &str) -> Result<Vec<Row>, StoreError> {
    if request_id.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {HOLD_COLUMNS} FROM holds WHERE id IN
            (SELECT hold_id FROM logs WHERE request_id = $1 AND hold_id IS NOT NULL)
         ORDER BY id LIMIT 100"
    );
    db.read(&sql, &[Value::Text(request_id.to_owned())]).await
}

async fn holds_of_task(db: &Db, task_id: &str) -> Result<Vec<Row>, StoreError> {
    let sql = format!(
        "SELECT {HOLD_COLUMNS} FROM holds WHERE id IN
            (SELECT uid FROM tasks WHERE task_id = $1 AND task_id <> '')
         ORDER BY id DESC LIMIT 100"
    );
    db.read(&sql, &[Value::Text(task_id.to_owned())]).await
}

async fn story(db: &Db, hold: &Row) -> Result<HoldStory, StoreError> {
    let hold_id: Uuid = hold.get("id")?;
    let request_id: String = hold.get("request_id")?;
    let lines = db
        .read(
            "SELECT id, created_at, type, quota, delta, prompt_tokens, completion_tokens, content
             FROM logs WHERE request_id = $1 AND hold_id = $2 ORDER BY id",
            &[Value::Text(request_id), Value::Uuid(hold_id)],
        )
        .await?;
    let price: serde_json::Value = hold.get("price")?;
    Ok(HoldStory {
        hold_id,
        user_id: hold.get("user_id")?,
        model: hold.get("model_name")?,
        channel_id: hold.get("channel_id")?,
        state: hold.get("state")?,
        held: Quota(hold.get("amount")?),
        charged: Quota(hold.get("charged")?),
        formula: formula(&price),
        price,
        created_at_ms: hold.get::<UnixMs>("created_at")?.0,
        closed_at_ms: hold.get::<Option<UnixMs>>("closed_at")?.map(|at| at.0),
        lines: lines.iter().map(line).collect::<Result<_, _>>()?,
    })
}

fn line(row: &Row) -> Result<JournalLine, StoreError> {
    Ok(JournalLine {
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

fn formula(price: &serde_json::Value) -> String {
    let Ok(price) = serde_json::from_value::<FrozenPrice>(price.clone()) else {
        return String::new();
    };
    let (group, user) = (price.group, price.user);
    match price.rule {
        Rule::PerCall { fixed_quota } => {
            format!("round(fixed {fixed_quota} × group {group} × user {user})")
        }
        Rule::ByUse(r) => format!(
            "round((plain prompt + cached × {} + image × {} + audio × {} + completion × {}) \
             × ratio {} × group {group} × user {user})",
            r.cache_ratio, r.image_ratio, r.audio_ratio, r.completion_ratio, r.ratio
        ),
    }
}
