//! What a user or a key may spend, and has spent, in a day and in a calendar month (UTC).
//!
//! A hold counts in the period in which it was made or last grew; a charge in the period in which
//! the hold was settled. So a hold that is open past midnight neither extends nor reduces the new
//! day: once it ends, its amount is subtracted from its own period, if that still lasts.
//!
//! Days never go back: a node whose clock is behind counts in the latest day that was counted.

use domain::{Quota, UnixMs};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use store::{Row, StoreError};
use utoipa::ToSchema;

/// A day (UTC) as a readable number: 20261125.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(pub i32);

impl Day {
    pub(crate) fn of(now: UnixMs) -> Self {
        let instant = Timestamp::from_millisecond(now.0).unwrap_or_default();
        Self::from(instant.to_zoned(TimeZone::UTC).date())
    }

    const fn month(self) -> i32 {
        self.0 / 100
    }

    /// `None` for a number that is not a day.
    fn date(self) -> Option<Date> {
        let year = i16::try_from(self.0 / 10_000).ok()?;
        let [month, day] = [self.0 / 100 % 100, self.0 % 100].map(i8::try_from);
        Date::new(year, month.ok()?, day.ok()?).ok()
    }

    fn next(self) -> Option<Self> {
        let tomorrow = self.date()?.tomorrow().ok()?;
        Some(Self::from(tomorrow))
    }

    /// The first day of the next period.
    fn after(self, period: Period) -> Option<Date> {
        let date = self.date()?;
        match period {
            Period::Day => date.tomorrow().ok(),
            Period::Month => date.first_of_month().checked_add(1.month()).ok(),
        }
    }
}

impl From<Date> for Day {
    fn from(date: Date) -> Self {
        let (year, month, day) = (date.year(), date.month(), date.day());
        Self(i32::from(year) * 10_000 + i32::from(month) * 100 + i32::from(day))
    }
}

/// The period of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A day, UTC.
    Day,
    /// A calendar month, UTC.
    Month,
}

/// The maximum to be spent per period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpendingLimits {
    pub daily: Option<Quota>,
    pub monthly: Option<Quota>,
}

/// What was spent, or is held, on the last counted day and in its month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub on: Day,
    pub day: Quota,
    pub month: Quota,
}

impl Spent {
    /// Whether anything was ever counted.
    pub(crate) fn began(self) -> bool {
        self != Self::default()
    }

    /// The count on `today`, or on its own day where that is later. A day more than a day ahead was
    /// counted by a wrong clock: the count starts again.
    fn by(self, today: Day) -> Self {
        if today <= self.on {
            let believable = today == self.on || today.next().is_none_or(|next| self.on <= next);
            return if believable { self } else { Self { on: today, ..Self::default() } };
        }
        let month = if today.month() == self.on.month() { self.month } else { Quota::ZERO };
        Self { on: today, day: Quota::ZERO, month }
    }

    /// Without an amount counted on a day, as far as that day and its month still last.
    fn without(mut self, on: Option<Day>, amount: Quota) -> Self {
        if on == Some(self.on) {
            self.day = Quota(self.day.0.saturating_sub(amount.0));
        }
        if on.is_some_and(|on| on.month() == self.on.month()) {
            self.month = Quota(self.month.0.saturating_sub(amount.0));
        }
        self
    }

    fn with(mut self, amount: Quota) -> Self {
        self.day = Quota(self.day.0.saturating_add(amount.0));
        self.month = Quota(self.month.0.saturating_add(amount.0));
        self
    }
}

/// The limits and the count of a user or of a key. Only for those that have a limit or had one: a
/// count is kept once begun, so that it is right when a limit is removed and set again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spending {
    pub limits: SpendingLimits,
    pub spent: Spent,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// Whether it is the key's own; else it is the user's.
    pub of_key: bool,
    /// The period: day or month.
    pub period: Period,
    /// The amount needed.
    pub needed: Quota,
    /// What is left of the limit.
    pub available: Quota,
    /// The current day of the count.
    on: Day,
}

impl LimitReached {
    /// When the limit allows spending again.
    pub(crate) fn resets(&self) -> String {
        self.on.after(self.period).map_or_else(String::new, |date| format!("{date} 00:00 UTC"))
    }
}

impl Spending {
    /// From a row's columns; `None`: nothing is limited, nor ever was.
    pub(crate) fn of(
        limits: SpendingLimits,
        on: Option<i32>,
        day: i64,
        month: i64,
    ) -> Option<Box<Self>> {
        let spent = on.map(|on| Spent { on: Day(on), day: Quota(day), month: Quota(month) });
        if limits == SpendingLimits::default() && spent.is_none() {
            return None;
        }
        Some(Box::new(Self { limits, spent: spent.unwrap_or_default() }))
    }

