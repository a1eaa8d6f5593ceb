//! Reads a call of an API: which model it means, and what it is about that was made before.

use crate::billing::Payer;
use crate::call::ApiBody;
use crate::context::Context;
use crate::faults;
use crate::identify::Caller;
use crate::inlet::{Inlet, InletRules, take_in};
use crate::readings::{SharedCall, chosen};
use crate::request_body::plain;
use crate::resources::{self, Owned};
use crate::spoken::Spoken;
use crate::surface::ApiPath;
use crate::vendor_tasks;
use bytes::Bytes;
use domain::{ChannelId, Fault, ModelName};
use egress::request_body::{
    ModelPlaces, Named, NamedBy, check_body, check_head, check_readable, model_in_body, model_name,
    models_in_body, resource_ids, unreadable,
};
use http::request::Parts;
use http_body::Body as _;
use hyper::body::Incoming;
use upstream::media::{MediaKind, media_kind};

/// A request for a model.
pub(crate) struct ModelRequest {
    pub head: Parts,
    pub model: ModelName,
    /// Of a call of an API: its path, and its body.
    pub api: Option<(ApiPath, ApiBody)>,
    /// The channel that has what the call is about.
    pub pinned: Option<ChannelId>,
    pub body: Intake,
}

/// A request's body.
pub(crate) enum Intake {
    /// Taken in already.
    Here(Inlet),
    /// Not read yet.
    Coming(Incoming),
}

/// A body that was taken in, as it came and decompressed.
struct TakenIn {
    inlet: Inlet,
    plain: Bytes,
}

impl TakenIn {
    async fn of(
        ctx: &mut Context<'_>,
        caller: &Caller,
        head: &Parts,
        (body, is_free): (Incoming, bool),
    ) -> Result<Self, Fault> {
        let relay = ctx.relay;
        let payer = Payer { relay, identity: &caller.identity, least: None };
        let payer = Some(payer).filter(|_| !is_free);
        let rules = InletRules { config: &relay.config, whole: true, payer };
        let inlet = take_in(&head.headers, body, rules, &mut ctx.share).await?;
        let bytes = inlet.whole().cloned().unwrap_or_default();
        let plain = plain(&head.headers, &bytes, &relay.config)?;
        // What was decompressed is held beside what came.
        let is_another = plain.as_ptr() != bytes.as_ptr();
        if is_another && !ctx.share.grow_to(bytes.len() + plain.len()) {
            return Err(faults::overloaded());
        }
        Ok(Self { inlet, plain })
    }
}

/// A body, which is read as soon as something of it matters.
enum ApiIntake {
    Coming(Incoming),
    TakenIn(TakenIn),
}

/// Decides by which of several APIs a call is read that have its path.
async fn settled(
    ctx: &mut Context<'_>,
    caller: &Caller,
    api: ApiPath,
    (head, body): (&Parts, Incoming),
) -> Result<(ApiPath, ApiIntake), Fault> {
    let body = match api.readings().any(Spoken::has_model_in_body) {
        true => {
            let is_free = api.readings().all(Spoken::is_free);
            ApiIntake::TakenIn(TakenIn::of(ctx, caller, head, (body, is_free)).await?)
        }
        false => ApiIntake::Coming(body),
    };
    let media = media_kind(&head.headers).ok();
    let plain = match &body {
        ApiIntake::Coming(_) => Bytes::new(),
        ApiIntake::TakenIn(taken_in) => taken_in.plain.clone(),
    };
    let (method, query) = (&head.method, head.uri.query());
    let call =
        SharedCall { relay: ctx.relay, caller, method, query, body: (media.as_ref(), &plain) };
    let api = chosen(&call, api).await?;
    ctx.record.errors = api.errors();
    Ok((api, body))
}

