//! The log: the journal of money, and who did what.

use super::sums::{self, Source};
use crate::page::{Page, PageRequest, Query, Where};
use crate::{Actor, AdminError, AdminState, exact};
use domain::{ChannelId, KeyId, Quota, UnixMs, UserId};
use ledger::journal_sums::DAY_MS;
use serde::Serialize;
use serde_json::value::RawValue;
use store::{Db, Row, StoreError};
use utoipa::ToSchema;
use uuid::Uuid;

pub(super) const COLUMNS: &str = "id, user_id, username, created_at, type, model_name, quota, \
     prompt_tokens, completion_tokens, channel_id, token_id, request_id, use_time_ms, content, \
     other, delta, used_delta, hold_id, closes";
/// The words of `type`.
const TYPES: [&str; 8] =
    ["topup", "precharge", "consume", "refund", "adjust", "manage", "system", "error"];
/// The numbers that scripts for similar servers know them by.
const NUMBERED: [(&str, &str); 6] = [
    ("1", "topup"),
    ("2", "consume"),
    ("3", "manage"),
    ("4", "system"),
    ("5", "error"),
    ("6", "refund"),
];
/// Types of the lines that calls write.
const OF_CALLS: [&str; 3] = ["precharge", "consume", "refund"];
/// All other types: the condition of the index that knows them.
const SELDOM: &str = "type IN ('topup', 'adjust', 'manage', 'system', 'error')";
/// How many lines are looked at to say how many there are, where no index leads to them.
const MAX_COUNTED_AMONG: i64 = 50_000;
/// The longest time that is summed up at once; charts over more read the hourly summaries.
const MAX_SUM_DAYS: i64 = 31;

/// A line of the log as answers show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LogView {
    /// Number of the line.
    pub id: i64,
    /// Whose balance, or who acted.
    pub user_id: UserId,
    /// Their name at the time.
    pub username: String,
    /// When, in seconds since 1970.
    pub created_at: i64,
    /// `topup`, `precharge`, `consume`, `refund`, `adjust`, `manage`, `system`, `error`.
    pub r#type: String,
    /// Model asked for.
    pub model_name: String,
    /// The amount the line is about.
    pub quota: Quota,
    /// Tokens of the prompt.
    pub prompt_tokens: i64,
    /// Tokens of the completion.
    pub completion_tokens: i64,
    /// Channel used; not shown to users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// Key used.
    pub token_id: Option<KeyId>,
    /// `X-Request-Id` of the call.
    pub request_id: String,
    /// How long the call took.
    pub use_time_ms: i64,
    /// In words.
    pub content: String,
    /// Details: price, usage, reason.
    #[schema(value_type = Option<Object>)]
    pub other: Box<RawValue>,
    /// Effect on the balance.
    pub delta: Quota,
    /// Effect on what the user has spent.
    pub used_delta: Quota,
    /// Hold the line belongs to.
    pub hold_id: Option<Uuid>,
    /// The one line that ended the hold.
    pub closes: bool,
}

/// Sums over lines of one type.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TypeSum {
    /// The type.
    pub r#type: String,
    /// How many lines.
    pub count: i64,
    /// Sum of their amounts.
    pub quota: Quota,
    /// Sum of their effects on balances.
    pub delta: Quota,
    /// Sum of tokens of prompts.
    pub prompt_tokens: i64,
    /// Sum of tokens of completions.
    pub completion_tokens: i64,
}

/// What the lines of a time add up to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Statistics {
    /// Consumed.
    pub quota: Quota,
    /// From when, in seconds since 1970.
    pub start_time: i64,
    /// Until when.
    pub end_time: i64,
    /// The sums, one a type.
    pub by_type: Vec<TypeSum>,
}

