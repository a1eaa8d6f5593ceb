//! A path that several APIs have, and of which they read a call otherwise: another member names its
//! model, or it costs nothing. Taken is the reading by which the call names a model that a channel
//! serves which reads it so itself: what is priced is what that channel's upstream runs.

use crate::Relay;
use crate::identify::{Caller, group_of};
use crate::resources;
use crate::spoken::Spoken;
use crate::surface::ApiPath;
use crate::vendor_tasks;
use domain::{ChannelId, Fault, ModelName};
use egress::request_body::{NamedBy, model_in_body, model_name, models_in_body, resource_ids};
use http::Method;
use store::Catalog;
use upstream::media::MediaKind;
use upstream::query;

/// A call of such a path. Its body is empty where it is not read.
pub(crate) struct SharedCall<'a> {
    pub relay: &'a Relay,
    pub caller: &'a Caller,
    pub method: &'a Method,
    pub query: Option<&'a str>,
    pub body: (Option<&'a MediaKind>, &'a [u8]),
}

/// How well a call fits a reading, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It names nothing that there is.
    Nothing,
    /// It names a model of channels that read the call otherwise.
    Model,
    /// A channel that reads it so serves what its path says, or what stands where it names none.
    Served,
    /// A channel that reads it so serves the model that it names itself, or has what it is about.
    Named,
}

/// The path, by the reading that a call of it fits best; of several, by that of the channel with
/// the highest priority, then by the first.
pub(crate) async fn chosen(call: &SharedCall<'_>, api: ApiPath) -> Result<ApiPath, Fault> {
    let catalog = call.relay.live.catalog.load_full();
    let mut best: Option<((Fit, i64), &Spoken)> = None;
    for spoken in api.readings().filter(|it| it.list().is_none() && !it.is_about_task()) {
        let fit = call.fit(&catalog, (&api, spoken)).await?;
        if best.is_none_or(|(known, _)| fit > known) {
            best = Some((fit, spoken));
        }
    }
    let spoken = best.map(|(_, spoken)| spoken.clone());
    Ok(match spoken {
        Some(spoken) => api.spoken_by(spoken),
        None => api,
    })
}

impl SharedCall<'_> {
    /// How well the call fits a reading, and the priority of the best channel for it.
    async fn fit(
        &self,
        catalog: &Catalog,
        (api, spoken): (&ApiPath, &Spoken),
    ) -> Result<(Fit, i64), Fault> {
        // No other channel has what was made at this one.
        let (nothing, owned) = ((Fit::Nothing, 0), (Fit::Named, i64::MAX));
        let reads = |channel: &store::Channel| spoken.is_read_by(channel, self.method, api.path());
        let has_it = |id: ChannelId| catalog.channel(id).is_some_and(|channel| reads(channel));
        let group = group_of(&self.caller.identity);
        if spoken.names_nothing() {
            let is_open = |it: &store::Channel| it.is_enabled() && it.is_offered_to(group);
            let served = catalog.channels().iter().any(|it| is_open(it) && reads(it));
            return Ok(if served { (Fit::Served, 0) } else { nothing });
        }
        // What a submission builds on says where it is made.
        if let Ok(Some(source)) = vendor_tasks::source(self.relay, self.caller, spoken).await {
            return Ok(if has_it(source.channel_id) { owned } else { nothing });
        }
        if spoken.names_no_model() {
            let Ok(ids) = resource_ids(spoken.read_by(), self.query, self.body) else {
                return Ok(nothing);
            };
            let found = resources::owned(self.relay, self.caller, &ids).await.ok().flatten();
            let is_found = found.is_some_and(|found| has_it(found.channel_id));
            return Ok(if is_found { owned } else { nothing });
        }
        let Some((model, is_named)) = self.model(spoken) else { return Ok(nothing) };
        let served = catalog.candidates(group, model.as_str()).iter().find(|it| reads(it));
        Ok(match (served, is_named) {
            (Some(channel), true) => (Fit::Named, channel.priority),
            (Some(channel), false) => (Fit::Served, channel.priority),
            (None, _) if catalog.model_exists(model.as_str()) => (Fit::Model, 0),
            (None, _) => nothing,
        })
    }

    /// The model that a reading finds, and whether the body or the query names it.
    fn model(&self, spoken: &Spoken) -> Option<(ModelName, bool)> {
        if let Some(model) = spoken.named_in_path() {
            return Some((model_name(model).ok()?, false));
        }
        let (media, plain) = self.body;
        if spoken.route().has_models() {
            return Some((models_in_body(spoken.read_by(), plain).ok()?, true));
        }
        let places = spoken.model_places();
        if let Some(parameter) = places.parameter {
            let named = query::parameter(self.query.unwrap_or_default(), parameter).ok()?;
            if let Some(model) = named {
                return Some((model_name(&model).ok()?, true));
            }
        }
        match media.filter(|_| !plain.is_empty() && !places.members.is_empty()) {
            Some(media) => {
                let (model, by) = model_in_body(media, plain, &places).ok()?;
                Some((model, !matches!(by, NamedBy::Default(_))))
            }
            None => Some((model_name(places.default?).ok()?, false)),
        }
    }
}
