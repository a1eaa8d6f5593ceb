//! The database: schema, locks, long transactions, clocks.

use super::{DoctorLimits, HealthReport};
use crate::wiring;
use domain::UnixMs;
use store::{Db, Engine, Row, StoreError, Value};

/// No transaction should hold a lock for this long.
const LOCKED_MS: i64 = 1_000;
/// How many are named at most.
const SHOWN: i64 = 5;
/// Clocks this far apart confuse leases.
const MAX_SKEW_MS: i64 = 5_000;

/// Checks the database, and returns whether it can be queried further.
pub(super) async fn check(report: &mut HealthReport, db: &Db, limits: &DoctorLimits) -> bool {
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
    let checked = match db.engine() {
        Engine::Postgres => check_server(report, db, limits).await,
        Engine::Sqlite => locked_file(report, db).await,
    };
    if let Err(error) = checked {
        report.failed("locked rows", &error);
    }
    true
}

async fn check_server(
    report: &mut HealthReport,
    db: &Db,
    limits: &DoctorLimits,
) -> Result<(), StoreError> {
    locked_rows(report, db).await?;
    long_transactions(report, db, limits.long_transaction_ms).await?;
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

/// SQLite has one lock, for the whole file.
async fn locked_file(report: &mut HealthReport, db: &Db) -> Result<(), StoreError> {
    match db.execute("DELETE FROM config_changes WHERE 1 = 0", &[]).await {
        Ok(_) => report.good("locked rows", "the file can be written to"),
        Err(StoreError::Busy(_)) => report.bad(
            "locked rows",
            "another program has left a transaction open, and no other can write",
            "end it: fuser -v DATA_DIR/newapi.db says who has the file open; .quit leaves sqlite3",
        ),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Who holds locks that others wait for; and who holds rows of money and then does nothing: newapi
/// waits for no lock, it refuses the call with 503 `ACCOUNT_BUSY`.
async fn locked_rows(report: &mut HealthReport, db: &Db) -> Result<(), StoreError> {
    let sql = "
        WITH holders AS (
            SELECT unnest(pg_blocking_pids(pid)) AS pid FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'
              AND query_start < now() - CAST($1 AS bigint) * interval '1 millisecond'
            UNION
            SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND l.granted
            WHERE a.datname = current_database() AND a.state LIKE 'idle in transaction%'
              AND a.state_change < now() - CAST($1 AS bigint) * interval '1 millisecond'
              AND l.mode <> 'AccessShareLock'
              AND l.relation IN ('users'::regclass, 'tokens'::regclass, 'holds'::regclass)
        )
        SELECT a.pid, a.usename, a.application_name, host(a.client_addr) AS address, a.state,
               CAST(extract(epoch FROM now() - a.xact_start) AS bigint) AS seconds
        FROM holders JOIN pg_stat_activity a ON a.pid = holders.pid
        ORDER BY a.xact_start LIMIT $2";
    let holders = db.read(sql, &[LOCKED_MS.into(), SHOWN.into()]).await?;
    if holders.is_empty() {
        report.good("locked rows", "none that others wait for");
        return Ok(());
    }
    let remedy = format!("finish that transaction, or end it: {}", ended(&holders)?);
    report.bad("locked rows", format!("held by {}", told(&holders)?), remedy);
    Ok(())
}

async fn long_transactions(
    report: &mut HealthReport,
    db: &Db,
    limit_ms: u64,
) -> Result<(), StoreError> {
    let sql = "
        SELECT pid, usename, application_name, host(client_addr) AS address, state,
               CAST(extract(epoch FROM now() - xact_start) AS bigint) AS seconds
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND xact_start < now() - CAST($1 AS bigint) * interval '1 millisecond'
        ORDER BY xact_start LIMIT $2";
    let limit = Value::Int(i64::try_from(limit_ms).unwrap_or(i64::MAX));
    let long = db.read(sql, &[limit, SHOWN.into()]).await?;
    if long.is_empty() {
        report.good("long transactions", format!("none over {} s", limit_ms / 1_000));
        return Ok(());
    }
    let remedy = format!("finish it, or end it unless it is a backup's: {}", ended(&long)?);
    report.bad("long transactions", told(&long)?, remedy);
    Ok(())
}

/// Who they are, as an operator can find them. Not what they run: that may hold a secret.
fn told(sessions: &[Row]) -> Result<String, StoreError> {
    let told = sessions.iter().map(|row| {
        let (pid, seconds): (i64, i64) = (row.get("pid")?, row.get("seconds")?);
        let [user, name, address, state] =
            ["usename", "application_name", "address", "state"].map(|name| row.get(name));
        let (user, name): (Option<String>, Option<String>) = (user?, name?);
        let (address, state): (Option<String>, Option<String>) = (address?, state?);
        let address = address.unwrap_or_else(|| "this machine".to_owned());
        Ok(format!(
            "process {pid} ({} as {} from {address}), {} for {seconds} s",
            name.filter(|name| !name.is_empty()).as_deref().unwrap_or("no name"),
            user.unwrap_or_default(),
            state.unwrap_or_default(),
        ))
    });
    Ok(told.collect::<Result<Vec<String>, StoreError>>()?.join("; "))
}

/// What ends them.
fn ended(sessions: &[Row]) -> Result<String, StoreError> {
    let calls =
        sessions.iter().map(|row| Ok(format!("pg_terminate_backend({})", row.get::<i64>("pid")?)));
    let calls = calls.collect::<Result<Vec<String>, StoreError>>()?;
    Ok(format!("SELECT {}", calls.join(", ")))
}
