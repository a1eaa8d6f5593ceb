//! Balances and holds.

use super::HealthReport;
use domain::UnixMs;
use store::{Db, StoreError, Value};

/// A hold past its deadline by this much should have been given back.
const OVERDUE_MS: i64 = 120_000;

/// The proof that no quota was lost.
pub(super) async fn audit(report: &mut HealthReport, db: &Db, now: UnixMs) {
    match ledger::audit(db, now).await {
        Err(error) => report.failed("audit", &error),
        Ok(audit) if audit.clean => {
            let found = format!("clean: {} users, {} open holds", audit.users, audit.open_holds);
            report.good("audit", found);
        }
        Ok(audit) => {
            let found = format!("{} breaches", audit.breaches.len());
            report.bad("audit", found, "newapi audit lists them; newapi explain tells how it came");
        }
    }
}

pub(super) async fn check(report: &mut HealthReport, db: &Db, now: UnixMs) {
    if let Err(error) = overdue_holds(report, db, now).await {
        report.failed("holds", &error);
    }
    if let Err(error) = negative_balances(report, db).await {
        report.failed("balances", &error);
    }
}

async fn overdue_holds(report: &mut HealthReport, db: &Db, now: UnixMs) -> Result<(), StoreError> {
    let rows = db
        .read(
            "SELECT count(*) AS n FROM holds WHERE NOT for_task
               AND node_id IS NULL AND deadline_at < $1",
            &[Value::Time(now.plus_ms(-OVERDUE_MS))],
        )
        .await?;
    match rows.first().map_or(Ok(0), |row| row.get::<i64>("n"))? {
        0 => report.good("holds", "none is overdue"),
        overdue => report.bad(
            "holds",
            format!("{overdue} should have been given back by now"),
            "no newapi works on this database: systemctl status newapi; once one does, it gives \
             them back",
        ),
    }
    Ok(())
}

async fn negative_balances(report: &mut HealthReport, db: &Db) -> Result<(), StoreError> {
    let sql = "SELECT count(*) AS n FROM users WHERE quota < 0 AND deleted_at IS NULL";
    let rows = db.read(sql, &[]).await?;
    match rows.first().map_or(Ok(0), |row| row.get::<i64>("n"))? {
        0 => report.good("balances", "none is negative"),
        below => report.odd(
            "balances",
            match below {
                1 => "1 user is below zero, and gets 402".to_owned(),
                _ => format!("{below} users are below zero, and get 402"),
            },
            "work that cost more than was held; newapi user list, newapi user topup",
        ),
    }
    Ok(())
}
