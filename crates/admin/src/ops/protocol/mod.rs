//! Protocols: those that are built in, and the operator's own.

mod trial;
mod trial_request;

pub use trial::{Trial, TrialInput, try_out};
pub use trial_request::TrialText;

use crate::fields::Fields;
use crate::ops::record::{self, Subject};
use crate::page::Page;
use crate::{Actor, AdminError, AdminState, ROLE_ROOT, exact};
use protocol::{BUILTIN, Library, MAX_DOCUMENT_BYTES, Protocol};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::protocols::{self, MAX_OWN, OwnProtocol, is_builtin};
use store::{Problem, Row, Statement, StoreError};
use utoipa::ToSchema;

/// A protocol as answers show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProtocolView {
    /// Its name, which channels name it by.
    pub name: String,
    /// What it is called in Chinese.
    pub title_zh: String,
    /// What it is called in English.
    pub title_en: String,
    /// It is built in: the same in every installation.
    pub built_in: bool,
    /// How many routes it has.
    pub routes: i64,
    /// The patterns of its routes. Lists leave them out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<String>,
    /// It has tasks, which are polled.
    pub tasks: bool,
    /// Where its facts come from.
    pub sources: Vec<String>,
    /// The channels that name it.
    pub channels: Vec<i64>,
    /// Why it can't be used, if it can't: its channels answer 503 then.
    pub problem: Option<String>,
    /// When it was last set, in seconds since 1970; none for one that is built in.
    pub updated_at: Option<i64>,
    /// Its document (TOML). Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// Reads the document of a request.
///
/// # Errors
/// When there is none, or it is too long.
pub fn read_document(mut fields: Fields) -> Result<String, AdminError> {
    let document = fields.text("document")?;
    let document = fields.required("document", document)?;
    fields.finish(&["name", "updated_at"], &[])?;
    checked_size(document)
}

fn checked_size(document: String) -> Result<String, AdminError> {
    if document.len() > MAX_DOCUMENT_BYTES {
        let (zh, en) = (
            format!("不能超过 {MAX_DOCUMENT_BYTES} 字节"),
            format!("must not be longer than {MAX_DOCUMENT_BYTES} bytes"),
        );
        return Err(AdminError::field("document", zh, en));
    }
    Ok(document)
}

/// Everything that is known of the protocols.
struct Known {
    own: Vec<OwnProtocol>,
    library: Library,
    problems: Vec<Problem>,
    channels: BTreeMap<String, Vec<i64>>,
}

impl Known {
    async fn read(state: &AdminState) -> Result<Self, AdminError> {
        let own = protocols::rows(&state.db).await?;
        let (library, problems) = protocols::compile(&own)?;
        let sql = "SELECT id, protocol FROM channels ORDER BY id";
        let mut channels: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for row in state.db.read(sql, &[]).await? {
            let (id, name) = channel_row(&row)?;
            channels.entry(name).or_default().push(id);
        }
        Ok(Self { own, library, problems, channels })
    }

    fn names(&self) -> BTreeSet<&str> {
        let own = self.own.iter().map(|own| own.name.as_str());
        BUILTIN.iter().map(|(name, _)| *name).chain(own).collect()
    }

    fn view(&self, name: &str) -> Option<ProtocolView> {
        let built_in = BUILTIN.iter().find(|(builtin, _)| *builtin == name);
        let own = self.own.iter().find(|own| own.name == name).filter(|_| built_in.is_none());
        let document = built_in.map(|(_, text)| *text).or(own.map(|own| own.document.as_str()))?;
        let known = self.library.get(name).filter(|_| built_in.is_some() || own.is_some());
        let problem = self.problems.iter().find(|it| it.row == name && built_in.is_none());
        Some(ProtocolView {
            name: name.to_owned(),
            title_zh: known.map(|it| it.title.zh.clone()).unwrap_or_default(),
            title_en: known.map(|it| it.title.en.clone()).unwrap_or_default(),
            built_in: built_in.is_some(),
            routes: known.map_or(0, |it| i64::try_from(it.routes.len()).unwrap_or(i64::MAX)),
            calls: known.map(|it| calls(it)).unwrap_or_default(),
            tasks: known.is_some_and(|it| it.task.is_some()),
            sources: known.map(|it| it.sources.clone()).unwrap_or_default(),
            channels: self.channels.get(name).cloned().unwrap_or_default(),
            problem: problem.map(|it| it.why.clone()),
            updated_at: own.map(|own| exact::seconds(own.updated_at)),
            document: Some(document.to_owned()),
        })
    }
}

fn calls(protocol: &Protocol) -> Vec<String> {
    protocol.routes.iter().flat_map(|route| &route.patterns).map(ToString::to_string).collect()
}

fn channel_row(row: &Row) -> Result<(i64, String), StoreError> {
    Ok((row.get("id")?, row.get("protocol")?))
}

/// All protocols, by name, without their documents.
///
/// # Errors
/// When the database fails.
pub async fn list(state: &AdminState) -> Result<Page<ProtocolView>, AdminError> {
    let known = Known::read(state).await?;
    let without = |view: ProtocolView| ProtocolView { document: None, calls: Vec::new(), ..view };
    let views = known.names().into_iter().filter_map(|name| known.view(name)).map(without);
    Ok(Page::whole(views.collect()))
}

/// One protocol, with its document.
///
/// # Errors
/// When there is none of this name, or the database fails.
pub async fn get(state: &AdminState, name: &str) -> Result<ProtocolView, AdminError> {
    Known::read(state).await?.view(name).ok_or_else(not_found)
}

