//! PostgreSQL's own programs do the reading and the writing. They are told the address and the
//! password in their environment.

use super::archive::{self, Unpacking};
use anyhow::{Context, bail};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// The address of a database, as `libpq` is told it.
type Env = [(&'static str, OsString)];

/// What comes before the tables in a backup: it takes away those that are there, in a transaction
/// that is left open, so that `psql` alone restores wholly or not at all.
const CLEAR: &[u8] = include_bytes!("clear.sql");
/// What comes after them. Nobody lives over the restored database whom it says to live: what they
/// held is for others to give back.
const COMMIT: &[u8] = b"UPDATE public.nodes SET lease_until = now() WHERE lease_until > now();
COMMIT;
";
/// What comes before a backup that is restored here. Its own BEGIN only warns then. A node that has
/// started since we looked must not lose its tables; one that starts now waits for the end.
const PROLOGUE: &str = "SET client_min_messages = error;
BEGIN;
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
/// For a dump that somebody made otherwise, which has no COMMIT of its own.
const EPILOGUE: &[u8] = b"SET client_min_messages = error;\nCOMMIT;\n";

/// Writes the database as it is at this moment, as SQL.
pub fn dump(env: &Env, dir: &Path, to: &mut impl Write) -> anyhow::Result<()> {
    let (copy, list) = (archive::scratch(dir)?, archive::scratch(dir)?);
    let mut pg_dump = program("pg_dump", env);
    pg_dump.args(["--format=custom", "--compress=1", "--no-password", "--file"]).arg(copy.path());
    run(&mut pg_dump)?;
    // Extensions (pg_stat_statements) belong to an administrator, whoever restores: they stay as
    // they are.
    let mut all = program("pg_restore", &[]);
    let all = output(all.arg("--list").arg(copy.path()))?;
    let ours: Vec<&str> = all.lines().filter(|line| !line.contains(" EXTENSION ")).collect();
    list.as_file().write_all(ours.join("\n").as_bytes())?;
    to.write_all(CLEAR)?;
    let mut pg_restore = program("pg_restore", &[]);
    pg_restore.args(["--no-owner", "--no-privileges", "--file=-", "--use-list"]);
    pipe_out(pg_restore.arg(list.path()).arg(copy.path()), to)?;
    Ok(to.write_all(COMMIT)?)
}

/// Puts a dump in the place of what is in the database, in one transaction.
pub fn load(env: &Env, mut dump: Unpacking) -> anyhow::Result<()> {
    let mut psql = program("psql", env);
    psql.args(["--no-psqlrc", "--no-password", "--quiet", "--output=/dev/null"]);
    psql.args(["--set=ON_ERROR_STOP=1", "--file=-"]);
    let mut child = start(psql.stdin(Stdio::piped()))?;
    let mut stdin = child.stdin.take().context("psql has no input")?;
    let written = stdin
        .write_all(PROLOGUE.as_bytes())
        .and_then(|()| stdin.write_all(CLEAR))
        .and_then(|()| io::copy(&mut dump, &mut stdin))
        .and_then(|_| stdin.write_all(EPILOGUE));
    drop(stdin);
    // What psql says of it tells more than that it has stopped reading.
    succeeded("psql", child.wait()?)?;
    written.context("psql did not read it all")
}

/// A program of PostgreSQL. What it complains of goes where our own complaints go.
fn program(name: &str, env: &Env) -> Command {
    let mut command = Command::new(name);
    command.envs(env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    command
}

fn start(command: &mut Command) -> anyhow::Result<std::process::Child> {
    let name = command.get_program().display().to_string();
    match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{name} is not on the PATH (Debian, Ubuntu: apt-get install postgresql-client)")
        }
        other => other.with_context(|| format!("{name} can't be started")),
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let ended = start(command)?.wait()?;
    succeeded(&command.get_program().display().to_string(), ended)
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let mut said = Vec::new();
    pipe_out(command, &mut said)?;
    Ok(String::from_utf8(said)?)
}

fn pipe_out(command: &mut Command, to: &mut impl Write) -> anyhow::Result<()> {
    let mut child = start(command.stdout(Stdio::piped()))?;
    let mut stdout = child.stdout.take().context("it has no output")?;
    let copied = io::copy(&mut stdout, to);
    drop(stdout);
    succeeded(&command.get_program().display().to_string(), child.wait()?)?;
    copied.context("the backup can't be written").map(drop)
}

fn succeeded(name: &str, status: std::process::ExitStatus) -> anyhow::Result<()> {
    if status.success() { Ok(()) } else { bail!("{name} failed ({status})") }
}
