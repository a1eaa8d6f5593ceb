//! Counts the use of tasks whose report does not say it: in lines that are fetched once they are
//! done, such as the results of a batch. They pass, and are not kept.

use super::Core;
use super::apply::{End, is_overdue};
use super::poll_request::{PollFailure, PollQuestion, PollTarget};
use super::report::usage_of;
use domain::{Meter, Meters, TaskStatus};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use ledger::Charge;
use protocol::TaskCount;
use upstream::{Deadlines, OutboundRequest};

/// How long all lines may take.
const TOTAL_MS: u64 = 15 * 60 * 1000;
/// More are not read.
const MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// The ends of tasks, with their use. One whose use can't be counted is left for the next pass; at
/// the end of its lifetime it is charged what it holds.
pub(super) async fn counted<'t>(
    core: &Core,
    target: &PollTarget,
    question: PollQuestion<'_>,
    ends: Vec<End<'t>>,
) -> Vec<End<'t>> {
    let mut counted = Vec::with_capacity(ends.len());
    for mut end in ends {
        let rules = target.rules(&end.task.path).ok().flatten();
        let count = rules.and_then(|rules| rules.count.as_ref());
        if let Some(count) = count.filter(|_| end.end.status == TaskStatus::Completed) {
            end.charge = match use_of(core, target, (question, &end), count).await {
                Ok(meters) => Charge::Price(Some(usage_of(&meters))),
                Err(failure) => {
                    let is_last = is_overdue(core, Some(target), end.task, core.parts.clock.now());
                    tracing::warn!(
                        target: "custompass", event = "task_not_counted",
                        channel_id = target.prepared.channel.id.0, task_id = end.task.task_id,
                        request_id = end.task.request_id, is_last, error = failure.error(),
                    );
                    if !is_last {
                        continue;
                    }
                    Charge::Price(None)
                }
            };
        }
        counted.push(end);
    }
    counted
}

/// What all lines count together.
async fn use_of(
    core: &Core,
    target: &PollTarget,
    (question, end): (PollQuestion<'_>, &End<'_>),
    count: &TaskCount,
) -> Result<Meters, PollFailure> {
    let unasked = |why: &dyn std::fmt::Display| PollFailure::Unasked(why.to_string());
    let path = upstream::encode_path(&end.task.path);
    let path = count.request.path_for(&end.task.task_id, target.model(), &path);
    let uri = target.prepared.at_encoded(&path).map_err(|error| unasked(&error))?;
    let method = Method::from_bytes(count.request.method.as_bytes());
    let method = method.map_err(|error| unasked(&error))?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    target.prepared.authorize(&mut headers, question.owner.clone());
    target.prepared.sign(&mut headers, core.parts.clock.now());
    let (body, proxy) = (bytes::Bytes::new().into(), &target.prepared.proxy);
    let request = OutboundRequest { method, uri, headers, body, proxy };
    let deadlines = Deadlines { total_ms: TOTAL_MS, ..target.deadlines() };
    let reply = core.parts.client.send(request, &deadlines).await?;
    if !reply.status.is_success() {
        return Err(PollFailure::Status(reply.status));
    }
    let encoding = reply.headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(PollFailure::Unusable("compressed, against Accept-Encoding".to_owned()));
    }
    let (mut reader, mut body, mut length) = (count.reader(), reply.body, 0_u64);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length = length.saturating_add(data.len() as u64);
        if length > MAX_BYTES {
            return Err(PollFailure::TooLarge);
        }
        reader.push(&data);
    }
    let read = reader.finish();
    match read.fault {
        _ if !read.well_formed => Err(PollFailure::Unusable("not lines of JSON".to_owned())),
        Some(fault) => Err(PollFailure::Unusable(format!("{} is {}", fault.meter, fault.text))),
        None => Ok(or_nothing(&read.meters)),
    }
}

/// Lines that count nothing say that nothing was used.
fn or_nothing(meters: &Meters) -> Meters {
    let mut meters = *meters;
    if meters.usage().is_none() {
        meters.set(Meter::Input, 0);
    }
    meters
}
