//! Statements: what a user had at the start of a month, what moved the balance, and what was left.
//!
//! They are sums over the journal and nothing else, so they agree with the balance as the journal
//! does. All sums are read in one SQL statement, and so from one snapshot.

use super::LogFilter;
use super::sums::{self, Source};
use crate::page::Query;
use crate::sheet::Sheet;
use crate::{Actor, AdminError, AdminState, exact};
use domain::{Quota, UnixMs, UserId};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::collections::BTreeMap;
use store::{Db, Engine, Row, StoreError};
use utoipa::ToSchema;

/// From when on the journal is whole. PostgreSQL drops whole months.
const KEPT_POSTGRES: &str = "SELECT date_trunc('month', created_at, 'UTC') AS kept_from
    FROM logs ORDER BY id LIMIT 1";
const KEPT_SQLITE: &str = "SELECT kept_from FROM rollup_cursor WHERE kept_from > 0";

/// A month of a user's balance.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MonthStatement {
    /// Whose.
    pub user_id: UserId,
    /// The user's name now.
    pub username: String,
    /// `2026-11`, in UTC.
    pub month: String,
    /// Its first second, since 1970.
    pub start_time: i64,
    /// The first second after it.
    pub end_time: i64,
    /// Whether the month is over.
    pub complete: bool,
    /// The balance at its start.
    pub opening: Quota,
    /// What moved it: `opening` and their amounts add up to `closing`.
    pub lines: Vec<StatementLine>,
    /// What was left at its end, or now.
    pub closing: Quota,
    /// What is put aside now for calls and tasks under way, while the month lasts: the balance is
    /// `closing` less this.
    pub held: Quota,
}

/// What moved a balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatementLine {
    /// In which way.
    pub kind: StatementKind,
    /// For which model; of charges and refunds.
    pub model_name: String,
    /// How often.
    pub count: i64,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Tokens of completions.
    pub completion_tokens: i64,
    /// Effect on the balance.
    pub amount: Quota,
}

/// How a balance is moved. In the order of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StatementKind {
    /// Paid in.
    Topup,
    /// Settled calls.
    Charge,
    /// Charges that were taken back.
    Refund,
    /// Corrected by administrators, or with plain SQL.
    Adjust,
}

impl StatementKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Topup => "topup",
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Adjust => "adjust",
        }
    }
}

/// A month of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Month(Date);

impl Month {
    /// The month that `month` names, or that of `now`.
    fn read(query: &Query, now: UnixMs) -> Result<Self, AdminError> {
        let first = match query.text("month") {
            Some(text) if text.len() == "2026-11".len() => format!("{text}-01").parse().ok(),
            Some(_) => None,
            None => jiff::Timestamp::from_millisecond(now.0)
                .ok()
                .map(|now| now.to_zoned(TimeZone::UTC).date().first_of_month()),
        };
        // PostgreSQL and SQLite agree on instants since 1970.
        first.filter(|date: &Date| (1970..9999).contains(&date.year())).map(Self).ok_or_else(|| {
            AdminError::field("month", "必须是 2026-11 这样的月份", "must be a month like 2026-11")
        })
    }

    /// Its first instant, and the first after it.
    fn bounds(self) -> Result<(UnixMs, UnixMs), AdminError> {
        let instant = |date: Date| date.to_zoned(TimeZone::UTC).map(|at| at.timestamp());
        let next = self.0.last_of_month().tomorrow().and_then(instant);
        match (instant(self.0), next) {
            (Ok(start), Ok(end)) => {
                Ok((UnixMs(start.as_millisecond()), UnixMs(end.as_millisecond())))
            }
            (Err(error), _) | (_, Err(error)) => Err(AdminError::System(error.to_string())),
        }
    }

    fn word(self) -> String {
        self.0.strftime("%Y-%m").to_string()
    }
}

/// The statement that `user_id` and `month` of `query` ask for; `own`: the actor's own. Without a
/// month, this one.
///
/// # Errors
/// When the role doesn't reach, there is no such user, the journal of that month isn't kept any
/// more, or the database fails.
pub async fn of_month(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    query: &Query,
) -> Result<MonthStatement, AdminError> {
    let user_id = subject(actor, own, query)?;
    let now = state.clock.now();
    let month = Month::read(query, now)?;
    let (start, end) = month.bounds()?;
    let username = username(&state.db, user_id).await?;
    let sums = sums(&state.db, user_id, (start, end)).await?;
    let carried = sums.iter().any(|sum| sum.kind == "carried");
    if carried && kept_from(&state.db).await?.is_none_or(|kept| start < kept) {
        return Err(AdminError::NotFound {
            zh: "该月的流水已不再保留".to_owned(),
            en: "the journal of that month is not kept any more".to_owned(),
        });
    }
    let (opening, lines) = lines(&sums)?;
    Ok(MonthStatement {
        user_id,
        username,
        month: month.word(),
        start_time: exact::seconds(start),
        end_time: exact::seconds(end),
        complete: end <= now,
        opening,
        closing: total(sums.iter().map(|sum| sum.delta))?,
        held: if end <= now { Quota::ZERO } else { total(sums.iter().map(|sum| sum.held))? },
        lines,
    })
}

