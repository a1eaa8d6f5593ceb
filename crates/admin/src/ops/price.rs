//! What a user pays: the models of their group, with every ratio in the price.

use crate::{Actor, AdminError, AdminState};
use domain::{FrozenPrice, Pricing, Quota, Ratio, Usage};
use serde::Serialize;
use utoipa::ToSchema;

/// The number of tokens that prices are per.
const MILLION: i64 = 1_000_000;

/// The price of a model for one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OwnPrice {
    /// The model.
    pub model_name: String,
    /// There is no price: calls are free.
    pub free: bool,
    /// A call, in quota; of models priced per call.
    pub a_call: Option<Quota>,
    /// A million prompt tokens, in quota; of models priced by use.
    pub prompt_million: Option<Quota>,
    /// A million completion tokens.
    pub completion_million: Option<Quota>,
    /// A million cached prompt tokens.
    pub cached_million: Option<Quota>,
}

/// What the actor pays in their own group. Models whose price can't be read are left out: they
/// refuse calls.
///
/// # Errors
/// When the database fails.
pub async fn own(state: &AdminState, actor: &Actor) -> Result<Vec<OwnPrice>, AdminError> {
    let live = state.live.as_ref();
    let live = live.ok_or_else(|| AdminError::System("prices without a live view".to_owned()))?;
    let rows =
        state.db.read("SELECT ratio FROM users WHERE id = $1", &[actor.user_id.into()]).await?;
    let user = rows.first().map(|row| row.get("ratio")).transpose()?.unwrap_or(Ratio::ONE);
    let catalog = live.catalog.load();
    let group = catalog.group_ratio(&actor.group).unwrap_or(Ratio::ONE);
    let models = catalog.models_of(&actor.group);
    let priced = models.into_iter().filter_map(|model| {
        let row = catalog.price(model).ok()?;
        shown(model, &Pricing::freeze(row, group, user).ok()?)
    });
    Ok(priced.collect())
}

fn shown(model: &str, pricing: &Pricing) -> Option<OwnPrice> {
    let mut price = OwnPrice {
        model_name: model.to_owned(),
        free: false,
        a_call: None,
        prompt_million: None,
        completion_million: None,
        cached_million: None,
    };
    let Pricing::Priced(frozen) = pricing else {
        price.free = true;
        return Some(price);
    };
    if !frozen.is_by_use() {
        price.a_call = Some(frozen.charge(&Usage::default()).ok()?);
        return Some(price);
    }
    let charge = |frozen: &FrozenPrice, usage: Usage| frozen.charge(&usage).ok();
    let prompt = Usage { prompt_tokens: MILLION, ..Usage::default() };
    let completion = Usage { completion_tokens: MILLION, ..Usage::default() };
    let cached = Usage { prompt_tokens: MILLION, cached_tokens: MILLION, ..Usage::default() };
    price.prompt_million = Some(charge(frozen, prompt)?);
    price.completion_million = Some(charge(frozen, completion)?);
    price.cached_million = Some(charge(frozen, cached)?);
    Some(price)
}
