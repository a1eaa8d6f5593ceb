//! The calls of the demo, each with what it should cost.

use super::{Demo, out};
use crate::cli::http::{self, HttpReply};
use ::http::Method;
use serde_json::{Value, json};

/// One call and its expected result.
struct Step {
    title: &'static str,
    path: &'static str,
    body: Value,
    explained: &'static str,
    status: u16,
    charge: i64,
    cut: bool,
}

fn steps() -> Vec<Step> {
    let mut steps = by_use();
    steps.extend(at_a_fixed_price());
    steps.push(broken_off());
    steps
}

fn chat(stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "Hello?"}]);
    json!({"model": "chat", "messages": messages, "stream": stream})
}

fn by_use() -> Vec<Step> {
    vec![
        Step {
            title: "A JSON call, priced by use",
            path: "/v1/chat/completions",
            body: chat(false),
            explained: "The upstream is first asked for an estimate, and that much is held: \
                        (20 + 80×1.5) × 2 × 0.8 = 224.\n  The answer counts 20 prompt and 60 \
                        completion tokens: (20 + 60×1.5) × 2 × 0.8 = 176 are charged, 48 go back.",
            status: 200,
            charge: 176,
            cut: false,
        },
        Step {
            title: "A stream, priced by use",
            path: "/v1/chat/completions",
            body: chat(true),
            explained: "The same hold. Events pass as they come; the usage is in the last one, \
                        and the end of the stream\n  waits until the charge is on disk.",
            status: 200,
            charge: 176,
            cut: false,
        },
    ]
}

fn at_a_fixed_price() -> Vec<Step> {
    let step = |title, path, prompt, explained, status, charge| Step {
        title,
        path,
        body: json!({ "prompt": prompt }),
        explained,
        status,
        charge,
        cut: false,
    };
    vec![
        step(
            "Any API at a fixed price",
            "/pass/draw",
            "a cat",
            "25000 × 0.8 = 20000, held before anything is sent, charged when it worked.",
            200,
            20_000,
        ),
        step(
            "The upstream fails",
            "/pass/draw?status=500",
            "a dog",
            "Its failure reaches the client as it is, and the whole hold goes back.",
            500,
            0,
        ),
        step(
            "The upstream says no in its envelope",
            "/pass/draw?code=1001",
            "a dog",
            "Status 200, but a code that is not 0: not charged either.",
            200,
            0,
        ),
        step(
            "The same again, while the money lasts",
            "/pass/draw",
            "a horse",
            "Another 20000.",
            200,
            20_000,
        ),
        step(
            "Too little money",
            "/pass/draw",
            "a whale",
            "Refused with 402 before the upstream hears of it.",
            402,
            0,
        ),
    ]
}

fn broken_off() -> Step {
    Step {
        title: "A stream that breaks off",
        path: "/v1/chat/completions?cut=true&usage=off",
        body: chat(true),
        explained: "The upstream dies in the middle: the client's stream is cut too, never \
                    ended as if it were whole.\n  What had come is counted, about: 15.",
        status: 200,
        charge: 15,
        cut: true,
    }
}

impl Demo {
    /// Sends the calls one by one, and returns the next step number.
    pub(super) async fn run_steps(&self) -> anyhow::Result<usize> {
        let steps = steps();
        for (number, step) in (1..).zip(&steps) {
            self.run_step(number, step).await?;
        }
        Ok(steps.len() + 1)
    }

    async fn run_step(&self, number: usize, step: &Step) -> anyhow::Result<()> {
        out::line(format_args!("\n{number}. {}", step.title));
        out::line(format_args!("  POST {}  {}", step.path, step.body));
        out::line(format_args!("  {}", step.explained));
        let before = self.balance().await?;
        let reply =
            http::call(self.base, Method::POST, step.path, &self.key, Some(&step.body)).await?;
        let after = self.balance().await?;
        show(&reply);
        let charged = before - after;
        self.check(reply.status.as_u16() == step.status, format_args!("status {}", reply.status));
        if step.cut {
            self.check(reply.cut, "the reply breaks off");
        } else if reply.cut {
            self.check(false, "the reply must not break off");
        }
        let words = format!(
            "charged {}; balance {} → {}",
            out::quota(charged),
            out::quota(before),
            out::quota(after)
        );
        self.check(charged == step.charge, words);
        Ok(())
    }
}

/// The reply, shortened to what fits a screen.
pub(super) fn show(reply: &HttpReply) {
    for name in ["x-request-id", "x-newapi-quota", "location", "retry-after"] {
        let value = reply.header(name);
        if !value.is_empty() {
            out::line(format_args!("  < {name}: {value}"));
        }
    }
    let lines: Vec<&str> = reply.body.lines().filter(|line| !line.is_empty()).collect();
    let shown = 3;
    for line in lines.iter().take(shown) {
        out::line(format_args!("  < {}", shortened(line)));
    }
    if lines.len() > shown {
        let rest = lines.len() - shown - 1;
        out::line(format_args!("  < … {rest} more, in {} pieces altogether", reply.pieces));
        out::line(format_args!("  < {}", shortened(lines.last().unwrap_or(&""))));
    }
}

fn shortened(line: &str) -> String {
    const MOST: usize = 150;
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}
