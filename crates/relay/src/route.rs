//! Whether a model may be called, which channels serve it, and what it costs.

use crate::identify::{group_of, may_call};
use crate::{RelayConfig, faults};
use domain::{ChannelId, Fault, FaultKind, Pricing, Ratio};
use std::borrow::Cow;
use std::sync::Arc;
use store::{Catalog, Channel, DEFAULT_GROUP, Identity};

/// The channels that serve a model for this caller.
pub(crate) fn candidates<'a>(
    catalog: &'a Catalog,
    identity: &Identity,
    model: &str,
) -> Result<&'a [Arc<Channel>], Fault> {
    if !may_call(identity, model) {
        return Err(faults::model_not_allowed());
    }
    let group = group_of(identity);
    let candidates = catalog.candidates(group, model);
    if !candidates.is_empty() {
        return Ok(candidates);
    }
    let serves = |channel: &&Arc<Channel>| channel.serves(model);
    let mut serving = catalog.channels().iter().filter(serves).peekable();
    // Served, but to other groups only: a retry would not help.
    let elsewhere = serving.peek().is_some();
    let ours = |g: &String| g == group || g == DEFAULT_GROUP;
    let here = serving.any(|channel| channel.groups.iter().any(ours));
    Err(match (elsewhere, here) {
        (true, false) => faults::group_not_allowed(),
        (true, true) => faults::no_channel(30),
        (false, _) => faults::model_not_found(),
    })
}

/// Why there is no such model or path, where no protocol has it: the document that has it may be
/// one that can't be used now.
pub(crate) fn or_unread(catalog: &Catalog, identity: &Identity, fault: Fault) -> Fault {
    let is_missing = matches!(fault.kind, FaultKind::ModelNotFound | FaultKind::NotFound);
    let group = group_of(identity);
    let mut offered = catalog.channels().iter().filter(|channel| channel.is_offered_to(group));
    let is_unread =
        |channel: &Arc<Channel>| channel.is_enabled() && egress::protocol_of(channel).is_err();
    if is_missing && offered.any(is_unread) { faults::protocol_unread() } else { fault }
}

/// The channel that has what a call is about which names no model.
pub(crate) fn pinned(
    catalog: &Catalog,
    identity: &Identity,
    id: ChannelId,
) -> Result<Arc<Channel>, Fault> {
    let channel = catalog.channel(id).ok_or_else(faults::resource_not_found)?;
    if !channel.is_enabled() || !channel.is_offered_to(group_of(identity)) {
        return Err(faults::no_channel(30));
    }
    Ok(Arc::clone(channel))
}

/// The channels of which something holds, for a call that names no model.
pub(crate) fn any_that(
    catalog: &Catalog,
    identity: &Identity,
    holds: impl Fn(&Channel) -> bool,
) -> Result<Vec<Arc<Channel>>, Fault> {
    let group = group_of(identity);
    let all: Vec<_> = catalog.channels().iter().filter(|it| holds(it)).collect();
    let offered = |channel: &&&Arc<Channel>| channel.is_offered_to(group);
    if !all.is_empty() && !all.iter().any(|channel| offered(&channel)) {
        return Err(faults::group_not_allowed());
    }
    let mut open: Vec<_> = all.iter().filter(offered).filter(|it| it.is_enabled()).collect();
    if open.is_empty() {
        return Err(faults::no_channel(30));
    }
    open.sort_by_key(|channel| std::cmp::Reverse(channel.priority));
    Ok(open.into_iter().map(|channel| Arc::clone(channel)).collect())
}

/// That of the channels which has what a call is about.
pub(crate) fn that_has(candidates: &[Arc<Channel>], id: ChannelId) -> Result<Arc<Channel>, Fault> {
    let channel = candidates.iter().find(|channel| channel.id == id);
    channel.cloned().ok_or_else(faults::resource_elsewhere)
}

/// Those of the channels whose own documents read a call as it is priced.
pub(crate) fn reading(
    candidates: &[Arc<Channel>],
    reads: impl Fn(&Channel) -> bool,
) -> Result<Cow<'_, [Arc<Channel>]>, Fault> {
    // One whose protocol is gone is refused for that, and not for the call.
    let may = |channel: &Arc<Channel>| reads(channel) || egress::protocol_of(channel).is_err();
    if candidates.iter().all(may) {
        return Ok(Cow::Borrowed(candidates));
    }
    let reading: Vec<_> = candidates.iter().filter(|it| may(it)).cloned().collect();
    if reading.is_empty() { Err(faults::model_not_spoken()) } else { Ok(Cow::Owned(reading)) }
}

/// The price of a model for this caller, to be frozen in the hold.
pub(crate) fn price(
    catalog: &Catalog,
    identity: &Identity,
    model: &str,
    config: &RelayConfig,
) -> Result<Pricing, Fault> {
    let row = catalog.price(model).map_err(|e| faults::bad_price().caused_by(e))?;
    let of = |group: &str| catalog.group_ratio(group);
    let group = identity.key_group.as_deref().and_then(of);
    let group = group.or_else(|| of(&identity.user_group)).unwrap_or(Ratio::ONE);
    let pricing = Pricing::freeze(row, group, identity.user_ratio)
        .map_err(|e| faults::bad_price().caused_by(e))?;
    match pricing {
        Pricing::Free if config.refuse_unpriced => Err(faults::unpriced()),
        pricing => Ok(pricing),
    }
}
