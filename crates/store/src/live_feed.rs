//! The change feed: notifications of PostgreSQL, or a table that SQLite's triggers write and this
//! process polls.

use crate::live::{COALESCE, Live, SAFETY_NET};
use crate::{Db, Engine, StoreError, Value};
use domain::{KeyId, UserId};
use std::collections::HashSet;
use std::future::poll_fn;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::{AsyncMessage, Client};
use tracing::{debug, warn};

const POLL: Duration = Duration::from_millis(200);
/// How often everything is reloaded while the feed is disconnected.
const DEAF: Duration = Duration::from_secs(1);
/// A connection that is silent this long is probed, and has this long to reply.
const PROBE: Duration = Duration::from_secs(10);
/// Capacity of the queue of changes. Beyond that, everything is reloaded.
const QUEUE_MAX: usize = 1024;
/// Changes read from SQLite at a time.
const PAGE: i64 = 1000;
const PAGE_ROWS: usize = 1000;
/// Changes that stay in SQLite's table, for commands that run beside the server.
const KEPT: i64 = 10_000;

/// What has changed since the last reload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    catalog: bool,
    everything: bool,
    poll: bool,
    users: HashSet<UserId>,
    keys: HashSet<KeyId>,
}

impl Changes {
    fn everything() -> Self {
        Self { catalog: true, everything: true, ..Self::default() }
    }

    /// What the periodic reload covers. Cached identities expire by themselves.
    fn of_catalog() -> Self {
        Self { catalog: true, ..Self::default() }
    }

    /// Adds an announcement: `channels`, `users:17`, …
    fn add(&mut self, what: &str) {
        let (table, id) = what.split_once(':').unwrap_or((what, ""));
        match (table, id.parse::<i64>()) {
            ("users", Ok(id)) => drop(self.users.insert(UserId(id))),
            ("tokens", Ok(id)) => drop(self.keys.insert(KeyId(id))),
            ("users" | "tokens", Err(_)) => self.everything = true,
            ("tasks", _) => self.poll = true,
            _ => self.catalog = true,
        }
    }

    /// Applies all changes. The identities first: they can't fail.
    async fn apply(&self, live: &Live) -> Result<(), StoreError> {
        if self.poll {
            live.poll_requested();
        }
        if self.everything {
            live.identities.clear();
        } else if !self.users.is_empty() || !self.keys.is_empty() {
            live.identities.invalidate(&self.users, &self.keys);
        }
        if self.catalog { live.reload_catalog().await } else { Ok(()) }
    }
}

pub(crate) enum Feed {
    Postgres(Listener),
    Sqlite { last: i64 },
}

impl Feed {
    pub(crate) async fn open(db: &Db) -> Result<Self, StoreError> {
        match db.engine() {
            Engine::Postgres => Ok(Self::Postgres(Listener::open(db).await?)),
            Engine::Sqlite => Ok(Self::Sqlite { last: newest_change(db).await? }),
        }
    }
}

/// Follows the change feed until it is cancelled.
pub(crate) async fn follow(live: &Live, feed: Feed) {
    match feed {
        Feed::Postgres(listener) => follow_postgres(live, listener).await,
        Feed::Sqlite { last } => follow_sqlite(live, last).await,
    }
}

/// Applies changes, and retries until it succeeds: a change must not get lost.
async fn take_in(live: &Live, changes: &Changes) {
    let mut failing = false;
    while let Err(error) = changes.apply(live).await {
        if !std::mem::replace(&mut failing, true) {
            warn!(%error, "a changed configuration can't be read; trying on");
        }
        sleep(DEAF).await;
    }
}

/// Requests that all nodes poll all their tasks now.
///
/// # Errors
/// Any error of the database.
pub async fn request_poll(db: &Db) -> Result<(), StoreError> {
    let sql = match db.engine() {
        Engine::Postgres => "SELECT CAST(pg_notify('newapi_config', 'tasks:poll') AS text)",
        Engine::Sqlite => "INSERT INTO config_changes (what) VALUES ('tasks:poll')",
    };
    db.execute(sql, &[]).await.map(drop)
}

/// A listening connection.
pub(crate) struct Listener {
    client: Client,
    heard: Receiver<String>,
}

impl Listener {
    async fn open(db: &Db) -> Result<Self, StoreError> {
        let (client, mut driver) = db.pg()?.undriven().await?;
        let (tell, heard) = channel(QUEUE_MAX);
        tokio::spawn(roster::named("PostgreSQL listener", async move {
            while let Some(Ok(message)) = poll_fn(|cx| driver.poll_message(cx)).await {
                if let AsyncMessage::Notification(notice) = message
                    && tell.try_send(notice.payload().to_owned()).is_err()
                {
                    // The queue is full: after reconnecting everything is reloaded.
                    return;
                }
            }
        }));
        client.batch_execute("SET statement_timeout = '30s'; LISTEN newapi_config").await?;
        Ok(Self { client, heard })
    }

