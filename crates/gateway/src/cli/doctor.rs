//! `newapi doctor`: the operator's health check, on a terminal.

use super::{out, tools};
use crate::doctor::{DoctorLimits, Examination, HealthReport};
use domain::millis;
use std::process::ExitCode;

use admin::ops::doctor::{HealthCheck, HealthState};

/// Checks the whole installation, and says what to do about what is wrong; exits 1 if anything is.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// For machines: an array of checks.
    #[arg(long)]
    json: bool,
    /// Don't reach out to the upstreams.
    #[arg(long)]
    offline: bool,
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

/// Runs it.
///
/// # Errors
/// When the report can't be written down; what is wrong is in the report.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { slow_call_ms, long_transaction_ms, .. } = args;
    let limits = DoctorLimits { slow_call_ms, long_transaction_ms };
    let examination = Examination { limits, reaches_out: !args.offline, audits: true };
    let mut report = HealthReport::default();
    if let Some(config) = examination.around(&mut report).await {
        match tools::unmigrated(&config).await {
            Err(error) => report.bad(
                "database",
                format!("{error:#}"),
                "start it, and check SQL_DSN: systemctl status postgresql",
            ),
            Ok(db) => examination.inside(&mut report, &config, &db).await,
        }
    }
    let checks = report.checks();
    let bad = checks.iter().filter(|check| check.state == HealthState::Bad).count();
    if args.json {
        out::json(&checks)?
    } else {
        show(&checks, bad)
    }
    Ok(if bad > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(checks: &[HealthCheck], bad: usize) {
    for HealthCheck { name, state, found, remedy } in checks {
        let mark = match state {
            HealthState::Good => '✓',
            HealthState::Odd => '!',
            HealthState::Bad => '✗',
        };
        out::line(format_args!("{mark} {name}: {found}"));
        if !remedy.is_empty() {
            out::line(format_args!("    → {remedy}"));
        }
    }
    out::line(match bad {
        0 => "\nEverything that matters is well.".to_owned(),
        1 => "\nOne check failed.".to_owned(),
        more => format!("\n{more} checks failed."),
    });
}
