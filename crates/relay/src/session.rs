//! Calls that continue at an address that their reply names: resumable uploads.
//!
//! At the upstream, who knows such an address needs no key, and what is made there would have no
//! owner. So the client gets an address of ours. Some clients send no key to it either: it has the
//! key and the upstream's id within, sealed. It is good for the calls of its route that are about
//! this id, by the owner of the key, for a day.

use crate::context::Context;
use crate::identify::{X_GOOG_API_KEY, has_key};
use crate::resources::UNLISTED;
use crate::surface::ApiPath;
use crate::{Relay, faults};
use domain::{ChannelId, DAY_MS, Fault, UnixMs, UserId};
use form_urlencoded::byte_serialize;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use protocol::RouteSession;
use store::Sealer;
use store::resources::{self, Resource};
use upstream::query;

/// Purpose of the sealed part of an address.
const SESSION: &str = "relay.session";
/// How long an address is good for.
const LIFETIME_MS: i64 = DAY_MS;

/// What an address has within: the key, the upstream's id, and until when it is good.
#[derive(Debug, PartialEq, Eq)]
struct Ticket {
    key: String,
    id: String,
    until: UnixMs,
}

impl Ticket {
    fn seal(&self, sealer: &Sealer) -> Result<String, Fault> {
        let plain = format!("{}\n{}\n{}", self.until.0, self.key, self.id);
        let sealed = sealer.seal(SESSION, plain.as_bytes()).map_err(faults::system)?;
        Ok(byte_serialize(sealed.as_bytes()).collect())
    }

    fn open(sealer: &Sealer, sealed: &str) -> Option<Self> {
        let plain = String::from_utf8(sealer.open(SESSION, sealed).ok()?).ok()?;
        let mut parts = plain.splitn(3, '\n');
        let until = UnixMs(parts.next()?.parse().ok()?);
        Some(Self { until, key: parts.next()?.to_owned(), id: parts.next()?.to_owned() })
    }
}

/// Puts what an address of ours has within in the place of it: the upstream's id into the query,
/// and the key where the client sent none.
pub(crate) fn resume(relay: &Relay, api: &ApiPath, head: &mut Parts) -> Result<(), Fault> {
    let session = api.spoken.as_ref().and_then(|spoken| spoken.route().session.as_ref());
    let Some((session, text)) = session.zip(head.uri.query()) else { return Ok(()) };
    let said = query::parameter(text, &session.query);
    let said = said.map_err(|_| faults::ambiguous(&session.query))?;
    let Some(sealed) = said.filter(|said| Sealer::is_sealed(said)) else { return Ok(()) };
    let ticket = Ticket::open(&relay.sealer, &sealed);
    let ticket = ticket.filter(|ticket| ticket.until > relay.clock.now());
    let Ticket { key, id, .. } = ticket.ok_or_else(faults::resource_not_found)?;
    let rest = query::without(text, &session.query);
    let id: String = byte_serialize(id.as_bytes()).collect();
    let parameter = format!("{}={id}", session.query);
    let query = if rest.is_empty() { parameter } else { format!("{rest}&{parameter}") };
    let target = format!("{}?{query}", head.uri.path());
    head.uri = target.parse::<Uri>().map_err(faults::system)?;
    if !has_key(&head.headers) {
        let mut key = HeaderValue::from_str(&key).map_err(faults::system)?;
        key.set_sensitive(true);
        head.headers.insert(X_GOOG_API_KEY, key);
    }
    Ok(())
}

/// The call that continues, and its owner.
pub(crate) struct SessionOwner<'a> {
    pub user_id: UserId,
    pub channel_id: ChannelId,
    pub model: &'a str,
    pub key: &'a str,
    /// Where the client has reached us, and the path of its call.
    pub origin: &'a str,
    pub path: &'a str,
}

/// Removes all that says where a call continues at the upstream.
pub(crate) fn hide(session: &RouteSession, headers: &mut HeaderMap) {
    for name in session.hide.iter().chain(&session.headers) {
        headers.remove(&**name);
    }
}

/// Shows addresses of ours in the place of the upstream's, whose id is kept for the owner first.
pub(crate) async fn show(
    ctx: &Context<'_>,
    session: &RouteSession,
    owner: SessionOwner<'_>,
    headers: &mut HeaderMap,
) -> Result<(), Fault> {
    let relay = ctx.relay;
    for name in &session.hide {
        headers.remove(&**name);
    }
    for name in &session.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(faults::system)?;
        let Some(address) = headers.remove(&name) else { continue };
        let address = address.to_str().unwrap_or_default();
        let (_, text) = address.split_once('?').unwrap_or_default();
        let Ok(Some(id)) = query::parameter(text, &session.query) else { continue };
        let created_at = relay.clock.now();
        let until = created_at.plus_ms(LIFETIME_MS);
        let made = Resource {
            id: id.clone(),
            channel_id: owner.channel_id,
            model: owner.model.to_owned(),
            created_at,
            reply_sealed: None,
        };
        let kept = resources::keep(&relay.db, owner.user_id, UNLISTED, &[made], until).await;
        kept.map_err(faults::system)?;
        let ticket = Ticket { key: owner.key.to_owned(), id, until }.seal(&relay.sealer)?;
        let rest = query::without(text, &session.query);
        let and = if rest.is_empty() { "" } else { "&" };
        let (origin, path) = (owner.origin, owner.path);
        let shown = format!("{origin}{path}?{rest}{and}{}={ticket}", session.query);
        let mut shown = HeaderValue::try_from(shown).map_err(faults::system)?;
        shown.set_sensitive(true);
        headers.insert(name, shown);
    }
    Ok(())
}
