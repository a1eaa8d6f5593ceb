//! The journal behind a mark: lines that something else is still to be told of, in the order of
//! their numbers.

use store::{Db, Row, Statement, StoreError, Value};

/// Lines of the journal: after the number of the mark, up to the other.
#[derive(Clone, Copy)]
pub(super) struct Behind {
    through: i64,
    upto: i64,
}

impl Behind {
    /// From a row's `through` and `upto`; none when nothing is behind the mark.
    pub(super) fn read(rows: &[Row]) -> Result<Option<Self>, StoreError> {
        let Some(row) = rows.first() else { return Ok(None) };
        let through = row.get("through")?;
        let upto: Option<i64> = row.get("upto")?;
        Ok(upto.filter(|&upto| upto > through).map(|upto| Self { through, upto }))
    }

    /// Moves the mark over as many lines as one commit may have, and runs the statements for these:
    /// after `$1`, up to `$2`. False where the mark was moved by somebody else: by another node, or
    /// back with the end of the journal, which was deleted.
    pub(super) async fn enter(
        self,
        db: &Db,
        lines: i64,
        advance: &'static str,
        statements: impl IntoIterator<Item = String>,
    ) -> Result<bool, StoreError> {
        let upto = self.upto.min(self.through.saturating_add(lines));
        let slice = vec![Value::Int(self.through), Value::Int(upto)];
        let mut all = vec![Statement::new(advance, slice.clone()).expecting(1)];
        all.extend(statements.into_iter().map(|sql| Statement::new(sql, slice.clone())));
        match db.write_all(all).await {
            Ok(_) => Ok(true),
            Err(StoreError::RowCount { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
