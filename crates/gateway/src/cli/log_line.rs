//! A line of the log, read back.

use std::collections::BTreeMap;

/// A line of the log, in either shape.
pub(crate) struct LogLine {
    /// When it was written.
    pub at_ms: i64,
    /// `INFO`, `WARN` …
    pub level: String,
    /// The event that it reports.
    pub event: String,
    fields: BTreeMap<String, String>,
}

impl LogLine {
    /// Reads one; none: it is not of this program's shape.
    pub(crate) fn read(line: &str) -> Option<Self> {
        if line.starts_with('{') { Self::of_json(line) } else { Self::of_text(line) }
    }

    fn of_json(line: &str) -> Option<Self> {
        let members: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).ok()?;
        let mut fields: BTreeMap<String, String> = members
            .into_iter()
            .map(|(name, value)| match value {
                serde_json::Value::String(text) => (name, text),
                other => (name, other.to_string()),
            })
            .collect();
        let at_ms = instant(&fields.remove("time")?)?;
        let level = fields.remove("level")?;
        let event = fields.remove("event").or_else(|| fields.remove("message"))?;
        Some(Self { at_ms, level, event, fields })
    }

    /// `2024-01-01T12:00:00Z [INFO] custompass: event key=value key="two words"`
    fn of_text(line: &str) -> Option<Self> {
        let (at, rest) = line.split_once(" [")?;
        let (level, rest) = rest.split_once("] ")?;
        let (_, rest) = rest.split_once(": ")?;
        let (event, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let fields = pairs(rest);
        let (level, event) = (level.to_owned(), event.to_owned());
        Some(Self { at_ms: instant(at)?, level, event, fields })
    }

    /// A field's text.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

fn pairs(mut rest: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            None => value.split_once(' ').unwrap_or((value, "")),
            Some(quoted) => quoted.split_once("\" ").unwrap_or((quoted.trim_end_matches('"'), "")),
        };
        fields.insert(name.trim().to_owned(), value.to_owned());
        rest = after;
    }
    fields
}

/// An instant in milliseconds since 1970.
pub(crate) fn instant(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// `1.500s` in milliseconds.
pub(crate) fn millis(text: &str) -> Option<u64> {
    let (seconds, thousandths) = text.strip_suffix('s')?.split_once('.')?;
    let thousandths = format!("{thousandths:0<3}");
    let ms: u64 = thousandths.get(..3)?.parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_may_hold_anything() {
        let fields = pairs("a=1 error=\"x y=z\" b=2");
        assert_eq!((fields["error"].as_str(), fields["b"].as_str()), ("x y=z", "2"));
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(millis("61.234s"), Some(61_234));
        assert_eq!(millis("0.5s"), Some(500));
        assert_eq!(millis("soon"), None);
    }
}
