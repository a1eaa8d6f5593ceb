//! SQLite: one writer thread, one reader for queries that calls wait for, two readers for
//! everything else, and two for reports.

use crate::db::Statement;
use crate::long_reader::LONG_READ_LIMIT;
use crate::sqlite_checkpoint::{Checkpointer, WalWatch, lengthen_log};
use crate::{Row, StoreError, Value};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::borrow::Cow;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::{error, warn};

pub(crate) const FILE: &str = "newapi.db";
const LOCK_FILE: &str = "newapi.lock";
const READERS: usize = 2;
/// Capacity of a thread's queue.
const QUEUE_MAX: usize = 4096;
/// How long to wait for a write of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit of one reading job.
const READ_LIMIT: Duration = Duration::from_secs(300);
/// The time limit is checked every so many steps of SQLite's virtual machine.
const STEPS_BETWEEN_LOOKS: i32 = 100_000;
const STACK_BYTES: usize = 1024 * 1024;
const WRITER_CACHE_KIB: i32 = 4096;
const READER_CACHE_KIB: i32 = 1024;

/// A job for the writer thread, with its connection.
pub type SqliteJob = Box<dyn FnOnce(&mut Connection) + Send>;

enum Message {
    Job(SqliteJob),
    Stop,
}

/// The one writer thread. Jobs run in the order they were posted, one at a time.
#[derive(Clone)]
pub struct SqliteWriter {
    jobs: SyncSender<Message>,
}

impl SqliteWriter {
    /// Queues a job. A transaction that it leaves open is rolled back.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the queue is full, [`StoreError::Unavailable`] when it is closed.
    pub fn post(&self, job: SqliteJob) -> Result<(), StoreError> {
        send(&self.jobs, Message::Job(job))
    }

    /// Runs `f` on the writer thread. It runs even if the caller stops waiting.
    ///
    /// # Errors
    /// As [`Self::post`]; [`StoreError::Other`] when `f` panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.post(Box::new(move |conn| drop(answer.send(f(conn)))))?;
        answered.await.map_err(|_| StoreError::Other("the writing job did not end".to_owned()))
    }
}

fn send<T>(queue: &SyncSender<T>, message: T) -> Result<(), StoreError> {
    queue.try_send(message).map_err(|error| match error {
        TrySendError::Full(_) => StoreError::Busy("SQLite's queue is full".to_owned()),
        TrySendError::Disconnected(_) => StoreError::Unavailable("SQLite is closed".to_owned()),
    })
}

type ReadJob = Box<dyn FnOnce(&mut Connection) + Send>;

struct Readers {
    /// Short queries that calls wait for: a thread of their own.
    first: SyncSender<ReadJob>,
    /// All others: logins, balances, tasks.
    rest: SyncSender<ReadJob>,
    /// Pages, sums and exports, which may take minutes: they block only each other.
    searches: SyncSender<ReadJob>,
}

/// An open SQLite file.
pub(crate) struct Sqlite {
    pub(crate) writer: SqliteWriter,
    /// `None` once closed.
    readers: RwLock<Option<Readers>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    dir: PathBuf,
    /// Held as long as this process serves.
    lock: Mutex<Option<File>>,
}

