//! What commands say to people and scripts, on standard output.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints one line. A closed pipe is no error: its reader has seen enough.
pub(super) fn line(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// A JSON document, for scripts.
///
/// # Errors
/// When `value` has no JSON form.
pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Rows under their heads, in columns.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) {
    let wide = |text: &str| text.chars().count();
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(i, head)| {
            let cells = rows.iter().filter_map(|row| row.get(i)).map(|cell| wide(cell));
            cells.max().unwrap_or(0).max(wide(head))
        })
        .collect();
    let show = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(wide(cell)) + 2));
        }
        line(text.trim_end());
    };
    show(&mut heads.iter().copied());
    for row in rows {
        show(&mut row.iter().map(String::as_str));
    }
}

/// A collection: JSON for scripts, a table for people.
///
/// # Errors
/// When the items have no JSON form.
pub(super) fn list<T: serde::Serialize>(
    items: &[T],
    json_asked: bool,
    heads: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    if json_asked {
        return json(&items);
    }
    table(heads, &items.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

/// A row's status, in a word.
pub(super) const fn status(number: i64) -> &'static str {
    match number {
        1 => "enabled",
        3 => "disabled by itself",
        _ => "disabled",
    }
}

/// Quota with its worth: `224 ($0.000448)`. 500 000 quota are one dollar.
pub(super) fn quota(quota: i64) -> String {
    let micros = i128::from(quota) * 2;
    let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    format!("{quota} ({sign}${}.{:06})", micros / 1_000_000, micros % 1_000_000)
}

/// What is left of limits on spending: `30 of 50 today, 70 of 100 this month`.
pub(super) fn spending(limits: &ledger::SpendingView) -> String {
    let days = (limits.daily_left, limits.daily_limit, "today");
    let months = (limits.monthly_left, limits.monthly_limit, "this month");
    let shown: Vec<String> = [days, months]
        .into_iter()
        .filter_map(|(left, limit, when)| Some(format!("{} of {} {when}", left?, limit?)))
        .collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_has_a_worth() {
        assert_eq!(quota(500_000), "500000 ($1.000000)");
        assert_eq!(quota(224), "224 ($0.000448)");
        assert_eq!(quota(-1), "-1 (-$0.000002)");
        assert!(quota(i64::MIN).starts_with("-9223372036854775808 (-$18446744073709.551616"));
    }
}
