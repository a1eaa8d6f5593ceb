//! The collector: OTLP's one request for spans.

use crate::config::TracesConfig;
use anyhow::Context;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use std::time::Duration;
use upstream::{Client, Deadlines, OutboundRequest, Payload, ProxyChoice};
use web::{CollectLimits, collect};

/// The most that is read of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Who takes spans.
pub(super) struct Collector {
    client: Client,
    uri: Uri,
    headers: HeaderMap,
    deadlines: Deadlines,
    resource: ResourceAttributesWithSchema,
}

impl Collector {
    /// Creates the collector that `config` names. `resource`: the source of the spans.
    ///
    /// # Errors
    /// When its address can't be used.
    pub(super) fn new(
        config: &TracesConfig,
        client: Client,
        resource: &Resource,
    ) -> anyhow::Result<Self> {
        let base = config.endpoint.trim_end_matches('/');
        let uri = format!("{base}/v1/traces").parse().context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let mut headers = config.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let ms = config.timeout_ms;
        let deadlines = Deadlines { connect_ms: ms, first_byte_ms: ms, idle_ms: ms, total_ms: ms };
        Ok(Self { client, uri, headers, deadlines, resource: resource.into() })
    }

    /// Sends `spans`, and returns how many of them were refused.
    ///
    /// # Errors
    /// When none was accepted, with the reason.
    pub(super) async fn send(&self, spans: Vec<SpanData>) -> Result<u64, String> {
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let request = OutboundRequest {
            method: Method::POST,
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            body: Payload::Whole(Bytes::from(body)),
            proxy: &ProxyChoice::Default,
        };
        let sending = self.client.send(request, &self.deadlines);
        let reply = sending.await.map_err(|error| error.to_string())?;
        if !reply.status.is_success() {
            return Err(format!("status {}", reply.status.as_u16()));
        }
        let within = Duration::from_millis(self.deadlines.total_ms);
        let limits = CollectLimits { max_bytes: MAX_ANSWER_BYTES, within };
        let answer = collect(reply.body, limits, |_| true).await;
        let answer = answer.map_err(|error| error.to_string())?;
        // Accepted, regardless of the body: some collectors return none, some return JSON.
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or(0))
    }
}
