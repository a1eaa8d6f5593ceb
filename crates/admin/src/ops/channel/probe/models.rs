//! The models that an upstream says it has, asked for with the channel's key.

use super::{Masks, shown, target};
use crate::ops::record::{self, Subject};
use crate::{Actor, AdminError, AdminState};
use bytes::Bytes;
use domain::ChannelId;
use egress::Prepared;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderValue, Method};
use protocol::ListWord;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use upstream::OutboundRequest;
use utoipa::ToSchema;
use web::{CollectLimits, collect};

/// Where APIs list their models, with what asks for all of them on one page.
const LISTS: [(&str, Option<&str>); 4] = [
    ("/v1beta/models", Some("pageSize=1000")),
    ("/v1/models", None),
    ("/openai/v1/models", None),
    ("/api/tags", None),
];
/// Anthropic's lists have 20 models on a page, unless they are asked for more.
const ANTHROPIC: (&str, &str) = ("anthropic", "limit=1000");
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most models that are told.
const MAX_MODELS: usize = 2_000;

/// The models of an upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UpstreamModels {
    /// The channel.
    pub channel_id: ChannelId,
    /// What the upstream says it has, by name; at most 2000.
    pub models: Vec<String>,
    /// Those of them that the channel does not serve yet.
    pub unserved: Vec<String>,
    /// What the channel serves and the upstream does not name.
    pub unknown: Vec<String>,
}

/// Asks the upstream of a channel which models it has. Nothing is changed.
///
/// # Errors
/// When there is no such channel, its protocol has no such list, or the upstream does not answer
/// with one.
pub async fn upstream_models(
    state: &AdminState,
    actor: &Actor,
    id: ChannelId,
) -> Result<UpstreamModels, AdminError> {
    actor.require_admin()?;
    let target = target(state, id).await?;
    let name = &target.protocol.name;
    let (path, query) = list_of(&target).ok_or_else(|| {
        AdminError::conflict(
            format!("协议 {name} 没有模型列表接口"),
            format!("the protocol {name} has no list of models"),
        )
    })?;
    let told = ("channel.models", format!("查询渠道 {} (#{id}) 的上游模型", target.channel.name));
    record::write(state, actor, vec![], Subject::Channel(id), told, json!({})).await?;
    let reply = asked(state, actor, &target, (path, query)).await?;
    let models = named(&reply).ok_or_else(|| {
        let text = shown(reply.as_bytes(), Masks::of(&target));
        failed(&format!("no list of models in: {text}"))
    })?;
    let served = &target.channel.models;
    let unserved = models.iter().filter(|model| !served.contains(model)).cloned().collect();
    let unknown = served.iter().filter(|model| !models.contains(*model)).cloned().collect();
    Ok(UpstreamModels { channel_id: id, models: models.into_iter().collect(), unserved, unknown })
}

/// Where the protocol lists models: those that our own record answers to clients.
fn list_of(target: &Prepared) -> Option<(&'static str, Option<&'static str>)> {
    let lists = |path: &str| {
        let found = target.protocol.route("GET", path);
        found.is_some_and(|found| found.route.list == Some(ListWord::Own))
    };
    let (path, query) = LISTS.into_iter().find(|(path, _)| lists(path))?;
    let is_anthropic = *target.protocol.name == *ANTHROPIC.0;
    Some((path, if is_anthropic { Some(ANTHROPIC.1) } else { query }))
}

/// The text of the reply.
async fn asked(
    state: &AdminState,
    actor: &Actor,
    target: &Prepared,
    (path, query): (&str, Option<&str>),
) -> Result<String, AdminError> {
    let uri = target.at_path(path, query).map_err(|why| failed(why.en()))?;
    let mut headers = HeaderMap::new();
    target.authorize_alone(&mut headers);
    target.sign(&mut headers, state.clock.now());
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let body = Bytes::new().into();
    let outgoing =
        OutboundRequest { method: Method::GET, uri, headers, body, proxy: &target.proxy };
    let sent = state.client.send(outgoing, &target.deadlines).await;
    let reply = sent.map_err(|why| failed(&why.to_string()))?;
    let status = reply.status;
    let within = Duration::from_millis(target.deadlines.total_ms);
    let limits = CollectLimits { max_bytes: MAX_BYTES, within };
    let mut share = state.budget.share_of(actor.user_id);
    let whole = collect(reply.body, limits, |bytes| share.grow_to(bytes)).await;
    let bytes = whole.map_err(|why| failed(&why.to_string()))?;
    if !status.is_success() {
        let text = shown(&bytes, Masks::of(target));
        return Err(failed(&format!("status {}: {text}", status.as_u16())));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The models of a list, whichever of the usual shapes it has.
fn named(reply: &str) -> Option<BTreeSet<String>> {
    let reply: Value = serde_json::from_str(reply).ok()?;
    let list = match &reply {
        Value::Array(list) => list,
        _ => ["data", "models"].iter().find_map(|member| reply.get(member)?.as_array())?,
    };
    let name = |item: &Value| {
        let text = ["id", "name", "model"].iter().find_map(|member| item.get(member)?.as_str())?;
        Some(text.strip_prefix("models/").unwrap_or(text).to_owned())
    };
    let usable = |name: &String| super::check_model("models", name).is_ok() && !name.contains(',');
    Some(list.iter().filter_map(name).filter(usable).take(MAX_MODELS).collect())
}

fn failed(why: &str) -> AdminError {
    AdminError::conflict(
        format!("上游没有返回模型列表: {why}"),
        format!("the upstream did not answer with a list of models: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_several_shapes() {
        for reply in [
            r#"{"object":"list","data":[{"id":"b"},{"id":"a","name":"A"},{"id":"a"}]}"#,
            r#"{"models":[{"name":"models/b"},{"name":"models/a"}]}"#,
            r#"{"models":[{"name":"b","model":"b"},{"name":"a"},{"name":"x,y"},{"name":"../z"}]}"#,
            r#"[{"id":"a"},{"id":"b"},{"no":1}]"#,
        ] {
            let models: Vec<_> = named(reply).unwrap().into_iter().collect();
            assert_eq!(models, ["a", "b"], "{reply}");
        }
        assert!(named("<html>").is_none());
        assert!(named(r#"{"error":{"message":"no"}}"#).is_none());
    }
}
