//! `newapi protocol`: how upstreams are spoken to.

mod exchange;

use super::out;
use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use exchange::{SavedReply, SavedRequest};
use protocol::{
    BUILTIN, Library, PriceWord, Protocol, ReplyHead, ReplyReader, ReplyReading, RouteMatch,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Protocols: how upstreams are spoken to, and how their replies are read.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the built-in protocols.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the document of a built-in protocol, to be read or copied.
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

/// The arguments of `newapi protocol try`.
#[derive(clap::Args, Debug)]
pub struct TryArgs {
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
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { json } => list(*json),
        Command::Show { name } => show(name),
        Command::Check { file } => check(file),
        Command::Try(args) => try_out(args),
    }
}

fn list(json: bool) -> anyhow::Result<ExitCode> {
    let protocols: Vec<Value> = Library::builtin()?.iter().map(|it| summary(it)).collect();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    out::list(&protocols, json, &["name", "title", "标题", "routes", "tasks"], |it| {
        let titles = [&it["title"]["en"], &it["title"]["zh"]];
        let columns = [&it["name"], titles[0], titles[1], &it["routes"], &it["tasks"]];
        columns.into_iter().map(text).collect()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn summary(protocol: &Protocol) -> Value {
    json!({
        "name": &*protocol.name,
        "title": {"zh": protocol.title.zh, "en": protocol.title.en},
        "routes": protocol.routes.len(),
        "tasks": protocol.task.is_some(),
        "sources": protocol.sources,
    })
}

fn show(name: &str) -> anyhow::Result<ExitCode> {
    let Some((_, text)) = BUILTIN.iter().find(|(builtin, _)| *builtin == name) else {
        bail!("there is no protocol {name:?}; `newapi protocol list` names all");
    };
    out::line(text.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let text = read_text(file)?;
    let mut library = Library::builtin()?.clone();
    match library.add(&text) {
        Ok(protocol) => {
            let (name, routes) = (&protocol.name, protocol.routes.len());
            out::line(format_args!("{name} is in order: {routes} routes"));
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
    let call = call.context("say which call it is: --call \"POST /v1/…\"")?;
    let (method, target) = call.split_once(' ').context("--call is a method and a path")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let found = protocol.route(method, path);
    let route =
        found.ok_or_else(|| anyhow!("{} has no route for {method} {path}", protocol.name))?;
    let mut report =
        vec![("call", shown_call(&route)), ("request", shown_request(&route, query, &request))];
    if let Some(file) = &args.reply {
        let reply = SavedReply::parse(read(file)?)?;
        let head = ReplyHead { status: reply.status, content_type: reply.content_type.as_deref() };
        let mut reader = ReplyReader::new(route.route, head);
        reader.push(&reply.body);
        report.push(("reply", shown_reading(&reader.finish())));
        if let Some(tasks) = protocol.task.as_ref().filter(|_| route.route.task.is_some()) {
            report.push(("task", shown_task(&tasks.read_one(&reply.body))));
        }
    }
    print(&report, args.json)?;
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

fn shown_call(found: &RouteMatch<'_>) -> Value {
    let route = found.route;
    let patterns: Vec<String> = route.patterns.iter().map(ToString::to_string).collect();
    json!({
        "protocol": &*route.protocol,
        "route": patterns.join(", "),
        "price": match route.price {
            PriceWord::Model => "the model's",
            PriceWord::Free => "free",
        },
    })
}

fn shown_request(found: &RouteMatch<'_>, query: &str, request: &SavedRequest) -> Value {
    let read = found.route.read_request(&found.captures, query, &request.body);
    json!({
        "model": read.model,
        "ambiguous": read.ambiguous,
        "stream": read.stream,
        "input_tokens": read.input_tokens,
        "output_limit": read.output_limit,
        "replies": read.times,
        "units": counts(&read.units),
        "resources": read.resources,
    })
}

fn shown_reading(reading: &ReplyReading) -> Value {
    let fault = reading.fault.as_ref();
    json!({
        "shape": reading.shape.as_str(),
        "whole": reading.well_formed,
        "documents": reading.documents,
        "done": reading.done,
        "outcome": reading.outcome.as_str(),
        "next_channel": reading.refused || reading.retry,
        "account_broken": reading.account,
        "estimate": reading.estimate,
        "meters": counts(&reading.meters),
        "mismatch": reading.mismatch,
        "bad_count": fault.map(|fault| format!("{} {:?}", fault.meter, fault.text)),
        "text_tokens": reading.text_tokens,
        "message": reading.message,
        "resource": reading.resource,
    })
}

fn shown_task(task: &protocol::TaskReading) -> Value {
    json!({
        "id": task.id,
        "word": task.word,
        "status": task.status.as_str(),
        "progress": task.progress,
        "reason": task.reason,
        "results": task.results,
        "meters": counts(&task.meters),
    })
}

fn counts(meters: &protocol::Meters) -> BTreeMap<&'static str, i64> {
    meters.iter().map(|(meter, count)| (meter.as_str(), count)).collect()
}

/// One line a member, without those that say nothing; or all as JSON.
fn print(report: &[(&str, Value)], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return out::json(&report.iter().cloned().collect::<BTreeMap<_, _>>());
    }
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some("yes".to_owned()),
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Object(members) => {
            let each = members.iter().map(|(name, count)| format!("{name} {count}"));
            (!members.is_empty()).then(|| each.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let each = items.iter().map(|it| it.as_str().unwrap_or_default());
            (!items.is_empty()).then(|| each.collect::<Vec<_>>().join(", "))
        }
        Value::Number(number) => Some(number.to_string()),
    };
    for (part, members) in report {
        out::line(part);
        for (name, value) in members.as_object().into_iter().flatten() {
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
