//! Reads a reply, collected or streamed, and interprets it.

use crate::asked::Asked;
use crate::client_link::ClientLink;
use crate::config::SMALL_BODY_BYTES;
use crate::outcome::{BodyEnd, FailedReply, Reading};
use bytes::Bytes;
use egress::CUSTOM_PASS;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use protocol::{
    CallOutcome, Library, PriceNeeds, ProtocolRoute, ReplyFailure, ReplyHead, ReplyReader,
    ReplyReading,
};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use upstream::{BROKEN_ENCODING, Decoded, ReplyBody, SendError};
use web::Pieces;
use web::memory::Share;

/// What a reply's headers declare of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeclaredShape {
    /// One JSON document, or nothing declared.
    Json,
    /// Events or lines.
    Stream,
    Other,
}

/// A body as far as it was collected.
pub(crate) struct Collected {
    pub bytes: Bytes,
    /// How it ended; `None`: it exceeds the limit, and continues.
    pub end: Option<BodyEnd>,
}

pub(crate) fn shape_of(headers: &HeaderMap) -> DeclaredShape {
    let Some(value) = headers.get(CONTENT_TYPE) else { return DeclaredShape::Json };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    if ["text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl"]
        .into_iter()
        .any(is)
    {
        DeclaredShape::Stream
    } else if essence.len() >= 4 && essence[essence.len() - 4..].eq_ignore_ascii_case("json") {
        DeclaredShape::Json
    } else {
        DeclaredShape::Other
    }
}

/// The length declared by a reply's headers.
pub(crate) fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How much of a reply is collected before the client sees any of it; `None`: it is streamed.
pub(crate) fn collects(
    headers: &HeaderMap,
    body: &ReplyBody,
    is_by_use: bool,
    most_bytes: usize,
) -> Option<usize> {
    if body.is_end_stream() {
        return Some(0);
    }
    let shape = shape_of(headers);
    let length = body.size_hint().exact();
    let fits = |limit: usize| length.is_none_or(|length| length <= limit as u64);
    if shape == DeclaredShape::Json && is_by_use && fits(most_bytes) {
        return Some(most_bytes);
    }
    (shape != DeclaredShape::Stream && length.is_some() && fits(SMALL_BODY_BYTES))
        .then_some(SMALL_BODY_BYTES)
}

/// How a body with this error has ended.
pub(crate) const fn ended_by(error: &SendError) -> BodyEnd {
    if error.is_clients_fault() {
        BodyEnd::ClientSlow
    } else if error.is_timeout() {
        BodyEnd::TimedOut
    } else {
        BodyEnd::Cut
    }
}

/// Collects a body up to `limit_bytes`; for a disconnected client, until the drain is over.
pub(crate) async fn collect(
    body: &mut ReplyBody,
    limit_bytes: usize,
    link: &ClientLink,
    share: &mut Share,
) -> Collected {
    let mut pieces = Pieces::default();
    // The request is in memory as well, for as long.
    let before = share.bytes();
    let end = loop {
        let frame = poll_fn(|cx| {
            if link.is_drain_over() {
                return Poll::Ready(None);
            }
            Pin::new(&mut *body).poll_frame(cx).map(Some)
        });
        let data = match frame.await {
            None => break Some(BodyEnd::DrainedOut),
            Some(None) => break Some(BodyEnd::Complete),
            Some(Some(Err(e))) => break Some(ended_by(&e)),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => data,
                // Trailers: nothing of the body comes after them.
                Err(_) => continue,
            },
        };
        pieces.push(data);
        let bytes = pieces.len();
        let is_over = body.is_end_stream();
        if is_over && bytes <= SMALL_BODY_BYTES {
            // Its end has arrived: it is counted where the budget allows, and delivered anyhow.
            let _ = share.grow_to(before + bytes);
            break Some(BodyEnd::Complete);
        }
        if !share.grow_to(before + bytes) || bytes > limit_bytes {
            break None;
        }
        if is_over {
            break Some(BodyEnd::Complete);
        }
    };
    Collected { bytes: pieces.joined(), end }
}

