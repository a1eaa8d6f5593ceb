//! Values as responses show them: ratios with their exact digits, JSON as it is stored, instants in
//! the seconds that scripts expect.

use domain::{Ratio, UnixMs};
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use store::{Row, StoreError, Value};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A ratio as a JSON number, digit by digit. No float comes near it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact(pub Ratio);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = RawValue::from_string(self.0.to_string()).map_err(S::Error::custom)?;
        digits.serialize(serializer)
    }
}

/// How the document describes a ratio: a number whose digits are exact.
pub(crate) struct Decimal;

impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Number);
        number.description(Some("An exact decimal with at most 6 places.")).into()
    }
}

impl ToSchema for Decimal {}

/// Returns the decimal in `column` as a JSON number. One that can't be parsed (plain SQL can put
/// anything into an SQLite column) is shown as its raw text, so that its neighbours stay readable.
///
/// # Errors
/// When the row has no such column.
pub(crate) fn decimal(row: &Row, column: &str) -> Result<Box<RawValue>, StoreError> {
    let text = match row.get::<Value>(column)? {
        Value::Null => return Ok(RawValue::NULL.to_owned()),
        Value::Ratio(ratio) => return Ok(json(ratio.to_string())),
        Value::Int(number) => number.to_string(),
        Value::Text(text) | Value::Decimal(text) => text,
        _ => String::new(),
    };
    Ok(match text.parse::<Ratio>() {
        Ok(ratio) => json(ratio.to_string()),
        Err(_) => json(serde_json::Value::String(text).to_string()),
    })
}

/// JSON text from the database as the JSON that it is. What can't be read becomes `null`.
#[must_use]
pub(crate) fn json(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// JSON text from the database as the JSON that it is; what is none (plain SQL can put anything
/// into an SQLite column) is shown as a text.
#[must_use]
pub(crate) fn json_or_text(text: String) -> Box<RawValue> {
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(_) => json(text),
        Err(_) => json(serde_json::Value::String(text).to_string()),
    }
}

/// JSON text from the database, where an empty one stands for an empty object.
#[must_use]
pub(crate) fn object(text: String) -> Box<RawValue> {
    if text.trim().is_empty() { json("{}".to_owned()) } else { json(text) }
}

/// Whole seconds since 1970.
#[must_use]
pub(crate) const fn seconds(instant: UnixMs) -> i64 {
    instant.0.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_numbers_with_all_their_digits() {
        let ratio = |text: &str| Exact(text.parse().unwrap());
        let printed = serde_json::to_string(&[ratio("2.0"), ratio("0.000001"), ratio("1000000")]);
        assert_eq!(printed.unwrap(), "[2,0.000001,1000000]");
    }

    #[test]
    fn stored_json_is_shown_as_it_stands() {
        let big = r#"{"a": 12345678901234567890123.50}"#;
        assert_eq!(json(big.to_owned()).get(), big);
        assert_eq!(json("{".to_owned()).get(), "null");
        assert_eq!(object(String::new()).get(), "{}");
        assert_eq!(seconds(UnixMs(1_999)), 1);
    }
}
