//! The last calls that no charge in the journal tells of, as this node remembers them: those that
//! failed, and those that cost nothing.

use crate::ops::user;
use crate::page::{Page, PageRequest, Query};
use crate::{Actor, AdminError, AdminState, exact};
use domain::{ChannelId, KeyId, UserId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use traffic::{RecentCall, RecentEnd};
use utoipa::ToSchema;

/// How such a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecentState {
    /// It failed, or was refused.
    Failed,
    /// It succeeded, and nothing was charged.
    Free,
    /// The client disconnected before anything was decided.
    Gone,
}

/// A call without a charge.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RecentCallView {
    /// When it ended, in seconds since 1970.
    pub ended_at: i64,
    /// `X-Request-Id` of the call.
    pub request_id: String,
    /// How it ended.
    pub state: RecentState,
    /// The status that the client got; null: it had gone.
    pub status: Option<u16>,
    /// The code of the failure, as clients see it; `UPSTREAM_STATUS` and `UPSTREAM_ENVELOPE`: the
    /// upstream's own error was passed on.
    pub code: Option<&'static str>,
    /// What the client was told, in Chinese; empty: the upstream's own words, or nothing.
    pub message_zh: String,
    /// The same in English.
    pub message_en: String,
    /// The cause; not shown to users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Who called; null: the key was not known.
    pub user_id: Option<UserId>,
    /// Their name.
    pub username: String,
    /// The key.
    pub token_id: Option<KeyId>,
    /// What the client named as the model.
    pub model_name: String,
    /// The channel that was asked last; not shown to users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// How long it took.
    pub use_time_ms: i64,
}

/// Which of them.
#[derive(Clone, Debug, Default)]
pub struct RecentFilter {
    /// Of which request.
    pub request_id: Option<String>,
    /// Whose.
    pub user_id: Option<UserId>,
    /// Whose, by name.
    pub username: Option<String>,
    /// About which model.
    pub model: Option<String>,
    /// Through which channel.
    pub channel_id: Option<ChannelId>,
    /// Failed with this code.
    pub code: Option<String>,
}

impl RecentFilter {
    /// Reads the filters of an address.
    ///
    /// # Errors
    /// When a number is none.
    pub fn read(query: &Query) -> Result<Self, AdminError> {
        let owned = |name: &str| query.text(name).map(str::to_owned);
        Ok(Self {
            request_id: owned("request_id"),
            user_id: query.number("user_id")?.map(UserId),
            username: owned("username"),
            model: owned("model"),
            channel_id: query.number("channel_id")?.map(ChannelId),
            code: owned("code"),
        })
    }

    fn wants(&self, call: &RecentCall) -> bool {
        let code = match &call.end {
            RecentEnd::Failed { code, .. } => Some(*code),
            RecentEnd::Free | RecentEnd::Gone => None,
        };
        self.request_id.as_deref().is_none_or(|id| *call.request_id == *id)
            && self.user_id.is_none_or(|id| call.user_id == Some(id))
            && self.model.as_deref().is_none_or(|name| call.model.as_deref() == Some(name))
            && self.channel_id.is_none_or(|id| call.channel_id == Some(id))
            && self.code.as_deref().is_none_or(|wanted| code == Some(wanted))
    }
}

/// A page of them, newest first. `own`: the actor's own alone, without what is for operators.
///
/// # Errors
/// When the role doesn't reach, where no calls are served (on the command line), or when the
/// database fails.
pub async fn list(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    filter: &RecentFilter,
    page: PageRequest,
) -> Result<Page<RecentCallView>, AdminError> {
    let mut filter = filter.clone();
    match own {
        true => (filter.user_id, filter.username) = (Some(actor.user_id), None),
        false => actor.require_admin()?,
    }
    let absent = || AdminError::not_found("调用记录", "record of calls here");
    let traffic = state.traffic.as_deref().ok_or_else(absent)?;
    if let Some(name) = &filter.username {
        let id = named(state, name).await?;
        if filter.user_id.is_some_and(|other| other != id) {
            return Ok(page_of(Vec::new(), 0, page));
        }
        filter.user_id = Some(id);
    }
    let found = traffic.recent.find(|call| filter.wants(call));
    let total = found.len();
    let skipped = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let size = usize::try_from(page.size).unwrap_or_default();
    let shown: Vec<Arc<RecentCall>> = found.into_iter().skip(skipped).take(size).collect();
    let names = match own {
        true => BTreeMap::from([(actor.user_id, actor.username.clone())]),
        false => user::names(state, actor, shown.iter().filter_map(|call| call.user_id)).await?,
    };
    // Operators see causes and channels also of their own calls.
    let is_operator = actor.is_admin();
    let items = shown.iter().map(|call| view(call, &names, is_operator)).collect();
    Ok(page_of(items, total, page))
}

