//! Who can reach a channel: for each of its models and each group what a call costs there, and
//! where the channel stands among those that serve it.

use super::get;
use crate::ops::price::{self, OwnPrice};
use crate::ops::unpriced;
use crate::{Actor, AdminError, AdminState};
use domain::{ChannelId, Quota};
use serde::Serialize;
use store::Catalog;
use utoipa::ToSchema;

/// Who can reach a channel.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChannelReach {
    /// The groups that have a ratio, or that a channel names.
    pub groups: Vec<String>,
    /// The channel's models.
    pub models: Vec<ModelReach>,
}

/// A model of the channel.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelReach {
    /// The model, or the pattern.
    pub model_name: String,
    /// What each group has of it, in the order of `groups`.
    pub groups: Vec<GroupReach>,
}

/// What one group has of a model at the channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct GroupReach {
    /// Whether its calls of the model may come here.
    pub reachable: bool,
    /// Why not: `disabled`, `unusable` (the row can't be read), `other_channels` (others serve the
    /// model for the group, and this one does not name it), `group` (nothing serves it for the
    /// group), `price` (a price or ratio that can't be read), `unpriced` (there is no price, and
    /// `CUSTOM_PASS_UNPRICED` is `reject`).
    pub why: Option<&'static str>,
    /// How many channels are tried before it, by their priority.
    pub after: i64,
    /// There is no price, and calls are free.
    pub free: bool,
    /// A call, in quota; of models priced per call.
    pub a_call: Option<Quota>,
    /// A million prompt tokens, in quota; of models priced by use.
    pub prompt_million: Option<Quota>,
    /// A million completion tokens.
    pub completion_million: Option<Quota>,
}

/// Who can reach the channel, by what is live on the node that answers.
///
/// # Errors
/// When there is no such channel, the role does not reach, or the database fails.
pub async fn reach(
    state: &AdminState,
    actor: &Actor,
    id: ChannelId,
) -> Result<ChannelReach, AdminError> {
    actor.require_admin()?;
    let channel = get(state, id).await?;
    let catalog = price::live_catalog(state)?;
    let groups: Vec<String> = catalog.groups().into_iter().map(str::to_owned).collect();
    let refused = unpriced::are_refused(state);
    let of_group = |group: &String, name: &str| of_group(&catalog, id, (group, name), refused);
    let model = |name: &String| ModelReach {
        model_name: name.clone(),
        groups: groups.iter().map(|group| of_group(group, name)).collect(),
    };
    Ok(ChannelReach { models: channel.models.iter().map(model).collect(), groups })
}

/// `refused`: calls of models without a price are.
fn of_group(
    catalog: &Catalog,
    id: ChannelId,
    (group, model): (&str, &str),
    refused: bool,
) -> GroupReach {
    let candidates = catalog.candidates(group, model);
    let own = candidates.iter().find(|channel| channel.id == id);
    let price = price::in_group(catalog, group, model);
    let why = match (own, catalog.channel(id)) {
        (_, None) => Some("unusable"),
        (_, Some(channel)) if !channel.is_enabled() => Some("disabled"),
        (None, _) if candidates.is_empty() => Some("group"),
        (None, _) => Some("other_channels"),
        (Some(_), _) if price.is_none() => Some("price"),
        (Some(_), _) if refused && price.as_ref().is_some_and(|price| price.free) => {
            Some("unpriced")
        }
        (Some(_), _) => None,
    };
    let before = own.map_or(0, |own| {
        candidates.iter().filter(|channel| channel.priority > own.priority).count()
    });
    let priced = price.as_ref().filter(|_| why.is_none());
    let amount = |read: fn(&OwnPrice) -> Option<Quota>| priced.and_then(read);
    GroupReach {
        reachable: why.is_none(),
        why,
        after: i64::try_from(before).unwrap_or(i64::MAX),
        free: priced.is_some_and(|price| price.free),
        a_call: amount(|price| price.a_call),
        prompt_million: amount(|price| price.prompt_million),
        completion_million: amount(|price| price.completion_million),
    }
}
