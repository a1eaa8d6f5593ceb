//! Drops old months; their sums stay, so that every balance remains provable.
//!
//! On PostgreSQL a month is a partition of `logs`: it is added to `ledger_carry` and dropped, in
//! one transaction. SQLite deletes slices from the old end of the table, each added to the sums in
//! the transaction that deletes it.

use crate::prices::REFRESH_MS;
use domain::{DAY_MS, UnixMs};
use store::{Db, Engine, Row, Statement, StoreError, Value, idempotency, resources};

/// Lines per slice on SQLite: a commit of a few milliseconds, so that calls continue in between.
const SLICE_LINES: i64 = 5_000;
/// Expired replies, and expired resources, deleted per commit.
const FORGOTTEN_AT_ONCE: u32 = 1_000;

/// Deletes what is older than `keep_days`; 0 keeps everything.
pub(super) async fn run(db: &Db, now: UnixMs, keep_days: i64) -> Result<(), StoreError> {
    while idempotency::purge_expired(db, now, FORGOTTEN_AT_ONCE).await? > 0 {}
    while resources::purge_expired(db, now, FORGOTTEN_AT_ONCE).await? > 0 {}
    if keep_days <= 0 {
        return Ok(());
    }
    let cutoff = now.plus_ms(-keep_days.saturating_mul(DAY_MS));
    match db.engine() {
        Engine::Postgres => drop_months(db, cutoff).await?,
        Engine::Sqlite => delete_slices(db, cutoff).await?,
    }
    drop_prices(db, cutoff).await
}

/// How long a price is kept beyond the journal. A line is dated by the day on which its work ended,
/// which for a task may be long after its price was used; and PostgreSQL drops whole months.
const PRICES_MS: i64 = 400 * DAY_MS;

/// Prices that no line refers to any more. A node updates the row of a price that it uses once a
/// day.
async fn drop_prices(db: &Db, cutoff: UnixMs) -> Result<(), StoreError> {
    let unused = "DELETE FROM price_snapshots WHERE used_at < $1
        AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.price_id = price_snapshots.id)";
    db.execute(unused, &[Value::Time(cutoff.plus_ms(-PRICES_MS - REFRESH_MS))]).await?;
    Ok(())
}

async fn drop_months(db: &Db, cutoff: UnixMs) -> Result<(), StoreError> {
    let months = "SELECT right(c.relname, 6) AS month FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'logs'::regclass AND c.relname ~ '^logs_[0-9]{6}$'
          AND to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month'
              <= $1::timestamptz AT TIME ZONE 'UTC'
        ORDER BY 1";
    for row in db.read(months, &[Value::Time(cutoff)]).await? {
        drop_month(db, &month_of(&row)?).await?;
    }
    Ok(())
}

/// The name comes from the catalogue; only six digits ever reach a statement.
fn month_of(row: &Row) -> Result<String, StoreError> {
    let month: String = row.get("month")?;
    Ok(month.chars().filter(char::is_ascii_digit).take(6).collect())
}

async fn drop_month(db: &Db, month: &str) -> Result<(), StoreError> {
    let carry = format!(
        "INSERT INTO ledger_carry (user_id, delta, used)
         SELECT user_id, sum(delta), sum(used_delta) FROM logs_{month} GROUP BY user_id
         ON CONFLICT (user_id) DO UPDATE SET delta = ledger_carry.delta + excluded.delta,
                                             used = ledger_carry.used + excluded.used"
    );
    let begins = |after: &str| {
        format!("((to_date('{month}', 'YYYYMM') + interval '{after}') AT TIME ZONE 'UTC')")
    };
    let (start, end) = (begins("0"), begins("1 month"));
    let hours = format!("DELETE FROM logs_by_hour WHERE hour >= {start} AND hour < {end}");
    let days = format!("DELETE FROM logs_by_day WHERE day >= {start} AND day < {end}");
    let blocks = format!("DELETE FROM log_blocks WHERE day >= {start} AND day < {end}");
    db.write_all(vec![
        Statement::new(format!("LOCK TABLE logs_{month} IN ACCESS EXCLUSIVE MODE"), vec![]),
        Statement::new(carry, vec![]),
        Statement::new(hours, vec![]),
        Statement::new(days, vec![]),
        Statement::new(blocks, vec![]),
        Statement::new(format!("DROP TABLE logs_{month}"), vec![]),
    ])
    .await?;
    tracing::info!(target: "custompass", event = "month_dropped", month);
    Ok(())
}

async fn delete_slices(db: &Db, cutoff: UnixMs) -> Result<(), StoreError> {
    let allow = "UPDATE rollup_cursor SET kept_from = max(kept_from, $1)";
    db.execute(allow, &[Value::Time(cutoff)]).await?;
    loop {
        let last = db
            .read(
                "SELECT max(id) AS last FROM (SELECT id FROM logs
                    WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
                &[Value::Time(cutoff), Value::Int(SLICE_LINES)],
            )
            .await?;
        let last: Option<i64> = last.first().map_or(Ok(None), |row| row.get("last"))?;
        let Some(last) = last else { return Ok(()) };
        let slice = vec![Value::Int(last), Value::Time(cutoff)];
        db.write_all(vec![
            Statement::new(
                "INSERT INTO ledger_carry (user_id, delta, used)
                 SELECT user_id, sum(delta), sum(used_delta) FROM logs
                 WHERE id <= $1 AND created_at < $2 GROUP BY user_id
                 ON CONFLICT (user_id) DO UPDATE SET delta = delta + excluded.delta,
                                                     used = used + excluded.used",
                slice.clone(),
            ),
            // A trigger subtracts them from the rollups.
            Statement::new("DELETE FROM logs WHERE id <= $1 AND created_at < $2", slice),
            Statement::new("DELETE FROM logs_by_hour WHERE lines = 0", vec![]),
            Statement::new("DELETE FROM logs_by_day WHERE lines = 0", vec![]),
            Statement::new("DELETE FROM log_blocks WHERE lines = 0", vec![]),
        ])
        .await?;
    }
}
