//! Input for users, and its rules.

use crate::fields::Fields;
use crate::state::{ROLE_ADMIN, ROLE_ROOT, ROLE_USER};
use crate::{AdminError, words};
use domain::{Quota, Ratio};
use store::Secret;

const MAX_NAME_CHARS: usize = 64;
/// Fields that responses show, or that scripts for similar servers send; ignored in requests.
const IGNORED: &[&str] = &[
    "id",
    "has_password",
    "has_access_token",
    "held",
    "held_for_tasks",
    "used_30d",
    "request_count",
    "daily_left",
    "monthly_left",
    "language",
    "created_at",
    "updated_at",
    "created_time",
    "last_login_at",
    "aff_code",
    "aff_count",
    "aff_quota",
    "aff_history_quota",
    "inviter_id",
    "remark",
];
/// Fields of similar servers that would mean something, were they not empty.
const IGNORED_IF_EMPTY: &[&str] = &[
    "email",
    "github_id",
    "oidc_id",
    "wechat_id",
    "telegram_id",
    "linux_do_id",
    "discord_id",
    "verification_code",
    "access_token",
    "original_password",
    "setting",
    "stripe_customer",
    "DeletedAt",
];

/// Fields of a user as given: what is `None` stays as it is, or gets its default.
#[derive(Clone, Debug, Default)]
pub struct UserInput {
    /// Name to log in with.
    pub username: Option<String>,
    /// Name to show.
    pub display_name: Option<String>,
    /// Password. Empty: unchanged.
    pub password: Option<Secret>,
    /// Group of the user.
    pub group: Option<String>,
    /// Factor on every price of this user.
    pub ratio: Option<Ratio>,
    /// 1 user, 10 admin, 100 root.
    pub role: Option<i64>,
    /// 1 enabled, 2 disabled.
    pub status: Option<i64>,
    /// What may be spent in a day; `Some(None)`: no limit.
    pub daily_limit: Option<Option<i64>>,
    /// What may be spent in a month; `Some(None)`: no limit.
    pub monthly_limit: Option<Option<i64>>,
    /// First deposit; only for a new user.
    pub quota: Option<Quota>,
    /// Why it is made; stands in its line.
    pub reason: Option<String>,
}

impl UserInput {
    /// Reads the request that creates a user.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read_new(mut fields: Fields) -> Result<Self, AdminError> {
        let quota = fields.amount("quota")?;
        let reason = fields.text("reason")?;
        Ok(Self { quota, reason, ..Self::read(fields)? })
    }

    /// Reads the request that changes a user.
    ///
    /// # Errors
    /// The first field that breaks its rule; a balance can't be set.
    pub fn read_change(fields: Fields) -> Result<Self, AdminError> {
        for money in ["quota", "used_quota"] {
            if fields.has(money) {
                return Err(fields.wrong(
                    money,
                    "余额不能直接修改, 请去掉该字段, 用 POST /api/user/{id}/quota \
                     {\"delta\":…,\"reason\":\"…\"} 增减",
                    "a balance is moved, never set: leave this out, and use \
                     POST /api/user/{id}/quota {\"delta\":…,\"reason\":\"…\"}",
                ));
            }
        }
        Self::read(fields)
    }

    fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let input = Self {
            username: fields.text("username")?,
            display_name: fields.text("display_name")?,
            password: fields.text("password")?.filter(|p| !p.is_empty()).map(Secret::new),
            group: fields.text("group")?,
            ratio: fields.ratio("ratio")?,
            role: fields.int("role")?,
            status: fields.int_in("status", 1, 2)?,
            daily_limit: fields.limit("daily_limit", i64::MAX)?,
            monthly_limit: fields.limit("monthly_limit", i64::MAX)?,
            quota: None,
            reason: None,
        };
        fields.finish(IGNORED, IGNORED_IF_EMPTY)?;
        Ok(input)
    }

    /// The same, trimmed, if every field keeps its rule.
    ///
    /// # Errors
    /// The first field that doesn't.
    pub fn checked(mut self) -> Result<Self, AdminError> {
        if let Some(username) = &mut self.username {
            *username = check_username(username)?;
        }
        if let Some(display_name) = &mut self.display_name {
            *display_name = check_display_name(display_name)?;
        }
        if let Some(password) = &self.password {
            crate::password::check(password.expose())?;
        }
        if let Some(group) = &mut self.group {
            *group = words::group("group", group)?;
        }
        if self.role.is_some_and(|role| ![ROLE_USER, ROLE_ADMIN, ROLE_ROOT].contains(&role)) {
            return Err(AdminError::field(
                "role",
                "必须是 1 (用户)、10 (管理员) 或 100 (root)",
                "must be 1 (user), 10 (admin) or 100 (root)",
            ));
        }
        if let Some(reason) = &mut self.reason {
            *reason = words::reason(reason)?;
        }
        if self.quota.is_some_and(|quota| quota.0 > Quota::LARGEST_BALANCE.0) {
            return Err(AdminError::field(
                "quota",
                "余额最多 1000000000000000 额度 ($2,000,000,000)",
                "must be at most 1000000000000000, which is $2,000,000,000",
            ));
        }
        if self.quota.is_some_and(Quota::is_negative) {
            return Err(AdminError::field("quota", "不能为负", "must not be negative"));
        }
        Ok(self)
    }

    /// The names of the fields that are given, for the record.
    #[must_use]
    pub fn given(&self) -> Vec<&'static str> {
        let given = [
            ("username", self.username.is_some()),
            ("display_name", self.display_name.is_some()),
            ("password", self.password.is_some()),
            ("group", self.group.is_some()),
            ("ratio", self.ratio.is_some()),
            ("role", self.role.is_some()),
            ("status", self.status.is_some()),
            ("daily_limit", self.daily_limit.is_some()),
            ("monthly_limit", self.monthly_limit.is_some()),
        ];
        given.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
}

