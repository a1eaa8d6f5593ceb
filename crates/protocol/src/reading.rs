//! Reads a reply on its way to the client, and keeps what money needs of it.
//!
//! The bytes that the client gets are never touched. A few hundred bytes are held, however long
//! the reply is and however it is cut into pieces; the pieces make no difference to the outcome.

use crate::head_count;
use crate::program::TextRole;
use crate::route::ProtocolRoute;
use crate::rules::{Condition, ConditionInput, MeterReports, Rules};
use crate::walk::{DocumentEvents, Framer, JsonWalker};
use domain::{Meter, Meters};
use std::io::{self, Write};
use std::sync::Arc;

/// What is read of a request. A write to the cache, or a search, is work with a result.
const READ: &[Meter] =
    &[Meter::Input, Meter::Cached, Meter::ImageIn, Meter::AudioIn, Meter::VideoIn];
/// Most ids that are kept of what a reply says was made.
const MAX_MADE: usize = 64;
/// The longest message of an upstream that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// How a body is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyShape {
    /// One JSON document.
    Json,
    /// An array at the top: each element is read like an event of a stream.
    Array,
    /// Server-sent events.
    Events,
    /// JSON documents, one after another.
    Lines,
    /// Bytes that are not read: sound, pictures, pages.
    Opaque,
}

impl BodyShape {
    /// Its word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Array => "array",
            Self::Events => "sse",
            Self::Lines => "lines",
            Self::Opaque => "bytes",
        }
    }

    /// Whether it comes in parts that mean something by themselves.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Array | Self::Events | Self::Lines)
    }
}

/// The head of a reply.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead<'a> {
    /// The status.
    pub status: u16,
    /// The header `content-type`.
    pub content_type: Option<&'a str>,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// Something was delivered.
    Delivered,
    /// A reply in order, in which nothing was made.
    Empty,
    /// The upstream did not do what was asked.
    Failed(ReplyFailure),
}

/// How an upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFailure {
    /// By its status.
    Status,
    /// The body reports a failure, although the status is 2xx.
    Said,
    /// The reply is of another kind than the route declares: a page instead of JSON.
    Unpromised,
    /// Nothing came at all.
    Nothing,
}

impl CallOutcome {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Empty => "empty",
            Self::Failed(ReplyFailure::Status) => "failed by status",
            Self::Failed(ReplyFailure::Said) => "failed",
            Self::Failed(ReplyFailure::Unpromised) => "failed: not what the route promises",
            Self::Failed(ReplyFailure::Nothing) => "failed: nothing came",
        }
    }
}

/// A count that can't be billed: negative, a part of a token, above a thousand million, no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterFault {
    /// Whose count it is.
    pub meter: Meter,
    /// What stood there.
    pub text: String,
}

/// What was read from a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyReading {
    /// How the body is made up: by its first byte more than by its header.
    pub shape: BodyShape,
    /// One whole document and nothing else; of streams, every document was whole.
    pub well_formed: bool,
    /// How many documents there were.
    pub documents: u64,
    /// The stream sent `[DONE]`.
    pub done: bool,
    /// What was counted, each without what another counts of it.
    pub meters: Meters,
    /// What did not add up. What was counted stands.
    pub mismatch: Option<String>,
    /// A count that can't be billed. What else was counted stands.
    pub fault: Option<MeterFault>,
    /// What came of the call.
    pub outcome: CallOutcome,
    /// By this status the upstream did no work: another channel may be asked.
    pub refused: bool,
    /// By this status another channel may be asked, where nothing has been delivered.
    pub retry: bool,
    /// The channel's account is broken, not the call.
    pub account: bool,
    /// The reply is an estimate, not a result.
    pub estimate: bool,
    /// Nothing was made, and the caller goes on with what the reply names.
    pub continues: bool,
    /// Why it failed, in the upstream's words.
    pub message: Option<String>,
    /// The ids of what was made.
    pub resources: Vec<String>,
    /// A count of the request's tokens can't be billed.
    pub bad_input: bool,
    /// A count of the reply's tokens can't be billed.
    pub bad_output: bool,
    /// Tokens of what was made, text and data, about: for replies that report none.
    pub text_tokens: i64,
    /// Those of a stream that came after its last count of the reply: no report has them.
    pub unreported_tokens: i64,
    /// Any text or data was made.
    pub any_text: bool,
}

/// Reads one reply. Push what passes by, then finish.
#[derive(Debug)]
pub struct ReplyReader {
    rules: Arc<Rules>,
    status: u16,
    framer: Framer,
    walker: JsonWalker,
    tally: ReplyTally,
}

