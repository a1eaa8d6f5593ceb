//! The journal over time, and what used most: read from what is added up already, so that a chart
//! costs what its points cost and not what the lines do.

use super::sums::{self, Source};
use super::{LogFilter, scope};
use crate::page::Query;
use crate::{Actor, AdminError, AdminState, exact};
use domain::{DAY_MS, HOUR_MS};
use domain::{Quota, UnixMs, UserId};
use serde::Serialize;
use std::collections::BTreeMap;
use store::{Engine, Row, StoreError};
use utoipa::ToSchema;

/// Most steps of a series.
pub const MAX_STEPS: i64 = 400;
/// How many models are listed unless the request specifies a number.
const TOP: i64 = 10;
const MAX_TOP: i64 = 100;

/// A series, or a ranking, as asked for.
#[derive(Clone, Debug)]
pub struct UsageRequest {
    /// Which lines.
    pub filter: LogFilter,
    /// How long a step is.
    pub step: Step,
    /// How many models a ranking names.
    pub top: i64,
}

/// The length of a step of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

impl Step {
    const fn ms(self) -> i64 {
        match self {
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }
}

impl UsageRequest {
    /// Reads the filters of an address, `by` and `top`.
    ///
    /// # Errors
    /// When one of them means nothing.
    pub fn read(query: &Query) -> Result<Self, AdminError> {
        let step = match query.text("by") {
            None | Some("day") => Step::Day,
            Some("hour") => Step::Hour,
            Some(_) => {
                return Err(AdminError::field("by", "必须是 hour 或 day", "must be hour or day"));
            }
        };
        let top = query.number("top")?.unwrap_or(TOP).clamp(1, MAX_TOP);
        Ok(Self { filter: LogFilter::of_sums(query)?, step, top })
    }

    /// Whether its time has no more steps than a series may have.
    #[must_use]
    pub fn fits_series(&self, now: UnixMs) -> bool {
        let (start, end) = times(self, now);
        end.since_ms(start) <= MAX_STEPS * self.step.ms()
    }
}

/// What was used and paid in within one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsagePoint {
    /// Start of the step, in seconds since 1970.
    pub time: i64,
    /// Charged calls.
    pub calls: i64,
    /// What they cost, less what was taken back.
    pub spent: Quota,
    /// What was paid in, less deposits that were reversed.
    pub paid_in: Quota,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Tokens of completions.
    pub completion_tokens: i64,
}

/// Usage over time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsageSeries {
    /// From when, in seconds since 1970.
    pub start_time: i64,
    /// Until when.
    pub end_time: i64,
    /// One for each step, also where there was none.
    pub points: Vec<UsagePoint>,
}

/// What a model cost in all.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelUsage {
    /// The model.
    pub model_name: String,
    /// Charged calls.
    pub calls: i64,
    /// What they cost, less what was taken back.
    pub spent: Quota,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Tokens of completions.
    pub completion_tokens: i64,
}

/// Usage over time: by default of the last 30 days, or of the last 24 hours. `own`: the actor's.
///
/// # Errors
/// When the role does not reach, there would be too many steps, or the database fails.
pub async fn series(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    request: &UsageRequest,
) -> Result<UsageSeries, AdminError> {
    let (start, end) = steps(request, state.clock.now())?;
    let Source { table, values } = lines(state, actor, own, request, (start, end)).await?;
    let (bucket, columns) = (bucket(state, request.step), sums::columns(&state.db));
    let sql = format!("SELECT {bucket} AS step, type, {columns} FROM {table} GROUP BY 1, 2");
    let rows = state.db.search(&sql, &values).await?;
    series_of(&rows, request.step, (start, end))
}

/// The models that cost most, over the same time as [`series`], or a longer one.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn models(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    request: &UsageRequest,
) -> Result<Vec<ModelUsage>, AdminError> {
    let times = times(request, state.clock.now());
    let Source { table, values } = lines(state, actor, own, request, times).await?;
    let sql = ranking(state, &table, "model_name", request.top);
    let rows = state.db.search(&sql, &values).await?;
    Ok(rows.iter().map(of_model).collect::<Result<_, _>>()?)
}

/// Both [`series`] and [`models`], of one reading of the lines: pages show them together.
///
/// # Errors
/// As of [`series`].
pub async fn series_and_models(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    request: &UsageRequest,
) -> Result<(UsageSeries, Vec<ModelUsage>), AdminError> {
    let (start, end) = steps(request, state.clock.now())?;
    let Source { table, values } = lines(state, actor, own, request, (start, end)).await?;
    let (bucket, columns) = (bucket(state, request.step), sums::columns(&state.db));
    let never = match state.db.engine() {
        Engine::Sqlite => "NULL",
        Engine::Postgres => "CAST(NULL AS timestamptz)",
    };
    let (calls, ranking) =
        (sums::calls(&state.db), ranking(state, "steps", "model_name", request.top));
    let sql = format!(
        "WITH steps AS MATERIALIZED (
             SELECT {bucket} AS step, type, model_name, {columns} FROM {table} GROUP BY 1, 2, 3)
         SELECT step, type, '' AS model_name, {columns}, {calls} FROM steps GROUP BY step, type
         UNION ALL SELECT {never}, '', top.* FROM ({ranking}) AS top"
    );
    let rows = state.db.search(&sql, &values).await?;
    let is_step = |row: &&Row| row.get::<Option<UnixMs>>("step").is_ok_and(|step| step.is_some());
    let (steps, models): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(is_step);
    let mut models = models.into_iter().map(of_model).collect::<Result<Vec<_>, _>>()?;
    models.sort_by(|a, b| (b.spent, &a.model_name).cmp(&(a.spent, &b.model_name)));
    Ok((series_of(steps, request.step, (start, end))?, models))
}

