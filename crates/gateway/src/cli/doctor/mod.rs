//! `newapi doctor`: the operator's health check. Each diagnosis is one named check with what it
//! found and how to fix it.

mod channels;
mod database;
mod money;
mod recent;
mod redis;
mod service;
mod tasks;

use super::{out, tools};
use crate::config::{Config, from_process, meaningless_in_process, unknown_in_process};
use crate::wiring;
use domain::millis;
use serde::Serialize;
use std::process::ExitCode;
use store::{Db, StoreError};

/// Checks the whole installation, and says what to do about what is wrong; exits 1 if anything is.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// For machines: an array of checks.
    #[arg(long)]
    json: bool,
    /// Don't reach out to the upstreams.
    #[arg(long)]
    offline: bool,
    /// What may be slow.
    #[command(flatten)]
    limits: DoctorLimits,
}

/// What is too slow.
#[derive(clap::Args, Debug)]
pub(super) struct DoctorLimits {
    /// A call that takes longer is slow: 5s, 500ms, 1m.
    #[arg(long = "slow-call", value_name = "TIME", default_value = "5s", value_parser = time)]
    slow_call_ms: u64,
    /// A transaction that takes longer is in the way.
    #[arg(
        long = "long-transaction", value_name = "TIME", default_value = "5m", value_parser = time
    )]
    long_transaction_ms: u64,
}

fn time(text: &str) -> Result<u64, String> {
    millis(text).ok_or_else(|| "a time is 30s, 500ms, 2m or 1h".to_owned())
}

/// The handbook's alert: more failed calls than these, in per cent.
const MAX_FAILED_PERCENT: u64 = 10;
/// Fewer calls say nothing about a rate.
const MIN_CALLS: u64 = 20;

fn percent(part: u64, all: u64) -> u64 {
    part.saturating_mul(100) / all.max(1)
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    /// Worth a look; nothing is broken.
    Odd,
    Bad,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    found: String,
    /// What to do; empty when there is nothing to do.
    remedy: String,
}

/// All checks so far.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    fn good(&mut self, name: impl Into<String>, found: impl Into<String>) {
        self.add(name.into(), State::Good, found.into(), String::new());
    }

    fn odd(
        &mut self,
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(name.into(), State::Odd, found.into(), remedy.into());
    }

    fn bad(
        &mut self,
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(name.into(), State::Bad, found.into(), remedy.into());
    }

    fn add(&mut self, name: String, state: State, found: String, remedy: String) {
        self.0.push(Check { name, state, found, remedy });
    }

    /// A check that could not be made is a finding, too.
    fn failed(&mut self, name: &str, error: &StoreError) {
        self.bad(name, error.to_string(), "see the checks of the database, and locked rows");
    }

    fn show(&self) {
        for Check { name, state, found, remedy } in &self.0 {
            let mark = match state {
                State::Good => '✓',
                State::Odd => '!',
                State::Bad => '✗',
            };
            out::line(format_args!("{mark} {name}: {found}"));
            if !remedy.is_empty() {
                out::line(format_args!("    → {remedy}"));
            }
        }
        let wrong = self.0.iter().filter(|check| check.state == State::Bad).count();
        out::line(match wrong {
            0 => "\nEverything that matters is well.".to_owned(),
            1 => "\nOne check failed.".to_owned(),
            more => format!("\n{more} checks failed."),
        });
    }
}

/// Runs it.
///
/// # Errors
/// When the report can't be written down; what is wrong is in the report.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    if let Some(config) = configuration(&mut report) {
        service::check(&mut report, &config).await;
        recent::check(&mut report, &config, &args.limits, wiring::system_clock().now());
        redis::check(&mut report, &config).await;
        match tools::unmigrated(&config).await {
            Err(error) => report.bad(
                "database",
                format!("{error:#}"),
                "start it, and check SQL_DSN: systemctl status postgresql",
            ),
            Ok(db) => with_database(&mut report, &config, &db, &args).await,
        }
    }
    if args.json {
        out::json(&report.0)?
    } else {
        report.show()
    }
    let bad = report.0.iter().any(|check| check.state == State::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn configuration(report: &mut Report) -> Option<Config> {
    for name in unknown_in_process() {
        report.odd(name, "is not a setting of this version", "unset it; see newapi config");
    }
    for (name, why) in meaningless_in_process() {
        report.odd(name, why, "unset it");
    }
    match from_process().and_then(|settings| Config::from_settings(&settings)) {
        Ok(config) => {
            report.good("configuration", "every setting can be used");
            Some(config)
        }
        Err(problems) => {
            report.bad("configuration", problems.to_string(), "see newapi config");
            None
        }
    }
}

async fn with_database(report: &mut Report, config: &Config, db: &Db, args: &Args) {
    if !database::check(report, db, &args.limits).await {
        return;
    }
    let now = wiring::system_clock().now();
    money::check(report, db, now).await;
    tasks::check(report, db, now).await;
    channels::check(report, config, db, args.offline).await;
}
