//! Prices of models.

use crate::exact::Decimal;
use crate::fields::Fields;
use crate::ops::channel::TYPE_CUSTOM_PASS;
use crate::ops::price_demand;
use crate::ops::record::{self, Subject};
use crate::page::{Page, PageRequest, Query, Where, anywhere};
use crate::{Actor, AdminError, AdminState, exact};
use domain::{
    ModelName, PriceError, PriceRow, Pricing, Quota, Ratio, Schedule, ScheduleError, UnixMs,
};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::patterns::{can_match, is_pattern};
use store::{Row, Statement, StoreError, Value};
use utoipa::ToSchema;

const COLUMNS: &str = "model_name, channel_type, ratio, fixed_quota, completion_ratio, \
     cache_ratio, image_ratio, audio_ratio, min_hold, max_charge, meters, units, tiers, \
     updated_at";
/// Fields that responses show, or that scripts for similar servers send; ignored in requests.
const IGNORED: &[&str] = &["updated_at", "enabled", "channels", "used_30d"];

/// A price as given. It replaces the whole row: what is `None` gets its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbilityInput {
    /// Model as clients ask for it.
    pub model_name: String,
    /// The price.
    pub price: PriceRow,
}

/// A price as answers show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AbilityView {
    /// Model as clients ask for it.
    pub model_name: String,
    /// 52.
    pub channel_type: i64,
    /// Price of a prompt token, in quota.
    #[schema(value_type = Option<Decimal>)]
    pub ratio: Box<RawValue>,
    /// Price of a call, in quota.
    pub fixed_quota: Option<Quota>,
    /// Worth of a completion token, in prompt tokens.
    #[schema(value_type = Decimal)]
    pub completion_ratio: Box<RawValue>,
    /// Worth of a cached prompt token.
    #[schema(value_type = Decimal)]
    pub cache_ratio: Box<RawValue>,
    /// Worth of an image token.
    #[schema(value_type = Decimal)]
    pub image_ratio: Box<RawValue>,
    /// Worth of an audio token.
    #[schema(value_type = Decimal)]
    pub audio_ratio: Box<RawValue>,
    /// What is held before a call priced by use.
    pub min_hold: Quota,
    /// The most that a call priced by use may charge, before the ratios of group and user; `null`:
    /// no bound.
    pub max_charge: Option<Quota>,
    /// Worth of further meters, in prompt tokens: an object by meter.
    #[schema(value_type = Object)]
    pub meters: Box<RawValue>,
    /// Prices of counted units, in quota: an object by unit.
    #[schema(value_type = Object)]
    pub units: Box<RawValue>,
    /// Factors by what was counted, or by what a request says: a list.
    #[schema(value_type = Vec<Object>)]
    pub tiers: Box<RawValue>,
    /// When it was last set through the API, in seconds since 1970.
    pub updated_at: i64,
    /// Enabled channels that serve the model; of a pattern, a model that it prices. Of one price
    /// alone it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<i64>,
    /// What its calls cost in the last 30 days, today included: of whole days in UTC. Of one price
    /// alone it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub used_30d: Option<Quota>,
}

