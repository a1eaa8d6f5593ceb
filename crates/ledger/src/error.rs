//! Errors of the ledger.

use crate::spending::{LimitReached, Period};
use domain::{Fault, FaultKind, Quota};
use store::StoreError;

/// Errors that a caller of the ledger can act on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The balance, or the key's own limit, is too small.
    #[error("insufficient quota")]
    InsufficientQuota {
        /// The amount needed.
        needed: Quota,
        /// The amount available.
        available: Quota,
        /// Whether it is the key's own limit that is too small.
        key_limit: bool,
    },
    /// The daily or monthly spending limit is reached.
    #[error("spending limit reached")]
    SpendingLimit(LimitReached),
    /// The user is missing, disabled or deleted.
    #[error("user unavailable")]
    UserUnavailable,
    /// The key is missing or disabled.
    #[error("key unavailable")]
    KeyUnavailable,
    /// No such hold.
    #[error("unknown hold")]
    UnknownHold,
    /// The hold has ended, so it can't grow; or it was not charged, so nothing can be refunded.
    #[error("the hold is not in a state for this")]
    WrongState,
    /// The reference names a movement of another kind or amount.
    #[error("the reference names another movement")]
    ReferenceTaken,
    /// The redemption code is not valid, or not any more.
    #[error("redemption code: {0:?}")]
    Code(CodeFault),
    /// A row stayed locked by another session through all retries.
    #[error("account busy")]
    AccountBusy,
    /// The queue is full.
    #[error("ledger queue full")]
    Overloaded,
    /// The amount doesn't fit, or has the wrong sign.
    #[error("amount out of range")]
    Overflow,
    /// The database failed.
    #[error("database: {0}")]
    Unavailable(#[from] StoreError),
    /// The ledger is stopping.
    #[error("ledger stopped")]
    Stopped,
}

/// Why a redemption code is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFault {
    /// There is none.
    Unknown,
    /// It has been redeemed.
    Redeemed,
    /// An administrator disabled it.
    Disabled,
    /// It has expired.
    Expired,
}

impl LedgerError {
    /// A label for logs and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::InsufficientQuota { .. } => "insufficient",
            Self::SpendingLimit(_) => "spending_limit",
            Self::UserUnavailable | Self::KeyUnavailable => "forbidden",
            Self::UnknownHold
            | Self::WrongState
            | Self::ReferenceTaken
            | Self::Overflow
            | Self::Code(_) => "invalid",
            Self::AccountBusy => "busy",
            Self::Overloaded => "overloaded",
            Self::Unavailable(_) | Self::Stopped => "unavailable",
        }
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        use FaultKind as Kind;
        match error {
            LedgerError::InsufficientQuota { needed, available, key_limit } => {
                let (zh, en) = if key_limit {
                    ("令牌额度不足", "the key's own limit is too low")
                } else {
                    ("余额不足", "insufficient quota")
                };
                Self::new(
                    Kind::InsufficientQuota,
                    format!("{zh}: 需要 {needed}, 剩余 {available}"),
                    format!("{en}: {needed} needed, {available} available"),
                )
            }
            LedgerError::SpendingLimit(reached) => limit_reached(&reached),
            LedgerError::UserUnavailable => {
                Self::new(Kind::Forbidden, "用户已被禁用", "the user is disabled")
            }
            LedgerError::KeyUnavailable => {
                Self::new(Kind::Unauthenticated, "令牌不可用", "the key cannot be used")
            }
            LedgerError::UnknownHold => Self::new(Kind::NotFound, "没有这笔预扣费", "no such hold"),
            LedgerError::WrongState => Self::new(
                Kind::Conflict,
                "预扣费状态不允许此操作",
                "the hold has ended differently",
            ),
            LedgerError::ReferenceTaken => Self::new(
                Kind::Conflict,
                "该 reference 已用于另一笔变动",
                "the reference names a movement of another kind or amount",
            ),
            LedgerError::Code(fault) => {
                let (kind, zh, en) = match fault {
                    CodeFault::Unknown => (Kind::NotFound, "兑换码不存在", "no such code"),
                    CodeFault::Redeemed => {
                        (Kind::Conflict, "兑换码已被使用", "the code has been redeemed")
                    }
                    CodeFault::Disabled => (Kind::Conflict, "兑换码已停用", "the code is disabled"),
                    CodeFault::Expired => (Kind::Conflict, "兑换码已过期", "the code has expired"),
                };
                Self::new(kind, zh, en)
            }
            LedgerError::AccountBusy => Self::new(
                Kind::AccountBusy,
                "账户繁忙, 请稍后重试",
                "the account is busy, try again",
            )
            .retry_after(3),
            LedgerError::Overloaded => {
                Self::new(Kind::Overloaded, "系统繁忙, 请稍后重试", "overloaded, try again")
                    .retry_after(1)
            }
            LedgerError::Overflow => {
                Self::new(Kind::Config, "金额超出范围", "the amount does not fit").retry_after(60)
            }
            LedgerError::Unavailable(cause) => {
                Self::new(Kind::DatabaseUnavailable, "数据库不可用", "the database is unavailable")
                    .retry_after(1)
                    .caused_by(cause)
            }
            LedgerError::Stopped => {
                Self::new(Kind::Overloaded, "服务正在停止", "the service is stopping")
                    .retry_after(1)
            }
        }
    }
}

fn limit_reached(reached: &LimitReached) -> Fault {
    let (whose_zh, whose) =
        if reached.of_key { ("令牌", "the key's") } else { ("用户", "the user's") };
    let (period_zh, period) = match reached.period {
        Period::Day => ("每日", "daily"),
        Period::Month => ("每月", "monthly"),
    };
    let LimitReached { needed, available, .. } = reached;
    let resets = reached.resets();
    Fault::new(
        FaultKind::SpendingLimit,
        format!(
            "{whose_zh}{period_zh}消费限额不足: 需要 {needed}, 剩余 {available}, {resets} 重置"
        ),
        format!(
            "{whose} {period} spending limit does not reach: {needed} needed, {available} left, \
             resets at {resets}"
        ),
    )
}
