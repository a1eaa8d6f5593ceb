//! `newapi explain`: how one charge came about.

use super::{out, tools};
use anyhow::bail;
use ledger::ExplainRequest;
use std::process::ExitCode;
use uuid::Uuid;

/// Tells how one charge came about.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// `X-Request-Id` of the call, or the id of a hold.
    id: String,
    /// This one of its calls alone, by its hold: clients choose request ids, and may repeat them.
    #[arg(long, value_name = "HOLD_ID")]
    hold: Option<Uuid>,
    /// Calls before this hold, where there are more than 20.
    #[arg(long, value_name = "HOLD_ID")]
    before: Option<Uuid>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When there is no such request, or the database doesn't answer.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let db = tools::database(&tools::config()?).await?;
    let asked = ExplainRequest {
        id: args.id.clone(),
        hold_id: args.hold,
        before: args.before,
        ..ExplainRequest::default()
    };
    let Some(story) = ledger::explain(&db, &asked).await? else {
        bail!("nothing is known of {}: free calls and refused calls leave no entry", args.id);
    };
    if args.json {
        out::json(&story)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (place, hold) in story.holds.iter().enumerate() {
        if place == 0 || story.holds[place - 1].request_id != hold.request_id {
            out::line(format_args!("request {}", hold.request_id));
        }
        out::line(format_args!("\nhold {} of user {}: {}", hold.hold_id, hold.user_id, hold.state));
        if let Some(key) = hold.key_id {
            out::line(format_args!("  key      {key}"));
        }
        let channel = hold.channel_id.map_or("no channel".to_owned(), |id| format!("channel {id}"));
        out::line(format_args!("  model    {} through {channel}", hold.model));
        out::line(format_args!("  price    {}", hold.formula));
        out::line(format_args!("  held     {} ({})", out::quota(hold.held.0), hold.held_by));
        out::line(format_args!("  charged  {}", out::quota(hold.charged.0)));
        if hold.refunded.0 != 0 {
            out::line(format_args!("  refunded {}", out::quota(hold.refunded.0)));
        }
        if !hold.calculation.is_empty() {
            out::line(format_args!("           {}", hold.calculation));
        }
        if !hold.usage_note.is_empty() {
            out::line(format_args!("  usage    {}", hold.usage_note));
        }
        if !hold.fail_reason.is_empty() {
            out::line(format_args!("  failed   {}", hold.fail_reason));
        }
        let rows: Vec<Vec<String>> = hold
            .lines
            .iter()
            .map(|line| {
                let time = jiff::Timestamp::from_millisecond(line.at_ms).unwrap_or_default();
                vec![
                    format!("  {}", time.strftime("%Y-%m-%dT%H:%M:%SZ")),
                    line.kind.clone(),
                    line.delta.0.to_string(),
                    line.prompt_tokens.to_string(),
                    line.completion_tokens.to_string(),
                    line.content.clone(),
                ]
            })
            .collect();
        out::table(&["  time", "entry", "change", "prompt", "completion", "what"], &rows);
    }
    if let Some(before) = story.next_before {
        out::line(format_args!("\nolder calls: newapi explain {} --before {before}", args.id));
    }
    Ok(ExitCode::SUCCESS)
}
