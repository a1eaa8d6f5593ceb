//! Input for redemption codes, and its rules.

use crate::fields::Fields;
use crate::{AdminError, words};
use domain::{Quota, UnixMs};
use ledger::REFERENCE_MAX;

/// Most codes made at once.
const MAX_COUNT: i64 = 1000;
const MAX_NAME_CHARS: usize = 64;
/// Fields that responses show; ignored in requests.
const IGNORED: &[&str] = &[
    "id",
    "key",
    "key_hint",
    "lot",
    "user_id",
    "created_time",
    "used_user_id",
    "redeemed_time",
    "count",
];

/// A lot of codes to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedemptionInput {
    /// Name of the lot.
    pub name: String,
    /// What each is worth.
    pub quota: Quota,
    /// How many.
    pub count: usize,
    /// From when they are worth nothing; `None`: never.
    pub expires_at: Option<UnixMs>,
    /// Why they are made; stands in the admin journal.
    pub reason: Option<String>,
    /// Names the making of this lot: the same again makes nothing.
    pub reference: Option<String>,
}

/// What may change about a code: what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedemptionChange {
    /// Name.
    pub name: Option<String>,
    /// What the caller takes it to be worth, which can't change.
    pub quota: Option<Quota>,
    /// When it ends; `Some(None)`: never.
    pub expires_at: Option<Option<UnixMs>>,
    /// 1 open, 2 disabled.
    pub status: Option<i64>,
}

impl RedemptionInput {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let name = fields.text("name")?.unwrap_or_default();
        let quota = fields.amount("quota")?;
        let quota = fields.required("quota", quota)?;
        let count = fields.int_in("count", 1, MAX_COUNT)?.unwrap_or(1);
        let expires_at = fields.expiry("expired_time")?.flatten();
        let reason = fields.text("reason")?;
        let reference = fields.text("reference")?;
        fields.finish(&["id", "key"], &[])?;
        if quota <= Quota::ZERO {
            return Err(AdminError::field("quota", "必须大于 0", "must be above 0"));
        }
        let name = words::name("name", &name, MAX_NAME_CHARS)?;
        let reason = reason.map(|reason| words::reason(&reason)).transpose()?;
        let reference = reference.map(|it| words::name("reference", &it, REFERENCE_MAX));
        let reference = reference.transpose()?.filter(|it| !it.is_empty());
        let count = usize::try_from(count).unwrap_or(1);
        Ok(Self { name, quota, count, expires_at, reason, reference })
    }
}

impl RedemptionChange {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let name = fields.text("name")?;
        let change = Self {
            name: name.map(|name| words::name("name", &name, MAX_NAME_CHARS)).transpose()?,
            quota: fields.amount("quota")?,
            expires_at: fields.expiry("expired_time")?,
            status: fields.int_in("status", 1, 2)?,
        };
        fields.finish(IGNORED, &[])?;
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_of_similar_servers() {
        let read = |json: &str| RedemptionInput::read(Fields::parse(json.as_bytes()).unwrap());
        let want = RedemptionInput {
            name: "spring".to_owned(),
            quota: Quota(500),
            count: 3,
            expires_at: Some(UnixMs(2_000_000_000_000)),
            reason: None,
            reference: None,
        };
        let json = r#"{"name":"spring","quota":500,"count":3,"expired_time":2000000000}"#;
        assert_eq!(read(json).unwrap(), want);
        assert_eq!(read(r#"{"quota":1,"expired_time":0}"#).unwrap().expires_at, None);
        for bad in [
            "{}",
            r#"{"quota":0}"#,
            r#"{"quota":1,"count":0}"#,
            r#"{"quota":1,"count":1001}"#,
            r#"{"quota":1,"expired_time":-7}"#,
            r#"{"quota":1,"more":1}"#,
            r#"{"quota":1,"reason":"  "}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
