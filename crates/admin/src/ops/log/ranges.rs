//! Where in the journal the lines of a filter are.
//!
//! No index leads to the lines of a model, a channel, a type or a time: calls would pay for it. The
//! background counts them instead: of all users for each block of the journal, of each user by the
//! day, with the first number and the last. A page goes to the ranges that it is in, and the counts
//! are its total.

use super::LogFilter;
use crate::page::{MAX_REACH, PageRequest, Where};
use domain::DAY_MS;
use domain::{ChannelId, UnixMs, UserId};
use ledger::rollups::BLOCK_LINES;
use store::{Db, Row, StoreError};

/// Maximum number of lines behind the cursor that are counted while a request waits. There are
/// more after an upgrade, until the background job has caught up with the journal.
const MAX_BEHIND: i64 = 200_000;
/// Any time that a line may have.
const EVER: (UnixMs, UnixMs) = (UnixMs(0), UnixMs(253_402_300_799_000));

/// Lines that are in one block, of one day, or behind the cursor.
#[derive(Clone, Copy, Debug)]
struct IdRange {
    /// Number of lines; `None` where only some of them may match and have not been counted.
    lines: Option<i64>,
    /// The first number that they may have, and the last.
    numbers: (i64, i64),
    /// From when they may be, and until when.
    times: (UnixMs, UnixMs),
}

impl IdRange {
    /// Both as one.
    fn with(self, other: Self) -> Self {
        Self {
            lines: self.lines.zip(other.lines).map(|(a, b)| a + b),
            numbers: (self.numbers.0.min(other.numbers.0), self.numbers.1.max(other.numbers.1)),
            times: (self.times.0.min(other.times.0), self.times.1.max(other.times.1)),
        }
    }
}

/// The ranges that have lines of a filter.
pub(super) struct IdRanges {
    /// How many lines there are, up to what pages reach.
    pub(super) total: i64,
    /// Newest first. They share no number.
    disjoint: Vec<IdRange>,
}

/// A part of the journal that a page is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RangePart {
    /// How many of its lines are newer than the page.
    pub(super) offset: i64,
    /// The page has all its lines behind those, and room for more.
    ends_in_page: bool,
    numbers: (i64, i64),
    times: (UnixMs, UnixMs),
}

impl RangePart {
    /// The same lines, looked for in this part alone.
    pub(super) fn narrow(&self, conditions: &mut Where) {
        narrow(conditions, self.numbers, self.times);
    }

    /// At most how many lines are to be read for a page of `size`. Where a page takes all that are
    /// left, a limit only misleads PostgreSQL: of lines rarer than it believes, it walks back
    /// through the journal for as many as the limit says, and they are not there.
    pub(super) fn limit(&self, size: i64) -> i64 {
        if self.ends_in_page { MAX_REACH } else { size }
    }
}

fn narrow(conditions: &mut Where, numbers: (i64, i64), times: (UnixMs, UnixMs)) {
    conditions.with("id >= ?", numbers.0);
    conditions.with("id <= ?", numbers.1);
    conditions.with("created_at >= ?", times.0);
    conditions.with("created_at < ?", times.1);
}

impl IdRanges {
    /// The ranges of the lines that `filter` names; none where an index leads to them, or too many
    /// are behind the cursor.
    pub(super) async fn of(
        db: &Db,
        filter: &LogFilter,
        self_of: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Self>, StoreError> {
        let Some(counts) = filter.counts(self_of, page) else { return Ok(None) };
        let Known { cursor, newest, mut ranges } = known(db, filter, counts).await?;
        if newest - cursor > MAX_BEHIND {
            return Ok(None);
        }
        // With more than `MAX_REACH` lines, the first page does not need an exact count of the
        // partial ranges at either end of the period.
        let whole: i64 = ranges.iter().filter_map(|range| range.lines).sum();
        let all_count = page.page > 1 || whole < MAX_REACH;
        if newest > cursor {
            ranges.insert(0, IdRange { lines: None, numbers: (cursor + 1, newest), times: EVER });
        }
        let mut found = Vec::with_capacity(ranges.len());
        for range in ranges {
            if range.lines.is_none() && (all_count || range.numbers.0 > cursor) {
                found.extend(
                    counted(db, filter.conditions(self_of), filter.table(self_of), range).await?,
                );
            } else {
                found.push(range);
            }
        }
        let total: i64 = found.iter().filter_map(|range| range.lines).sum();
        Ok(Some(Self { total: total.min(MAX_REACH), disjoint: merge_overlapping(found) }))
    }

    /// The part of the journal that the page is in; none where it has no line.
    pub(super) fn part(&self, page: PageRequest) -> Option<RangePart> {
        let mut offset = page.offset();
        let mut ranges = self.disjoint.iter().copied().peekable();
        while let Some(lines) = ranges.peek().and_then(|range| range.lines)
            && lines <= offset
        {
            offset -= lines;
            ranges.next();
        }
        let mut wanted = offset + page.size;
        let mut part: Option<IdRange> = None;
        while wanted > 0
            && let Some(range) = ranges.next()
        {
            wanted -= range.lines.unwrap_or(0);
            part = Some(part.map_or(range, |newer| newer.with(range)));
        }
        part.map(|IdRange { lines, numbers, times }| {
            let ends_in_page = wanted > 0 && lines.is_some();
            RangePart { offset, ends_in_page, numbers, times }
        })
    }
}

/// Days may share numbers, where lines were written at midnight or a clock was set back.
fn merge_overlapping(mut ranges: Vec<IdRange>) -> Vec<IdRange> {
    ranges.sort_by_key(|range| std::cmp::Reverse(range.numbers.1));
    let mut disjoint: Vec<IdRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match disjoint.last_mut() {
            Some(newer) if newer.numbers.0 <= range.numbers.1 => *newer = newer.with(range),
            _ => disjoint.push(range),
        }
    }
    disjoint
}

