//! `newapi price`: what models cost.

use super::out;
use super::tools::{CommandContext, Given, done, every_page};
use admin::Query;
use admin::ops::ability::{self, AbilityInput};
use admin::ops::group::{self, GroupInput};
use clap::Subcommand;
use serde::Serialize;
use std::process::ExitCode;

/// What models cost, and by how much groups multiply it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show all prices and groups.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set the price of a model, in place of the one it has.
    Set {
        /// The model, as clients ask for it.
        model: String,
        /// Price of a prompt token, in quota; may have up to six decimals.
        #[arg(long)]
        ratio: Option<String>,
        /// Price of a call, in quota.
        #[arg(long, conflicts_with = "ratio")]
        fixed_quota: Option<i64>,
        /// Worth of a completion token, in prompt tokens.
        #[arg(long)]
        completion_ratio: Option<String>,
        /// Worth of a cached prompt token.
        #[arg(long)]
        cache_ratio: Option<String>,
        /// Worth of an image token.
        #[arg(long)]
        image_ratio: Option<String>,
        /// Worth of an audio token.
        #[arg(long)]
        audio_ratio: Option<String>,
        /// What is held before a call priced by ratio.
        #[arg(long)]
        min_hold: Option<i64>,
    },
    /// Take the price of a model away: it is free then.
    Delete {
        /// The model.
        model: String,
    },
    /// Set the factor of a group on every price.
    Group {
        /// The group.
        name: String,
        /// Its factor, like 0.8.
        ratio: String,
    },
}

/// Runs it.
///
/// # Errors
/// What the operation refuses.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    CommandContext::with(async |context| act(context, command).await)
        .await
        .map(|()| ExitCode::SUCCESS)
}

async fn act(context: &CommandContext, command: Command) -> anyhow::Result<()> {
    let (state, actor) = (&context.state, &context.actor);
    match command {
        Command::List { json } => return list(context, json).await,
        Command::Set {
            model,
            ratio,
            fixed_quota,
            completion_ratio,
            cache_ratio,
            image_ratio,
            audio_ratio,
            min_hold,
        } => {
            let fields = Given::default()
                .with("model_name", Some(model.as_str()))
                .with("ratio", ratio)
                .with("fixed_quota", fixed_quota)
                .with("completion_ratio", completion_ratio)
                .with("cache_ratio", cache_ratio)
                .with("image_ratio", image_ratio)
                .with("audio_ratio", audio_ratio)
                .with("min_hold", min_hold)
                .fields()?;
            done(ability::put(state, actor, done(AbilityInput::read(fields))?).await)?;
            out::line(format_args!("{model} is priced"));
        }
        Command::Delete { model } => {
            done(ability::delete(state, actor, &model).await)?;
            out::line(format_args!("{model} has no price any more: it is free"));
        }
        Command::Group { name, ratio } => {
            let fields = Given::default()
                .with("group_name", Some(name.as_str()))
                .with("ratio", Some(ratio.as_str()))
                .fields()?;
            done(group::put(state, actor, done(GroupInput::read(fields))?).await)?;
            out::line(format_args!("group {name} pays {ratio} times every price"));
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Everything {
    abilities: Vec<ability::AbilityView>,
    groups: Vec<group::GroupView>,
}

async fn list(context: &CommandContext, json: bool) -> anyhow::Result<()> {
    let state = &context.state;
    let query = &Query::default();
    let abilities = every_page(|page| ability::list(state, query, page)).await?;
    let groups = every_page(|page| group::list(state, page)).await?;
    let all = Everything { abilities, groups };
    if json {
        return out::json(&all);
    }
    let rows: Vec<Vec<String>> = all
        .abilities
        .iter()
        .map(|row| {
            let how = match row.fixed_quota {
                Some(fixed) if fixed.0 != 0 => format!("{} a call", out::quota(fixed.0)),
                _ => format!("{} a token", row.ratio),
            };
            vec![row.model_name.clone(), how, row.completion_ratio.to_string()]
        })
        .collect();
    out::table(&["model", "price", "completion"], &rows);
    let rows: Vec<Vec<String>> =
        all.groups.iter().map(|row| vec![row.group_name.clone(), row.ratio.to_string()]).collect();
    out::line("");
    out::table(&["group", "factor"], &rows);
    Ok(())
}
