//! Models that channels serve and that have no price: they are free, or refused.

use crate::page::{Page, PageRequest, Query};
use crate::{Actor, AdminError, AdminState};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use store::{StoreError, patterns};
use traffic::{MAX_MINUTES, Traffic};
use utoipa::ToSchema;

const SERVED: &str = "SELECT models FROM channels WHERE status = 1";
const PRICED: &str = "SELECT model_name FROM abilities";

/// A model that an enabled channel serves and that has no price: it is free, or refused, as
/// `CUSTOM_PASS_UNPRICED` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UnpricedModel {
    /// The model, or the pattern that channels serve.
    pub model_name: String,
    /// How many enabled channels serve it.
    pub channels: i64,
    /// Requests for it that ended within the last three hours on the node that answers, free ones
    /// too; `null`: it serves no calls.
    pub calls: Option<u64>,
}

/// A page of the models without a price: those that are called most, then by name. Filter
/// `keyword`.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn list(
    state: &AdminState,
    actor: &Actor,
    query: &Query,
    page: PageRequest,
) -> Result<Page<UnpricedModel>, AdminError> {
    actor.require_admin()?;
    let keyword = query.text("keyword").unwrap_or_default().to_lowercase();
    let mut all = all(state).await?;
    all.retain(|model| model.model_name.to_lowercase().contains(&keyword));
    if let Some(traffic) = state.traffic.as_deref() {
        let called = called(traffic);
        for model in &mut all {
            model.calls = Some(calls_of(&model.model_name, &called));
        }
        all.sort_by_key(|model| std::cmp::Reverse(model.calls));
    }
    Ok(Page::of_all(all, page))
}

/// The models that were asked for, as far back as this node remembers, and how often.
fn called(traffic: &Traffic) -> Vec<(Arc<str>, u64)> {
    let now = traffic.minute();
    let models = traffic.models().into_iter();
    models.map(|(model, meter)| (model, meter.read(now, MAX_MINUTES).calls)).collect()
}

/// How often a model was asked for; a pattern, what it stands for.
fn calls_of(model: &str, called: &[(Arc<str>, u64)]) -> u64 {
    let is_meant = |name: &str| match patterns::is_pattern(model) {
        true => patterns::matches(model, name),
        false => model == name,
    };
    called.iter().filter(|(name, _)| is_meant(name)).map(|(_, calls)| calls).sum()
}

/// Whether this node refuses calls of models without a price; else they are free.
#[must_use]
pub fn are_refused(state: &AdminState) -> bool {
    let all = state.options.as_deref().map(|options| options.all()).unwrap_or_default();
    all.iter().any(|option| option.key == "CUSTOM_PASS_UNPRICED" && option.value == "reject")
}

/// Those of these models, or patterns, that no enabled channel serves.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn unserved(
    state: &AdminState,
    actor: &Actor,
    models: &[String],
) -> Result<Vec<String>, AdminError> {
    actor.require_admin()?;
    if models.is_empty() {
        return Ok(Vec::new());
    }
    let served: Vec<String> = served_models(state).await?.into_iter().flatten().collect();
    let is_served = |model: &String| {
        let one = std::slice::from_ref(model);
        served.iter().any(|it| it == model || patterns::lists(one, it))
            || patterns::lists(&served, model)
    };
    Ok(models.iter().filter(|model| !is_served(model)).cloned().collect())
}

/// All of them, by name.
pub(super) async fn all(state: &AdminState) -> Result<Vec<UnpricedModel>, AdminError> {
    Ok(split(state).await?.1)
}

/// The models of each enabled channel.
pub(super) async fn served_models(state: &AdminState) -> Result<Vec<Vec<String>>, StoreError> {
    let rows = state.db.read(SERVED, &[]).await?;
    let models = rows.iter().map(|row| {
        let text: String = row.get("models")?;
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(names.map(str::to_owned).collect())
    });
    models.collect()
}

/// What enabled channels serve, by name: models with a price, and those without.
pub(super) async fn split(
    state: &AdminState,
) -> Result<(Vec<String>, Vec<UnpricedModel>), AdminError> {
    let mut served: BTreeMap<String, i64> = BTreeMap::new();
    for name in served_models(state).await?.into_iter().flatten() {
        *served.entry(name).or_default() += 1;
    }
    let (mut names, mut globs) = (HashSet::new(), Vec::new());
    for row in state.db.read(PRICED, &[]).await? {
        let priced: String = row.get("model_name")?;
        // Only a pattern prices models by other names than its own.
        if patterns::is_pattern(&priced) {
            globs.push(priced.clone());
        }
        names.insert(priced);
    }
    let (mut priced, mut unpriced) = (Vec::new(), Vec::new());
    for (model_name, channels) in served {
        let is_priced = names.contains(&model_name)
            || globs.iter().any(|pattern| patterns::matches(pattern, &model_name));
        if is_priced {
            priced.push(model_name);
        } else {
            unpriced.push(UnpricedModel { model_name, channels, calls: None });
        }
    }
    Ok((priced, unpriced))
}
