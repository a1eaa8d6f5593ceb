//! Adds up the journal behind a mark, slice by slice.
//!
//! A line may appear late: its number is given at its beginning, and it is seen when its
//! transaction ends. On PostgreSQL the newest line is therefore remembered, and the mark follows
//! once every transaction that ran then has ended. SQLite writes one after another.

use super::behind::{Behind, enter};
use crate::journal_sums::{Summed, by_block, by_day, by_hour, summed_alike};
use domain::UnixMs;
use store::{Db, Engine, Statement, StoreError, Value};

/// Lines of one commit. More lines at once share more sums.
const SLICE_LINES: i64 = 20_000;
/// How long a line may have its number before its transaction has one, on PostgreSQL: both are
/// given within one statement.
const LAG_MS: i64 = 10_000;

const ADVANCE: &str = "UPDATE logs_added_up SET through = $2 WHERE through = $1";
/// Unless lines have left since they were read: the sums would not have left with them.
const ADVANCE_AS_READ: &str = "UPDATE logs_added_up SET through = $2 WHERE through = $1
    AND (SELECT count(*) FROM logs WHERE id > $1 AND id <= $2) = $3";
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
    while let Some(behind) = waiting(db, now).await? {
        let slice = behind.slice(SLICE_LINES);
        let entered = match db.engine() {
            Engine::Postgres => {
                let sums = [by_hour(), by_day(), by_block()].map(|sql| slice.statement(sql));
                enter(db, slice.statement(ADVANCE), sums).await?
            }
            Engine::Sqlite => enter_as_read(db, slice).await?,
        };
        if !entered {
            return Ok(());
        }
    }
    if db.engine() == Engine::Postgres {
        db.execute(LOOK, &[Value::Time(now)]).await?;
    }
    Ok(())
}

/// SQLite has one writer, which calls wait for: the lines are added up by a reader, and the writer
/// has the sums alone to write.
async fn enter_as_read(db: &Db, slice: Behind) -> Result<bool, StoreError> {
    let [through, upto] = slice.bounds();
    let alike = db.read(&summed_alike(), &[through.clone(), upto.clone()]).await?;
    let summed = Summed::read(&alike)?;
    let advance = Statement::new(ADVANCE_AS_READ, vec![through, upto, summed.lines().into()]);
    enter(db, advance, summed.statements()).await
}

/// The lines to be added up.
async fn waiting(db: &Db, now: UnixMs) -> Result<Option<Behind>, StoreError> {
    let rows = match db.engine() {
        Engine::Postgres => db.read(WAITING_POSTGRES, &[Value::Time(now.plus_ms(-LAG_MS))]).await?,
        Engine::Sqlite => db.read(WAITING_SQLITE, &[]).await?,
    };
    Behind::read(&rows)
}
