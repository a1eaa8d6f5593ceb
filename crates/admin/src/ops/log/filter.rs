//! Which lines of the log are meant.

use super::ActionFilter;
use crate::AdminError;
use crate::page::{Query, Where};
use domain::{ChannelId, KeyId, UnixMs, UserId};
use store::{Db, StoreError};

/// The words of `type`.
const TYPES: [&str; 9] =
    ["topup", "precharge", "consume", "refund", "adjust", "manage", "system", "error", SPENT];
/// Charges and refunds: the lines that what was spent is added up from.
pub const SPENT: &str = "spent";
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
const OF_CALLS: [&str; 4] = ["precharge", "consume", "refund", SPENT];
/// All other types: the condition of their partial index, word for word.
const SELDOM: &str = "(type = 'topup' OR type = 'adjust' OR type = 'manage' OR type = 'system' \
    OR type = 'error')";
/// Whose a key is that never was.
const NOBODY: UserId = UserId(0);
/// Of how many keys of one name the lines are summed up, whosever they are.
const MAX_KEYS_OF_NAME: i64 = 100;

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
    /// Of the admin journal: which actions.
    pub actions: ActionFilter,
}

impl LogFilter {
    /// Reads the filters of an address, and where to go on.
    ///
    /// # Errors
    /// When one of them means nothing.
    pub fn read(query: &Query) -> Result<Self, AdminError> {
        Ok(Self { before_id: query.number("before_id")?, ..Self::of_sums(query)? })
    }

    /// The same, and which actions of the admin journal: where they are named, no other lines.
    ///
    /// # Errors
    /// When one of them means nothing, or an action of another type is asked for.
    pub fn of_lines(query: &Query) -> Result<Self, AdminError> {
        let (filter, actions) = (Self::read(query)?, ActionFilter::read(query)?);
        if actions.is_any() {
            return Ok(filter);
        }
        if filter.r#type.is_some_and(|word| word != "manage") {
            let en = "must be manage: kind and target_user_id are of the admin journal";
            return Err(AdminError::field(
                "type",
                "必须是 manage: kind 和 target_user_id 只用于操作记录",
                en,
            ));
        }
        Ok(Self { r#type: Some("manage"), actions, ..filter })
    }

    /// Reads the filters of an address alone: sums have no pages.
    ///
    /// # Errors
    /// When one of them means nothing.
    pub fn of_sums(query: &Query) -> Result<Self, AdminError> {
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
            before_id: None,
            actions: ActionFilter::default(),
        })
    }

    fn is_seldom(&self) -> bool {
        self.r#type.is_some_and(|word| !OF_CALLS.contains(&word))
    }

    /// Whether an index leads to the lines, so that they can be counted.
    pub(super) fn is_narrow(&self) -> bool {
        self.user_id.is_some()
            || self.username.is_some()
            || self.token_name.is_some()
            || self.request_id.is_some()
            || self.is_seldom()
    }

    /// Whether it names users, or keys by their name.
    pub(in crate::ops) fn is_of_users(&self, self_of: Option<UserId>) -> bool {
        self_of.is_some()
            || self.user_id.is_some()
            || self.username.is_some()
            || self.token_name.is_some()
    }

    /// Where the lines are looked for: among those of users, unless a narrower index leads to them.
    pub(in crate::ops) fn table(&self, self_of: Option<UserId>) -> &'static str {
        if self.is_of_users(self_of) && self.request_id.is_none() && !self.is_seldom() {
            "user_logs"
        } else {
            "logs"
        }
    }

    /// Rejects a key name that is shared by too many keys to narrow the search.
    pub(super) async fn check_name(
        &self,
        db: &Db,
        self_of: Option<UserId>,
    ) -> Result<(), AdminError> {
        let of_one = self_of.is_some() || self.user_id.is_some() || self.username.is_some();
        let Some(name) = self.token_name.as_deref().filter(|_| !of_one) else { return Ok(()) };
        let sql = "SELECT id FROM tokens WHERE name = $1 LIMIT $2";
        let found = db.read(sql, &[name.into(), (MAX_KEYS_OF_NAME + 1).into()]).await?;
        if i64::try_from(found.len()).is_ok_and(|found| found <= MAX_KEYS_OF_NAME) {
            return Ok(());
        }
        Err(AdminError::field(
            "token_name",
            format!("超过 {MAX_KEYS_OF_NAME} 个令牌叫这个名称, 请加上 user_id"),
            format!("more than {MAX_KEYS_OF_NAME} keys have this name: say whose, with user_id"),
        ))
    }

    /// Adds the owner of the key to the filter, because the index begins with the owner.
    pub(super) async fn with_owner(mut self, db: &Db) -> Result<Self, StoreError> {
        if let (Some(token_id), None) = (self.token_id, self.user_id) {
            let sql = "SELECT user_id FROM tokens WHERE id = $1
                UNION ALL SELECT user_id FROM deleted_tokens WHERE id = $1";
            let rows = db.read(sql, &[token_id.into()]).await?;
            let owner = rows.first().map(|row| row.get("user_id")).transpose()?;
            self.user_id = Some(owner.unwrap_or(NOBODY));
        }
        Ok(self)
    }

    pub(in crate::ops) fn conditions(&self, self_of: Option<UserId>) -> Where {
        let mut conditions = Where::default();
        conditions.with_some("user_id = ?", self_of.or(self.user_id));
        if self_of.is_none() {
            // By id, because the index is on the id.
            let by_name = "user_id = (SELECT id FROM users WHERE users.username = ?)";
            conditions.with_some(by_name, self.username.as_deref());
        }
        self.add_type(&mut conditions);
        if self.is_seldom() {
            conditions.fixed(SELDOM);
        }
        conditions.with_some("model_name = ?", self.model.as_deref());
        conditions.with_some("channel_id = ?", self.channel_id);
        conditions.with_some("token_id = ?", self.token_id);
        // With the owners of the keys, because the index begins with the owner.
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
        self.actions.narrow(&mut conditions);
        conditions
    }

    /// Adds the types. They are words of ours: as values they would keep PostgreSQL from seeing
    /// that the index fits.
    pub(super) fn add_type(&self, conditions: &mut Where) {
        match self.r#type {
            Some(SPENT) => conditions.fixed("type IN ('consume', 'refund')"),
            Some(word) => conditions.fixed(&format!("type = '{word}'")),
            None => {}
        }
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
pub(in crate::ops) fn read_time(
    query: &Query,
    names: [&str; 2],
) -> Result<Option<UnixMs>, AdminError> {
    for name in names {
        let Some(text) = query.text(name) else { continue };
        if text == "0" {
            // How forms of similar servers say "any".
            continue;
        }
        let seconds = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000));
        let instant = || text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond());
        return match seconds.or_else(instant) {
            // PostgreSQL timestamps are bounded; no real query is for a time beyond the year 9999.
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

#[cfg(test)]
mod tests {
    use super::super::scope;
    use super::*;
    use crate::Actor;

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
        assert_eq!(read("spent").unwrap(), Some(SPENT));
        assert!(read("charges").is_err());
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
