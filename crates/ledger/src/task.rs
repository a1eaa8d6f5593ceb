//! What a task is to the ledger, as data: created with its hold, recorded when the upstream has
//! accepted it, ended with its hold.

use domain::{ChannelId, KeyId, NodeId, Quota, TaskStatus, TaskUid, UnixMs, Usage, UserId};
use serde::Serialize;
use std::sync::Arc;

/// A task to be ended.
#[derive(Clone, Copy, Debug)]
pub struct TaskRef {
    /// Its id.
    pub uid: TaskUid,
    /// Its owner.
    pub user_id: UserId,
    /// Its channel; `None`: that of its hold.
    pub channel_id: Option<ChannelId>,
    /// When its work began.
    pub since: UnixMs,
}

/// What a task's end means for its hold.
#[derive(Clone, Debug)]
pub enum Charge {
    /// Charge the frozen price: per call, or of this usage. Where the usage is unknown, the amount
    /// held.
    Price(Option<Usage>),
    /// Charge the amount held.
    Held,
    /// Charge nothing, for this reason: a label.
    Nothing(&'static str),
}

/// A task to be created, before anything is sent.
#[derive(Clone, Debug, Serialize)]
pub struct NewTask {
    /// Its hold's id, or a fresh one where it costs nothing.
    pub uid: TaskUid,
    /// Owner.
    pub user_id: UserId,
    /// Key that submits it.
    pub token_id: KeyId,
    /// That key, sealed, for polling the upstream later.
    pub key_sealed: String,
    /// Channel chosen first.
    pub channel_id: ChannelId,
    /// Requested model, with its `/submit`.
    pub action: String,
    /// `X-Request-Id` of the submission.
    pub request_id: String,
    /// Node that submits it.
    pub node_id: NodeId,
    /// The submission itself, sealed, to be repeated after a crash.
    pub request_sealed: Option<String>,
    /// Where the client wants to be notified of its end, sealed.
    pub webhook_url_sealed: Option<String>,
}

/// What an upstream reported when it accepted a task.
#[derive(Clone, Debug, Serialize)]
pub struct TaskRecord {
    /// Which task.
    pub uid: TaskUid,
    /// The upstream's id; empty where its reply can't be read: then an operator ends the task.
    pub task_id: String,
    /// Channel that accepted it.
    pub channel_id: ChannelId,
    /// Path that it was submitted to, by which its protocol polls it; empty: by CustomPass.
    pub path: String,
    /// The status; never a final one.
    pub status: TaskStatus,
    /// The upstream's own status word.
    pub upstream_status: String,
    /// The progress, as the upstream wrote it.
    pub progress: String,
    /// The upstream's element, sealed.
    pub data: String,
}

impl TaskRecord {
    /// A task that was accepted, with nothing else known of it.
    #[must_use]
    pub fn new(uid: TaskUid, task_id: String, channel_id: ChannelId) -> Self {
        Self {
            uid,
            task_id,
            channel_id,
            path: String::new(),
            status: TaskStatus::Submitted,
            upstream_status: String::new(),
            progress: String::new(),
            data: String::new(),
        }
    }
}

/// A task with an amount of quota.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WithQuota<T> {
    #[serde(flatten)]
    pub task: T,
    /// The amount held or charged.
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
    /// The upstream's own status word; `None`: unchanged.
    pub upstream_status: Option<String>,
    /// The progress; `None`: unchanged.
    pub progress: Option<String>,
    /// Why it failed.
    pub fail_reason: String,
    /// The upstream's last report, sealed; `None`: unchanged. It may be large: its copies are one.
    pub data: Option<Arc<str>>,
    /// Hash of the upstream's last report.
    pub fingerprint: Option<i64>,
}

impl TaskEnd {
    /// It succeeded.
    #[must_use]
    pub const fn completed() -> Self {
        Self::of(TaskStatus::Completed)
    }

    /// It failed.
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
