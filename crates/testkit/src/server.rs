//! The real binary as a child process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

pub use rustix::process::Signal;

use crate::api::Admin;
use crate::client::{Answer, Call, RawClient};
use crate::db::TestDb;
use crate::ports::free_port;
use crate::wait::{eventually, within};

/// Root's access token on every test server.
pub const ROOT_ACCESS_TOKEN: &str = "root-access-token-for-the-tests-0123456789";

/// Root's password on every test server.
pub const ROOT_PASSWORD: &str = "root-password-for-the-tests-42";

/// The key that seals channel keys, the same on all nodes.
pub const SECRET_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A server under construction.
#[derive(Debug)]
pub struct ServerBuilder {
    binary: PathBuf,
    env: BTreeMap<String, String>,
    data_dir: Option<TempDir>,
    port: u16,
    metrics_port: u16,
}

impl ServerBuilder {
    /// One setting, as an environment variable.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Removes a setting that the tests would give.
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(self) -> Server {
        let mut server = self.build();
        server.start_again().await;
        server
    }

    /// Starts it, and waits until it has exited by itself: for settings that must be refused.
    pub async fn start_refused(self) -> Output {
        let server = self.build();
        let output = server.cli(&["serve"]).await;
        assert!(!output.status.success(), "it started, and should not: {}", printed(&output));
        output
    }

    /// Does not start it: for the commands that need no running server.
    pub fn build(self) -> Server {
        Server {
            binary: self.binary,
            env: self.env,
            _data_dir: self.data_dir,
            port: self.port,
            metrics_port: self.metrics_port,
            child: None,
            lines: Arc::new(Lines { all: Mutex::default(), count: watch::Sender::new(0) }),
        }
    }
}

/// A server: a child process, killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    binary: PathBuf,
    env: BTreeMap<String, String>,
    _data_dir: Option<TempDir>,
    port: u16,
    metrics_port: u16,
    child: Option<Child>,
    lines: Arc<Lines>,
}

#[derive(Debug)]
struct Lines {
    all: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

impl Lines {
    fn all(&self) -> Vec<String> {
        self.all.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn push(&self, line: String) {
        let mut all = self.all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.push(line);
        self.count.send_replace(all.len());
    }
}

impl Server {
    /// Starts the binary (`env!("CARGO_BIN_EXE_newapi")`) over this database.
    ///
    /// Call it again with the same PostgreSQL database for a second node.
    pub async fn start(binary: impl AsRef<OsStr>, db: &TestDb) -> Self {
        Self::builder(binary, db).start().await
    }

    /// A server over this database, with settings still to be added.
    pub fn builder(binary: impl AsRef<OsStr>, db: &TestDb) -> ServerBuilder {
        let mut env = BTreeMap::new();
        // SQLite lives in the data directory; nodes over one PostgreSQL have one each.
        let (own_dir, data_dir) = match db.sql_dsn() {
            None => (None, db.dir().to_path_buf()),
            Some(dsn) => {
                env.insert("SQL_DSN".to_owned(), dsn.to_owned());
                let made = tempfile::Builder::new().prefix("newapi-node-").tempdir_in(db.dir());
                let own = made.expect("a data directory");
                let path = own.path().to_path_buf();
                (Some(own), path)
            }
        };
        let (port, metrics_port) = (free_port(), free_port());
        let settings = [
            ("PORT", port.to_string()),
            ("METRICS_PORT", metrics_port.to_string()),
            ("ENABLE_METRICS", "true".to_owned()),
            ("LISTEN_ADDR", "127.0.0.1".to_owned()),
            ("DATA_DIR", data_dir.display().to_string()),
            ("ROOT_ACCESS_TOKEN", ROOT_ACCESS_TOKEN.to_owned()),
            ("ROOT_PASSWORD", ROOT_PASSWORD.to_owned()),
            ("SECRET_KEY", SECRET_KEY.to_owned()),
            ("UPSTREAM_ALLOW_NETS", "127.0.0.0/8".to_owned()),
            ("RUST_BACKTRACE", "1".to_owned()),
        ];
        env.extend(settings.map(|(name, value)| (name.to_owned(), value)));
        let binary = PathBuf::from(binary.as_ref());
        ServerBuilder { binary, env, data_dir: own_dir, port, metrics_port }
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The address of its metrics.
    pub fn metrics_addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.metrics_port))
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Its `DATA_DIR`.
    pub fn data_dir(&self) -> &Path {
        Path::new(self.env.get("DATA_DIR").map_or("", String::as_str))
    }

    /// Its process id. Fails when it does not run.
    pub fn pid(&self) -> u32 {
        let child = self.child.as_ref().expect("the server runs");
        child.id().expect("the server has not ended")
    }

    /// Changes a setting, from the next start on.
    pub fn set_env(&mut self, name: &str, value: impl ToString) {
        self.env.insert(name.to_owned(), value.to_string());
    }

    /// The admin API, as root.
    pub fn admin(&self) -> Admin {
        Admin::new(self.addr(), ROOT_ACCESS_TOKEN)
    }

