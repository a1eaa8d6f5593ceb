//! Records of failed password attempts, at login or when changing a password: a line in the log and
//! one in the journal. A failed access token leaves a line in the log.
//!
//! An attacker guessing passwords must not be able to fill either. Attempts that cost a hash are
//! rate limited; those refused earlier are reported once a minute per name and network, and the
//! number of journal lines per minute is capped.

use crate::ops::record::{self, Subject};
use crate::{Actor, AdminError, AdminState};
use domain::UserId;
use serde_json::json;
use std::net::IpAddr;
use store::StoreError;

/// How much is shown of an unknown name: people type their password into that field.
const SHOWN_CHARS: usize = 3;

/// What the password was tried for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Door {
    /// A session.
    Login,
    /// Another password.
    Change,
    /// `/api`, as an access token.
    Token,
}

impl Door {
    /// Its event in the log, its action in the journal, and its message there.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Login => ("login_failed", "user.login_failed", "登录失败"),
            Self::Change => ("password_refused", "user.password_refused", "修改密码失败"),
            Self::Token => ("access_token_refused", "user.token_refused", "访问令牌错误"),
        }
    }
}

/// Reports an attempt that ended in `error`. Errors that are not the client's fault are reported
/// elsewhere.
pub(super) async fn tell(
    state: &AdminState,
    door: Door,
    client: IpAddr,
    username: &str,
    error: &AdminError,
) -> Result<(), AdminError> {
    let (reason, tried) = match error {
        AdminError::Unauthenticated { .. } | AdminError::Field { .. } => ("wrong_password", true),
        AdminError::Forbidden { .. } => ("disabled", true),
        AdminError::TooMany { .. } => ("too_many_attempts", false),
        _ => return Ok(()),
    };
    let news = state.logins.is_news(username, client, (door, reason), state.clock.now());
    if !news && !tried {
        return Ok(());
    }
    let who = who(state, username).await?;
    let (event, action, words) = door.words();
    tracing::warn!(
        target: "custompass",
        event,
        user_id = who.user_id.0,
        username = who.username,
        address = %client,
        reason,
    );
    if news && state.logins.take_line(state.clock.now()) {
        let content = format!("用户 {} {words} ({reason}), 来自 {client}", who.username);
        let details = json!({ "by": null, "address": client, "reason": reason });
        let line = record::manage(state, &who, Subject::Other, (action, content), details);
        state.db.write_all(vec![line]).await?;
    }
    Ok(())
}

/// Logs a try at an access token that `error` ended, once a minute for a network. The journal has
/// no line of it: there is no user whose line it would be.
pub(crate) fn report_token(state: &AdminState, client: IpAddr, error: &AdminError) {
    let reason = match error {
        AdminError::Unauthenticated { .. } => "unknown",
        AdminError::TooMany { .. } => "too_many_attempts",
        _ => return,
    };
    if state.logins.is_news("", client, (Door::Token, reason), state.clock.now()) {
        let (event, ..) = Door::Token.words();
        tracing::warn!(target: "custompass", event, address = %client, reason);
    }
}

/// Returns the user with this name; user 0 if there is none.
async fn who(state: &AdminState, username: &str) -> Result<Actor, StoreError> {
    let sql = "SELECT id FROM users WHERE username = $1 AND deleted_at IS NULL";
    let rows = match username.contains('\0') {
        true => Vec::new(),
        false => state.db.read(sql, &[username.into()]).await?,
    };
    let (user_id, username) = match rows.first() {
        Some(row) => (row.get("id")?, username.to_owned()),
        None => (UserId(0), hint(username)),
    };
    Ok(Actor { user_id, username, role: 0, group: String::new() })
}

/// The beginning of a name, without what would not be printed.
fn hint(username: &str) -> String {
    let shown = username.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS);
    shown.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nobody_has_is_not_shown() {
        assert_eq!(hint("correct horse battery staple"), "cor…");
        assert_eq!(hint("\u{1b}[2J\n密码"), "[2J…");
        assert_eq!(hint(""), "…");
    }
}