/// Rows that count lines.
struct Counts {
    /// What they say: which lines, by their first number and the last, of which days.
    columns: String,
    table: &'static str,
    conditions: Where,
    group: &'static str,
}

impl LogFilter {
    /// The rollup rows that count the lines; `None` where an index leads to the lines directly, or
    /// no rollup counts them.
    fn counts(&self, self_of: Option<UserId>, page: PageRequest) -> Option<Counts> {
        let of_some = self.model.is_some()
            || self.channel_id.is_some()
            || self.token_id.is_some()
            || self.r#type.is_some()
            || self.start_at.is_some()
            || self.end_at.is_some();
        match self.is_of_users(self_of) {
            _ if self.request_id.is_some() || self.token_name.is_some() => None,
            // Indexes of their own lead to them.
            _ if !self.actions.is_any() => None,
            // The newest lines of a user are found by the index.
            true => (of_some || page.page > 1).then(|| self.counts_of_users(self_of)),
            false => of_some.then(|| self.counts_of_blocks()),
        }
    }

    fn counts_of_users(&self, self_of: Option<UserId>) -> Counts {
        let anytime = Self { start_at: None, end_at: None, before_id: None, ..self.clone() };
        let mut conditions = anytime.conditions(self_of);
        conditions.with_some("first_line < ?", self.before_id);
        self.add_days(&mut conditions);
        Counts {
            columns: "min(first_line) AS first_line, max(last_line) AS last_line".to_owned(),
            table: "logs_by_day",
            conditions,
            group: "day",
        }
    }

    fn counts_of_blocks(&self) -> Counts {
        let mut conditions = Where::default();
        conditions.with("channel_id = ?", self.channel_id.unwrap_or(ChannelId(0)));
        conditions.with_some("model_name = ?", self.model.as_deref());
        self.add_type(&mut conditions);
        conditions.with_some("block <= ?", self.before_id.map(|before| before / BLOCK_LINES));
        self.add_days(&mut conditions);
        Counts {
            columns: format!(
                "block * {BLOCK_LINES} AS first_line,
                 block * {BLOCK_LINES} + {BLOCK_LINES} - 1 AS last_line"
            ),
            table: "log_blocks",
            conditions,
            group: "block",
        }
    }

    fn add_days(&self, conditions: &mut Where) {
        conditions.with_some("day > ?", self.start_at.map(|start| start.plus_ms(-DAY_MS)));
        conditions.with_some("day < ?", self.end_at);
        conditions.fixed("lines > 0");
    }
}

/// What is known of lines.
struct Known {
    /// Up to which line.
    cursor: i64,
    /// The newest line there is.
    newest: i64,
    /// Newest first.
    ranges: Vec<IdRange>,
}

async fn known(db: &Db, filter: &LogFilter, counts: Counts) -> Result<Known, StoreError> {
    let Counts { columns, table, conditions, group } = counts;
    let (conditions, values) = conditions.into_parts();
    let sql = format!(
        "SELECT cursor.through, (SELECT coalesce(max(id), 0) FROM logs) AS newest, ranges.*
         FROM rollup_cursor cursor LEFT JOIN (
             SELECT {columns}, CAST(sum(lines) AS BIGINT) AS lines, min(day) AS first_day,
                    max(day) AS last_day
             FROM {table}{conditions} GROUP BY {group}) AS ranges ON 1 = 1
         ORDER BY first_line DESC"
    );
    let rows = db.search(&sql, &values).await?;
    let cursor_row =
        rows.first().ok_or_else(|| StoreError::Other("no rollup cursor".to_owned()))?;
    let (cursor, newest) = (cursor_row.get("through")?, cursor_row.get("newest")?);
    let ranges = rows.iter().map(|row| range(row, filter, cursor)).filter_map(Result::transpose);
    Ok(Known { cursor, newest, ranges: ranges.collect::<Result<_, _>>()? })
}

