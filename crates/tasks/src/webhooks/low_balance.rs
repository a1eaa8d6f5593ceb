//! Notifies users that their balance is low (`balance.low`).
//!
//! Balances are checked beside the ledger and not in it: a call costs nothing more for it, and an
//! edit with plain SQL counts as well. `users.low_balance_event`, which changes in the transaction
//! that fills the outbox, ensures that a fall is reported once, by one of several nodes.

use crate::Parts;
use domain::UnixMs;
use std::time::Duration;
use store::{Db, Engine, Statement, StoreError, Value};
use tokio::time::{MissedTickBehavior, interval};

/// How often balances are checked.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Users notified in one transaction, at most.
const USERS_MAX: i64 = 500;
/// A balance near its threshold dips below with every hold. This is the minimum time between two
/// notifications of a user.
const QUIET_MS: i64 = 10 * 60 * 1000;

/// A fall that has not been reported.
const FALLEN: &str = "low_balance_threshold IS NOT NULL AND quota < low_balance_threshold
    AND low_balance_event IS NULL AND deleted_at IS NULL
    AND (low_balance_told_at IS NULL OR low_balance_told_at <= $1)";
/// A rise after a fall that was reported.
const RISEN: &str = "low_balance_threshold IS NOT NULL AND quota >= low_balance_threshold
    AND low_balance_event IS NOT NULL";

/// Checks periodically. A failed check is repeated.
pub(super) async fn watch(parts: Parts) {
    let mut pause = interval(LOOK_EVERY);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        if let Err(error) = look(&parts.db, parts.clock.now()).await {
            tracing::warn!(target: "custompass", event = "low_balance_stalled", %error);
        }
    }
}

async fn look(db: &Db, now: UnixMs) -> Result<(), StoreError> {
    let notified_before = Value::Time(now.plus_ms(-QUIET_MS));
    // Nearly always there is nothing to write.
    let sql = format!("SELECT 1 AS one FROM users WHERE ({FALLEN}) OR ({RISEN}) LIMIT 1");
    if db.read(&sql, std::slice::from_ref(&notified_before)).await?.is_empty() {
        return Ok(());
    }
    let event = Value::Uuid(web::uuid_v7(now));
    let (arm, mark) = (arm(db.engine()), mark(db.engine()));
    db.write_all(vec![
        Statement::new(arm, vec![USERS_MAX.into()]),
        Statement::new(mark, vec![notified_before, USERS_MAX.into(), event.clone(), now.into()]),
        Statement::new(TELL, vec![event, now.into()]),
    ])
    .await
    .map(drop)
}

/// Rows locked by another node, or by a lane of the ledger, are left for the next check.
const fn skip_locked(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "FOR NO KEY UPDATE SKIP LOCKED",
        Engine::Sqlite => "",
    }
}

fn arm(engine: Engine) -> String {
    format!(
        "UPDATE users SET low_balance_event = NULL
         WHERE id IN (SELECT id FROM users WHERE {RISEN} LIMIT $1 {})",
        skip_locked(engine)
    )
}

/// One event id for all who are notified now: an endpoint belongs to one of them.
fn mark(engine: Engine) -> String {
    format!(
        "UPDATE users SET low_balance_event = $3, low_balance_told_at = $4
         WHERE id IN (SELECT id FROM users WHERE {FALLEN} LIMIT $2 {})",
        skip_locked(engine)
    )
}

/// The marked rows are locked: their balances are those that were checked.
const TELL: &str = "
    INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, due_at, created_at,
           balance, threshold)
    SELECT e.id, u.id, u.low_balance_event, 'balance.low', $2, $2, u.quota,
           u.low_balance_threshold
    FROM users u JOIN webhook_endpoints e ON e.user_id = u.id
    WHERE u.low_balance_threshold IS NOT NULL AND u.low_balance_event = $1
      AND e.status = 1 AND e.url <> ''
      AND (e.events = '' OR ',' || e.events || ',' LIKE '%,balance.low,%')";