/// Which lines.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// Whose.
    pub user_id: Option<UserId>,
    /// Whose, by name.
    pub username: Option<String>,
    /// Of which type.
    pub r#type: Option<&'static str>,
    /// About which model.
    pub model: Option<String>,
    /// Through which channel.
    pub channel_id: Option<ChannelId>,
    /// With which key.
    pub token_id: Option<KeyId>,
    /// With keys of this name.
    pub token_name: Option<String>,
    /// Of which request.
    pub request_id: Option<String>,
    /// From when.
    pub start_at: Option<UnixMs>,
    /// Until when.
    pub end_at: Option<UnixMs>,
    /// Older than this line: the way through a log that is longer than pages reach.
    pub before_id: Option<i64>,
}

impl LogFilter {
    /// Reads the filters of an address.
    ///
    /// # Errors
    /// When one of them means nothing.
    pub fn read(query: &Query) -> Result<Self, AdminError> {
        let owned = |name: &str| query.text(name).map(str::to_owned);
        let either = |a: &str, b: &str| owned(a).or_else(|| owned(b));
        let channel = query.number("channel_id")?.or(query.number("channel")?);
        Ok(Self {
            user_id: query.number("user_id")?.map(UserId),
            username: owned("username"),
            r#type: query.text("type").map(read_type).transpose()?.flatten(),
            model: either("model", "model_name"),
            channel_id: channel.filter(|&id: &i64| id != 0).map(ChannelId),
            token_id: query.number("token_id")?.map(KeyId),
            token_name: either("token_name", "token"),
            request_id: owned("request_id"),
            start_at: read_time(query, ["start_time", "start_timestamp"])?,
            end_at: read_time(query, ["end_time", "end_timestamp"])?,
            before_id: query.number("before_id")?,
        })
    }

    fn is_seldom(&self) -> bool {
        self.r#type.is_some_and(|word| !OF_CALLS.contains(&word))
    }

    /// Whether an index leads to the lines, so that they can be counted.
    fn is_narrow(&self) -> bool {
        self.user_id.is_some()
            || self.username.is_some()
            || self.token_name.is_some()
            || self.request_id.is_some()
            || self.is_seldom()
    }

    /// Whether it names users, or keys by their name.
    pub(super) fn is_of_users(&self, self_of: Option<UserId>) -> bool {
        self_of.is_some()
            || self.user_id.is_some()
            || self.username.is_some()
            || self.token_name.is_some()
    }

    /// Where the lines are looked for: among those of users, unless a narrower index leads to them.
    pub(super) fn table(&self, self_of: Option<UserId>) -> &'static str {
        if self.is_of_users(self_of) && self.request_id.is_none() && !self.is_seldom() {
            "user_logs"
        } else {
            "logs"
        }
    }

    /// The lines of a key are among those of its owner, whom the index knows.
    async fn with_owner(&self, db: &Db) -> Result<Self, AdminError> {
        let mut filter = self.clone();
        if let (Some(token_id), None) = (self.token_id, self.user_id) {
            let sql = "SELECT user_id FROM tokens WHERE id = $1";
            let rows = db.read(sql, &[token_id.into()]).await?;
            filter.user_id = rows.first().map(|row| row.get("user_id")).transpose()?;
        }
        Ok(filter)
    }

    pub(super) fn conditions(&self, self_of: Option<UserId>) -> Where {
        let mut conditions = Where::default();
        conditions.with_some("user_id = ?", self_of.or(self.user_id));
        if self_of.is_none() {
            // By number, because that is what the index knows.
            let by_name = "user_id = (SELECT id FROM users WHERE users.username = ?)";
            conditions.with_some(by_name, self.username.as_deref());
        }
        if let Some(word) = self.r#type {
            // Words of ours. As values they would keep PostgreSQL from seeing that the index fits.
            conditions.fixed(&format!("type = '{word}'"));
            if self.is_seldom() {
                conditions.fixed(SELDOM);
            }
        }
        conditions.with_some("model_name = ?", self.model.as_deref());
        conditions.with_some("channel_id = ?", self.channel_id);
        conditions.with_some("token_id = ?", self.token_id);
        // With the owners of the keys, whom the index knows.
        let by_token = "user_id IN (SELECT user_id FROM tokens WHERE tokens.name = ?) \
            AND token_id IN (SELECT id FROM tokens WHERE tokens.name = ?)";
        conditions.with_some(by_token, self.token_name.as_deref());
        if let Some(request_id) = &self.request_id {
            conditions.fixed("request_id <> ''");
            conditions.with("request_id = ?", request_id.as_str());
        }
        conditions.with_some("created_at >= ?", self.start_at);
        conditions.with_some("created_at < ?", self.end_at);
        conditions.with_some("id < ?", self.before_id);
        conditions
    }
}