    /// Whether the limits allow a hold of `to` that is counted at `held` so far.
    pub(crate) fn check(
        &self,
        today: Day,
        (counted_on, held): (Option<Day>, Quota),
        to: Quota,
        of_key: bool,
    ) -> Result<(), LimitReached> {
        let spent = self.spent.by(today).without(counted_on, held);
        // The month first: where both are reached, the next day is of no use.
        let months = (Period::Month, self.limits.monthly, spent.month);
        let days = (Period::Day, self.limits.daily, spent.day);
        for (period, limit, spent_so_far) in [months, days] {
            let Some(limit) = limit else { continue };
            let available = Quota(limit.0.saturating_sub(spent_so_far.0));
            if available.is_negative() || available < to {
                let on = spent.on;
                return Err(LimitReached { of_key, period, needed: to, available, on });
            }
        }
        Ok(())
    }

    /// Counts an amount in this period, replacing what was counted before; returns its day.
    pub(crate) fn recount(&mut self, today: Day, was: (Option<Day>, Quota), now: Quota) -> Day {
        self.spent = self.spent.by(today).without(was.0, was.1).with(now);
        self.spent.on
    }

    /// Subtracts an amount from the period that it was counted in.
    pub(crate) fn take_back(&mut self, today: Day, counted_on: Option<Day>, amount: Quota) {
        self.spent = self.spent.by(today).without(counted_on, amount);
    }
}

/// Spending limits, and what is left of them, as responses show them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SpendingView {
    /// What may be spent in a day (UTC); `null`: no limit.
    pub daily_limit: Option<Quota>,
    /// What may be spent in a calendar month (UTC); `null`: no limit.
    pub monthly_limit: Option<Quota>,
    /// What is left of the day's; negative where a call cost more than it held.
    pub daily_left: Option<Quota>,
    /// What is left of the month's.
    pub monthly_left: Option<Quota>,
}

impl SpendingView {
    /// The columns of `users` and of `tokens` that it is read from.
    pub const COLUMNS: &str = "daily_limit, monthly_limit, spent_on, spent_day, spent_month";

    /// Reads the columns of a row, as of this time.
    ///
    /// # Errors
    /// When a column is missing.
    pub fn read(row: &Row, now: UnixMs) -> Result<Self, StoreError> {
        let limits =
            SpendingLimits { daily: row.get("daily_limit")?, monthly: row.get("monthly_limit")? };
        let on: Option<i64> = row.get("spent_on")?;
        let on = on.map(|on| i32::try_from(on).unwrap_or_default());
        let spending = Spending::of(limits, on, row.get("spent_day")?, row.get("spent_month")?);
        let spent = spending.map(|spending| spending.spent).unwrap_or_default().by(Day::of(now));
        let left = |limit: Option<Quota>, spent: Quota| {
            limit.map(|limit| Quota(limit.0.saturating_sub(spent.0)))
        };
        Ok(Self {
            daily_limit: limits.daily,
            monthly_limit: limits.monthly,
            daily_left: left(limits.daily, spent.day),
            monthly_left: left(limits.monthly, spent.month),
        })
    }

    /// The most that these limits allow to spend now; `None`: there is no limit.
    #[must_use]
    pub fn left(&self) -> Option<Quota> {
        [self.daily_left, self.monthly_left].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_read_like_days() {
        assert_eq!(Day::of(UnixMs(0)), Day(19_700_101));
        assert_eq!(Day::of(UnixMs(1_796_083_199_999)), Day(20_261_130));
        assert_eq!(Day::of(UnixMs(1_796_083_200_000)), Day(20_261_201));
        assert!(Day(20_261_130).month() < Day(20_261_201).month());
    }

    #[test]
    fn it_is_said_when_a_limit_resets() {
        let reached = |period, on| {
            let (needed, available) = (Quota(1), Quota(0));
            LimitReached { of_key: false, period, needed, available, on: Day(on) }.resets()
        };
        assert_eq!(reached(Period::Day, 20_261_130), "2026-12-01 00:00 UTC");
        assert_eq!(reached(Period::Month, 20_261_231), "2027-01-01 00:00 UTC");
        assert_eq!(reached(Period::Day, 20_261_100), "", "edited by hand");
    }

    #[test]
    fn a_day_far_ahead_is_ignored() {
        let ahead = Spent { on: Day(20_300_601), day: Quota(9), month: Quota(9) };
        let today = Day(20_261_231);
        assert_eq!(ahead.by(today), Spent { on: today, ..Spent::default() });
        let tomorrow = Spent { on: Day(20_270_101), ..ahead };
        assert_eq!(tomorrow.by(today), tomorrow, "another node's day may have begun");
    }

    #[test]
    fn a_clock_that_is_behind_opens_no_day_again() {
        let mut spending = Spending { limits: SpendingLimits::default(), spent: Spent::default() };
        let (today, yesterday) = (Day(20_261_201), Day(20_261_130));
        assert_eq!(spending.recount(today, (None, Quota::ZERO), Quota(5)), today);
        assert_eq!(spending.recount(yesterday, (None, Quota::ZERO), Quota(2)), today);
        assert_eq!(spending.spent, Spent { on: today, day: Quota(7), month: Quota(7) });
    }
}
