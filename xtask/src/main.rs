//! The project's own chores: `cargo xtask test`, `cargo xtask pg -- COMMAND`, `cargo xtask tidy`.
// A command-line tool of ours: what it finds goes to the terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cluster;
mod install;
mod migration;
mod steps;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Chores of the newapi workspace
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check and test everything, on SQLite and on a private PostgreSQL cluster
    Test {
        /// Leave out what takes long: deploy files, the handbook, fuzz targets and cargo-deny
        #[arg(long)]
        fast: bool,
        /// Install cargo-deny into target/tools when it is not here (two minutes or three)
        #[arg(long, conflicts_with = "fast")]
        install_deny: bool,
        /// Run only the tests whose name contains this (and nothing but tests)
        #[arg(long, value_name = "NAME")]
        filter: Option<String>,
        /// Run only the tests of this crate (and nothing but tests)
        #[arg(long = "crate", value_name = "NAME")]
        package: Option<String>,
    },
    /// Make an empty step of the schema for each engine, and say where to name it
    Migration {
        /// What it is about, in snake_case
        name: String,
    },
    /// Run a command with a private PostgreSQL cluster up (TEST_PG_DSN, PGHOST, PGPORT, PGUSER)
    Pg {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Check dependency edges, sizes, and who may touch money, time, files and the environment
    Tidy,
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<ExitCode> {
    let root = workspace_root()?;
    match chore {
        Chore::Test { fast, install_deny, filter, package } => {
            let (filter, package) = (filter.as_deref(), package.as_deref());
            steps::test(&root, steps::Flags { fast, install_deny, filter, package })
        }
        Chore::Migration { name } => migration::create(&root, &name),
        Chore::Pg { command } => with_cluster(&command),
        Chore::Tidy => tidy::run(&root),
    }
}

fn with_cluster(command: &[String]) -> Result<ExitCode> {
    let cluster = cluster::Cluster::start(cluster::Storage::Disk)?;
    if let Err(error) = install::servers().and_then(|()| install::browser()) {
        println!("note: {error:#}");
    }
    let (program, arguments) = command.split_first().context("no command given")?;
    let mut child = Command::new(program);
    child.args(arguments).envs(cluster.env());
    leave_package(&mut child);
    let status = child.status().with_context(|| format!("cannot run {program}"))?;
    // A signal has no code; a shell would say 128 and its number.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// Hides from a command that this runs as a package of cargo's: build scripts watch these
/// variables, and a cargo that inherits ours would build again what one outside has built.
fn leave_package(command: &mut Command) {
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
}

/// The directory of the root Cargo.toml: where this was built, or else where it is run.
fn workspace_root() -> Result<PathBuf> {
    if let Some(built_at) = std::env::var_os("CARGO_MANIFEST_DIR")
        && let Some(root) = Path::new(&built_at).parent()
    {
        return Ok(root.to_path_buf());
    }
    let output = Command::new("cargo")
        .args(["locate-project", "--workspace", "--message-format", "plain"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let manifest = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    Ok(manifest.parent().context("no workspace here")?.to_path_buf())
}
