//! Keeps back the event that comes only because usage was asked for on the client's behalf.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use protocol::{Pointer, ProtocolRoute, ReplyHead, ReplyReader};
use std::sync::Arc;
use upstream::splice::text_at;

/// A longer event is not the one that only has a usage.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// Looks through a stream of events, whole event by whole event.
pub(crate) struct ExtraEvent {
    route: Arc<ProtocolRoute>,
    /// The begin of an event whose end has not come.
    begun: BytesMut,
    /// How much of it has been searched for its end.
    searched: usize,
    /// The event under way is too long, and passes.
    passes: bool,
}

impl ExtraEvent {
    /// None: such a reply has no events that can be read.
    pub(crate) fn of(route: Option<Arc<ProtocolRoute>>, headers: &HeaderMap) -> Option<Self> {
        let is_plain = !headers.contains_key(CONTENT_ENCODING);
        let route = route.filter(|route| is_plain && extra_of(route).is_some())?;
        Some(Self { route, begun: BytesMut::new(), searched: 0, passes: false })
    }

    /// What of the stream may be sent, now that this piece has come.
    pub(crate) fn pass(&mut self, piece: &Bytes) -> Bytes {
        self.begun.extend_from_slice(piece);
        let mut passing = BytesMut::new();
        while let Some(end) = end_of_event(&self.begun, self.searched) {
            self.searched = 0;
            let event = self.begun.split_to(end);
            if std::mem::take(&mut self.passes) || !self.is_extra(&event) {
                passing.extend_from_slice(&event);
            }
        }
        // Of an event that passes, what could be the begin of its end stays.
        if self.passes || self.begun.len() > MAX_EVENT_BYTES {
            self.passes = true;
            let most = self.begun.len().saturating_sub(3);
            passing.extend_from_slice(&self.begun.split_to(most));
        }
        self.searched = self.begun.len().saturating_sub(3);
        passing.freeze()
    }

    /// What is left when the stream has ended.
    pub(crate) fn rest(&mut self) -> Bytes {
        let event = std::mem::take(&mut self.begun);
        let is_extra = !std::mem::take(&mut self.passes) && self.is_extra(&event);
        if is_extra { Bytes::new() } else { event.freeze() }
    }

    /// Whether an event has a usage and, where its content would be, an empty array.
    fn is_extra(&self, event: &[u8]) -> bool {
        let Some(extra) = extra_of(&self.route) else { return false };
        let lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
        let data: Vec<&[u8]> = lines.filter_map(|line| line.strip_prefix(b"data:")).collect();
        let data = data.join(&b'\n');
        let Some(names) = extra.names() else { return false };
        let Ok(Some(content)) = text_at(data.trim_ascii(), &names) else { return false };
        let inner = content.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        if !inner.is_some_and(|inner| inner.trim().is_empty()) {
            return false;
        }
        let head = ReplyHead { status: 200, content_type: Some("application/json") };
        let mut reader = ReplyReader::new(&self.route, head);
        reader.push(&data);
        reader.finish().meters.usage().is_some()
    }
}

/// The array that is empty in the event that comes only because it was asked for.
fn extra_of(route: &ProtocolRoute) -> Option<&Pointer> {
    route.ask_usage.as_ref()?.extra.as_ref()
}

/// Where the first event ends: behind its blank line.
fn end_of_event(bytes: &[u8], from: usize) -> Option<usize> {
    let mut ends = memchr::memchr2_iter(b'\n', b'\r', bytes.get(from..)?);
    ends.find_map(|at| {
        let rest = bytes.get(from + at..)?;
        let ends: [&[u8]; 3] = [b"\n\n", b"\r\n\r\n", b"\r\r"];
        ends.iter().find(|end| rest.starts_with(end)).map(|end| from + at + end.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Library;

    const USAGE: &str =
        "data: {\"choices\":[ ],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";

    fn filter() -> ExtraEvent {
        let library = Library::builtin().unwrap();
        let openai = library.get("openai").unwrap();
        let route = openai.route("POST", "/v1/chat/completions").unwrap().route;
        ExtraEvent::of(Some(Arc::clone(route)), &HeaderMap::new()).unwrap()
    }

    fn passed(stream: &str, size: usize) -> String {
        let mut filter = filter();
        let mut all = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            all.extend_from_slice(&filter.pass(&Bytes::copy_from_slice(piece)));
        }
        all.extend_from_slice(&filter.rest());
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn only_the_event_of_usage_is_kept_back() {
        let text = "data: {\"choices\":[{\"delta\":{\"content\":\"[]\"}}]}\n\n";
        let filtered = "data: {\"choices\":[],\"prompt_filter_results\":[]}\r\n\r\n: note\n\n";
        let with_text = "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":9}}\n\n";
        let done = "data: [DONE]\n\n";
        let stream = [filtered, text, with_text, USAGE, done].concat();
        let without = [filtered, text, with_text, done].concat();
        for size in [1, 2, 3, 7, 50, 10_000] {
            assert_eq!(passed(&stream, size), without, "{size}");
        }
        assert_eq!(passed(&format!("{text}{}", USAGE.trim_end()), 5), text);
    }

    #[test]
    fn long_events_pass_in_pieces() {
        let long = format!("data: {{\"choices\":[{{\"x\":\"{}\"}}]}}\n\n", "x".repeat(200_000));
        let stream = format!("{long}{USAGE}{long}");
        let mut filter = filter();
        let piece = Bytes::copy_from_slice(&stream.as_bytes()[..100_000]);
        assert!(filter.pass(&piece).len() > 90_000, "not all of it is held");
        for size in [999, 70_000] {
            assert!(passed(&stream, size) == format!("{long}{long}"));
        }
    }
}
