//! One call of a model: the client's request, and the request to a channel.

use crate::asked::Asked;
use crate::idempotency::IDEMPOTENCY_KEY;
use crate::inflate::is_compressed;
use crate::inlet::Inlet;
use crate::reply::ReadAs;
use crate::request_body::{
    check_can_carry_estimate, check_has_no_precharge, check_is_no_estimate, plain,
};
use crate::resources::ResourceEffect;
use crate::spoken::{self, route_of};
use crate::surface::ApiPath;
use crate::{RelayConfig, faults};
use bytes::Bytes;
use domain::{Fault, FrozenPrice, ModelName};
use egress::request_body::{NamedBy, bad_fields, bad_form, bad_json};
use egress::{CallerKey, Prepared};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use protocol::{PriceNeeds, ProtocolRoute};
use std::borrow::Cow;
use std::sync::Arc;
use store::{Channel, Precharge};
use upstream::headers::ClientSecrets;
use upstream::media::{self, MediaKind};
use upstream::{OutboundRequest, Payload, multipart, splice, urlencoded};

/// A call, as the client made it.
pub(crate) struct Call {
    /// The method that the client sent.
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    /// The caller's key, for the upstream.
    pub key: CallerKey,
    pub request_id: Arc<str>,
    pub model: ModelName,
    pub target: CallTarget,
    pub inlet: Inlet,
    /// A channel gets estimates by this body. It was parsed as JSON then, and is sent as such,
    /// regardless of the client's Content-Type.
    pub is_json: bool,
    /// What it asks for, as far as its price depends on it.
    pub asked: Asked,
}

/// The target of a call.
pub(crate) enum CallTarget {
    /// `{base_url}/{mapped model}`
    Model,
    /// `{base_url}/{path}`; the model is in the body, or where a protocol says.
    Api(ApiTarget),
}

/// Where a call of an API is addressed to.
pub(crate) struct ApiTarget {
    pub api: ApiPath,
    pub body: ApiBody,
    /// What the call does to what calls make.
    pub effect: ResourceEffect,
}

/// The body of a call of an API.
pub(crate) struct ApiBody {
    /// The body as it reads, decompressed; none where it is passed on as it comes.
    pub plain: Option<Bytes>,
    /// Who names the model.
    pub named_by: NamedBy,
}

/// A call prepared for one channel.
pub(crate) struct UpstreamRequest {
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Payload,
    /// The size of a body that was made for the channel, beside the client's.
    pub made_bytes: usize,
}

/// Which of the two requests it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Real,
    Estimate,
}

impl UpstreamRequest {
    pub(crate) fn outbound<'a>(
        self,
        method: &Method,
        prepared: &'a Prepared,
    ) -> OutboundRequest<'a> {
        let Self { uri, headers, body, .. } = self;
        OutboundRequest { method: method.clone(), uri, headers, body, proxy: &prepared.proxy }
    }
}

impl Call {
    /// The upstream's name of the model.
    fn mapped<'a>(&'a self, channel: &'a Channel) -> Result<&'a str, Fault> {
        egress::mapped(channel, self.model.as_str())
    }

    /// Checks a body that is priced by an estimate: neither the body nor its headers may suppress
    /// the estimate. `price` is the call's.
    pub(crate) fn check_estimate(
        &mut self,
        price: &FrozenPrice,
        candidates: &[Arc<Channel>],
        config: &RelayConfig,
    ) -> Result<(), Fault> {
        let asks = |how| candidates.iter().any(|channel| self.estimate_by(channel) == how);
        let (in_body, in_query) = (asks(Precharge::Body), asks(Precharge::Query));
        let is_concerned = in_body || (in_query && price.is_by_use());
        let Some(body) = self.inlet.whole().filter(|_| is_concerned) else { return Ok(()) };
        let plain = match &self.target {
            CallTarget::Api(target) => Ok(target.body.plain.clone().unwrap_or_default()),
            CallTarget::Model => plain(&self.headers, body, config),
        };
        if !price.is_by_use() {
            // Never estimated by us; with its client's own `precharge`, an estimate would be all it
            // gets.
            return plain.map_or(Ok(()), |plain| check_is_no_estimate(&plain));
        }
        if in_body {
            check_can_carry_estimate(&plain?)?;
            self.is_json = true;
            return Ok(());
        }
        check_has_no_precharge(&self.headers, &plain?)
    }

    /// Refuses work whose usage would come later, in a reply that need not be asked for.
    pub(crate) fn check_background(&self, price: &FrozenPrice) -> Result<(), Fault> {
        let CallTarget::Api(ApiTarget { api, body, .. }) = &self.target else { return Ok(()) };
        let (Some(spoken), Some(plain)) = (&api.spoken, &body.plain) else { return Ok(()) };
        let continues = price.is_by_use() && spoken.route().continues_without_client(plain);
        if continues { Err(faults::background_by_use()) } else { Ok(()) }
    }