/// How a call's replies are read.
#[derive(Clone, Debug)]
pub(crate) enum ReadAs {
    /// By the contract of CustomPass: what its upstream reports is what counts.
    Envelope(PriceNeeds),
    /// By its protocol: what the upstream does not report is counted.
    Route { route: Arc<ProtocolRoute>, asked: Asked, needs: PriceNeeds },
}

impl ReadAs {
    /// By the contract of CustomPass, with its sums alone.
    pub(crate) const SUMS: Self = Self::Envelope(PriceNeeds::Sums);

    /// The route, where it is a protocol that says how the call ends.
    pub(crate) const fn route(&self) -> Option<&Arc<ProtocolRoute>> {
        match self {
            Self::Route { route, .. } => Some(route),
            Self::Envelope(_) => None,
        }
    }
}

/// The route by which CustomPass's replies are read: that of its own document, for all models.
static ENVELOPE: LazyLock<Option<Arc<ProtocolRoute>>> = LazyLock::new(|| {
    let library = Library::builtin().ok()?;
    Some(Arc::clone(library.get(CUSTOM_PASS)?.route("POST", "/pass/model")?.route))
});

/// Reads a reply on its way.
pub(crate) struct ChargeReader {
    /// None where nothing of it is read.
    body: Option<Box<Decoded<ReplyReader>>>,
    read_as: ReadAs,
}

impl ChargeReader {
    pub(crate) fn new(headers: &HeaderMap, read_as: &ReadAs) -> Self {
        let route = read_as.route().or(ENVELOPE.as_ref());
        let body = route.map(|route| Box::new(decoded_reader(headers, route)));
        Self { body, read_as: read_as.clone() }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let Some(body) = &mut self.body {
            body.feed(bytes);
        }
    }

    /// Whether a stream has ended with `[DONE]`, and nothing has come behind it.
    pub(crate) fn is_ended(&self) -> bool {
        let reader = self.body.as_ref().and_then(|body| body.get_ref());
        reader.is_some_and(ReplyReader::is_ended)
    }

    /// What the reply said, now that it is over.
    pub(crate) fn finish(self) -> Reading {
        let Some(body) = self.body else { return Reading::default() };
        // Of a compressed stream that breaks off, too, what came is what was delivered.
        let (reader, unreadable) = body.finish_in_part();
        let mut reading = match (reader.map(ReplyReader::finish), self.read_as) {
            (None, _) => Reading::default(),
            (Some(read), ReadAs::Envelope(needs)) => read_as_envelope(&read, needs),
            (Some(read), ReadAs::Route { asked, needs, .. }) => read_by_route(read, &asked, needs),
        };
        if let Some(why) = unreadable {
            reading.is_garbled = why == BROKEN_ENCODING;
            if !reading.is_stream {
                reading.usage = None;
            }
            if reading.usage.is_none() {
                reading.trouble = Some(format!("unreadable: {why}"));
            }
        }
        reading
    }
}

fn decoded_reader(headers: &HeaderMap, route: &ProtocolRoute) -> Decoded<ReplyReader> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // Replies of other statuses are not read: they cost nothing.
    let mut reader = ReplyReader::new(route, ReplyHead { status: 200, content_type });
    reader.read_headers(|name| headers.get_all(name).iter().map(HeaderValue::as_bytes));
    match reader.reads_nothing() {
        true => Decoded::undecoded(reader),
        false => Decoded::for_headers(headers, reader),
    }
}

/// Reads a whole reply.
pub(crate) fn read_whole(headers: &HeaderMap, bytes: &[u8], read_as: &ReadAs) -> Reading {
    let mut reader = ChargeReader::new(headers, read_as);
    reader.feed(bytes);
    reader.finish()
}

