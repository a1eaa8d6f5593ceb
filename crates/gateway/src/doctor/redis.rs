//! The Redis that helps, where there is one. Nothing breaks without it, so it is never bad.

use super::HealthReport;
use crate::config::Config;
use crate::wiring;

const NAME: &str = "redis";

pub(super) async fn check(report: &mut HealthReport, config: &Config) {
    let shared = match wiring::shared_count(config) {
        Ok(Some(shared)) => shared,
        Ok(None) => {
            let alone = "is not used: each node counts requests per minute for itself";
            return report.good(NAME, alone);
        }
        Err(error) => return report.bad(NAME, format!("{error:#}"), "see newapi config"),
    };
    match shared.reach().await {
        Ok(()) => report.good(NAME, "answers: requests per minute count over all nodes"),
        Err(error) => report.odd(
            NAME,
            format!("can't be asked ({error}): each node counts requests per minute for itself"),
            "start it, and check REDIS_CONN_STRING: redis-cli ping; nothing else depends on it",
        ),
    }
}
