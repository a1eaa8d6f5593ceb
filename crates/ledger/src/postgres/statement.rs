//! The one statement that writes a batch.
//!
//! Each part changes rows that are still as the Book read them and counts them; when a count is not
//! as expected, the statement fails and is rolled back. It contains only the parts that the batch
//! needs: for a small batch, starting a statement costs as much as its rows do.

use crate::book::BatchChanges;
use crate::columns::{Arrays, Forms, Placeholders};
use crate::journal::LineRow;
use crate::rows::HoldRow;
use crate::tables::{ACCOUNTS, AccountMove, HOLDS, KEYS, KeyMove, LINES};
use std::fmt::Write as _;

/// Which parts a batch has. Statements are prepared once per shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct BatchShape {
    moves_accounts: bool,
    checks_accounts: bool,
    moves_keys: bool,
    checks_keys: bool,
    ends_holds: bool,
    changes_holds: bool,
    makes_holds: bool,
    adds_lines: bool,
    forms: Forms,
}

/// The rows of a batch, by what is done with them.
pub(super) struct BatchRows<'a> {
    moved_accounts: Vec<AccountMove>,
    checked_accounts: Vec<AccountMove>,
    moved_keys: Vec<KeyMove>,
    checked_keys: Vec<KeyMove>,
    changed_holds: Vec<HoldRow>,
    made_holds: Vec<HoldRow>,
    changes: &'a BatchChanges,
}

impl<'a> BatchRows<'a> {
    pub(super) fn of(changes: &'a BatchChanges) -> Self {
        let accounts = changes.accounts.iter().map(|(id, account)| {
            let change = changes.account_moves.get(id);
            (change.is_some(), AccountMove::new(account, &change.copied().unwrap_or_default()))
        });
        let (moved_accounts, checked_accounts) = by_flag(accounts);
        let keys = changes.keys.iter().map(|(id, key)| {
            let change = changes.key_moves.get(id);
            (change.is_some(), KeyMove::new(key, &change.copied().unwrap_or_default()))
        });
        let (moved_keys, checked_keys) = by_flag(keys);
        let (made_holds, changed_holds) = changes.written_holds();
        Self {
            moved_accounts,
            checked_accounts,
            moved_keys,
            checked_keys,
            changed_holds,
            made_holds,
            changes,
        }
    }

    pub(super) fn shape(&self) -> BatchShape {
        let mut forms = Forms::ALWAYS;
        if self.changes.are_limited() || self.is_limited_hold() {
            forms = forms.with(Forms::LIMITED);
        }
        if self.changes.lines.iter().any(LineRow::is_detailed)
            || self.made_holds.iter().any(|row| row.for_task)
        {
            forms = forms.with(Forms::DETAILED);
        }
        BatchShape {
            moves_accounts: !self.moved_accounts.is_empty(),
            checks_accounts: !self.checked_accounts.is_empty(),
            moves_keys: !self.moved_keys.is_empty(),
            checks_keys: !self.checked_keys.is_empty(),
            ends_holds: !self.changes.ended_holds.is_empty(),
            changes_holds: !self.changed_holds.is_empty(),
            makes_holds: !self.made_holds.is_empty(),
            adds_lines: !self.changes.lines.is_empty(),
            forms,
        }
    }

    fn is_limited_hold(&self) -> bool {
        let ended = self.changes.ended_holds.iter();
        let mut holds = ended.chain(&self.changed_holds).chain(&self.made_holds);
        holds.any(|row| row.limited_key().is_some() || row.counted_on.is_some())
    }

    /// The parameters of [`BatchShape::sql`], in order.
    pub(super) fn parameters(&'a self, forms: Forms) -> Arrays<'a> {
        let mut all = Vec::new();
        add(&mut all, &self.moved_accounts, |rows| ACCOUNTS.updates(forms, rows));
        add(&mut all, &self.checked_accounts, |rows| ACCOUNTS.compares(forms, rows));
        add(&mut all, &self.moved_keys, |rows| KEYS.updates(forms, rows));
        add(&mut all, &self.checked_keys, |rows| KEYS.compares(forms, rows));
        add(&mut all, &self.changes.ended_holds, |rows| HOLDS.compares(forms, rows));
        add(&mut all, &self.changed_holds, |rows| HOLDS.updates(forms, rows));
        add(&mut all, &self.made_holds, |rows| HOLDS.inserts(forms, rows));
        add(&mut all, &self.changes.lines, |rows| LINES.inserts(forms, rows));
        all
    }
}

fn add<'a, R>(all: &mut Arrays<'a>, rows: &'a [R], columns: impl FnOnce(&'a [R]) -> Arrays<'a>) {
    if !rows.is_empty() {
        all.extend(columns(rows));
    }
}

fn by_flag<R>(rows: impl Iterator<Item = (bool, R)>) -> (Vec<R>, Vec<R>) {
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for (flag, row) in rows {
        if flag { yes.push(row) } else { no.push(row) }
    }
    (yes, no)
}

impl BatchShape {
    /// By the names of its fields.
    #[cfg(test)]
    pub(super) fn named(parts: &[&str], forms: Forms) -> Self {
        let has = |name| parts.contains(&name);
        Self {
            moves_accounts: has("moves_accounts"),
            checks_accounts: has("checks_accounts"),
            moves_keys: has("moves_keys"),
            checks_keys: has("checks_keys"),
            ends_holds: has("ends_holds"),
            changes_holds: has("changes_holds"),
            makes_holds: has("makes_holds"),
            adds_lines: has("adds_lines"),
            forms,
        }
    }

    pub(super) const fn forms(self) -> Forms {
        self.forms
    }

    /// Whether there is anything to write or to compare.
    pub(super) fn is_empty(self) -> bool {
        self == Self { forms: self.forms, ..Self::default() }
    }

    /// The statement.
    pub(super) fn sql(self) -> String {
        let forms = self.forms;
        let mut at = Placeholders::default();
        let (mut parts, mut counts) = (Vec::new(), Vec::new());
        let mut part = |wanted: bool, name: &str, sql: &dyn Fn(&mut Placeholders) -> String| {
            if wanted {
                let first = at.peek();
                parts.push(format!("{name} AS (\n    {})", sql(&mut at)));
                counts.push(format!(
                    "(SELECT count(*) FROM {name}) = cardinality({first}::{}[])",
                    if name.ends_with("hold") { "uuid" } else { "bigint" }
                ));
            }
        };
        part(self.moves_accounts, "moved_account", &|at| ACCOUNTS.update_all(forms, at));
        part(self.checks_accounts, "checked_account", &|at| ACCOUNTS.compare_all(forms, at));
        part(self.moves_keys, "moved_key", &|at| KEYS.update_all(forms, at));
        part(self.checks_keys, "checked_key", &|at| KEYS.compare_all(forms, at));
        part(self.ends_holds, "ended_hold", &|at| HOLDS.delete_all(forms, at));
        part(self.changes_holds, "changed_hold", &|at| HOLDS.update_all(forms, at));
        if self.makes_holds {
            parts.push(format!("made_hold AS (\n    {})", HOLDS.insert_all(forms, &mut at)));
        }
        if self.adds_lines {
            parts.push(format!("added_line AS (\n    {})", LINES.insert_all(forms, &mut at)));
        }
        let mut sql = format!("WITH {}\nSELECT ", parts.join(",\n"));
        if counts.is_empty() {
            sql.push_str("true");
        } else {
            let counts = counts.join("\n    AND ");
            let _ = write!(sql, "CASE WHEN {counts}\n    THEN true ELSE newapi_refuse_batch() END");
        }
        sql
    }
}
