//! Lines of the journal, as they are about to be written.

use domain::{ChannelId, HoldId, KeyId, Quota, RedemptionId, Usage, UserId};
use std::sync::Arc;

/// What a line is about. The words are those of `logs.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Topup,
    Precharge,
    Consume,
    Refund,
    Adjust,
}

impl EntryKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Topup => "topup",
            Self::Precharge => "precharge",
            Self::Consume => "consume",
            Self::Refund => "refund",
            Self::Adjust => "adjust",
        }
    }
}

/// One line. `delta` is its effect on the balance, `used_delta` on what was spent: the sums of
/// these two columns *are* `users.quota` and `users.used_quota`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub kind: EntryKind,
    pub user_id: UserId,
    pub username: Arc<str>,
    pub quota: Quota,
    pub delta: Quota,
    pub used_delta: Quota,
    pub hold_id: Option<HoldId>,
    pub closes: bool,
    pub key_id: Option<KeyId>,
    pub channel_id: Option<ChannelId>,
    pub model: Arc<str>,
    pub request_id: Arc<str>,
    pub use_time_ms: i64,
    pub usage: Option<Usage>,
    /// The code that was redeemed.
    pub redemption: Option<RedemptionId>,
    pub content: String,
}

impl Entry {
    /// The details that have no column of their own, as JSON.
    pub fn other(&self) -> Option<String> {
        if let Some(id) = self.redemption {
            return Some(format!("{{\"redemption_id\":{id}}}"));
        }
        let usage = self.usage.as_ref()?;
        let plain = usage.cached_tokens == 0
            && usage.image_tokens == 0
            && usage.audio_tokens == 0
            && usage.reasoning_tokens == 0
            && usage.upstream_cost.is_none()
            && usage.inconsistency.is_none();
        // Most calls have nothing to tell beyond the two counts, which have columns.
        if plain {
            return None;
        }
        serde_json::to_string(usage).ok().map(|usage| format!("{{\"usage\":{usage}}}"))
    }

    pub fn prompt_tokens(&self) -> i64 {
        self.usage.as_ref().map_or(0, |usage| usage.prompt_tokens)
    }

    pub fn completion_tokens(&self) -> i64 {
        self.usage.as_ref().map_or(0, |usage| usage.completion_tokens)
    }
}
