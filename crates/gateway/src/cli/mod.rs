//! The command line: one file a command.
//!
//! Exit status: 0 done; 1 it didn't work, or a check found something; 2 the command line or the
//! configuration can't be used.

mod audit;
mod backup;
mod channel;
pub(crate) mod check;
mod completion;
mod config;
mod demo;
mod doctor;
mod explain;
mod health;
pub(crate) mod http;
pub(crate) mod log_line;
mod logs;
mod migrate;
mod mock_upstream;
mod notice;
mod openapi;
mod out;
mod poll;
mod price;
mod protocol;
mod restore;
mod serve;
mod task;
mod token;
mod tools;
mod user;

use crate::config::{Config, Problems, Runtime as RuntimeSettings, Settings};
use clap::{Parser, Subcommand};
use oplog::{Levels, Lines};
use std::io::Write;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

/// Puts a price, a balance and a durable settlement in front of any HTTP API.
#[derive(Debug, Parser)]
#[command(name = "newapi", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (what happens without a command).
    Serve,
    Demo(demo::Args),
    Migrate(migrate::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Health(health::Args),
    Audit(audit::Args),
    Explain(explain::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    #[command(subcommand)]
    User(user::Command),
    #[command(subcommand)]
    Token(token::Command),
    #[command(subcommand)]
    Channel(channel::Command),
    #[command(subcommand)]
    Notice(notice::Command),
    #[command(subcommand)]
    Price(price::Command),
    #[command(subcommand)]
    Protocol(protocol::Command),
    #[command(subcommand)]
    Task(task::Command),
    Poll(poll::Args),
    MockUpstream(mock_upstream::Args),
    Config(config::Args),
    #[command(subcommand)]
    Logs(logs::Command),
    Openapi(openapi::Args),
    Completion(completion::Args),
    Man(completion::ManArgs),
}

/// What a server is started with.
pub(crate) struct Loaded {
    /// Its configuration.
    pub config: Config,
    /// What changes of settings begin with.
    pub followed: Followed,
    /// Its log, to be reopened when asked, and its dropped lines to be counted.
    pub lines: Option<Lines>,
}

/// The settings that a process was started with, and how they are read again.
pub(crate) struct Followed {
    /// As they were read.
    pub settings: Settings,
    /// Reads them again, with what was set while running on top.
    pub read: ReadSettings,
    /// The log's levels.
    pub levels: Levels,
}

/// Reads settings, with what was set while running on top.
pub(crate) type ReadSettings =
    Box<dyn Fn(&RuntimeSettings) -> Result<Settings, Problems> + Send + Sync>;

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    match run(Cli::parse().command.unwrap_or(Command::Serve)) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "newapi: {error:#}");
            if error.is::<Problems>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => serve::run(),
        Command::Config(args) => config::run(&args),
        Command::Logs(command) => logs::run(&command),
        Command::Openapi(args) => openapi::run(&args),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => completion::man(&args),
        Command::Demo(args) => block_on(serving_runtime(0)?, demo::run(args)),
        Command::MockUpstream(args) => block_on(serving_runtime(0)?, mock_upstream::run(args)),
        Command::Migrate(args) => block_on(small_runtime()?, migrate::run(args)),
        Command::Check(args) => block_on(small_runtime()?, check::run(args)),
        Command::Doctor(args) => block_on(small_runtime()?, doctor::run(args)),
        Command::Health(args) => block_on(small_runtime()?, health::run(args)),
        Command::Audit(args) => block_on(small_runtime()?, audit::run(args)),
        Command::Explain(args) => block_on(small_runtime()?, explain::run(args)),
        Command::Backup(args) => block_on(small_runtime()?, backup::run(args)),
        Command::Restore(args) => block_on(small_runtime()?, restore::run(args)),
        Command::User(command) => block_on(small_runtime()?, user::run(command)),
        Command::Token(command) => block_on(small_runtime()?, token::run(command)),
        Command::Channel(command) => block_on(small_runtime()?, channel::run(command)),
        Command::Protocol(command) => block_on(small_runtime()?, protocol::run(command)),
        Command::Poll(args) => block_on(small_runtime()?, poll::run(args)),
        Command::Notice(command) => block_on(small_runtime()?, notice::run(command)),
        Command::Price(command) => block_on(small_runtime()?, price::run(command)),
        Command::Task(command) => block_on(small_runtime()?, task::run(command)),
    }
}

fn block_on(
    runtime: Runtime,
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let ended = runtime.block_on(Box::pin(command));
    // Nothing that matters is left to do; a thread that hangs in a system call must not keep
    // the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
}

/// For a process that serves.
fn serving_runtime(worker_threads: usize) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if worker_threads > 0 {
        builder.worker_threads(worker_threads);
    }
    // Blocking work is a password now and then, or a name to resolve.
    builder.max_blocking_threads(64).thread_name("newapi").enable_all().build()
}

/// For a command that comes and goes.
fn small_runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
