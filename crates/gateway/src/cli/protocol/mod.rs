//! `newapi protocol`: how upstreams are spoken to.

mod exchange;

use super::out;
use super::tools::{CommandContext, done};
use admin::ops::protocol::{self as operations, ProtocolView, Trial, TrialInput};
use anyhow::{Context, anyhow};
use clap::Subcommand;
use exchange::{SavedReply, SavedRequest};
use protocol::{BUILTIN, Library, Protocol};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Protocols: how upstreams are spoken to, and how their replies are read.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Stored(StoredCommand),
    /// Print the document of a protocol, to be read or copied.
    Show {
        /// Its name.
        name: String,
    },
    /// Say all that is wrong with a document; exits 1 if anything is.
    Check {
        /// The document.
        file: PathBuf,
    },
    /// Show what would be read of a request and its reply.
    Try(TryArgs),
}

/// What works on the database.
#[derive(Debug, Subcommand)]
pub(super) enum StoredCommand {
    /// Show all protocols: those that are built in, and the operator's own.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add a protocol, or put it in the place of an own one; running servers have it at once.
    Add {
        /// The document.
        file: PathBuf,
    },
    /// Take an own protocol away, which no channel names any more.
    Delete {
        /// Its name.
        name: String,
    },
}

/// The arguments of `newapi protocol try`.
#[derive(clap::Args, Debug)]
pub(super) struct TryArgs {
    /// A document, or the name of a built-in protocol.
    protocol: PathBuf,
    /// Method and path, like `POST /v1/messages`; not needed where the request's file begins with
    /// its request line.
    #[arg(long)]
    call: Option<String>,
    /// The request: its body, or all of it with request line and headers.
    #[arg(long)]
    request: Option<PathBuf>,
    /// The reply: its body, or all of it with status line and headers.
    #[arg(long)]
    reply: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When a file can't be read or used.
pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { file } => return check(&file),
        Command::Try(args) => return try_out(&args),
        Command::Show { name } => show(&name).await?,
        Command::Stored(command) => {
            CommandContext::with(async |context| act(context, command).await).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(context: &CommandContext, command: StoredCommand) -> anyhow::Result<()> {
    let (state, actor) = (&context.state, &context.actor);
    match command {
        StoredCommand::List { json } => list(&done(operations::list(state).await)?.items, json)?,
        StoredCommand::Add { file } => {
            let added = done(operations::put(state, actor, read_text(&file)?).await)?;
            out::line(format_args!("{} is there: {} routes", added.name, added.routes));
        }
        StoredCommand::Delete { name } => {
            done(operations::delete(state, actor, &name).await)?;
            out::line(format_args!("{name} is gone"));
        }
    }
    Ok(())
}

fn list(protocols: &[ProtocolView], json: bool) -> anyhow::Result<()> {
    let columns = ["name", "title", "标题", "routes", "tasks", "channels"];
    out::list(protocols, json, &columns, |it| {
        let name = match &it.problem {
            Some(_) => format!("{} (unusable)", it.name),
            None => it.name.clone(),
        };
        let (routes, tasks) = (it.routes.to_string(), it.tasks.to_string());
        let channels = it.channels.len().to_string();
        vec![name, it.title_en.clone(), it.title_zh.clone(), routes, tasks, channels]
    })
}

/// A built-in document needs no database.
async fn show(name: &str) -> anyhow::Result<()> {
    let document = match BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
        Some((_, text)) => (*text).to_owned(),
        None => {
            CommandContext::with(async |context| {
                let found = done(operations::get(&context.state, name).await)?;
                Ok(found.document.unwrap_or_default())
            })
            .await?
        }
    };
    out::line(document.trim_end());
    Ok(())
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let text = read_text(file)?;
    let mut library = Library::builtin()?.clone();
    match library.add(&text) {
        Ok(protocol) => {
            let (name, routes) = (&protocol.name, protocol.routes.len());
            out::line(format_args!("{name} is in order: {routes} routes"));
            if BUILTIN.iter().any(|(builtin, _)| *builtin == &**name) {
                out::line(format_args!("{name} is built in: to be added, it needs another name"));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            for problem in &problems.0 {
                out::line(format_args!("{}: {problem}", file.display()));
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn try_out(args: &TryArgs) -> anyhow::Result<ExitCode> {
    let protocol = protocol_of(&args.protocol)?;
    let request = match &args.request {
        Some(file) => SavedRequest::parse(read(file)?)?,
        None => SavedRequest::default(),
    };
    let call = args.call.as_deref().or(request.call.as_deref());
    let call = call.context("say which call it is: --call \"POST /v1/…\"")?.to_owned();
    let reply = args.reply.as_deref().map(|file| SavedReply::parse(read(file)?)).transpose()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let input = TrialInput {
        call,
        request: text(request.body),
        request_headers: request.headers,
        status: reply.as_ref().map_or(200, |reply| reply.status),
        content_type: reply.as_ref().and_then(|reply| reply.content_type.clone()),
        headers: reply.as_ref().map(|reply| reply.headers.clone()).unwrap_or_default(),
        reply: reply.map(|reply| text(reply.body)),
        ..TrialInput::default()
    };
    print(&done(Trial::of(&protocol, &input))?, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// A document's protocol, or a built-in one by its name.
fn protocol_of(given: &Path) -> anyhow::Result<Arc<Protocol>> {
    let library = Library::builtin()?;
    if let Some(known) = given.to_str().and_then(|name| library.get(name)) {
        return Ok(Arc::clone(known));
    }
    let added = library.clone().add(&read_text(given)?);
    added.map_err(|problems| anyhow!("{} can't be used:\n{problems}", given.display()))
}

/// One line a member, without those that say nothing; or all as JSON.
fn print(trial: &Trial, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return out::json(trial);
    }
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some("yes".to_owned()),
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        // A message, in both languages.
        Value::Object(members) if members.contains_key("en") => {
            members["en"].as_str().map(str::to_owned)
        }
        Value::Object(members) => {
            let each = members.iter().map(|(name, value)| match value["en"].as_str() {
                Some(message) => format!("{name}: {message}"),
                None => format!("{name} {value}"),
            });
            (!members.is_empty()).then(|| each.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let each = items.iter().map(|it| it.as_str().unwrap_or_default());
            (!items.is_empty()).then(|| each.collect::<Vec<_>>().join(", "))
        }
        Value::Number(number) => Some(number.to_string()),
    };
    let report = serde_json::to_value(trial)?;
    for (part, members) in ["call", "request", "reply", "task"].map(|part| (part, &report[part])) {
        let Some(members) = members.as_object() else { continue };
        out::line(part);
        for (name, value) in members {
            if let Some(said) = says(value) {
                out::line(format_args!("  {:<15} {said}", name.replace('_', " ")));
            }
        }
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| file.display().to_string())
}

fn read_text(file: &Path) -> anyhow::Result<String> {
    String::from_utf8(read(file)?).with_context(|| file.display().to_string())
}
