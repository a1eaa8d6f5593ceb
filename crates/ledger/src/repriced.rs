//! What charges of the journal would have been at another price: from the counts that were frozen
//! in their lines, with the ratios of group and user that they were made at.

use crate::explain::{counts, is_by_formula};
use domain::{FrozenPrice, PriceRow, Pricing, Quota, UnixMs, Usage};
use std::fmt::Write as _;
use store::{Db, Row, StoreError};

/// A charge, and what it is computed from.
#[derive(Clone, Debug)]
pub struct ChargedLine {
    /// What was charged.
    pub charged: Quota,
    price: Option<FrozenPrice>,
    usage: Usage,
    by_formula: bool,
}

impl ChargedLine {
    /// What it would have been at this price; `None` where its line does not say what that price
    /// depends on: a charge that is no formula's, no counts of tokens, meters or units that were
    /// not kept as the price then had none, or tiers by what the request said.
    #[must_use]
    pub fn at(&self, row: &PriceRow) -> Option<Quota> {
        let then = self.price.as_ref().filter(|_| self.by_formula)?;
        let Pricing::Priced(price) = Pricing::freeze(Some(row), then.group, then.user).ok()? else {
            return None;
        };
        price.charge(&self.usage).ok().filter(|_| self.says_all(then, &price))
    }

    /// Whether the line says all that a price depends on.
    fn says_all(&self, then: &FrozenPrice, price: &FrozenPrice) -> bool {
        if price.schedule.as_ref().is_some_and(|schedule| schedule.reads_requests()) {
            return false;
        }
        // Tokens are not estimated for a price of units alone.
        let has_tokens = !then.is_of_units() || self.usage.counts_tokens();
        match &price.schedule {
            _ if !price.is_by_use() => true,
            None => has_tokens && self.usage.prompt_tokens + self.usage.completion_tokens > 0,
            Some(schedule) => {
                // A request's own counts are kept of units that had a price: of others, none is
                // another thing than zero.
                let kept = then.schedule.as_ref().map(|schedule| schedule.units());
                let is_kept = |unit| kept.is_some_and(|kept| kept.iter().any(|it| it.0 == unit));
                let mut units = schedule.units().iter().map(|(unit, _)| *unit);
                self.usage.meters.as_ref().is_some_and(|counted| {
                    (has_tokens || price.is_of_units())
                        && units.all(|unit| is_kept(unit) || counted.get(unit).is_some())
                })
            }
        }
    }
}

/// The charges of these lines, which were written within this time.
///
/// # Errors
/// When the database fails.
pub async fn charged_lines(
    db: &Db,
    ids: &[i64],
    (from, until): (UnixMs, UnixMs),
) -> Result<Vec<ChargedLine>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // Numbers: they can't be anything but digits.
    let mut list = String::new();
    for id in ids {
        let comma = if list.is_empty() { "" } else { ", " };
        let _ = write!(list, "{comma}{id}");
    }
    let sql = format!(
        "SELECT l.quota, l.prompt_tokens, l.completion_tokens, l.other, l.content, p.price
         FROM logs l LEFT JOIN price_snapshots p ON p.id = l.price_id
         WHERE l.id IN ({list}) AND l.created_at >= $1 AND l.created_at <= $2"
    );
    let rows = db.search(&sql, &[from.into(), until.into()]).await?;
    rows.iter().map(charged).collect()
}

