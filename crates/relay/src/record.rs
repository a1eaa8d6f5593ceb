//! The end of every request: metrics and one log line, on every path.

use crate::Relay;
use crate::traced::Traced;
use domain::{ChannelId, Fault, FaultKind, KeyId, Quota, Usage, UserId};
use http::StatusCode;
use protocol::ErrorShape;
use spans::{Span, key};
use std::sync::Arc;
use std::time::{Duration, Instant};
use traffic::{RecentCall, RecentEnd};
use web::Seconds;

const CLIENT_GONE: &str = "CLIENT_GONE";

/// What is known of a request, recorded when it is dropped: also when the client disconnects.
pub(crate) struct Record {
    relay: Arc<Relay>,
    pub(crate) started: Instant,
    pub(crate) request_id: Arc<str>,
    /// The spans of the request.
    pub(crate) trace: Traced,
    pub(crate) user_id: Option<UserId>,
    pub(crate) key_id: Option<KeyId>,
    pub(crate) channel_id: Option<ChannelId>,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) quota: Option<Quota>,
    /// The key whose tokens are limited, and its limit per minute.
    pub(crate) counts_tokens_of: Option<(KeyId, u32)>,
    upstream_since: Option<Instant>,
    upstream: Option<Duration>,
    outcome: CallResult,
    /// What the client reads first.
    status: Option<StatusCode>,
    /// The call submits a task.
    pub(crate) is_async: bool,
    /// The shape of our own errors, as the API that is spoken has it.
    pub(crate) errors: ErrorShape,
    /// The upstream's id of the task that it accepted.
    pub(crate) task_id: Option<String>,
    /// Not a call of a model: nothing to record.
    silent: bool,
}

enum CallResult {
    /// Dropped before anything was decided: the client disconnected.
    Gone,
    Success,
    Failed {
        code: &'static str,
        error: String,
        ours: bool,
        /// The public words of a fault of ours, in Chinese and in English.
        words: Option<(String, String)>,
    },
}

impl Record {
    pub(crate) fn open(relay: Arc<Relay>, request_id: Arc<str>, span: Span) -> Self {
        relay.metrics.in_flight.inc();
        Self {
            relay,
            started: Instant::now(),
            request_id,
            trace: Traced::new(span),
            user_id: None,
            key_id: None,
            channel_id: None,
            model: None,
            quota: None,
            counts_tokens_of: None,
            upstream_since: None,
            upstream: None,
            outcome: CallResult::Gone,
            status: None,
            is_async: false,
            errors: ErrorShape::Plain,
            task_id: None,
            silent: false,
        }
    }

