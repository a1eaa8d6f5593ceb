//! The end of the log: how the last calls went, and what upstreams did to them.

use super::{DoctorLimits, HealthReport, MAX_FAILED_PERCENT, MIN_CALLS, pauses, percent};
use crate::cli::log_line::{LogLine, millis};
use crate::config::Config;
use domain::UnixMs;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use traffic::Traffic;

/// How much of the log's end is read.
const TAIL_BYTES: u64 = 1 << 20;
/// Older entries say nothing about the current state.
const RECENT_MS: i64 = 15 * 60_000;
/// How many calls back a rate is reckoned, so that it follows soon once something was fixed.
const LAST_CALLS: usize = 100;
/// Events that are one call of a client each.
const CALLS: [&str; 2] = ["sync_request", "async_request"];
/// What an upstream returns for a key that it refuses.
const REFUSALS: [&str; 2] = ["status 401", "status 403"];
/// Failures of one channel that are more than an accident.
const MANY: usize = 3;

pub(super) fn check(
    report: &mut HealthReport,
    config: &Config,
    limits: &DoctorLimits,
    now: UnixMs,
) {
    let Some(path) = &config.log.file else {
        let found = "goes to standard error: the last calls are not looked at";
        return report.good("log", found);
    };
    let text = match tail(path) {
        Ok(text) => text,
        Err(error) => {
            let remedy = "is LOG_FILE the one that the service writes, and may you read it?";
            return report.bad("log", format!("{}: {error}", path.display()), remedy);
        }
    };
    let mut seen = Seen::default();
    for line in text.lines().filter_map(LogLine::read) {
        seen.take(&line, now.plus_ms(-RECENT_MS).0);
    }
    seen.failures(report);
    seen.slowness(report, limits.slow_call_ms);
    seen.channels(report);
}

/// What the live counters know of the last calls, where no log file does.
pub(super) fn of_traffic(report: &mut HealthReport, traffic: &Traffic) {
    report.forget(|name| name == "log" || name == "error rate");
    let counts = traffic.requests.read(traffic.minute(), RECENT_MS / 60_000);
    let most = counts.failures.first().map_or("", |(code, _)| *code);
    rate(report, (counts.failed, counts.calls), most);
}