/// The range that a row is about; none in the row that says that there is no range.
fn range(row: &Row, filter: &LogFilter, cursor: i64) -> Result<Option<IdRange>, StoreError> {
    let Some(first) = row.get::<Option<i64>>("first_line")? else { return Ok(None) };
    let numbers = (first, row.get::<i64>("last_line")?.min(cursor));
    let last_day: UnixMs = row.get("last_day")?;
    let times = (row.get("first_day")?, last_day.plus_ms(DAY_MS));
    let whole = filter.before_id.is_none_or(|before| numbers.1 < before)
        && filter.start_at.is_none_or(|start| start <= times.0)
        && filter.end_at.is_none_or(|end| times.1 <= end);
    let lines = if whole { Some(row.get("lines")?) } else { None };
    Ok(Some(IdRange { lines, numbers, times }))
}

/// The range with its lines counted; none when there is no line.
async fn counted(
    db: &Db,
    mut conditions: Where,
    table: &str,
    IdRange { numbers, times, .. }: IdRange,
) -> Result<Option<IdRange>, StoreError> {
    narrow(&mut conditions, numbers, times);
    let (sql, values) = conditions.parts();
    let sql = format!(
        "SELECT count(*) AS lines, min(id) AS first_line, max(id) AS last_line,
                min(created_at) AS first_at, max(created_at) AS last_at FROM {table}{sql}"
    );
    let rows = db.search(&sql, values).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let lines: i64 = row.get("lines")?;
    if lines == 0 {
        return Ok(None);
    }
    let last_at: UnixMs = row.get("last_at")?;
    Ok(Some(IdRange {
        lines: Some(lines),
        numbers: (row.get("first_line")?, row.get("last_line")?),
        times: (row.get("first_at")?, last_at.plus_ms(1)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(lines: Option<i64>, first: i64, day: i64) -> IdRange {
        IdRange { lines, numbers: (first, first + 9), times: (UnixMs(day), UnixMs(day + 1)) }
    }

    fn part(ranges: &[IdRange], page: i64, size: i64) -> Option<RangePart> {
        IdRanges { total: 0, disjoint: ranges.to_vec() }.part(PageRequest { page, size })
    }

    fn of(offset: i64, numbers: (i64, i64), (from, to): (i64, i64)) -> Option<RangePart> {
        let times = (UnixMs(from), UnixMs(to));
        Some(RangePart { offset, ends_in_page: false, numbers, times })
    }

    fn last_of(offset: i64, numbers: (i64, i64), times: (i64, i64)) -> Option<RangePart> {
        of(offset, numbers, times).map(|part| RangePart { ends_in_page: true, ..part })
    }

    #[test]
    fn a_page_is_looked_for_in_its_ranges_alone() {
        let ranges = [range(Some(3), 40, 4), range(Some(2), 20, 2), range(Some(5), 0, 1)];
        assert_eq!(part(&ranges, 1, 2), of(0, (40, 49), (4, 5)));
        assert_eq!(part(&ranges, 2, 2), of(2, (20, 49), (2, 5)));
        assert_eq!(part(&ranges, 3, 2), of(1, (0, 29), (1, 3)));
        assert_eq!(part(&ranges, 4, 2), of(1, (0, 9), (1, 2)));
        assert_eq!(part(&ranges, 5, 2), of(3, (0, 9), (1, 2)));
        assert_eq!(part(&ranges, 6, 2), None);
        assert_eq!(part(&ranges, 2, 6), last_of(1, (0, 9), (1, 2)));
        assert_eq!(part(&ranges, 1, 20), last_of(0, (0, 49), (1, 5)));
        assert_eq!(last_of(0, (0, 9), (1, 2)).map(|part| part.limit(20)), Some(MAX_REACH));
        assert_eq!(part(&[], 1, 2), None);
    }

    #[test]
    fn lines_that_nobody_counted_are_passed_over_by_nobody() {
        let ranges = [range(None, 40, 4), range(Some(2), 20, 2), range(Some(5), 0, 1)];
        assert_eq!(part(&ranges, 1, 2), of(0, (20, 49), (2, 5)));
        assert_eq!(part(&ranges, 2, 2), of(2, (0, 49), (1, 5)));
    }

    #[test]
    fn ranges_that_share_numbers_are_one() {
        let ranges = vec![range(Some(5), 0, 1), range(Some(3), 18, 3), range(Some(2), 12, 2)];
        let found = merge_overlapping(ranges);
        let found: Vec<_> = found.iter().map(|range| (range.lines, range.numbers)).collect();
        assert_eq!(found, [(Some(5), (12, 27)), (Some(5), (0, 9))]);
    }
}