impl AbilityInput {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        fields.alias("model_name", "model");
        let model_name = fields.text("model_name")?;
        let model_name = fields.required("model_name", model_name)?;
        if fields.int("channel_type")?.is_some_and(|given| given != TYPE_CUSTOM_PASS) {
            let en = format!("only type {TYPE_CUSTOM_PASS} (custom pass-through) exists");
            return Err(fields.wrong("channel_type", "只支持类型 52 (自定义透传)", en));
        }
        let price = PriceRow {
            fixed_quota: fields.amount("fixed_quota")?,
            ratio: fields.ratio("ratio")?,
            completion_ratio: fields.ratio("completion_ratio")?,
            cache_ratio: fields.ratio("cache_ratio")?,
            image_ratio: fields.ratio("image_ratio")?,
            audio_ratio: fields.ratio("audio_ratio")?,
            min_hold: fields.amount("min_hold")?,
            max_charge: fields.amount("max_charge")?,
            schedule: read_schedule(&mut fields)?,
        };
        fields.finish(IGNORED, &[])?;
        Ok(Self { model_name, price })
    }

    /// Whether it may be saved.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn check(&self) -> Result<(), AdminError> {
        if is_pattern(&self.model_name) && !can_match(&self.model_name) {
            return Err(AdminError::field(
                "model_name",
                "没有模型能匹配该通配名",
                "is a pattern that no model can fit",
            ));
        }
        if let Err(why) = ModelName::parse(&self.model_name) {
            let zh = "不是有效的模型名";
            return Err(AdminError::field("model_name", zh, why.to_string()));
        }
        // A row that can't price a call would refuse every one of them.
        let Err(why) = Pricing::freeze(Some(&self.price), Ratio::ONE, Ratio::ONE) else {
            return Ok(());
        };
        Err(match why {
            PriceError::Contradicts(column, meter) => AdminError::field(
                column,
                format!("与 meters.{meter} 不一致, 请只设置其中一个"),
                format!("differs from meters.{meter}; set one of them"),
            ),
            PriceError::FixedByUse => AdminError::field(
                "fixed_quota",
                "按次价格只能有按请求取值 (at) 且只含 factor 的 tiers",
                "a price per call has no meters or units, and tiers with `at` and `factor` alone",
            ),
            PriceError::FixedBounded => AdminError::field(
                "max_charge",
                "只能用于按量价格",
                "bounds prices by use alone; a price per call is its own bound",
            ),
            PriceError::BoundTooSmall => AdminError::field(
                "max_charge",
                "至少为 1; 不设上限请留空",
                "is at least 1; leave it out for no bound",
            ),
            _ => AdminError::field(
                "ratio",
                "请设置 ratio 或 units (按量), 或 fixed_quota (按次), 免费模型请删除该价格",
                "set ratio or units (by use), or fixed_quota (per call); a free model has no price \
                 at all",
            ),
        })
    }

    /// The statement that saves it.
    pub(super) fn upsert(&self, now: UnixMs) -> Statement {
        let price = &self.price;
        let or_one = |ratio: Option<Ratio>| ratio.unwrap_or(Ratio::ONE);
        let [meters, units, tiers] = price.schedule.as_deref().cloned().unwrap_or_default().parts();
        Statement::new(
            "INSERT INTO abilities (model_name, channel_type, ratio, fixed_quota, \
             completion_ratio, cache_ratio, image_ratio, audio_ratio, min_hold, meters, units, \
             tiers, updated_at, max_charge) \
             VALUES ($1, 52, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
             ON CONFLICT (model_name, channel_type) DO UPDATE SET ratio = excluded.ratio, \
             fixed_quota = excluded.fixed_quota, completion_ratio = excluded.completion_ratio, \
             cache_ratio = excluded.cache_ratio, image_ratio = excluded.image_ratio, \
             audio_ratio = excluded.audio_ratio, min_hold = excluded.min_hold, \
             meters = excluded.meters, units = excluded.units, tiers = excluded.tiers, \
             updated_at = excluded.updated_at, max_charge = excluded.max_charge",
            vec![
                self.model_name.as_str().into(),
                price.ratio.into(),
                price.fixed_quota.into(),
                or_one(price.completion_ratio).into(),
                or_one(price.cache_ratio).into(),
                or_one(price.image_ratio).into(),
                or_one(price.audio_ratio).into(),
                price.min_hold.unwrap_or(Quota(1)).into(),
                Value::Json(meters),
                Value::Json(units),
                Value::Json(tiers),
                now.into(),
                price.max_charge.into(),
            ],
        )
    }
}

