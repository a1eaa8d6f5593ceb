//! Input for keys, and its rules.

use crate::fields::Fields;
use crate::{AdminError, words};
use domain::{ModelName, Quota, UnixMs, UserId};

const MAX_NAME_CHARS: usize = 64;
const MAX_RPM: i64 = 10_000_000;
const MAX_TPM: i64 = 1_000_000_000;
/// The last second of the year 9999.
const MAX_SECONDS: i64 = 253_402_300_799;
/// Fields that responses show, or that scripts for similar servers send; ignored in requests.
const IGNORED: &[&str] = &[
    "id",
    "key",
    "key_hint",
    "used_quota",
    "daily_left",
    "monthly_left",
    "created_at",
    "updated_at",
    "created_time",
    "accessed_time",
    "last_used_at",
    "rotated_at",
    "old_key_hint",
    "old_key_ends_at",
    "old_key_used_at",
    "model_limits_enabled",
];
/// Fields of similar servers that would mean something, were they not empty.
const IGNORED_IF_EMPTY: &[&str] = &["cross_group_retry", "DeletedAt"];

/// Fields of a key as given: what is `None` stays as it is, or gets its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenInput {
    /// Owner; `None`: the caller. Immutable after creation.
    pub user_id: Option<UserId>,
    /// Name.
    pub name: Option<String>,
    /// Only the balance of the user limits this key.
    pub unlimited_quota: Option<bool>,
    /// What this key may still spend.
    pub remain_quota: Option<Quota>,
    /// When it ends; `Some(None)`: never.
    pub expired_at: Option<Option<UnixMs>>,
    /// Models it may call; empty: all.
    pub models: Option<Vec<String>>,
    /// Group to price and route by; `Some(None)`: the group of the user.
    pub group: Option<Option<String>>,
    /// Addresses and networks it may be used from; empty: all.
    pub allow_ips: Option<Vec<String>>,
    /// Requests a minute; `Some(None)`: no limit of its own.
    pub rate_limit_rpm: Option<Option<i64>>,
    /// Tokens a minute; `Some(None)`: no limit.
    pub rate_limit_tpm: Option<Option<i64>>,
    /// What it may spend in a day; `Some(None)`: no limit.
    pub daily_limit: Option<Option<i64>>,
    /// What it may spend in a month; `Some(None)`: no limit.
    pub monthly_limit: Option<Option<i64>>,
    /// 1 enabled, 2 disabled.
    pub status: Option<i64>,
}

impl TokenInput {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        fields.alias("remain_quota", "quota");
        if fields.raw_is("model_limits_enabled", "false") {
            // A list that is switched off there must not restrict the key here.
            fields.raw("model_limits");
        }
        fields.alias("models", "model_limits");
        let group = fields.nullable_text("group")?;
        let rpm = fields.nullable_int("rate_limit_rpm")?;
        let input = Self {
            user_id: fields.int("user_id")?.map(UserId),
            name: fields.text("name")?,
            unlimited_quota: fields.flag("unlimited_quota")?,
            remain_quota: fields.amount("remain_quota")?,
            expired_at: read_expiry(&mut fields)?,
            models: fields.list("models")?,
            group: group.map(|group| group.filter(|name| !name.trim().is_empty())),
            allow_ips: fields.list("allow_ips")?,
            rate_limit_rpm: rpm.map(|rpm| rpm.filter(|&rpm| rpm != 0)),
            rate_limit_tpm: fields.limit("rate_limit_tpm", MAX_TPM)?,
            daily_limit: fields.limit("daily_limit", i64::MAX)?,
            monthly_limit: fields.limit("monthly_limit", i64::MAX)?,
            status: fields.int_in("status", 1, 2)?,
        };
        fields.finish(IGNORED, IGNORED_IF_EMPTY)?;
        Ok(input)
    }

    /// The same, trimmed and in its stored form, if every field keeps its rule.
    ///
    /// # Errors
    /// The first field that doesn't.
    pub fn checked(mut self) -> Result<Self, AdminError> {
        if let Some(name) = &mut self.name {
            *name = words::name("name", name, MAX_NAME_CHARS)?;
        }
        if self.remain_quota.is_some_and(Quota::is_negative) {
            return Err(AdminError::field("remain_quota", "不能为负", "must not be negative"));
        }
        for model in self.models.iter().flatten() {
            if let Err(why) = ModelName::parse(model) {
                return Err(AdminError::field(
                    "models",
                    format!("{model:?} 不是有效的模型名"),
                    format!("the model name {model:?} {why}"),
                ));
            }
        }
        if let Some(Some(group)) = &mut self.group {
            *group = words::group("group", group)?;
        }
        if let Some(allow_ips) = &mut self.allow_ips {
            *allow_ips = words::networks("allow_ips", allow_ips)?;
        }
        if let Some(Some(rpm)) = self.rate_limit_rpm
            && !(1..=MAX_RPM).contains(&rpm)
        {
            return Err(AdminError::field(
                "rate_limit_rpm",
                format!("必须在 1 到 {MAX_RPM} 之间, 0 或 null 表示不限制"),
                format!("must be from 1 to {MAX_RPM}; 0 or null: no limit"),
            ));
        }
        Ok(self)
    }

    /// The names of the fields that are given, for the record.
    #[must_use]
    pub fn given(&self) -> Vec<&'static str> {
        let given = [
            ("name", self.name.is_some()),
            ("unlimited_quota", self.unlimited_quota.is_some()),
            ("remain_quota", self.remain_quota.is_some()),
            ("expired_time", self.expired_at.is_some()),
            ("models", self.models.is_some()),
            ("group", self.group.is_some()),
            ("allow_ips", self.allow_ips.is_some()),
            ("rate_limit_rpm", self.rate_limit_rpm.is_some()),
            ("rate_limit_tpm", self.rate_limit_tpm.is_some()),
            ("daily_limit", self.daily_limit.is_some()),
            ("monthly_limit", self.monthly_limit.is_some()),
            ("status", self.status.is_some()),
        ];
        given.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
}

