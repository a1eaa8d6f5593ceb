//! `newapi notice`: what users read on the first page of the console.

use super::out;
use super::tools::{CommandContext, Given, done};
use admin::ops::notice::{self, NoticeInput};
use clap::Subcommand;
use std::process::ExitCode;

/// What users read on the first page of the console.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show it.
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set it, in place of the one before.
    Set {
        /// In Chinese; without it, the English text is shown.
        #[arg(long, required_unless_present = "en")]
        zh: Option<String>,
        /// In English; without it, the Chinese text is shown.
        #[arg(long)]
        en: Option<String>,
        /// When it ends, in seconds since 1970; without it, never.
        #[arg(long)]
        expires: Option<i64>,
    },
    /// Take it away.
    Clear,
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
        Command::Show { json } => {
            let told = done(notice::get(state, actor).await)?;
            if json {
                return out::json(&told);
            }
            for (lang, text) in [("zh", &told.zh), ("en", &told.en)] {
                if !text.is_empty() {
                    out::line(format_args!("{lang}: {text}"));
                }
            }
            let word = if told.shown { "users see it" } else { "users see no notice" };
            out::line(word);
        }
        Command::Set { zh, en, expires } => {
            let given = Given::default().with("zh", zh).with("en", en);
            let fields = given.with("expired_time", expires).fields()?;
            done(notice::put(state, actor, done(NoticeInput::read(fields))?).await)?;
            out::line("the notice is set");
        }
        Command::Clear => {
            done(notice::put(state, actor, NoticeInput::default()).await)?;
            out::line("the notice is gone");
        }
    }
    Ok(())
}
