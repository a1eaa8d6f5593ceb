//! `newapi logs analyze`: a summary of the log of the last hours: number of calls, errors,
//! latencies, and callers.

use super::log_line::{LogLine, millis};
use super::out;
use crate::config::{Config, from_process};
use anyhow::{Context, bail};
use clap::Subcommand;
use domain::HOUR_MS;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

/// How many users are shown.
const TOP: usize = 10;
/// Events that are one call of a client each.
const CALLS: [&str; 2] = ["sync_request", "async_request"];

/// The log.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sum up the last hours: calls, errors, durations, users.
    Analyze(Args),
}

/// What to sum up.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// How far back.
    #[arg(long, default_value_t = 1)]
    hours: u32,
    /// The log; without it, that of the configuration (LOG_FILE).
    #[arg(long)]
    file: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// The summary of the log.
#[derive(Debug, Default, Serialize)]
struct Summary {
    hours: u32,
    /// Calls by kind and status.
    calls: BTreeMap<String, u64>,
    /// Failed calls, and other lines of level ERROR or WARN, by code or event.
    errors: BTreeMap<String, u64>,
    /// How long calls took.
    durations: Option<Durations>,
    /// Who called most: user and calls.
    users: Vec<(String, u64)>,
    /// Lines that are not of this program's shape.
    unreadable_lines: u64,
}

/// Durations of calls, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Durations {
    count: usize,
    average_ms: u64,
    min_ms: u64,
    p50_ms: u64,
    p95_ms: u64,
    p99_ms: u64,
    max_ms: u64,
}

/// Runs it.
///
/// # Errors
/// When there is no log to be read.
pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Analyze(args) = command;
    let path = match &args.file {
        Some(path) => path.clone(),
        None => match Config::from_settings(&from_process()?)?.log.file {
            Some(path) => path,
            None => bail!("the log goes to standard error; name a file with --file"),
        },
    };
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    let since = crate::wiring::system_clock().now().plus_ms(-i64::from(args.hours) * HOUR_MS).0;
    let mut tally = Tally::default();
    for line in BufReader::new(file).split(b'\n') {
        tally.take(&String::from_utf8_lossy(&line?), since);
    }
    let summary = tally.summary(args.hours);
    if args.json {
        out::json(&summary)?
    } else {
        show(&summary)
    }
    Ok(ExitCode::SUCCESS)
}

/// What was counted so far.
#[derive(Default)]
struct Tally {
    summary: Summary,
    durations_ms: Vec<u64>,
    users: BTreeMap<String, u64>,
}

impl Tally {
    fn take(&mut self, line: &str, since_ms: i64) {
        if line.trim().is_empty() {
            return;
        }
        let Some(read) = LogLine::read(line) else {
            self.summary.unreadable_lines += 1;
            return;
        };
        if read.at_ms < since_ms {
            return;
        }
        let call = CALLS.contains(&read.event.as_str());
        if call {
            let status = read.field("status").unwrap_or_default();
            *self.summary.calls.entry(format!("{} {status}", read.event)).or_default() += 1;
            self.durations_ms.extend(read.field("duration").and_then(millis));
            if let Some(user) = read.field("user_id") {
                *self.users.entry(user.to_owned()).or_default() += 1;
            }
        }
        if matches!(read.level.as_str(), "ERROR" | "WARN") {
            let code = read.field("code").filter(|_| call).unwrap_or(&read.event);
            *self.summary.errors.entry(code.to_owned()).or_default() += 1;
        }
    }

    fn summary(mut self, hours: u32) -> Summary {
        let mut users: Vec<(String, u64)> = self.users.into_iter().collect();
        users.sort_by_key(|(user, calls)| (std::cmp::Reverse(*calls), user.clone()));
        users.truncate(TOP);
        self.durations_ms.sort_unstable();
        let durations = Durations::of(&self.durations_ms);
        Summary { hours, durations, users, ..self.summary }
    }
}

