//! The end of the log: what upstreams refused lately.

use super::Report;
use crate::config::Config;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the log's end is read.
const TAIL_BYTES: u64 = 1 << 20;
/// What an upstream says about a key that it doesn't take.
const REFUSALS: [&str; 2] = ["status 401", "status 403"];
/// Refusals of one channel that are more than somebody's mistake.
const MANY: usize = 3;

pub(super) fn check(report: &mut Report, config: &Config) {
    let Some(path) = &config.log.file else { return };
    match tail(path) {
        Err(error) => report.bad(
            "log",
            format!("{}: {error}", path.display()),
            "is LOG_FILE the one that the service writes, and may you read it?",
        ),
        Ok(text) => keys(report, &text),
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

/// Channels whose key the upstream refused, and has not taken since.
fn keys(report: &mut Report, text: &str) {
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines() {
        let Some(channel) = field(line, "channel_id") else { continue };
        if REFUSALS.iter().any(|refusal| line.contains(refusal)) {
            *refused.entry(channel).or_default() += 1;
        } else if line.contains("status=success") || line.contains("\"status\":\"success\"") {
            refused.remove(channel);
        }
    }
    refused.retain(|_, times| *times >= MANY);
    if refused.is_empty() {
        return report.good("channel keys", "no upstream refused one lately");
    }
    for (channel, times) in refused {
        report.bad(
            format!("channel {channel} key"),
            format!("the upstream answered 401 or 403 to the last {times} calls"),
            "set the channel's key again; newapi channel test shows what the upstream says",
        );
    }
}

/// A field of a line of either shape.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let at = line.find(name)? + name.len();
    let rest = line.get(at..)?.trim_start_matches(['"', '=', ':']);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end).filter(|digits| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_wrong_until_it_is_taken_again() {
        let refused = "… sync_request channel_id=3 status=error error=\"status 401\"\n".repeat(3);
        let bad = |text: &str| {
            let mut report = Report::default();
            keys(&mut report, text);
            report.0.remove(0).name
        };
        assert_eq!(bad(&refused), "channel 3 key");
        let mended =
            refused + "{\"event\":\"sync_request\",\"channel_id\":3,\"status\":\"success\"}";
        assert_eq!(bad(&mended), "channel keys");
    }
}