    /// How the replies of a channel are read. `price` is the call's.
    pub(crate) fn read_as(&self, channel: &Channel, price: Option<&FrozenPrice>) -> ReadAs {
        let needs = PriceNeeds::of(price);
        let by_route = |route| ReadAs::Route { route, asked: self.asked.clone(), needs };
        let is_submission = self.submits_by_envelope(channel);
        if let (CallTarget::Api(ApiTarget { api, .. }), false) = (&self.target, is_submission) {
            let spoken = api.spoken.as_ref();
            let route = spoken.and_then(|_| route_of(channel, &self.method, api.path()));
            return route.map_or(ReadAs::Envelope(needs), by_route);
        }
        if is_submission || spoken::is_custom_pass(channel) {
            return ReadAs::Envelope(needs);
        }
        let route = route_of(channel, &self.method, &pass_path(&self.model));
        route.map_or(ReadAs::Envelope(needs), by_route)
    }

    /// The route by which a channel takes the call as the submission of a task of a vendor's own
    /// API.
    pub(crate) fn submit_route(&self, channel: &Channel) -> Option<Arc<ProtocolRoute>> {
        let path = match &self.target {
            CallTarget::Api(ApiTarget { api, .. }) => Cow::Borrowed(api.path()),
            CallTarget::Model => Cow::Owned(pass_path(&self.model)),
        };
        spoken::submit_route(channel, &self.method, &path)
    }

    /// Whether it submits a task by CustomPass.
    fn submits_by_envelope(&self, channel: &Channel) -> bool {
        self.model.is_submission() && self.submit_route(channel).is_none()
    }

