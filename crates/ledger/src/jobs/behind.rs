//! The journal behind a mark: lines that something else is still to be told of, in the order of
//! their numbers.

use std::borrow::Cow;
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

    /// As many lines as one commit may have.
    pub(super) fn slice(self, lines: i64) -> Self {
        Self { upto: self.upto.min(self.through.saturating_add(lines)), ..self }
    }

    /// A statement about the slice: after `$1`, up to `$2`.
    pub(super) fn statement(self, sql: impl Into<Cow<'static, str>>) -> Statement {
        Statement::new(sql, self.bounds().to_vec())
    }

    pub(super) const fn bounds(self) -> [Value; 2] {
        [Value::Int(self.through), Value::Int(self.upto)]
    }
}

/// Runs the statements for a slice, if `advance` moves the mark. False where it was moved by
/// somebody else: by another node, or back with the end of the journal, which was deleted.
pub(super) async fn enter(
    db: &Db,
    advance: Statement,
    statements: impl IntoIterator<Item = Statement>,
) -> Result<bool, StoreError> {
    let all = std::iter::once(advance.expecting(1)).chain(statements).collect();
    match db.write_all(all).await {
        Ok(_) => Ok(true),
        Err(StoreError::RowCount { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
