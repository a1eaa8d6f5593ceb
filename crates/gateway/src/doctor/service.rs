//! The running service, asked as its clients and Prometheus do.

use super::{HealthReport, MAX_FAILED_PERCENT, MIN_CALLS, pauses, percent};
use crate::cli::http;
use crate::config::Config;
use crate::probe::reachable;
use ::http::Method;
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// Usage of a limited resource, such as connections or descriptors, above which it is reported.
const MAX_USED_PERCENT: u64 = 90;
/// The handbook's alert: more tasks than this are queued and not started.
const MANY_TASKS: u64 = 100;
const MIB: u64 = 1 << 20;
/// Resident memory that the handbook worries about.
const MUCH_MEMORY: u64 = 2_048 * MIB;

pub(super) async fn check(report: &mut HealthReport, config: &Config) {
    let address = reachable(config.server.listen);
    match get(address, "/api/status").await {
        Some((200, _)) => report.good("service", format!("answers on {address}")),
        Some((status, body)) => report.bad(
            "service",
            format!("answers {status}: {}", shortened(&body)),
            "see the database, below, and the end of the log: it serves again by itself",
        ),
        None => report.bad(
            "service",
            format!("nothing answers on {address}"),
            "systemctl status newapi; journalctl -u newapi -n 50; is PORT the one it serves on?",
        ),
    }
    let Some(metrics) = &config.metrics else {
        return report.odd("metrics", "are switched off", "ENABLE_METRICS=true");
    };
    match get(reachable(metrics.listen), &metrics.path).await {
        Some((200, page)) => {
            of_metrics(report, &page, config.memory_limit_bytes);
            // The end of the log is a better source: this rate hardly changes after a month.
            if config.log.file.is_none() {
                error_rate(report, &page);
            }
        }
        _ => report.bad(
            "metrics",
            format!("nothing answers on {}{}", metrics.listen, metrics.path),
            "is METRICS_PORT the one that the service was started with?",
        ),
    }
}

async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let call = http::call(address, Method::GET, path, "", None);
    let reply = tokio::time::timeout(PATIENCE, call).await.ok()?.ok()?;
    Some((reply.status.as_u16(), reply.body))
}

fn shortened(body: &str) -> String {
    body.chars().take(200).collect()
}

/// The sum of all samples of this name with this label.
fn sum(page: &str, name: &str, label: &str) -> u64 {
    let samples = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
    samples.filter_map(whole).sum()
}

fn of_metrics(report: &mut HealthReport, page: &str, memory_limit: u64) {
    report.good("metrics", "are served");
    let sample = |name: &str| sum(page, name, "");
    let open = sample("custompass_database_connections_open");
    let used = open.saturating_sub(sample("custompass_database_connections_idle"));
    let waiting = sample("custompass_database_connections_waiting");
    pool(report, sample("custompass_database_connections_max"), used, waiting);
    memory(report, sample("process_resident_memory_bytes"), memory_limit);
    pauses::of_metrics(report, page);
    queue(report, sum(page, "custompass_tasks_in_queue", "status=\"submitted\""));
    let dropped = sample("custompass_log_lines_dropped_total");
    if dropped > 0 {
        report.odd("log lines", format!("{dropped} were dropped"), "is its disk full or slow?");
    }
    let (open, most) = (sample("process_open_fds"), sample("process_max_fds"));
    if most > 0 && percent(open, most) > MAX_USED_PERCENT {
        report.bad("descriptors", format!("{open} of {most} are open"), "raise LimitNOFILE");
    }
}

/// The whole part of a sample.
fn whole(line: &str) -> Option<u64> {
    line.rsplit(' ').next()?.split('.').next()?.parse().ok()
}

fn error_rate(report: &mut HealthReport, page: &str) {
    let all = sum(page, "custompass_requests_total", "");
    let failed = sum(page, "custompass_requests_total", "status=\"error\"");
    if all < MIN_CALLS {
        return report.good("error rate", format!("{all} calls since the start say little"));
    }
    let percent = percent(failed, all);
    let found = format!("{percent} % of {all} calls since the start failed");
    if percent > MAX_FAILED_PERCENT {
        let remedy = "custompass_errors_total says which errors; with LOG_FILE newapi logs analyze \
                    does, and for whom";
        report.bad("error rate", found, remedy);
    } else {
        report.good("error rate", found);
    }
}

fn queue(report: &mut HealthReport, waiting: u64) {
    let found = format!("{waiting} tasks were submitted and are not at work yet");
    if waiting > MANY_TASKS {
        let remedy = "the upstream is slow, or its answers are not read: see tasks asked about and \
                    the channel's tasks; CUSTOM_PASS_MAX_CONCURRENT and CUSTOM_PASS_BATCH_SIZE \
                    say how many are asked about at once";
        report.odd("task queue", found, remedy);
    } else {
        report.good("task queue", found);
    }
}

fn pool(report: &mut HealthReport, max: u64, used: u64, waiting: u64) {
    // SQLite has no pool.
    if max == 0 {
        return;
    }
    let found = format!("{used} of {max} connections are in use, {waiting} callers wait");
    if waiting > 0 || percent(used, max) > MAX_USED_PERCENT {
        let remedy = "end what holds them up (locked rows and long transactions, below); if there \
                      is nothing, raise CUSTOM_PASS_DB_MAX_OPEN_CONNS";
        report.bad("connection pool", found, remedy);
    } else {
        report.good("connection pool", found);
    }
}

fn memory(report: &mut HealthReport, resident: u64, limit: u64) {
    let found = format!("{} MiB resident", resident / MIB);
    if limit > 0 && resident > limit {
        let remedy = "new calls get 503 OVERLOADED: raise MEMORY_LIMIT, or lower \
                    CUSTOM_PASS_MAX_IN_FLIGHT";
        report.bad("memory", format!("{found}, above MEMORY_LIMIT"), remedy);
    } else if resident > MUCH_MEMORY {
        let remedy = "lower CUSTOM_PASS_MAX_IN_FLIGHT or CUSTOM_PASS_BUFFER_BUDGET, or set \
                    MEMORY_LIMIT";
        report.odd("memory", found, remedy);
    } else {
        report.good("memory", found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin::ops::doctor::HealthState;

    fn states(page: &str) -> Vec<(String, HealthState)> {
        let mut report = HealthReport::default();
        of_metrics(&mut report, page, 1 << 20);
        error_rate(&mut report, page);
        report.0.into_iter().map(|check| (check.name, check.state)).collect()
    }

    #[test]
    fn a_busy_page_is_found_wanting() {
        let page = "\
custompass_requests_total{type=\"sync\",status=\"success\"} 80
custompass_requests_total{type=\"sync\",status=\"error\"} 20
custompass_database_connections_max 25
custompass_database_connections_open 25
custompass_database_connections_idle 1
custompass_database_connections_waiting 3
process_resident_memory_bytes 2000000
";
        let states = states(page);
        for name in ["error rate", "connection pool", "memory"] {
            assert!(states.contains(&(name.to_owned(), HealthState::Bad)), "{name}: {states:?}");
        }
    }

    #[test]
    fn a_quiet_page_is_well() {
        assert!(
            states("process_resident_memory_bytes 1000\n").iter().all(|s| s.1 == HealthState::Good)
        );
    }
}
