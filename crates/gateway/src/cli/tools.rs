//! What the commands that work on the database share.

use crate::config::{Config, from_process};
use crate::{secret, wiring};
use admin::{Actor, AdminError, AdminState, Fields, Page, PageRequest};
use anyhow::{Context, anyhow, bail};
use domain::Fault;
use ledger::Ledger;
use serde_json::{Map, Value};
use std::io::Write;
use store::Db;
use tokio_util::task::TaskTracker;

/// The configuration of this process.
///
/// # Errors
/// When it can't be used.
pub(super) fn config() -> anyhow::Result<Config> {
    Ok(Config::from_settings(&from_process()?)?)
}

/// The database as it is.
///
/// # Errors
/// When it can't be reached.
pub(super) async fn unmigrated(config: &Config) -> anyhow::Result<Db> {
    secret::make_data_dir(&config.database.db.data_dir)?;
    let db = Db::open_unmigrated(&config.database.db).await;
    db.context("the database can't be used")
}

/// The database, for a command that only reads: it leaves the schema to the server.
///
/// # Errors
/// When it can't be reached, or its schema is not this program's.
pub(super) async fn database(config: &Config) -> anyhow::Result<Db> {
    let db = unmigrated(config).await?;
    if !db.pending_migrations().await?.is_empty() {
        bail!("the database's schema is older than this program; run `newapi migrate` first");
    }
    Ok(db)
}

/// Everything that the operations of the admin API work with, without a server.
pub(super) struct CommandContext {
    /// For the operations.
    pub state: AdminState,
    /// Who asks.
    pub actor: Actor,
    jobs: TaskTracker,
}

impl CommandContext {
    /// Opens a context for `work`, and closes it regardless of the result.
    ///
    /// # Errors
    /// When the database or the secret key can't be used, or `work` fails.
    pub(super) async fn with<T>(
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let context = Self::open().await?;
        let ended = work(&context).await;
        context.close().await;
        ended
    }

    async fn open() -> anyhow::Result<Self> {
        let config = config()?;
        secret::make_data_dir(&config.database.db.data_dir)?;
        let sealer = wiring::sealer(&config)?;
        let db = Db::open(&config.database.db).await;
        let db = db.context("the database can't be used")?;
        let clock = wiring::system_clock();
        store::verify_secret(&db, &sealer, clock.now()).await?;
        store::make_months(&db, clock.now()).await?;
        let jobs = TaskTracker::new();
        let node = wiring::new_node(&clock);
        let limits = wiring::ledger_config(&config);
        let ledger = Ledger::open(db.clone(), node, limits, clock.clone(), &jobs).await?;
        let client = wiring::client(&config.upstream)?;
        let passwords = admin::Passwords::default();
        let state = AdminState {
            options: None,
            health: admin::ops::doctor::HealthChecks::default(),
            db,
            live: None,
            ledger,
            sealer,
            client,
            webhook_client: wiring::client(&config.webhooks)?,
            clock,
            tracer: spans::Tracer::default(),
            logins: admin::LoginGuard::default(),
            passwords,
            wrong_codes: admin::WrongCodes::default(),
            traffic: None,
            budget: web::memory::Budget::new(usize::MAX),
            last_audit: admin::ops::audit::LastAudit::default(),
            events: admin::ops::events::EventHub::default(),
            jobs: jobs.clone(),
        };
        // A first user made here must not keep root from being made at the first start.
        if let Some(note) = wiring::first_run(&state, &config).await? {
            eprint(&note);
        }
        Ok(Self { state, actor: Actor::command_line(), jobs })
    }

    /// Closes the context; everything requested is on disk when this returns.
    async fn close(self) {
        self.state.ledger.drain().await;
        self.jobs.close();
        self.jobs.wait().await;
        self.state.db.close().await;
    }
}

/// What an operation answered, or its fault in plain words.
///
/// # Errors
/// The fault.
pub(super) fn done<T>(answer: Result<T, AdminError>) -> anyhow::Result<T> {
    answer.map_err(|error| {
        let fault = Fault::from(error);
        match fault.cause_chain() {
            cause if cause.is_empty() => anyhow!("{}", fault.en),
            cause => anyhow!("{}: {cause}", fault.en),
        }
    })
}

/// Everything of a collection, page by page.
///
/// # Errors
/// The first fault.
pub(super) async fn every_page<T, F>(page_of: impl Fn(PageRequest) -> F) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = Result<Page<T>, AdminError>>,
{
    let mut page = PageRequest::first();
    let mut all = Vec::new();
    loop {
        let items = done(page_of(page).await)?.items;
        let last = i64::try_from(items.len()).unwrap_or(i64::MAX) < page.size;
        all.extend(items);
        if last {
            return Ok(all);
        }
        page.page += 1;
    }
}

/// Members of an operation's input: those that were given.
#[derive(Default)]
pub(super) struct Given(Map<String, Value>);

impl Given {
    /// Adds a member, if there is a value.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// As the operations read it.
    ///
    /// # Errors
    /// Never, as long as JSON can be read that was written a moment ago.
    pub(super) fn fields(self) -> anyhow::Result<Fields> {
        done(Fields::parse(Value::Object(self.0).to_string().as_bytes()))
    }
}

fn eprint(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
