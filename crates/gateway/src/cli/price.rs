//! `newapi price`: what models cost.

use super::out;
use super::tools::{CommandContext, Given, done, every_page};
use admin::Fields;
use admin::ops::ability::{self, AbilityInput};
use admin::ops::group::{self, GroupInput};
use admin::ops::price_changes::{self, ImportPreview, RowOutcome};
use admin::ops::price_table::{self, PriceTable};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What models cost, and by how much groups multiply it.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show all prices and groups.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set the price of a model, in place of the one it has.
    Set(Box<PriceArgs>),
    /// Write all prices as a table (CSV), for a spreadsheet.
    Export {
        /// Where to; without it, to standard output.
        file: Option<PathBuf>,
    },
    /// Set the prices of a table as `export` writes it: all of them, or none. Models that are not
    /// in it keep theirs.
    Import {
        /// The table.
        file: PathBuf,
        /// Only tell what would change, line by line.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take the price of a model away: it is free then, or refused (CUSTOM_PASS_UNPRICED).
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

/// A price: what is left out gets its default.
#[derive(Debug, Args)]
pub(super) struct PriceArgs {
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
    /// What is held before a call priced by use.
    #[arg(long)]
    min_hold: Option<i64>,
    /// The most that a call priced by use may charge, before group and user.
    #[arg(long)]
    max_charge: Option<i64>,
    /// Worth of further tokens, in prompt tokens: {"cache_write": 1.25, "audio_out": 16}.
    #[arg(long, value_name = "JSON")]
    meters: Option<String>,
    /// Quota a counted unit: {"images": 20000, "seconds": 600}.
    #[arg(long, value_name = "JSON")]
    units: Option<String>,
    /// Factors by count or by request: [{"above": {"input": 200000}, "input": 2}].
    #[arg(long, value_name = "JSON")]
    tiers: Option<String>,
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
        Command::List { json } => return list(context, json).await,
        Command::Set(price) => {
            let model = price.model.clone();
            let input = done(AbilityInput::read(price.fields()?))?;
            done(ability::put(state, actor, input).await)?;
            out::line(format_args!("{model} is priced"));
        }
        Command::Export { file } => {
            let table = done(price_table::export(state, actor).await)?;
            match file {
                Some(file) => std::fs::write(&file, table).with_context(|| shown(&file))?,
                None => std::io::stdout().lock().write_all(&table)?,
            }
        }
        Command::Import { file, dry_run } => {
            let table = std::fs::read(&file).with_context(|| shown(&file))?;
            if dry_run {
                return show_changes(&done(price_changes::preview(state, actor, &table).await)?);
            }
            let saved = done(done(PriceTable::parse(&table))?.save(state, actor).await)?;
            out::line(format_args!("{saved} models are priced"));
        }
        Command::Delete { model } => {
            done(ability::delete(state, actor, &model).await)?;
            out::line(format_args!(
                "{model} has no price any more: free, or refused where CUSTOM_PASS_UNPRICED=reject"
            ));
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

impl PriceArgs {
    /// As the operation reads it.
    fn fields(self) -> anyhow::Result<Fields> {
        Given::default()
            .with("model_name", Some(self.model))
            .with("ratio", self.ratio)
            .with("fixed_quota", self.fixed_quota)
            .with("completion_ratio", self.completion_ratio)
            .with("cache_ratio", self.cache_ratio)
            .with("image_ratio", self.image_ratio)
            .with("audio_ratio", self.audio_ratio)
            .with("min_hold", self.min_hold)
            .with("max_charge", self.max_charge)
            .with("meters", self.meters)
            .with("units", self.units)
            .with("tiers", self.tiers)
            .fields()
    }
}

/// What a table would change, a line for each line of it that is not as it is set.
fn show_changes(preview: &ImportPreview) -> anyhow::Result<()> {
    for row in preview.rows.iter().filter(|row| row.outcome != RowOutcome::Unchanged) {
        let changes =
            row.changes.iter().map(|it| format!("{} {:?} -> {:?}", it.field, it.old, it.new));
        let said = match &row.problem {
            Some(problem) => format!("{}: {}", problem.field, problem.en),
            None => changes.collect::<Vec<_>>().join(", "),
        };
        let what = match row.outcome {
            RowOutcome::New => "new",
            RowOutcome::Changed => "changed",
            RowOutcome::Unchanged => "unchanged",
            RowOutcome::Refused => "refused",
        };
        out::line(format_args!("line {} {} {what}: {said}", row.line, row.model_name));
    }
    let ImportPreview { new, changed, unchanged, refused, .. } = preview;
    out::line(format_args!(
        "{new} new, {changed} changed, {unchanged} unchanged, {refused} refused; nothing was saved"
    ));
    Ok(())
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

#[derive(Serialize)]
struct Everything {
    abilities: Vec<ability::AbilityView>,
    groups: Vec<group::GroupView>,
}

async fn list(context: &CommandContext, json: bool) -> anyhow::Result<()> {
    let state = &context.state;
    let abilities = ability::all(state).await?.into_values().collect();
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
                _ if row.ratio.get() == "null" => "by units".to_owned(),
                _ => format!("{} a token", row.ratio),
            };
            let more = [("meters", &row.meters), ("units", &row.units), ("tiers", &row.tiers)];
            let more = more.into_iter().filter(|(_, json)| !matches!(json.get(), "{}" | "[]"));
            let more: Vec<String> = more.map(|(name, json)| format!("{name} {json}")).collect();
            vec![row.model_name.clone(), how, row.completion_ratio.to_string(), more.join("; ")]
        })
        .collect();
    out::table(&["model", "price", "completion", "more"], &rows);
    let rows: Vec<Vec<String>> =
        all.groups.iter().map(|row| vec![row.group_name.clone(), row.ratio.to_string()]).collect();
    out::line("");
    out::table(&["group", "factor"], &rows);
    Ok(())
}
