//! All prices as a table for spreadsheets, and back.

use super::ability::{self, AbilityInput, AbilityView};
use super::price_changes::read_csv;
use crate::fields::Fields;
use crate::ops::record::{self, Subject};
use crate::sheet::{Sheet, as_written};
use crate::{Actor, AdminError, AdminState};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// The columns. A table that is read may leave any out but the first.
pub const COLUMNS: [&str; 12] = [
    "model_name",
    "ratio",
    "fixed_quota",
    "completion_ratio",
    "cache_ratio",
    "image_ratio",
    "audio_ratio",
    "min_hold",
    "max_charge",
    "meters",
    "units",
    "tiers",
];
/// The columns behind the model's.
pub(super) const VALUES: [&str; COLUMNS.len() - 1] = values();

const fn values() -> [&'static str; COLUMNS.len() - 1] {
    let mut values = [""; COLUMNS.len() - 1];
    let mut nth = 0;
    while nth < values.len() {
        values[nth] = COLUMNS[nth + 1];
        nth += 1;
    }
    values
}

/// Most prices of a table.
const MAX_ROWS: usize = 5_000;

/// A table of prices to be saved.
#[derive(Clone, Debug)]
pub struct PriceTable {
    prices: Vec<AbilityInput>,
}

/// Every price, below a line of names, as CSV.
///
/// # Errors
/// When the database fails.
pub async fn export(state: &AdminState, actor: &Actor) -> Result<Vec<u8>, AdminError> {
    actor.require_admin()?;
    let mut sheet = Sheet::new();
    sheet.row(COLUMNS)?;
    for price in ability::all(state).await?.values() {
        sheet.row(cells(price))?;
    }
    sheet.text()
}

fn cells(price: &AbilityView) -> [String; COLUMNS.len()] {
    let filled = |json: &str| match json {
        "null" | "{}" | "[]" => String::new(),
        json => json.to_owned(),
    };
    [
        price.model_name.clone(),
        filled(price.ratio.get()),
        price.fixed_quota.map(|quota| quota.0.to_string()).unwrap_or_default(),
        price.completion_ratio.to_string(),
        price.cache_ratio.to_string(),
        price.image_ratio.to_string(),
        price.audio_ratio.to_string(),
        price.min_hold.0.to_string(),
        price.max_charge.map(|quota| quota.0.to_string()).unwrap_or_default(),
        filled(price.meters.get()),
        filled(price.units.get()),
        filled(price.tiers.get()),
    ]
}

impl PriceTable {
    /// Reads the request of an import: the table in the member `csv`.
    ///
    /// # Errors
    /// The first line that is no price.
    pub fn read(fields: Fields) -> Result<Self, AdminError> {
        Self::parse(read_csv(fields)?.as_bytes())
    }

    /// Reads a table as [`export`] writes it, or as a spreadsheet copies it: a line of names, then
    /// a price a line. An empty cell is not set.
    ///
    /// # Errors
    /// The first line that is no price.
    pub fn parse(text: &[u8]) -> Result<Self, AdminError> {
        let price = |row: TableRow| row.price.map_err(|error| at_line(row.line, error));
        Ok(Self { prices: rows(text)?.into_iter().map(price).collect::<Result<_, _>>()? })
    }

    /// How many prices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prices.len()
    }

    /// Whether there is no price.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty()
    }

    /// Creates or replaces all of them, or none, live when this returns. Prices of other models
    /// stay. Returns how many there are.
    ///
    /// # Errors
    /// When the role doesn't reach, or the database fails.
    pub async fn save(self, state: &AdminState, actor: &Actor) -> Result<usize, AdminError> {
        actor.require_admin()?;
        let (count, now) = (self.len(), state.clock.now());
        let upserts = self.prices.iter().map(|price| price.upsert(now)).collect();
        let models: Vec<&str> = self.prices.iter().map(|it| it.model_name.as_str()).collect();
        record::write(
            state,
            actor,
            upserts,
            Subject::Other,
            ("ability.import", format!("导入 {count} 个价格")),
            json!({ "models": models }),
        )
        .await?;
        state.refresh().await;
        Ok(count)
    }
}

/// A line of a table, and the price that it is.
pub(super) struct TableRow {
    pub(super) line: u64,
    pub(super) model_name: String,
    pub(super) price: Result<AbilityInput, AdminError>,
}

/// The lines of a table below its line of names, each a price or why it is none.
///
/// # Errors
/// When the names can't be read, or there are too many lines.
pub(super) fn rows(text: &[u8]) -> Result<Vec<TableRow>, AdminError> {
    // Spreadsheets begin a file in UTF-8 with a mark.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // Forms end a line in two bytes, of which the reader counts the second one to the next line.
    let text = &without_returns(text)[..];
    let delimiter = delimiter(text);
    let mut builder = csv::ReaderBuilder::new();
    // What is copied may have lost the empty cells at the ends of its lines.
    let builder = builder.trim(csv::Trim::All).delimiter(delimiter).flexible(delimiter == b'\t');
    let mut reader = builder.from_reader(text);
    let names = reader.headers().map_err(|error| unreadable(&error))?.clone();
    if let Some(other) = names.iter().find(|name| !COLUMNS.contains(name)) {
        return Err(AdminError::field(
            format!("line 1: {other}"),
            format!("未知的列, 可用的列: {}", COLUMNS.join(", ")),
            format!("is not a column; there are {}", COLUMNS.join(", ")),
        ));
    }
    let (mut rows, mut models) = (Vec::new(), HashSet::new());
    for record in reader.records() {
        if rows.len() >= MAX_ROWS {
            return Err(AdminError::malformed(
                format!("超过 {MAX_ROWS} 行"),
                format!("the table has more than {MAX_ROWS} prices"),
            ));
        }
        let row = match record {
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                TableRow { line, model_name: String::new(), price: Err(unreadable(&error)) }
            }
            Ok(record) if record.len() > names.len() => {
                let line = record.position().map_or(0, csv::Position::line);
                TableRow { line, model_name: String::new(), price: Err(unequal(line)) }
            }
            Ok(record) => table_row(&names, &record),
        };
        let is_repeated = row.price.is_ok() && !models.insert(row.model_name.clone());
        let wrong = || Err(AdminError::field("model_name", "出现了两次", "appears twice"));
        rows.push(if is_repeated { TableRow { price: wrong(), ..row } } else { row });
    }
    Ok(rows)
}

