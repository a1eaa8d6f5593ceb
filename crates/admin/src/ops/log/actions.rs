//! What of the admin journal is meant: by the kind of what was done, and by whom it was done to.

use crate::AdminError;
use crate::page::{Query, Where};
use domain::UserId;

/// Kinds of actions. `refused`: logins, passwords and access tokens that were wrong; `money`:
/// balances that were moved by hand, codes, and tasks that were decided over.
pub const ACTION_KINDS: [&str; 11] = [
    "refused",
    "logins",
    "money",
    "users",
    "keys",
    "channels",
    "protocols",
    "prices",
    "settings",
    "tasks",
    "webhooks",
];
/// The kind of a line: the expression of its index, word for word.
const KIND: &str = "(CASE other ->> 'action'
    WHEN 'user.login' THEN 'logins'
    WHEN 'user.login_failed' THEN 'refused'
    WHEN 'user.password_refused' THEN 'refused'
    WHEN 'user.token_refused' THEN 'refused'
    WHEN 'task.fail_and_refund' THEN 'money'
    WHEN 'task.settle_now' THEN 'money'
    ELSE CASE substr(other ->> 'action', 1, 4)
        WHEN 'abil' THEN 'prices' WHEN 'bala' THEN 'money' WHEN 'grou' THEN 'prices'
        WHEN 'chan' THEN 'channels' WHEN 'prot' THEN 'protocols'
        WHEN 'noti' THEN 'settings' WHEN 'opti' THEN 'settings'
        WHEN 'rede' THEN 'money' WHEN 'task' THEN 'tasks'
        WHEN 'toke' THEN 'keys' WHEN 'user' THEN 'users' WHEN 'webh' THEN 'webhooks'
    END
END)";
/// The user that something was done to: the expression of its index.
const TARGET: &str = "CAST(other ->> 'target_user_id' AS text)";

/// Which actions.
#[derive(Clone, Debug, Default)]
pub struct ActionFilter {
    /// Of which kind.
    pub kind: Option<&'static str>,
    /// What was done to this user, or to what is theirs.
    pub target: Option<UserId>,
    /// The same, by name.
    pub target_name: Option<String>,
}

impl ActionFilter {
    /// Reads the filters of an address.
    ///
    /// # Errors
    /// When one of them means nothing.
    pub fn read(query: &Query) -> Result<Self, AdminError> {
        Ok(Self {
            kind: query.text("kind").map(read_kind).transpose()?,
            target: query.number("target_user_id")?.map(UserId),
            target_name: query.text("target_username").map(str::to_owned),
        })
    }

    pub(super) fn is_any(&self) -> bool {
        self.kind.is_none() && self.target.is_none() && self.target_name.is_none()
    }

    pub(super) fn narrow(&self, conditions: &mut Where) {
        if let Some(kind) = self.kind {
            // A word of ours.
            conditions.fixed(&format!("{KIND} = '{kind}'"));
        }
        let target = self.target.map(|target| target.0.to_string());
        conditions.with_some(&format!("{TARGET} = ?"), target.as_deref());
        let by_name =
            format!("{TARGET} = (SELECT CAST(id AS text) FROM users WHERE users.username = ?)");
        conditions.with_some(&by_name, self.target_name.as_deref());
    }
}

fn read_kind(text: &str) -> Result<&'static str, AdminError> {
    ACTION_KINDS.into_iter().find(|kind| *kind == text).ok_or_else(|| {
        AdminError::field(
            "kind",
            format!("必须是 {} 之一", ACTION_KINDS.join("、")),
            format!("must be one of {}", ACTION_KINDS.join(", ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{KIND, TARGET};

    #[test]
    fn the_indexes_of_both_engines_are_what_is_asked_by() {
        for schema in [
            include_str!("../../../../store/migrations/postgres/0001_schema.sql"),
            include_str!("../../../../store/migrations/sqlite/0001_schema.sql"),
        ] {
            for (index, expression) in
                [("logs_action_kinds", KIND), ("logs_action_targets", &format!("({TARGET})"))]
            {
                let indexed = format!("CREATE INDEX {index} ON logs ({expression}, id)\n");
                assert!(schema.contains(&indexed), "{indexed}");
            }
        }
    }
}
