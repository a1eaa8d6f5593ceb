//! The demo's tasks: work that outlives its call, one that succeeds and one that fails.

use super::steps::show;
use super::{Demo, out};
use crate::cli::http;
use ::http::Method;
use anyhow::Context;
use serde_json::json;

/// A task and its expected result.
struct Submitted {
    title: &'static str,
    query: &'static str,
    explained: &'static str,
    status: &'static str,
    charge: i64,
}

const HELD: i64 = 4_000;

const TASKS: [Submitted; 2] = [
    Submitted {
        title: "A task that succeeds",
        query: "",
        explained: "5000 × 0.8 = 4000 are held when it is submitted. The upstream is asked how it \
                    goes; when it says\n  that the work is done, what is held becomes the charge.",
        status: "completed",
        charge: HELD,
    },
    Submitted {
        title: "A task that fails",
        query: "?outcome=failed",
        explained: "The same hold. The upstream says that it has failed: everything goes back.",
        status: "failed",
        charge: 0,
    },
];

impl Demo {
    /// Submits the tasks one by one, and waits for their ends.
    pub(super) async fn run_tasks(&self, first: usize) -> anyhow::Result<()> {
        for (number, task) in (first..).zip(&TASKS) {
            self.run_task(number, task).await?;
        }
        Ok(())
    }

    async fn run_task(&self, number: usize, task: &Submitted) -> anyhow::Result<()> {
        let path = format!("/pass/image/submit{}", task.query);
        let body = json!({"prompt": "a lighthouse"});
        out::line(format_args!("\n{number}. {}", task.title));
        out::line(format_args!("  POST {path}  {body}"));
        out::line(format_args!("  {}", task.explained));
        let before = self.balance().await?;
        let taken = http::call(self.base, Method::POST, &path, &self.key, Some(&body)).await?;
        show(&taken);
        let held = before - self.balance().await?;
        let words = format!("held {}; balance {}", out::quota(held), out::quota(before - held));
        self.check(held == HELD, words);

        let address = taken.header("location").to_owned();
        let location = format!("{address}?wait=30");
        out::line(format_args!("  GET {location}"));
        let ended = http::call(self.base, Method::GET, &location, &self.key, None).await?;
        show(&ended);
        let ended = ended.json();
        let status = ended["data"]["status"].as_str().context("the task has no status")?;
        self.check(status == task.status, format_args!("status {status}"));
        let after = self.balance().await?;
        let charged = before - after;
        let (before, after) = (out::quota(before), out::quota(after));
        let words = format!("charged {}; balance {before} → {after}", out::quota(charged));
        self.check(charged == task.charge, words);
        Ok(())
    }
}
