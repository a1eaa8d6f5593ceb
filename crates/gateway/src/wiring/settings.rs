//! Settings that follow their file, and an administrator, while running.

use super::parts;
use crate::cli::ReadSettings;
use crate::config::{
    self, Config, Problems, Resolved, Runtime, Setting, SettingProblem, Settings, shown,
};
use crate::memory_limit::MemoryLimit;
use admin::ops::option::ConsoleConfig;
use admin::{Changed, LoginGuard, OptionRefused, OptionView, Options};
use ledger::Ledger;
use oplog::Levels;
use relay::Current;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tasks::Tasks;
use tokio_util::sync::CancellationToken;

/// How often the file is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// What can be changed while running.
pub(crate) struct Followers {
    /// The data plane, on each of its runtimes.
    pub relays: Vec<Current>,
    /// The work on tasks.
    pub tasks: Arc<Tasks>,
    /// The money.
    pub ledger: Ledger,
    /// The way to upstreams, on all runtimes.
    pub client: upstream::Client,
    /// The way to webhooks.
    pub webhook_client: upstream::Client,
    /// Who tries to log in.
    pub logins: LoginGuard,
    /// The ceiling on memory.
    pub memory: Arc<MemoryLimit>,
    /// The log.
    pub levels: Levels,
}

/// The settings as they are now.
pub(crate) struct LiveSettings {
    followers: Followers,
    read: ReadSettings,
    file: Option<PathBuf>,
    state: Mutex<State>,
    /// Of administrators.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    settings: Settings,
    console: ConsoleConfig,
    /// What an administrator has set here.
    runtime: Runtime,
    /// The settings that wait for a restart, as last logged.
    waiting: Vec<&'static str>,
}

/// Another one: another file, or another text in it.
type Stamp = Option<(SystemTime, u64)>;

impl LiveSettings {
    /// Begins with what the process was started with.
    pub(crate) fn new(settings: Settings, read: ReadSettings, followers: Followers) -> Arc<Self> {
        let file = settings.text(config::Key::ConfigFile).map(PathBuf::from);
        // What the table allows never contradicts itself here: the start has read it already.
        let console = Config::from_settings(&settings).map(|config| config.console);
        let console = console.unwrap_or_default();
        let state = State { settings, console, runtime: Runtime::new(), waiting: Vec::new() };
        let (state, turn) = (Mutex::new(state), tokio::sync::Mutex::default());
        Arc::new(Self { followers, read, file, state, turn })
    }

