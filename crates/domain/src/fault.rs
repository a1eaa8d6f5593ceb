//! Faults: failures as the caller may see them.

use std::error::Error;
use std::fmt;

/// The kinds of failure that have a name in the contract. `web` holds the one table from
/// kind to status and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Malformed path, header or body; model missing; `precharge` sent.
    InvalidRequest,
    /// Key missing, unknown, expired, disabled.
    Unauthenticated,
    /// The balance, or the key's own limit, is too small.
    InsufficientQuota,
    /// The daily or monthly spending limit is reached.
    SpendingLimit,
    /// Not allowed for this key or this role.
    Forbidden,
    /// No such thing, or another user's.
    NotFound,
    /// No such task, or another user's.
    TaskNotFound,
    /// This path exists, but not with this method.
    MethodNotAllowed,
    /// The name is taken, or the row was changed meanwhile.
    Conflict,
    /// A request with the same `Idempotency-Key` is in flight.
    IdempotencyConflict,
    /// The same `Idempotency-Key` was used with another request.
    IdempotencyMismatch,
    /// A field of an administrative call breaks its rule.
    Unprocessable,
    /// The body came too slowly.
    RequestTimeout,
    /// The body is larger than allowed.
    PayloadTooLarge,
    /// The body's type is not supported, or could be parsed in two ways.
    UnsupportedMediaType,
    /// Too many requests.
    RateLimited,
    /// An internal error.
    System,
    /// Not available in this build, or as it was started.
    Unsupported,
    /// The upstream could not be reached, or broke off.
    Upstream,
    /// The upstream's reply breaks the contract.
    UpstreamResponse,
    /// No channel serves this model now.
    NoChannel,
    /// No channel has the model: trying again does not help.
    ModelNotFound,
    /// The operator's configuration can't be used.
    Config,
    /// The account's row stayed locked through the retries.
    AccountBusy,
    /// A named limit is reached.
    Overloaded,
    /// The database is unavailable.
    DatabaseUnavailable,
    /// The upstream took too long.
    Timeout,
}

/// A failure with its public words, in Chinese and English, and its private cause.
#[derive(Debug)]
pub struct Fault {
    /// Decides status and code.
    pub kind: FaultKind,
    /// The public message in Chinese. Never holds ids, addresses, SQL or keys.
    pub zh: String,
    /// The public message in English.
    pub en: String,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// The allowed methods, when the request's method is not one of them.
    pub allow: Option<&'static str>,
    /// The cause, for the log only.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A failure of `kind` with its public words.
    pub fn new(kind: FaultKind, zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self { kind, zh: zh.into(), en: en.into(), retry_after_s: None, allow: None, source: None }
    }

    /// Sets when to retry, in seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Sets the allowed methods.
    #[must_use]
    pub const fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Attaches the cause, for the log alone.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The public message: Chinese, with the English in parentheses.
    #[must_use]
    pub fn message(&self) -> String {
        format!("{} ({})", self.zh, self.en)
    }

    /// The cause and all its own causes, for the log.
    #[must_use]
    pub fn cause_chain(&self) -> String {
        let mut chain = String::new();
        let mut next: Option<&dyn Error> = self.source.as_deref().map(|s| s as &dyn Error);
        while let Some(cause) = next {
            if !chain.is_empty() {
                chain.push_str(": ");
            }
            chain.push_str(&cause.to_string());
            next = cause.source();
        }
        chain
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.en)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn Error + 'static))
    }
}