fn without_returns(text: &[u8]) -> Vec<u8> {
    let is_kept = |at: &usize| text[*at] != b'\r' || text.get(at + 1) != Some(&b'\n');
    (0..text.len()).filter(is_kept).map(|at| text[at]).collect()
}

/// What stands between cells: a tab where they were copied from a spreadsheet, a semicolon where
/// its country writes a comma in numbers.
fn delimiter(text: &[u8]) -> u8 {
    let names = text.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
    [b'\t', b';'].into_iter().find(|mark| names.contains(mark)).unwrap_or(b',')
}

fn table_row(names: &csv::StringRecord, record: &csv::StringRecord) -> TableRow {
    let line = record.position().map_or(0, csv::Position::line);
    let named = names.iter().zip(record).find(|(name, _)| *name == COLUMNS[0]);
    let model_name = named.map_or("", |(_, cell)| as_written(cell)).to_owned();
    TableRow { line, model_name, price: row(names, record) }
}

fn row(names: &csv::StringRecord, cells: &csv::StringRecord) -> Result<AbilityInput, AdminError> {
    let filled = names.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
    let member = |(name, cell): (&str, &str)| (name.to_owned(), Value::from(as_written(cell)));
    let object: Map<String, Value> = filled.map(member).collect();
    let input = AbilityInput::read(Fields::parse(Value::Object(object).to_string().as_bytes())?)?;
    input.check()?;
    Ok(input)
}

fn at_line(line: u64, error: AdminError) -> AdminError {
    match error {
        AdminError::Field { field, zh, en } => {
            AdminError::Field { field: format!("line {line}: {field}"), zh, en }
        }
        // One about a whole line names it already.
        other => other,
    }
}

fn unreadable(error: &csv::Error) -> AdminError {
    unequal(error.position().map_or(1, csv::Position::line))
}

fn unequal(line: u64) -> AdminError {
    AdminError::malformed(
        format!("CSV 第 {line} 行无法读取"),
        format!("line {line} of the table can't be read as CSV with as many cells as names"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<AbilityInput>, String> {
        PriceTable::parse(text.as_bytes()).map(|it| it.prices).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_read_line_by_line() {
        let text = "\u{feff}model_name,ratio,units,tiers\r\n\
                    a,1.5,,\r\n\
                    \"'@cf/b\",,\"{\"\"images\"\": 20000}\",\
                    \"[{\"\"above\"\":{\"\"images\"\":4},\"\"factor\"\":0.5}]\"\r\n";
        let prices = read(text).unwrap();
        assert_eq!(prices[0].price.ratio, Some("1.5".parse().unwrap()));
        assert_eq!(prices[0].price.schedule, None);
        assert_eq!((prices[1].model_name.as_str(), prices[1].price.ratio), ("@cf/b", None));
        let schedule = prices[1].price.schedule.as_ref().unwrap();
        assert_eq!((schedule.units().len(), schedule.tiers().len()), (1, 1));
        assert_eq!(read("model_name\n").map(|it| it.len()), Ok(0));
    }

    #[test]
    fn a_table_is_pasted_from_a_spreadsheet() {
        for mark in ['\t', ';'] {
            let text = "\n model_name,ratio,meters\r\na,1.5,{\"cache_write\": 1.25}\r\nb,2,\r\n";
            let prices = read(&text.replace(',', &mark.to_string())).unwrap();
            assert_eq!(prices.len(), 2, "{prices:?}");
            assert!(prices[0].price.schedule.is_some(), "{prices:?}");
            let comma = read(&format!("model_name{mark}ratio\na{mark}1,5\n")).unwrap_err();
            assert!(comma.starts_with("line 2: ratio: "), "{comma}");
        }
        assert_eq!(read("model_name\tratio\tunits\na\t1").unwrap().len(), 1);
        let more = read("model_name\tratio\na\t1\t2").unwrap_err();
        assert!(more.starts_with("line 2 of the table"), "{more}");
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, expected) in [
            ("model_name,price\na,1\n", "line 1: price: is not a column; there are model_name"),
            ("model_name,ratio\na,1\nb,x\n", "line 3: ratio: not a decimal number"),
            ("model_name,ratio\na,1\na,2\n", "line 3: model_name: appears twice"),
            ("model_name,ratio\na\n", "line 2 of the table can't be read"),
            ("model_name\na\n", "line 2: ratio: set ratio or units"),
            ("ratio\n1\n", "line 2: model_name: is required"),
            ("model_name,units\na,{}x\n", "line 2: units: is not JSON"),
            ("model_name,units\na,\"{\"\"image\"\":1}\"\n", "line 2: units.image: is not known"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        }
    }
}