/// The start of a line's step.
fn bucket(state: &AdminState, step: Step) -> &'static str {
    match (state.db.engine(), step) {
        (Engine::Sqlite, Step::Hour) => "created_at - created_at % 3600000",
        (Engine::Sqlite, Step::Day) => "created_at - created_at % 86400000",
        (Engine::Postgres, Step::Hour) => "date_trunc('hour', created_at, 'UTC')",
        (Engine::Postgres, Step::Day) => "date_trunc('day', created_at, 'UTC')",
    }
}

/// What cost most of what columns name, in order.
pub(super) fn ranking(state: &AdminState, table: &str, column: &str, top: i64) -> String {
    let (columns, calls) = (sums::columns(&state.db), sums::calls(&state.db));
    let named = match column {
        "model_name" => "WHERE model_name <> ''",
        "channel_id" => "WHERE channel_id <> 0",
        _ => "",
    };
    format!(
        "SELECT {column}, {columns}, {calls} FROM {table} {named} GROUP BY {column}
         HAVING sum(charging) > 0 ORDER BY used_delta DESC, {column} LIMIT {top}"
    )
}

fn of_model(row: &Row) -> Result<ModelUsage, StoreError> {
    Ok(ModelUsage {
        model_name: row.get("model_name")?,
        calls: row.get("calls")?,
        spent: row.get("used_delta")?,
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
    })
}

/// A series of sums by step and type: a point for each step, also where there is no row.
fn series_of<'a>(
    rows: impl IntoIterator<Item = &'a Row>,
    step: Step,
    (start, end): (UnixMs, UnixMs),
) -> Result<UsageSeries, AdminError> {
    let step_ms = step.ms();
    let mut points: BTreeMap<i64, UsagePoint> = BTreeMap::new();
    let mut at = start.0 - start.0.rem_euclid(step_ms);
    while at < end.0 {
        let time = exact::seconds(UnixMs(at));
        points.insert(at, UsagePoint { time, ..UsagePoint::default() });
        at += step_ms;
    }
    for row in rows {
        let step: UnixMs = row.get("step")?;
        if let Some(point) = points.get_mut(&step.0) {
            point.add(row)?;
        }
    }
    Ok(UsageSeries {
        start_time: exact::seconds(start),
        end_time: exact::seconds(end),
        points: points.into_values().collect(),
    })
}

/// The lines, each with whose it is and of which key.
pub(super) async fn owned_lines(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    request: &UsageRequest,
) -> Result<Source, AdminError> {
    let times = times(request, state.clock.now());
    let (filter, scope, times) = which(state, actor, own, request, times).await?;
    Ok(sums::owned(&state.db, &filter, scope, times).await?)
}

/// The lines, each with its channel.
pub(super) async fn lines_by_channel(
    state: &AdminState,
    actor: &Actor,
    request: &UsageRequest,
) -> Result<Source, AdminError> {
    let times = times(request, state.clock.now());
    let (filter, scope, times) = which(state, actor, false, request, times).await?;
    Ok(sums::by_channel(&state.db, &filter, scope, times).await?)
}

async fn lines(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    request: &UsageRequest,
    times: (UnixMs, UnixMs),
) -> Result<Source, AdminError> {
    let (filter, scope, times) = which(state, actor, own, request, times).await?;
    Ok(sums::source(&state.db, &filter, scope, times).await?)
}

/// Which lines they are, of whom, and of when.
async fn which(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    request: &UsageRequest,
    (start, end): (UnixMs, UnixMs),
) -> Result<(LogFilter, Option<UserId>, (UnixMs, Option<UnixMs>)), AdminError> {
    let scope = scope(actor, own)?;
    request.filter.check_name(&state.db, scope).await?;
    let filter = request.filter.clone().with_owner(&state.db).await?;
    // No line is later than now, so that the present hour or day needs no end.
    let end = Some(end).filter(|end| *end <= state.clock.now());
    Ok((filter, scope, (start, end)))
}

/// Whole steps: the first one is shown from its start.
fn times(request: &UsageRequest, now: UnixMs) -> (UnixMs, UnixMs) {
    let ms = request.step.ms();
    let back = match request.step {
        Step::Hour => DAY_MS,
        Step::Day => 30 * DAY_MS,
    };
    let end = request.filter.end_at.unwrap_or_else(|| now.plus_ms(1));
    let start = request.filter.start_at.unwrap_or_else(|| end.plus_ms(ms - back));
    (UnixMs(start.0 - start.0.rem_euclid(ms)), end)
}

/// The times of a series: each of its steps is answered, so that there can't be any number.
fn steps(request: &UsageRequest, now: UnixMs) -> Result<(UnixMs, UnixMs), AdminError> {
    if request.fits_series(now) {
        return Ok(times(request, now));
    }
    Err(AdminError::field(
        "start_time",
        format!("最多 {MAX_STEPS} 个时间段"),
        format!("a series has at most {MAX_STEPS} steps"),
    ))
}

impl UsagePoint {
    fn add(&mut self, row: &Row) -> Result<(), AdminError> {
        let kind: String = row.get("type")?;
        self.spent = self.spent.sum_with(row.get("used_delta")?);
        if kind == "consume" {
            self.calls += row.get::<i64>("charging")?;
            self.prompt_tokens += row.get::<i64>("prompt_tokens")?;
            self.completion_tokens += row.get::<i64>("completion_tokens")?;
        }
        if kind == "topup" {
            self.paid_in = self.paid_in.sum_with(row.get("delta")?);
        }
        Ok(())
    }
}