fn subject(actor: &Actor, own: bool, query: &Query) -> Result<UserId, AdminError> {
    if own {
        return Ok(actor.user_id);
    }
    actor.require_admin()?;
    let user_id = query.number("user_id")?.map(UserId);
    user_id.ok_or_else(|| AdminError::field("user_id", "不能为空", "is required"))
}

/// Also of users who were deleted: their statements outlive them.
async fn username(db: &Db, id: UserId) -> Result<String, AdminError> {
    let rows = db.read("SELECT username FROM users WHERE id = $1", &[id.into()]).await?;
    let row = rows.first().ok_or_else(|| AdminError::not_found("用户", "user"))?;
    Ok(row.get("username")?)
}

async fn kept_from(db: &Db) -> Result<Option<UnixMs>, StoreError> {
    let sql = match db.engine() {
        Engine::Postgres => KEPT_POSTGRES,
        Engine::Sqlite => KEPT_SQLITE,
    };
    db.read(sql, &[]).await?.first().map(|row| row.get("kept_from")).transpose()
}

/// What the lines of the user add up to, before the month and in it.
async fn sums(
    db: &Db,
    user_id: UserId,
    (start, end): (UnixMs, UnixMs),
) -> Result<Vec<Sum>, AdminError> {
    let filter = LogFilter { user_id: Some(user_id), ..LogFilter::default() };
    let Source { table, mut values } =
        sums::source(db, &filter, None, (UnixMs(0), Some(end))).await?;
    values.extend([start.into(), user_id.into()]);
    let (start, user_id) = (values.len() - 1, values.len());
    let (columns, of_one) = (sums::columns(db), sums::of_a_line());
    let sql = format!(
        "SELECT CASE WHEN created_at < ${start} THEN 'opening' ELSE type END AS kind,
             CASE WHEN created_at < ${start} THEN '' ELSE model_name END AS model, {columns},
             0 AS held
         FROM {table} GROUP BY 1, 2
         UNION ALL
         SELECT 'carried', '', {of_one}, 0
         FROM (SELECT 0 AS quota, delta, used AS used_delta, 0 AS prompt_tokens,
                      0 AS completion_tokens
               FROM ledger_carry WHERE user_id = ${user_id}) AS carried
         UNION ALL
         SELECT 'held', '', {of_one}, amount
         FROM (SELECT 0 AS quota, 0 AS delta, 0 AS used_delta, 0 AS prompt_tokens,
                      0 AS completion_tokens, CAST(coalesce(sum(amount), 0) AS BIGINT) AS amount
               FROM holds WHERE user_id = ${user_id}) AS held"
    );
    let rows = db.search(&sql, &values).await?;
    rows.iter().map(Sum::read).collect()
}

/// What the lines of one type and model add up to.
struct Sum {
    kind: String,
    model: String,
    lines: i64,
    charging: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    delta: Quota,
    used: Quota,
    held: Quota,
}

impl Sum {
    fn read(row: &Row) -> Result<Self, AdminError> {
        Ok(Self {
            kind: row.get("kind")?,
            model: row.get("model")?,
            lines: row.get("lines")?,
            charging: row.get("charging")?,
            prompt_tokens: row.get("prompt_tokens")?,
            completion_tokens: row.get("completion_tokens")?,
            delta: row.get("delta")?,
            used: row.get("used_delta")?,
            held: row.get::<Option<Quota>>("held")?.unwrap_or_default(),
        })
    }
}