/// Checks a document as [`put`] would, and changes nothing. Returns what it would be.
///
/// # Errors
/// Everything that is wrong with it.
pub async fn check(state: &AdminState, document: String) -> Result<ProtocolView, AdminError> {
    let known = Known::read(state).await?;
    let name = named(&known, &document)?;
    let after = replaced(&known, &name, Some(document), state)?;
    let after = Known { channels: known.channels, ..after };
    after.view(&name).ok_or_else(not_found)
}

/// Adds a protocol, or puts it in the place of an own one of the same name, live when this returns.
///
/// # Errors
/// Everything that is wrong with the document; when the name is one that is built in, or another
/// protocol that builds on it could not be used any more; when there are too many, or the database
/// fails.
pub async fn put(
    state: &AdminState,
    actor: &Actor,
    document: String,
) -> Result<ProtocolView, AdminError> {
    actor.require_admin()?;
    let known = Known::read(state).await?;
    let name = named(&known, &document)?;
    let after = replaced(&known, &name, Some(document.clone()), state)?;
    check_keys(actor, &known, &after.library)?;
    let upsert = Statement::new(
        "INSERT INTO protocols (name, document, updated_at) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET document = excluded.document, \
         updated_at = excluded.updated_at",
        vec![name.as_str().into(), document.into(), state.clock.now().into()],
    );
    let told = ("protocol.put", format!("设置协议 {name}"));
    record::write(state, actor, vec![upsert], Subject::Other, told, json!({ "name": name }))
        .await?;
    state.refresh().await;
    get(state, &name).await
}

/// Takes an own protocol away.
///
/// # Errors
/// When there is none, it is built in, a channel names it or another protocol builds on it, or the
/// database fails.
pub async fn delete(state: &AdminState, actor: &Actor, name: &str) -> Result<(), AdminError> {
    actor.require_admin()?;
    let known = Known::read(state).await?;
    if is_builtin(name) {
        return Err(AdminError::conflict("内置协议不能删除", "it is built in"));
    }
    if let Some(channels) = known.channels.get(name) {
        let count = channels.len();
        return Err(AdminError::conflict(
            format!("还有 {count} 个渠道使用此协议"),
            format!("channels that name it: {count}; give them another protocol first"),
        ));
    }
    replaced(&known, name, None, state)?;
    let statement =
        Statement::new("DELETE FROM protocols WHERE name = $1", vec![name.into()]).expecting(1);
    let told = ("protocol.delete", format!("删除协议 {name}"));
    record::write(state, actor, vec![statement], Subject::Other, told, json!({ "name": name }))
        .await
        .map_err(AdminError::or_missing(not_found))?;
    state.refresh().await;
    Ok(())
}

/// What a document names itself. Its own faults are found here, too.
fn named(known: &Known, document: &str) -> Result<String, AdminError> {
    let mut library = known.library.clone();
    let protocol = library.add(document).map_err(|problems| {
        AdminError::field("document", problems.in_chinese(), problems.to_string())
    })?;
    if is_builtin(&protocol.name) {
        let name = &protocol.name;
        return Err(AdminError::field(
            "document",
            format!("{name} 是内置协议, 请换一个名称"),
            format!("{name} is built in: choose another name"),
        ));
    }
    Ok(protocol.name.to_string())
}

/// Refuses an administrator below root a document by which keys of channels would be presented
/// otherwise, as a parameter of the address, say: with another protocol a channel needs its key
/// again, and this would be a way around that.
fn check_keys(actor: &Actor, before: &Known, after: &Library) -> Result<(), AdminError> {
    let presents_as_before = |name: &String| match (before.library.get(name), after.get(name)) {
        (Some(old), Some(new)) => new.auth.presents_as(&old.auth),
        // Keys are not sent by a protocol that can't be used.
        (_, None) => true,
        (None, Some(_)) => false,
    };
    if actor.role >= ROLE_ROOT || before.channels.keys().all(presents_as_before) {
        return Ok(());
    }
    Err(AdminError::forbidden(
        "会改变渠道密钥的发送方式, 只有 root 可以修改",
        "it would change how keys of channels are presented, which only root may do",
    ))
}

/// What is known with another document for a name, or none, if all others can still be used.
fn replaced(
    known: &Known,
    name: &str,
    document: Option<String>,
    state: &AdminState,
) -> Result<Known, AdminError> {
    let mut own: Vec<_> = known.own.iter().filter(|own| own.name != name).cloned().collect();
    if document.is_some() && own.len() >= MAX_OWN {
        return Err(AdminError::conflict(
            format!("自定义协议最多 {MAX_OWN} 个"),
            format!("there are {MAX_OWN} already, which is the most"),
        ));
    }
    let updated_at = state.clock.now();
    own.extend(document.map(|document| OwnProtocol {
        name: name.to_owned(),
        document,
        updated_at,
    }));
    let (library, problems) = protocols::compile(&own)?;
    let had = |row: &str| known.problems.iter().any(|before| before.row == row);
    if let Some(broken) = problems.iter().find(|it| it.row != name && !had(&it.row)) {
        let Problem { row, why, .. } = broken;
        return Err(AdminError::conflict(
            format!("协议 {row} 依赖它: {why}"),
            format!("{row} builds on it: {why}"),
        ));
    }
    Ok(Known { own, library, problems, channels: BTreeMap::new() })
}

/// The protocol of a name, of those that are built in and the operator's own.
///
/// # Errors
/// When there is none that can be used, or the database fails.
pub(crate) async fn find(
    state: &AdminState,
    name: &str,
) -> Result<std::sync::Arc<Protocol>, AdminError> {
    let (library, _) = protocols::load(&state.db).await?;
    library.get(name).cloned().ok_or_else(not_found)
}

fn not_found() -> AdminError {
    AdminError::not_found("协议", "protocol")
}
