//! The health check of an installation: each diagnosis is one named check with what it found and
//! how to fix it. Made by `newapi doctor`, and by a serving process for its console.

mod channels;
mod database;
mod money;
mod pauses;
mod recent;
mod redis;
mod service;
mod tasks;
#[cfg(test)]
mod translated;

use crate::config::{Config, Problems, from_process, meaningless_in_process, unknown_in_process};
use crate::wiring;
use admin::ops::doctor::{Doctor, Examining, HealthCheck, HealthState};
use std::sync::Arc;
use store::{Db, StoreError};
use traffic::Traffic;

/// What is too slow, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoctorLimits {
    /// A call.
    pub slow_call_ms: u64,
    /// A transaction.
    pub long_transaction_ms: u64,
}

impl Default for DoctorLimits {
    fn default() -> Self {
        Self { slow_call_ms: 5_000, long_transaction_ms: 300_000 }
    }
}

/// The handbook's alert: more failed calls than these, in per cent.
const MAX_FAILED_PERCENT: u64 = 10;
/// Fewer calls say nothing about a rate.
const MIN_CALLS: u64 = 20;

fn percent(part: u64, all: u64) -> u64 {
    part.saturating_mul(100) / all.max(1)
}

/// All checks so far.
#[derive(Debug, Default)]
pub(crate) struct HealthReport(Vec<HealthCheck>);

impl HealthReport {
    /// The checks, in the order in which they were made.
    #[must_use]
    pub(crate) fn checks(self) -> Vec<HealthCheck> {
        self.0
    }

    fn good(&mut self, name: impl Into<String>, found: impl Into<String>) {
        self.add(name.into(), HealthState::Good, found.into(), String::new());
    }

    fn odd(
        &mut self,
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(name.into(), HealthState::Odd, found.into(), remedy.into());
    }

    /// Adds what is broken.
    pub(crate) fn bad(
        &mut self,
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(name.into(), HealthState::Bad, found.into(), remedy.into());
    }

    fn add(&mut self, name: String, state: HealthState, found: String, remedy: String) {
        self.0.push(HealthCheck { name, state, found, remedy });
    }

    /// Takes back all checks of this name.
    fn forget(&mut self, is_it: impl Fn(&str) -> bool) {
        self.0.retain(|check| !is_it(&check.name));
    }

    /// A check that could not be made is a finding, too.
    fn failed(&mut self, name: &str, error: &StoreError) {
        self.bad(name, error.to_string(), "see the checks of the database, and locked rows");
    }
}

/// How an installation is examined.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Examination {
    /// What is too slow.
    pub limits: DoctorLimits,
    /// Upstreams are asked as well.
    pub reaches_out: bool,
    /// The journal is audited, which takes as long as it is.
    pub audits: bool,
}

impl Examination {
    /// All checks that need no database, by the settings of this process's environment; none of
    /// the configuration: it can't be used.
    pub(crate) async fn around(&self, report: &mut HealthReport) -> Option<Config> {
        let read = from_process().and_then(|settings| Config::from_settings(&settings));
        let config = configuration(report, read)?;
        self.beside(report, &config).await;
        Some(config)
    }

    /// All checks by a configuration that need no database.
    async fn beside(&self, report: &mut HealthReport, config: &Config) {
        service::check(report, config).await;
        recent::check(report, config, &self.limits, wiring::system_clock().now());
        redis::check(report, config).await;
    }

    /// All checks of what is in the database.
    pub(crate) async fn inside(&self, report: &mut HealthReport, config: &Config, db: &Db) {
        if !database::check(report, db, &self.limits).await {
            return;
        }
        let now = wiring::system_clock().now();
        if self.audits {
            money::audit(report, db, now).await;
        }
        money::check(report, db, now).await;
        tasks::check(report, db, now).await;
        channels::check(report, config, db, !self.reaches_out).await;
    }
}

fn configuration(report: &mut HealthReport, read: Result<Config, Problems>) -> Option<Config> {
    for name in unknown_in_process() {
        report.odd(name, "is not a setting of this version", "unset it; see newapi config");
    }
    for (name, why) in meaningless_in_process() {
        report.odd(name, why, "unset it");
    }
    match read {
        Ok(config) => {
            report.good("configuration", "every setting can be used");
            Some(config)
        }
        Err(problems) => {
            report.bad("configuration", problems.to_string(), "see newapi config");
            None
        }
    }
}

/// Reads the configuration that a process serves by.
pub(crate) type ReadServed = Box<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// The health check of a serving process. It makes no audit: a page must not cost a walk through
/// the whole journal, so `admin` adds the last one that was made.
pub(crate) struct ServingDoctor {
    /// The process's own configuration, with the ports that it has; its environment may be another,
    /// as that of a demo is.
    pub served: ReadServed,
    /// The process's own database.
    pub db: Db,
    /// The process's own live counters, which know why channels are paused.
    pub traffic: Arc<Traffic>,
}

impl Doctor for ServingDoctor {
    fn examine(&self, reaches_out: bool) -> Examining<'_> {
        Box::pin(async move {
            let examination = Examination { reaches_out, ..Examination::default() };
            let mut report = HealthReport::default();
            if let Some(config) = configuration(&mut report, (self.served)()) {
                examination.beside(&mut report, &config).await;
                if config.log.file.is_none() {
                    recent::of_traffic(&mut report, &self.traffic);
                }
                examination.inside(&mut report, &config, &self.db).await;
            }
            pauses::of_traffic(&mut report, &self.traffic);
            report.checks()
        })
    }
}