    /// The path at the upstream, decoded, with the upstream's name of the model.
    pub(crate) fn upstream_path(&self, channel: &Channel) -> Result<Cow<'_, str>, Fault> {
        let mapped = self.mapped(channel)?;
        let CallTarget::Api(ApiTarget { api, .. }) = &self.target else {
            return Ok(format!("/{mapped}").into());
        };
        let renamed = api.spoken.as_ref().and_then(|it| it.path_for(api.path(), mapped));
        Ok(renamed.map_or(Cow::Borrowed(api.path()), Cow::Owned))
    }

    /// Whether the call submits work that continues without it, and so must not be made twice.
    pub(crate) fn is_made_once(&self, route: &ProtocolRoute) -> bool {
        let body = match &self.target {
            CallTarget::Api(ApiTarget { body, .. }) => body.plain.as_ref(),
            CallTarget::Model => self.inlet.whole(),
        };
        self.model.is_submission() || body.is_none_or(|body| route.is_made_once(body))
    }

    /// Whether the call may be sent again to a channel whose connection was closed before a byte of
    /// its reply: it is all here, and its protocol says that it makes nothing that continues
    /// without it. Of what is under `/pass` nothing is known.
    pub(crate) fn may_be_repeated(&self, channel: &Channel) -> bool {
        let read_as = self.read_as(channel, None);
        let is_made_again = read_as.route().is_some_and(|route| !self.is_made_once(route));
        is_made_again && self.inlet.whole().is_some()
    }

    /// Whether a channel is asked for an estimate first, where the price is by use.
    pub(crate) fn is_estimated_by(&self, channel: &Channel) -> bool {
        self.estimate_by(channel) != Precharge::Off
    }

    /// How a channel is asked for an estimate of this call. By default it is where the call speaks
    /// CustomPass; a call of another API has a hold by its own text.
    fn estimate_by(&self, channel: &Channel) -> Precharge {
        let speaks_other = match &self.target {
            CallTarget::Api(ApiTarget { api, .. }) => api.spoken.is_some(),
            CallTarget::Model => false,
        };
        match channel.setting.precharge {
            Precharge::PassQuery if speaks_other => Precharge::Off,
            Precharge::PassQuery => Precharge::Query,
            how => how,
        }
    }

    /// Builds the request for a channel, whose replies are read by `route`. `hold_id` is the
    /// idempotency key of a paid call.
    pub(crate) fn build_request(
        &self,
        prepared: &Prepared,
        hold_id: Option<domain::HoldId>,
        (kind, route): (RequestKind, Option<&Arc<ProtocolRoute>>),
        config: &RelayConfig,
    ) -> Result<UpstreamRequest, Fault> {
        let channel = &*prepared.channel;
        let ours = ClientSecrets { names: &prepared.token_headers, key: self.key.value.as_bytes() };
        let mut headers = upstream::headers::forward_request_headers(&self.headers, ours);
        if prepared.echo.is_some() {
            upstream::keep_readable_codings(&mut headers);
        }
        prepared.authorize(&mut headers, &self.key);
        if let Some(route) = route {
            egress::set_headers_of(route, &mut headers);
        }
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert(web::X_REQUEST_ID, id);
        }
        if !self.links(route).is_empty() {
            // Its reply is changed.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(hold_id) = hold_id {
            // The estimate is another request: an upstream that stores replies by key must not
            // reply to the real one with it.
            let id = match kind {
                RequestKind::Real => hold_id.to_string(),
                RequestKind::Estimate => format!("{hold_id}-precharge"),
            };
            if let Ok(id) = HeaderValue::try_from(id) {
                headers.insert(IDEMPOTENCY_KEY, id);
            }
            // The usage must be readable.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.is_json && media::media_kind(&headers) != Ok(MediaKind::Json) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let (body, made_bytes) = match self.edited(channel, kind, config)? {
            None => (self.inlet.payload(), 0),
            Some(edited) => {
                headers.remove(CONTENT_ENCODING);
                let made_bytes = if self.holds(&edited) { 0 } else { edited.len() };
                (Payload::Whole(edited), made_bytes)
            }
        };
        Ok(UpstreamRequest { uri: self.uri(prepared, kind)?, headers, body, made_bytes })
    }

    /// Whether a body is in memory, and counted, as long as the call is.
    fn holds(&self, body: &Bytes) -> bool {
        let plain = match &self.target {
            CallTarget::Api(target) => target.body.plain.as_ref(),
            CallTarget::Model => None,
        };
        [plain, self.inlet.whole()].into_iter().flatten().any(|it| it.as_ptr() == body.as_ptr())
    }

    fn uri(&self, prepared: &Prepared, kind: RequestKind) -> Result<Uri, Fault> {
        let by_query = self.estimate_by(&prepared.channel) == Precharge::Query;
        let named = self.query_with_model(&prepared.channel)?;
        let query = named.as_deref().or(self.uri.query());
        let estimated =
            (kind == RequestKind::Estimate && by_query).then(|| upstream::with_precharge(query));
        let query = estimated.as_deref().or(query);
        let uri = match &self.target {
            CallTarget::Api(_) if !self.submits_by_envelope(&prepared.channel) => {
                prepared.at_path(&self.upstream_path(&prepared.channel)?, query)
            }
            _ => prepared.base.target(self.mapped(&prepared.channel)?, query),
        };
        uri.map_err(|e| faults::invalid(e.zh(), e.en()))
    }

    /// The query of a call whose model is named there: without it, where its upstream does not know
    /// it, or with the upstream's own name of it.
    fn query_with_model(&self, channel: &Channel) -> Result<Option<String>, Fault> {
        let CallTarget::Api(ApiTarget { api, body, .. }) = &self.target else { return Ok(None) };
        let NamedBy::Query(name) = &body.named_by else { return Ok(None) };
        let query = self.uri.query().unwrap_or_default();
        let stays = api.spoken.as_ref().is_some_and(|spoken| spoken.route().model_stays);
        Ok(Some(match stays {
            true => upstream::query::with(query, name, self.mapped(channel)?),
            false => upstream::query::without(query, name),
        }))
    }

    /// The addresses at the upstream in its reply of which the client is shown the path. `route` is
    /// the channel's.
    pub(crate) fn links<'a>(&self, route: Option<&'a Arc<ProtocolRoute>>) -> &'a [Box<str>] {
        let route = route.filter(|_| self.spoken_path().is_some());
        route.map_or(&[], |route| &route.links)
    }

    /// The path of a call of an API that a protocol has.
    pub(crate) fn spoken_path(&self) -> Option<&str> {
        let CallTarget::Api(ApiTarget { api, .. }) = &self.target else { return None };
        api.spoken.as_ref().map(|_| api.path())
    }

    /// What the call does to what calls make.
    pub(crate) fn effect(&self) -> &ResourceEffect {
        match &self.target {
            CallTarget::Api(target) => &target.effect,
            CallTarget::Model => &ResourceEffect::None,
        }
    }

    /// The body where it differs from the client's: with the channel's changes, and decompressed
    /// where it had to be read, so that what is sent is what was read.
    fn edited(
        &self,
        channel: &Channel,
        kind: RequestKind,
        config: &RelayConfig,
    ) -> Result<Option<Bytes>, Fault> {
        let members = self.members(channel, kind)?;
        match &self.target {
            CallTarget::Api(target) => self.edited_api(&target.body, channel, &members),
            CallTarget::Model => self.edited_pass(&members, config),
        }
    }

    /// The members that the channel sets in a JSON body.
    fn members<'a>(
        &'a self,
        channel: &'a Channel,
        kind: RequestKind,
    ) -> Result<Vec<(&'a str, Cow<'a, str>)>, Fault> {
        let mut members = Vec::new();
        let mapped = self.mapped(channel)?;
        let mut prefix = "";
        let named = match &self.target {
            CallTarget::Model => None,
            CallTarget::Api(target) => {
                let spoken = target.api.spoken.as_ref();
                prefix =
                    spoken.and_then(|it| it.route().model_prefix.as_deref()).unwrap_or_default();
                match &target.body.named_by {
                    NamedBy::Json(member) => (mapped != self.model.as_str()).then_some(member),
                    // What is priced is what runs, also where the upstream has a default.
                    NamedBy::Default(member) => Some(member),
                    NamedBy::Form(_)
                    | NamedBy::Urlencoded(_)
                    | NamedBy::Query(_)
                    | NamedBy::Elsewhere => None,
                }
            }
        };
        if let Some(member) = named {
            let named = serde_json::Value::from([prefix, mapped].concat());
            members.push((&**member, named.to_string().into()));
        }
        members.extend(channel.param_override.iter().map(|(k, v)| (k.as_str(), v.as_str().into())));
        if kind == RequestKind::Estimate && self.estimate_by(channel) == Precharge::Body {
            members.push(("precharge", "true".into()));
        }
        Ok(members)
    }

    fn edited_api(
        &self,
        body: &ApiBody,
        channel: &Channel,
        members: &[(&str, Cow<'_, str>)],
    ) -> Result<Option<Bytes>, Fault> {
        let edited = self.edited_members(body, channel, members)?;
        let asked = self.asks_usage_of(channel).and_then(|route| route.ask_usage.as_ref());
        let names = asked.and_then(|asked| asked.ask.names());
        let read = edited.as_ref().or(body.plain.as_ref());
        let (Some(names), Some(read)) = (names, read) else { return Ok(edited) };
        // A form can't be added to.
        let with_usage = splice::with_true(read, &names).ok().flatten();
        Ok(with_usage.or(edited))
    }

    /// The route by which usage is asked for at a channel, because the client has not.
    pub(crate) fn asks_usage_of(&self, channel: &Channel) -> Option<&Arc<ProtocolRoute>> {
        self.asked.usage.as_ref().filter(|_| !channel.setting.leaves_usage_unasked)
    }

    fn edited_members(
        &self,
        body: &ApiBody,
        channel: &Channel,
        members: &[(&str, Cow<'_, str>)],
    ) -> Result<Option<Bytes>, Fault> {
        let mapped = self.mapped(channel)?;
        let Some(plain) = &body.plain else { return Ok(None) };
        let is_json = match &body.named_by {
            NamedBy::Form(field) if mapped != self.model.as_str() => {
                return multipart::replace(plain, field, mapped).map(Some).map_err(bad_form);
            }
            NamedBy::Urlencoded(field) if mapped != self.model.as_str() => {
                return urlencoded::with(plain, field, mapped).map(Some).map_err(bad_fields);
            }
            NamedBy::Form(_) | NamedBy::Urlencoded(_) => false,
            NamedBy::Json(_) | NamedBy::Default(_) => true,
            NamedBy::Query(_) | NamedBy::Elsewhere => {
                !plain.is_empty() && media::media_kind(&self.headers) == Ok(MediaKind::Json)
            }
        };
        if is_json && !members.is_empty() {
            return splice::override_members(plain, members).map(Some).map_err(bad_json);
        }
        Ok(is_compressed(&self.headers).then(|| plain.clone()))
    }

    fn edited_pass(
        &self,
        members: &[(&str, Cow<'_, str>)],
        config: &RelayConfig,
    ) -> Result<Option<Bytes>, Fault> {
        let Some(body) = self.inlet.whole().filter(|body| !body.is_empty()) else {
            return Ok(None);
        };
        if members.is_empty() && !(self.is_json && is_compressed(&self.headers)) {
            return Ok(None);
        }
        let edited = plain(&self.headers, body, config).and_then(|plain| {
            if members.is_empty() {
                return Ok(plain);
            }
            splice::override_members(&plain, members).map_err(bad_json)
        });
        // A body that is neither a JSON object nor declared as one has no members to change.
        match edited {
            Err(_) if !self.is_json && !media::mentions(&self.headers, "json") => Ok(None),
            edited => edited.map(Some),
        }
    }
}

/// The path of a call under `/pass`.
pub(crate) fn pass_path(model: &ModelName) -> String {
    format!("/pass/{}", model.as_str())
}

/// Whether a call's body must be collected before it is sent: because it may be sent twice, or
/// changed.
pub(crate) fn needs_whole(candidates: &[Arc<Channel>], is_by_use: bool) -> bool {
    candidates.iter().any(|channel| {
        !channel.param_override.is_empty()
            || (is_by_use && channel.setting.precharge != Precharge::Off)
    })
}
