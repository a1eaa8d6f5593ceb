//! The one test command: every check in order, stopping at the first that fails.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;
use crate::tidy;

/// How long each fuzz target runs.
const FUZZ_SECONDS: &str = "10";

/// Runs everything (or, with `filter`, the tests of that name alone).
pub fn test(root: &Path, fast: bool, filter: Option<&str>) -> Result<ExitCode> {
    let started = Instant::now();
    let mut report = Report::default();
    let failed = run_all(root, fast, filter, &mut report).err();
    let seconds = started.elapsed().as_secs();
    println!();
    for line in &report.lines {
        println!("  {line}");
    }
    match failed {
        None => {
            println!("PASSED: {} steps in {seconds} s", report.lines.len());
            Ok(ExitCode::SUCCESS)
        }
        Some(error) => {
            println!("FAILED after {seconds} s: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

#[derive(Default)]
struct Report {
    lines: Vec<String>,
}

impl Report {
    /// Runs one step under its heading.
    fn step(&mut self, name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n==> {name}");
        let started = Instant::now();
        run().with_context(|| name.to_owned())?;
        self.lines.push(format!("ok       {name} ({} s)", started.elapsed().as_secs()));
        Ok(())
    }

    fn skip(&mut self, name: &str, why: &str) {
        println!("\n==> {name}: skipped, {why}");
        self.lines.push(format!("skipped  {name}: {why}"));
    }
}

fn run_all(root: &Path, fast: bool, filter: Option<&str>, report: &mut Report) -> Result<()> {
    if filter.is_none() {
        report.step("tidy", || tidy::check(root))?;
        report.step("format", || cargo(root, &["fmt", "--all", "--check"], &[]))?;
        report.step("clippy", || {
            let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            cargo(root, &lint, &[])
        })?;
    }
    let mut cluster = None;
    report.step("a private PostgreSQL cluster", || {
        let started = Cluster::start()?;
        println!("{}", started.dsn());
        cluster = Some(started);
        Ok(())
    })?;
    let env = cluster.as_ref().map(Cluster::env).unwrap_or_default();
    report.step("tests", || {
        let mut arguments = vec!["test", "--workspace"];
        arguments.extend(filter);
        cargo(root, &arguments, &env)
    })?;
    if filter.is_none() {
        client_test(root, &env, report)?;
        slow_checks(root, fast, report)?;
    }
    report.step("stop the cluster", || {
        drop(cluster.take());
        Ok(())
    })
}

/// A client library that people really use, against the real binary.
fn client_test(root: &Path, env: &[(&str, String)], report: &mut Report) -> Result<()> {
    let name = "the openai Python client";
    let script = root.join("tests/openai/run.sh");
    if !script.exists() {
        report.skip(name, "tests/openai/run.sh is not there");
        return Ok(());
    }
    report.step(name, || {
        run(Command::new(&script).current_dir(root).envs(env.iter().map(|(k, v)| (*k, v))))
    })
}

fn slow_checks(root: &Path, fast: bool, report: &mut Report) -> Result<()> {
    let fuzz = root.join("fuzz/run.sh");
    if fast {
        report.skip("fuzz targets", "--fast");
        report.skip("cargo-deny", "--fast");
        return Ok(());
    }
    if fuzz.exists() {
        report.step(&format!("fuzz targets, {FUZZ_SECONDS} s each"), || {
            run(Command::new(&fuzz).arg(FUZZ_SECONDS).current_dir(root))
        })?;
    } else {
        report.skip("fuzz targets", "fuzz/run.sh is not there");
    }
    if has_cargo_deny() {
        return report.step("cargo-deny", || deny(root));
    }
    // Building it takes longer than everything else here together.
    report.skip("cargo-deny", "not installed (cargo install --locked cargo-deny)");
    Ok(())
}

fn has_cargo_deny() -> bool {
    let version = Command::new("cargo").args(["deny", "--version"]).output();
    version.is_ok_and(|output| output.status.success())
}

fn deny(root: &Path) -> Result<()> {
    cargo(root, &["deny", "check", "bans", "licenses", "sources"], &[])?;
    // The advisory database comes over the network, and a test run must do without one.
    if cargo(root, &["deny", "fetch", "db"], &[]).is_err() {
        println!("note: the advisory database could not be fetched; advisories are not checked");
        return Ok(());
    }
    cargo(root, &["deny", "check", "advisories"], &[])
}

fn cargo(root: &Path, arguments: &[&str], env: &[(&str, String)]) -> Result<()> {
    let env = env.iter().map(|(name, value)| (*name, value));
    run(Command::new("cargo").args(arguments).current_dir(root).envs(env))
}

fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line_of(command));
    let status = command.status().with_context(|| line_of(command))?;
    anyhow::ensure!(status.success(), "`{}` ended with {status}", line_of(command));
    Ok(())
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
