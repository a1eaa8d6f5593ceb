//! Errors of the database.

use domain::{Fault, FaultKind};
use std::error::Error;
use tokio_postgres::error::SqlState;

/// `Retry-After` in seconds while the database is unavailable.
const RETRY_AFTER_S: u32 = 2;

/// How the driver's message begins when a statement and its values don't fit.
const OURS: [&str; 6] = [
    "error serializing",
    "error deserializing",
    "error encoding",
    "invalid column",
    "expected ",
    "query returned",
];

/// Why a database operation failed. Neither `Display` nor `Debug` shows the DSN.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, none free in time, or the database can't work now.
    #[error("the database doesn't answer: {0}")]
    Unavailable(String),
    /// A lock timed out, or two transactions conflicted. A retry may succeed.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// A row with this value exists already.
    #[error("{table}.{column} exists already")]
    Conflict {
        /// The table.
        table: String,
        /// The column, or the columns with commas.
        column: String,
        /// The name of the broken constraint, where the engine reports it.
        constraint: String,
    },
    /// The database refused the values: a check, a missing value, a reference, a trigger.
    #[error("the database refused the values: {message}")]
    Check {
        /// The name of the broken constraint, where the engine reports it.
        constraint: String,
        /// The engine's message.
        message: String,
    },
    /// A statement affected another number of rows than it had to. Nothing was changed.
    #[error("statement {index} touched {found} rows instead of {expected}")]
    RowCount {
        /// Which statement of the transaction, from 0.
        index: usize,
        /// The number required.
        expected: u64,
        /// The number affected.
        found: u64,
    },
    /// A newer newapi has migrated this database.
    #[error(
        "the database has schema {found}, this newapi knows up to {known}: use the newer newapi"
    )]
    SchemaTooNew {
        /// The newest migration in the database.
        found: i64,
        /// The newest migration in this program.
        known: i64,
    },
    /// A database of a build before the first release.
    #[error(
        "the database was made by a newapi before its first release, whose schema ends there: \
         start with an empty database, or keep using the build that made this one"
    )]
    SchemaUnreleased,
    /// A migration is not what it was when it was applied.
    #[error("migration {file} was changed after it was applied to this database")]
    MigrationChanged {
        /// The file.
        file: String,
    },
    /// A migration failed.
    #[error("migration {file} failed: {why}")]
    Migration {
        /// The file.
        file: String,
        /// The engine's message.
        why: String,
    },
    /// The settings of the database can't be used.
    #[error("{0}")]
    Config(String),
    /// Another process serves this SQLite file.
    #[error("another newapi serves {0} already; one SQLite file is for one serving process")]
    ServedElsewhere(String),
    /// `SECRET_KEY` is not the one this database was written with.
    #[error(
        "SECRET_KEY is not the one that this database was written with: channel keys can't be read"
    )]
    WrongSecret,
    /// A column doesn't hold what was expected.
    #[error("column {column}: {why}")]
    Decode {
        /// The column.
        column: String,
        /// What was expected and found.
        why: String,
    },
    /// Anything else: a bug.
    #[error("{0}")]
    Other(String),
}

impl StoreError {
    /// Whether a retry may succeed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        // Access refused at run time (a password being changed, a database being moved) is fixed by
        // an operator, and what was to be done then must still be done.
        matches!(self, Self::Unavailable(_) | Self::Busy(_) | Self::Config(_))
    }

    pub(crate) fn decode(column: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Decode { column: column.into(), why: why.into() }
    }
}

/// An error and all its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // An error that is neither the server's nor a bug of ours is the connection's.
            let words = chain(&error);
            let ours = OURS.iter().any(|beginning| words.starts_with(beginning));
            return if ours { Self::Other(words) } else { Self::Unavailable(words) };
        };
        let constraint = db.constraint().unwrap_or_default().to_owned();
        let code = db.code();
        let said = || format!("{} ({})", db.message(), code.code());
        match code.code().get(..2).unwrap_or_default() {
            _ if *code == SqlState::UNIQUE_VIOLATION => Self::Conflict {
                table: db.table().unwrap_or_default().to_owned(),
                column: columns_of_detail(db.detail().unwrap_or_default()),
                constraint,
            },
            _ if *code == SqlState::QUERY_CANCELED
                || *code == SqlState::READ_ONLY_SQL_TRANSACTION
                // The server accepts no connections for the moment.
                || *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE =>
            {
                Self::Unavailable(said())
            }
            _ if *code == SqlState::LOCK_NOT_AVAILABLE => Self::Busy(said()),
            "08" | "53" | "57" | "58" => Self::Unavailable(said()),
            "40" => Self::Busy(said()),
            "23" | "P0" | "22" => Self::Check { constraint, message: db.message().to_owned() },
            // Authentication and a missing database are for the operator to fix.
            "28" | "3D" => Self::Config(format!("the database refuses us: {}", said())),
            _ => Self::Other(said()),
        }
    }
}

/// Extracts the columns from `Key (user_id, name)=(1, x) already exists.`.
fn columns_of_detail(detail: &str) -> String {
    let inner = detail.strip_prefix("Key (").and_then(|rest| rest.split_once(")="));
    inner.map(|(columns, _)| columns.replace('"', "")).unwrap_or_default()
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        use rusqlite::ffi;
        let words = chain(&error);
        let Some(failure) = error.sqlite_error() else { return Self::Other(words) };
        let message = match &error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
            _ => words.clone(),
        };
        match (failure.code, failure.extended_code) {
            (
                Code::ConstraintViolation,
                ffi::SQLITE_CONSTRAINT_UNIQUE
                | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                | ffi::SQLITE_CONSTRAINT_ROWID,
            ) => {
                let columns = message.rsplit(": ").next().unwrap_or_default().to_owned();
                let table = columns.split('.').next().unwrap_or_default().to_owned();
                let column = columns.replace(&format!("{table}."), "");
                Self::Conflict { table, column, constraint: columns }
            }
            (Code::ConstraintViolation, _) => {
                let constraint = message.rsplit(": ").next().unwrap_or_default().to_owned();
                Self::Check { constraint, message }
            }
            (Code::DatabaseBusy | Code::DatabaseLocked, _) => Self::Busy(words),
            (
                Code::DiskFull
                | Code::SystemIoFailure
                | Code::CannotOpen
                | Code::ReadOnly
                | Code::OutOfMemory
                | Code::PermissionDenied
                | Code::OperationInterrupted,
                _,
            ) => Self::Unavailable(words),
            _ => Self::Other(words),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let fault = match &error {
            StoreError::Unavailable(_) | StoreError::Busy(_) | StoreError::Config(_) => {
                let (zh, en) = ("数据库暂时不可用，请稍后重试", "database unavailable, try later");
                Self::new(FaultKind::DatabaseUnavailable, zh, en).retry_after(RETRY_AFTER_S)
            }
            StoreError::Conflict { column, .. } => Self::new(
                FaultKind::Conflict,
                format!("{column} 已存在"),
                format!("{column} exists already"),
            ),
            StoreError::RowCount { .. } => Self::new(
                FaultKind::Conflict,
                "数据已被他人修改，请刷新后重试",
                "changed meanwhile, reload and try again",
            ),
            _ => Self::new(FaultKind::System, "系统内部错误", "internal error"),
        };
        fault.caused_by(error)
    }
}
