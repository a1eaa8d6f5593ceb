//! One event, one line.
//!
//! ```text
//! 2024-01-01T12:00:00Z [INFO] custompass: sync_request user_id=123 model=gpt-4 duration=1.500s
//! ```
//! The word after the target is the field `event` (or the message); then `key=value` in the order
//! of the event's fields, quoted only where a value has blanks. External input can't begin a new
//! line.

use std::cell::RefCell;
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// As above.
    Text,
    /// The same fields as a JSON object.
    Json,
}

/// Buffers for one line, reused by their thread.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The finished line.
    line: String,
    /// Its fields, until the first word is known.
    fields: String,
    /// One value, until it is known whether it needs quotes.
    value: String,
    /// The second that `stamp` shows.
    second: i64,
    /// `2024-01-01T12:00:00Z`
    stamp: String,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Writes `event` as a line and hands it to `emit`.
pub(crate) fn line(shape: LineFormat, now_ms: i64, event: &Event<'_>, emit: impl FnOnce(&str)) {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.stamp_for(now_ms.div_euclid(1_000));
        let Scratch { line, fields, value, stamp, .. } = scratch;
        line.clear();
        fields.clear();
        let meta = event.metadata();
        let level = level_word(*meta.level());
        // Writing to a String can't fail.
        let _ = match shape {
            LineFormat::Text => write!(line, "{stamp} [{level}] {}:", meta.target()),
            LineFormat::Json => write!(
                line,
                "{{\"time\":\"{stamp}\",\"level\":\"{level}\",\"target\":\"{}\"",
                meta.target()
            ),
        };
        let mut visitor = Visitor { shape, head: line, fields, value };
        event.record(&mut visitor);
        line.push_str(fields);
        line.push_str(if shape == LineFormat::Json { "}\n" } else { "\n" });
        emit(line);
    });
}

const fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

impl Scratch {
    fn stamp_for(&mut self, second: i64) {
        if second == self.second && !self.stamp.is_empty() {
            return;
        }
        self.second = second;
        self.stamp.clear();
        let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let _ = write!(self.stamp, "{}", time.strftime("%Y-%m-%dT%H:%M:%SZ"));
    }
}

struct Visitor<'a> {
    shape: LineFormat,
    head: &'a mut String,
    fields: &'a mut String,
    value: &'a mut String,
}

impl Visitor<'_> {
    /// A number or a word of ours, which needs no quotes.
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        let _ = match self.shape {
            LineFormat::Text => write!(self.fields, " {}={value}", field.name()),
            LineFormat::Json => write!(self.fields, ",\"{}\":{value}", field.name()),
        };
    }

    fn text(&mut self, field: &Field, value: &str) {
        let name = field.name();
        let is_word = matches!(name, "event" | "message");
        match self.shape {
            LineFormat::Text if is_word => {
                self.head.push(' ');
                escape(self.head, value, false);
            }
            LineFormat::Text => {
                self.fields.push(' ');
                self.fields.push_str(name);
                self.fields.push('=');
                let quoted = wants_quotes(value);
                if quoted {
                    self.fields.push('"');
                }
                escape(self.fields, value, quoted);
                if quoted {
                    self.fields.push('"');
                }
            }
            LineFormat::Json => {
                let out = if is_word { &mut *self.head } else { &mut *self.fields };
                let _ = write!(out, ",\"{name}\":\"");
                escape_json(out, value);
                out.push('"');
            }
        }
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.plain(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    /// Also called for `%`, whose `Debug` is its `Display`.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(self.value);
        text.clear();
        let _ = write!(text, "{value:?}");
        self.text(field, &text);
        *self.value = text;
    }
}

fn wants_quotes(value: &str) -> bool {
    value.is_empty() || value.chars().any(|c| c == '"' || c.is_whitespace() || is_unsafe(c))
}

/// Characters that would end a line, or make a terminal show something other than the text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(out: &mut String, value: &str, quoted: bool) {
    let plain = |b: u8| (0x20..0x7f).contains(&b) && !(quoted && matches!(b, b'"' | b'\\'));
    if value.bytes().all(plain) {
        out.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' | '\\' if quoted => {
                out.push('\\');
                out.push(c);
            }
            _ if is_unsafe(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
}

fn escape_json(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_unsafe(c) => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    struct Capture(LineFormat, Arc<Mutex<String>>);

    impl<S: tracing::Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            // 2024-01-01T12:00:00.999Z
            line(self.0, 1_704_110_400_999, event, |l| self.1.lock().unwrap().push_str(l));
        }
    }

    fn captured(shape: LineFormat, emit: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(String::new()));
        let subscriber = tracing_subscriber::registry().with(Capture(shape, Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, emit);
        // Another thread may still hold the subscriber, while it registers an event of its own.
        std::mem::take(&mut *lines.lock().unwrap())
    }

    #[test]
    fn is_the_handbooks_line() {
        let text = captured(LineFormat::Text, || {
            tracing::info!(
                target: "custompass",
                event = "sync_request",
                user_id = 123,
                channel_id = 1_i64,
                model = "gpt-4",
                duration = %format_args!("{}.{:03}s", 1, 500),
                status = "success",
            );
            tracing::error!(
                target: "custompass",
                user_id = 123,
                error = "insufficient quota",
                event = "precharge_failed",
            );
        });
        assert_eq!(
            text,
            "2024-01-01T12:00:00Z [INFO] custompass: sync_request user_id=123 channel_id=1 \
             model=gpt-4 duration=1.500s status=success\n\
             2024-01-01T12:00:00Z [ERROR] custompass: precharge_failed user_id=123 \
             error=\"insufficient quota\"\n"
        );
    }

    #[test]
    fn nothing_from_outside_begins_a_line_or_a_field() {
        let model = "a\nb [ERROR] custompass: forged \"x\" \u{1b}[31m\u{2028}\u{202e}\\";
        let text = captured(LineFormat::Text, || {
            tracing::info!(target: "custompass", event = "sync_request", model, empty = "");
            tracing::info!("a message\nof two lines");
        });
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains(
            r#"model="a\nb [ERROR] custompass: forged \"x\" \u{1b}[31m\u{2028}\u{202e}\\" empty="""#
        ));
        assert!(text.contains(r"a message\nof two lines"));
    }

    #[test]
    fn json_has_the_same_fields() {
        let text = captured(LineFormat::Json, || {
            let model = "a\n\"b\"\u{1b}";
            tracing::warn!(target: "custompass", event = "x", user_id = 7, ok = true, model);
        });
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["event"], "x");
        assert_eq!(value["user_id"], 7);
        assert_eq!(value["ok"], true);
        assert_eq!(value["model"], "a\n\"b\"\u{1b}");
        assert_eq!(value["time"], "2024-01-01T12:00:00Z");
        assert_eq!(value["level"], "WARN");
    }
}
