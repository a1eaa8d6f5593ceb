//! A private PgBouncer in front of a test's database. It is removed with the test.

use crate::ports::free_port;
use crate::wait::eventually;
use crate::watchdog::WATCHED;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

/// A `pgbouncer` of the test's own.
#[derive(Debug)]
pub struct Pgbouncer {
    dsn: String,
    watchdog: Child,
    _dir: TempDir,
}

impl Pgbouncer {
    /// Starts one in this `pool_mode`, in front of the database of this DSN.
    pub async fn start(pool_mode: &str, dsn: &str) -> Self {
        let config: Config = dsn.parse().expect("a DSN");
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            other => panic!("not a TCP host: {other:?}"),
        };
        let server = config.get_ports().first().copied().unwrap_or(5432);
        let user = config.get_user().unwrap_or("postgres");
        let password = config.get_password().map(String::from_utf8_lossy);
        let password = password.map(|it| format!(" password={it}")).unwrap_or_default();
        let (name, port) = (config.get_dbname().unwrap_or("postgres"), free_port());
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{name} = host={host} port={server} user={user}{password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {pool_mode}\ndefault_pool_size = 60\n"
        );
        std::fs::write(&file, text).expect("our own file");
        let mut command = Command::new("sh");
        command.args(WATCHED).arg("pgbouncer");
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root.
            command.args(["-u", "nobody"]);
        }
        let watchdog = command.arg(&file).stdin(Stdio::piped()).spawn().expect("sh can be run");
        let dsn = format!("postgres://{user}@127.0.0.1:{port}/{name}");
        eventually(
            "pgbouncer to answer (is it installed? `cargo xtask test` sees to it; Debian: \
             apt-get install pgbouncer)",
            || async { tokio_postgres::connect(&dsn, NoTls).await.ok().map(drop) },
        )
        .await;
        Self { dsn, watchdog, _dir: dir }
    }

    /// The DSN of the database behind it.
    pub fn dsn(&self) -> &str {
        &self.dsn
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}
