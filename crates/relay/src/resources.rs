//! What calls make at upstreams and later calls name by its id: files, batches, stored responses.
//!
//! An upstream's account is shared by all who call through its channel, and its ids are no secrets.
//! So each id that a call makes is kept with its owner and channel; a call that names one is made
//! for the owner alone, at that channel, and a list shows what the owner made, from our own record.

use crate::identify::{Caller, may_call};
use crate::list_page::ListPage;
use crate::outcome::Reading;
use crate::surface::ApiPath;
use crate::{Relay, faults, own_reply, vendor_tasks};
use domain::{ChannelId, DAY_MS, Fault, UserId};
use form_urlencoded::parse;
use http::{Method, Response};
use protocol::{ErrorShape, ListWord, ProtocolRoute, TaskWord};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::iter::repeat;
use std::sync::Arc;
use store::resources::{self, Resource, ResourcePage};
use store::tasks;
use store::{RESOURCE, StoreError};
use web::Body;

/// The collection of what an upstream has made by itself: no list shows it.
pub(crate) const UNLISTED: &str = "";
/// Longest reply that is kept for lists.
const MAX_KEPT_BYTES: usize = 16 * 1024;
/// The same, sealed and written as text.
const MAX_SEALED_BYTES: usize = MAX_KEPT_BYTES * 3 / 2;
/// Most members of a list's page, and of one that says nothing.
const MAX_LISTED: u32 = 100;
/// Pages that are read for one list, where a filter drops members.
const MAX_PAGES: usize = 20;

/// What a call does to what calls make.
#[derive(Clone, Debug)]
pub(crate) enum ResourceEffect {
    /// Nothing.
    None,
    /// Its reply names what was made, and shows it.
    Makes { collection: String, days: u32, route: Arc<ProtocolRoute> },
    /// Its reply shows this one, and may name what has been made of it: the results of a batch.
    Shows { id: String, days: u32 },
    /// It deletes this one.
    Ends(String),
    /// It cancels the task of this id.
    Cancels(String),
}

impl ResourceEffect {
    /// What a call of this method and path does.
    pub(crate) fn of(api: &ApiPath, (method, query): (&Method, Option<&str>)) -> Self {
        let Some(spoken) = &api.spoken else { return Self::None };
        let route = spoken.route();
        let (days, makes) = (route.resource_days, |collection: &str| Self::Makes {
            collection: collection.to_owned(),
            days: route.resource_days,
            route: Arc::clone(route),
        });
        match spoken.task() {
            None => {}
            // What a task has made is used by its own id: a film that is extended.
            Some(TaskWord::Ask) if route.makes => {
                return makes(UNLISTED);
            }
            Some(TaskWord::Cancel) => {
                let ids = spoken.ids_outside_of_body(query);
                return match ids.as_deref() {
                    Ok([id]) => Self::Cancels(id.clone()),
                    _ => Self::None,
                };
            }
            Some(_) => return Self::None,
        }
        let named = spoken.id_in_path().filter(|id| api.path().ends_with(id));
        match (named, method) {
            (Some(id), &Method::GET) => Self::Shows { id: id.to_owned(), days },
            (Some(id), &Method::DELETE) => Self::Ends(id.to_owned()),
            _ if route.makes => makes(route.collection.as_deref().unwrap_or(api.path())),
            _ => Self::None,
        }
    }

    /// Whether it does nothing.
    pub(crate) const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Keeps what a call has done to what calls make, once its reply is there.
#[derive(Debug)]
pub(crate) struct ResourceKeeper {
    pub effect: ResourceEffect,
    pub user_id: UserId,
    pub channel_id: ChannelId,
    pub model: String,
}

impl ResourceKeeper {
    /// Durable, or given up, when it returns: the client may name the id in its next call. `reply`
    /// is the whole reply, where it was collected. A failure is logged, and costs the client its
    /// id, but not its reply.
    pub(crate) async fn keep(self, relay: &Relay, reading: &Reading, reply: Option<&[u8]>) {
        if reading.failed {
            return;
        }
        if let Err(error) = self.try_keep(relay, reading, reply).await {
            lost(self.user_id, self.channel_id, &error);
        }
    }

    async fn try_keep(
        &self,
        relay: &Relay,
        reading: &Reading,
        reply: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let sealed = |reply: Option<&[u8]>| reply.and_then(|reply| sealed(relay, reply));
        if reading.resources.is_empty() && matches!(self.effect, ResourceEffect::Makes { .. }) {
            return Ok(());
        }
        match &self.effect {
            ResourceEffect::None => Ok(()),
            ResourceEffect::Makes { collection, days, route } => {
                if route.reuses_ids {
                    let (db, user_id, ids) = (&relay.db, self.user_id, &reading.resources);
                    resources::take_over(db, user_id, self.channel_id, ids).await?;
                }
                let is_listed = |_: &&[u8]| collection != UNLISTED;
                let shown = reply.filter(is_listed).and_then(|reply| route.shown_of(reply));
                let shown = sealed(shown);
                self.keep_all(relay, &reading.resources, (collection, *days), shown).await
            }
            ResourceEffect::Shows { id, days } => {
                self.keep_all(relay, &reading.resources, (UNLISTED, *days), None).await?;
                let Some(shown) = sealed(reply) else { return Ok(()) };
                resources::update_reply(&relay.db, self.user_id, id, Some(shown)).await
            }
            ResourceEffect::Ends(id) => resources::forget(&relay.db, self.user_id, id).await,
            ResourceEffect::Cancels(id) => {
                let of = (self.user_id, self.channel_id);
                tasks::note_cancelled(&relay.db, of, id, relay.clock.now()).await
            }
        }
    }