    /// A call under construction.
    pub fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.addr(), method, target)
    }

    /// A paid `POST` of JSON.
    pub async fn post(&self, target: &str, key: &str, body: &serde_json::Value) -> Answer {
        self.call("POST", target).key(key).json(body).send().await
    }

    /// A bare connection.
    pub async fn raw(&self) -> RawClient {
        RawClient::connect(self.addr()).await
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        Call::new(self.metrics_addr(), "GET", "/metrics").send().await.expect(200).text()
    }

    /// One sample of the metrics page by its full name with labels; 0 when it is missing.
    pub async fn metric(&self, sample: &str) -> i64 {
        let page = self.metrics().await;
        let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        let Some(value) = value else { return 0 };
        let whole = value.split(['.', ' ']).next().unwrap_or_default();
        whole.parse().unwrap_or_else(|_| panic!("not a number: {sample} {value}"))
    }

    /// What it has printed so far, both streams together, over all its starts.
    pub fn log_lines(&self) -> Vec<String> {
        self.lines.all()
    }

    /// Waits for a line that contains all of `words`, and returns it.
    pub async fn wait_for_log(&self, words: &[&str]) -> String {
        let mut count = self.lines.count.subscribe();
        let has_all = |line: &String| words.iter().all(|word| line.contains(word));
        within(&format!("a log line with {words:?}"), async {
            loop {
                count.borrow_and_update();
                if let Some(line) = self.lines.all().into_iter().find(has_all) {
                    return line;
                }
                count.changed().await.expect("the server itself is here");
            }
        })
        .await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let raw = i32::try_from(self.pid()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the server is there to be signalled");
    }

    /// Pauses it (`SIGSTOP`), and waits until none of its threads runs any more.
    pub async fn pause(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        eventually("every thread to stop", || async {
            let threads = std::fs::read_dir(&tasks).expect("the server's threads");
            let all_stopped = threads.flatten().all(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                // The state follows the name, which is in parentheses.
                stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
            });
            all_stopped.then_some(())
        })
        .await;
    }

    /// Kills it (`SIGKILL`), and waits for its end.
    pub async fn kill_9(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().await.expect("the server can be killed");
    }

    /// Stops it (`SIGTERM`), and waits for its end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit().await
    }

    /// Waits until it exits by itself.
    pub async fn wait_exit(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        within("the server to end", child.wait()).await.expect("its exit status")
    }

    /// Stops it gracefully, and starts it again on the same ports with the same data.
    pub async fn restart(&mut self) {
        let status = self.terminate().await;
        assert!(status.success(), "{status} at SIGTERM\n{}", self.log_lines().join("\n"));
        self.start_again().await;
    }

    /// Starts it after its end, and waits until it is ready.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let mut child = self
            .command(&["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));
        collect(child.stdout.take(), &self.lines);
        collect(child.stderr.take(), &self.lines);
        self.child = Some(child);
        self.wait_ready().await;
    }

    async fn wait_ready(&mut self) {
        let status = Call::new(self.addr(), "GET", "/api/status");
        let tried = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let child = self.child.as_mut().expect("it was started");
                if let Ok(Some(status)) = child.try_wait() {
                    // Its last lines may still be in the pipes.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    panic!("it ended with {status}\n{}", self.lines.all().join("\n"));
                }
                if status.clone().try_send().await.is_ok_and(|answer| answer.status == 200) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        if tried.await.is_err() {
            panic!("not ready after 60 s\n{}", self.lines.all().join("\n"));
        }
    }

    /// Runs a command of the binary with the server's settings, and waits for its end.
    pub async fn cli(&self, arguments: &[&str]) -> Output {
        let ran = self.command(arguments).stdin(Stdio::null()).output();
        let what = format!("newapi {}", arguments.join(" "));
        within(&what, ran).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Starts a command, for one that is to be signalled. Dropping it kills it.
    pub fn cli_started(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()))
    }

    /// Like [`Server::cli`]: fails the test when the command fails, else its standard output.
    pub async fn cli_ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", printed(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `newapi audit` over the same database: conservation of every quota.
    ///
    /// Every black-box test ends with this.
    pub async fn audit_clean(&self) {
        let output = self.cli(&["audit"]).await;
        if !output.status.success() {
            let log = self.log_lines().join("\n");
            panic!("the audit failed: {}\n--- log ---\n{log}", printed(&output));
        }
    }

    /// Waits until no hold is open (settlement may follow a reply), then audits.
    pub async fn settled_and_clean(&self, db: &TestDb) {
        let sql = "SELECT count(*) FROM holds";
        eventually("every hold to be closed", || async { (db.i64(sql).await == 0).then_some(()) })
            .await;
        self.audit_clean().await;
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().envs(&self.env).kill_on_drop(true);
        for kept in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command.current_dir(self.data_dir());
        command
    }
}

/// What a command printed, for a failure message.
fn printed(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    format!("{}\n{out}{err}", output.status)
}

fn collect(stream: Option<impl AsyncRead + Unpin + Send + 'static>, lines: &Arc<Lines>) {
    let Some(stream) = stream else { return };
    let sink = Arc::clone(lines);
    tokio::spawn(async move {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line).await, Ok(count) if count > 0) {
            sink.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
}