impl Sqlite {
    /// Opens the file in `dir`, or creates it. Blocks for as long as the disk takes.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = make_file(dir)?;
        let mut writing = connect(&path, WRITER_CACHE_KIB)?;
        writing.set_prepared_statement_cache_capacity(128);
        let watch = WalWatch::new(&mut writing)?;
        let checkpointer = Checkpointer::start(connect(&path, READER_CACHE_KIB)?)?;
        let (jobs, posted) = sync_channel(QUEUE_MAX);
        let mut threads = Vec::new();
        let first = start_readers(&path, 1, &mut threads)?;
        let rest = start_readers(&path, READERS, &mut threads)?;
        let searches = start_readers(&path, READERS, &mut threads)?;
        threads.push(spawn("sqlite-writer", move || {
            write_loop(writing, &posted, watch, &checkpointer);
        })?);
        Ok(Self {
            writer: SqliteWriter { jobs },
            readers: RwLock::new(Some(Readers { first, rest, searches })),
            threads: Mutex::new(threads),
            dir: dir.to_owned(),
            lock: Mutex::new(None),
        })
    }

    /// Takes the lock that one serving process holds for as long as it lives.
    pub(crate) fn lock_for_serving(&self) -> Result<(), StoreError> {
        let path = self.dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(|error| no_file(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {
                *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
                self.writer.post(Box::new(|conn| {
                    if let Err(error) = lengthen_log(conn, WRITER_CACHE_KIB) {
                        warn!(%error, "SQLite's log is short; the first commits are slower");
                    }
                }))
            }
            Err(TryLockError::WouldBlock) => {
                Err(StoreError::ServedElsewhere(self.dir.join(FILE).display().to_string()))
            }
            Err(TryLockError::Error(error)) => Err(no_file(&path, &error)),
        }
    }

    pub(crate) async fn read(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.read_by(|readers| &readers.rest, sql, params).await
    }

    pub(crate) async fn read_first(
        &self,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        self.read_by(|readers| &readers.first, sql, params).await
    }

    pub(crate) async fn search(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.read_by(|readers| &readers.searches, sql, params).await
    }

    /// A search with more time than a page may take.
    pub(crate) async fn search_long(
        &self,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        let (sql, params) = (numbered(sql).into_owned(), params.to_vec());
        let read = move |conn: &mut Connection| {
            limit_time(conn, LONG_READ_LIMIT);
            run(conn, &sql, &params).map(|(rows, _)| rows)
        };
        self.run_by(|readers| &readers.searches, read).await
    }

    async fn read_by(
        &self,
        pick: impl FnOnce(&Readers) -> &SyncSender<ReadJob>,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        let (sql, params) = (numbered(sql).into_owned(), params.to_vec());
        let read = move |conn: &mut Connection| run(conn, &sql, &params).map(|(rows, _)| rows);
        self.run_by(pick, read).await
    }

    async fn run_by(
        &self,
        pick: impl FnOnce(&Readers) -> &SyncSender<ReadJob>,
        read: impl FnOnce(&mut Connection) -> Result<Vec<Row>, StoreError> + Send + 'static,
    ) -> Result<Vec<Row>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: ReadJob = Box::new(move |conn| {
            // The caller has stopped waiting.
            if !answer.is_closed() {
                let _ = answer.send(read(conn));
            }
        });
        match &*self.readers.read().unwrap_or_else(PoisonError::into_inner) {
            Some(readers) => send(pick(readers), job)?,
            None => return Err(StoreError::Unavailable("SQLite is closed".to_owned())),
        }
        answered.await.map_err(|_| StoreError::Other("the reading job did not end".to_owned()))?
    }

    pub(crate) async fn write(
        &self,
        sql: &str,
        params: &[Value],
    ) -> Result<(Vec<Row>, u64), StoreError> {
        let (sql, params) = (numbered(sql).into_owned(), params.to_vec());
        self.writer.run(move |conn| run(conn, &sql, &params)).await?
    }

    pub(crate) async fn write_all(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, StoreError> {
        self.writer.run(move |conn| run_all(conn, &statements)).await?
    }

    /// Stops the writer after everything posted so far, and closes the file.
    pub(crate) async fn close(&self) {
        // The queue may be full for a moment: the stop must not be lost.
        while let Err(StoreError::Busy(_)) = send(&self.writer.jobs, Message::Stop) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        *self.readers.write().unwrap_or_else(PoisonError::into_inner) = None;
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        let _ = tokio::task::spawn_blocking(joined).await;
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    builder.spawn(body).map_err(|error| StoreError::Other(format!("no thread: {error}")))
}

fn no_file(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Config(format!("{} can't be opened: {error} (DATA_DIR)", path.display()))
}

/// Creates directory and file with access for their owner only; SQLite gives its other files the
/// same mode.
fn make_file(dir: &Path) -> Result<PathBuf, StoreError> {
    let path = dir.join(FILE);
    if !dir.is_dir() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| no_file(dir, &error))?;
    }
    let opened =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    opened.map_err(|error| no_file(&path, &error))?;
    Ok(path)
}

pub(crate) fn connect(path: &Path, cache_kib: i32) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    into_wal(&conn)?;
    // FULL: a commit is on disk before it is reported. NORMAL may lose the last ones.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // Checkpoints have a thread of their own, and the log is overwritten rather than truncated.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", -1)?;
    Ok(conn)
}

