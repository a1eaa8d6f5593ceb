//! A private PostgreSQL: a cluster for one test, which it may crash. It is removed after the test.

use crate::db::{PG_DSN_VAR, pg_query};
use crate::ports::free_port;
use crate::wait::within;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Stops the server and removes its directory when the test's process closes the pipe, or exits for
/// any reason.
const WATCHDOG: &str = r#"
read -r _
"$1" stop --pgdata="$2/data" --mode=immediate >/dev/null 2>&1
rm -rf "$2"
"#;

/// A server for one test, run from the programs of the cluster at `TEST_PG_DSN`.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    owner: Owner,
    dir: PathBuf,
    port: u16,
    watchdog: Child,
}

/// The user that its programs run as: they refuse to run as root.
#[derive(Debug, Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Creates a cluster, and starts it.
    pub async fn start() -> Self {
        let (programs, owner) = known_programs().await;
        let dir = owned_dir(owner);
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .args([programs.join("pg_ctl"), dir.clone()])
            .uid(owner.user)
            .gid(owner.group)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh can be run");
        let postgres = Self { programs, owner, dir, port: free_port(), watchdog };
        let how = "--username=postgres --auth=trust --encoding=UTF8 --locale=C";
        postgres.control(&["initdb", "--options", how]).await;
        postgres.start_again().await;
        postgres
    }

    /// The DSN of its maintenance database.
    pub fn dsn(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops it like a power loss: at once, with nothing flushed.
    pub async fn crash(&self) {
        self.control(&["stop", "--mode", "immediate"]).await;
    }

    /// Starts it after its end, on the same port; it first recovers what was committed.
    pub async fn start_again(&self) {
        let (port, place) = (self.port, self.dir.display());
        let how = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={place} \
             -c max_connections=200 -c shared_buffers=32MB -c timezone=UTC"
        );
        self.control(&["start", "--options", &how]).await;
    }

    /// Uses TLS from the next start on, with this certificate and its key.
    pub fn with_tls(&self, certificate: &str, key: &str) {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let file = self.dir.join("data").join(name);
            std::fs::write(&file, text).expect("our own cluster");
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&file, private).expect("our own file");
            chown(&file, Some(self.owner.user), Some(self.owner.group)).expect("its owner");
        }
        let settings = self.dir.join("data/postgresql.auto.conf");
        std::fs::write(settings, "ssl = on\n").expect("our own cluster");
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// `pg_ctl`, which returns once it is done.
    async fn control(&self, arguments: &[&str]) {
        let mut pg_ctl = Command::new(self.programs.join("pg_ctl"));
        pg_ctl.args(arguments).arg("--pgdata").arg(self.dir.join("data"));
        pg_ctl.arg("--log").arg(self.log_file()).args(["--silent", "--wait"]);
        // The server inherits open descriptors: with a pipe, the end of pg_ctl would go unnoticed.
        pg_ctl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        pg_ctl.uid(self.owner.user).gid(self.owner.group).current_dir(&self.dir);
        let what = format!("pg_ctl {}", arguments[0]);
        let status = within(&what, pg_ctl.status()).await.expect("pg_ctl can be run");
        assert!(status.success(), "{what}: {status}\n{}", self.log());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
    }
}

/// The directory of the programs of the tests' cluster, and the user they may run as.
async fn known_programs() -> (PathBuf, Owner) {
    let dsn = std::env::var(PG_DSN_VAR).unwrap_or_else(|_| panic!("{PG_DSN_VAR} is not set"));
    let sql = "SELECT setting, current_setting('data_directory') AS data \
               FROM pg_config WHERE name = 'BINDIR'";
    let rows = pg_query(&dsn, sql).await.expect("the cluster of the tests tells about itself");
    let data = std::fs::metadata(rows[0].text("data"));
    let data = data.expect("the cluster of the tests is on this machine");
    let owner = Owner { user: data.uid(), group: data.gid() };
    (Path::new(rows[0].text("setting")).to_path_buf(), owner)
}

/// Short, because a socket's path may not be longer than about a hundred characters.
fn owned_dir(owner: Owner) -> PathBuf {
    let dir = tempfile::Builder::new().prefix("newapi-pg-").tempdir_in("/tmp").expect("/tmp");
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(dir.path(), private).expect("our own directory");
    chown(dir.path(), Some(owner.user), Some(owner.group)).expect("the owner of a cluster");
    // From here on the watchdog removes it.
    dir.keep()
}