    pub(crate) const fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// Time since the request arrived.
    pub(crate) fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) const fn keep_silent(&mut self) {
        self.silent = true;
    }

    /// Starts the time spent waiting for the upstream.
    pub(crate) fn upstream_begins(&mut self) {
        self.upstream_since = Some(Instant::now());
        self.trace.next_attempt();
    }

    /// Stops it.
    pub(crate) fn upstream_ends(&mut self) {
        self.trace.attempt_ends();
        if let Some(since) = self.upstream_since.take() {
            let before = self.upstream.unwrap_or_default();
            self.upstream = Some(before.saturating_add(since.elapsed()));
        }
    }

    /// Counts the tokens that the call has used, where its key's tokens are limited.
    pub(crate) fn used(&self, usage: Option<&Usage>) {
        let (Some((key_id, per_minute)), Some(usage)) = (self.counts_tokens_of, usage) else {
            return;
        };
        let tokens = usage.prompt_tokens.saturating_add(usage.completion_tokens);
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let (limits, now_us) = (&self.relay.limits, self.relay.now_us());
        if let Some(counting) = limits.count_tokens(key_id, tokens, per_minute, now_us) {
            self.relay.spawn("count of tokens", counting);
        }
    }

    /// The head of the reply is sent to the client.
    pub(crate) const fn answers(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(crate) fn succeed(&mut self) {
        self.outcome = CallResult::Success;
    }

    /// Failed with a fault of ours.
    pub(crate) fn fail(&mut self, fault: &Fault) {
        let shown = web::show(fault.kind);
        let cause = fault.cause_chain();
        let error = if cause.is_empty() { fault.en.clone() } else { cause };
        // A model that no channel serves is nearly always a client's typo.
        let ours = shown.status.is_server_error() && fault.kind != FaultKind::NoChannel;
        let words = Some((fault.zh.clone(), fault.en.clone()));
        self.outcome = CallResult::Failed { code: shown.code, error, ours, words };
    }

    /// Failed with the upstream's own error, which is passed on unchanged.
    pub(crate) fn fail_upstream(&mut self, code: &'static str, error: String) {
        self.outcome = CallResult::Failed { code, error, ours: false, words: None };
    }

    /// Adds what has become known of the call to its span.
    fn fill_span(&mut self) {
        let span = &mut self.trace.call;
        if !span.is_recorded() {
            return;
        }
        span.set(key::REQUEST_ID, Arc::clone(&self.request_id));
        let ids = [
            (key::USER_ID, self.user_id.map(|id| id.0)),
            (key::KEY_ID, self.key_id.map(|id| id.0)),
            (key::CHANNEL_ID, self.channel_id.map(|id| id.0)),
            (key::QUOTA, self.quota.map(|quota| quota.0)),
        ];
        for (key, value) in ids {
            if let Some(value) = value {
                span.set(key, value);
            }
        }
        if let Some(status) = self.status {
            span.status(status);
        }
        // An unserved name is not a model's, but arbitrary text of a client's.
        if let Some(model) = self.model.as_ref().filter(|_| self.channel_id.is_some()) {
            span.set(key::MODEL, Arc::clone(model));
        }
        match &self.outcome {
            CallResult::Failed { code, .. } => span.unserved(code, self.status),
            CallResult::Gone if self.status.is_none() => span.fail(CLIENT_GONE),
            CallResult::Gone | CallResult::Success => {}
        }
    }

    /// Adds it to the live counters: the same outcome as the metrics'.
    fn count(&self, total: Duration) {
        let failed = match &self.outcome {
            CallResult::Success => None,
            CallResult::Gone => Some(CLIENT_GONE),
            CallResult::Failed { code, .. } => Some(*code),
        };
        let traffic = &self.relay.traffic;
        traffic.requests.count(self.upstream, failed);
        if let Some(upstream) = self.upstream {
            traffic.own_share.count(Some(total.saturating_sub(upstream)), None);
        }
        // An unserved name is not a model's.
        let served = self.model.as_ref().filter(|_| self.channel_id.is_some());
        if let Some(meter) = served.and_then(|model| traffic.model(model)) {
            meter.count(self.upstream, failed);
        }
    }

    /// Leaves a note of a call that no charge in the journal tells of. Comes last: it takes the
    /// outcome with it.
    fn remember(&mut self) {
        let end = match std::mem::replace(&mut self.outcome, CallResult::Gone) {
            CallResult::Success if self.quota.is_some() => return,
            // Charged, although it failed: a stream that was cut.
            _ if self.quota.is_some_and(|quota| quota.0 > 0) => return,
            CallResult::Success => RecentEnd::Free,
            CallResult::Gone => RecentEnd::Gone,
            CallResult::Failed { code, words, error: cause, .. } => {
                RecentEnd::Failed { code, words, cause }
            }
        };
        self.relay.traffic.recent.push(RecentCall {
            at: self.relay.clock.now(),
            request_id: Arc::clone(&self.request_id),
            user_id: self.user_id,
            key_id: self.key_id,
            channel_id: self.channel_id,
            model: self.model.take(),
            status: self.status.map(|status| status.as_u16()),
            took_ms: self.elapsed_ms(),
            end,
        });
    }

    fn write_line(&self, total: Duration) {
        let duration = tracing::field::display(Seconds(total));
        let user_id = self.user_id.map(|id| id.0);
        let channel_id = self.channel_id.map(|id| id.0);
        let (model, request_id) = (self.model.as_deref(), &*self.request_id);
        let (quota, task_id) = (self.quota.map(|quota| quota.0), self.task_id.as_deref());
        let trace_id = self.trace.call.trace_id().map(tracing::field::display);
        let event = if self.is_async { "async_request" } else { "sync_request" };
        let line = match &self.outcome {
            CallResult::Success => {
                tracing::info!(
                    target: "custompass", event,
                    user_id, channel_id, model, duration, status = "success", request_id, quota,
                    task_id, trace_id,
                );
                return;
            }
            CallResult::Gone => (CLIENT_GONE, "the client disconnected", false),
            CallResult::Failed { code, error, ours, .. } => (*code, error.as_str(), *ours),
        };
        let (code, error, ours) = line;
        self.relay.metrics.error(code);
        if ours {
            tracing::error!(
                target: "custompass", event,
                user_id, channel_id, model, duration, status = "error", request_id, code, quota,
                task_id, trace_id, error,
            );
        } else {
            tracing::warn!(
                target: "custompass", event,
                user_id, channel_id, model, duration, status = "error", request_id, code, quota,
                task_id, trace_id, error,
            );
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.relay.metrics.in_flight.dec();
        self.fill_span();
        if self.silent {
            // Nothing to record; but an id that came with a failure can be looked up.
            if matches!(self.outcome, CallResult::Failed { .. }) {
                self.remember();
            }
            return;
        }
        self.upstream_ends();
        let total = self.started.elapsed();
        let success = matches!(self.outcome, CallResult::Success);
        self.relay.metrics.ended(self.is_async, success, total, self.upstream);
        self.count(total);
        self.write_line(total);
        self.remember();
    }
}