fn charged(row: &Row) -> Result<ChargedLine, StoreError> {
    let price: Option<serde_json::Value> = row.get("price")?;
    Ok(ChargedLine {
        charged: Quota(row.get("quota")?),
        price: price.and_then(|price| serde_json::from_value(price).ok()),
        usage: counts(row)?,
        by_formula: is_by_formula(&row.get::<String>("content")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Meter, Meters, Ratio, Schedule};
    use std::sync::Arc;

    fn row(fixed: Option<i64>, ratio: Option<&str>) -> PriceRow {
        PriceRow {
            fixed_quota: fixed.map(Quota),
            ratio: ratio.map(|ratio| ratio.parse().unwrap()),
            ..PriceRow::default()
        }
    }

    fn line(prompt: i64, then: &PriceRow) -> ChargedLine {
        let Ok(Pricing::Priced(price)) =
            Pricing::freeze(Some(then), "0.5".parse().unwrap(), Ratio::ONE)
        else {
            panic!("no price");
        };
        let usage = Usage { prompt_tokens: prompt, ..Usage::default() };
        let charged = price.charge(&usage).unwrap();
        ChargedLine { charged, price: Some(price), usage, by_formula: true }
    }

    #[test]
    fn what_was_counted_is_charged_anew() {
        let used = line(100, &row(None, Some("2")));
        assert_eq!(used.charged, Quota(100));
        assert_eq!(used.at(&row(None, Some("3"))), Some(Quota(150)));
        assert_eq!(used.at(&row(Some(7), None)), Some(Quota(4)));
        let called = line(0, &row(Some(7), None));
        assert_eq!(called.at(&row(Some(9), None)), Some(Quota(5)));
        // It counted no tokens, and this one is no formula's.
        assert_eq!(called.at(&row(None, Some("3"))), None);
        assert_eq!(ChargedLine { by_formula: false, ..used.clone() }.at(&row(Some(1), None)), None);
        assert_eq!(ChargedLine { price: None, ..used }.at(&row(Some(1), None)), None);
    }

    /// A price with meters and units.
    fn scheduled(ratio: Option<&str>, meters: &str, units: &str) -> PriceRow {
        let schedule = Schedule::parse(meters, units, "").unwrap().map(Arc::new);
        PriceRow { schedule, ..row(None, ratio) }
    }

    /// A charge at a price with a schedule, whose line counts this.
    fn counted(then: &PriceRow, counts: &[(Meter, i64)]) -> ChargedLine {
        let meters: Meters = counts.iter().copied().collect();
        let usage = meters.usage().unwrap_or_default();
        let usage = Usage { meters: Some(Box::new(meters)), ..usage };
        let half = "0.5".parse().unwrap();
        let Ok(Pricing::Priced(price)) = Pricing::freeze(Some(then), half, Ratio::ONE) else {
            panic!("no price");
        };
        let charged = price.charge(&usage).unwrap();
        ChargedLine { charged, price: Some(price), usage, by_formula: true }
    }

    #[test]
    fn what_was_not_counted_then_is_left_out() {
        let spoken = scheduled(Some("1"), r#"{"audio_out":2}"#, "");
        let line = counted(&spoken, &[(Meter::Input, 10), (Meter::AudioOut, 5)]);
        assert!(line.at(&spoken).is_some());
        // Characters may have been asked for, and were not kept.
        let with_characters = scheduled(Some("1"), r#"{"audio_out":2}"#, r#"{"characters":100}"#);
        assert_eq!(line.at(&with_characters), None);
        let kept = counted(&with_characters, &[(Meter::Input, 10)]);
        assert_eq!(kept.at(&with_characters), Some(Quota(5)));
        // What was counted in the reply is known, whatever the price was.
        let found = counted(&spoken, &[(Meter::Input, 10), (Meter::Characters, 3)]);
        assert_eq!(found.at(&with_characters), Some(Quota(155)));

        // No tokens were estimated for a price of units alone.
        let of_units = scheduled(None, "", r#"{"images":100}"#);
        let with_tokens = scheduled(Some("1"), "", r#"{"images":100}"#);
        let drawn = counted(&of_units, &[(Meter::Images, 2)]);
        assert_eq!(drawn.at(&of_units), Some(Quota(100)));
        assert_eq!(drawn.at(&with_tokens), None);
        assert_eq!(drawn.at(&row(None, Some("1"))), None);
        let both = counted(&of_units, &[(Meter::Images, 2), (Meter::Input, 10)]);
        assert_eq!(both.at(&with_tokens), Some(Quota(105)));
    }
}
