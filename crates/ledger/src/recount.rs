//! Recounts what a user and the user's keys have spent today and this month: for counts spoilt by a
//! wrong clock or an edit by hand.

use crate::spending::Day;
use domain::{UnixMs, UserId};
use store::{Db, Statement, StoreError, Value};

/// Locks the row, so that the sums which follow include every line that the row includes.
const LOCK: &str = "UPDATE users SET revision = revision WHERE id = $1";

/// The same for the rows of `table` that `which` selects: the sum of the lines and open holds of
/// the day `$2` and of its month.
fn recount_sql(table: &str, which: &str, of_lines: &str, of_holds: &str, on: &str) -> String {
    let sum = |days: &str| {
        format!(
            "(SELECT CAST(coalesce(sum(quota), 0) AS BIGINT) FROM (
                SELECT used_delta AS quota FROM logs
                WHERE {of_lines} = {table}.id AND {on}{days}
                UNION ALL
                SELECT amount FROM holds WHERE {of_holds} = {table}.id AND {on}{days}) AS counted)"
        )
    };
    format!(
        "UPDATE {table} SET spent_on = $2, spent_day = {}, spent_month = {}
         WHERE {which} = $1 AND spent_on IS NOT NULL",
        sum(" = $2"),
        sum(" / 100 = $2 / 100"),
    )
}

/// Counts again; the next call uses the new count.
///
/// # Errors
/// When the database fails.
pub async fn recount(db: &Db, user_id: UserId, now: UnixMs) -> Result<(), StoreError> {
    let user = Value::from(user_id);
    let params = vec![user.clone(), Value::Int(Day::of(now).0.into())];
    let users = recount_sql("users", "id", "user_id", "user_id", "counted_on");
    let keys = recount_sql("tokens", "user_id", "token_id", "key_id", "key_counted_on");
    db.write_all(vec![
        Statement::new(LOCK, vec![user]).expecting(1),
        Statement::new(users, params.clone()),
        Statement::new(keys, params),
    ])
    .await?;
    Ok(())
}