impl Durations {
    fn of(sorted_ms: &[u64]) -> Option<Self> {
        let (min_ms, max_ms) = (*sorted_ms.first()?, *sorted_ms.last()?);
        let at = |percent: usize| {
            let index = (sorted_ms.len() * percent).div_ceil(100).saturating_sub(1);
            sorted_ms.get(index).copied().unwrap_or(max_ms)
        };
        let count = sorted_ms.len();
        let sum: u64 = sorted_ms.iter().sum();
        let average_ms = sum / u64::try_from(count).unwrap_or(u64::MAX);
        Some(Self {
            count,
            average_ms,
            min_ms,
            p50_ms: at(50),
            p95_ms: at(95),
            p99_ms: at(99),
            max_ms,
        })
    }
}

fn show(summary: &Summary) {
    let counted = |title: &str, counts: &mut dyn Iterator<Item = (&String, &u64)>| {
        out::line(format_args!("\n{title}"));
        let mut none = true;
        for (name, count) in counts {
            none = false;
            out::line(format_args!("  {count:>8}  {name}"));
        }
        if none {
            out::line("         –");
        }
    };
    out::line(format_args!("The last {} h", summary.hours));
    counted("1. Calls", &mut summary.calls.iter());
    counted("2. Errors and warnings", &mut summary.errors.iter());
    out::line("\n3. Durations");
    match &summary.durations {
        None => out::line("         –"),
        Some(d) => out::line(format_args!(
            "  average {} ms, min {} ms, p50 {} ms, p95 {} ms, p99 {} ms, max {} ms, {} calls",
            d.average_ms, d.min_ms, d.p50_ms, d.p95_ms, d.p99_ms, d.max_ms, d.count
        )),
    }
    counted("4. Users", &mut summary.users.iter().map(|(user, calls)| (user, calls)));
    if summary.unreadable_lines > 0 {
        out::line(format_args!("\n{} lines are not this log's", summary.unreadable_lines));
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_line::instant;
    use super::*;

    const LINES: [&str; 6] = [
        "2024-01-01T11:00:00Z [INFO] custompass: sync_request user_id=9 duration=9.000s \
         status=success",
        "2024-01-01T12:00:00Z [INFO] custompass: sync_request user_id=1 model=m duration=1.500s \
         status=success",
        "2024-01-01T12:00:01Z [WARN] custompass: sync_request user_id=1 duration=0.100s \
         status=error code=NO_CHANNEL error=\"a b=c\"",
        r#"{"time":"2024-01-01T12:00:02Z","level":"ERROR","event":"async_request","user_id":2,
            "duration":"0.200s","status":"error","code":"TIMEOUT"}"#,
        "2024-01-01T12:00:03Z [ERROR] custompass: precharge_failed user_id=2 error=\"no quota\"",
        "not of this log",
    ];

    fn summary() -> Summary {
        let mut tally = Tally::default();
        let since = instant("2024-01-01T11:30:00Z").unwrap();
        LINES.into_iter().for_each(|line| tally.take(line, since));
        tally.summary(1)
    }

    #[test]
    fn both_shapes_are_summed_up() {
        let summary = summary();
        let calls: Vec<_> = summary.calls.iter().map(|(name, count)| (&**name, *count)).collect();
        assert_eq!(
            calls,
            [("async_request error", 1), ("sync_request error", 1), ("sync_request success", 1)]
        );
        let errors: Vec<_> = summary.errors.keys().map(String::as_str).collect();
        assert_eq!(errors, ["NO_CHANNEL", "TIMEOUT", "precharge_failed"]);
        assert_eq!(summary.users, [("1".to_owned(), 2), ("2".to_owned(), 1)]);
        let durations = summary.durations.unwrap();
        assert_eq!((durations.min_ms, durations.p50_ms, durations.max_ms), (100, 200, 1_500));
        assert_eq!((durations.average_ms, summary.unreadable_lines), (600, 1));
    }
}