/// A type by its word or number; 0 and `all` are any.
fn read_type(text: &str) -> Result<Option<&'static str>, AdminError> {
    if text == "0" || text == "all" {
        return Ok(None);
    }
    let numbered = NUMBERED.iter().find(|(number, _)| *number == text).map(|(_, word)| *word);
    match numbered.or_else(|| TYPES.into_iter().find(|word| *word == text)) {
        Some(word) => Ok(Some(word)),
        None => Err(AdminError::field(
            "type",
            format!("必须是 {} 之一", TYPES.join("、")),
            format!("must be one of {}", TYPES.join(", ")),
        )),
    }
}

/// Seconds since 1970, or an instant like `2024-01-01T12:00:00Z`.
pub(super) fn read_time(query: &Query, names: [&str; 2]) -> Result<Option<UnixMs>, AdminError> {
    for name in names {
        let Some(text) = query.text(name) else { continue };
        if text == "0" {
            // How forms of similar servers say "any".
            continue;
        }
        let seconds = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000));
        let instant = || text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond());
        return match seconds.or_else(instant) {
            // PostgreSQL's instants end somewhere; nobody means these.
            Some(ms) if (0..=253_402_300_799_000).contains(&ms) => Ok(Some(UnixMs(ms))),
            _ => Err(AdminError::field(
                name,
                "必须是秒级 Unix 时间戳, 或 2024-01-01T12:00:00Z 这样的时间",
                "must be seconds since 1970, or an instant like 2024-01-01T12:00:00Z",
            )),
        };
    }
    Ok(None)
}

pub(super) fn view(row: &Row) -> Result<LogView, StoreError> {
    Ok(LogView {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        username: row.get("username")?,
        created_at: exact::seconds(row.get("created_at")?),
        r#type: row.get("type")?,
        model_name: row.get("model_name")?,
        quota: row.get("quota")?,
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
        channel_id: row.get("channel_id")?,
        token_id: row.get("token_id")?,
        request_id: row.get("request_id")?,
        use_time_ms: row.get("use_time_ms")?,
        content: row.get("content")?,
        other: row
            .get::<Option<String>>("other")?
            .map_or_else(|| RawValue::NULL.to_owned(), exact::json),
        delta: row.get("delta")?,
        used_delta: row.get("used_delta")?,
        hold_id: row.get("hold_id")?,
        closes: row.get("closes")?,
    })
}

/// A page of the lines that `filter` names, newest first. `own`: the actor's own lines alone.
///
/// # Errors
/// When the role doesn't reach, or the database fails.
pub async fn list(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    filter: &LogFilter,
    page: PageRequest,
) -> Result<Page<LogView>, AdminError> {
    let scope = scope(actor, own)?;
    let filter = filter.with_owner(&state.db).await?;
    let mut conditions = filter.conditions(scope);
    if scope.is_none() && !filter.is_narrow() {
        conditions.count_among(MAX_COUNTED_AMONG);
    }
    // Newest first by number: on both engines the primary key runs backwards, without a sort.
    let table = filter.table(scope);
    let mut page = conditions.page(&state.db, (COLUMNS, table, "id DESC"), page, view).await?;
    if !actor.is_admin() {
        for line in &mut page.items {
            line.channel_id = None;
        }
    }
    Ok(page)
}

pub(super) fn scope(actor: &Actor, own: bool) -> Result<Option<UserId>, AdminError> {
    if own {
        return Ok(Some(actor.user_id));
    }
    actor.require_admin()?;
    Ok(None)
}

