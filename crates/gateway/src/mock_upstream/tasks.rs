//! The mock upstream's tasks: accepted, polled, done after a few polls.

use super::Script;
use domain::task_base;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Tasks that are remembered; the oldest go first.
const REMEMBERED: usize = 10_000;

/// All tasks of one trial upstream.
#[derive(Debug, Default)]
pub(super) struct TrialTasks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    taken: u64,
    by_id: HashMap<String, Task>,
    /// An `Idempotency-Key` names a submission for good.
    by_key: HashMap<String, String>,
    order: VecDeque<(String, Option<String>)>,
}

#[derive(Debug)]
struct Task {
    script: Script,
    asked: u64,
}

/// What a request is, seen from its path.
pub(super) enum Part {
    Submission,
    Question,
    Neither,
}

impl Part {
    pub(super) fn of(path: &str) -> Self {
        if path.ends_with("/task/list-by-condition") {
            Self::Question
        } else if task_base(path) != path {
            Self::Submission
        } else {
            Self::Neither
        }
    }
}

impl TrialTasks {
    /// Takes a task, or names the one that this key has submitted before.
    pub(super) fn submit(&self, script: Script, key: Option<&str>) -> Value {
        let usage = script.usage.then(|| script.usage(script.estimate_tokens));
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = key.and_then(|key| state.by_key.get(key).cloned());
        let id = known.unwrap_or_else(|| state.take(script, key));
        let mut reply = json!({
            "code": 0,
            "message": "ok",
            "data": {"task_id": id, "status": "submitted", "progress": "0%"},
        });
        if let Some(usage) = usage {
            reply["usage"] = usage;
        }
        reply
    }

    /// Returns the tasks of `{"task_ids":[…]}`. Each poll advances a task by one step.
    pub(super) fn list(&self, asked: &Value) -> Value {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = asked.get("task_ids").and_then(Value::as_array);
        let ids = ids.into_iter().flatten().filter_map(Value::as_str);
        let tasks: Vec<Value> =
            ids.filter_map(|id| state.by_id.get_mut(id).map(|task| task.told(id))).collect();
        json!({"code": 0, "message": "ok", "data": tasks})
    }
}

impl State {
    fn take(&mut self, script: Script, key: Option<&str>) -> String {
        self.taken += 1;
        let id = format!("trial-{}", self.taken);
        let key = key.map(str::to_owned);
        if let Some(key) = &key {
            self.by_key.insert(key.clone(), id.clone());
        }
        self.by_id.insert(id.clone(), Task { script, asked: 0 });
        self.order.push_back((id.clone(), key));
        if self.order.len() > REMEMBERED
            && let Some((old, key)) = self.order.pop_front()
        {
            self.by_id.remove(&old);
            key.and_then(|key| self.by_key.remove(&key));
        }
        id
    }
}

impl Task {
    fn told(&mut self, id: &str) -> Value {
        self.asked += 1;
        let script = &self.script;
        if self.asked < script.polls {
            let percent = self.asked.saturating_mul(100) / script.polls;
            return json!({
                "task_id": id, "status": "processing", "progress": format!("{percent}%"),
            });
        }
        if script.fails {
            return json!({
                "task_id": id, "status": "failed", "progress": "100%",
                "error": "the script lets this task fail",
            });
        }
        let mut told = json!({
            "task_id": id, "status": "completed", "progress": "100%",
            "result": {"url": format!("https://upstream.example/{id}.png")},
        });
        if script.usage {
            told["usage"] = script.usage(script.completion_tokens);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(tasks: &TrialTasks, id: &str) -> String {
        let told = tasks.list(&json!({"task_ids": [id, "nobody's"]}));
        assert_eq!(told["data"].as_array().map(Vec::len), Some(1));
        told["data"][0]["status"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_task_is_done_after_a_few_questions() {
        let tasks = TrialTasks::default();
        let taken = tasks.submit(Script::from_query("polls=3"), Some("k"));
        assert_eq!(taken["data"]["task_id"], "trial-1");
        let again = tasks.submit(Script::from_query("polls=3"), Some("k"));
        assert_eq!(again["data"]["task_id"], "trial-1");
        let words: Vec<_> = (0..4).map(|_| status(&tasks, "trial-1")).collect();
        assert_eq!(words, ["processing", "processing", "completed", "completed"]);
        tasks.submit(Script::from_query("polls=1&outcome=failed"), None);
        assert_eq!(status(&tasks, "trial-2"), "failed");
    }

    #[test]
    fn paths() {
        assert!(matches!(Part::of("/image/submit"), Part::Submission));
        assert!(matches!(Part::of("/image/task/list-by-condition"), Part::Question));
        assert!(matches!(Part::of("/v1/chat/completions"), Part::Neither));
    }
}
