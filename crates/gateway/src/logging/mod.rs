//! The log: events in, the operator's lines out.

mod format;
mod writer;

pub use format::Shape;
pub use writer::{Lines, Writer};

use crate::config::LogConfig;
use domain::Clock;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Opens the log and sends every event of this process there.
///
/// # Errors
/// When the file can't be opened, or a log has been installed before.
pub fn install(config: &LogConfig, clock: Clock) -> anyhow::Result<Writer> {
    let writer = Writer::start(config.file.as_deref()).map_err(|error| {
        let path = config.file.as_deref().unwrap_or(std::path::Path::new("standard error"));
        anyhow::anyhow!("LOG_FILE={}: can't be opened: {error}", path.display())
    })?;
    let layer = LogLayer {
        shape: if config.json { Shape::Json } else { Shape::Text },
        level: level(&config.level),
        clock,
        lines: writer.lines(),
    };
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;
    Ok(writer)
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

struct LogLayer {
    shape: Shape,
    level: LevelFilter,
    clock: Clock,
    lines: Lines,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now_ms = self.clock.now().0;
        format::line(self.shape, now_ms, event, |line| self.lines.push(line));
    }
}