/// What the lines that `filter` names add up to, by type: of the last day, or of the time named,
/// at most 31 days.
///
/// # Errors
/// When the role doesn't reach, or the database fails.
pub async fn statistics(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    filter: &LogFilter,
) -> Result<Statistics, AdminError> {
    let scope = scope(actor, own)?;
    let now = state.clock.now();
    let end_at = filter.end_at.unwrap_or_else(|| now.plus_ms(1));
    let start_at = filter.start_at.unwrap_or_else(|| end_at.plus_ms(-DAY_MS));
    if end_at.since_ms(start_at) > MAX_SUM_DAYS * DAY_MS {
        return Err(AdminError::field(
            "start_time",
            format!("统计范围最多 {MAX_SUM_DAYS} 天"),
            format!("sums go over at most {MAX_SUM_DAYS} days"),
        ));
    }
    let filter = filter.with_owner(&state.db).await?;
    // No line is later than now, so that the present hour or day needs no end.
    let Source { table, values } = sums::source(
        &state.db,
        &filter,
        scope,
        (start_at, Some(end_at).filter(|end_at| *end_at <= now)),
    )
    .await?;
    let columns = sums::columns();
    let sql = format!(
        "SELECT type, {columns} FROM {table} GROUP BY type HAVING sum(lines) > 0 ORDER BY type"
    );
    let rows = state.db.search(&sql, &values).await?;
    let by_type: Vec<TypeSum> = rows.iter().map(sum).collect::<Result<_, AdminError>>()?;
    let consumed = by_type.iter().find(|sum| sum.r#type == "consume");
    Ok(Statistics {
        quota: consumed.map_or(Quota::ZERO, |sum| sum.quota),
        start_time: exact::seconds(start_at),
        end_time: exact::seconds(end_at),
        by_type,
    })
}

fn sum(row: &Row) -> Result<TypeSum, AdminError> {
    let whole = |name| {
        sums::whole(row, name)?.ok_or_else(|| {
            let en = "the sum does not fit into a 64-bit integer: choose a shorter time";
            AdminError::field("start_time", "合计超出范围, 请缩短时间范围", en)
        })
    };
    Ok(TypeSum {
        r#type: row.get("type")?,
        count: row.get("lines")?,
        quota: Quota(whole("quota")?),
        delta: Quota(whole("delta")?),
        prompt_tokens: whole("prompt_tokens")?,
        completion_tokens: whole("completion_tokens")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn types_are_words_or_numbers() {
        let read = |text| LogFilter::read(&query(&[("type", text)])).map(|filter| filter.r#type);
        assert_eq!(read("consume").unwrap(), Some("consume"));
        assert_eq!(read("2").unwrap(), Some("consume"));
        assert_eq!(read("0").unwrap(), None);
        assert_eq!(read("").unwrap(), None);
        assert!(read("spent").is_err());
    }

    #[test]
    fn times_are_seconds_or_instants() {
        let read = |text| LogFilter::read(&query(&[("start_timestamp", text)])).map(|f| f.start_at);
        let want = Some(UnixMs(1_704_110_400_000));
        assert_eq!(read("1704110400").unwrap(), want);
        assert_eq!(read("2024-01-01T12:00:00Z").unwrap(), want);
        assert_eq!(read("0").unwrap(), None);
        assert!(read("yesterday").is_err());
        assert!(read("9223372036854775807").is_err());
    }

    #[test]
    fn users_only_ever_reach_their_own_lines() {
        let filter = LogFilter::read(&query(&[("user_id", "7"), ("username", "eve")])).unwrap();
        let own = filter.conditions(Some(UserId(2)));
        assert_eq!(own.parts().0, " WHERE user_id = $1");
        assert_eq!(own.parts().1, [store::Value::Int(2)]);
        let user =
            Actor { user_id: UserId(2), username: String::new(), role: 1, group: String::new() };
        assert!(scope(&user, false).is_err());
        assert_eq!(scope(&user, true).unwrap(), Some(UserId(2)));
    }
}
