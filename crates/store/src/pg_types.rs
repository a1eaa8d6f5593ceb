//! How values travel to and from PostgreSQL, in its binary formats.

use crate::Value;
use bytes::{BufMut, BytesMut};
use domain::UnixMs;
use postgres_types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use std::error::Error;
use uuid::Uuid;

type BoxError = Box<dyn Error + Sync + Send>;

/// 2000-01-01T00:00:00Z, from where PostgreSQL counts.
const EPOCH_2000_MS: i64 = 946_684_800_000;
const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_MINUS_INFINITY: u16 = 0xF000;

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match (self, ty) {
            (Self::Null, _) => return Ok(IsNull::Yes),
            (Self::Bool(x), &Type::BOOL) => out.put_u8(u8::from(*x)),
            (Self::Int(x), &Type::INT8) => out.put_i64(*x),
            (Self::Int(x), &Type::INT4) => out.put_i32(i32::try_from(*x)?),
            (Self::Int(x), &Type::INT2) => out.put_i16(i16::try_from(*x)?),
            (Self::Int(x), &Type::NUMERIC) => put_numeric(&x.to_string(), out)?,
            (Self::Ratio(x), &Type::NUMERIC) => put_numeric(&x.to_string(), out)?,
            (Self::Decimal(x), &Type::NUMERIC) => put_numeric(x, out)?,
            (Self::Time(x), &Type::TIMESTAMPTZ | &Type::TIMESTAMP) => out.put_i64(micros(*x)?),
            (Self::Uuid(x), &Type::UUID) => out.put_slice(x.as_bytes()),
            (Self::Bytes(x), &Type::BYTEA) => out.put_slice(x),
            (Self::Json(x) | Self::Text(x), &Type::JSONB) => {
                out.put_u8(1);
                out.put_slice(x.as_bytes());
            }
            (Self::Json(x) | Self::Text(x), &Type::JSON) => out.put_slice(x.as_bytes()),
            (Self::Text(x) | Self::Json(x) | Self::Decimal(x), ty) if is_text(ty) => {
                out.put_slice(x.as_bytes());
            }
            (value, ty) => return Err(format!("{} is no {ty}", value.kind()).into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn is_text(ty: &Type) -> bool {
    matches!(*ty, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN)
        || matches!(ty.kind(), Kind::Enum(_))
}

fn micros(time: UnixMs) -> Result<i64, BoxError> {
    let since = time.0.checked_sub(EPOCH_2000_MS).and_then(|ms| ms.checked_mul(1000));
    since.ok_or_else(|| "instant out of range".into())
}

/// `numeric`: groups of four decimal digits, the exponent of the first, the sign, and how many
/// places are shown.
fn put_numeric(text: &str, out: &mut BytesMut) -> Result<(), BoxError> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (NUMERIC_NEGATIVE, rest),
        None => (0, text),
    };
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = whole.bytes().chain(places.bytes()).all(|b| b.is_ascii_digit());
    if !all_digits || whole.len() + places.len() == 0 || places.len() > 1000 || whole.len() > 1000 {
        return Err(format!("{text:?} is not a decimal").into());
    }
    let whole_groups = whole.len().div_ceil(4);
    let place_groups = places.len().div_ceil(4);
    let padded = format!(
        "{whole:0>width$}{places:0<tail$}",
        width = whole_groups * 4,
        tail = place_groups * 4
    );
    out.put_i16(i16::try_from(whole_groups + place_groups)?);
    out.put_i16(i16::try_from(whole_groups)? - 1);
    out.put_u16(sign);
    out.put_u16(u16::try_from(places.len())?);
    for group in padded.as_bytes().chunks(4) {
        let group = group.iter().fold(0_i16, |sum, digit| sum * 10 + i16::from(digit - b'0'));
        out.put_i16(group);
    }
    Ok(())
}