impl AbilityView {
    /// The price as calls are priced by it; `None` where plain SQL made it one that can't be read.
    pub(super) fn row(&self) -> Option<PriceRow> {
        let ratio = |json: &RawValue| match json.get() {
            "null" => Some(None),
            text => text.parse::<Ratio>().ok().map(Some),
        };
        let is_set = |json: &str| !matches!(json, "null" | "\"\"");
        let [meters, units, tiers] = [&self.meters, &self.units, &self.tiers]
            .map(|part| Some(part.get()).filter(|json| is_set(json)).unwrap_or_default());
        Some(PriceRow {
            fixed_quota: self.fixed_quota,
            ratio: ratio(&self.ratio)?,
            completion_ratio: ratio(&self.completion_ratio)?,
            cache_ratio: ratio(&self.cache_ratio)?,
            image_ratio: ratio(&self.image_ratio)?,
            audio_ratio: ratio(&self.audio_ratio)?,
            min_hold: Some(self.min_hold),
            max_charge: self.max_charge,
            schedule: Schedule::parse(meters, units, tiers).ok()?.map(Arc::new),
        })
    }

    /// The formula of the price, before the ratios of group and user; `None` where calls are
    /// refused because it can't be read.
    #[must_use]
    pub fn formula(&self) -> Option<String> {
        match Pricing::freeze(Some(&self.row()?), Ratio::ONE, Ratio::ONE).ok()? {
            Pricing::Priced(price) => Some(price.formula()),
            Pricing::Free => None,
        }
    }

