//! Which lines of the journal are whose, on SQLite.
//!
//! An index on the journal by user costs every line a page of its own: users call in turns, and
//! each one's leaf is elsewhere. Here the same pairs are copied some thousands at a time, sorted,
//! so that many lines share a page. The view `user_logs` reads what was copied together with the
//! end of the journal that was not, so it is always whole. PostgreSQL has its index.

use store::{Db, Engine, Statement, StoreError, Value};

/// Lines of one commit: some milliseconds of the writer, so that calls go on between.
const SLICE_LINES: i64 = 10_000;

/// Copies what the journal has got since the last time.
pub(super) async fn run(db: &Db) -> Result<(), StoreError> {
    if db.engine() == Engine::Postgres {
        return Ok(());
    }
    loop {
        let waiting = db
            .read("SELECT through, (SELECT max(id) FROM logs) AS newest FROM user_log_mark", &[])
            .await?;
        let Some(row) = waiting.first() else { return Ok(()) };
        let through: i64 = row.get("through")?;
        let newest = row.get::<Option<i64>>("newest")?.unwrap_or(0);
        if newest <= through {
            return Ok(());
        }
        let to = newest.min(through.saturating_add(SLICE_LINES));
        let slice = vec![Value::Int(through), Value::Int(to)];
        let copied = db.write_all(vec![
            Statement::new(
                "UPDATE user_log_mark SET through = $2 WHERE through = $1".to_owned(),
                slice.clone(),
            )
            .expecting(1),
            Statement::new(
                "INSERT INTO user_log_lines (user_id, log_id, created_at)
                 SELECT user_id, id, created_at FROM logs
                 WHERE id > $1 AND id <= $2 ORDER BY user_id, id"
                    .to_owned(),
                slice,
            ),
        ]);
        match copied.await {
            Ok(_) => {}
            // The end of the journal was deleted meanwhile, and the mark went back with it.
            Err(StoreError::RowCount { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
