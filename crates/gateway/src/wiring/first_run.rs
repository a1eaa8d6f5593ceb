//! The very first start: the user root, and the note with its credentials.

use crate::config::Config;
use crate::secret;
use admin::AdminState;
use admin::ops::first_start;
use anyhow::Context;
use store::Secret;

/// Name of the note in the data directory.
const FILE: &str = "first-run.txt";

/// Creates the user root if there are no users, and returns the note to be shown, which is also
/// stored in the data directory, readable by its owner only.
///
/// # Errors
/// When the user can't be created or the note can't be written.
pub(crate) async fn ensure(admin: &AdminState, config: &Config) -> anyhow::Result<Option<String>> {
    let database = &config.database;
    let made = first_start::ensure_root(
        &admin.db,
        &admin.passwords,
        &admin.clock,
        database.root_password.as_deref(),
        database.root_access_token.as_deref(),
    )
    .await
    .context("the user root can't be made")?;
    let Some(made) = made else { return Ok(None) };
    let shown = |secret: &Secret, made: bool| {
        if made { secret.expose().to_owned() } else { "(as given)".to_owned() }
    };
    let password = shown(&made.password, made.password_made);
    let token = shown(&made.access_token, made.access_token_made);
    let path = database.db.data_dir.join(FILE);
    let note = format!(
        "first start: the user {} was made\n  password      {password}\n  access token  {token}\n\
         kept in {} until you delete it\n",
        made.username,
        path.display(),
    );
    // A note of an earlier database in the same directory is obsolete.
    let _ = std::fs::remove_file(&path);
    secret::write_private(&path, &note).with_context(|| path.display().to_string())?;
    Ok(Some(note))
}
