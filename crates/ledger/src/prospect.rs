//! What ending an unfinished task now would move, for whoever decides about it.

use domain::{FrozenPrice, Quota, TaskUid};
use serde::Serialize;
use store::{Db, StoreError, Value};
use utoipa::ToSchema;

/// What an unfinished task holds, and what settling it now would charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskProspect {
    /// What it holds: all of it goes back where the task has failed.
    pub held: Quota,
    /// What settling it now charges: its price, or what it holds where use is unknown.
    pub charge: Quota,
    /// The owner's balance now.
    pub balance: Quota,
}

impl TaskProspect {
    /// The balance after the task is settled now; `None` on overflow.
    #[must_use]
    pub fn settled(&self) -> Option<Quota> {
        self.refunded()?.checked_sub(self.charge)
    }

    /// The balance after the task has failed and everything went back.
    #[must_use]
    pub fn refunded(&self) -> Option<Quota> {
        self.balance.checked_add(self.held)
    }
}

/// What ending this task now would move; `None` where there is no such task or owner.
///
/// # Errors
/// When the database fails.
pub async fn task_prospect(db: &Db, uid: TaskUid) -> Result<Option<TaskProspect>, StoreError> {
    // One statement, so that balance and hold are of one moment.
    let sql = "SELECT t.quota AS task_held, u.quota AS balance, h.amount, p.price
        FROM tasks t JOIN users u ON u.id = t.user_id LEFT JOIN holds h ON h.id = t.uid
        LEFT JOIN price_snapshots p ON p.id = h.price_id
        WHERE t.uid = $1 AND t.finish_time IS NULL";
    let rows = db.read(sql, &[Value::Uuid(uid.0)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let balance: Quota = row.get("balance")?;
    let Some(held) = row.get::<Option<Quota>>("amount")? else {
        // A hold that was lost is charged all the same, by what the task's row says of it.
        let charge: Quota = row.get("task_held")?;
        return Ok(Some(TaskProspect { held: Quota::ZERO, charge, balance }));
    };
    let price: Option<serde_json::Value> = row.get("price")?;
    let price: Option<FrozenPrice> = price.and_then(|it| serde_json::from_value(it).ok());
    let charge =
        price.map_or(held, |price| price.charge_or(held, price.counts_of(None, None).as_ref()).0);
    Ok(Some(TaskProspect { held, charge, balance }))
}