    /// Returns the next announcements; `None` when the connection is closed.
    async fn next(&mut self) -> Option<Changes> {
        let first = loop {
            match timeout(PROBE, self.heard.recv()).await {
                Ok(heard) => break heard?,
                Err(_) => {
                    let alive = timeout(PROBE, self.client.simple_query("SELECT 1")).await;
                    alive.ok()?.ok()?;
                }
            }
        };
        let mut changes = Changes::default();
        changes.add(&first);
        sleep(COALESCE).await;
        while let Ok(what) = self.heard.try_recv() {
            changes.add(&what);
        }
        Some(changes)
    }
}

async fn follow_postgres(live: &Live, mut listener: Listener) {
    loop {
        let mut net = Instant::now() + SAFETY_NET;
        loop {
            tokio::select! {
                heard = listener.next() => match heard {
                    Some(changes) => take_in(live, &changes).await,
                    None => break,
                },
                () = sleep_until(net) => {
                    net = Instant::now() + SAFETY_NET;
                    take_in(live, &Changes::of_catalog()).await;
                }
            }
        }
        warn!("no news of changed configuration: connection lost; reading everything each second");
        listener = deaf(live).await;
        take_in(live, &Changes::everything()).await;
        debug!("listening for changed configuration again");
    }
}

/// Reloads everything each second until a listening connection is there again.
async fn deaf(live: &Live) -> Listener {
    loop {
        match timeout(PROBE, Listener::open(live.db())).await {
            Ok(Ok(listener)) => return listener,
            Ok(Err(error)) => debug!(%error, "no connection to listen on"),
            Err(_) => debug!("no connection to listen on in time"),
        }
        let _ = Changes::everything().apply(live).await;
        sleep(DEAF).await;
    }
}

async fn follow_sqlite(live: &Live, mut last: i64) {
    let mut net = Instant::now() + SAFETY_NET;
    loop {
        sleep(POLL).await;
        let changes = if Instant::now() >= net {
            net = Instant::now() + SAFETY_NET;
            Ok(Changes::of_catalog())
        } else {
            poll_sqlite(live.db(), &mut last).await
        };
        match changes {
            Ok(changes) if changes == Changes::default() => {}
            Ok(changes) => take_in(live, &changes).await,
            Err(error) => warn!(%error, "changes of the configuration can't be read"),
        }
    }
}

async fn newest_change(db: &Db) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(max(seq), 0) AS last FROM config_changes";
    let rows = db.read_first(sql, &[]).await?;
    rows.first().map_or(Ok(0), |row| row.get("last"))
}

/// Reads what the triggers wrote since `last`, and deletes old rows.
async fn poll_sqlite(db: &Db, last: &mut i64) -> Result<Changes, StoreError> {
    let sql = "SELECT seq, what FROM config_changes WHERE seq > $1 ORDER BY seq LIMIT $2";
    let rows = db.read_first(sql, &[Value::Int(*last), Value::Int(PAGE)]).await?;
    let before = *last;
    let mut changes = Changes::default();
    for row in &rows {
        let seq = row.get("seq")?;
        if seq != *last + 1 {
            // Deleted before this process read it.
            changes = Changes::everything();
        }
        changes.add(&row.get::<String>("what")?);
        *last = seq;
    }
    if rows.len() == PAGE_ROWS {
        // More than one page: everything is reloaded, which covers the remaining ones.
        *last = newest_change(db).await?;
        changes = Changes::everything();
    }
    if *last / PAGE > before / PAGE {
        let sql = "DELETE FROM config_changes WHERE seq <= $1";
        if let Err(error) = db.execute(sql, &[Value::Int(*last - KEPT)]).await {
            debug!(%error, "old changes stay for now");
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_add_up() {
        let mut changes = Changes::default();
        changes.add("users:17");
        changes.add("tokens:3");
        changes.add("users:17");
        assert!(!changes.catalog && !changes.everything);
        assert_eq!(changes.users, HashSet::from([UserId(17)]));
        assert_eq!(changes.keys, HashSet::from([KeyId(3)]));
        changes.add("tasks:poll");
        assert!(changes.poll && !changes.catalog && !changes.everything);
        changes.add("abilities");
        assert!(changes.catalog && !changes.everything);
        changes.add("users:x");
        assert!(changes.everything);
    }
}