/// The opening balance, and what moved it since.
fn lines(sums: &[Sum]) -> Result<(Quota, Vec<StatementLine>), AdminError> {
    let mut opening = Quota::ZERO;
    let mut found: BTreeMap<(StatementKind, String), StatementLine> = BTreeMap::new();
    let mut add = |kind: StatementKind, sum: &Sum, count: i64, amount: Quota| {
        let charged = matches!(kind, StatementKind::Charge | StatementKind::Refund);
        let model_name = if charged { sum.model.clone() } else { String::new() };
        let line = found.entry((kind, model_name.clone())).or_insert_with(|| StatementLine {
            kind,
            model_name,
            count: 0,
            prompt_tokens: 0,
            completion_tokens: 0,
            amount: Quota::ZERO,
        });
        line.count += count;
        if charged {
            line.prompt_tokens += sum.prompt_tokens;
            line.completion_tokens += sum.completion_tokens;
        }
        line.amount = total([line.amount, amount])?;
        Ok::<_, AdminError>(())
    };
    for sum in sums {
        let charged = Quota(sum.used.0.checked_neg().ok_or_else(too_large)?);
        match sum.kind.as_str() {
            "opening" | "carried" => opening = total([opening, sum.delta])?,
            "topup" => add(StatementKind::Topup, sum, sum.lines, sum.delta)?,
            "consume" => add(StatementKind::Charge, sum, sum.lines, charged)?,
            // Of a task, a line may also say what came back of what was held, and moves nothing.
            "refund" if sum.charging > 0 => add(StatementKind::Refund, sum, sum.charging, charged)?,
            // Lines of other types move nothing.
            _ if sum.delta == Quota::ZERO => {}
            _ => add(StatementKind::Adjust, sum, sum.lines, sum.delta)?,
        }
    }
    Ok((opening, found.into_values().collect()))
}

fn total(amounts: impl IntoIterator<Item = Quota>) -> Result<Quota, AdminError> {
    let sum = amounts.into_iter().try_fold(0_i64, |sum, amount| sum.checked_add(amount.0));
    sum.map(Quota).ok_or_else(too_large)
}

fn too_large() -> AdminError {
    AdminError::System("a sum of the journal does not fit".to_owned())
}

impl MonthStatement {
    /// The statement as a table: a line for the opening balance, one for each line, and one for
    /// the closing balance, and one for what is held of it.
    ///
    /// # Errors
    /// Never.
    pub fn csv(&self) -> Result<Vec<u8>, AdminError> {
        let mut sheet = Sheet::new();
        sheet.row([
            "kind",
            "model_name",
            "count",
            "prompt_tokens",
            "completion_tokens",
            "amount",
        ])?;
        sheet.row(["opening", "", "", "", "", &self.opening.0.to_string()])?;
        for line in &self.lines {
            sheet.row([
                line.kind.word(),
                &line.model_name,
                &line.count.to_string(),
                &line.prompt_tokens.to_string(),
                &line.completion_tokens.to_string(),
                &line.amount.0.to_string(),
            ])?;
        }
        sheet.row(["closing", "", "", "", "", &self.closing.0.to_string()])?;
        sheet.row(["held", "", "", "", "", &self.held.0.to_string()])?;
        sheet.text()
    }

    /// What the table is called: `statement-7-2026-11`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("statement-{}-{}", self.user_id.0, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(kind: &str, model: &str, delta: i64, used: i64) -> Sum {
        Sum {
            kind: kind.to_owned(),
            model: model.to_owned(),
            lines: 2,
            charging: i64::from(used != 0),
            prompt_tokens: 3,
            completion_tokens: 4,
            delta: Quota(delta),
            used: Quota(used),
            held: Quota::ZERO,
        }
    }

    #[test]
    fn opening_and_lines_add_up_to_closing() {
        let sums = [
            sum("carried", "", 100, 0),
            sum("opening", "", 50, 20),
            sum("topup", "", 500, 0),
            sum("precharge", "a", 0, 0),
            sum("consume", "a", -40, 40),
            sum("refund", "a", 0, 0),
            sum("consume", "c", -25, 25),
            sum("refund", "c", 25, -25),
            sum("adjust", "", -7, 0),
            sum("manage", "", 0, 0),
        ];
        let (opening, lines) = lines(&sums).unwrap();
        let shown: Vec<_> =
            lines.iter().map(|l| (l.kind.word(), l.model_name.as_str(), l.amount.0)).collect();
        assert_eq!(opening, Quota(150));
        assert_eq!(
            shown,
            [
                ("topup", "", 500),
                ("charge", "a", -40),
                ("charge", "c", -25),
                ("refund", "c", 25),
                ("adjust", "", -7),
            ]
        );
        let moved: i64 = lines.iter().map(|line| line.amount.0).sum();
        let closing: i64 = sums.iter().map(|sum| sum.delta.0).sum();
        assert_eq!(opening.0 + moved, closing);
    }

    #[test]
    fn months_are_read_in_utc() {
        let now = UnixMs(1_709_251_199_000);
        let read = |text: &str| {
            let pairs = [("month".to_owned(), text.to_owned())];
            Month::read(&pairs.into_iter().collect(), now)
        };
        let february = read("2024-02").unwrap();
        assert_eq!(
            february.bounds().unwrap(),
            (UnixMs(1_706_745_600_000), UnixMs(1_709_251_200_000))
        );
        assert_eq!(read("").unwrap(), february);
        assert_eq!(february.word(), "2024-02");
        for bad in ["2024-13", "2024-2", "202402", "1969-12", "9999-01", "2024-02-01", "+024-02"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