fn numeric_text(raw: &[u8]) -> Result<String, BoxError> {
    let mut words = raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut word = || words.next().ok_or("numeric is cut short");
    let count = usize::from(word()?);
    let weight = i32::from(word()?.cast_signed());
    let sign = word()?;
    let scale = usize::from(word()?);
    match sign {
        NUMERIC_NAN => return Ok("NaN".to_owned()),
        NUMERIC_INFINITY => return Ok("Infinity".to_owned()),
        NUMERIC_MINUS_INFINITY => return Ok("-Infinity".to_owned()),
        _ => {}
    }
    let mut groups = Vec::with_capacity(count);
    for _ in 0..count {
        groups.push(word()?);
    }
    let group_at = |exponent: i32| -> u16 {
        usize::try_from(weight - exponent).ok().and_then(|i| groups.get(i)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    for exponent in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group_at(exponent)));
    }
    let start = text.find(|c| c != '0').unwrap_or(text.len() - 1);
    text.replace_range(..start, "");
    if scale > 0 {
        let places = (1..=scale.div_ceil(4)).map(|i| i32::try_from(i).map(|i| group_at(-i)));
        let mut tail = String::new();
        for group in places {
            tail.push_str(&format!("{:04}", group?));
        }
        tail.truncate(scale);
        text.push('.');
        text.push_str(&tail);
    }
    if sign == NUMERIC_NEGATIVE {
        text.insert(0, '-');
    }
    Ok(text)
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        let text = |raw: &[u8]| std::str::from_utf8(raw).map(ToOwned::to_owned);
        Ok(match *ty {
            Type::BOOL => Self::Bool(bool::from_sql(ty, raw)?),
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => Self::Int(i16::from_sql(ty, raw)?.into()),
            Type::OID => Self::Int(u32::from_sql(ty, raw)?.into()),
            Type::TIMESTAMPTZ | Type::TIMESTAMP => Self::Time(instant(i64::from_be_bytes(
                raw.try_into().map_err(|_| "instant is not 8 bytes")?,
            ))),
            Type::UUID => Self::Uuid(Uuid::from_slice(raw)?),
            Type::BYTEA => Self::Bytes(raw.to_vec()),
            Type::JSON => Self::Json(text(raw)?),
            Type::JSONB => Self::Json(text(raw.get(1..).unwrap_or_default())?),
            Type::NUMERIC => Self::Decimal(numeric_text(raw)?),
            Type::FLOAT8 => Self::Decimal(f64::from_sql(ty, raw)?.to_string()),
            Type::VOID => Self::Null,
            ref ty if is_text(ty) => Self::Text(text(raw)?),
            ref ty => return Err(format!("no reading of {ty}").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The ends of the scale are PostgreSQL's `infinity`.
const fn instant(micros: i64) -> UnixMs {
    match micros {
        i64::MAX | i64::MIN => UnixMs(micros),
        micros => UnixMs(micros.div_euclid(1000).saturating_add(EPOCH_2000_MS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(text: &str) -> String {
        let mut raw = BytesMut::new();
        put_numeric(text, &mut raw).unwrap();
        numeric_text(&raw).unwrap()
    }

    #[test]
    fn numeric_keeps_every_digit() {
        for text in ["0", "1", "0.8", "12345678.000001", "-3.5", "10000", "0.0001", "1.50"] {
            assert_eq!(there_and_back(text), text);
        }
        assert_eq!(there_and_back("0001"), "1");
        assert!(put_numeric("1e3", &mut BytesMut::new()).is_err());
        assert!(put_numeric("", &mut BytesMut::new()).is_err());
    }

    proptest! {
        #[test]
        fn numeric_is_its_own_inverse(whole in 0_u64.., places in "[0-9]{0,12}") {
            let point = if places.is_empty() { "" } else { "." };
            let text = format!("{whole}{point}{places}");
            prop_assert_eq!(there_and_back(&text), text);
        }
    }
}
