//! What a form sends: read by the same readers as the API's bodies, so that rules and words agree.

use crate::lang::Lang;
use crate::unit::Unit;
use admin::{AdminError, BodyShare, Fields};
use axum::body::Body;
use domain::Fault;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// Most fields of a form: each takes more memory than its text.
const MAX_FIELDS: usize = 4000;

/// What an amount is, in Chinese and in English.
pub(crate) const NO_AMOUNT: (&str, &str) = (
    "请输入金额 (最多六位小数; 美元须为 $0.000002 的倍数), 或以 q 结尾的额度; 不带正负号, \
     小数点是 0.5 而不是 0,5",
    "must be an amount with at most six decimals, dollars in steps of $0.000002, or quota with a \
     q, without a sign, and with a point before decimals: 0.5, not 0,5",
);

/// The fields of a form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the body of a request, which counts in `share`.
    pub(crate) async fn read(body: Body, share: &BodyShare) -> Result<Self, Fault> {
        let bytes = share.read(body).await?;
        let pairs = form_urlencoded::parse(&bytes).into_owned();
        let form = Self(pairs.take(MAX_FIELDS + 1).collect());
        if form.0.len() > MAX_FIELDS || form.0.iter().any(|(_, value)| value.contains('\0')) {
            return Err(AdminError::malformed("表单无法读取", "the form can't be read").into());
        }
        Ok(form)
    }

    /// The fields of an address.
    pub(crate) fn of(pairs: &[(String, String)]) -> Self {
        Self(pairs.to_vec())
    }

    /// Every field, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A field, trimmed; empty where it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.trim())
    }

    /// Whether a box is ticked.
    pub(crate) fn ticked(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Every value of a field.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same with each of these fields once, all that was ticked in it behind commas.
    pub(crate) fn joined(&self, names: &[&str]) -> Self {
        let others = self.0.iter().filter(|(key, _)| !names.contains(&key.as_str())).cloned();
        let joined = names.iter().filter(|name| self.ticked(name)).map(|name| {
            let values: Vec<&str> = self.all(name).filter(|value| !value.is_empty()).collect();
            ((*name).to_owned(), values.join(", "))
        });
        Self(others.chain(joined).collect())
    }

    /// An instant in UTC, as `datetime-local` sends it, in seconds; -1 where nothing was typed.
    pub(crate) fn moment(&self, name: &str) -> Result<i64, AdminError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(-1);
        }
        let wrong = |_| {
            let en = "must be a time like 2026-11-30T18:00, in UTC";
            AdminError::field(name, "必须是 UTC 时间, 如 2026-11-30T18:00", en)
        };
        let at = text.parse::<DateTime>().and_then(|at| TimeZone::UTC.to_timestamp(at));
        at.map(Timestamp::as_second).map_err(wrong)
    }

    /// An amount in the unit of the console, in dollars or as quota; `None`: nothing was typed.
    pub(crate) fn amount(&self, name: &str) -> Result<Option<i64>, AdminError> {
        self.amount_in(Unit::shown(), name)
    }

    /// An amount that is in dollars on every console: as vendors list their prices.
    pub(crate) fn dollars(&self, name: &str) -> Result<Option<i64>, AdminError> {
        self.amount_in(&Unit::default(), name)
    }

    fn amount_in(&self, unit: &Unit, name: &str) -> Result<Option<i64>, AdminError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        let amount = unit.read(text);
        let amount = amount.ok_or_else(|| AdminError::field(name, NO_AMOUNT.0, NO_AMOUNT.1))?;
        Ok(Some(amount.0))
    }
}

/// A JSON object in the making, for a reader of the API.
#[derive(Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// Adds a member.
    pub(crate) fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a member unless the text is empty.
    pub(crate) fn put_some(self, name: &str, text: &str) -> Self {
        if text.is_empty() { self } else { self.put(name, text) }
    }

    /// Adds a whole number unless nothing was typed. What is no number is sent on as it is, so
    /// that the API's reader complains.
    pub(crate) fn put_int(self, name: &str, text: &str) -> Self {
        match text.parse::<i64>() {
            _ if text.is_empty() => self,
            Ok(number) => self.put(name, number),
            Err(_) => self.put(name, text),
        }
    }

    /// Adds JSON as it was typed, or the text where it is no JSON: the API's reader complains.
    pub(crate) fn put_json(self, name: &str, text: &str) -> Self {
        match serde_json::from_str::<Value>(text) {
            _ if text.is_empty() => self,
            Ok(value) => self.put(name, value),
            Err(_) => self.put(name, text),
        }
    }

    /// The object as a member of another.
    pub(crate) fn value(self) -> Value {
        Value::Object(self.0)
    }

    /// The object as a request of the API.
    pub(crate) fn fields(self) -> Result<Fields, AdminError> {
        Fields::parse(Value::Object(self.0).to_string().as_bytes())
    }
}

/// What is wrong with a form, in the reader's words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complaint {
    /// The field, where one is at fault.
    pub(crate) field: String,
    /// What to do about it.
    pub(crate) words: String,
}

impl Complaint {
    /// A complaint about what was typed; another error is a problem of the whole page.
    pub(crate) fn of(error: AdminError, lang: Lang) -> Result<Self, AdminError> {
        let typed = matches!(
            error,
            AdminError::Malformed { .. }
                | AdminError::Field { .. }
                | AdminError::Conflict { .. }
                | AdminError::Forbidden { .. }
                | AdminError::Ledger(_)
                | AdminError::TooManyWrongCodes { .. }
                | AdminError::TooMany { .. }
                | AdminError::Unauthenticated { .. }
        );
        if !typed {
            return Err(error);
        }
        Ok(match error {
            AdminError::Field { field, zh, en } => {
                let words = lang.say(&zh, &en);
                match field.split_once('.') {
                    // A place in what a field holds, as `tiers.0.at`.
                    Some((name, _)) if name != "set" => {
                        Self { field: name.to_owned(), words: format!("{field}: {words}") }
                    }
                    _ => Self { words: words.to_owned(), field },
                }
            }
            other => {
                let fault = Fault::from(other);
                Self { field: String::new(), words: lang.say(&fault.zh, &fault.en).to_owned() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show;

    #[test]
    fn an_instant_is_read_as_it_is_shown() {
        let read = |text: &str| Form(vec![("at".to_owned(), text.to_owned())]).moment("at");
        assert_eq!(show::moment(1_764_525_600), "2025-11-30T18:00");
        assert_eq!(read("2025-11-30T18:00").unwrap(), 1_764_525_600);
        assert_eq!(read("").unwrap(), -1);
        assert!(read("tomorrow").is_err());
        assert_eq!(show::moment(-1), "");
    }
}
