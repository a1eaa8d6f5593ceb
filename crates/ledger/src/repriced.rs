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
        let is_known = match &price.schedule {
            Some(schedule) if schedule.reads_requests() => false,
            Some(_) => !price.is_by_use() || self.usage.meters.is_some(),
            None => {
                !price.is_by_use() || self.usage.prompt_tokens + self.usage.completion_tokens > 0
            }
        };
        price.charge(&self.usage).ok().filter(|_| is_known)
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
    use domain::Ratio;

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
}
