//! A private Redis: on a free port, without persistence, gone with the test.

use crate::ports::free_port;
use crate::wait::{eventually, within};
use crate::watchdog::WATCHED;
use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// A `redis-server` of the test's own.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    watchdog: Child,
    pid: Pid,
}

impl Redis {
    /// Starts one, empty.
    pub async fn start() -> Self {
        let mut redis = Self { port: free_port(), running: None };
        redis.start_again().await;
        redis
    }

    /// The value of `REDIS_CONN_STRING`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it after its end, on the same port, empty.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "Redis runs already");
        let port = self.port.to_string();
        let watchdog = Command::new("sh")
            .args(WATCHED)
            .args(["redis-server", "--port", &port])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh can be run");
        let pid = eventually(
            "redis-server to answer (is it installed? `cargo xtask test` sees to it; Debian: \
             apt-get install redis-server)",
            || async { self.try_cli(&["INFO", "server"]).await.and_then(|info| process_id(&info)) },
        )
        .await;
        self.running = Some(Running { watchdog, pid });
    }

    /// Kills it (`SIGKILL`), with all its data, and waits for its end.
    pub async fn kill_9(&mut self) {
        let mut running = self.running.take().expect("Redis runs");
        drop(running.watchdog.stdin.take());
        within("Redis to end", running.watchdog.wait()).await.expect("its exit status");
        eventually("Redis to be gone", || async {
            self.try_cli(&["PING"]).await.is_none().then_some(())
        })
        .await;
    }

    /// Suspends it (SIGSTOP): connections stay open, and no request is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// What `redis-cli` prints for a command.
    pub async fn cli(&self, command: &[&str]) -> String {
        let said = self.try_cli(command).await;
        said.unwrap_or_else(|| panic!("redis-cli {command:?} failed"))
    }

    async fn try_cli(&self, command: &[&str]) -> Option<String> {
        let port = self.port.to_string();
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &port]).args(command).kill_on_drop(true);
        let output = cli.output().await.ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn signal(&self, signal: Signal) {
        let running = self.running.as_ref().expect("Redis runs");
        kill_process(running.pid, signal).expect("Redis can be signalled");
    }
}

fn process_id(info: &str) -> Option<Pid> {
    let text = info.lines().find_map(|line| line.strip_prefix("process_id:"))?;
    Pid::from_raw(text.trim().parse().ok()?)
}
