//! What a table of prices would change, model by model, before it is saved.

use super::ability::{self, AbilityInput, AbilityView};
use super::price_table::{self, TableRow};
use crate::fields::Fields;
use crate::{Actor, AdminError, AdminState};
use domain::{PriceRow, Ratio};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

/// What becomes of a line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowOutcome {
    /// The model had no price.
    New,
    /// It has another one.
    Changed,
    /// It has this one.
    Unchanged,
    /// The line is no price: nothing of the table is saved.
    Refused,
}

/// A column whose value is another one than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PriceFieldChange {
    /// The column.
    pub field: &'static str,
    /// What it was; empty: not set.
    pub old: String,
    /// What it becomes.
    pub new: String,
}

/// Why a line of a table, or a row of a list, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RowProblem {
    /// The column or field at fault, where it is one.
    pub field: String,
    /// The rule and the remedy, in Chinese.
    pub zh: String,
    /// The same in English.
    pub en: String,
}

/// A line of a table, and what would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportedPrice {
    /// Where it stands.
    pub line: u64,
    /// The model.
    pub model_name: String,
    /// What becomes of it.
    pub outcome: RowOutcome,
    /// What is another than before.
    pub changes: Vec<PriceFieldChange>,
    /// Why it is refused.
    pub problem: Option<RowProblem>,
}

/// What a table would change. Nothing has changed yet.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ImportPreview {
    /// Its lines, in order.
    pub rows: Vec<ImportedPrice>,
    /// How many are new.
    pub new: usize,
    /// How many differ from what is set.
    pub changed: usize,
    /// How many are as they are set.
    pub unchanged: usize,
    /// How many are no price; with one, nothing can be saved.
    pub refused: usize,
}

impl ImportPreview {
    /// A name of exactly this preview: what was seen is what is saved.
    #[must_use]
    pub fn mark(&self) -> String {
        let hash = store::key_hash(&json!(self.rows).to_string());
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads a request with a table: the member `csv`.
///
/// # Errors
/// When it is missing.
pub fn read_csv(mut fields: Fields) -> Result<String, AdminError> {
    let csv = fields.text("csv")?;
    let csv = fields.required("csv", csv)?;
    fields.finish(&[], &[])?;
    Ok(csv)
}

/// What this table would change, line by line.
///
/// # Errors
/// When the role doesn't reach, the first line does not name columns, or the database fails.
pub async fn preview(
    state: &AdminState,
    actor: &Actor,
    text: &[u8],
) -> Result<ImportPreview, AdminError> {
    actor.require_admin()?;
    let table = price_table::rows(text)?;
    let prices = ability::all(state).await?;
    let rows: Vec<ImportedPrice> =
        table.into_iter().map(|row| looked_at(row, |model| prices.get(model))).collect();
    let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count();
    Ok(ImportPreview {
        new: count(RowOutcome::New),
        changed: count(RowOutcome::Changed),
        unchanged: count(RowOutcome::Unchanged),
        refused: count(RowOutcome::Refused),
        rows,
    })
}

fn looked_at<'a>(
    row: TableRow,
    priced: impl FnOnce(&str) -> Option<&'a AbilityView>,
) -> ImportedPrice {
    let TableRow { line, model_name, price } = row;
    let (outcome, changes, problem) = match price {
        Err(error) => (RowOutcome::Refused, Vec::new(), Some(error.into())),
        Ok(input) => match priced(&model_name) {
            None => (RowOutcome::New, changes_from(&no_cells(), &input), None),
            Some(old) => {
                let changes = changes(old, &input);
                let same = changes.is_empty();
                let outcome = if same { RowOutcome::Unchanged } else { RowOutcome::Changed };
                (outcome, changes, None)
            }
        },
    };
    ImportedPrice { line, model_name, outcome, changes, problem }
}

impl From<AdminError> for RowProblem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Field { field, zh, en } => Self { field, zh, en },
            AdminError::Malformed { zh, en } => Self { field: String::new(), zh, en },
            other => {
                let fault = domain::Fault::from(other);
                Self { field: String::new(), zh: fault.zh, en: fault.en }
            }
        }
    }
}

/// What differs between the price that a model has, and one that is to replace it.
#[must_use]
pub fn changes(old: &AbilityView, new: &AbilityInput) -> Vec<PriceFieldChange> {
    match old.row() {
        Some(old) => changes_from(&cells(&old), new),
        // Plain SQL can put anything into a row: then everything is new.
        None => changes_from(&no_cells(), new),
    }
}

type Cells = [String; price_table::VALUES.len()];

fn no_cells() -> Cells {
    Cells::default()
}

fn changes_from(old: &Cells, new: &AbilityInput) -> Vec<PriceFieldChange> {
    let pairs = old.iter().zip(cells(&new.price));
    let fields = price_table::VALUES.into_iter().zip(pairs);
    let change = |(field, (old, new)): (_, (&String, String))| {
        (*old != new).then(|| PriceFieldChange { field, old: old.clone(), new })
    };
    fields.filter_map(change).collect()
}

/// A price as the cells of a table, without its model; what is not set is empty, or its default.
fn cells(price: &PriceRow) -> Cells {
    let amount = |quota: Option<domain::Quota>| quota.map(|it| it.0.to_string());
    let ratio = |ratio: Option<Ratio>| ratio.unwrap_or(Ratio::ONE).to_string();
    let parts = price.schedule.as_deref().map(domain::Schedule::parts).unwrap_or_default();
    let [meters, units, tiers] =
        parts.map(|json| if matches!(json.as_str(), "{}" | "[]") { String::new() } else { json });
    [
        price.ratio.map(|ratio| ratio.to_string()).unwrap_or_default(),
        amount(price.fixed_quota).unwrap_or_default(),
        ratio(price.completion_ratio),
        ratio(price.cache_ratio),
        ratio(price.image_ratio),
        ratio(price.audio_ratio),
        amount(price.min_hold).unwrap_or_else(|| "1".to_owned()),
        amount(price.max_charge).unwrap_or_default(),
        meters,
        units,
        tiers,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(json: &str) -> AbilityInput {
        AbilityInput::read(Fields::parse(json.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn defaults_are_no_change() {
        let before = cells(&input(r#"{"model_name":"m","ratio":2}"#).price);
        let spelt = r#"{"model_name":"m","ratio":"2.000000","completion_ratio":1,"min_hold":1}"#;
        assert_eq!(changes_from(&before, &input(spelt)), []);
        let units = r#"{"model_name":"m","ratio":2.5,"units":{"images":7}}"#;
        let changes = changes_from(&before, &input(units));
        let changes: Vec<_> = changes.iter().map(|it| (it.field, &*it.old, &*it.new)).collect();
        assert_eq!(changes, [("ratio", "2", "2.5"), ("units", "", "{\"images\":7}")]);
    }
}
