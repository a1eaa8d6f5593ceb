//! The job that sends spans, one batch at a time. Spans that a collector doesn't accept are lost,
//! counted, and logged from time to time.

use super::collector::Collector;
use super::queue::Counts;
use opentelemetry_sdk::trace::SpanData;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Spans in one message.
const BATCH_SPANS: usize = 512;
/// How long a span may wait for others to travel with.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two lines about spans that were lost.
const TELL_PAUSE: Duration = Duration::from_secs(60);

/// Sends what is queued until `end`, and then what is queued still.
pub(super) async fn run(
    mut queued: Receiver<SpanData>,
    collector: Collector,
    counts: Counts,
    end: CancellationToken,
) {
    let mut losses = Losses::default();
    loop {
        let batch = next_batch(&mut queued, &end).await;
        if batch.is_empty() {
            return;
        }
        let spans = batch.len() as u64;
        let refused = match collector.send(batch).await {
            Ok(refused) => refused.min(spans),
            Err(error) => {
                losses.error = error;
                spans
            }
        };
        counts.sent.inc_by(spans - refused);
        counts.failed.inc_by(refused);
        losses.tell(counts.lost());
    }
}

/// Returns the next batch of spans; an empty one at the end.
async fn next_batch(queued: &mut Receiver<SpanData>, end: &CancellationToken) -> Vec<SpanData> {
    let mut batch = Vec::with_capacity(BATCH_SPANS);
    tokio::select! {
        biased;
        _ = queued.recv_many(&mut batch, BATCH_SPANS) => {}
        () = end.cancelled() => return batch,
    }
    let until = Instant::now() + PAUSE;
    while batch.len() < BATCH_SPANS {
        let room = BATCH_SPANS - batch.len();
        let came = tokio::select! {
            biased;
            came = queued.recv_many(&mut batch, room) => came,
            () = sleep_until(until) => 0,
            () = end.cancelled() => 0,
        };
        if came == 0 {
            break;
        }
    }
    batch
}

/// The losses of spans that have been logged.
#[derive(Default)]
struct Losses {
    told: u64,
    told_at: Option<Instant>,
    /// Why the last batch failed; empty: none did.
    error: String,
}

impl Losses {
    fn tell(&mut self, lost: u64) {
        let too_soon = self.told_at.is_some_and(|at| at.elapsed() < TELL_PAUSE);
        if lost == self.told || too_soon {
            return;
        }
        let error = if self.error.is_empty() { "the collector is too slow" } else { &self.error };
        let spans = lost - self.told;
        tracing::warn!(target: "custompass", event = "spans_lost", spans, error);
        *self = Self { told: lost, told_at: Some(Instant::now()), error: String::new() };
    }
}
