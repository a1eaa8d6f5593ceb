//! One call of a model: what the client asked for, and how it is put to a channel.

use crate::idempotency::IDEMPOTENCY_KEY;
use crate::inflate::{inflate, is_compressed};
use crate::inlet::Inlet;
use crate::{RelayConfig, faults};
use bytes::Bytes;
use domain::{Fault, ModelName};
use egress::Prepared;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use std::sync::Arc;
use store::{Channel, Precharge};
use upstream::multipart::{self, MultipartError};
use upstream::splice::{self, SpliceError};
use upstream::{OutboundRequest, Payload};

/// A call, as the client made it.
pub(crate) struct Call {
    pub method: Method,
    /// As the client asked for it.
    pub uri: Uri,
    pub headers: HeaderMap,
    /// The caller's key, for the upstream.
    pub key: HeaderValue,
    pub request_id: Arc<str>,
    pub model: ModelName,
    pub target: Target,
    pub inlet: Inlet,
}

/// Where a call is addressed to.
pub(crate) enum Target {
    /// `{base_url}/{mapped model}`
    Model,
    /// `{base_url}/v1/{path}`; the model stands in the body.
    V1 { path: ModelName, body: V1Body },
}

/// The body of a call under `/v1`.
pub(crate) struct V1Body {
    /// The body as it reads, decompressed.
    plain: Bytes,
    /// Where a form says the model; JSON says it at its top.
    form_field: Option<multipart::Field>,
}

/// A call put to one channel.
pub(crate) struct Put {
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Payload,
}

/// Which of the two requests it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Real,
    Estimate,
}

impl Put {
    pub(crate) fn request<'a>(
        self,
        method: &Method,
        prepared: &'a Prepared,
    ) -> OutboundRequest<'a> {
        let Self { uri, headers, body } = self;
        OutboundRequest { method: method.clone(), uri, headers, body, proxy: &prepared.proxy }
    }
}

/// Reads which model a call under `/v1` means.
pub(crate) fn model_in_body(
    headers: &HeaderMap,
    body: &Bytes,
    config: &RelayConfig,
) -> Result<(ModelName, V1Body), Fault> {
    let plain = plain(headers, body, config)?;
    if plain.is_empty() {
        return Err(faults::model_missing());
    }
    let content_type = content_type(headers);
    let (text, form_field) = if multipart::is_form(content_type) {
        let field = multipart::field(content_type, &plain, "model").map_err(bad_form)?;
        (field.text.clone(), Some(field))
    } else {
        (splice::top_level_string(&plain, "model").map_err(bad_json)?.text, None)
    };
    let model = ModelName::parse(&text)
        .map_err(|e| faults::invalid(format!("model 无效: {e}"), format!("model {e}")))?;
    Ok((model, V1Body { plain, form_field }))
}

/// The body as it reads.
pub(crate) fn plain(
    headers: &HeaderMap,
    body: &Bytes,
    config: &RelayConfig,
) -> Result<Bytes, Fault> {
    if !is_compressed(headers) {
        return Ok(body.clone());
    }
    match inflate(headers, body, config.max_request_bytes) {
        Ok(Some(plain)) => Ok(plain.into()),
        Ok(None) => Err(faults::invalid(
            "不支持该 Content-Encoding",
            "this Content-Encoding of the request can't be read",
        )),
        Err(e) => Err(e.fault()),
    }
}

fn bad_json(error: SpliceError) -> Fault {
    match error {
        SpliceError::Missing(_) => faults::model_missing(),
        error => faults::invalid(error.zh(), error.to_string()),
    }
}

