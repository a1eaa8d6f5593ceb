//! Checks that neither the compiler nor clippy makes: who may depend on whom, how large things
//! may grow, which names types may share, and who may touch money, time, files and the environment.
//!
//! A line may be let off with a comment on it or right above it: `tidy:allow(RULE) reason`.

mod edges;
mod markers;
mod names;
mod rules;
mod source;
mod sql;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use source::Source;

/// One thing that is not tidy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that was broken.
    pub rule: &'static str,
    /// `path` or `path:line`.
    pub place: String,
    /// What is wrong, and what to do instead.
    pub what: String,
    /// Whether the check fails.
    pub fatal: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.fatal { "error" } else { "warning" };
        write!(out, "{word}: {}: {} [{}]", self.place, self.what, self.rule)
    }
}

/// Prints the findings; fails when one of them is fatal.
pub fn run(root: &Path) -> Result<ExitCode> {
    match check(root) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Like [`run`], as a step of the test command.
pub fn check(root: &Path) -> Result<()> {
    let mut findings = edges::check(root)?;
    let paths = rust_files(root)?;
    let mut sources = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(root.join(path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        sources.push(Source::new(path, &text));
    }
    // A file of tests is known by the line that declares it, in another file.
    let test_modules: BTreeSet<PathBuf> =
        sources.iter().flat_map(Source::declared_test_modules).collect();
    for source in &mut sources {
        source.mark_test_file(&test_modules);
        findings.extend(rules::check(source));
    }
    findings.extend(names::check(&sources));
    findings.extend(markers::check(root)?);
    for finding in &findings {
        println!("{finding}");
    }
    let fatal = findings.iter().filter(|finding| finding.fatal).count();
    if fatal > 0 {
        bail!("{fatal} things are not tidy");
    }
    println!("{} files are tidy", sources.len());
    Ok(())
}

/// The Rust files of the workspace, and of the crates beside it, relative to the root.
fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for top in ["crates", "xtask", "fuzz", "bench"] {
        collect(root, Path::new(top), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let whole = root.join(dir);
    if !whole.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(&whole)? {
        let entry = entry?;
        let path = dir.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                collect(root, &path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}
