//! Which columns a reader has hidden: kept in a cookie of this browser, list by list.

use crate::gate::TASTE_SECONDS;
use crate::visit::{Handled, Here, go_to, is_page};
use http::HeaderValue;
use http::header::SET_COOKIE;

/// The cookie.
pub(crate) const COLUMNS: &str = "newapi_columns";
/// Longest value of the cookie: all columns of all lists fit.
const MAX_BYTES: usize = 2_000;
/// Most columns of a list.
const MAX_COLUMNS: usize = 30;

/// The hidden columns of lists, as `users.role.group-keys.models`. Of a list that is named without
/// any the reader has chosen to see all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ColumnChoice(String);

impl ColumnChoice {
    /// Reads the cookie; one that is not of these pages says nothing.
    pub(crate) fn read(cookie: Option<&str>) -> Self {
        let is_ours = |text: &&str| text.len() <= MAX_BYTES && text.split(['-', '.']).all(is_word);
        Self(cookie.filter(is_ours).unwrap_or_default().to_owned())
    }

    /// The columns of a list that are hidden; `None` where the reader has not chosen.
    pub(crate) fn hidden(&self, list: &str) -> Option<impl Iterator<Item = &str>> {
        let mut lists = self.0.split('-').map(|entry| entry.split('.'));
        lists.find_map(|mut words| (words.next() == Some(list)).then_some(words))
    }

    /// The same with another choice for a list. Where there is no room, the oldest is forgotten.
    fn with(&self, list: &str, hidden: Option<&[&str]>) -> Self {
        let chosen = hidden.map(|hidden| [&[list], hidden].concat().join("."));
        let is_other = |entry: &&str| !entry.is_empty() && entry.split('.').next() != Some(list);
        let others = self.0.split('-').filter(is_other).map(str::to_owned);
        let mut text = String::new();
        for entry in chosen.into_iter().chain(others) {
            let joint = if text.is_empty() { "" } else { "-" };
            if text.len() + joint.len() + entry.len() > MAX_BYTES {
                break;
            }
            text.push_str(joint);
            text.push_str(&entry);
        }
        Self(text)
    }

    /// Has the browser keep it.
    fn cookie(&self) -> String {
        let Self(text) = self;
        let seconds = if text.is_empty() { 0 } else { TASTE_SECONDS };
        format!("{COLUMNS}={text}; Path=/console; HttpOnly; SameSite=Lax; Max-Age={seconds}")
    }
}

/// Whether it may name a list or a column.
fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=24).contains(&text.len()) && text.bytes().all(is_plain)
}

/// `POST /console/columns`: keeps a choice, and leads back to its list.
pub(crate) async fn choose(Here(visit): Here) -> Handled {
    let form = &visit.form;
    let said = Some(form.text("back")).filter(|said| is_page(said));
    // Filters change the address after the page was sent.
    let path = |address: &str| address.split('?').next().map(str::to_owned);
    let shown = visit.came_from.as_deref();
    let shown = shown.filter(|shown| said.is_none_or(|said| path(said) == path(shown)));
    let mut response = go_to(shown.or(said).unwrap_or("/console"));
    let list = form.text("list");
    let shown: Vec<&str> = form.all("shown").collect();
    let hidden = form.all("of").filter(|id| is_word(id) && !shown.contains(id));
    let hidden: Vec<&str> = hidden.take(MAX_COLUMNS).collect();
    let hidden = Some(hidden).filter(|_| form.text("as") != "delivered");
    if is_word(list) {
        let kept = visit.columns.with(list, hidden.as_deref());
        if let Ok(cookie) = HeaderValue::try_from(kept.cookie()) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(choice: &ColumnChoice, list: &str) -> Option<Vec<String>> {
        choice.hidden(list).map(|words| words.map(str::to_owned).collect())
    }

    fn is(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn a_choice_is_of_its_list_alone() {
        let choice = ColumnChoice::default();
        assert_eq!(hidden(&choice, "users"), None);
        let choice = choice.with("users", Some(&["role", "used_30d"])).with("keys", Some(&[]));
        assert_eq!(choice, ColumnChoice::read(Some("keys-users.role.used_30d")));
        assert_eq!(hidden(&choice, "users"), is(&["role", "used_30d"]));
        assert_eq!(hidden(&choice, "keys"), is(&[]));
        assert_eq!(hidden(&choice, "role"), None);
        let choice = choice.with("users", Some(&["group"])).with("keys", None);
        assert_eq!(choice, ColumnChoice::read(Some("users.group")));
        assert!(choice.cookie().starts_with("newapi_columns=users.group; Path=/console; HttpOnly"));
        assert!(choice.with("users", None).cookie().ends_with("Max-Age=0"));
    }

    #[test]
    fn a_cookie_of_another_making_says_nothing() {
        let long = format!("users.{}", "role.".repeat(400) + "role");
        let word = format!("users.{}", "r".repeat(25));
        for hostile in
            ["users.<b>", "users.ROLE", "users..role", "-users.role", "users.role;", &long, &word]
        {
            assert_eq!(ColumnChoice::read(Some(hostile)), ColumnChoice::default(), "{hostile}");
        }
    }

    #[test]
    fn it_stays_small_and_the_latest_is_in_it() {
        let mut choice = ColumnChoice::default();
        for nth in 0..300 {
            choice = choice.with(&format!("list{nth}"), Some(&["a_column", "another"]));
            assert!(choice.0.len() <= MAX_BYTES);
            assert_eq!(ColumnChoice::read(Some(&choice.0)), choice);
        }
        assert_eq!(hidden(&choice, "list299"), is(&["a_column", "another"]));
        assert_eq!(hidden(&choice, "list0"), None);
    }
}
