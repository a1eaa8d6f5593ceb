//! Submissions that were accepted, and whose reply can't be read or passed on. They may have been
//! paid for at the vendor, and nothing can ask about them: they stay held until an operator settles
//! or releases them.

use super::{location_of, vendor};
use crate::call::Call;
use crate::context::Context;
use crate::deliver::Delivery;
use crate::faults;
use crate::idempotency::Tee;
use crate::reservation::{OpenTask, Reservation};
use domain::{Fault, TaskUid};
use egress::Prepared;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use ledger::AcceptedTask;
use serde_json::json;

/// Keeps a submission whose reply does not reach its client, which gets `fault` instead: so do
/// repetitions with its idempotency key, which must not submit the work again.
pub(super) async fn keep(
    ctx: &mut Context<'_>,
    call: &Call,
    (prepared, reservation): (&Prepared, Reservation),
    fault: Fault,
) -> Result<Delivery, Fault> {
    let relay = ctx.relay;
    let Some(OpenTask { uid, .. }) = reservation.task() else {
        return Err(faults::system("a submission without a task"));
    };
    let channel = &prepared.channel;
    let accepted = vendor::unread(call.upstream_path(channel)?.into_owned(), String::new());
    let tee = reservation.is_claimed().then(|| fault_tee(ctx, uid, &fault));
    let task = accepted.record(relay, uid, channel)?;
    warn(ctx, uid, &fault.cause_chain());
    ctx.record.quota =
        reservation.record(relay, AcceptedTask { task, hold: None, reply: None }, tee).await?;
    Err(fault)
}

/// What a repetition gets.
fn fault_tee(ctx: &Context<'_>, uid: TaskUid, fault: &Fault) -> Tee {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    if let Ok(location) = HeaderValue::try_from(location_of(uid)) {
        headers.insert(LOCATION, location);
    }
    let code = "UPSTREAM_RESPONSE";
    let error = json!({"message": fault.message(), "type": "upstream_error", "code": code});
    let most = ctx.relay.config.max_kept_reply_bytes;
    let mut tee = Tee::new(StatusCode::BAD_GATEWAY, &headers, most, ctx.share.another());
    tee.feed(json!({ "error": error }).to_string().as_bytes());
    tee
}

/// For the operator, who has to decide.
pub(super) fn warn(ctx: &Context<'_>, uid: TaskUid, why: &str) {
    let record = &ctx.record;
    tracing::error!(
        target: "custompass", event = "submission_unreadable", task_uid = %uid,
        user_id = record.user_id.map(|id| id.0), channel_id = record.channel_id.map(|id| id.0),
        request_id = &*record.request_id, error = why,
    );
}
