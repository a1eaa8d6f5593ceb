//! `newapi doctor`: each fault of the operator's handbook is caused on purpose, found under its
//! name and reported with its remedy; then it is fixed by that remedy, and doctor finds
//! nothing. `docs/faults.md` has the list.

mod database;
mod service;
mod tasks;
mod upstreams;

use crate::world::World;
use serde_json::Value;
use std::fmt::{Display, Formatter, Result};
use testkit::eventually;

/// The list is true: it leaves out no problem of the handbook, and its tests are here.
#[test]
fn the_list_of_faults_is_whole() {
    let list = include_str!("../../../../../docs/faults.md");
    let handbook = include_str!("../../../../../docs/handbook/TROUBLESHOOTING.zh.md");
    for problem in handbook.lines().filter_map(|line| line.strip_prefix("#### ")) {
        assert!(list.contains(problem), "{problem}");
    }
    let tests = [
        include_str!("database.rs"),
        include_str!("../pooler.rs"),
        include_str!("service.rs"),
        include_str!("tasks.rs"),
        include_str!("upstreams.rs"),
    ]
    .concat();
    let rows = list.lines().filter(|line| line.starts_with("| "));
    for row in rows.skip(1) {
        let named = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in named.split(", ").map(|name| name.trim_matches('`')) {
            assert!(tests.contains(&format!("async fn {name}(")), "{name}: {row}");
        }
    }
}

/// The output of doctor.
struct Diagnosis {
    checks: Vec<Value>,
    /// Its exit status.
    well: bool,
}

impl Diagnosis {
    /// Asks it, without calls to upstreams.
    async fn of(world: &World) -> Self {
        Self::with(world, &["--offline"]).await
    }

    async fn with(world: &World, arguments: &[&str]) -> Self {
        let arguments: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
        let output = world.server.cli(&arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let checks = serde_json::from_str(&text);
        let checks = checks.unwrap_or_else(|error| panic!("{error}: {text} {output:?}"));
        Self { checks, well: output.status.success() }
    }

    /// The check of this name, if it is in this state.
    fn is(&self, name: &str, state: &str) -> Option<&Value> {
        self.checks.iter().find(|check| check["name"] == name && check["state"] == state)
    }

    /// Expects a fault, with a word of the finding and one of the remedy. Returns the remedy.
    #[track_caller]
    fn bad(&self, name: &str, found: &str, remedy: &str) -> String {
        assert!(!self.well, "{self}");
        self.told(name, "bad", found, remedy)
    }

    /// Like [`Diagnosis::bad`], of what is worth a look and breaks nothing.
    #[track_caller]
    fn odd(&self, name: &str, found: &str, remedy: &str) -> String {
        self.told(name, "odd", found, remedy)
    }

    #[track_caller]
    fn told(&self, name: &str, state: &str, found: &str, remedy: &str) -> String {
        let check = self.is(name, state).unwrap_or_else(|| panic!("{name} is not {state}: {self}"));
        let text = |member: &str| check[member].as_str().unwrap().to_owned();
        assert!(text("found").contains(found), "{found}: {check}");
        assert!(text("remedy").contains(remedy), "{remedy}: {check}");
        text("remedy")
    }

    #[track_caller]
    fn good(&self, name: &str) {
        assert!(self.is(name, "good").is_some(), "{name}: {self}");
    }

    #[track_caller]
    fn well(&self) {
        assert!(self.well, "{self}");
    }
}

impl Display for Diagnosis {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let wrong = self.checks.iter().filter(|check| check["state"] != "good");
        wrong.into_iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

/// Asks doctor until this check is in this state.
async fn until(world: &World, name: &str, state: &str, arguments: &[&str]) -> Diagnosis {
    let arguments: Vec<&str> = ["--offline"].iter().chain(arguments).copied().collect();
    eventually(&format!("doctor to find {name} {state}"), || async {
        let diagnosis = Diagnosis::with(world, &arguments).await;
        diagnosis.is(name, state).is_some().then_some(diagnosis)
    })
    .await
}

/// Runs the SQL of a remedy.
async fn apply(world: &World, remedy: &str) {
    let sql = remedy.rfind("SELECT ").map(|at| &remedy[at..]);
    world.db.query(sql.unwrap_or_else(|| panic!("no SQL: {remedy}"))).await;
}
