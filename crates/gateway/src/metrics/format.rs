//! The two formats of the metrics page. The library writes OpenMetrics 1.0, which Prometheus asks
//! for; all else reads the text format 0.0.4, in which a counter's own name ends in `_total`.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use std::fmt::Write;

/// What a page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain; version=0.0.4`.
    Text,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Format {
    /// Returns the format that `Accept` prefers: OpenMetrics must be requested by name, with at
    /// least the weight of plain text. `*/*`, which every client sends, expresses no preference.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let ranges: Vec<_> = lines.flat_map(|line| line.split(',')).filter_map(range).collect();
        let weight = |wanted: &str| {
            let named = ranges.iter().filter(|(kind, _)| kind == wanted);
            named.map(|(_, weight)| *weight).max().unwrap_or(0)
        };
        let open = weight("application/openmetrics-text");
        if open > 0 && open >= weight("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    pub(super) const fn content_type(self) -> HeaderValue {
        match self {
            Self::Text => HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
            Self::OpenMetrics => HeaderValue::from_static(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ),
        }
    }
}

/// A media range and its weight, in thousandths; nothing of one that can't be read.
fn range(text: &str) -> Option<(String, u32)> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    Some((kind, weight.map_or(Some(1_000), thousandths)?))
}

/// `1`, `0.5`, `0.333` in thousandths.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let padded = format!("{part:0<3}");
    let all = format!("{whole}{}", padded.get(..3)?);
    all.parse().ok().filter(|weight| *weight <= 1_000)
}

/// The text format of a page that the library has written.
pub(super) fn text(page: &str) -> String {
    let mut text = String::with_capacity(page.len() + page.len() / 8);
    let mut help = None;
    for line in page.lines() {
        let Some(about) = line.strip_prefix("# ") else {
            // Writing to a String can't fail, here and below.
            let _ = writeln!(text, "{line}");
            continue;
        };
        // `# HELP` comes first, and needs the name that `# TYPE` decides on.
        let mut words = about.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(_), said) => help = said,
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                if let Some(said) = help.take() {
                    let _ = writeln!(text, "# HELP {name}{suffix} {}", said.replace("\\\"", "\""));
                }
                let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            // `# UNIT` and `# EOF` are OpenMetrics' own.
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &'static str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        Format::wanted(&headers)
    }

    #[test]
    fn openmetrics_has_to_be_asked_for() {
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Text);
        for plain in [
            "*/*",
            "application/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.4,text/plain;q=0.5",
            "application/openmetrics-text;q=nothing",
        ] {
            assert_eq!(wanted(plain), Format::Text, "{plain}");
        }
        for open in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8",
            "text/plain;q=0.5, application/openmetrics-text;version=0.0.1;q=0.75",
            "application/openmetrics-text;q=0.5,text/plain;q=0.5",
        ] {
            assert_eq!(wanted(open), Format::OpenMetrics, "{open}");
        }
    }

    #[test]
    fn each_kind_has_its_name_of_before() {
        let page = "# HELP calls Calls, \\\"paid\\\".\n# TYPE calls counter\n\
                    calls_total{a=\"# TYPE\"} 3\n\
                    # HELP wait_seconds Waited.\n# TYPE wait_seconds histogram\n\
                    # UNIT wait_seconds seconds\nwait_seconds_sum 0.5\n\
                    # HELP build Build.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n# EOF\n";
        let expected = "# HELP calls_total Calls, \"paid\".\n# TYPE calls_total counter\n\
                        calls_total{a=\"# TYPE\"} 3\n\
                        # HELP wait_seconds Waited.\n# TYPE wait_seconds histogram\n\
                        wait_seconds_sum 0.5\n\
                        # HELP build_info Build.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n";
        assert_eq!(text(page), expected);
    }
}