/// Two processes that open a new file at the same moment conflict here.
fn into_wal(conn: &Connection) -> Result<(), StoreError> {
    let started = Instant::now();
    loop {
        let mode = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match mode.map_err(StoreError::from) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Err(StoreError::Busy(_)) if started.elapsed() < BUSY_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(mode) => {
                let why = format!("SQLite can't keep a write-ahead log here (mode {mode})");
                return Err(StoreError::Config(why));
            }
            Err(error) => return Err(error),
        }
    }
}

fn start_readers(
    path: &Path,
    count: usize,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<SyncSender<ReadJob>, StoreError> {
    let (readers, asked) = sync_channel(QUEUE_MAX);
    let asked = Arc::new(Mutex::new(asked));
    for _ in 0..count {
        let reading = connect(path, READER_CACHE_KIB)?;
        reading.pragma_update(None, "query_only", true)?;
        let asked = Arc::clone(&asked);
        threads.push(spawn("sqlite-reader", move || read_loop(reading, &asked))?);
    }
    Ok(readers)
}

fn write_loop(
    mut conn: Connection,
    posted: &Receiver<Message>,
    mut watch: WalWatch,
    checkpointer: &Checkpointer,
) {
    while let Ok(Message::Job(job)) = posted.recv() {
        guarded(&mut conn, job);
        watch.after_job(&conn, checkpointer);
    }
}

fn read_loop(mut conn: Connection, asked: &Mutex<Receiver<ReadJob>>) {
    loop {
        let next = asked.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        limit_time(&mut conn, READ_LIMIT);
        guarded(&mut conn, job);
    }
}

/// Ends what the connection does when it has taken so long from now on.
fn limit_time(conn: &mut Connection, limit: Duration) {
    let started = Instant::now();
    let is_over = move || started.elapsed() > limit;
    if let Err(error) = conn.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over)) {
        error!(target: "custompass", event = "time_limit_missing", %error);
    }
}

/// Isolates jobs: neither a panic nor an open transaction of one reaches the next.
fn guarded(conn: &mut Connection, job: impl FnOnce(&mut Connection)) {
    if catch_unwind(AssertUnwindSafe(|| job(conn))).is_err() {
        error!(target: "custompass", event = "database_job_panicked");
    }
    if !conn.is_autocommit()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        error!(target: "custompass", event = "rollback_failed", %error);
    }
}

/// Runs one statement; returns its rows, and the number of rows affected.
pub(crate) fn run(
    conn: &Connection,
    sql: &str,
    params: &[Value],
) -> Result<(Vec<Row>, u64), StoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let columns: Arc<[Box<str>]> = statement.column_names().map(Into::into).collect();
    let mut answer = statement.query(rusqlite::params_from_iter(params))?;
    let mut rows = Vec::new();
    while let Some(row) = answer.next()? {
        let cells = (0..columns.len()).map(|index| row.get_ref(index).map(Value::from));
        let cells = cells.collect::<Result<Vec<Value>, _>>()?;
        rows.push(Row::new(Arc::clone(&columns), cells));
    }
    drop(answer);
    let touched = if columns.is_empty() { conn.changes() } else { rows.len() as u64 };
    Ok((rows, touched))
}

fn run_all(conn: &mut Connection, statements: &[Statement]) -> Result<Vec<Vec<Row>>, StoreError> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut answers = Vec::with_capacity(statements.len());
    for (index, statement) in statements.iter().enumerate() {
        let (rows, touched) = run(&transaction, &numbered(&statement.sql), &statement.params)?;
        statement.expect(index, touched)?;
        answers.push(rows);
    }
    transaction.commit()?;
    Ok(answers)
}

/// `$1` is a name to SQLite, counted by first appearance; `?1` is the number.
pub(crate) fn numbered(sql: &str) -> Cow<'_, str> {
    if !sql.contains('$') {
        return Cow::Borrowed(sql);
    }
    let mut out = String::with_capacity(sql.len());
    let mut quote = None;
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '$') if rest.peek().is_some_and(char::is_ascii_digit) => {
                out.push('?');
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_are_renumbered() {
        assert_eq!(numbered("a = $2 AND b = $1"), "a = ?2 AND b = ?1");
        assert_eq!(numbered("a = '$1' AND \"$2\" = $1"), "a = '$1' AND \"$2\" = ?1");
        assert_eq!(numbered("a = 'it''s $1' AND b = $10"), "a = 'it''s $1' AND b = ?10");
        assert!(matches!(numbered("SELECT 1"), Cow::Borrowed(_)));
    }
}