/// Reads a call of an API. Its body is taken in, unless nothing of it matters.
pub(crate) async fn read_api(
    ctx: &mut Context<'_>,
    caller: &Caller,
    api: ApiPath,
    (head, body): (Parts, Incoming),
) -> Result<ModelRequest, Fault> {
    let relay = ctx.relay;
    let has_body = !body.is_end_stream();
    let (api, body) = match api.is_shared() {
        true => Box::pin(settled(ctx, caller, api, (&head, body))).await?,
        false => (api, ApiIntake::Coming(body)),
    };
    let query = head.uri.query();
    query.map_or(Ok(()), |query| api.check_query(query))?;
    let source = match &api.spoken {
        Some(spoken) => vendor_tasks::source(relay, caller, spoken).await?,
        None => None,
    };
    if let Some(spoken) = &api.spoken {
        check_head(spoken.route(), query, &head.headers)?;
    }
    let named = named_outside(&api, query)?;
    if let Some(spoken) = api.spoken.as_ref().filter(|it| it.streams_body()) {
        let ids = resource_ids(spoken.read_by(), query, (None, b""))?;
        let owned = resources::owned(relay, caller, &ids).await?;
        let (model, named_by) = chosen_outside(named, owned.as_ref())?;
        let api_body = ApiBody { plain: None, named_by };
        let pinned = owned.map(|owned| owned.channel_id);
        let body = match body {
            ApiIntake::Coming(body) => Intake::Coming(body),
            ApiIntake::TakenIn(taken_in) => Intake::Here(taken_in.inlet),
        };
        return Ok(ModelRequest { head, model, api: Some((api, api_body)), pinned, body });
    }

    // A request that will be refused need not be taken in.
    let reads_body = matches!(named, Named::InBody) && has_body;
    let declared = media_kind(&head.headers);
    let media = reads_body.then(|| declared.clone().map_err(unreadable)).transpose()?;
    let TakenIn { inlet, plain } = match body {
        ApiIntake::Coming(body) => {
            let is_free = api.spoken.as_ref().is_some_and(Spoken::is_free);
            TakenIn::of(ctx, caller, &head, (body, is_free)).await?
        }
        ApiIntake::TakenIn(taken_in) => taken_in,
    };
    let owned = match &api.spoken {
        Some(spoken) => {
            let media = declared.as_ref().ok().filter(|_| !plain.is_empty());
            check_readable(spoken.route(), (media, &plain), reads_body)?;
            check_body(spoken.route(), media, &plain)?;
            let ids = resource_ids(spoken.read_by(), query, (media, &plain))?;
            resources::owned(relay, caller, &ids).await?
        }
        None => None,
    };
    if let Some(spoken) = api.spoken.as_ref().filter(|it| it.route().has_models()) {
        let model = models_in_body(spoken.read_by(), &plain)?;
        let pinned = owned.map(|owned| owned.channel_id);
        let api = Some((api, ApiBody { plain: Some(plain), named_by: NamedBy::Elsewhere }));
        return Ok(ModelRequest { head, model, api, pinned, body: Intake::Here(inlet) });
    }
    let (model, named_by) = match (named, media) {
        (Named::InBody, media) if source.is_some() => {
            let model = source.as_ref().map(|task| task.model.as_str()).unwrap_or_default();
            of_source(model, media.as_ref(), &plain)?
        }
        (Named::InBody, None) => return Err(faults::model_missing()),
        (Named::InBody, Some(_)) if plain.is_empty() => return Err(faults::model_missing()),
        (Named::InBody, Some(media)) => {
            let places =
                api.spoken.as_ref().map_or_else(ModelPlaces::unspoken, Spoken::model_places);
            model_in_body(&media, &plain, &places)?
        }
        (named, _) => chosen_outside(named, owned.as_ref())?,
    };
    let pinned = owned.map(|owned| owned.channel_id).or(source.map(|task| task.channel_id));
    let api = Some((api, ApiBody { plain: Some(plain), named_by }));
    Ok(ModelRequest { head, model, api, pinned, body: Intake::Here(inlet) })
}

/// The model of a task that is made of another one: that of its source.
fn of_source(
    model: &str,
    media: Option<&MediaKind>,
    plain: &[u8],
) -> Result<(ModelName, NamedBy), Fault> {
    let Some(media) = media.filter(|_| !plain.is_empty()) else {
        return Ok((model_name(model)?, NamedBy::Elsewhere));
    };
    let default = Some(model);
    let places = ModelPlaces { members: vec!["model"], default, ..ModelPlaces::default() };
    match model_in_body(media, plain, &places)? {
        (named, NamedBy::Default(_)) => Ok((named, NamedBy::Elsewhere)),
        (named, by) if named.as_str() == model => Ok((named, by)),
        _ => Err(faults::invalid(
            format!("model 必须与原任务相同: {model}"),
            format!("model must be that of the task it is made of: {model}"),
        )),
    }
}

/// Who names the model, as far as it is known before the body is read.
fn named_outside(api: &ApiPath, query: Option<&str>) -> Result<Named, Fault> {
    let Some(spoken) = &api.spoken else { return Ok(Named::InBody) };
    Named::outside_of_body(spoken.read_by(), query.unwrap_or_default())
}

/// The model of a call that names it outside of its body.
fn chosen_outside(named: Named, owned: Option<&Owned>) -> Result<(ModelName, NamedBy), Fault> {
    match (named, owned) {
        (Named::Outside(model, named_by), _) => Ok((model, named_by)),
        (Named::ByResource, Some(owned)) => Ok((model_name(&owned.model)?, NamedBy::Elsewhere)),
        (Named::ByResource, None) => Err(faults::resource_missing()),
        (Named::InBody, _) => Err(faults::model_missing()),
    }
}
