//! What a user pays: the models of their group, with every ratio in the price.

use super::ability::AbilityInput;
use super::log::{self, LogFilter, LogView, lately};
use super::price_demand::PricedNames;
use super::{group, user};
use crate::fields::Fields;
use crate::page::PageRequest;
use crate::{Actor, AdminError, AdminState, exact};
use domain::{FrozenPrice, PriceError, PriceRow, Pricing, Quota, Ratio, UnixMs, Usage, UserId};
use ledger::charged_lines;
use serde::Serialize;
use serde_json::value::RawValue;
use std::cmp::Reverse;
use std::sync::Arc;
use store::Catalog;
use store::patterns::is_pattern;
use utoipa::ToSchema;

/// The number of tokens that prices are per.
const MILLION: i64 = 1_000_000;
/// The call that a price is tried on unless the request says another.
const PROMPT_TOKENS: i64 = 1_000;
const COMPLETION_TOKENS: i64 = 500;
/// The largest call that a price is tried on.
const MAX_TOKENS: i64 = 1_000_000_000;
/// Of how many of its models a pattern is tried on the last charges, of the dearest.
const MODELS_OF_PATTERN: usize = 10;

/// The price of a model for one user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OwnPrice {
    /// The model.
    pub model_name: String,
    /// The protocol that it is called by: that of the channel that is tried first.
    pub protocol: String,
    /// There is no price: calls are free, or refused, as `CUSTOM_PASS_UNPRICED` says.
    pub free: bool,
    /// A call, in quota; of models priced per call.
    pub a_call: Option<Quota>,
    /// A million prompt tokens, in quota; of models priced by use, other than by units alone.
    pub prompt_million: Option<Quota>,
    /// A million completion tokens.
    pub completion_million: Option<Quota>,
    /// A million cached prompt tokens.
    pub cached_million: Option<Quota>,
    /// How a call is priced, with all ratios; of models with a price.
    pub formula: Option<String>,
    /// Worth of further meters, in prompt tokens: an object by meter; `null`: none.
    #[schema(value_type = Option<Object>)]
    pub meters: Box<RawValue>,
    /// Prices of counted units before the ratios of group and user, in quota: an object by unit;
    /// `null`: none.
    #[schema(value_type = Option<Object>)]
    pub units: Box<RawValue>,
    /// Factors by what was counted, or by what a request says: a list; `null`: none.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tiers: Box<RawValue>,
}

/// A price that is looked at before it is set, with a call to try it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewInput {
    price: AbilityInput,
    group: Option<String>,
    /// A user, by name or number: whose ratio, and group unless another one is given.
    user: Option<String>,
    usage: Usage,
}

impl PreviewInput {
    /// Reads a price as it is set, and `group`, `user`, `prompt_tokens` and `completion_tokens`.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let group = fields.text("group")?.filter(|group| !group.is_empty());
        let user = fields.text("user")?.filter(|user| !user.is_empty());
        let prompt = fields.int_in("prompt_tokens", 0, MAX_TOKENS)?;
        let completion = fields.int_in("completion_tokens", 0, MAX_TOKENS)?;
        let usage = Usage {
            prompt_tokens: prompt.unwrap_or(PROMPT_TOKENS),
            completion_tokens: completion.unwrap_or(COMPLETION_TOKENS),
            ..Usage::default()
        };
        Ok(Self { group, user, usage, price: AbilityInput::read(fields)? })
    }
}

/// What a price comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PricePreview {
    /// How a call is priced.
    pub formula: String,
    /// The same with the numbers of the call; `null` as its charge.
    pub calculation: Option<String>,
    /// What the call costs; `null` of a price of units alone, of which a call in tokens counts
    /// none.
    #[schema(value_type = Option<i64>)]
    pub charge: Option<Quota>,
    /// What is held before it.
    pub hold: Quota,
    /// What the last charges of the model would have been at this price.
    pub last_charges: LastCharges,
}

/// The last charges of a model, at most 100, as they were and as another price would have made
/// them; of a pattern, the last of the ten models that it prices which cost most lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastCharges {
    /// Charges that are compared.
    pub charges: i64,
    /// What they were.
    pub charged: Quota,
    /// What they would have been: by the counts of their lines, and the ratios of their group and
    /// user.
    pub would_be: Quota,
    /// Charges left out: their line does not say what the price depends on (counts, or what the
    /// request said), or they were charged by no formula.
    pub left_out: i64,
}