/// What the documents of a body say together.
#[derive(Clone, Debug, Default)]
struct ReplyTally {
    documents: u64,
    broken: u64,
    done: bool,
    failed: bool,
    account: bool,
    estimate: bool,
    continues: bool,
    reports: MeterReports,
    /// Tokens of what was made until the reply was counted last.
    reported_tokens: i64,
    /// What headers say that is no count of their meter, and whether it adds to another.
    bad_heads: Vec<(bool, Meter, String)>,
    fault: Option<MeterFault>,
    message: Option<String>,
    resources: Vec<String>,
}

/// The sum, where documents end.
struct DocumentSink<'a> {
    rules: &'a Rules,
    status: u16,
    tally: &'a mut ReplyTally,
}

impl DocumentEvents for DocumentSink<'_> {
    fn document(&mut self, walker: &JsonWalker, event: &[u8]) {
        self.add(walker, event, true);
    }

    fn single(&mut self, walker: &JsonWalker) {
        self.add(walker, b"", false);
    }

    fn bare_event(&mut self, event: &[u8]) {
        let holds = |it: &Condition| {
            !it.events.is_empty()
                && it.test.is_none()
                && it.events.iter().any(|name| name.as_bytes() == event)
        };
        self.tally.failed |= self.rules.failed.iter().any(holds);
    }

    fn done(&mut self) {
        self.tally.done = true;
    }

    fn broken(&mut self) {
        self.tally.broken += 1;
    }
}

impl DocumentSink<'_> {
    fn add(&mut self, walker: &JsonWalker, event: &[u8], stream: bool) {
        let Self { rules, status, tally } = self;
        let found = &walker.found;
        tally.documents += 1;
        if !walker.is_done() {
            tally.broken += 1;
        }
        if tally.reports.add(&rules.usage, &rules.program, found) {
            tally.reported_tokens = found.made_tokens();
        }
        if let Some((meter, text)) = found.worst_count(&rules.program) {
            tally.fault = Some(MeterFault { meter, text: text.to_owned() });
        }
        let whole = walker.is_done();
        if found.tests != 0
            || (!event.is_empty() && rules.look_at_events())
            || (whole && !stream && rules.look_for_missing())
        {
            let about = ConditionInput { found, event, stream, whole, status: *status };
            let any = |conditions: &[Condition]| {
                conditions.iter().any(|condition| condition.holds(&about))
            };
            // Its words are those of the first failure.
            let failed = any(&rules.failed);
            if failed && !tally.failed {
                tally.message = None;
            }
            tally.failed |= failed;
            tally.account |= any(&rules.account);
            tally.estimate |= any(&rules.estimate);
            tally.continues |= any(&rules.continues);
        }
        if !found.kept.is_empty() {
            let first = |what| found.texts(&rules.program, what).next();
            if tally.message.is_none()
                && let Some(message) = first(TextRole::Message)
            {
                tally.message = Some(message.chars().take(MAX_MESSAGE_CHARS).collect());
            }
            for id in found.texts(&rules.program, TextRole::Resource) {
                let mut id = id.to_owned();
                rules.ids.shorten(&mut id);
                if tally.resources.len() < MAX_MADE && !tally.resources.contains(&id) {
                    tally.resources.push(id);
                }
            }
        }
    }
}

impl ReplyReader {
    /// A reader for a reply to a call of `route`.
    #[must_use]
    pub fn new(route: &ProtocolRoute, head: ReplyHead<'_>) -> Self {
        Self::with_rules(Arc::clone(&route.rules), head)
    }

    pub(crate) fn with_rules(rules: Arc<Rules>, head: ReplyHead<'_>) -> Self {
        let walker = JsonWalker::new(&rules.program);
        let framer = Framer::new(head.content_type);
        Self { rules, status: head.status, framer, walker, tally: ReplyTally::default() }
    }

    /// Reads the headers that count something; `values` gives those of a name.
    pub fn read_headers<'v, V: IntoIterator<Item = &'v [u8]>>(
        &mut self,
        mut values: impl FnMut(&str) -> V,
    ) {
        let Self { rules, tally, .. } = self;
        for source in &rules.usage.headers {
            match head_count::read(source.meter, values(&source.name)) {
                Ok(None) => {}
                Ok(Some(count)) => tally.reports.add_header(source, count),
                Err(text) => tally.bad_heads.push((source.plus, source.meter, text)),
            }
        }
    }

    /// Reads the next piece, decoded where the reply is compressed.
    pub fn push(&mut self, bytes: &[u8]) {
        let Self { rules, status, framer, walker, tally } = self;
        let mut adding = DocumentSink { rules, status: *status, tally };
        framer.feed(&rules.program, bytes, walker, &mut adding);
    }

