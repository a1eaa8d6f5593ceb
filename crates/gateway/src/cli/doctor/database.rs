//! The database: schema, locks, long transactions, clocks.

use super::Report;
use crate::wiring;
use domain::UnixMs;
use store::{Db, Engine, Row, StoreError};

/// A transaction this long holds others up.
const LONG_S: i64 = 300;
/// Clocks this far apart confuse leases.
const MAX_SKEW_MS: i64 = 5_000;

/// Checks it, and says whether it can be asked further.
pub(super) async fn check(report: &mut Report, db: &Db) -> bool {
    report.good("database", format!("{:?} answers", db.engine()));
    match db.pending_migrations().await {
        Ok(pending) if pending.is_empty() => report.good("schema", "is this program's"),
        Ok(pending) => {
            let found = format!("{} migrations are pending", pending.len());
            report.bad("schema", found, "newapi migrate");
            return false;
        }
        Err(error) => {
            report.bad("schema", error.to_string(), "run the program that made it, or a newer one");
            return false;
        }
    }
    if db.engine() == Engine::Postgres
        && let Err(error) = check_server(report, db).await
    {
        report.failed("locks", &error);
    }
    true
}

async fn check_server(report: &mut Report, db: &Db) -> Result<(), StoreError> {
    locked_rows(report, db).await?;
    long_transactions(report, db).await?;
    let rows = db.read("SELECT clock_timestamp() AS now", &[]).await?;
    let theirs: UnixMs = rows.first().map_or(Ok(UnixMs(0)), |row| row.get("now"))?;
    let skew_ms = wiring::system_clock().now().since_ms(theirs).abs();
    if skew_ms > MAX_SKEW_MS {
        let found = format!("the database's clock and ours are {skew_ms} ms apart");
        report.bad("clock", found, "synchronise both: timedatectl, chronyc tracking");
    } else {
        report.good("clock", "agrees with the database's");
    }
    Ok(())
}

async fn locked_rows(report: &mut Report, db: &Db) -> Result<(), StoreError> {
    let waiting = db
        .read(
            "SELECT a.pid, b AS blocker, left(a.query, 80) AS query
             FROM pg_stat_activity a, unnest(pg_blocking_pids(a.pid)) AS b
             WHERE a.datname = current_database() AND a.wait_event_type = 'Lock' LIMIT 5",
            &[],
        )
        .await?;
    if waiting.is_empty() {
        report.good("locked rows", "nobody waits for a lock");
        return Ok(());
    }
    let told: Result<Vec<String>, StoreError> = waiting
        .iter()
        .map(|row| {
            let (pid, blocker): (i64, i64) = (row.get("pid")?, row.get("blocker")?);
            Ok(format!("process {pid} waits for {blocker}"))
        })
        .collect();
    let mend = "end the one that is waited for: SELECT pg_terminate_backend(<pid>)";
    report.bad("locked rows", told?.join("; "), mend);
    Ok(())
}

async fn long_transactions(report: &mut Report, db: &Db) -> Result<(), StoreError> {
    let long = db
        .read(
            "SELECT pid, CAST(extract(epoch FROM now() - xact_start) AS bigint) AS seconds,
                    application_name, state
             FROM pg_stat_activity
             WHERE datname = current_database()
               AND xact_start < now() - CAST($1 AS bigint) * interval '1 second'
               AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 5",
            &[LONG_S.into()],
        )
        .await?;
    if long.is_empty() {
        report.good("long transactions", format!("none over {LONG_S} s"));
        return Ok(());
    }
    let told: Result<Vec<String>, StoreError> = long.iter().map(told).collect();
    let mend = "end it unless you know it: SELECT pg_terminate_backend(<pid>)";
    report.bad("long transactions", told?.join("; "), mend);
    Ok(())
}

fn told(row: &Row) -> Result<String, StoreError> {
    let (pid, seconds): (i64, i64) = (row.get("pid")?, row.get("seconds")?);
    let name: String = row.get("application_name")?;
    let state: Option<String> = row.get("state")?;
    Ok(format!("process {pid} ({name}), {} for {seconds} s", state.unwrap_or_default()))
}
