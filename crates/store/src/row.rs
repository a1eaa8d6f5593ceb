//! Rows of a result, the same for both engines.

use crate::{StoreError, Value};
use domain::{ChannelId, HoldId, KeyId, NodeId, Quota, Ratio, RedemptionId, UnixMs, UserId};
use std::sync::Arc;
use uuid::Uuid;

/// A row of a result.
#[derive(Clone, Debug)]
pub struct Row {
    columns: Arc<[Box<str>]>,
    cells: Vec<Value>,
}

impl Row {
    pub(crate) const fn new(columns: Arc<[Box<str>]>, cells: Vec<Value>) -> Self {
        Self { columns, cells }
    }

    /// The cell of a column.
    ///
    /// # Errors
    /// [`StoreError::Decode`] when there is no such column, or it holds something else.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, StoreError> {
        match self.columns.iter().position(|c| **c == *column) {
            Some(index) => self.at(index),
            None => Err(StoreError::decode(column, "is not in the answer")),
        }
    }

    /// The cell at an index, from 0.
    ///
    /// # Errors
    /// [`StoreError::Decode`] when there is no such index, or the cell holds another type.
    pub fn at<T: FromValue>(&self, index: usize) -> Result<T, StoreError> {
        let cell = self.cells.get(index).unwrap_or(&Value::Null);
        T::from_value(cell).map_err(|why| {
            let column = self.columns.get(index).map_or("(beyond the last)", |c| c);
            StoreError::decode(column, why)
        })
    }

    /// The number of cells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// Types that a cell can be read as.
pub trait FromValue: Sized {
    /// Reads a cell.
    ///
    /// # Errors
    /// What was expected and what was found, as text.
    fn from_value(cell: &Value) -> Result<Self, String>;
}

fn wrong<T>(expected: &str, found: &Value) -> Result<T, String> {
    Err(format!("expected {expected}, found {}", found.kind()))
}

impl FromValue for Value {
    fn from_value(cell: &Value) -> Result<Self, String> {
        Ok(cell.clone())
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Null => Ok(None),
            cell => T::from_value(cell).map(Some),
        }
    }
}

impl FromValue for i64 {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Int(x) => Ok(*x),
            // PostgreSQL's sum over bigint is numeric.
            Value::Decimal(text) => {
                let (whole, places) = text.split_once('.').unwrap_or((text, ""));
                let whole = if places.bytes().all(|b| b == b'0') { whole } else { "" };
                whole.parse().map_err(|_| format!("{text} is not a 64-bit integer"))
            }
            cell => wrong("an integer", cell),
        }
    }
}

macro_rules! narrow {
    ($($int:ty),*) => {
        $(impl FromValue for $int {
            fn from_value(cell: &Value) -> Result<Self, String> {
                let wide = i64::from_value(cell)?;
                Self::try_from(wide).map_err(|_| format!("{wide} is out of range"))
            }
        })*
    };
}
narrow!(i32, i16, u64, u32, u16, u8);

impl FromValue for bool {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Bool(x) => Ok(*x),
            Value::Int(x @ 0..=1) => Ok(*x == 1),
            cell => wrong("a boolean", cell),
        }
    }
}

impl FromValue for String {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Text(x) | Value::Json(x) | Value::Decimal(x) => Ok(x.clone()),
            cell => wrong("text", cell),
        }
    }
}

impl FromValue for Arc<str> {
    fn from_value(cell: &Value) -> Result<Self, String> {
        String::from_value(cell).map(Into::into)
    }
}

impl FromValue for UnixMs {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Time(x) => Ok(*x),
            Value::Int(x) => Ok(Self(*x)),
            cell => wrong("an instant", cell),
        }
    }
}

impl FromValue for Uuid {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Uuid(x) => Ok(*x),
            Value::Bytes(x) => Self::from_slice(x).map_err(|error| error.to_string()),
            cell => wrong("a UUID", cell),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Bytes(x) => Ok(x.clone()),
            cell => wrong("bytes", cell),
        }
    }
}

impl FromValue for [u8; 32] {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Bytes(x) => {
                x.as_slice().try_into().map_err(|_| format!("{} bytes, not 32", x.len()))
            }
            cell => wrong("32 bytes", cell),
        }
    }
}

impl FromValue for Ratio {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Ratio(x) => Ok(*x),
            Value::Text(x) | Value::Decimal(x) => {
                x.parse().map_err(|error: domain::RatioError| format!("{x:?} is {error}"))
            }
            Value::Int(x) => {
                x.to_string().parse().map_err(|error: domain::RatioError| format!("{x} is {error}"))
            }
            cell => wrong("a decimal", cell),
        }
    }
}

impl FromValue for serde_json::Value {
    fn from_value(cell: &Value) -> Result<Self, String> {
        match cell {
            Value::Json(x) | Value::Text(x) => {
                serde_json::from_str(x).map_err(|error| format!("not JSON: {error}"))
            }
            cell => wrong("JSON", cell),
        }
    }
}

macro_rules! wrapped {
    ($($name:ident($inner:ty)),*) => {
        $(impl FromValue for $name {
            fn from_value(cell: &Value) -> Result<Self, String> {
                <$inner>::from_value(cell).map($name)
            }
        })*
    };
}
wrapped!(
    Quota(i64),
    UserId(i64),
    KeyId(i64),
    ChannelId(i64),
    RedemptionId(i64),
    HoldId(Uuid),
    NodeId(Uuid)
);
