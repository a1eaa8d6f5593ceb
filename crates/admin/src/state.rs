//! What every use case works with, and who asks for it.

use crate::login_guard::LoginGuard;
use crate::ops::doctor::HealthChecks;
use crate::ops::redemption::WrongCodes;
use crate::password::Passwords;
use crate::{AdminError, Options};
use domain::{Clock, KeyId, UserId};
use ledger::Ledger;
use std::sync::Arc;
use store::{Db, Live, Sealer};
use tokio_util::task::TaskTracker;
use traffic::Traffic;
use web::memory::Budget;

/// The role that may do everything.
pub const ROLE_ROOT: i64 = 100;
/// The role of administrators.
pub const ROLE_ADMIN: i64 = 10;
/// The role that pays.
pub const ROLE_USER: i64 = 1;

/// What the use cases work with. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    /// The database.
    pub db: Db,
    /// The serving process's view of the configuration, refreshed before a call returns. The
    /// command line has none: serving processes follow the database by themselves.
    pub live: Option<Arc<Live>>,
    /// The only way to money.
    pub ledger: Ledger,
    /// Encrypts channel keys and user keys.
    pub sealer: Sealer,
    /// For testing channels.
    pub client: upstream::Client,
    /// The client for webhooks, which enforces the addresses that they may have.
    pub webhook_client: upstream::Client,
    /// The time.
    pub clock: Clock,
    /// Creates the spans of calls.
    pub tracer: spans::Tracer,
    /// Rate limits for login attempts.
    pub logins: LoginGuard,
    /// Where passwords are hashed.
    pub passwords: Passwords,
    /// Who has tried redemption codes that don't exist.
    pub wrong_codes: WrongCodes,
    /// The last check of the books that this node made.
    pub last_audit: crate::ops::audit::LastAudit,
    /// Who follows what happens.
    pub events: crate::ops::events::EventHub,
    /// The settings of a serving process that follow changes; the command line has none.
    pub options: Option<Arc<dyn Options>>,
    /// The health check that a serving process makes of itself; the command line has its own.
    pub health: HealthChecks,
    /// The live counters of a process that serves calls; the command line has none.
    pub traffic: Option<Arc<Traffic>>,
    /// The memory that answers count in until they are sent.
    pub budget: Arc<Budget>,
    /// Calls that write run here: they go to their end, also when the caller hangs up.
    pub jobs: TaskTracker,
}

impl AdminState {
    /// Puts a write to channels or prices into effect in this process, so that a response implies
    /// that it is live. A failure here doesn't undo the write, which goes live a moment later by
    /// itself.
    pub(crate) async fn refresh(&self) {
        if let Some(live) = &self.live
            && let Err(error) = live.refresh().await
        {
            tracing::warn!(target: "custompass", event = "refresh_failed", error = %error);
        }
    }

    /// Invalidates the cache entries of a user and their keys.
    pub(crate) fn forget_user(&self, id: UserId) {
        if let Some(live) = &self.live {
            live.identities.invalidate_user(id);
        }
    }

    /// Invalidates the cache entry of a key.
    pub(crate) fn forget_key(&self, id: KeyId) {
        if let Some(live) = &self.live {
            live.identities.invalidate_key(id);
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// 0: the command line.
    pub user_id: UserId,
    /// The name that enters the log.
    pub username: String,
    /// 1 user, 10 admin, 100 root.
    pub role: i64,
    /// Group of the user.
    pub group: String,
}

impl Actor {
    /// The operator at the command line of the machine, who may do everything.
    #[must_use]
    pub fn command_line() -> Self {
        Self {
            user_id: UserId(0),
            username: "command line".to_owned(),
            role: ROLE_ROOT,
            group: String::new(),
        }
    }

    /// Whether the actor is an administrator.
    #[must_use]
    pub const fn is_admin(&self) -> bool {
        self.role >= ROLE_ADMIN
    }

    /// Requires the actor to be an administrator.
    ///
    /// # Errors
    /// For ordinary users.
    pub fn require_admin(&self) -> Result<(), AdminError> {
        if self.is_admin() {
            return Ok(());
        }
        Err(AdminError::forbidden("需要管理员权限", "only an administrator may do this"))
    }

    /// Whether the actor may see and change things of this user.
    #[must_use]
    pub fn owns(&self, user_id: UserId) -> bool {
        self.is_admin() || self.user_id == user_id
    }

    /// Requires that the actor may act on a user of this role: root on any user, others only on
    /// roles below their own.
    ///
    /// # Errors
    /// When the role is too high.
    pub fn require_above(&self, role: i64) -> Result<(), AdminError> {
        if self.role >= ROLE_ROOT || self.role > role {
            return Ok(());
        }
        Err(AdminError::forbidden(
            "不能操作同级或更高级别的用户",
            "only somebody of a higher role may do this to this user",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(role: i64) -> Actor {
        Actor { user_id: UserId(5), username: "a".to_owned(), role, group: "default".to_owned() }
    }

    #[test]
    fn roles_reach_downwards() {
        assert!(actor(ROLE_ROOT).require_above(ROLE_ROOT).is_ok());
        assert!(actor(ROLE_ADMIN).require_above(ROLE_USER).is_ok());
        assert!(actor(ROLE_ADMIN).require_above(ROLE_ADMIN).is_err());
        assert!(actor(ROLE_ADMIN).require_above(ROLE_ROOT).is_err());
        assert!(actor(ROLE_USER).require_above(ROLE_USER).is_err());
        assert!(actor(ROLE_USER).require_admin().is_err());
        assert!(actor(ROLE_USER).owns(UserId(5)) && !actor(ROLE_USER).owns(UserId(6)));
        assert!(actor(ROLE_ADMIN).owns(UserId(6)));
        assert!(Actor::command_line().require_above(ROLE_ROOT).is_ok());
    }
}