    /// Keeps as the caller's what a refusal names for it to go on with, but for what is another's:
    /// at an account that its customers share, a vendor may name the task of any of them.
    pub(crate) async fn keep_named(self, relay: &Relay, ids: &[String], days: u32) {
        let Self { user_id, channel_id, .. } = self;
        let kept = async {
            let mut own = Vec::new();
            for id in ids {
                if resources::is_anothers(&relay.db, user_id, channel_id, id).await? {
                    lost(user_id, channel_id, &"another user has it");
                } else {
                    own.push(id.clone());
                }
            }
            self.keep_all(relay, &own, (UNLISTED, days), None).await
        };
        if let Err(error) = kept.await {
            lost(user_id, channel_id, &error);
        }
    }

    async fn keep_all(
        &self,
        relay: &Relay,
        ids: &[String],
        (collection, days): (&str, u32),
        reply_sealed: Option<String>,
    ) -> Result<(), StoreError> {
        let created_at = relay.clock.now();
        let expires_at = created_at.plus_ms(i64::from(days).saturating_mul(DAY_MS));
        // The reply shows the first, which is listed; the others are parts of it.
        let made = ids.iter().zip([reply_sealed].into_iter().chain(repeat(None)));
        let made = made.map(|(id, reply_sealed)| Resource {
            id: id.clone(),
            channel_id: self.channel_id,
            model: self.model.clone(),
            created_at,
            reply_sealed,
        });
        let made: Vec<Resource> = made.collect();
        let (first, parts) = made.split_at(made.len().min(1));
        resources::keep(&relay.db, self.user_id, collection, first, expires_at).await?;
        resources::keep(&relay.db, self.user_id, UNLISTED, parts, expires_at).await
    }
}

fn lost(user_id: UserId, channel_id: ChannelId, error: &dyn Display) {
    tracing::error!(
        target: "custompass", event = "resource_lost", user_id = user_id.0,
        channel_id = channel_id.0, %error,
    );
}

/// A reply as it is kept for lists: one JSON object, not too large.
fn sealed(relay: &Relay, reply: &[u8]) -> Option<String> {
    let object = reply.trim_ascii();
    let fits = object.len() <= MAX_KEPT_BYTES && object.starts_with(b"{");
    let readable = fits && serde_json::from_slice::<&RawValue>(object).is_ok();
    readable.then(|| relay.sealer.seal(RESOURCE, object).ok()).flatten()
}

/// The one thing, or the several at one channel, that a call is about.
pub(crate) struct Owned {
    pub channel_id: ChannelId,
    /// The model of the call that made it.
    pub model: String,
}

/// Finds what a call is about among what its caller made, tasks too. What others made is not there.
pub(crate) async fn owned(
    relay: &Relay,
    caller: &Caller,
    ids: &[String],
) -> Result<Option<Owned>, Fault> {
    let identity = &caller.identity;
    let mut owned: Option<Owned> = None;
    for id in ids {
        let found = resources::find(&relay.db, identity.user_id, id, relay.clock.now()).await;
        let found = found.map_err(faults::system)?;
        let found = match found.map(|it| Owned { channel_id: it.channel_id, model: it.model }) {
            Some(found) => Some(found),
            None => vendor_tasks::made(relay, identity.user_id, id).await?,
        };
        let found = found.filter(|it| may_call(identity, &it.model));
        let found = found.ok_or_else(faults::resource_not_found)?;
        match &owned {
            Some(first) if first.channel_id != found.channel_id => {
                return Err(faults::resources_apart());
            }
            Some(_) => {}
            None => owned = Some(found),
        }
    }
    Ok(owned)
}

/// Stands for a thing whose reply was not kept.
#[derive(Serialize)]
struct Bare<'a> {
    id: &'a str,
    /// What Google's APIs call an id.
    name: &'a str,
    created_at: i64,
}

/// What a client may ask of a list.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    limit: u32,
    after: Option<String>,
    ascending: bool,
    purpose: Option<String>,
}

