//! Errors of administrative calls.

use domain::{Fault, FaultKind};
use ledger::LedgerError;
use store::StoreError;

/// What a caller of `ops` can act on. Words are Chinese and English, as people will read them.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The request can't be read at all.
    #[error("{en}")]
    Malformed {
        /// In Chinese.
        zh: String,
        /// In English.
        en: String,
    },
    /// A field breaks its rule.
    #[error("{field}: {en}")]
    Field {
        /// The field's name.
        field: String,
        /// The rule and the remedy, in Chinese.
        zh: String,
        /// The same in English.
        en: String,
    },
    /// No such thing, or not the caller's.
    #[error("{en}")]
    NotFound {
        /// In Chinese.
        zh: String,
        /// In English.
        en: String,
    },
    /// Something of that name exists already.
    #[error("{en}")]
    Conflict {
        /// In Chinese.
        zh: String,
        /// In English.
        en: String,
    },
    /// The caller's role doesn't reach.
    #[error("{en}")]
    Forbidden {
        /// In Chinese.
        zh: String,
        /// In English.
        en: String,
    },
    /// The caller isn't known.
    #[error("{en}")]
    Unauthenticated {
        /// In Chinese.
        zh: String,
        /// In English.
        en: String,
    },
    /// Too many attempts.
    #[error("too many attempts: again in {retry_after_s} s")]
    TooMany {
        /// When there is room again.
        retry_after_s: u32,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Too many redemption codes that don't exist.
    #[error("too many wrong codes")]
    TooManyWrongCodes {
        /// When the next one is looked at, in seconds.
        retry_after_s: u32,
    },
    /// A user was made, but the first deposit was not.
    #[error("user {user_id} was created, but the deposit failed: {cause}")]
    DepositFailed {
        /// The new user.
        user_id: i64,
        /// Why.
        cause: LedgerError,
    },
    /// Our own mistake.
    #[error("{0}")]
    System(String),
}

impl AdminError {
    /// A field breaks its rule; the words say the rule and the remedy.
    pub fn field(field: impl Into<String>, zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self::Field { field: field.into(), zh: zh.into(), en: en.into() }
    }

    /// No such thing: named in Chinese and English.
    pub fn not_found(zh: &str, en: &str) -> Self {
        Self::NotFound { zh: format!("{zh}不存在"), en: format!("no such {en}") }
    }

    /// What a failed write means where only a row that isn't there any more can have been missed.
    pub fn or_missing(missing: impl FnOnce() -> Self) -> impl FnOnce(StoreError) -> Self {
        move |error| match error {
            StoreError::RowCount { .. } => missing(),
            other => other.into(),
        }
    }

    /// Something of that name exists already.
    pub fn conflict(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self::Conflict { zh: zh.into(), en: en.into() }
    }

    /// The caller's role doesn't reach.
    pub fn forbidden(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self::Forbidden { zh: zh.into(), en: en.into() }
    }

    /// The caller isn't known.
    pub fn unauthenticated(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self::Unauthenticated { zh: zh.into(), en: en.into() }
    }

    /// The request can't be read.
    pub fn malformed(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self::Malformed { zh: zh.into(), en: en.into() }
    }
}

impl From<AdminError> for Fault {
    fn from(error: AdminError) -> Self {
        use FaultKind as Kind;
        match error {
            AdminError::Malformed { zh, en } => Self::new(Kind::InvalidRequest, zh, en),
            AdminError::Field { field, zh, en } => {
                Self::new(Kind::Unprocessable, format!("{field}: {zh}"), format!("{field}: {en}"))
            }
            AdminError::NotFound { zh, en } => Self::new(Kind::NotFound, zh, en),
            AdminError::Conflict { zh, en } => Self::new(Kind::Conflict, zh, en),
            AdminError::Forbidden { zh, en } => Self::new(Kind::Forbidden, zh, en),
            AdminError::Unauthenticated { zh, en } => Self::new(Kind::Unauthenticated, zh, en),
            AdminError::TooMany { retry_after_s } => Self::new(
                Kind::RateLimited,
                format!("尝试过于频繁, 请 {retry_after_s} 秒后再试"),
                format!("too many attempts: try again in {retry_after_s} s"),
            )
            .retry_after(retry_after_s),
            AdminError::Store(cause) => cause.into(),
            // Here it is the caller who named the amount.
            AdminError::Ledger(LedgerError::Overflow) => Self::new(
                Kind::Unprocessable,
                "金额超出范围: 单笔金额和余额最多为 1000000000000000, 退款最多为已扣的金额",
                "the amount does not fit: a movement and a balance are at most 1000000000000000, \
                 a refund what was charged",
            ),
            AdminError::Ledger(cause) => cause.into(),
            AdminError::TooManyWrongCodes { retry_after_s } => Self::new(
                Kind::RateLimited,
                format!("错误的兑换码过多, 请 {retry_after_s} 秒后再试"),
                format!("too many wrong codes: try again in {retry_after_s} s"),
            )
            .retry_after(retry_after_s),
            AdminError::DepositFailed { user_id, cause } => {
                let inner = Self::from(cause);
                Self {
                    zh: format!("用户 {user_id} 已创建, 但充值失败, 余额为 0: {}", inner.zh),
                    en: format!(
                        "user {user_id} was created with quota 0, but the deposit failed: {}; \
                         repeat it with POST /api/user/{user_id}/quota",
                        inner.en
                    ),
                    ..inner
                }
            }
            AdminError::System(cause) => {
                Self::new(Kind::System, "系统错误", "internal error").caused_by(cause)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_names_itself_in_both_languages() {
        let fault = Fault::from(AdminError::field("base_url", "不能有路径", "has a path"));
        assert_eq!(fault.kind, FaultKind::Unprocessable);
        assert_eq!(fault.message(), "base_url: 不能有路径 (base_url: has a path)");
    }

    #[test]
    fn a_half_done_creation_says_what_to_repeat() {
        let cause = LedgerError::Overloaded;
        let fault = Fault::from(AdminError::DepositFailed { user_id: 7, cause });
        assert_eq!(fault.kind, FaultKind::Overloaded);
        assert!(fault.en.contains("POST /api/user/7/quota"));
    }
}
