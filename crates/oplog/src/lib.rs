//! The operator's log: formats events as lines of text or JSON, and writes them to standard error
//! or to a rotated file. A line is formatted without an allocation, and written by a thread of its
//! own.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod file;
mod format;
mod writer;

pub use file::Rotation;
pub use format::LineFormat;
pub use writer::{Lines, Writer};

use domain::Clock;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// What is logged, and where to.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Minimum level: `error` … `trace`.
    pub level: String,
    /// Minimum level of the lines of calls, tasks and money: the target `custompass`.
    pub custompass_level: String,
    /// The log file; `None`: standard error.
    pub file: Option<PathBuf>,
    /// When the file is rotated.
    pub rotation: Rotation,
    /// JSON instead of text.
    pub json: bool,
}

/// Why the log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file can't be opened.
    #[error("LOG_FILE={path}: can't be opened: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A log has been installed already.
    #[error(transparent)]
    Installed(#[from] tracing::dispatcher::SetGlobalDefaultError),
}

/// Opens the log and installs it for every event of this process.
///
/// # Errors
/// When the file can't be opened, or a log has been installed already.
pub fn install(config: &LogConfig, clock: Clock) -> Result<(Writer, Levels), LogError> {
    let writer = Writer::start(config.file.as_deref(), config.rotation).map_err(|source| {
        let path = config.file.as_deref().unwrap_or(Path::new("standard error"));
        LogError::File { path: path.display().to_string(), source }
    })?;
    let levels = Levels(Arc::new(RwLock::new(Areas::read(config))));
    let layer = LogLayer {
        shape: if config.json { LineFormat::Json } else { LineFormat::Text },
        levels: levels.clone(),
        clock,
        lines: writer.lines(),
    };
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;
    Ok((writer, levels))
}

/// The levels, changeable at run time.
#[derive(Clone)]
pub struct Levels(Arc<RwLock<Areas>>);

/// The minimum level of each target.
#[derive(Clone, Copy)]
struct Areas {
    custompass: LevelFilter,
    others: LevelFilter,
}

impl Levels {
    /// Applies these levels from now on. An event takes no lock for its level: `tracing` caches
    /// whether each call site is enabled, and rebuilds that cache here.
    pub fn set(&self, config: &LogConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Areas::read(config);
        tracing::callsite::rebuild_interest_cache();
    }

    fn areas(&self) -> Areas {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Areas {
    fn read(config: &LogConfig) -> Self {
        Self { custompass: level(&config.custompass_level), others: level(&config.level) }
    }

    fn of(self, target: &str) -> LevelFilter {
        if target == "custompass" { self.custompass } else { self.others }
    }
}

fn level(word: &str) -> LevelFilter {
    match word {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => LevelFilter::INFO,
    }
}

/// The crates of the workspace: see `build.rs`.
const OUR_CRATES: &[&str] = include!(concat!(env!("OUT_DIR"), "/our_crates.rs"));

/// Whether an event comes from one of our own crates.
fn is_ours(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or(target);
    matches!(name, "custompass" | "newapi") || OUR_CRATES.contains(&name)
}

struct LogLayer {
    shape: LineFormat,
    levels: Levels,
    clock: Clock,
    lines: Lines,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = *metadata.level();
        // Other crates may log anything at their lower levels, including addresses with passwords.
        level <= self.levels.areas().of(metadata.target())
            && (level <= LevelFilter::WARN || is_ours(metadata.target()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let areas = self.levels.areas();
        Some(areas.custompass.max(areas.others))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now_ms = self.clock.now().0;
        format::line(self.shape, now_ms, event, |line| self.lines.push(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_its_own_crates() {
        assert!(is_ours("custompass") && is_ours("store::live") && is_ours("newapi::server"));
        for name in ["admin", "domain", "egress", "ledger", "relay", "roster", "spans", "tasks"] {
            assert!(is_ours(name), "{name}");
        }
        assert!(is_ours("throttle") && is_ours("upstream") && is_ours("web::fault"));
        assert!(!is_ours("hyper_util::client") && !is_ours("storefront"));
    }
}