impl Asked {
    fn read(query: &str) -> Result<Self, Fault> {
        let mut asked = Self { limit: MAX_LISTED, after: None, ascending: false, purpose: None };
        for (name, value) in parse(query.as_bytes()) {
            match &*name {
                "limit" | "pageSize" => {
                    let limit = value.parse::<u32>().ok().filter(|limit| *limit > 0);
                    let limit = limit.ok_or_else(|| faults::bad_parameter(&name, "1 and above"))?;
                    asked.limit = limit.min(MAX_LISTED);
                }
                "after" | "after_id" | "pageToken" if !value.is_empty() => {
                    asked.after = Some(value.into_owned())
                }
                "order" => asked.ascending = &*value == "asc",
                "purpose" => asked.purpose = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(asked)
    }

    /// Whether a member is asked for. One whose reply was not kept is.
    fn wants(&self, member: &RawValue) -> bool {
        #[derive(serde::Deserialize)]
        struct Purpose<'a> {
            #[serde(borrow)]
            purpose: Option<std::borrow::Cow<'a, str>>,
        }
        let Some(wanted) = &self.purpose else { return true };
        let read: Result<Purpose<'_>, _> = serde_json::from_str(member.get());
        read.ok().and_then(|it| it.purpose).is_none_or(|it| it == wanted.as_str())
    }
}

/// Answers a list of what was made.
pub(crate) async fn list(
    relay: &Relay,
    caller: &Caller,
    (api, word): (&ApiPath, ListWord),
    query: Option<&str>,
) -> Result<Response<Body>, Fault> {
    if word == ListWord::Refuse {
        return Err(faults::list_refused());
    }
    let mut asked = Asked::read(query.unwrap_or_default())?;
    let collection = api.spoken.as_ref().and_then(|it| it.route().collection.as_deref());
    let collection = collection.unwrap_or(api.path());
    let mut page = ListPage { has_more: true, ..ListPage::default() };
    let mut share = relay.budget.share_of(caller.identity.user_id);
    for _ in 0..MAX_PAGES {
        let wanted = asked.limit - u32::try_from(page.data.len()).unwrap_or(asked.limit);
        if wanted == 0 || !page.has_more {
            break;
        }
        let after = asked.after.take();
        let part = ResourcePage {
            collection,
            after: after.as_deref(),
            ascending: asked.ascending,
            limit: wanted + 1,
        };
        let user_id = caller.identity.user_id;
        // All that the next page may take, before it is read.
        let before = share.bytes();
        if !share.grow_towards(before + (wanted as usize + 1) * MAX_SEALED_BYTES) {
            return Err(faults::overloaded());
        }
        let rows = resources::list(&relay.db, user_id, part, relay.clock.now()).await;
        let rows = rows.map_err(faults::system)?;
        page.has_more = rows.len() > wanted as usize;
        for row in rows.iter().take(wanted as usize) {
            let member = member(relay, row)?;
            if asked.wants(&member) && may_call(&caller.identity, &row.model) {
                page.first_id.get_or_insert_with(|| row.id.clone());
                page.last_id = Some(row.id.clone());
                page.data.push(member);
            }
            asked.after = Some(row.id.clone());
        }
        share.shrink_to(page.data.iter().map(|member| member.get().len()).sum());
    }
    if api.spoken.as_ref().is_some_and(|spoken| spoken.errors() == ErrorShape::Gemini) {
        return own_reply::json(&gemini_page(api.path(), page), share);
    }
    own_reply::json(&page, share)
}

/// A page as Google's APIs have it: what is listed is named by the path.
fn gemini_page(path: &str, page: ListPage<Box<RawValue>>) -> BTreeMap<String, GeminiMember> {
    let named = path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut members = BTreeMap::from([(named, GeminiMember::Things(page.data))]);
    if let Some(last) = page.last_id.filter(|_| page.has_more) {
        members.insert("nextPageToken".to_owned(), GeminiMember::Token(last));
    }
    members
}

/// A member of such a page.
#[derive(Serialize)]
#[serde(untagged)]
enum GeminiMember {
    Things(Vec<Box<RawValue>>),
    Token(String),
}

fn member(relay: &Relay, row: &Resource) -> Result<Box<RawValue>, Fault> {
    let kept = row.reply_sealed.as_deref().and_then(|sealed| {
        let plain = relay.sealer.open(RESOURCE, sealed).ok()?;
        RawValue::from_string(String::from_utf8(plain).ok()?).ok()
    });
    match kept {
        Some(kept) => Ok(kept),
        None => {
            let created_at = row.created_at.0 / 1_000;
            to_raw_value(&Bare { id: &row.id, name: &row.id, created_at }).map_err(faults::system)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_asked_for_in_openais_words() {
        let asked = Asked::read("limit=500&after=file-1&order=asc&purpose=batch&x=1").unwrap();
        assert_eq!((asked.limit, asked.ascending), (MAX_LISTED, true));
        assert_eq!(asked.after.as_deref(), Some("file-1"));
        let is_wanted = |json: &str| asked.wants(&RawValue::from_string(json.to_owned()).unwrap());
        assert!(is_wanted(r#"{"purpose":"batch"}"#) && is_wanted(r#"{"id":"x"}"#));
        assert!(!is_wanted(r#"{"purpose":"vision"}"#));
        assert!(Asked::read("limit=0").is_err() && Asked::read("limit=x").is_err());
    }
}
