//! Lines of the journal, before they are written.

use crate::spending::Day;
use domain::{ChannelId, HoldId, KeyId, Quota, RedemptionId, UnixMs, Usage, UserId};
use std::borrow::Cow;
use std::sync::Arc;

/// The type of a line. The names are those of `logs.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    Topup,
    Precharge,
    Consume,
    Refund,
    Adjust,
    Manage,
    Error,
}

impl LineKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Topup => "topup",
            Self::Precharge => "precharge",
            Self::Consume => "consume",
            Self::Refund => "refund",
            Self::Adjust => "adjust",
            Self::Manage => "manage",
            Self::Error => "error",
        }
    }
}

/// One line. `delta` is its effect on the balance, `used_delta` on what was spent: the sums of
/// these two columns, less what is held, *are* `users.quota` and `users.used_quota`.
#[derive(Clone, Debug)]
pub(crate) struct LineRow {
    pub kind: LineKind,
    pub created_at: UnixMs,
    pub user_id: UserId,
    pub username: Arc<str>,
    pub quota: Quota,
    pub delta: Quota,
    pub used_delta: Quota,
    pub hold_id: Option<HoldId>,
    pub held: Option<Quota>,
    pub price_id: Option<i64>,
    pub key_id: Option<KeyId>,
    pub channel_id: Option<ChannelId>,
    pub model: Arc<str>,
    pub request_id: Arc<str>,
    pub use_time_ms: i64,
    pub usage: Option<Usage>,
    /// The day on which `used_delta` counts as spent by the user, and by the key; `None`: it isn't
    /// counted.
    pub counted_on: Option<Day>,
    pub key_counted_on: Option<Day>,
    /// The code that was redeemed.
    pub redemption: Option<RedemptionId>,
    /// The reference of a movement.
    pub reference: Option<Arc<str>>,
    pub content: Cow<'static, str>,
    /// Details that were given as they are, as JSON.
    pub details: Option<Arc<str>>,
}

impl LineRow {
    /// Whether the line has more columns than that of a plain call.
    pub(crate) fn is_detailed(&self) -> bool {
        !self.content.is_empty()
            || self.reference.is_some()
            || self.redemption.is_some()
            || self.usage.as_ref().is_some_and(|usage| !is_plain(usage))
    }

    /// The details that have no column of their own, as JSON.
    pub(crate) fn other(&self) -> Option<String> {
        if let Some(details) = &self.details {
            return Some(details.as_ref().to_owned());
        }
        if let Some(id) = self.redemption {
            return Some(format!("{{\"redemption_id\":{id}}}"));
        }
        let usage = self.usage.as_ref()?;
        if is_plain(usage) {
            return None;
        }
        serde_json::to_string(usage).ok().map(|usage| format!("{{\"usage\":{usage}}}"))
    }

    pub(crate) fn prompt_tokens(&self) -> i64 {
        self.usage.as_ref().map_or(0, |usage| usage.prompt_tokens)
    }

    pub(crate) fn completion_tokens(&self) -> i64 {
        self.usage.as_ref().map_or(0, |usage| usage.completion_tokens)
    }
}

/// Most calls have no details beyond the two counts, which have columns.
fn is_plain(usage: &Usage) -> bool {
    let Usage { prompt_tokens, completion_tokens, .. } = *usage;
    *usage == Usage { prompt_tokens, completion_tokens, ..Usage::default() }
}
