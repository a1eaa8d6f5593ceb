//! The follower of the journal: rolls it up behind a cursor, slice by slice. One cursor for
//! everything derived: sums by hour and by day, counts by block, what channels and keys have used,
//! and on SQLite the index of lines by user.
//!
//! A line may become visible late: its id is assigned when its transaction begins, and it is
//! visible when the transaction ends. On PostgreSQL the newest line is therefore recorded, and the
//! cursor follows once every transaction of that time has ended. SQLite has one writer at a time.

use crate::rollups::{Summed, by_block, by_day, by_hour, grouped, used_by};
use store::{Db, Engine, Row, Statement, StoreError, Value};

/// Lines per commit. More lines at once share more sums.
const SLICE_LINES: i64 = 20_000;

const ADVANCE: &str = "UPDATE rollup_cursor SET through = $2 WHERE through = $1";
/// Fails if lines were deleted since they were read: they would not have been subtracted from the
/// sums.
const ADVANCE_AS_READ: &str = "UPDATE rollup_cursor SET through = $2 WHERE through = $1
    AND (SELECT count(*) FROM logs WHERE id > $1 AND id <= $2) = $3";
const COPY_USER_LINES: &str = "INSERT INTO user_log_lines (user_id, log_id, created_at)
    SELECT user_id, id, created_at FROM logs WHERE id > $1 AND id <= $2 ORDER BY user_id, id";
const PENDING_SQLITE: &str = "SELECT through, (SELECT max(id) FROM logs) AS upto
    FROM rollup_cursor";
const PENDING_POSTGRES: &str = "SELECT through,
    CASE WHEN horizon <= txid_snapshot_xmin(txid_current_snapshot())
          AND seen_at <= clock_timestamp() - $1::bigint * interval '1 ms'
         THEN newest END AS upto
    FROM rollup_cursor";
/// Records the newest line, unless an earlier one is still awaited.
const LOOK: &str = "UPDATE rollup_cursor SET newest = n.newest, seen_at = clock_timestamp(),
        horizon = txid_snapshot_xmax(txid_current_snapshot())
    FROM (SELECT coalesce(max(id), 0) AS newest FROM logs) AS n
    WHERE through >= rollup_cursor.newest AND n.newest > through";

/// Lines that are not in the rollups yet: after the first id, up to the second.
#[derive(Clone, Copy)]
struct PendingRange {
    through: i64,
    upto: i64,
}

impl PendingRange {
    async fn read(db: &Db, lag_ms: i64) -> Result<Option<Self>, StoreError> {
        let rows = match db.engine() {
            Engine::Postgres => db.read(PENDING_POSTGRES, &[Value::Int(lag_ms)]).await?,
            Engine::Sqlite => db.read(PENDING_SQLITE, &[]).await?,
        };
        rows.first().map_or(Ok(None), Self::of)
    }

    fn of(row: &Row) -> Result<Option<Self>, StoreError> {
        let through = row.get("through")?;
        let upto: Option<i64> = row.get("upto")?;
        Ok(upto.filter(|&upto| upto > through).map(|upto| Self { through, upto }))
    }

    /// The part of the range that one commit may cover.
    fn slice(self) -> Self {
        Self { upto: self.upto.min(self.through.saturating_add(SLICE_LINES)), ..self }
    }

    const fn bounds(self) -> [Value; 2] {
        [Value::Int(self.through), Value::Int(self.upto)]
    }

    /// A statement over these lines: after `$1`, up to `$2`.
    fn statement(self, sql: impl Into<std::borrow::Cow<'static, str>>) -> Statement {
        Statement::new(sql, self.bounds().to_vec())
    }
}

/// Brings the rollups up to date. The clock is the database's: all nodes share the cursor.
pub(super) async fn run(db: &Db, lag_ms: i64) -> Result<(), StoreError> {
    while let Some(pending) = PendingRange::read(db, lag_ms).await? {
        let slice = pending.slice();
        let statements = match db.engine() {
            Engine::Postgres => statements_of(slice),
            Engine::Sqlite => read_and_sum(db, slice).await?,
        };
        match db.write_all(statements).await {
            Ok(_) => {}
            // The cursor was moved: by another node, or back with the end of the journal.
            Err(StoreError::RowCount { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    if db.engine() == Engine::Postgres {
        db.execute(LOOK, &[]).await?;
    }
    Ok(())
}

fn statements_of(slice: PendingRange) -> Vec<Statement> {
    let sums = [by_hour(), by_day(), by_block()];
    let used = [used_by("channels", "channel_id"), used_by("tokens", "token_id")];
    let advance = slice.statement(ADVANCE).expecting(1);
    let follow = sums.into_iter().chain(used).map(|sql| slice.statement(sql));
    std::iter::once(advance).chain(follow).collect()
}

/// SQLite has one writer, which calls wait for: the lines are summed on a reader thread, and the
/// writer only writes the sums.
async fn read_and_sum(db: &Db, slice: PendingRange) -> Result<Vec<Statement>, StoreError> {
    let [through, upto] = slice.bounds();
    let groups = db.read(&grouped(), &[through.clone(), upto.clone()]).await?;
    let summed = Summed::read(&groups)?;
    let advance = Statement::new(ADVANCE_AS_READ, vec![through, upto, summed.lines().into()]);
    let first = [advance.expecting(1), slice.statement(COPY_USER_LINES)];
    Ok(first.into_iter().chain(summed.statements()).collect())
}
