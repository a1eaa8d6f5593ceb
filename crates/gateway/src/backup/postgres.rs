//! PostgreSQL's own programs do the reading and the writing. They get the address and the password
//! from their environment.

use super::archive::{self, Draft, Unpacking};
use anyhow::{Context, bail};
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::Stdio;
use store::Libpq;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

/// How much of what a program writes is taken together.
const PIECE_BYTES: usize = 64 * 1024;

/// What comes before the tables in a backup: it takes away those that are there, in a transaction
/// that is left open, so that `psql` alone restores wholly or not at all.
const CLEAR: &[u8] = include_bytes!("clear.sql");
/// What comes after them. It expires every node lease: no node recorded in a backup is running on
/// the restored database, and the holds of those nodes are to be released by others.
const COMMIT: &[u8] = b"UPDATE public.nodes SET lease_until = now() WHERE lease_until > now();
COMMIT;
";
/// A BEGIN or a COMMIT too many warns, and here both are meant: each part below stands for itself.
const QUIET: &[u8] = b"SET client_min_messages = error;\n";
/// What comes before a backup that is restored here, whose own BEGIN then changes nothing. A node
/// that has started since we looked must not lose its tables; one that starts now waits for the
/// end.
const PROLOGUE: &[u8] = b"BEGIN;
SET LOCAL lock_timeout = '10s';
DO $alone$
BEGIN
    IF to_regclass('public.nodes') IS NOT NULL THEN
        LOCK TABLE public.nodes IN ACCESS EXCLUSIVE MODE;
        IF EXISTS (SELECT FROM public.nodes WHERE lease_until > now()) THEN
            RAISE EXCEPTION 'a node works with this database';
        END IF;
    END IF;
END
$alone$;
";
/// For a dump made by other means, which has no COMMIT of its own.
const EPILOGUE: &[u8] = b"COMMIT;\n";

/// Writes the database as it is at this moment, as SQL.
pub(super) async fn dump(server: Libpq, room: &Path, mut to: Draft) -> anyhow::Result<Draft> {
    let way = Way::to(server, room)?;
    let (copy, list) = (archive::scratch(room)?, archive::scratch(room)?);
    let mut pg_dump = way.program("pg_dump");
    pg_dump.args(["--format=custom", "--compress=1", "--no-password", "--file"]).arg(copy.path());
    ended("pg_dump", start(&mut pg_dump)?).await?;
    // Extensions (pg_stat_statements) belong to an administrator, regardless of who restores: they
    // are left unchanged.
    let (mut pg_restore, mut all) = (program("pg_restore"), Vec::new());
    pipe_out(pg_restore.arg("--list").arg(copy.path()), &mut all).await?;
    let all = String::from_utf8(all)?;
    let ours: Vec<&str> = all.lines().filter(|line| !line.contains(" EXTENSION ")).collect();
    list.as_file().write_all(ours.join("\n").as_bytes())?;
    to.write_all(CLEAR)?;
    let mut pg_restore = program("pg_restore");
    pg_restore.args(["--no-owner", "--no-privileges", "--file=-", "--use-list"]);
    pipe_out(pg_restore.arg(list.path()).arg(copy.path()), &mut to).await?;
    to.write_all(COMMIT)?;
    Ok(to)
}

/// Puts a dump in the place of what is in the database, in one transaction.
pub(super) async fn load(server: Libpq, room: &Path, mut dump: Unpacking) -> anyhow::Result<()> {
    let way = Way::to(server, room)?;
    let mut psql = way.program("psql");
    psql.args(["--no-psqlrc", "--no-password", "--quiet", "--output=/dev/null"]);
    psql.args(["--set=ON_ERROR_STOP=1", "--file=-"]);
    let mut child = start(psql.stdin(Stdio::piped()))?;
    let mut stdin = child.stdin.take().context("psql has no input")?;
    let written = async {
        stdin.write_all(&[QUIET, PROLOGUE, CLEAR, QUIET].concat()).await?;
        pipe_in(&mut dump, &mut stdin).await?;
        stdin.write_all(&[QUIET, EPILOGUE].concat()).await
    };
    let written: io::Result<()> = written.await;
    drop(stdin);
    // The error of psql says more than the fact that it stopped reading.
    ended("psql", child).await?;
    written.context("psql did not read it all")
}

/// How programs reach the database.
struct Way {
    env: Vec<(&'static str, OsString)>,
    /// What the server's certificate is checked against.
    _roots: Option<NamedTempFile>,
}

impl Way {
    fn to(server: Libpq, room: &Path) -> anyhow::Result<Self> {
        let Libpq { mut env, roots } = server;
        let mut file = None;
        if let Some(roots) = roots {
            let mut made = archive::scratch(room)?;
            made.write_all(roots.as_bytes())?;
            env.push(("PGSSLROOTCERT", made.path().into()));
            file = Some(made);
        }
        Ok(Self { env, _roots: file })
    }

    fn program(&self, name: &str) -> Command {
        let mut command = program(name);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A program of PostgreSQL. It inherits our standard error, and is killed when its handle is
/// dropped.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn name(command: &Command) -> String {
    command.as_std().get_program().display().to_string()
}

fn start(command: &mut Command) -> anyhow::Result<Child> {
    let name = name(command);
    match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{name} is not on the PATH (Debian, Ubuntu: apt-get install postgresql-client)")
        }
        other => other.with_context(|| format!("{name} can't be started")),
    }
}

async fn ended(name: &str, mut child: Child) -> anyhow::Result<()> {
    let status = child.wait().await?;
    if status.success() { Ok(()) } else { bail!("{name} failed ({status})") }
}

async fn pipe_out(command: &mut Command, to: &mut impl Write) -> anyhow::Result<()> {
    let mut child = start(command.stdout(Stdio::piped()))?;
    let mut stdout = child.stdout.take().context("it has no output")?;
    let copied = async {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match stdout.read(&mut piece).await? {
                0 => return io::Result::Ok(()),
                length => to.write_all(&piece[..length])?,
            }
        }
    };
    let copied = copied.await;
    drop(stdout);
    ended(&name(command), child).await?;
    copied.context("the backup can't be written")
}

async fn pipe_in(from: &mut impl BufRead, to: &mut ChildStdin) -> io::Result<()> {
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        to.write_all(piece).await?;
        let length = piece.len();
        from.consume(length);
    }
}
