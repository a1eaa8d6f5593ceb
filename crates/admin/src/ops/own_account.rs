//! What everybody changes of their own account without anybody's leave: the name that is shown, and
//! the language in which the console shows its pages.

use crate::fields::Fields;
use crate::ops::user::{self, UserView};
use crate::{Actor, AdminError, AdminState};

/// Those that pages have.
const LANGUAGES: [&str; 2] = ["zh", "en"];

/// What is given; the rest stays as it is.
#[derive(Clone, Debug, Default)]
pub struct OwnInput {
    /// Language of the pages; `Some(None)`: the browser's.
    pub language: Option<Option<String>>,
    /// Name to show.
    pub display_name: Option<String>,
}

/// Reads a request: `language`, where `null` and an empty text leave it to the browser, and
/// `display_name`.
///
/// # Errors
/// The first field that breaks its rule.
pub fn read(mut fields: Fields) -> Result<OwnInput, AdminError> {
    let display_name = fields.text("display_name")?;
    let display_name = display_name.map(|name| user::check_display_name(&name)).transpose()?;
    let language = fields.nullable_text("language")?;
    fields.finish(&[], &[])?;
    let language = language.map(|language| language.filter(|code| !code.is_empty()));
    match language.as_ref().and_then(Option::as_deref) {
        Some(other) if !LANGUAGES.contains(&other) => {
            Err(AdminError::field("language", "必须是 zh、en 或 null", "must be zh, en or null"))
        }
        _ => Ok(OwnInput { language, display_name }),
    }
}

/// Sets what is given of the actor's own. The language is a matter of taste alone, and no line of
/// the admin journal; by the name others know one, so that it is.
///
/// # Errors
/// When nothing is given, there is no such user, or the database fails.
pub async fn set(
    state: &AdminState,
    actor: &Actor,
    input: OwnInput,
) -> Result<UserView, AdminError> {
    if input.language.is_none() && input.display_name.is_none() {
        let (zh, en) = ("language 和 display_name 至少给出一个", "or display_name has to be given");
        return Err(AdminError::field("language", zh, en));
    }
    if let Some(name) = input.display_name {
        user::rename_own(state, actor, name).await?;
    }
    if let Some(language) = input.language {
        set_language(state, actor, language.as_deref()).await?;
    }
    user::get(state, actor.user_id).await
}

/// Sets the language of the actor's pages.
///
/// # Errors
/// When the database fails.
pub async fn set_language(
    state: &AdminState,
    actor: &Actor,
    language: Option<&str>,
) -> Result<(), AdminError> {
    let sql = "UPDATE users SET language = $1 WHERE id = $2 AND deleted_at IS NULL";
    state.db.execute(sql, &[language.into(), actor.user_id.into()]).await?;
    Ok(())
}