/// What a price would come to, for a user or for one without a ratio of their own. Nothing is
/// changed.
///
/// # Errors
/// When the price could not be set, the group or the user is unknown, or a number does not fit.
pub async fn preview(
    state: &AdminState,
    actor: &Actor,
    input: PreviewInput,
) -> Result<PricePreview, AdminError> {
    actor.require_admin()?;
    input.price.check()?;
    let user = match &input.user {
        Some(name) => Some(user::find(state, name).await.map_err(|error| match error {
            AdminError::NotFound { zh, en } => AdminError::field("user", zh, en),
            other => other,
        })?),
        None => None,
    };
    let live = state.live.as_ref().map(|live| live.catalog.load());
    let ratio_of = |group: &str| live.as_ref().and_then(|catalog| catalog.group_ratio(group));
    let group = match (&input.group, &user) {
        // A group without a ratio pays the plain price.
        (Some(name), _) => match ratio_of(name) {
            Some(ratio) => ratio,
            None if group::is_known(state, actor, name).await? => Ratio::ONE,
            None => return Err(AdminError::field("group", "没有这个分组", "is not known")),
        },
        (None, Some(user)) => ratio_of(&user.group).unwrap_or(Ratio::ONE),
        (None, None) => Ratio::ONE,
    };
    let own = user.and_then(|user| user.ratio.get().parse().ok()).unwrap_or(Ratio::ONE);
    let too_large = |_| AdminError::field("ratio", "价格过大", "makes a price that is too large");
    let row = Some(&input.price.price);
    let Pricing::Priced(frozen) = Pricing::freeze(row, group, own).map_err(too_large)? else {
        return Err(AdminError::field("ratio", "没有价格", "sets no price"));
    };
    let formula = frozen.formula();
    // Of the tiers those count that look at what was counted: there is no request.
    let frozen = frozen.for_request(|_| None);
    let charge = counted(frozen.charge(&input.usage)).map_err(too_large)?;
    Ok(PricePreview {
        formula,
        calculation: charge.map(|charge| frozen.calculation(&input.usage, charge)),
        charge,
        hold: frozen.first_hold(None).map_err(too_large)?,
        last_charges: last_charges(state, actor, &input.price).await?,
    })
}

/// Compares the last charges of a model with what a price would have made of them.
async fn last_charges(
    state: &AdminState,
    actor: &Actor,
    price: &AbilityInput,
) -> Result<LastCharges, AdminError> {
    let lines = last_lines(state, actor, &price.model_name).await?;
    let at = |line: &LogView| line.created_at.saturating_mul(1_000);
    let from = lines.iter().map(at).min().unwrap_or_default();
    let until = lines.iter().map(at).max().unwrap_or_default() + 999;
    let ids: Vec<i64> = lines.iter().map(|line| line.id).collect();
    let mut sums = LastCharges::default();
    for line in charged_lines(&state.db, &ids, (UnixMs(from), UnixMs(until))).await? {
        match line.at(&price.price) {
            Some(would_be) => {
                sums.charges += 1;
                sums.charged = sums.charged.sum_with(line.charged);
                sums.would_be = sums.would_be.sum_with(would_be);
            }
            None => sums.left_out += 1,
        }
    }
    Ok(sums)
}

