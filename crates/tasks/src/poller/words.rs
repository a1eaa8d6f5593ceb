//! Status words that are on no list: each is logged once per channel.

use domain::ChannelId;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The maximum number of words. When the set is full, it is cleared, and all are logged again.
const MAX_WORDS: usize = 1_000;

/// The words that were logged.
#[derive(Default)]
pub(super) struct Words(Mutex<HashSet<(ChannelId, String)>>);

impl Words {
    pub(super) fn note(&self, channel: ChannelId, word: String) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (channel, word);
        if known.contains(&key) {
            return;
        }
        if known.len() >= MAX_WORDS {
            known.clear();
        }
        tracing::warn!(
            target: "custompass", event = "unknown_task_status", channel_id = channel.0,
            word = key.1,
        );
        known.insert(key);
    }
}
