//! `newapi channel`: accounts at upstreams.

use super::out;
use super::tools::{CommandContext, Given, done, every_page};
use admin::Query;
use admin::ops::channel::{
    self, ChannelFilter, ChannelInput, ChannelView, Probe, ProbeCost, ProbeRequest,
};
use clap::Subcommand;
use domain::ChannelId;
use std::process::ExitCode;

/// Channels: accounts at upstreams.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show all channels as they are stored. What a server has paused for now, the console, the
    /// metrics and `GET /api/channel/live` show.
    List {
        /// Only those with this tag.
        #[arg(long)]
        tag: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a channel.
    Create {
        /// Name to show.
        name: String,
        /// Address of the upstream, like `https://api.example.com`, with the path that its vendor
        /// names, if any: `/v1` may be left out, and another version there is the one called.
        #[arg(long)]
        base_url: String,
        /// The protocol that it speaks: `newapi protocol list` shows them.
        #[arg(long)]
        protocol: Option<String>,
        /// The account's key there; `-` reads it from standard input.
        #[arg(long)]
        key: String,
        /// Models it serves, separated by commas.
        #[arg(long)]
        models: String,
        /// Groups it serves, separated by commas.
        #[arg(long, default_value = "default")]
        groups: String,
        /// Higher is tried first.
        #[arg(long, allow_negative_numbers = true)]
        priority: Option<i64>,
        /// Share among channels of the same priority.
        #[arg(long)]
        weight: Option<i64>,
        /// Label to find it by.
        #[arg(long)]
        tag: Option<String>,
        /// Note of the operators.
        #[arg(long)]
        remark: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Use a channel again.
    Enable {
        /// Number of the channel.
        id: i64,
    },
    /// Use a channel no more.
    Disable {
        /// Number of the channel.
        id: i64,
    },
    /// Delete a channel.
    Delete {
        /// Number of the channel.
        id: i64,
    },
    /// Ask the upstream which models it has; `+` marks those that the channel does not serve yet.
    Models {
        /// Number of the channel.
        id: i64,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Really call the upstream, with the channel's key and free of charge; exits 1 if it fails.
    Test {
        /// Number of the channel.
        id: i64,
        /// Model to call; without it, the channel's first.
        #[arg(long)]
        model: Option<String>,
        /// Path to call in place of the model's own, like v1/chat/completions.
        #[arg(long)]
        path: Option<String>,
        /// JSON to send; without it, a short chat.
        #[arg(long)]
        data: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
///
/// # Errors
/// What the operation refuses.
pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    CommandContext::with(async |context| act(context, command).await).await
}

async fn act(context: &CommandContext, command: Command) -> anyhow::Result<ExitCode> {
    let (state, actor) = (&context.state, &context.actor);
    match command {
        Command::List { tag, json } => {
            let query: Query = tag.map(|tag| ("tag".to_owned(), tag)).into_iter().collect();
            let filter = &done(ChannelFilter::read(&query))?;
            let all = every_page(|page| channel::list(state, filter, page)).await?;
            show_all(&all, json)?;
        }
        Command::Create {
            name,
            base_url,
            protocol,
            key,
            models,
            groups,
            priority,
            weight,
            tag,
            remark,
            json,
        } => {
            let fields = Given::default()
                .with("name", Some(name))
                .with("type", Some(52))
                .with("base_url", Some(base_url))
                .with("protocol", protocol)
                .with("key", Some(read_key(key)?))
                .with("models", Some(models))
                .with("groups", Some(groups))
                .with("priority", priority)
                .with("weight", weight)
                .with("tag", tag)
                .with("remark", remark)
                .fields()?;
            let input = done(ChannelInput::read(fields))?;
            let made = done(channel::create(state, actor, input).await)?;
            if json {
                out::json(&made)?;
            } else {
                out::line(format_args!("channel {} {} was made", made.id, made.name));
            }
        }
        Command::Enable { id } => {
            done(channel::set_status(state, actor, ChannelId(id), true).await)?;
            out::line(format_args!("channel {id}: enabled"));
        }
        Command::Disable { id } => {
            done(channel::set_status(state, actor, ChannelId(id), false).await)?;
            out::line(format_args!("channel {id}: disabled"));
        }
        Command::Delete { id } => {
            done(channel::delete(state, actor, ChannelId(id)).await)?;
            out::line(format_args!("channel {id}: deleted"));
        }
        Command::Models { id, json } => {
            let told = done(channel::upstream_models(state, actor, ChannelId(id)).await)?;
            if json {
                out::json(&told)?;
            } else {
                for model in &told.models {
                    let mark = if told.unserved.contains(model) { '+' } else { ' ' };
                    out::line(format_args!("{mark} {model}"));
                }
            }
        }
        Command::Test { id, model, path, data, json } => {
            let request = ProbeRequest { channel_id: ChannelId(id), model, path, test_data: data };
            let probe = done(channel::probe(state, actor, request).await)?;
            show_probe(&probe, json)?;
            return Ok(if probe.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A key on the command line is visible to any user who may list processes.
fn read_key(given: String) -> anyhow::Result<String> {
    if given != "-" {
        return Ok(given);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn show_all(channels: &[ChannelView], json: bool) -> anyhow::Result<()> {
    let heads = [
        "id", "name", "tag", "base url", "models", "groups", "status", "priority", "weight", "used",
    ];
    out::list(channels, json, &heads, |channel| {
        vec![
            channel.id.to_string(),
            channel.name.clone(),
            channel.tag.clone(),
            channel.base_url.clone(),
            channel.models.join(","),
            channel.groups.join(","),
            out::status(channel.status).to_owned(),
            channel.priority.to_string(),
            channel.weight.to_string(),
            channel.used_quota.0.to_string(),
        ]
    })
}

fn show_probe(probe: &Probe, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(probe);
    }
    let (id, model, time) = (probe.channel_id, &probe.model, probe.time_ms);
    let status = probe.status.map_or("no answer".to_owned(), |status| format!("status {status}"));
    let word = if probe.ok { "works" } else { "fails" };
    out::line(format_args!("channel {id}, model {model}: {word}, {status} after {time} ms"));
    if let Some(call) = &probe.call {
        out::line(format_args!("  call: {call}"));
    }
    for (name, text) in [("error", probe.error), ("detail", probe.detail.as_deref())] {
        if let Some(text) = text {
            out::line(format_args!("  {name}: {text}"));
        }
    }
    if !probe.usage.is_empty() {
        let counts: Vec<_> = probe.usage.iter().map(|(meter, n)| format!("{meter} {n}")).collect();
        out::line(format_args!("  usage: {}", counts.join(", ")));
    }
    if let Some(ProbeCost { group, quota, calculation }) = &probe.cost {
        let quota = quota.map_or("none".to_owned(), |quota| format!("{quota} quota"));
        out::line(format_args!("  cost in group {group}: {quota}: {calculation}"));
    }
    if let Some(reply) = &probe.reply {
        out::line(format_args!("  reply: {reply}"));
    }
    Ok(())
}
