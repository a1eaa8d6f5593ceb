//! A private PostgreSQL cluster: in a temporary directory, on a free port, gone afterwards.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::install;

const START_LIMIT: Duration = Duration::from_secs(60);

/// Room in memory without which the files of tests are on the disk, in bytes.
const MIN_ROOM: u64 = 6 << 30;

/// Where the files of a cluster are.
#[derive(Clone, Copy, Debug)]
pub enum Storage {
    /// On the disk: there may be any number of lines.
    Disk,
    /// In memory, if there is room. Each test has a database of its own, 300 files that are made
    /// and deleted again, which was half of what the kernel had to do.
    Memory,
}

impl Storage {
    /// In tests it is off: a server that is killed loses nothing that it has written, only a
    /// machine's end takes it, and no test is about that. What is measured is as in production.
    const fn fsync(self) -> &'static str {
        match self {
            Self::Disk => "on",
            Self::Memory => "off",
        }
    }

    fn place(self) -> &'static str {
        match self {
            Self::Memory if room_in(IN_MEMORY) >= MIN_ROOM => IN_MEMORY,
            Self::Memory | Self::Disk => "/tmp",
        }
    }
}

const IN_MEMORY: &str = "/dev/shm";

/// Free bytes of a file system; none where it is not there.
fn room_in(path: &str) -> u64 {
    let output = Command::new("df").args(["--output=avail", "--block-size=1", path]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().last()?.trim().parse().ok()).unwrap_or(0)
}

/// Stops the server and removes its directory when this process is gone, for any reason: the
/// shell's input is a pipe whose other end only this process holds.
const WATCHDOG: &str = r#"
read -r _
server() { head -n 1 "$1/data/postmaster.pid" 2>/dev/null; }
tries=0
while pid=$(server "$1") && [ -n "$pid" ] && [ "$tries" -lt 100 ]; do
    kill -INT "$pid" 2>/dev/null
    tries=$((tries + 1)); sleep 0.1
done
[ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null
rm -rf "$1"
# An initdb that was under way may have put something back.
while [ -e "$1" ] && [ "$tries" -lt 130 ]; do
    tries=$((tries + 1)); sleep 1; rm -rf "$1"
done
"#;

/// A running cluster. It is stopped and removed when this is dropped, and also when the process
/// that holds it dies.
pub struct Cluster {
    dir: PathBuf,
    port: u16,
    server: Option<Child>,
    watchdog: Child,
}

impl Cluster {
    /// Creates and starts a cluster.
    pub fn start(storage: Storage) -> Result<Self> {
        let programs = install::postgres_programs()?;
        let owner = if install::is_root() { Some(install::unprivileged()?) } else { None };
        let dir = make_dir(storage.place(), owner)?;
        let watchdog = watch(dir.path())?;
        // From here on the watchdog removes the directory, even if a step below fails.
        let mut cluster = Self { dir: dir.keep(), port: free_port()?, server: None, watchdog };
        init(&programs, &cluster.dir, owner)?;
        cluster.server = Some(serve(&programs, (&cluster.dir, storage), cluster.port, owner)?);
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// The DSN of its maintenance database.
    pub fn dsn(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// What a command needs to find it.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TEST_PG_DSN", self.dsn()),
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", "postgres".to_owned()),
            ("PGDATABASE", "postgres".to_owned()),
        ]
    }

    fn wait_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        loop {
            let ended = self.server.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                bail!("PostgreSQL ended with {status}\n{}", self.log());
            }
            if self.says_ready() && TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            if started.elapsed() > START_LIMIT {
                bail!("PostgreSQL is not ready after {START_LIMIT:?}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last line of the server's lock file is its state.
    fn says_ready(&self) -> bool {
        let file = std::fs::read_to_string(self.dir.join("data/postmaster.pid"));
        file.is_ok_and(|text| text.lines().next_back().is_some_and(|line| line.trim() == "ready"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.watchdog.stdin.take() {
            let _ = pipe.write_all(b"stop\n");
        }
        if let Some(server) = &mut self.server {
            let _ = server.wait();
        }
        let _ = self.watchdog.wait();
    }
}

/// Short, because a socket's path may not be longer than about a hundred characters.
fn make_dir(place: &str, owner: Option<(u32, u32)>) -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("newapi-pg-").tempdir_in(place)?;
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(dir.path(), private)?;
    if let Some((user, group)) = owner {
        std::os::unix::fs::chown(dir.path(), Some(user), Some(group))?;
    }
    Ok(dir)
}

fn init(programs: &Path, dir: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let output = as_owner(Command::new(programs.join("initdb")), owner)
        .arg("--pgdata")
        .arg(dir.join("data"))
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
        .arg("--no-instructions")
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .context("cannot run initdb")?;
    if !output.status.success() {
        let (out, err) = (&output.stdout, &output.stderr);
        let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
        bail!("initdb: {}\n{out}{err}", output.status);
    }
    Ok(())
}

fn serve(
    programs: &Path,
    (dir, storage): (&Path, Storage),
    port: u16,
    owner: Option<(u32, u32)>,
) -> Result<Child> {
    let log = File::create(dir.join("server.log"))?;
    let settings = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={}", dir.display()),
        "max_connections=500".to_owned(),
        "shared_buffers=128MB".to_owned(),
        format!("fsync={}", storage.fsync()),
        "timezone=UTC".to_owned(),
        "log_min_messages=warning".to_owned(),
    ];
    let mut command = as_owner(Command::new(programs.join("postgres")), owner);
    command.arg("-D").arg(dir.join("data"));
    for setting in settings {
        command.arg("-c").arg(setting);
    }
    // A group of its own: Ctrl-C at the terminal is for the tests; the watchdog ends the server.
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot run postgres")
}

fn watch(dir: &Path) -> Result<Child> {
    Command::new("sh")
        .args(["-c", WATCHDOG, "watchdog"])
        .arg(dir)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot run sh")
}

fn as_owner(mut command: Command, owner: Option<(u32, u32)>) -> Command {
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
