//! Which crate may depend on which: the tiers of the architecture.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Finding;

/// Leftmost tier first. A crate depends only on tiers to its left, never sideways.
const TIERS: &[&[&str]] = &[
    &["domain", "roster", "spans"],
    &["protocol"],
    &["store", "upstream", "web", "throttle", "oplog", "traffic"],
    &["ledger", "egress", "httpd"],
    &["relay", "tasks", "admin", "profiles"],
    &["console"],
    &["gateway"],
];

/// Depend on none of ours.
const APART: &[&str] = &["testkit", "xtask"];

/// A crate of the workspace, with the names of what it depends on.
pub struct Crate {
    pub name: String,
    pub dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]` section.
pub struct Dependency {
    pub name: String,
    /// Whether it stands in `[dev-dependencies]`.
    pub dev: bool,
}

pub fn check(root: &Path) -> Result<Vec<Finding>> {
    Ok(problems(&read(root)?))
}

fn read(root: &Path) -> Result<Vec<Crate>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata: {complaint}");
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages in the metadata")?;
    Ok(packages.iter().map(read_crate).collect())
}

fn read_crate(package: &Value) -> Crate {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let dependencies = dependencies.map(|it| Dependency {
        name: it["name"].as_str().unwrap_or_default().to_owned(),
        dev: it["kind"] == "dev",
    });
    let name = package["name"].as_str().unwrap_or_default().to_owned();
    Crate { name, dependencies: dependencies.collect() }
}

fn problems(crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in crates {
        let place = format!("crate {}", one.name);
        let mut problem = |what: String| {
            findings.push(Finding { rule: "edges", place: place.clone(), what, fatal: true });
        };
        if tier(&one.name).is_none() && !APART.contains(&one.name.as_str()) {
            problem("has no tier: give it one in xtask/src/tidy/edges.rs".to_owned());
            continue;
        }
        for dependency in &one.dependencies {
            if let Some(what) = wrong(&one.name, dependency, crates) {
                problem(what);
            }
        }
    }
    findings
}

fn wrong(from: &str, to: &Dependency, crates: &[Crate]) -> Option<String> {
    let name = to.name.as_str();
    if !crates.iter().any(|one| one.name == name) {
        return None;
    }
    if name == "xtask" {
        return Some("depends on xtask, which is a tool".to_owned());
    }
    if APART.contains(&from) {
        return Some(format!("depends on {name}, but must depend on none of ours"));
    }
    if name == "testkit" {
        let what = "depends on testkit, which is for [dev-dependencies]";
        return (!to.dev).then(|| what.to_owned());
    }
    let (from_tier, to_tier) = (tier(from)?, tier(name)?);
    if to_tier == from_tier {
        return Some(format!("depends sideways on {name}, of its own tier"));
    }
    let what = format!("depends on {name}, of a tier to its right");
    (to_tier > from_tier).then_some(what)
}

fn tier(name: &str) -> Option<usize> {
    TIERS.iter().position(|names| names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(edges: &[(&str, &str, bool)]) -> Vec<String> {
        let names = ["domain", "store", "web", "ledger", "relay", "gateway", "testkit", "xtask"];
        let crates: Vec<Crate> = names
            .iter()
            .map(|name| Crate {
                name: (*name).to_owned(),
                dependencies: edges
                    .iter()
                    .filter(|(from, _, _)| from == name)
                    .map(|(_, to, dev)| Dependency { name: (*to).to_owned(), dev: *dev })
                    .collect(),
            })
            .collect();
        problems(&crates).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn edges_to_the_left_and_to_other_people_are_fine() {
        let edges =
            [("gateway", "domain", false), ("ledger", "store", false), ("web", "http", false)];
        assert_eq!(workspace(&edges), Vec::<String>::new());
        assert_eq!(workspace(&[("ledger", "testkit", true)]), Vec::<String>::new());
    }

    #[test]
    fn an_edge_to_the_right_is_found() {
        let found = workspace(&[("domain", "store", false)]);
        assert!(found[0].contains("to its right"), "{found:?}");
        // Not for tests either: the cycle would only hide.
        assert_eq!(workspace(&[("store", "ledger", true)]).len(), 1);
    }

    #[test]
    fn an_edge_sideways_is_found() {
        assert!(workspace(&[("store", "web", false)])[0].contains("sideways"));
    }

    #[test]
    fn the_tools_stand_apart() {
        assert_eq!(workspace(&[("testkit", "domain", false)]).len(), 1);
        assert_eq!(workspace(&[("xtask", "testkit", true)]).len(), 1);
        assert_eq!(workspace(&[("relay", "testkit", false)]).len(), 1);
        assert_eq!(workspace(&[("relay", "xtask", true)]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_tier_is_found() {
        let stranger = [Crate { name: "helpers".to_owned(), dependencies: vec![] }];
        assert!(problems(&stranger)[0].what.contains("no tier"));
    }
}
