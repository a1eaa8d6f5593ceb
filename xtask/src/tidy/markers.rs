//! No text of the repository has the marks that a merge leaves.

use super::Finding;
use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::Command;

/// The findings; none where this is no clone, but a copy without its history.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    if !root.join(".git").exists() {
        return Ok(Vec::new());
    }
    let marks = "^(<{7}|[|]{7}|>{7})( |$)";
    let found = Command::new("git")
        .args(["grep", "--line-number", "-I", "--extended-regexp", marks])
        .current_dir(root)
        .output()
        .context("git does not start")?;
    let lines = String::from_utf8_lossy(&found.stdout).into_owned();
    let finding = |line: &str| Finding {
        rule: "markers",
        place: line.splitn(3, ':').take(2).collect::<Vec<_>>().join(":"),
        what: "a merge left this: decide".to_owned(),
        fatal: true,
    };
    Ok(lines.lines().map(finding).collect())
}
