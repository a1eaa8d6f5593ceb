//! The rows that the Book decides over, as a lane brings them.

use crate::op::EndState;
use crate::redemption::CodeRow;
use crate::spending::{Day, Spending};
use domain::{ChannelId, HoldId, KeyId, Quota, RedemptionId, UserId};
use std::collections::HashMap;
use std::sync::Arc;

/// A user's row.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub username: Arc<str>,
    pub quota: Quota,
    /// Enabled and not deleted.
    pub usable: bool,
    pub spending: Option<Box<Spending>>,
}

/// A key's row. Only brought for keys that have a limit of their own.
#[derive(Clone, Debug)]
pub(crate) struct KeyLimit {
    pub remain: Quota,
    pub unlimited: bool,
    pub spending: Option<Box<Spending>>,
}

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HoldState {
    Held,
    Ended(EndState),
}

impl HoldState {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Ended(end) => end.word(),
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "held" => Self::Held,
            "settled" => Self::Ended(EndState::Settled),
            "released" => Self::Ended(EndState::Released),
            "expired" => Self::Ended(EndState::Expired),
            _ => return None,
        })
    }
}

/// A hold's row.
#[derive(Clone, Debug)]
pub(crate) struct HoldRow {
    pub user_id: UserId,
    pub key_id: KeyId,
    pub channel_id: Option<ChannelId>,
    pub model: Arc<str>,
    pub request_id: Arc<str>,
    pub amount: Quota,
    /// What was taken from the key's own limit; `None`: it had none.
    pub key_amount: Option<Quota>,
    /// When it counts as spent by the user, and by the key; `None`: it isn't counted.
    pub counted_on: Option<Day>,
    pub key_counted_on: Option<Day>,
    pub state: HoldState,
    pub charged: Quota,
    /// Nobody is at work on it any more.
    pub orphaned: bool,
    /// What the database says; `None`: made in this batch.
    pub stored: Option<Stored>,
    /// Changed in this batch.
    pub touched: bool,
}

/// What of a hold's row a batch may change, as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub state: HoldState,
    pub amount: Quota,
    pub charged: Quota,
}

impl HoldRow {
    /// Nobody is at work on it, and it has not ended.
    pub fn is_abandoned(&self) -> bool {
        self.orphaned && self.state == HoldState::Held
    }

    /// Its key has a limit of its own that it is part of.
    pub const fn limits_key(&self) -> bool {
        self.key_amount.is_some() || self.key_counted_on.is_some()
    }

    /// The row once it is written.
    pub fn stored(mut self) -> Self {
        let (state, amount, charged) = (self.state, self.amount, self.charged);
        self.stored = Some(Stored { state, amount, charged });
        self.touched = false;
        self
    }
}

/// All rows a batch touches. What is missing was locked by somebody else, or isn't there.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub accounts: HashMap<UserId, Account>,
    pub keys: HashMap<KeyId, KeyLimit>,
    pub holds: HashMap<HoldId, HoldRow>,
    pub codes: HashMap<RedemptionId, CodeRow>,
}

/// A row that an operation needs and that was not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Missing {
    User(UserId),
    Key(KeyId),
    Hold(HoldId),
    Code(RedemptionId),
}
