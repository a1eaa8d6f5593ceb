//! The one test command: every check in order, stopping at the first that fails.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::cluster::{Cluster, Storage};
use crate::{install, leave_package, tidy};

/// How long each fuzz target runs.
const FUZZ_SECONDS: &str = "10";

/// What is installed when asked for.
const DENY: &str = "cargo-deny@0.20.2";

/// What to run of it all.
#[derive(Debug, Clone, Copy)]
pub struct Flags<'a> {
    /// Leave out what takes long.
    pub fast: bool,
    /// Install cargo-deny when it is not here.
    pub install_deny: bool,
    /// Run only the tests of this name.
    pub filter: Option<&'a str>,
    /// Run only the tests of this crate.
    pub package: Option<&'a str>,
}

impl Flags<'_> {
    /// Nothing but tests, and not all of them.
    const fn is_part(&self) -> bool {
        self.filter.is_some() || self.package.is_some()
    }
}

/// Runs everything (or, with `filter`, the tests of that name alone).
pub fn test(root: &Path, flags: Flags<'_>) -> Result<ExitCode> {
    let started = Instant::now();
    let mut report = Report::default();
    let failed = run_all(root, flags, &mut report).err();
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

/// Tests wait for half of their time: for leases, timers and pauses, each with servers of its own.
fn test_threads() -> usize {
    3 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
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

fn run_all(root: &Path, flags: Flags<'_>, report: &mut Report) -> Result<()> {
    if !flags.is_part() {
        report.step("tidy", || tidy::check(root))?;
        report.step("format", || cargo(root, &["fmt", "--all", "--check"], &[]))?;
        report.step("clippy", || {
            let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            cargo(root, &lint, &[])
        })?;
        report.step("rustdoc", || {
            let document = ["doc", "--workspace", "--no-deps", "--document-private-items"];
            cargo(root, &document, &[("RUSTDOCFLAGS", "-D warnings".to_owned())])
        })?;
    }
    let mut cluster = None;
    report.step("a private PostgreSQL cluster", || {
        let started = Cluster::start(Storage::Memory)?;
        println!("{}", started.dsn());
        cluster = Some(started);
        Ok(())
    })?;
    report.step("redis-server and pgbouncer", install::servers)?;
    report.step("libfaketime", install::fake_clock)?;
    report.step("chromium and its driver", install::browser)?;
    if !flags.is_part() {
        report.step("go and node", install::go_and_node)?;
    }
    let env = cluster.as_ref().map(Cluster::env).unwrap_or_default();
    report.step("tests", || {
        let mut env = env.clone();
        if std::env::var_os("RUST_TEST_THREADS").is_none() {
            env.push(("RUST_TEST_THREADS", test_threads().to_string()));
        }
        // One run names every failure.
        let mut arguments = vec!["test", "--no-fail-fast"];
        match flags.package {
            Some(package) => arguments.extend(["--package", package]),
            None => arguments.push("--workspace"),
        }
        arguments.extend(flags.filter);
        cargo(root, &arguments, &env)
    })?;
    if !flags.is_part() {
        client_tests(root, &env, report)?;
        deploy_files(root, flags, &env, report)?;
        handbook(root, flags, report)?;
        slow_checks(root, flags, report)?;
    }
    report.step("stop the cluster", || {
        drop(cluster.take());
        Ok(())
    })
}

/// Client libraries that people really use, against the real binary: a name, and who runs it.
const CLIENTS: &[(&str, &str)] = &[
    ("the openai Python client", "tests/openai/run.sh"),
    ("four vendors' Python clients", "tests/vendors/run.sh"),
    ("the standardwebhooks Python client", "tests/standardwebhooks/run.sh"),
    ("schemathesis on the admin API", "tests/schemathesis/run.sh"),
    ("readers of bodies in Go, Python and Node", "tests/readers/run.sh"),
];

fn client_tests(root: &Path, env: &[(&str, String)], report: &mut Report) -> Result<()> {
    for (name, path) in CLIENTS {
        let script = root.join(path);
        if !script.exists() {
            report.skip(name, &format!("{path} is not there"));
            continue;
        }
        report.step(name, || {
            run(Command::new(&script).current_dir(root).envs(env.iter().map(|(k, v)| (*k, v))))
        })?;
    }
    Ok(())
}

/// Unit, manifests, rules and scripts, each read by the tool that it is for.
fn deploy_files(
    root: &Path,
    flags: Flags<'_>,
    env: &[(&str, String)],
    report: &mut Report,
) -> Result<()> {
    let name = "deploy files";
    if flags.fast {
        report.skip(name, "--fast");
        return Ok(());
    }
    let env = env.iter().map(|(name, value)| (*name, value));
    report.step(name, || run(Command::new(root.join("deploy/check.sh")).envs(env)))
}

/// Every code block of the operator's handbook, against an installation of its own.
fn handbook(root: &Path, flags: Flags<'_>, report: &mut Report) -> Result<()> {
    let name = "the operator's handbook";
    if flags.fast {
        report.skip(name, "--fast");
        return Ok(());
    }
    report.step(name, || run(&mut Command::new(root.join("tests/handbook/run.sh"))))
}

fn slow_checks(root: &Path, flags: Flags<'_>, report: &mut Report) -> Result<()> {
    let fuzz = root.join("fuzz/run.sh");
    if flags.fast {
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
    deny_check(root, flags.install_deny, report)
}

/// Dependencies: licences, sources, bans and advisories.
fn deny_check(root: &Path, install: bool, report: &mut Report) -> Result<()> {
    let name = "cargo-deny";
    if install && find_deny(root).is_none() {
        println!("\n==> {name}: installing it into target/tools");
        let tools = tools(root);
        let mut command = Command::new("cargo");
        // Unoptimised: it runs for two seconds, and optimising it takes minutes.
        command.args(["install", "--quiet", "--locked", "--debug", "--root"]).arg(&tools);
        if let Err(error) = run(command.arg(DENY).current_dir(root)) {
            println!("note: {error:#}");
        }
    }
    match find_deny(root) {
        Some(program) => deny(root, &program, report),
        None => {
            let how = format!("not installed (cargo install --locked {DENY}, or --install-deny)");
            report.skip(name, &how);
            Ok(())
        }
    }
}

fn tools(root: &Path) -> PathBuf {
    root.join("target/tools")
}

fn find_deny(root: &Path) -> Option<PathBuf> {
    let places = [tools(root).join("bin/cargo-deny"), PathBuf::from("cargo-deny")];
    places.into_iter().find(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

fn deny(root: &Path, program: &Path, report: &mut Report) -> Result<()> {
    report.step("cargo-deny: bans, licenses, sources", || {
        let check = ["--log-level", "error", "check", "bans", "licenses", "sources"];
        run(Command::new(program).args(check).current_dir(root))
    })?;
    // The advisory database comes over the network, and a test run must do without one.
    let name = "cargo-deny: advisories";
    let mut fetch = Command::new("timeout");
    fetch.arg("60").arg(program).args(["fetch", "db"]).current_dir(root);
    if run(&mut fetch).is_err() {
        report.skip(name, "their database could not be fetched");
        return Ok(());
    }
    report.step(name, || {
        let check = ["--offline", "check", "advisories"];
        run(Command::new(program).args(check).current_dir(root))
    })
}

fn cargo(root: &Path, arguments: &[&str], env: &[(&str, String)]) -> Result<()> {
    let env = env.iter().map(|(name, value)| (*name, value));
    run(Command::new("cargo").args(arguments).current_dir(root).envs(env))
}

fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line_of(command));
    leave_package(command);
    let status = command.status().with_context(|| line_of(command))?;
    anyhow::ensure!(status.success(), "`{}` ended with {status}", line_of(command));
    Ok(())
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
