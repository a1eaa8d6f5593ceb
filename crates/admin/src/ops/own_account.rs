//! The language in which the console shows a user its pages.

use crate::fields::Fields;
use crate::ops::user::{self, UserView};
use crate::{Actor, AdminError, AdminState};

/// Those that pages have.
const LANGUAGES: [&str; 2] = ["zh", "en"];

/// Reads a request: `language`, where `null` and an empty text leave it to the browser.
///
/// # Errors
/// The first field that breaks its rule.
pub fn read(mut fields: Fields) -> Result<Option<String>, AdminError> {
    let language = fields.nullable_text("language")?;
    let language = fields.mentioned("language", language)?.filter(|code| !code.is_empty());
    fields.finish(&[], &[])?;
    match language {
        Some(other) if !LANGUAGES.contains(&other.as_str()) => {
            Err(AdminError::field("language", "必须是 zh、en 或 null", "must be zh, en or null"))
        }
        known => Ok(known),
    }
}

/// Sets the actor's own. It is a matter of taste alone, and no line of the admin journal.
///
/// # Errors
/// When there is no such language or user, or the database fails.
pub async fn set(
    state: &AdminState,
    actor: &Actor,
    language: Option<&str>,
) -> Result<UserView, AdminError> {
    let sql = "UPDATE users SET language = $1 WHERE id = $2 AND deleted_at IS NULL";
    state.db.execute(sql, &[language.into(), actor.user_id.into()]).await?;
    user::get(state, actor.user_id).await
}