fn bad_form(error: MultipartError) -> Fault {
    match error {
        MultipartError::Missing(_) => faults::model_missing(),
        error => faults::invalid(error.zh(), error.to_string()),
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Call {
    /// What the upstream calls the model.
    fn mapped<'a>(&'a self, channel: &'a Channel) -> Result<&'a str, Fault> {
        egress::mapped(channel, self.model.as_str())
    }

    /// Whether a channel is asked for an estimate first, where the price is by use.
    pub(crate) fn can_be_estimated(&self, channel: &Channel) -> bool {
        match channel.setting.precharge {
            Precharge::Off => false,
            Precharge::Query => true,
            Precharge::Body => self.json_body().is_some(),
        }
    }

    /// The body, if it is all here and a JSON object by its looks.
    fn json_body(&self) -> Option<&Bytes> {
        if let Target::V1 { body, .. } = &self.target {
            return body.form_field.is_none().then_some(&body.plain);
        }
        let body = self.inlet.whole().filter(|body| !body.is_empty())?;
        let essence = content_type(&self.headers).split(';').next().unwrap_or_default().trim();
        let json = essence.len() >= 4 && essence[essence.len() - 4..].eq_ignore_ascii_case("json");
        let looks = || body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
        (json || (essence.is_empty() && looks())).then_some(body)
    }

    /// Puts the call to a channel. `hold_id` is the idempotency key of a paid call.
    pub(crate) fn put(
        &self,
        prepared: &Prepared,
        hold_id: Option<domain::HoldId>,
        kind: Kind,
        config: &RelayConfig,
    ) -> Result<Put, Fault> {
        let channel = &*prepared.channel;
        let mut headers =
            upstream::headers::forward_request_headers(&self.headers, &prepared.user_token_header);
        prepared.authorize(&mut headers, self.key.clone());
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert(web::X_REQUEST_ID, id);
        }
        if let Some(hold_id) = hold_id {
            // The estimate is another request: an upstream that keeps replies by key must not
            // answer the real one with it.
            let id = match kind {
                Kind::Real => hold_id.to_string(),
                Kind::Estimate => format!("{hold_id}-precharge"),
            };
            if let Ok(id) = HeaderValue::try_from(id) {
                headers.insert(IDEMPOTENCY_KEY, id);
            }
            // What is charged has to be read.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let body = match self.edited(channel, kind, config)? {
            None => self.inlet.payload(),
            Some(edited) => {
                headers.remove(CONTENT_ENCODING);
                Payload::Whole(edited)
            }
        };
        Ok(Put { uri: self.uri(prepared, kind)?, headers, body })
    }

    fn uri(&self, prepared: &Prepared, kind: Kind) -> Result<Uri, Fault> {
        let by_query = prepared.channel.setting.precharge == Precharge::Query;
        let estimated = (kind == Kind::Estimate && by_query)
            .then(|| upstream::with_precharge(self.uri.query()));
        let query = estimated.as_deref().or(self.uri.query());
        let uri = match &self.target {
            Target::V1 { path, .. } if !self.model.is_submission() => {
                prepared.base.target_v1(path.as_str(), query)
            }
            _ => prepared.base.target(self.mapped(&prepared.channel)?, query),
        };
        uri.map_err(|e| faults::invalid(e.zh(), e.en()))
    }

    /// The body with what the channel wants changed, if that is anything. It is decompressed then.
    fn edited(
        &self,
        channel: &Channel,
        kind: Kind,
        config: &RelayConfig,
    ) -> Result<Option<Bytes>, Fault> {
        let mapped = self.mapped(channel)?;
        let is_mapped = mapped != self.model.as_str();
        let mut members: Vec<(&str, String)> = Vec::new();
        if let Target::V1 { body, .. } = &self.target
            && is_mapped
        {
            if let Some(field) = &body.form_field {
                let edited = multipart::replace(&body.plain, field, mapped).map_err(bad_form)?;
                return Ok(Some(edited));
            }
            members.push(("model", serde_json::Value::from(mapped).to_string()));
        }
        members.extend(channel.param_override.iter().map(|(k, v)| (k.as_str(), v.clone())));
        if kind == Kind::Estimate && channel.setting.precharge == Precharge::Body {
            members.push(("precharge", "true".to_owned()));
        }
        let Some(body) = self.json_body().filter(|_| !members.is_empty()) else { return Ok(None) };
        let plain = match &self.target {
            Target::V1 { .. } => body.clone(),
            Target::Model => plain(&self.headers, body, config)?,
        };
        splice::override_members(&plain, &members).map(Some).map_err(bad_json)
    }

    /// A client may not ask for estimates itself, where the channel would take it for ours.
    pub(crate) fn says_precharge_to(&self, channel: &Channel, config: &RelayConfig) -> bool {
        if channel.setting.precharge != Precharge::Body {
            return false;
        }
        let Some(body) = self.json_body() else { return false };
        let body = match &self.target {
            Target::V1 { .. } => Ok(body.clone()),
            Target::Model => plain(&self.headers, body, config),
        };
        body.is_ok_and(|body| splice::has_member(&body, "precharge").unwrap_or(false))
    }
}

/// Whether a call's body must be here whole before it is sent: because it may be sent twice, or
/// changed.
pub(crate) fn needs_whole(candidates: &[Arc<Channel>], is_by_use: bool) -> bool {
    candidates.iter().any(|channel| {
        !channel.param_override.is_empty()
            || (is_by_use && channel.setting.precharge != Precharge::Off)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::NodeId;

    fn config() -> RelayConfig {
        RelayConfig::new(NodeId(uuid::Uuid::nil()))
    }

    fn read(content_type: &'static str, body: &'static [u8]) -> Result<String, Fault> {
        let value = HeaderValue::from_static(content_type);
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
        model_in_body(&headers, &Bytes::from_static(body), &config())
            .map(|(model, _)| model.to_string())
    }

    #[test]
    fn the_model_of_a_body() {
        assert_eq!(read("application/json", br#"{"a":1,"model":"m"}"#).unwrap(), "m");
        assert_eq!(read("", br#"{"model":"m/submit"}"#).unwrap(), "m/submit");
        let form = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nw\r\n--b--\r\n";
        assert_eq!(read("multipart/form-data; boundary=b", form).unwrap(), "w");
    }

    #[test]
    fn bodies_without_one_model_are_refused() {
        for body in [
            &b""[..],
            b"{}",
            b"[]",
            b"{\"model\":1}",
            b"{\"model\":\"a\",\"model\":\"b\"}",
            b"{\"model\":\"../x\"}",
            b"{\"model\":\"a\"",
            b"\xff",
        ] {
            let fault = read("application/json", body).unwrap_err();
            assert_eq!(fault.kind, domain::FaultKind::InvalidRequest, "{body:?}");
        }
    }
}