/// `expired_time`: seconds since 1970, or -1 for never.
fn read_expiry(fields: &mut Fields) -> Result<Option<Option<UnixMs>>, AdminError> {
    match fields.nullable_int("expired_time")? {
        None => Ok(None),
        Some(None | Some(-1)) => Ok(Some(None)),
        Some(Some(seconds @ 1..=MAX_SECONDS)) => Ok(Some(Some(UnixMs(seconds * 1000)))),
        Some(Some(_)) => Err(fields.wrong(
            "expired_time",
            "必须是秒级 Unix 时间戳, -1 表示永不过期",
            "must be seconds since 1970, or -1 for never",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<TokenInput, AdminError> {
        TokenInput::read(Fields::parse(json.as_bytes())?)?.checked()
    }

    #[test]
    fn the_call_of_the_contract() {
        let json = r#"{"user_id":2,"name":"k","unlimited_quota":true,"expired_time":-1}"#;
        let want = TokenInput {
            user_id: Some(UserId(2)),
            name: Some("k".to_owned()),
            unlimited_quota: Some(true),
            expired_at: Some(None),
            ..TokenInput::default()
        };
        assert_eq!(read(json).unwrap(), want);
    }

    #[test]
    fn older_names_and_empty_values() {
        let read = read(
            r#"{"quota":5,"model_limits":"a,b","model_limits_enabled":true,"group":"",
                "rate_limit_rpm":0,"daily_limit":0,"monthly_limit":"9",
                "allow_ips":"10.0.0.0/8\n1.2.3.4","expired_time":1700000000}"#,
        );
        let input = read.unwrap();
        assert_eq!(input.remain_quota, Some(Quota(5)));
        assert_eq!(input.models.unwrap(), ["a", "b"]);
        assert_eq!((input.group, input.rate_limit_rpm), (Some(None), Some(None)));
        assert_eq!((input.daily_limit, input.monthly_limit), (Some(None), Some(Some(9))));
        assert_eq!(input.allow_ips.unwrap(), ["10.0.0.0/8", "1.2.3.4"]);
        assert_eq!(input.expired_at, Some(Some(UnixMs(1_700_000_000_000))));
        let off = super::TokenInput::read(
            Fields::parse(br#"{"model_limits":"a","model_limits_enabled":false}"#).unwrap(),
        );
        assert_eq!(off.unwrap().models, None);
    }

    #[test]
    fn each_rule_names_its_field() {
        for (json, field) in [
            (r#"{"remain_quota":-1}"#, "remain_quota"),
            (r#"{"expired_time":0}"#, "expired_time"),
            (r#"{"expired_time":99999999999999}"#, "expired_time"),
            (r#"{"models":["a?b"]}"#, "models"),
            (r#"{"allow_ips":["nowhere"]}"#, "allow_ips"),
            (r#"{"rate_limit_rpm":-4}"#, "rate_limit_rpm"),
            (r#"{"daily_limit":-4}"#, "daily_limit"),
            (r#"{"rate_limit_tpm":1000000001}"#, "rate_limit_tpm"),
            (r#"{"status":9}"#, "status"),
            (r#"{"unlimited":true}"#, "unlimited"),
        ] {
            match read(json).unwrap_err() {
                AdminError::Field { field: named, .. } => assert_eq!(named, field, "{json}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
