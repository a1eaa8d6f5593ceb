//! Channels that are paused, and why: as the metrics, the log and the live counters know it.

use super::HealthReport;
use traffic::{BreakerState, Traffic};

const NAME: &str = "paused channels";
const ACCOUNT_REMEDY: &str = "pay the upstream's bill, or set another key of the channel: it is \
    tried again by itself, and at once with another key";
const BREAKER_REMEDY: &str = "its upstream fails: newapi channel test ID shows what it says; it is \
    tried again by itself";

/// The name of the check about one channel.
fn of_channel(id: &str) -> String {
    format!("channel {id} pause")
}

fn is_pause(name: &str) -> bool {
    name == NAME || (name.starts_with("channel ") && name.ends_with(" pause"))
}

/// What the metrics say: which channels, and whether it is their account.
pub(super) fn of_metrics(report: &mut HealthReport, page: &str) {
    let broken = paused(page, "custompass_channel_account_broken{");
    let open = paused(page, "custompass_channel_open{");
    for id in &broken {
        account(report, id, "its account at the upstream is broken; the log says why");
    }
    for id in open.iter().filter(|id| !broken.contains(id)) {
        report.odd(of_channel(id), "its breaker is open", BREAKER_REMEDY);
    }
    if broken.is_empty() && open.is_empty() {
        report.good(NAME, "none");
    }
}

/// The channels for which a gauge is 1.
fn paused<'a>(page: &'a str, gauge: &str) -> Vec<&'a str> {
    let samples = page.lines().filter(|line| line.starts_with(gauge) && line.ends_with(" 1"));
    samples.filter_map(|line| line.split('"').nth(1)).collect()
}

/// Says why a channel's account is broken, if that was found.
pub(super) fn explain(report: &mut HealthReport, id: &str, why: &str) {
    let name = of_channel(id);
    let found = report.0.iter_mut().find(|check| check.name == name);
    if let Some(check) = found.filter(|check| check.remedy == ACCOUNT_REMEDY && !why.is_empty()) {
        why.clone_into(&mut check.found);
    }
}

/// What the live counters know, in place of what the metrics say.
pub(super) fn of_traffic(report: &mut HealthReport, traffic: &Traffic) {
    report.forget(is_pause);
    let mut is_well = true;
    for channel in traffic.channels() {
        let id = channel.id.to_string();
        let (state, retry_ms) = channel.breaker();
        let wait = retry_ms.map(|at| at - traffic.now_ms()).filter(|wait_ms| *wait_ms > 0);
        let wait = wait.map(|wait_ms| wait_ms / 1_000 + 1);
        let again = wait.map_or_else(String::new, |wait| format!("; tried again in {wait} s"));
        match (channel.account(), state) {
            (Some(why), _) => account(report, &id, &format!("its account is broken: {why}{again}")),
            // One whose time has come is tried by the next call, and may have been deleted.
            (None, BreakerState::Open) if wait.is_some() => {
                let found = format!("its breaker is open{again}");
                report.odd(of_channel(&id), found, BREAKER_REMEDY);
            }
            (None, _) => continue,
        }
        is_well = false;
    }
    if is_well {
        report.good(NAME, "none");
    }
}

fn account(report: &mut HealthReport, id: &str, found: &str) {
    report.bad(of_channel(id), found, ACCOUNT_REMEDY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{ChannelId, NodeId};

    fn told(report: HealthReport) -> Vec<(String, String)> {
        report.checks().into_iter().map(|check| (check.name, check.found)).collect()
    }

    #[test]
    fn metrics_name_paused_channels_and_the_log_says_why() {
        let page = "custompass_channel_open{channel_id=\"3\"} 1\n\
             custompass_channel_open{channel_id=\"4\"} 1\n\
             custompass_channel_open{channel_id=\"5\"} 0\n\
             custompass_channel_account_broken{channel_id=\"4\"} 1\n";
        let mut report = HealthReport::default();
        of_metrics(&mut report, page);
        explain(&mut report, "4", "status 401: no such key");
        explain(&mut report, "3", "of another time");
        let told = told(report);
        assert_eq!(told[0], ("channel 4 pause".to_owned(), "status 401: no such key".to_owned()));
        assert_eq!(told[1], ("channel 3 pause".to_owned(), "its breaker is open".to_owned()));
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn the_live_counters_know_better() {
        let traffic = Traffic::new(NodeId(uuid::Uuid::nil()));
        let mut report = HealthReport::default();
        of_metrics(&mut report, "custompass_channel_open{channel_id=\"4\"} 1\n");
        of_traffic(&mut report, &traffic);
        assert_eq!(told(report), [(NAME.to_owned(), "none".to_owned())]);
        let channel = traffic.channel(ChannelId(4));
        channel.breaker_is(BreakerState::Open, traffic.now_ms() + 4_500);
        channel.account_broke("status 402");
        let mut report = HealthReport::default();
        of_traffic(&mut report, &traffic);
        let found = "its account is broken: status 402; tried again in 5 s";
        assert_eq!(told(report), [("channel 4 pause".to_owned(), found.to_owned())]);
    }
}
