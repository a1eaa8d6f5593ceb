//! Tasks of the stub, for measuring the poller: it accepts them, reports them as running until they
//! are set to done, and records when each was polled.
//!
//! | request                                | answer                                             |
//! |----------------------------------------|----------------------------------------------------|
//! | POST …/submit                          | a task with the next number                        |
//! | POST …/task/list-by-condition          | each task: running, or done                        |
//! | GET /tasks/begin                       | clears the recorded polls, and begins to count     |
//! | GET /tasks/done?every=N                | from now on every N-th task is done                |
//! | GET /tasks/stats?count=N               | how tasks 1 to N were polled since `begin`         |
//!
//! `…/hang/…` never answers; `…/garbage/…` answers HTML.

use std::cell::{Cell, RefCell};
use std::time::Instant;

/// Ids are `t-1`, `t-2`, …: their numbers index what is remembered.
const PREFIX: &str = "t-";

/// When a task was polled.
#[derive(Clone, Copy, Default)]
struct AskedIds {
    /// Milliseconds since `begin`; 0: not since then.
    last_ms: u32,
    /// The longest pause between two polls, or from `begin` to the first.
    longest_ms: u32,
    times: u32,
}

pub struct Tasks {
    asked: RefCell<Vec<AskedIds>>,
    began: Cell<Instant>,
    submitted: Cell<u64>,
    questions: Cell<u64>,
    done_every: Cell<u64>,
}

impl Tasks {
    pub fn new() -> Self {
        Self {
            asked: RefCell::default(),
            began: Cell::new(Instant::now()),
            submitted: Cell::new(0),
            questions: Cell::new(0),
            done_every: Cell::new(0),
        }
    }

    pub fn submit(&self) -> String {
        self.submitted.set(self.submitted.get() + 1);
        let number = self.submitted.get();
        format!(r#"{{"code":0,"data":{{"task_id":"{PREFIX}{number}","status":"submitted"}}}}"#)
    }

    /// Returns the response to a poll, and records the time of the poll.
    pub fn list(&self, body: &[u8]) -> String {
        let now_ms = self.now_ms();
        self.questions.set(self.questions.get() + 1);
        let every = self.done_every.get();
        let mut asked = self.asked.borrow_mut();
        let mut answer = String::from(r#"{"code":0,"data":["#);
        let body = String::from_utf8_lossy(body);
        for id in body.split('"').filter(|id| id.starts_with(PREFIX)) {
            let Ok(number) = id[PREFIX.len()..].parse::<usize>() else { continue };
            if asked.len() <= number {
                asked.resize(number + 1, AskedIds::default());
            }
            asked[number].note(now_ms);
            if !answer.ends_with('[') {
                answer.push(',');
            }
            let done = every > 0 && number as u64 % every == 0;
            let rest = match done {
                true => r#""completed","progress":"100%","result":{"url":"https://x.example/y"}}"#,
                false => r#""processing","progress":"50%"}"#,
            };
            answer.push_str(&format!(r#"{{"task_id":"{id}","status":{rest}"#));
        }
        answer.push_str("]}");
        answer
    }

    pub fn begin(&self) -> String {
        self.asked.borrow_mut().fill(AskedIds::default());
        self.began.set(Instant::now());
        self.questions.set(0);
        "{}".to_owned()
    }

    pub fn done(&self, every: u64) -> String {
        self.done_every.set(every);
        "{}".to_owned()
    }

    /// For the tasks 1 to `count`: how many were polled, and the longest pauses.
    pub fn stats(&self, count: usize) -> String {
        let now_ms = self.now_ms();
        let asked = self.asked.borrow();
        let of = |number: usize| asked.get(number).copied().unwrap_or_default();
        let all = (1..=count).map(of);
        let reached = all.clone().filter(|one| one.times > 0).count();
        let times: u64 = all.clone().map(|one| u64::from(one.times)).sum();
        // A pause that has not ended yet counts up to now. Tasks that are done are not polled;
        // `reached` shows whether all others were.
        let mut pauses: Vec<u32> = all
            .filter(|one| one.times > 0)
            .map(|one| one.longest_ms.max(now_ms.saturating_sub(one.last_ms)))
            .collect();
        pauses.sort_unstable();
        let at = |part: usize| pauses.get(pauses.len().saturating_sub(1) * part / 100);
        let (p50, p99, most) = (at(50), at(99), pauses.last());
        let shown = |ms: Option<&u32>| ms.copied().unwrap_or(0);
        format!(
            r#"{{"questions":{},"reached":{reached},"times":{times},"since_ms":{now_ms},"pause_p50_ms":{},"pause_p99_ms":{},"pause_max_ms":{}}}"#, // tidy:allow(columns) one document
            self.questions.get(),
            shown(p50),
            shown(p99),
            shown(most)
        )
    }

    fn now_ms(&self) -> u32 {
        u32::try_from(self.began.get().elapsed().as_millis()).unwrap_or(u32::MAX)
    }
}

impl AskedIds {
    fn note(&mut self, now_ms: u32) {
        self.longest_ms = self.longest_ms.max(now_ms.saturating_sub(self.last_ms));
        self.last_ms = now_ms.max(1);
        self.times += 1;
    }
}
