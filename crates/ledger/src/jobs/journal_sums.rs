//! Adds up the journal behind a mark, slice by slice.
//!
//! A line may appear late: its number is given at its beginning, and it is seen when its
//! transaction ends. On PostgreSQL the newest line is therefore remembered, and the mark follows
//! once every transaction that ran then has ended. SQLite writes one after another.

use super::behind::Behind;
use crate::journal_sums::{by_block, by_day, by_hour};
use domain::UnixMs;
use store::{Db, Engine, StoreError, Value};

/// Lines of one commit. SQLite has one writer: a few milliseconds, so that calls go on between.
const SLICE_SQLITE: i64 = 2_000;
/// PostgreSQL has others beside it, and more lines share a sum.
const SLICE_POSTGRES: i64 = 20_000;
/// How long a line may have its number before its transaction has one, on PostgreSQL: both are
/// given within one statement.
const LAG_MS: i64 = 10_000;

const ADVANCE: &str = "UPDATE logs_added_up SET through = $2 WHERE through = $1";
const WAITING_SQLITE: &str = "SELECT through, (SELECT max(id) FROM logs) AS upto
    FROM logs_added_up";
const WAITING_POSTGRES: &str = "SELECT through,
    CASE WHEN horizon <= txid_snapshot_xmin(txid_current_snapshot()) AND seen_at <= $1
         THEN newest END AS upto
    FROM logs_added_up";
/// Looks for the newest line, unless the one that was last seen is still being waited for.
const LOOK: &str = "UPDATE logs_added_up SET newest = n.newest, seen_at = $1,
        horizon = txid_snapshot_xmax(txid_current_snapshot())
    FROM (SELECT coalesce(max(id), 0) AS newest FROM logs) AS n
    WHERE through >= logs_added_up.newest AND n.newest > through";

/// Brings the sums up to date.
pub(super) async fn run(db: &Db, now: UnixMs) -> Result<(), StoreError> {
    let slice_lines = match db.engine() {
        Engine::Sqlite => SLICE_SQLITE,
        Engine::Postgres => SLICE_POSTGRES,
    };
    while let Some(behind) = waiting(db, now).await? {
        let sums = [by_hour, by_day, by_block].map(|statement| statement(db.engine()));
        if !behind.enter(db, slice_lines, ADVANCE, sums).await? {
            return Ok(());
        }
    }
    if db.engine() == Engine::Postgres {
        db.execute(LOOK, &[Value::Time(now)]).await?;
    }
    Ok(())
}

/// The lines to be added up.
async fn waiting(db: &Db, now: UnixMs) -> Result<Option<Behind>, StoreError> {
    let rows = match db.engine() {
        Engine::Postgres => db.read(WAITING_POSTGRES, &[Value::Time(now.plus_ms(-LAG_MS))]).await?,
        Engine::Sqlite => db.read(WAITING_SQLITE, &[]).await?,
    };
    Behind::read(&rows)
}