/// Judges how many of the last calls failed.
fn rate(report: &mut HealthReport, (failed, all): (u64, u64), most: &str) {
    if all < MIN_CALLS {
        let found = format!("{all} calls in the last quarter of an hour say little");
        return report.good("error rate", found);
    }
    let failed = percent(failed, all);
    if failed > MAX_FAILED_PERCENT {
        let found = format!("{failed} % of the last {all} calls failed, most with {most}");
        report.bad("error rate", found, remedy(most));
    } else {
        report.good("error rate", format!("{failed} % of the last {all} calls failed"));
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the log contains, collected line by line.
#[derive(Default)]
struct Seen {
    calls: VecDeque<Call>,
    channels: BTreeMap<String, Channel>,
}

/// One of the last calls.
struct Call {
    /// The error's code; none: it succeeded.
    failed: Option<String>,
    took_ms: u64,
}

/// What went wrong with a channel, and has not gone well since.
#[derive(Default)]
struct Channel {
    refused: usize,
    late: usize,
    /// Failed polls of tasks, and the reason of the last one.
    in_vain: usize,
    why: String,
    /// What was last said of its account, while that is broken.
    account: String,
    /// Replies whose charge was bounded, and what the last one reported.
    bounded: usize,
    reported: String,
}

impl Seen {
    fn take(&mut self, line: &LogLine, since_ms: i64) {
        let recent = line.at_ms >= since_ms;
        let call = CALLS.contains(&line.event.as_str());
        let failed = line.field("status") != Some("success");
        let code = line.field("code").unwrap_or_default();
        if call && recent {
            if self.calls.len() == LAST_CALLS {
                self.calls.pop_front();
            }
            let took_ms = line.field("duration").and_then(millis).unwrap_or_default();
            self.calls.push_back(Call { failed: failed.then(|| code.to_owned()), took_ms });
        }
        let Some(channel) = line.field("channel_id") else { return };
        let channel = self.channels.entry(channel.to_owned()).or_default();
        let error = line.field("error").unwrap_or_default();
        match line.event.as_str() {
            "poll_failed" => {
                channel.in_vain += usize::from(recent);
                error.clone_into(&mut channel.why);
            }
            // Without an error, it works again.
            "channel_account" => error.clone_into(&mut channel.account),
            "task_finished" => channel.in_vain = 0,
            "charge_bounded" => {
                channel.bounded += usize::from(recent);
                line.field("reported").unwrap_or_default().clone_into(&mut channel.reported);
            }
            _ if call && !failed => (channel.refused, channel.late) = (0, 0),
            _ if call && code == "TIMEOUT" => channel.late += usize::from(recent),
            _ if REFUSALS.iter().any(|refusal| error.contains(refusal)) => channel.refused += 1,
            _ => {}
        }
    }

    fn failures(&self, report: &mut HealthReport) {
        let all = count(self.calls.iter());
        let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
        for code in self.calls.iter().filter_map(|call| call.failed.as_deref()) {
            *codes.entry(code).or_default() += 1;
        }
        let most = codes.iter().max_by_key(|(_, times)| **times).map_or("", |(code, _)| code);
        rate(report, (codes.values().sum(), all), most);
    }

    fn slowness(&self, report: &mut HealthReport, limit_ms: u64) {
        let all = count(self.calls.iter());
        if all < MIN_CALLS {
            return;
        }
        let slow = count(self.calls.iter().filter(|call| call.took_ms > limit_ms));
        let slow = percent(slow, all);
        let found = format!("{slow} % of the last {all} calls took longer than {limit_ms} ms");
        if slow > MAX_FAILED_PERCENT {
            let remedy = "whose time is it? custompass_upstream_duration_seconds is the upstreams' \
                          time, custompass_overhead_seconds is ours: processor, disk or database";
            report.odd("response time", found, remedy);
        } else {
            report.good("response time", found);
        }
    }

    fn channels(&self, report: &mut HealthReport) {
        for (id, channel) in &self.channels {
            pauses::explain(report, id, &channel.account);
        }
        let many = |times: fn(&Channel) -> usize| {
            self.channels.iter().filter(move |(_, channel)| times(channel) >= MANY)
        };
        let mut well = true;
        for (id, channel) in many(|channel| channel.refused) {
            well = false;
            report.bad(
                format!("channel {id} key"),
                format!("the upstream answered 401 or 403 to the last {} calls", channel.refused),
                format!(
                    "set the channel's key again, without blanks around it; newapi channel \
                         test {id} shows what the upstream says"
                ),
            );
        }
        for (id, channel) in many(|channel| channel.late) {
            well = false;
            report.bad(
                format!("channel {id} time"),
                format!("{} calls since the last success got no answer in time", channel.late),
                "is the upstream slow or away? Where it needs longer, raise \
                 CUSTOM_PASS_HTTP_TIMEOUT, or setting.timeout of the channel",
            );
        }
        for (id, channel) in many(|channel| channel.in_vain) {
            well = false;
            let (times, why) = (channel.in_vain, &channel.why);
            report.bad(
                format!("channel {id} tasks"),
                format!("the last {times} questions about tasks were in vain: {why}"),
                "ask the upstream by hand: curl -X POST BASE_URL/MODEL/task/list-by-condition; \
                 once it answers, newapi poll asks again at once",
            );
        }
        for (id, channel) in self.channels.iter().filter(|(_, channel)| channel.bounded > 0) {
            let Channel { bounded, reported, .. } = channel;
            report.odd(
                format!("channel {id} usage"),
                format!("{bounded} replies reported more than max_charge, the last {reported}"),
                "is it right? Then raise max_charge of the model's price: newapi price set; else \
                 disable the channel, and ask its vendor",
            );
        }
        if well {
            report.good("channel calls", "no upstream refuses its key, is late, or keeps tasks");
        }
    }
}

fn count(things: impl Iterator) -> u64 {
    things.map(|_| 1).sum()
}

/// What to do about calls that fail with this code.
fn remedy(code: &str) -> &'static str {
    match code {
        "INSUFFICIENT_QUOTA" | "SPENDING_LIMIT" => {
            "users are out of money or at their limit: newapi user list; newapi user topup"
        }
        "NO_CHANNEL" | "MODEL_NOT_FOUND" => {
            "no enabled channel serves the model: newapi channel list; a task's model ends in \
             /submit, in the path and in the channel"
        }
        "AUTH_ERROR" | "FORBIDDEN" => {
            "clients come with keys that are not good, or not for this model: newapi token list"
        }
        "ACCOUNT_BUSY" | "DATABASE_UNAVAILABLE" => {
            "see locked rows, long transactions and the connection pool"
        }
        "OVERLOADED" => "see memory; CUSTOM_PASS_MAX_IN_FLIGHT limits calls, too",
        "CONFIG_ERROR" => "a price or a channel can't be read: see channels and prices",
        _ if code.starts_with("UPSTREAM") || code == "TIMEOUT" => {
            "their upstreams refuse them, or fail: see the channels; newapi channel test ID"
        }
        _ => "newapi logs analyze says which errors, and for whom",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &str) -> HealthReport {
        let mut seen = Seen::default();
        lines.lines().filter_map(LogLine::read).for_each(|line| seen.take(&line, 0));
        let mut report = HealthReport::default();
        seen.failures(&mut report);
        seen.slowness(&mut report, 5_000);
        seen.channels(&mut report);
        report
    }

    fn names(report: &HealthReport) -> Vec<&str> {
        report.0.iter().map(|check| check.name.as_str()).collect()
    }

    #[test]
    fn a_key_is_wrong_until_it_is_taken_again() {
        let refused = "2024-01-01T00:00:00Z [WARN] custompass: sync_request channel_id=3 \
                       status=error code=UPSTREAM_STATUS error=\"status 401\"\n"
            .repeat(3);
        assert_eq!(names(&report(&refused)), ["error rate", "channel 3 key"]);
        let taken = "{\"time\":\"2024-01-01T00:00:01Z\",\"level\":\"INFO\",\
                     \"event\":\"sync_request\",\"channel_id\":3,\"status\":\"success\"}";
        assert_eq!(names(&report(&(refused + taken))), ["error rate", "channel calls"]);
    }

    #[test]
    fn a_channel_that_reports_too_much_is_named() {
        let line = "2024-01-01T00:00:00Z [WARN] custompass: charge_bounded channel_id=3 model=m \
                    request_id=r quota=500 reported=2000000\n";
        let found = report(&line.repeat(2));
        assert_eq!(names(&found), ["error rate", "channel 3 usage", "channel calls"]);
        assert!(found.0[1].found.starts_with("2 replies"), "{found:?}");
        assert!(found.0[1].found.ends_with("the last 2000000"), "{found:?}");
    }

    #[test]
    fn only_the_last_calls_count() {
        let line =
            |rest: &str| format!("2024-01-01T00:00:00Z [INFO] custompass: sync_request {rest}\n");
        let bad = line("duration=9.000s status=error code=NO_CHANNEL").repeat(50);
        let well = line("duration=0.100s status=success").repeat(95);
        let found = report(&bad);
        assert!(found.0[0].remedy.contains("/submit"), "{found:?}");
        assert!(found.0[1].found.starts_with("100 %"), "{found:?}");
        let found = report(&(bad + &well));
        assert!(found.0[0].remedy.is_empty() && found.0[1].remedy.is_empty(), "{found:?}");
    }
}