    /// Returns what was read from the complete reply.
    #[must_use]
    pub fn finish(mut self) -> ReplyReading {
        let Self { rules, status, framer, walker, tally } = &mut self;
        let mut adding = DocumentSink { rules, status: *status, tally };
        framer.finish(&rules.program, walker, &mut adding);
        if tally.reports.heads_count_reply() {
            tally.reported_tokens = walker.found.made_tokens();
        }
        tally.reports.add_heads();
        for (adds, meter, text) in std::mem::take(&mut tally.bad_heads) {
            // What another place counts needs no header.
            if adds || !tally.reports.has(meter) {
                walker.found.spoil(meter);
                tally.fault = Some(MeterFault { meter, text });
            }
        }
        self.reading()
    }

    /// Whether nothing of the body is read, by its headers: it need not be decoded.
    #[must_use]
    pub const fn reads_nothing(&self) -> bool {
        self.framer.is_opaque()
    }

    /// Whether the reply is a stream that has ended with `[DONE]`, behind which nothing has come.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.framer.is_ended()
    }

    fn reading(self) -> ReplyReading {
        let Self { rules, status, framer, walker, tally } = &self;
        let shape = framer.shape(walker, tally.documents, tally.done);
        let (meters, mismatch) = tally.reports.settle(&rules.usage);
        let plain_tokens = if shape == BodyShape::Opaque { framer.plain_tokens() } else { 0 };
        let made_tokens = walker.found.made_tokens();
        let account = tally.account || rules.account.iter().any(|it| it.holds_by_status(*status));
        ReplyReading {
            shape,
            well_formed: framer.is_well_formed(walker, tally.broken),
            documents: tally.documents,
            done: tally.done,
            outcome: self.outcome(shape, &meters, mismatch.is_none()),
            meters,
            mismatch,
            fault: tally.fault.clone(),
            refused: rules.refused.contains(status),
            retry: rules.retry.contains(status),
            account,
            estimate: tally.estimate,
            continues: tally.continues,
            message: tally.message.clone(),
            resources: tally.resources.clone(),
            text_tokens: made_tokens + plain_tokens,
            unreported_tokens: match shape.is_stream() && rules.usage.counts_reply() {
                true => made_tokens - tally.reported_tokens,
                false => 0,
            },
            any_text: walker.found.any_made(),
            bad_input: walker.found.bad_input,
            bad_output: walker.found.bad_output,
        }
    }

    fn outcome(&self, shape: BodyShape, meters: &Meters, adds_up: bool) -> CallOutcome {
        let Self { rules, status, framer, walker, tally } = self;
        let promised = !rules.promised.is_empty();
        let documents = tally.documents > tally.broken || tally.done;
        let nothing_came = framer.is_blank() || (shape.is_stream() && tally.documents == 0);
        // A total that is all of what was read says, too, that nothing was made.
        let total_says = adds_up && tally.reports.has(Meter::Total);
        if !(200..300).contains(status) {
            CallOutcome::Failed(ReplyFailure::Status)
        } else if tally.failed {
            CallOutcome::Failed(ReplyFailure::Said)
        } else if promised && (nothing_came || (shape == BodyShape::Events && !documents)) {
            CallOutcome::Failed(ReplyFailure::Nothing)
        } else if promised
            && (!is_promised(&rules.promised, shape) || framer.is_page() || framer.is_cut(walker))
        {
            CallOutcome::Failed(ReplyFailure::Unpromised)
        } else if is_empty(&rules.empty, meters, total_says) && !walker.found.any_made() {
            CallOutcome::Empty
        } else {
            CallOutcome::Delivered
        }
    }
}

/// A decoder of a compressed body writes into the reader what it has decoded.
impl Write for ReplyReader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream's parts may come in any framing.
fn is_promised(promised: &[BodyShape], shape: BodyShape) -> bool {
    promised.contains(&shape)
        || shape.is_stream() && promised.iter().any(|promised| promised.is_stream())
}

/// Whether it was reported that nothing was made: only read. `total_says` stands for a count of 0
/// that was left out.
pub(crate) fn is_empty(empty: &[Meter], meters: &Meters, total_says: bool) -> bool {
    let left_out = total_says && !empty.is_empty() && meters.family(Meter::Input) > 0;
    let said = left_out || empty.iter().any(|meter| meters.get(*meter).is_some());
    let is_only_read = |(meter, count): (Meter, i64)| count == 0 || READ.contains(&meter);
    said && empty.iter().all(|meter| meters.family(*meter) == 0) && meters.iter().all(is_only_read)
}
