//! Parameters of SQL, the same for both engines.

use domain::{ChannelId, HoldId, KeyId, NodeId, Quota, Ratio, RedemptionId, UnixMs, UserId};
use std::sync::Arc;
use uuid::Uuid;

/// A parameter, or a cell of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `NULL`, of any type.
    Null,
    /// A boolean; 1 or 0 on SQLite.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// Text.
    Text(String),
    /// An instant: `timestamptz`, or milliseconds on SQLite.
    Time(UnixMs),
    /// A UUID: `uuid`, or 16 bytes on SQLite.
    Uuid(Uuid),
    /// Bytes.
    Bytes(Vec<u8>),
    /// JSON text: `jsonb`, or text on SQLite.
    Json(String),
    /// An exact ratio: `numeric`, or text on SQLite.
    Ratio(Ratio),
    /// Any other decimal, in its exact digits: what `numeric` and sums over it return.
    Decimal(String),
}

macro_rules! value_from {
    ($($from:ty => |$x:ident| $to:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($x: $from) -> Self {
                $to
            }
        })*
    };
}

value_from! {
    bool => |x| Self::Bool(x);
    i64 => |x| Self::Int(x);
    i32 => |x| Self::Int(x.into());
    i16 => |x| Self::Int(x.into());
    u32 => |x| Self::Int(x.into());
    u16 => |x| Self::Int(x.into());
    u8 => |x| Self::Int(x.into());
    &str => |x| Self::Text(x.to_owned());
    &String => |x| Self::Text(x.clone());
    String => |x| Self::Text(x);
    Box<str> => |x| Self::Text(x.into());
    Arc<str> => |x| Self::Text(x.as_ref().to_owned());
    &Arc<str> => |x| Self::Text(x.as_ref().to_owned());
    UnixMs => |x| Self::Time(x);
    Uuid => |x| Self::Uuid(x);
    HoldId => |x| Self::Uuid(x.0);
    NodeId => |x| Self::Uuid(x.0);
    Vec<u8> => |x| Self::Bytes(x);
    &[u8] => |x| Self::Bytes(x.to_vec());
    [u8; 32] => |x| Self::Bytes(x.to_vec());
    &[u8; 32] => |x| Self::Bytes(x.to_vec());
    Ratio => |x| Self::Ratio(x);
    Quota => |x| Self::Int(x.0);
    UserId => |x| Self::Int(x.0);
    KeyId => |x| Self::Int(x.0);
    RedemptionId => |x| Self::Int(x.0);
    ChannelId => |x| Self::Int(x.0);
    serde_json::Value => |x| Self::Json(x.to_string());
    &serde_json::Value => |x| Self::Json(x.to_string());
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(x: Option<T>) -> Self {
        x.map_or(Self::Null, Into::into)
    }
}

impl Value {
    /// The kind of value, for messages. Never the value itself.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Text(_) => "text",
            Self::Time(_) => "an instant",
            Self::Uuid(_) => "a UUID",
            Self::Bytes(_) => "bytes",
            Self::Json(_) => "JSON",
            Self::Ratio(_) => "a ratio",
            Self::Decimal(_) => "a decimal",
        }
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};
        let borrowed = match self {
            Self::Null => ValueRef::Null,
            Self::Bool(x) => ValueRef::Integer(i64::from(*x)),
            Self::Int(x) => ValueRef::Integer(*x),
            Self::Time(x) => ValueRef::Integer(x.0),
            Self::Text(x) | Self::Json(x) | Self::Decimal(x) => ValueRef::Text(x.as_bytes()),
            Self::Uuid(x) => ValueRef::Blob(x.as_bytes()),
            Self::Bytes(x) => ValueRef::Blob(x),
            Self::Ratio(x) => return Ok(ToSqlOutput::Owned(Owned::Text(x.to_string()))),
        };
        Ok(ToSqlOutput::Borrowed(borrowed))
    }
}

impl From<rusqlite::types::ValueRef<'_>> for Value {
    fn from(cell: rusqlite::types::ValueRef<'_>) -> Self {
        use rusqlite::types::ValueRef;
        match cell {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(x) => Self::Int(x),
            // Only computed cells are floats: every column of ours keeps decimals as text.
            ValueRef::Real(x) => Self::Decimal(x.to_string()),
            ValueRef::Text(x) => Self::Text(String::from_utf8_lossy(x).into_owned()),
            ValueRef::Blob(x) => Self::Bytes(x.to_vec()),
        }
    }
}
