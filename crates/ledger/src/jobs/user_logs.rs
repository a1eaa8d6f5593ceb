//! Which lines of the journal are whose, on SQLite.
//!
//! An index on the journal by user costs every line a page of its own: users call in turns, and
//! each one's leaf is elsewhere. Here the same pairs are copied some thousands at a time, sorted,
//! so that many lines share a page. The view `user_logs` reads what was copied together with the
//! end of the journal that was not, so it is always whole. PostgreSQL has its index.

use super::behind::{Behind, enter};
use store::{Db, Engine, StoreError};

/// Lines of one commit: some milliseconds of the writer, so that calls go on between.
const SLICE_LINES: i64 = 10_000;

const WAITING: &str = "SELECT through, (SELECT max(id) FROM logs) AS upto FROM user_log_mark";
const ADVANCE: &str = "UPDATE user_log_mark SET through = $2 WHERE through = $1";
const COPY: &str = "INSERT INTO user_log_lines (user_id, log_id, created_at)
    SELECT user_id, id, created_at FROM logs WHERE id > $1 AND id <= $2 ORDER BY user_id, id";

/// Copies what the journal has got since the last time.
pub(super) async fn run(db: &Db) -> Result<(), StoreError> {
    if db.engine() == Engine::Postgres {
        return Ok(());
    }
    while let Some(behind) = Behind::read(&db.read(WAITING, &[]).await?)? {
        let slice = behind.slice(SLICE_LINES);
        if !enter(db, slice.statement(ADVANCE), [slice.statement(COPY)]).await? {
            break;
        }
    }
    Ok(())
}