    /// Follows the file until `end`. The first look counts as a change: the file may have been
    /// written since it was read.
    pub(crate) async fn follow(self: Arc<Self>, end: CancellationToken) {
        let Some(file) = &self.file else { return };
        let mut last: Option<Stamp> = None;
        loop {
            let stamp = tokio::fs::metadata(file).await.ok();
            let stamp = stamp.and_then(|found| Some((found.modified().ok()?, found.len())));
            if last.replace(stamp) != Some(stamp) {
                self.reload();
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// The configuration by which the process works, as it would be when it were read again now.
    ///
    /// # Errors
    /// What can't be used of it.
    pub(crate) fn read_again(&self) -> Result<Config, Problems> {
        let (settings, runtime) = {
            let state = self.state();
            (state.settings.clone(), state.runtime.clone())
        };
        let (settings, _) = settings.adopt((self.read)(&runtime)?);
        Config::from_settings(&settings)
    }

    /// Reloads all settings. An invalid configuration changes nothing, and the reason is logged.
    pub(crate) fn reload(&self) {
        let mut state = self.state();
        let runtime = state.runtime.clone();
        if let Err(Problems(problems)) = self.take(&mut state, runtime) {
            for SettingProblem { name, found, allowed } in problems {
                tracing::error!(
                    target: "custompass", event = "setting_refused", name, value = found, allowed
                );
            }
        }
    }

    /// Reads all settings with `runtime` on top, and has the parts work by them.
    fn take(&self, state: &mut State, runtime: Runtime) -> Result<(), Problems> {
        let (settings, waiting) = state.settings.adopt((self.read)(&runtime)?);
        let config = Config::from_settings(&settings)?;
        self.apply(&config)?;
        for ((setting, old), (_, new)) in state.settings.all().zip(settings.all()) {
            if old.value != new.value {
                let (value, source) = (shown(setting.kind, &new.text), new.source.to_string());
                let name = setting.name;
                tracing::info!(
                    target: "custompass", event = "setting_changed", name, value, source
                );
            }
        }
        for name in waiting.iter().filter(|name| !state.waiting.contains(name)) {
            tracing::warn!(target: "custompass", event = "setting_needs_restart", name);
        }
        *state = State { settings, console: config.console, runtime, waiting };
        Ok(())
    }

    /// What can be refused comes first, so that nothing has changed then.
    fn apply(&self, config: &Config) -> Result<(), Problems> {
        let parts = &self.followers;
        let ways = [(&parts.client, &config.upstream), (&parts.webhook_client, &config.webhooks)];
        for (client, way) in ways {
            client
                .configure(way.clone())
                .map_err(|error| problem("HTTP_PROXY", &error.into(), "the address of a proxy"))?;
        }
        parts.tasks.configure(config.tasks.clone());
        let relay_config = Arc::new(config.relay.clone());
        for relay in &parts.relays {
            relay.configure(Arc::clone(&relay_config));
        }
        parts.ledger.configure(parts::ledger_config(config));
        parts.logins.believe(config.relay.trusted_proxies.clone());
        parts.memory.set(config.memory_limit_bytes);
        parts.levels.set(&config.log);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Options for LiveSettings {
    fn all(&self) -> Vec<OptionView> {
        self.state().settings.all().map(|(setting, resolved)| view(setting, resolved)).collect()
    }

    fn console(&self) -> ConsoleConfig {
        self.state().console.clone()
    }

    fn turn(&self) -> &tokio::sync::Mutex<()> {
        &self.turn
    }

    fn change(&self, name: &str, value: Option<&str>) -> Result<Changed, OptionRefused> {
        let mut state = self.state();
        let setting = state.settings.all().map(|(setting, _)| setting);
        let setting = setting.into_iter().find(|setting| setting.names().any(|n| n == name));
        let setting = setting.ok_or(OptionRefused::Unknown)?;
        if !setting.is_live() {
            return Err(OptionRefused::NeedsRestart);
        }
        let mut runtime = state.runtime.clone();
        let before = match value {
            Some(value) => runtime.insert(setting.name, value.to_owned()),
            None => runtime.remove(setting.name),
        };
        self.take(&mut state, runtime).map_err(|problems| {
            let Problems(problems) = problems;
            let ours = problems.iter().find(|problem| problem.name == setting.name);
            let problem = ours.or(problems.first());
            OptionRefused::NotAllowed(problem.map(|p| p.allowed.clone()).unwrap_or_default())
        })?;
        let found = state.settings.all().find(|(one, _)| one.name == setting.name);
        let (setting, resolved) = found.ok_or(OptionRefused::Unknown)?;
        Ok(Changed { now: view(setting, resolved), before })
    }
}

fn problem(name: &str, error: &anyhow::Error, allowed: &str) -> Problems {
    let (name, found, allowed) = (name.into(), error.to_string(), allowed.into());
    Problems(vec![SettingProblem { name, found, allowed }])
}

fn view(setting: &'static Setting, resolved: &Resolved) -> OptionView {
    OptionView {
        key: setting.name,
        value: shown(setting.kind, &resolved.text),
        source: resolved.source.to_string(),
        allowed: config::allowed(setting.kind),
        default: setting.default,
        live: setting.is_live(),
        meaning: setting.meaning,
    }
}