/// What a protocol's reader found, as far as money is concerned.
fn read_by_route(mut read: ReplyReading, asked: &Asked, needs: PriceNeeds) -> Reading {
    let failed = match read.outcome {
        CallOutcome::Delivered => false,
        CallOutcome::Empty => !asked.allows_nothing,
        CallOutcome::Failed(_) => true,
    };
    let failure = match read.outcome {
        CallOutcome::Empty => FailedReply::Empty,
        CallOutcome::Failed(ReplyFailure::Nothing) => FailedReply::Nothing,
        CallOutcome::Failed(ReplyFailure::Unpromised) => FailedReply::Unpromised,
        _ => FailedReply::Said,
    };
    let is_stream = read.shape.is_stream();
    let usage = read.usage(needs, asked.input_tokens, failed);
    let (is_estimate, resources) = (read.estimate, std::mem::take(&mut read.resources));
    let account = read.account.then(|| read.message.clone().unwrap_or_default());
    let has_content = read.any_text;
    Reading {
        failed,
        failure,
        message: read.message.take(),
        is_estimate,
        trouble: None,
        usage,
        is_stream,
        resources,
        account,
        has_content,
        is_free_when_cut: false,
        is_garbled: false,
    }
}

/// What the envelope says, as far as money is concerned.
fn read_as_envelope(read: &ReplyReading, needs: PriceNeeds) -> Reading {
    let (usage, trouble) = match read.reported(needs) {
        Ok(usage) => (usage, None),
        Err(why) => (None, Some(why)),
    };
    Reading {
        failed: read.outcome == CallOutcome::Failed(ReplyFailure::Said),
        failure: FailedReply::Said,
        message: read.message.clone(),
        is_estimate: read.estimate,
        usage,
        trouble,
        is_stream: read.shape.is_stream(),
        has_content: read.documents > 0,
        is_free_when_cut: false,
        is_garbled: false,
        resources: Vec::new(),
        account: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn shapes() {
        assert_eq!(shape_of(&headers("application/json; charset=utf-8")), DeclaredShape::Json);
        assert_eq!(shape_of(&headers("application/problem+JSON")), DeclaredShape::Json);
        assert_eq!(shape_of(&HeaderMap::new()), DeclaredShape::Json);
        assert_eq!(shape_of(&headers("text/event-stream;charset=utf-8")), DeclaredShape::Stream);
        assert_eq!(shape_of(&headers("application/x-ndjson")), DeclaredShape::Stream);
        assert_eq!(shape_of(&headers("image/png")), DeclaredShape::Other);
    }

    fn reading(content_type: &'static str, body: &str) -> Reading {
        read_whole(&headers(content_type), body.as_bytes(), &ReadAs::SUMS)
    }

    #[test]
    fn usage_counts_only_when_it_is_valid() {
        let json = |body| reading("application/json", body);
        let good = json(r#"{"code":0,"usage":{"prompt_tokens":3,"completion_tokens":4}}"#);
        assert_eq!(good.usage.map(|u| (u.prompt_tokens, u.completion_tokens)), Some((3, 4)));
        assert!(!good.failed && !good.is_estimate && good.trouble.is_none());
        let absurd = json(r#"{"usage":{"prompt_tokens":-3}}"#);
        assert!(absurd.usage.is_none() && absurd.trouble.is_some());
        let half = json(r#"{"usage":{"prompt_tokens":3},"#);
        assert!(half.usage.is_none() && half.trouble.is_some());
        let none = json(r#"{"code":"0"}"#);
        assert!(none.usage.is_none() && none.trouble.is_none() && !none.failed);
    }

    #[test]
    fn failures_are_recognised_by_the_envelope() {
        assert!(reading("application/json", r#"{"code":7,"message":"no"}"#).failed);
        assert!(reading("application/json", r#"{"code":0,"type":"precharge"}"#).is_estimate);
        assert!(!reading("application/json", r#"{"error":{"message":"x"}}"#).failed);
        let stream = reading("text/event-stream", "data: {\"error\":{\"message\":\"x\"}}\n\n");
        assert!(stream.failed && stream.is_stream);
    }
}
