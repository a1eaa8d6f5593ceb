//! The notice that users read on their first page: one text in both languages, with an end.

use crate::fields::Fields;
use crate::ops::record::{self, Subject};
use crate::{Actor, AdminError, AdminState, exact, words};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Statement, StoreError};
use utoipa::ToSchema;

const MAX_CHARS: usize = 2_000;
/// Its row among the options.
const KEY: &str = "notice";

/// A notice as given; without a text there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeInput {
    /// In Chinese. Empty: the English one is shown.
    pub zh: String,
    /// In English. Empty: the Chinese one is shown.
    pub en: String,
    /// From when it is not shown, in seconds since 1970; `None`: never.
    pub expired_time: Option<i64>,
}

/// The notice as answers show it. Users see no text of one that has ended.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct NoticeView {
    /// In Chinese.
    pub zh: String,
    /// In English.
    pub en: String,
    /// When it ends, in seconds since 1970; -1: never.
    pub expired_time: i64,
    /// Whether users see it now.
    pub shown: bool,
    /// When it was set, in seconds since 1970; 0: never.
    pub updated_at: i64,
}

impl NoticeInput {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let zh = fields.text("zh")?.unwrap_or_default();
        let en = fields.text("en")?.unwrap_or_default();
        let expired_time = fields.expiry("expired_time")?.flatten().map(exact::seconds);
        fields.finish(&["shown", "updated_at"], &[])?;
        let zh = words::note("zh", &zh, MAX_CHARS)?;
        let en = words::note("en", &en, MAX_CHARS)?;
        Ok(Self { zh, en, expired_time })
    }
}

/// The notice.
///
/// # Errors
/// When the database fails.
pub async fn get(state: &AdminState, actor: &Actor) -> Result<NoticeView, AdminError> {
    let sql = "SELECT value, updated_at FROM options WHERE key = $1";
    let rows = state.db.read(sql, &[KEY.into()]).await?;
    let Some(row) = rows.first() else {
        return Ok(NoticeView { expired_time: -1, ..NoticeView::default() });
    };
    let value: String = row.get("value")?;
    let notice: NoticeInput = serde_json::from_str(&value)
        .map_err(|error| StoreError::Other(format!("options.notice: {error}")))?;
    let now = exact::seconds(state.clock.now());
    let ended = notice.expired_time.is_some_and(|ends| ends <= now);
    let has_text = !notice.zh.is_empty() || !notice.en.is_empty();
    let shown = has_text && !ended;
    let hidden = ended && !actor.is_admin();
    Ok(NoticeView {
        zh: if hidden { String::new() } else { notice.zh },
        en: if hidden { String::new() } else { notice.en },
        expired_time: notice.expired_time.unwrap_or(-1),
        shown,
        updated_at: exact::seconds(row.get("updated_at")?),
    })
}

/// Replaces the notice.
///
/// # Errors
/// When it has ended already, the role does not reach, or the database fails.
pub async fn put(
    state: &AdminState,
    actor: &Actor,
    input: NoticeInput,
) -> Result<NoticeView, AdminError> {
    actor.require_admin()?;
    let now = state.clock.now();
    if input.expired_time.is_some_and(|ends| ends <= exact::seconds(now)) {
        return Err(AdminError::field("expired_time", "已经过去", "lies in the past"));
    }
    let value = json!(input).to_string();
    let upsert = Statement::new(
        "INSERT INTO options (key, value, updated_at) VALUES ($1, $2, $3) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        vec![KEY.into(), value.into(), now.into()],
    );
    let told = ("notice.put", "设置公告".to_owned());
    record::write(state, actor, vec![upsert], Subject::Other, told, json!(input)).await?;
    get(state, actor).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_names_its_field() {
        let read = |json: &str| NoticeInput::read(Fields::parse(json.as_bytes()).unwrap());
        let whole = read(r#"{"zh":" 维护 ","en":"a\nb","expired_time":2000000000,"shown":true}"#);
        let want = NoticeInput {
            zh: "维护".to_owned(),
            en: "a\nb".to_owned(),
            expired_time: Some(2_000_000_000),
        };
        assert_eq!(whole.unwrap(), want);
        assert_eq!(read("{}").unwrap(), NoticeInput::default());
        for (json, field) in [
            (r#"{"zh":1}"#, "zh"),
            (r#"{"en":"\u0001"}"#, "en"),
            (r#"{"expired_time":"soon"}"#, "expired_time"),
            (r#"{"text":"x"}"#, "text"),
        ] {
            match read(json).unwrap_err() {
                AdminError::Field { field: named, .. } => assert_eq!(named, field, "{json}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