fn page_of(items: Vec<RecentCallView>, total: usize, page: PageRequest) -> Page<RecentCallView> {
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    Page { items, total, page: page.page, page_size: page.size }
}

/// The user of this name; a number that no user has where there is none.
async fn named(state: &AdminState, name: &str) -> Result<UserId, AdminError> {
    let rows = state.db.read("SELECT id FROM users WHERE username = $1", &[name.into()]).await?;
    Ok(rows.first().map_or(Ok(UserId(0)), |row| row.get("id"))?)
}

fn view(call: &RecentCall, names: &BTreeMap<UserId, String>, is_operator: bool) -> RecentCallView {
    let (state, failed) = match &call.end {
        RecentEnd::Free => (RecentState::Free, None),
        RecentEnd::Gone => (RecentState::Gone, None),
        RecentEnd::Failed { code, words, cause } => {
            (RecentState::Failed, Some((*code, words.clone(), cause)))
        }
    };
    let (code, words, cause) = match failed {
        Some((code, words, cause)) => (Some(code), words, Some(cause.clone())),
        None => (None, None, None),
    };
    let (message_zh, message_en) = words.unwrap_or_default();
    let name = call.user_id.and_then(|id| names.get(&id));
    RecentCallView {
        ended_at: exact::seconds(call.at),
        request_id: call.request_id.to_string(),
        state,
        status: call.status,
        code,
        message_zh,
        message_en,
        cause: cause.filter(|_| is_operator),
        user_id: call.user_id,
        username: name.cloned().unwrap_or_default(),
        token_id: call.key_id,
        model_name: call.model.as_deref().unwrap_or_default().to_owned(),
        channel_id: call.channel_id.filter(|_| is_operator),
        use_time_ms: call.took_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::UnixMs;

    fn call() -> RecentCall {
        RecentCall {
            at: UnixMs(1_700_000_000_000),
            request_id: "r".into(),
            user_id: Some(UserId(2)),
            key_id: Some(KeyId(3)),
            channel_id: Some(ChannelId(4)),
            model: Some("chat".into()),
            status: Some(502),
            took_ms: 5,
            end: RecentEnd::Failed {
                code: "UPSTREAM_ERROR",
                words: Some(("上游".to_owned(), "upstream".to_owned())),
                cause: "guarded: 10.1.2.3".to_owned(),
            },
        }
    }

    #[test]
    fn users_see_what_they_were_told_and_no_more() {
        let names = BTreeMap::from([(UserId(2), "ann".to_owned())]);
        let own = view(&call(), &names, false);
        assert_eq!((own.cause, own.channel_id), (None, None));
        assert_eq!((own.code, own.message_en.as_str()), (Some("UPSTREAM_ERROR"), "upstream"));
        let all = view(&call(), &names, true);
        assert_eq!(all.cause.as_deref(), Some("guarded: 10.1.2.3"));
        assert_eq!((all.channel_id, all.username.as_str()), (Some(ChannelId(4)), "ann"));
    }

    #[test]
    fn each_filter_narrows() {
        let read = |name: &str, value: &str| {
            let query = [(name.to_owned(), value.to_owned())].into_iter().collect();
            RecentFilter::read(&query).unwrap().wants(&call())
        };
        for (name, right, wrong) in [
            ("request_id", "r", "other"),
            ("user_id", "2", "3"),
            ("model", "chat", "draw"),
            ("channel_id", "4", "5"),
            ("code", "UPSTREAM_ERROR", "TIMEOUT"),
        ] {
            assert!(read(name, right) && !read(name, wrong), "{name}");
        }
    }
}