pub(crate) fn check_display_name(text: &str) -> Result<String, AdminError> {
    words::name("display_name", text, MAX_NAME_CHARS)
}

/// A name is typed at logins and on command lines, and stands in log lines.
pub(crate) fn check_username(text: &str) -> Result<String, AdminError> {
    let username = words::name("username", text, MAX_NAME_CHARS)?;
    if username.is_empty() || username.contains(char::is_whitespace) {
        return Err(AdminError::field(
            "username",
            "不能为空, 不能有空格",
            "is required, without blanks",
        ));
    }
    // A name made only of digits could be mistaken for a user id.
    if username.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AdminError::field(
            "username",
            "不能全是数字",
            "must not be digits alone: it would look like a user's number",
        ));
    }
    Ok(username)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).unwrap()
    }

    fn field_of(result: Result<UserInput, AdminError>) -> String {
        match result.unwrap_err() {
            AdminError::Field { field, .. } => field,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_call_of_the_contract() {
        let json = r#"{"username":"ann","password":"correct horse","group":"vip","quota":1000}"#;
        let input = UserInput::read_new(fields(json)).unwrap().checked().unwrap();
        assert_eq!(input.quota, Some(Quota(1000)));
        assert_eq!(input.given(), ["username", "password", "group"]);
        assert!(!format!("{input:?}").contains("correct horse"));
    }

    #[test]
    fn a_balance_is_never_set() {
        let error = UserInput::read_change(fields(r#"{"group":"vip","quota":5}"#)).unwrap_err();
        assert!(error.to_string().contains("/quota"));
        assert_eq!(field_of(UserInput::read_change(fields(r#"{"used_quota":5}"#))), "used_quota");
    }

    #[test]
    fn each_rule_names_its_field() {
        let new = |json| UserInput::read_new(fields(json)).and_then(UserInput::checked);
        for (json, field) in [
            (r#"{"username":""}"#, "username"),
            (r#"{"username":"a b"}"#, "username"),
            (r#"{"username":"42"}"#, "username"),
            (r#"{"username":"a","password":"short"}"#, "password"),
            (r#"{"username":"a","role":5}"#, "role"),
            (r#"{"username":"a","status":3}"#, "status"),
            (r#"{"username":"a","quota":-1}"#, "quota"),
            (r#"{"username":"a","quota":1500000000000000}"#, "quota"),
            (r#"{"username":"a","quota":1,"reason":"    "}"#, "reason"),
            (r#"{"username":"a","ratio":"x"}"#, "ratio"),
            (r#"{"username":"a","daily_limit":-1}"#, "daily_limit"),
            (r#"{"username":"a","monthly_limit":"1.5"}"#, "monthly_limit"),
            (r#"{"username":"a","group":"a,b"}"#, "group"),
            (r#"{"user":"a"}"#, "user"),
            (r#"{"username":"a","email":"a@b.c"}"#, "email"),
        ] {
            assert_eq!(field_of(new(json)), field, "{json}");
        }
        assert!(new(r#"{"username":"a","email":"","remark":"x","aff_quota":0}"#).is_ok());
    }
}
