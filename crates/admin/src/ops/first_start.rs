//! The first start: creates the administrator who creates all other users.

use super::user::check_username;
use crate::password::Passwords;
use crate::{AdminError, random};
use domain::Clock;
use std::fmt;
use store::{Db, Secret, Statement};

const USERNAME: &str = "root";
/// Shorter access tokens can be guessed. 24 characters of a word list are still some 80 bits.
pub const MIN_ACCESS_TOKEN_CHARS: usize = 24;
/// Longer ones are a mistake: an access token travels in a header.
pub const MAX_ACCESS_TOKEN_CHARS: usize = 256;

/// What the operator has to know after the first start: shown once, and kept where only they read.
pub struct FirstRun {
    /// `root`.
    pub username: String,
    /// Its password, given or made.
    pub password: Secret,
    /// Whether the password was generated, and has yet to be shown.
    pub password_made: bool,
    /// Its access token, given or made.
    pub access_token: Secret,
    /// Whether the access token was made.
    pub access_token_made: bool,
}

impl fmt::Debug for FirstRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstRun").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Creates the user `root` when there are no users. Several processes may try at once: one creates
/// it, and gets its credentials.
///
/// # Errors
/// When what was given can't be a password or an access token, or the database fails.
pub async fn ensure_root(
    db: &Db,
    passwords: &Passwords,
    clock: &Clock,
    password: Option<&str>,
    access_token: Option<&str>,
) -> Result<Option<FirstRun>, AdminError> {
    if !db.read("SELECT 1 AS there FROM users LIMIT 1", &[]).await?.is_empty() {
        return Ok(None);
    }
    let username = check_username(USERNAME)?;
    let (given_password, given_token) = (password, access_token);
    let password = given_password.map_or_else(random::password, |given| Ok(given.to_owned()))?;
    let token = match given_token {
        Some(given) => check_access_token(given)?,
        None => random::access_token()?,
    };
    let hash = passwords.hash(password.clone()).await?;
    let now = clock.now();
    let make = Statement::new(
        "INSERT INTO users (username, display_name, password_hash, access_token_hash, role, \
         created_at, updated_at) SELECT $1, $1, $2, $3, 100, $4, $4 \
         WHERE NOT EXISTS (SELECT 1 FROM users) ON CONFLICT (username) DO NOTHING RETURNING id",
        vec![username.as_str().into(), hash.into(), store::key_hash(&token).into(), now.into()],
    );
    let rows = db.write_all(vec![make]).await?;
    let Some(row) = rows.first().and_then(|rows| rows.first()) else { return Ok(None) };
    let id: i64 = row.get("id")?;
    let line = "INSERT INTO logs (user_id, username, created_at, type, content) \
                VALUES ($1, $2, $3, 'system', '首次启动: 创建 root (first start: root was made)')";
    db.execute(line, &[id.into(), username.as_str().into(), now.into()]).await?;
    Ok(Some(FirstRun {
        username,
        password: Secret::new(password),
        password_made: given_password.is_none(),
        access_token: Secret::new(token),
        access_token_made: given_token.is_none(),
    }))
}

/// Whether this may be an access token: long enough, and fit for a header.
#[must_use]
pub fn is_access_token(given: &str) -> bool {
    let length = MIN_ACCESS_TOKEN_CHARS..=MAX_ACCESS_TOKEN_CHARS;
    length.contains(&given.len()) && given.bytes().all(|b| b.is_ascii_graphic())
}

fn check_access_token(given: &str) -> Result<String, AdminError> {
    if is_access_token(given) {
        return Ok(given.to_owned());
    }
    Err(AdminError::field(
        "ROOT_ACCESS_TOKEN",
        format!(
            "必须是 {MIN_ACCESS_TOKEN_CHARS} 到 {MAX_ACCESS_TOKEN_CHARS} 个可见 ASCII 字符, 不含空格"
        ),
        format!(
            "must be {MIN_ACCESS_TOKEN_CHARS} to {MAX_ACCESS_TOKEN_CHARS} visible ASCII \
             characters without blanks"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_fits_a_header() {
        assert!(check_access_token("test-token-of-24-letters").is_ok());
        let longest = "x".repeat(MAX_ACCESS_TOKEN_CHARS + 1);
        for bad in [
            "",
            "only-23-characters-long",
            "with a blank in it, or with two",
            "令牌令牌令牌令牌",
            &longest,
        ] {
            assert!(check_access_token(bad).is_err(), "{bad}");
        }
    }
}
