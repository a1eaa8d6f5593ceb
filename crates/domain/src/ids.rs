//! Ids. Each is a type of its own, so that a user's id can't be passed for a channel's.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// A user: the owner of a balance.
    UserId
);
row_id!(
    /// A key (`sk-…`): what a client authenticates with. The admin API calls it token.
    KeyId
);
row_id!(
    /// A channel: one account at an upstream.
    ChannelId
);
row_id!(
    /// A redemption code.
    RedemptionId
);
uuid_id!(
    /// A hold. UUIDv7, so the ids of a month are one contiguous range.
    HoldId
);
uuid_id!(
    /// One run of one newapi process. A restart is a new node.
    NodeId
);
uuid_id!(
    /// A task. The id of a paid one is also its hold's: both are made and ended together. The
    /// upstream's own id of the task is text, and is kept beside it.
    TaskUid
);

impl From<HoldId> for TaskUid {
    fn from(hold: HoldId) -> Self {
        Self(hold.0)
    }
}

impl TaskUid {
    /// The hold of a paid task.
    #[must_use]
    pub const fn hold(self) -> HoldId {
        HoldId(self.0)
    }
}