/// The lines of the last charges that a price is, or would be, of.
async fn last_lines(
    state: &AdminState,
    actor: &Actor,
    name: &str,
) -> Result<Vec<LogView>, AdminError> {
    let page = PageRequest::first();
    let mut lines = Vec::new();
    for model in models_of(state, name).await? {
        let model = Some(model);
        let filter = LogFilter { r#type: Some("consume"), model, ..LogFilter::default() };
        lines.extend(log::list(state, actor, false, &filter, page).await?.items);
    }
    lines.sort_by_key(|line| Reverse(line.id));
    lines.truncate(usize::try_from(page.size).unwrap_or(usize::MAX));
    Ok(lines)
}

/// The model of a price; of a pattern those that were charged lately, the dearest first.
async fn models_of(state: &AdminState, name: &str) -> Result<Vec<String>, AdminError> {
    if !is_pattern(name) {
        return Ok(vec![name.to_owned()]);
    }
    let priced = PricedNames::read(state, Some(name)).await?;
    let mut spent: Vec<_> = lately::of_models(state).await?.into_iter().collect();
    spent.retain(|(model, _)| priced.price_of(model) == Some(name));
    spent.sort_by_key(|(_, spent)| Reverse(*spent));
    Ok(spent.into_iter().take(MODELS_OF_PATTERN).map(|(model, _)| model).collect())
}

/// What a call of this size costs, where anything that has a price is counted in it.
fn counted(charge: Result<Quota, PriceError>) -> Result<Option<Quota>, PriceError> {
    match charge {
        Err(PriceError::Uncounted(_)) => Ok(None),
        charge => charge.map(Some),
    }
}

/// What the actor pays in their own group. Models whose price can't be read are left out: they
/// refuse calls.
///
/// # Errors
/// When the database fails.
pub async fn own(state: &AdminState, actor: &Actor) -> Result<Vec<OwnPrice>, AdminError> {
    of_user(state, actor, actor.user_id, Some(&actor.group)).await
}

/// What calls with a key cost: of this user's, in the group of the key, or else in the user's own.
///
/// # Errors
/// When the actor may not see the user, or the database fails.
pub async fn of_user(
    state: &AdminState,
    actor: &Actor,
    user: UserId,
    group: Option<&str>,
) -> Result<Vec<OwnPrice>, AdminError> {
    if !actor.owns(user) {
        return Err(AdminError::forbidden("只能查看自己的价格", "these are not your prices"));
    }
    let sql = r#"SELECT ratio, "group" FROM users WHERE id = $1"#;
    let rows = state.db.read(sql, &[user.into()]).await?;
    let row = rows.first();
    let user = row.map(|row| row.get("ratio")).transpose()?.unwrap_or(Ratio::ONE);
    let of_owner: String = row.map(|row| row.get("group")).transpose()?.unwrap_or_default();
    let name = group.unwrap_or(&of_owner);
    let catalog = live_catalog(state)?;
    let group = catalog.group_ratio(name).unwrap_or(Ratio::ONE);
    let models = catalog.models_of(name);
    let priced = models.into_iter().filter_map(|model| {
        let row = catalog.price(model).ok()?;
        let first = catalog.candidates(name, model).first();
        let protocol = first.map(|channel| channel.protocol.name.clone()).unwrap_or_default();
        let priced = shown(model, row, &Pricing::freeze(row, group, user).ok()?)?;
        Some(OwnPrice { protocol, ..priced })
    });
    Ok(priced.collect())
}

/// Everything that calls are routed and priced by now.
pub(super) fn live_catalog(state: &AdminState) -> Result<Arc<Catalog>, AdminError> {
    let live = state.live.as_ref();
    let live = live.ok_or_else(|| AdminError::System("prices without a live view".to_owned()))?;
    Ok(live.catalog.load_full())
}

/// What a model costs in a group, for a user without a ratio of their own; `None` where the price
/// can't be read, so that calls are refused.
pub(super) fn in_group(catalog: &Catalog, group: &str, model: &str) -> Option<OwnPrice> {
    let row = catalog.price(model).ok()?;
    let ratio = catalog.group_ratio(group).unwrap_or(Ratio::ONE);
    shown(model, row, &Pricing::freeze(row, ratio, Ratio::ONE).ok()?)
}

fn shown(model: &str, row: Option<&PriceRow>, pricing: &Pricing) -> Option<OwnPrice> {
    let schedule = row.and_then(|row| row.schedule.as_ref());
    let parts = schedule.map(|schedule| schedule.parts()).unwrap_or_default();
    let [meters, units, tiers] = parts.map(exact::json);
    let mut price = OwnPrice {
        model_name: model.to_owned(),
        protocol: String::new(),
        free: false,
        a_call: None,
        prompt_million: None,
        completion_million: None,
        cached_million: None,
        formula: None,
        meters,
        units,
        tiers,
    };
    let Pricing::Priced(frozen) = pricing else {
        price.free = true;
        return Some(price);
    };
    price.formula = Some(frozen.formula());
    if !frozen.is_by_use() {
        price.a_call = Some(frozen.charge(&Usage::default()).ok()?);
        return Some(price);
    }
    // A million tokens may come to more than one call may charge.
    let frozen = &FrozenPrice { max_charge: None, ..frozen.clone() };
    let charge = |usage: Usage| counted(frozen.charge(&usage)).ok();
    let prompt = Usage { prompt_tokens: MILLION, ..Usage::default() };
    let completion = Usage { completion_tokens: MILLION, ..Usage::default() };
    let cached = Usage { prompt_tokens: MILLION, cached_tokens: MILLION, ..Usage::default() };
    price.prompt_million = charge(prompt)?;
    price.completion_million = charge(completion)?;
    price.cached_million = charge(cached)?;
    Some(price)
}