    /// A name of exactly this price: it is another one once anything about it has changed.
    #[must_use]
    pub fn mark(&self) -> String {
        let price = Self { channels: None, used_30d: None, ..self.clone() };
        let hash = store::key_hash(&json!(price).to_string());
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads the worth of further meters, the prices of units, and the tiers.
fn read_schedule(fields: &mut Fields) -> Result<Option<Arc<Schedule>>, AdminError> {
    let [meters, units, tiers] = ["meters", "units", "tiers"].map(|name| fields.json(name));
    let text = |part: Result<Option<String>, AdminError>| part.map(Option::unwrap_or_default);
    let parsed = Schedule::parse(&text(meters)?, &text(units)?, &text(tiers)?);
    let parsed = parsed.map_err(|ScheduleError { at, why }| {
        AdminError::field(at, format!("有误, 见 docs/money.md: {why}"), why)
    });
    Ok(parsed?.map(Arc::new))
}

fn view(row: &Row) -> Result<AbilityView, StoreError> {
    Ok(AbilityView {
        model_name: row.get("model_name")?,
        channel_type: row.get("channel_type")?,
        ratio: exact::decimal(row, "ratio")?,
        fixed_quota: row.get("fixed_quota")?,
        completion_ratio: exact::decimal(row, "completion_ratio")?,
        cache_ratio: exact::decimal(row, "cache_ratio")?,
        image_ratio: exact::decimal(row, "image_ratio")?,
        audio_ratio: exact::decimal(row, "audio_ratio")?,
        min_hold: row.get("min_hold")?,
        max_charge: row.get("max_charge")?,
        meters: exact::json_or_text(row.get("meters")?),
        units: exact::json_or_text(row.get("units")?),
        tiers: exact::json_or_text(row.get("tiers")?),
        updated_at: exact::seconds(row.get("updated_at")?),
        channels: None,
        used_30d: None,
    })
}

/// Creates or replaces the price of a model, live when this returns.
///
/// # Errors
/// When a field breaks its rule, or the database fails.
pub async fn put(
    state: &AdminState,
    actor: &Actor,
    input: AbilityInput,
) -> Result<AbilityView, AdminError> {
    actor.require_admin()?;
    input.check()?;
    let upsert = input.upsert(state.clock.now());
    record::write(
        state,
        actor,
        vec![upsert],
        Subject::Other,
        ("ability.put", format!("设置价格 {}", input.model_name)),
        json!({ "model_name": input.model_name, "price": input.price }),
    )
    .await?;
    state.refresh().await;
    get(state, &input.model_name).await
}

/// The price of a model.
///
/// # Errors
/// When it has none, or the database fails.
pub async fn get(state: &AdminState, model: &str) -> Result<AbilityView, AdminError> {
    let sql = format!("SELECT {COLUMNS} FROM abilities WHERE model_name = $1");
    let rows = state.db.read(&sql, &[model.into()]).await?;
    Ok(view(rows.first().ok_or_else(not_found)?)?)
}

/// Every price, by its model.
///
/// # Errors
/// When the database fails.
pub async fn all(state: &AdminState) -> Result<BTreeMap<String, AbilityView>, AdminError> {
    let rows = state.db.read(&format!("SELECT {COLUMNS} FROM abilities"), &[]).await?;
    let named = rows.iter().map(|row| view(row).map(|price| (price.model_name.clone(), price)));
    Ok(named.collect::<Result<_, StoreError>>()?)
}

/// A page of the prices whose model has `keyword` in its name, or is `model_name`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    state: &AdminState,
    query: &Query,
    page: PageRequest,
) -> Result<Page<AbilityView>, AdminError> {
    let mut page = rows(state, query, page).await?;
    price_demand::add(state, &mut page.items).await?;
    Ok(page)
}

/// The same without how much they are used, which is dear: for those who show names alone.
///
/// # Errors
/// When the database fails.
pub async fn rows(
    state: &AdminState,
    query: &Query,
    page: PageRequest,
) -> Result<Page<AbilityView>, AdminError> {
    let mut conditions = Where::default();
    let keyword = query.text("keyword").map(|word| anywhere(&word.to_lowercase()));
    conditions.with_some(r"lower(model_name) LIKE ? ESCAPE '\'", keyword);
    let model = query.text("model_name").or_else(|| query.text("model"));
    conditions.with_some("model_name = ?", model);
    conditions.page(&state.db, (COLUMNS, "abilities", "model_name"), page, view).await
}

/// Takes the price of a model away: it is free from then on, or refused.
///
/// # Errors
/// When it has none, or the database fails.
pub async fn delete(state: &AdminState, actor: &Actor, model: &str) -> Result<(), AdminError> {
    actor.require_admin()?;
    let statement =
        Statement::new("DELETE FROM abilities WHERE model_name = $1", vec![model.into()])
            .expecting(1);
    record::write(
        state,
        actor,
        vec![statement],
        Subject::Other,
        ("ability.delete", format!("删除价格 {model}")),
        json!({ "model_name": model }),
    )
    .await
    .map_err(AdminError::or_missing(not_found))?;
    state.refresh().await;
    Ok(())
}

fn not_found() -> AdminError {
    AdminError::not_found("价格", "price: this model has none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<AbilityInput, AdminError> {
        let input = AbilityInput::read(Fields::parse(json.as_bytes())?)?;
        input.check()?;
        Ok(input)
    }

    #[test]
    fn the_call_of_the_contract() {
        let input =
            read(r#"{"model_name":"m","channel_type":52,"ratio":2.0,"completion_ratio":1.5}"#);
        let price = input.unwrap().price;
        assert_eq!(price.ratio.unwrap().to_string(), "2");
        assert_eq!(price.completion_ratio.unwrap().to_string(), "1.5");
        assert_eq!(price.cache_ratio, None);
        let exact = read(r#"{"model_name":"m","ratio":0.000001}"#).unwrap();
        assert_eq!(exact.price.ratio.unwrap().micros(), 1);
    }

    #[test]
    fn a_price_that_prices_nothing_is_refused() {
        for bad in [
            r#"{"ratio":1}"#,
            r#"{"model_name":"m"}"#,
            r#"{"model_name":"m","ratio":-1}"#,
            r#"{"model_name":"m","ratio":0.1234567}"#,
            r#"{"model_name":"m","fixed_quota":-5}"#,
            r#"{"model_name":"m","fixed_quota":1.5}"#,
            r#"{"model_name":"a//b","ratio":1}"#,
            r#"{"model_name":"m","ratio":1,"channel_type":1}"#,
            r#"{"model_name":"m","ratios":1}"#,
            r#"{"model_name":"m","ratio":1,"max_charge":0}"#,
            r#"{"model_name":"m","fixed_quota":1,"max_charge":5}"#,
        ] {
            assert!(matches!(read(bad), Err(AdminError::Field { .. })), "{bad}");
        }
        assert!(read(r#"{"model_name":"m","fixed_quota":0}"#).is_ok());
    }
}
