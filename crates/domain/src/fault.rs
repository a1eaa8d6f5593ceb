//! What can go wrong, as the caller may know it.

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
    /// Balance, or the key's own limit, doesn't reach.
    InsufficientQuota,
    /// What may be spent in a day or in a month doesn't reach.
    SpendingLimit,
    /// Not allowed for this key or this role.
    Forbidden,
    /// No such thing, or another user's.
    NotFound,
    /// No such task, or another user's.
    TaskNotFound,
    /// This path exists, but not with this method.
    MethodNotAllowed,
    /// Something of that name exists already, or changed meanwhile.
    Conflict,
    /// The same `Idempotency-Key` is still at work.
    IdempotencyConflict,
    /// The same `Idempotency-Key` came with another request.
    IdempotencyMismatch,
    /// A field of an administrative call breaks its rule.
    Unprocessable,
    /// The body came too slowly.
    RequestTimeout,
    /// The body is larger than allowed.
    PayloadTooLarge,
    /// The body is of a type that can't be read, or could be read in two ways.
    UnsupportedMediaType,
    /// Too many requests.
    RateLimited,
    /// Our own mistake.
    System,
    /// This build, or the way it was started, can't do this.
    Unsupported,
    /// The upstream could not be reached, or broke off.
    Upstream,
    /// The upstream's reply breaks the contract.
    UpstreamResponse,
    /// No channel serves this model now.
    NoChannel,
    /// The operator's configuration can't be used.
    Config,
    /// The account's row stayed locked through the retries.
    AccountBusy,
    /// A named limit is reached.
    Overloaded,
    /// The database doesn't answer.
    DatabaseUnavailable,
    /// The upstream took too long.
    Timeout,
}

/// A failure with its public words, in Chinese and English, and its private cause.
#[derive(Debug)]
pub struct Fault {
    /// Decides status and code.
    pub kind: FaultKind,
    /// What the caller is told, in Chinese. Never holds ids, addresses, SQL or keys.
    pub zh: String,
    /// The same in English.
    pub en: String,
    /// When trying again makes sense, in seconds.
    pub retry_after_s: Option<u32>,
    /// The methods that the path has, where the request's is none of them.
    pub allow: Option<&'static str>,
    /// For the log alone.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A failure of `kind` with its public words.
    pub fn new(kind: FaultKind, zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self { kind, zh: zh.into(), en: en.into(), retry_after_s: None, allow: None, source: None }
    }

    /// Says when to try again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Says which methods there are.
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
