//! What pages load besides themselves: embedded, named by what is in it, compressed once.

use crate::visit::{PageReply, step};
use axum::extract::Path;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::io::Write as _;
use std::sync::LazyLock;

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file as it is served.
pub(crate) struct Asset {
    /// Its address, which changes with what is in it.
    pub(crate) path: String,
    file: String,
    kind: &'static str,
    plain: Bytes,
    gzip: Bytes,
}

pub(crate) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| asset("style", "css", CSS, &[include_str!("../assets/style.css")]));
/// htmx and our own, as one file: pages load one script.
pub(crate) static SCRIPTS: LazyLock<Asset> = LazyLock::new(|| {
    let files = [
        include_str!("../assets/htmx.min.js"),
        include_str!("../assets/hx-sse.min.js"),
        &bare(include_str!("../assets/amount.js")),
        &bare(include_str!("../assets/json.js")),
        &bare(include_str!("../assets/send.js")),
        &bare(include_str!("../assets/console.js")),
        &bare(include_str!("../assets/play.js")),
    ];
    asset("console", "js", SCRIPT, &files)
});
pub(crate) static CHART: LazyLock<Asset> = LazyLock::new(|| {
    let files =
        [include_str!("../assets/uPlot.iife.min.js"), &bare(include_str!("../assets/chart.js"))];
    asset("chart", "js", SCRIPT, &files)
});
pub(crate) static CHART_STYLE: LazyLock<Asset> =
    LazyLock::new(|| asset("chart", "css", CSS, &[include_str!("../assets/uPlot.min.css")]));
/// The icon, in its address: it is smaller than a request for it.
pub(crate) static ICON: LazyLock<String> = LazyLock::new(|| {
    format!("data:image/svg+xml,{}", step(include_str!("../assets/icon.svg").trim()))
});

/// A script of ours without its comments and indentation.
fn bare(script: &str) -> String {
    let lines = script.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn asset(name: &str, ending: &str, kind: &'static str, parts: &[&str]) -> Asset {
    let plain = parts.join("\n");
    // A name, no secret: a hash of what is in it.
    let hash = store::key_hash(&plain);
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let file = format!("{name}-{hash}.{ending}");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    // Writing into memory does not fail; what would be missing is served plain.
    let packed = gzip.write_all(plain.as_bytes()).and_then(|()| gzip.finish()).unwrap_or_default();
    let path = format!("/console/assets/{file}");
    Asset { path, file, kind, plain: plain.into(), gzip: packed.into() }
}

/// `GET /console/assets/{file}`
pub(crate) async fn serve(Path(file): Path<String>, headers: HeaderMap) -> PageReply {
    let all = [&STYLE, &SCRIPTS, &CHART, &CHART_STYLE];
    let Some(asset) = all.into_iter().find(|asset| asset.file == file) else {
        let mut missing = Response::new("".into());
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return missing;
    };
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let zipped = accepted.is_some_and(|text| text.contains("gzip")) && !asset.gzip.is_empty();
    let body = if zipped { asset.gzip.clone() } else { asset.plain.clone() };
    let mut response = Response::new(body.into());
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    answer.insert(VARY, HeaderValue::from_static("accept-encoding"));
    answer.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if zipped {
        answer.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_budgets() {
        let gzipped = |asset: &Asset| asset.gzip.len();
        assert!(gzipped(&STYLE) + gzipped(&CHART_STYLE) <= 8 * 1024);
        assert!(gzipped(&SCRIPTS) <= 24 * 1024, "{}", gzipped(&SCRIPTS));
        assert!(gzipped(&SCRIPTS) + gzipped(&CHART) <= 46 * 1024, "{}", gzipped(&CHART));
    }

    #[test]
    fn our_scripts_keep_the_policy() {
        let own = [
            include_str!("../assets/amount.js"),
            include_str!("../assets/json.js"),
            include_str!("../assets/send.js"),
            include_str!("../assets/console.js"),
            include_str!("../assets/play.js"),
            include_str!("../assets/chart.js"),
        ];
        let lines = |file: &&str| bare(file).lines().filter(|line| !line.is_empty()).count();
        assert!(own.iter().map(lines).sum::<usize>() <= 600, "{:?}", own.map(|file| lines(&file)));
        for own in own {
            for forbidden in ["eval(", "innerHTML", "new Function", "document.write", "http://"] {
                assert!(!own.contains(forbidden), "{forbidden}");
            }
        }
    }
}
