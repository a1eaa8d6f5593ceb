//! The log as a table for spreadsheets, piece by piece, however long it is.

use super::ranges::IdRanges;
use super::{COLUMNS, LogFilter, LogView, scope, view};
use crate::page::{PageRequest, Query};
use crate::sheet::{self, Sheet};
use crate::{Actor, AdminError, AdminState};
use domain::UserId;
use store::Db;

/// Lines that are read at once, and wait in memory.
const PIECE_LINES: i64 = 200;
/// Most lines of an export; where more are wanted, the next one begins behind the last line.
const MAX_LINES: i64 = 1_000_000;

const HEAD: [&str; 18] = [
    "id",
    "created_at",
    "type",
    "user_id",
    "username",
    "model_name",
    "quota",
    "prompt_tokens",
    "completion_tokens",
    "channel_id",
    "token_id",
    "request_id",
    "use_time_ms",
    "content",
    "other",
    "delta",
    "used_delta",
    "hold_id",
];

/// An export under way. Between two pieces nothing is open: each begins behind the last line of
/// the one before, by the order of the primary key.
pub struct Export {
    db: Db,
    filter: LogFilter,
    scope: Option<UserId>,
    shows_channels: bool,
    lines_left: i64,
    headed: bool,
}

/// How many lines are asked for.
///
/// # Errors
/// When they are none, or too many.
pub(crate) fn limit(query: &Query) -> Result<i64, AdminError> {
    let limit = query.number("limit")?.unwrap_or(MAX_LINES);
    if (1..=MAX_LINES).contains(&limit) {
        return Ok(limit);
    }
    Err(AdminError::field(
        "limit",
        format!("必须在 1 到 {MAX_LINES} 之间, 其余用 before_id 继续导出"),
        format!("must be from 1 to {MAX_LINES}; export the rest with before_id"),
    ))
}

impl Export {
    /// An export of the lines that `filter` names, newest first, at most the `limit` of `query`.
    /// `own`: the actor's own lines alone.
    ///
    /// # Errors
    /// When the role doesn't reach, the limit is none, or the database fails.
    pub async fn begin(
        state: &AdminState,
        actor: &Actor,
        own: bool,
        filter: LogFilter,
        query: &Query,
    ) -> Result<Self, AdminError> {
        let lines_left = limit(query)?;
        Ok(Self {
            db: state.db.clone(),
            scope: scope(actor, own)?,
            filter: filter.with_owner(&state.db).await?,
            shows_channels: actor.is_admin(),
            lines_left,
            headed: false,
        })
    }

    /// The next piece of the text; none when it is at its end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, AdminError> {
        let lines = self.lines().await?;
        if lines.is_empty() && self.headed {
            return Ok(None);
        }
        let mut sheet = Sheet::new();
        if !self.headed {
            self.headed = true;
            sheet.row(HEAD)?;
        }
        for line in &lines {
            sheet.row(self.cells(line))?;
        }
        sheet.text().map(Some)
    }

    async fn lines(&mut self) -> Result<Vec<LogView>, AdminError> {
        let wanted = self.lines_left.min(PIECE_LINES);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let mut conditions = self.filter.conditions(self.scope);
        let page = PageRequest { page: 1, size: wanted };
        let mut limit = wanted;
        if let Some(places) = IdRanges::of(&self.db, &self.filter, self.scope, page).await? {
            let Some(part) = places.part(page) else { return Ok(Vec::new()) };
            part.narrow(&mut conditions);
            limit = part.limit(wanted);
        }
        let journal = (COLUMNS, self.filter.table(self.scope), "id DESC");
        let lines = conditions.some(&self.db, journal, (limit, 0), view).await?;
        let read = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        self.lines_left = if read < wanted { 0 } else { self.lines_left - read };
        if let Some(last) = lines.last() {
            self.filter.before_id = Some(last.id);
        }
        Ok(lines)
    }

    fn cells(&self, line: &LogView) -> [String; HEAD.len()] {
        let channel_id = line.channel_id.filter(|_| self.shows_channels);
        [
            line.id.to_string(),
            sheet::instant(line.created_at),
            line.r#type.clone(),
            line.user_id.0.to_string(),
            line.username.clone(),
            line.model_name.clone(),
            line.quota.0.to_string(),
            line.prompt_tokens.to_string(),
            line.completion_tokens.to_string(),
            channel_id.map(|id| id.0.to_string()).unwrap_or_default(),
            line.token_id.map(|id| id.0.to_string()).unwrap_or_default(),
            line.request_id.clone(),
            line.use_time_ms.to_string(),
            line.content.clone(),
            match line.other.get() {
                "null" => String::new(),
                other => other.to_owned(),
            },
            line.delta.0.to_string(),
            line.used_delta.0.to_string(),
            line.hold_id.map(|id| id.to_string()).unwrap_or_default(),
        ]
    }
}
