//! The metrics port: everything that is registered, in the text that Prometheus reads.

mod format;

use crate::config::MetricsConfig;
use crate::process;
use domain::{Fault, FaultKind, UnixMs};
use format::Format;
use http::header::{CONTENT_TYPE, VARY};
use http::{HeaderValue, Method, Request, Response};
use httpd::{ConnectionMetrics, Limits, Place, Stop};
use hyper::body::Incoming;
use oplog::Lines;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use store::Db;
use tokio::net::TcpListener;
use web::Body;

/// Enough for Prometheus, a few scripts and an operator with curl.
const LIMITS: Limits =
    Limits { max_connections: 32, header_timeout_ms: 30_000, write_timeout_ms: 60_000 };

/// Registers what the process itself has to say.
pub(crate) fn register_process(registry: &mut Registry, started_at: UnixMs, lines: Option<Lines>) {
    registry.register(
        "newapi_build",
        "The running build",
        Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
    );
    registry.register_collector(Box::new(Process { started_at, lines }));
}

/// Serves `registry` until stopped.
pub(crate) async fn serve(
    listener: TcpListener,
    config: MetricsConfig,
    registry: Arc<Registry>,
    stop: Stop,
) {
    let path: Arc<str> = config.path.into();
    let handler = move |request: Request<Incoming>, _peer| {
        let (registry, path) = (Arc::clone(&registry), Arc::clone(&path));
        async move { answer(&request, &path, &registry) }
    };
    httpd::serve(listener, LIMITS, stop, vec![Place::here(handler)], ConnectionMetrics::default())
        .await;
}

fn answer(request: &Request<Incoming>, path: &str, registry: &Registry) -> Response<Body> {
    let fault = |kind, zh: &str, en: &str| web::render_fault(&Fault::new(kind, zh, en), "");
    if request.uri().path() != path {
        return fault(FaultKind::NotFound, "没有这个路径", "no such path");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return fault(FaultKind::MethodNotAllowed, "只支持 GET", "only GET");
    }
    let format = Format::wanted(request.headers());
    match page(registry, format) {
        Ok(page) => {
            let mut response = Response::new(web::full(page));
            response.headers_mut().insert(CONTENT_TYPE, format.content_type());
            response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
            response
        }
        Err(_) => fault(FaultKind::System, "指标无法写出", "the metrics can't be written"),
    }
}

fn page(registry: &Registry, format: Format) -> Result<String, fmt::Error> {
    let mut page = String::with_capacity(16 << 10);
    prometheus_client::encoding::text::encode(&mut page, registry)?;
    Ok(match format {
        Format::OpenMetrics => page,
        Format::Text => format::text(&page),
    })
}

/// Asked of the system at each scrape.
struct Process {
    started_at: UnixMs,
    lines: Option<Lines>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory", process::resident_bytes()),
            ("process_open_fds", "Open descriptors", process::open_descriptors()),
            ("process_max_fds", "Descriptor limit", Some(process::descriptor_limit())),
            ("process_threads", "Threads", process::threads()),
            (
                "process_start_time_seconds",
                "When the process started",
                u64::try_from(self.started_at.0.div_euclid(1_000)).ok(),
            ),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        if let Some(lines) = &self.lines {
            let (name, help) = ("custompass_log_lines_dropped", "Log lines that were dropped");
            let counter = ConstCounter::new(lines.dropped_in_all());
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

/// Registers how busy the database's connections are.
pub(crate) fn register_pool(registry: &mut Registry, db: Db) {
    registry.register_collector(Box::new(Pool(db)));
}

/// Asked of the pool at each scrape.
#[derive(Debug)]
struct Pool(Db);

impl Collector for Pool {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // SQLite has no pool.
        let Some(status) = self.0.pool_status() else { return Ok(()) };
        let gauges = [
            ("max", "Most connections", status.max),
            ("open", "Connections there are", status.open),
            ("idle", "Idle connections", status.idle),
            ("waiting", "Callers waiting for a connection", status.waiting),
        ];
        for (name, help, value) in gauges {
            let name = format!("custompass_database_connections_{name}");
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(&name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_scripts_expect() {
        let mut registry = Registry::default();
        register_process(&mut registry, UnixMs(1_700_000_000_000), None);
        let text = page(&registry, Format::OpenMetrics).unwrap();
        assert!(text.contains("\nprocess_start_time_seconds 1700000000\n"), "{text}");
        assert!(text.contains("newapi_build_info{version=\"0.1.0\"} 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert_eq!(line.split(' ').count(), 2, "{line}");
        }
    }
}
