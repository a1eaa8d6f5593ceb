//! `newapi config`: every setting, its value, and where that comes from.

use super::out;
use crate::config::{Config, MEANINGLESS, SettingSource, Settings, from_process, markdown, shown};
use serde_json::{Map, json};
use std::process::ExitCode;

/// Prints every setting, its value and its source; secrets are masked.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// The page docs/configuration.md: what can be set, not what is.
    #[arg(long, conflicts_with_all = ["json", "set"])]
    markdown: bool,
    /// Only what somebody has set.
    #[arg(long)]
    set: bool,
}

/// Runs it.
///
/// # Errors
/// When a setting can't be used.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.markdown {
        out::line(markdown().trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let settings = from_process()?;
    if args.json {
        print_json(args, &settings)?;
    } else {
        print_table(args, &settings);
    }
    Config::from_settings(&settings)?;
    Ok(ExitCode::SUCCESS)
}

fn print_json(args: &Args, settings: &Settings) -> anyhow::Result<()> {
    let mut all = Map::new();
    for (setting, resolved) in settings.all() {
        if args.set && resolved.source == SettingSource::Default {
            continue;
        }
        let entry = json!({
            "value": shown(setting.kind, &resolved.text),
            "source": resolved.source.to_string(),
            "default": setting.default,
            "meaning": setting.meaning,
        });
        all.insert(setting.name.to_owned(), entry);
    }
    out::json(&all)
}

fn print_table(args: &Args, settings: &Settings) {
    let rows: Vec<Vec<String>> = settings
        .all()
        .filter(|(_, resolved)| !args.set || resolved.source != SettingSource::Default)
        .map(|(setting, resolved)| {
            let names: Vec<&str> = setting.names().collect();
            let value = shown(setting.kind, &resolved.text);
            let value = if value.is_empty() { "-".to_owned() } else { value };
            let source = resolved.source.to_string();
            vec![names.join(" | "), value, source, setting.meaning.to_owned()]
        })
        .collect();
    out::table(&["name", "value", "source", "meaning"], &rows);
    for (name, why) in MEANINGLESS {
        out::line(format_args!("\n{name} has no effect: {why}."));
    }
}
