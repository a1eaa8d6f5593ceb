//! `newapi audit`: whether every balance is the sum of its lines less its open holds.

use super::{out, tools};
use ledger::AuditReport;
use std::process::ExitCode;

/// Checks every balance and every hold against the journal; exits 1 on any breach.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When the database doesn't answer.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let db = tools::database(&tools::config()?).await?;
    let report = ledger::audit(&db, crate::wiring::system_clock().now()).await?;
    if args.json {
        out::json(&report)?;
    } else {
        show(&report);
    }
    Ok(if report.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report, for people.
pub(super) fn show(report: &AuditReport) {
    out::line(format_args!(
        "{} users, {} open holds with {}, unknown outcomes {}",
        report.users,
        report.open_holds,
        out::quota(report.held.0),
        out::quota(report.unknown_outcome.0),
    ));
    let rows: Vec<Vec<String>> = report
        .breaches
        .iter()
        .map(|b| vec![b.rule.to_owned(), b.subject.clone(), b.detail.clone()])
        .collect();
    if rows.is_empty() {
        out::line("clean: every balance is the sum of its lines less its open holds");
    } else {
        out::table(&["rule", "where", "what"], &rows);
    }
}
