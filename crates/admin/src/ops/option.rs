//! Settings of the running process: what they are, and changes of those that can change.

use crate::fields::Fields;
use crate::ops::record::{self, Subject};
use crate::page::Page;
use crate::{Actor, AdminError, AdminState, ROLE_ROOT};
use domain::Quota;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// Where the settings of this process are. They are read in the binary, above this crate.
pub trait Options: Send + Sync {
    /// All of them.
    fn all(&self) -> Vec<OptionView>;

    /// Those by which pages are made.
    fn console(&self) -> ConsoleConfig;

    /// Sets one on this node, until it ends; `None` goes back to what the environment and the
    /// file say.
    ///
    /// # Errors
    /// When it can't be; nothing has changed then.
    fn change(&self, name: &str, value: Option<&str>) -> Result<Changed, OptionRefused>;

    /// Held while a setting is changed, until its journal line is written: a change whose line
    /// fails is reverted, and must not revert a concurrent one.
    fn turn(&self) -> &Mutex<()>;
}

/// The settings by which pages are made; they are shown to administrators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConsoleConfig {
    /// Moving more than this to or from a user takes typing the user's name; `null`: no amount
    /// does.
    #[schema(value_type = Option<i64>)]
    pub confirm_above: Option<Quota>,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self { confirm_above: Some(Quota(100 * Quota::PER_USD)) }
    }
}

/// A setting that was changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// As it is now.
    pub now: OptionView,
    /// What an administrator had set before.
    pub before: Option<String>,
}

/// A setting as answers show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OptionView {
    /// Its main name.
    pub key: &'static str,
    /// As written; secrets masked.
    pub value: String,
    /// `default`, `file …`, `environment …` or `runtime`.
    pub source: String,
    /// What may stand there.
    pub allowed: String,
    /// When nobody sets it.
    pub default: &'static str,
    /// Whether it can be changed while running.
    pub live: bool,
    /// What it does.
    pub meaning: &'static str,
}

/// Why a setting can't be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionRefused {
    /// No setting has this name.
    Unknown,
    /// It is read at the start alone.
    NeedsRestart,
    /// What would have been allowed.
    NotAllowed(String),
}

/// A change as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionInput {
    /// A name of the setting.
    pub key: String,
    /// What it shall be; empty: unset; `None`: what the environment and the file say.
    pub value: Option<String>,
}

impl OptionInput {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let key = fields.text("key")?;
        let key = fields.required("key", key)?;
        let value = fields.nullable_text("value")?;
        let value = fields.mentioned("value", value)?;
        fields.finish(&[], &[])?;
        Ok(Self { key, value })
    }
}

/// The settings by which pages are made.
#[must_use]
pub fn console(state: &AdminState) -> ConsoleConfig {
    state.options.as_ref().map(|options| options.console()).unwrap_or_default()
}

/// All settings of this process.
///
/// # Errors
/// For any user but root.
pub fn list(state: &AdminState, actor: &Actor) -> Result<Page<OptionView>, AdminError> {
    Ok(Page::whole(options(state, actor)?.all()))
}

/// Changes a setting on this node, until it ends.
///
/// # Errors
/// For any user but root, when the setting can't be changed, or the database fails; nothing has
/// changed then.
pub async fn change(
    state: &AdminState,
    actor: &Actor,
    input: OptionInput,
) -> Result<OptionView, AdminError> {
    let OptionInput { key, value } = input;
    let options = options(state, actor)?;
    let _turn = options.turn().lock().await;
    if let Some(value) = &value {
        let now = options.all().into_iter().find(|option| option.key == key);
        check_value(now.as_ref(), value)?;
    }
    let Changed { now, before } =
        options.change(&key, value.as_deref()).map_err(|refused| refusal(&key, refused))?;
    let content = format!("设置 {} = {} (本节点, 重启前有效)", now.key, now.value);
    let details = json!({ "key": now.key, "value": now.value, "source": now.source });
    let told = ("option.change", content);
    let line = record::write(state, actor, vec![], Subject::Other, told, details).await;
    if let Err(error) = line {
        // What was in force a moment ago is allowed.
        let _ = options.change(&key, before.as_deref());
        return Err(error.into());
    }
    Ok(now)
}

/// Refuses what only looks like a value: nothing, of a setting that is always something, and what
/// answers show in place of a secret.
fn check_value(now: Option<&OptionView>, value: &str) -> Result<(), AdminError> {
    if value.trim().is_empty() && now.is_some_and(|now| !now.default.is_empty()) {
        return Err(AdminError::field(
            "value",
            "不能为空; 要恢复为配置的值, 请用 null (控制台: “恢复为配置的值”)",
            "must not be empty; null goes back to what is configured (in the console: Back to \
             what is configured)",
        ));
    }
    if value.contains(MASK) {
        return Err(AdminError::field(
            "value",
            "密码显示为 ***, 请重新输入完整的值",
            "has *** where a password is not shown: type the whole value",
        ));
    }
    Ok(())
}

/// What answers show in place of a secret.
const MASK: &str = "***";

fn refusal(key: &str, refused: OptionRefused) -> AdminError {
    match refused {
        OptionRefused::Unknown => AdminError::not_found("设置项", "setting of this name"),
        OptionRefused::NeedsRestart => AdminError::conflict(
            format!("{key} 需要重启才能修改"),
            format!("{key} can be changed by a restart only"),
        ),
        OptionRefused::NotAllowed(allowed) => AdminError::field(
            "value",
            format!("{key} 不能取这个值"),
            format!("allowed for {key} is {allowed}"),
        ),
    }
}

fn options<'a>(state: &'a AdminState, actor: &Actor) -> Result<&'a dyn Options, AdminError> {
    if actor.role < ROLE_ROOT {
        return Err(AdminError::forbidden("需要 root 权限", "only root may do this"));
    }
    let absent = || AdminError::not_found("运行时设置", "settings to be changed here");
    state.options.as_deref().ok_or_else(absent)
}
