//! `newapi task`: asynchronous work at upstreams.

use super::out;
use super::tools::{CommandContext, done};
use admin::ops::task::{self, Decision, TaskFilter, TaskView};
use admin::{PageRequest, Query};
use clap::Subcommand;
use std::process::ExitCode;

/// Tasks: asynchronous work at upstreams.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show tasks, newest first.
    List {
        /// submitted, processing, completed, failed, unknown; unfinished: all that haven't ended.
        #[arg(long)]
        status: Option<String>,
        /// Model, with or without /submit.
        #[arg(long)]
        model: Option<String>,
        /// Number of the channel.
        #[arg(long)]
        channel: Option<i64>,
        /// Name of the owner.
        #[arg(long)]
        user: Option<String>,
        /// Older than the task of this number.
        #[arg(long)]
        before: Option<i64>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one task.
    Get {
        /// Its number, uid, or upstream's id.
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a task as completed: charged at its price, or at what it holds where use is unknown.
    SettleNow(Decided),
    /// End a task as failed, and give back what it holds.
    FailAndRefund(Decided),
    /// Let a task's lifetime begin anew, and ask about it at once.
    Requeue(Decided),
}

/// A task, and why.
#[derive(clap::Args, Debug)]
pub(super) struct Decided {
    /// Its number, uid, or upstream's id.
    id: String,
    /// Why, for the log.
    #[arg(long, default_value = "")]
    reason: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// What the operation refuses.
pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    CommandContext::with(async |context| act(context, command).await)
        .await
        .map(|()| ExitCode::SUCCESS)
}

async fn act(context: &CommandContext, command: Command) -> anyhow::Result<()> {
    let (state, actor) = (&context.state, &context.actor);
    match command {
        Command::List { status, model, channel, user, before, json } => {
            let given = [
                ("status", status),
                ("model", model),
                ("channel_id", channel.map(|id| id.to_string())),
                ("username", user),
                ("before_id", before.map(|id| id.to_string())),
            ];
            let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let query: Query = given.map(|(name, value)| (name.to_owned(), value)).collect();
            let filter = done(TaskFilter::read(&query))?;
            let page = task::list(state, actor, false, &filter, PageRequest::first()).await;
            let page = done(page)?;
            if json { out::json(&page.items) } else { show_all(&page.items, page.total) }
        }
        Command::Get { id, json } => {
            let task = done(task::get(state, actor, &id).await)?;
            if json { out::json(&task) } else { show_one(&task) }
        }
        Command::SettleNow(decided) => decide(context, decided, Decision::SettleNow).await,
        Command::FailAndRefund(decided) => decide(context, decided, Decision::FailAndRefund).await,
        Command::Requeue(decided) => decide(context, decided, Decision::Requeue).await,
    }
}

async fn decide(
    context: &CommandContext,
    decided: Decided,
    decision: Decision,
) -> anyhow::Result<()> {
    let Decided { id, reason, json } = decided;
    let task = task::decide(&context.state, &context.actor, &id, decision, &reason).await;
    let task = done(task)?;
    if json { out::json(&task) } else { show_one(&task) }
}

fn show_all(tasks: &[TaskView], total: i64) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = tasks
        .iter()
        .map(|task| {
            vec![
                task.id.to_string(),
                task.task_id.clone(),
                task.action.clone(),
                task.user_id.to_string(),
                task.channel_id.map(|id| id.to_string()).unwrap_or_default(),
                task.status.clone(),
                task.upstream_status.clone(),
                task.progress.clone(),
                task.quota.to_string(),
                time(task.created_at),
            ]
        })
        .collect();
    let heads = [
        "id", "task", "model", "user", "channel", "status", "upstream", "progress", "quota", "made",
    ];
    out::table(&heads, &rows);
    if usize::try_from(total).is_ok_and(|total| total > tasks.len()) {
        let last = tasks.last().map_or(0, |task| task.id);
        out::line(format_args!("… {} of {total}; go on with --before {last}", tasks.len()));
    }
    Ok(())
}

fn show_one(task: &TaskView) -> anyhow::Result<()> {
    let ended = if task.finish_time == 0 { "not yet".to_owned() } else { time(task.finish_time) };
    let channel = task.channel_id.map(|id| id.to_string()).unwrap_or_default();
    for (name, text) in [
        ("task", format!("{} {}", task.id, task.task_id)),
        ("uid", task.uid.to_string()),
        ("model", task.action.clone()),
        ("user", task.user_id.to_string()),
        ("channel", channel),
        ("status", task.status.clone()),
        ("upstream", format!("{} {}", task.upstream_status, task.progress)),
        ("reason", task.fail_reason.clone()),
        ("reply", task.reply.clone().unwrap_or_default()),
        ("quota", out::quota(task.quota.0)),
        ("held at first", out::quota(task.precharge_quota.0)),
        ("made", time(task.created_at)),
        ("ended", ended),
    ] {
        if !text.trim().is_empty() {
            out::line(format_args!("{name:<14} {text}"));
        }
    }
    Ok(())
}

fn time(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
