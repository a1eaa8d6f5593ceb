//! What a task is to the ledger, as data: created with its hold, recorded when the upstream has
//! accepted it, ended with its hold.

use domain::{ChannelId, KeyId, NodeId, Quota, TaskStatus, TaskUid, UnixMs, Usage, UserId};
use serde::Serialize;

/// A task that is to be ended.
#[derive(Clone, Copy, Debug)]
pub struct TaskRef {
    /// Which.
    pub uid: TaskUid,
    /// Whose.
    pub user_id: UserId,
    /// Channel that has it; `None`: that of its hold.
    pub channel_id: Option<ChannelId>,
    /// When its work began.
    pub since: UnixMs,
}

/// What a task's end means for its hold.
#[derive(Clone, Debug)]
pub enum Charge {
    /// The frozen price: a call's, or that of this use. Where use is unknown, what is held.
    Price(Option<Usage>),
    /// What is held.
    Held,
    /// Nothing, for this reason: a label.
    Nothing(&'static str),
}

/// A task to be made, before anything is sent.
#[derive(Clone, Debug, Serialize)]
pub struct NewTask {
    /// Its hold's id, or a fresh one where it costs nothing.
    pub uid: TaskUid,
    /// Owner.
    pub user_id: UserId,
    /// Key that submits it.
    pub token_id: KeyId,
    /// That key, sealed, for asking the upstream later.
    pub key_sealed: String,
    /// Channel chosen first.
    pub channel_id: ChannelId,
    /// Model asked for, with its `/submit`.
    pub action: String,
    /// `X-Request-Id` of the submission.
    pub request_id: String,
    /// Node that submits it.
    pub node_id: NodeId,
    /// The submission itself, sealed, to be repeated after a crash.
    pub request_sealed: Option<String>,
    /// Where the client wants to hear of its end, sealed.
    pub webhook_url_sealed: Option<String>,
}

/// What an upstream said when it took a task.
#[derive(Clone, Debug, Serialize)]
pub struct TaskRecord {
    /// Which task.
    pub uid: TaskUid,
    /// The upstream's id.
    pub task_id: String,
    /// Channel that took it.
    pub channel_id: ChannelId,
    /// Where it stands; not its end.
    pub status: TaskStatus,
    /// The upstream's own word.
    pub upstream_status: String,
    /// How far it is.
    pub progress: String,
    /// What the upstream said of it, sealed.
    pub data: String,
}

impl TaskRecord {
    /// A task that was taken, and of which nothing else is known.
    #[must_use]
    pub fn new(uid: TaskUid, task_id: String, channel_id: ChannelId) -> Self {
        Self {
            uid,
            task_id,
            channel_id,
            status: TaskStatus::Submitted,
            upstream_status: String::new(),
            progress: String::new(),
            data: String::new(),
        }
    }
}

/// Something about a task, with the quota that goes with it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WithQuota<T> {
    #[serde(flatten)]
    pub told: T,
    /// What it holds, or was charged.
    pub quota: Quota,
}

/// The end of a task.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndedTask {
    pub uid: TaskUid,
    #[serde(flatten)]
    pub end: TaskEnd,
}

/// How a task ended.
#[derive(Clone, Debug, Serialize)]
pub struct TaskEnd {
    /// Completed or failed.
    pub status: TaskStatus,
    /// The upstream's own word; `None`: as it was.
    pub upstream_status: Option<String>,
    /// How far it got; `None`: as it was.
    pub progress: Option<String>,
    /// Why it failed.
    pub fail_reason: String,
    /// What the upstream said of it last, sealed; `None`: as it was.
    pub data: Option<String>,
    /// Of what the upstream said last.
    pub fingerprint: Option<i64>,
}

impl TaskEnd {
    /// It ended well.
    #[must_use]
    pub const fn completed() -> Self {
        Self::of(TaskStatus::Completed)
    }

    /// It ended badly.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { fail_reason: reason.into(), ..Self::of(TaskStatus::Failed) }
    }

    const fn of(status: TaskStatus) -> Self {
        Self {
            status,
            upstream_status: None,
            progress: None,
            fail_reason: String::new(),
            data: None,
            fingerprint: None,
        }
    }
}
