//! The client: one request, one reply, four deadlines.

use crate::BaseUrl;
use crate::body::{Payload, Progress, Tracked, Watch};
use crate::connect::{Connector, Way};
use crate::error::{BoxError, ConnectError, Phase, SendError, chain, find};
use crate::guard::AddressGuard;
use crate::proxy::{Proxies, ProxyChoice, ProxyError, ProxyUrl, Route};
use crate::reply::ReplyBody;
use crate::stale;
use crate::tls::Tls;
use arc_swap::ArcSwap;
use http::header::{CONTENT_LENGTH, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How many proxies of channels have a connection pool at the same time.
const MAX_PROXIES: usize = 64;
/// The largest head of a reply, and the most that one connection buffers of a body.
const MAX_READ_BUFFER: usize = 64 * 1024;
/// The most headers of a reply.
const MAX_HEADERS: usize = 128;

/// How connections are opened and pooled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Which addresses may be connected to.
    pub guard: AddressGuard,
    /// The installation's proxies.
    pub proxies: Proxies,
    /// Proxies get the checked address of a host, in a tunnel, instead of its name: for hosts that
    /// are chosen by users, who must not reach what the proxy can.
    pub pin_addresses: bool,
    /// The maximum time to open a connection, regardless of a request's own deadline.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// How many unused connections are kept for each upstream.
    pub pool_max_idle_per_host: usize,
}

impl Default for ClientConfig {
    /// Public addresses only, directly; 1024 unused connections an upstream, for 90 s.
    fn default() -> Self {
        Self {
            guard: AddressGuard::default(),
            proxies: Proxies::default(),
            pin_addresses: false,
            connect_timeout: Duration::from_secs(10),
            pool_idle_timeout: Duration::from_secs(90),
            pool_max_idle_per_host: 1_024,
        }
    }
}

/// The deadlines of one request, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Until the request begins to be written.
    pub connect_ms: u64,
    /// From the request's last byte to the reply's head.
    pub first_byte_ms: u64,
    /// Between two pieces of a body, in either direction.
    pub idle_ms: u64,
    /// What the upstream may take from the start to the reply's last byte, and the client beside
    /// it: time spent waiting for one of them is never the other's.
    pub total_ms: u64,
}

/// A complete request.
pub struct OutboundRequest<'a> {
    /// The method.
    pub method: Method,
    /// The whole address: see [`BaseUrl::target`].
    pub uri: Uri,
    /// All headers but `Host`, `Content-Length` and `Transfer-Encoding`, which follow from the
    /// address and the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: Payload,
    /// How the upstream is reached.
    pub proxy: &'a ProxyChoice,
}

/// A reply, whose body may still be arriving.
pub struct Reply {
    /// The status, unmapped.
    pub status: StatusCode,
    /// The version that the upstream speaks.
    pub version: Version,
    /// The headers, as they came, but without a length that the framing contradicts.
    pub headers: HeaderMap,
    /// The body, as it arrives.
    pub body: ReplyBody,
}

/// Sends requests. Cheap to clone; the clones share their connections.
#[derive(Clone)]
pub struct Client {
    /// The current configuration: shared with clients that have connections of their own.
    setup: Arc<ArcSwap<Setup>>,
    state: Arc<ArcSwap<State>>,
}

/// What connections are opened with.
struct Setup {
    config: ClientConfig,
    guard: Arc<AddressGuard>,
    tls: Arc<Tls>,
    route: Arc<Route>,
}

/// Connection pools, and the configuration that they were made with.
struct State {
    setup: Arc<Setup>,
    default: Lane,
    direct: Lane,
    own: RwLock<HashMap<ProxyUrl, Lane>>,
}

/// The pool of one route.
#[derive(Clone)]
struct Lane {
    hyper: legacy::Client<Connector, Tracked>,
    /// Without a pool.
    afresh: legacy::Client<Connector, Tracked>,
    way: Arc<Way>,
}

impl Client {
    /// A client without connections.
    ///
    /// # Errors
    /// When one of the installation's proxies is not an address.
    pub fn new(config: ClientConfig) -> Result<Self, ProxyError> {
        Self::with_tls(config, Tls::default())
    }

    pub(crate) fn with_tls(config: ClientConfig, tls: Tls) -> Result<Self, ProxyError> {
        let setup = Arc::new(Setup::new(config, Arc::new(tls))?);
        Ok(Self::of(Arc::new(ArcSwap::new(setup))))
    }

    /// A client with connections of its own, which follows every [`Client::configure`] of either.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        Self::of(Arc::clone(&self.setup))
    }

    fn of(setup: Arc<ArcSwap<Setup>>) -> Self {
        let state = State::new(setup.load_full());
        Self { setup, state: Arc::new(ArcSwap::from_pointee(state)) }
    }

    /// Applies `config` from the next request on, with new connections where it differs: open ones
    /// may lead to addresses that are no longer allowed. Requests in flight continue.
    ///
    /// # Errors
    /// When one of the installation's proxies is not an address; nothing is changed then.
    pub fn configure(&self, config: ClientConfig) -> Result<(), ProxyError> {
        let now = self.setup.load();
        if now.config != config {
            self.setup.store(Arc::new(Setup::new(config, Arc::clone(&now.tls))?));
        }
        Ok(())
    }

    /// Which addresses may be connected to.
    #[must_use]
    pub fn guard(&self) -> Arc<AddressGuard> {
        Arc::clone(&self.setup.load().guard)
    }

    fn state(&self) -> Arc<State> {
        let (state, setup) = (self.state.load_full(), self.setup.load());
        if Arc::ptr_eq(&state.setup, &setup) {
            return state;
        }
        let state = Arc::new(State::new(Arc::clone(&setup)));
        self.state.store(Arc::clone(&state));
        state
    }

    /// Sends `request` and waits for the head of its reply. Redirects are not followed.
    ///
    /// # Errors
    /// When there is no reply: [`SendError::sent`] says whether the upstream may have received the
    /// request.
    pub async fn send(
        &self,
        request: OutboundRequest<'_>,
        deadlines: &Deadlines,
    ) -> Result<Reply, SendError> {
        self.send_on(request, deadlines, false).await
    }

    /// The same on a new connection: after [`SendError::Stale`].
    ///
    /// # Errors
    /// Like [`Self::send`].
    pub async fn send_afresh(
        &self,
        request: OutboundRequest<'_>,
        deadlines: &Deadlines,
    ) -> Result<Reply, SendError> {
        self.send_on(request, deadlines, true).await
    }

    async fn send_on(
        &self,
        request: OutboundRequest<'_>,
        deadlines: &Deadlines,
        afresh: bool,
    ) -> Result<Reply, SendError> {
        let start = Instant::now();
        let state = self.state();
        let own;
        let lane = match request.proxy {
            ProxyChoice::Default => &state.default,
            ProxyChoice::Direct => &state.direct,
            ProxyChoice::Via(url) => {
                own = state.own_lane(url)?;
                &own
            }
        };
        let watch = Arc::new(Watch::new(start));
        let mut outgoing = Request::new(Tracked::new(request.body, Arc::clone(&watch)));
        *outgoing.method_mut() = request.method;
        *outgoing.headers_mut() = request.headers;
        // A tunnel's other end is not the proxy.
        let tunnelled = request.uri.host().is_some_and(|host| lane.way.pins_host(host));
        if let Some(auth) = lane.way.route.request_auth(&request.uri).filter(|_| !tunnelled) {
            outgoing.headers_mut().insert(PROXY_AUTHORIZATION, auth);
        }
        *outgoing.uri_mut() = request.uri;
        let hyper = if afresh { &lane.afresh } else { &lane.hyper };
        let response = hyper.request(outgoing);
        let response = head_within(response, &watch, start, deadlines).await?;
        stale::has_replied(&response);
        let (mut parts, body) = response.into_parts();
        // Chunks win over a length (RFC 9112 §6.3), and a length that does not count must neither
        // be passed on nor used here.
        if parts.headers.contains_key(TRANSFER_ENCODING) {
            parts.headers.remove(CONTENT_LENGTH);
        }
        let idle = Duration::from_millis(deadlines.idle_ms);
        let total = Duration::from_millis(deadlines.total_ms);
        Ok(Reply {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            body: ReplyBody::new(body, idle, total, watch, start),
        })
    }
}

impl Setup {
    fn new(config: ClientConfig, tls: Arc<Tls>) -> Result<Self, ProxyError> {
        let guard = Arc::new(config.guard.clone());
        let route = Arc::new(Route::of_installation(&config.proxies)?);
        Ok(Self { config, guard, tls, route })
    }
}

impl State {
    fn new(setup: Arc<Setup>) -> Self {
        let default = lane(&setup, Arc::clone(&setup.route));
        let direct = lane(&setup, Arc::new(Route::Direct));
        Self { setup, default, direct, own: RwLock::default() }
    }

    fn own_lane(&self, url: &ProxyUrl) -> Result<Lane, ConnectError> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = own.get(url) {
            return Ok(lane.clone());
        }
        drop(own);
        let route = Route::via(url).map_err(|e| ConnectError::Proxy(e.to_string()))?;
        let made = lane(&self.setup, Arc::new(route));
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= MAX_PROXIES && !own.contains_key(url) {
            // Any one is evicted: requests in flight keep theirs, and a new pool is soon warm.
            if let Some(victim) = own.keys().next().cloned() {
                own.remove(&victim);
            }
        }
        Ok(own.entry(url.clone()).or_insert(made).clone())
    }
}

fn lane(setup: &Setup, route: Arc<Route>) -> Lane {
    let (guard, tls) = (Arc::clone(&setup.guard), Arc::clone(&setup.tls));
    let config = &setup.config;
    let (timeout, pins) = (config.connect_timeout, config.pin_addresses);
    let way = Arc::new(Way { guard, route, tls, timeout, pins });
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(config.pool_idle_timeout)
        .pool_max_idle_per_host(config.pool_max_idle_per_host)
        .http1_max_buf_size(MAX_READ_BUFFER)
        .http1_max_headers(MAX_HEADERS)
        .http2_adaptive_window(true)
        .retry_canceled_requests(true)
        .set_host(true);
    let hyper = builder.build(Connector(Arc::clone(&way)));
    let afresh = builder.pool_max_idle_per_host(0).build(Connector(Arc::clone(&way)));
    Lane { hyper, afresh, way }
}

/// Waits for the head of the reply. One timer serves all deadlines: when it fires, the progress
/// says what the request was waiting for and until when it may.
async fn head_within(
    response: legacy::ResponseFuture,
    watch: &Watch,
    start: Instant,
    deadlines: &Deadlines,
) -> Result<Response<Incoming>, SendError> {
    let mut response = pin!(response);
    let first = deadlines.connect_ms.min(deadlines.total_ms).min(deadlines.first_byte_ms);
    let mut timer = pin!(sleep_until(start + Duration::from_millis(first)));
    poll_fn(move |cx| {
        if let Poll::Ready(answer) = response.as_mut().poll(cx) {
            return Poll::Ready(answer.map_err(|error| explain(error, watch)));
        }
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let (phase, until_ms) = standing(watch, deadlines);
            let until = start + Duration::from_millis(until_ms);
            if Instant::now() >= until {
                return Poll::Ready(Err(SendError::Timeout(phase)));
            }
            timer.as_mut().reset(until);
        }
    })
    .await
}

/// What the request is waiting for, and until when (in milliseconds from its start) it may.
fn standing(watch: &Watch, deadlines: &Deadlines) -> (Phase, u64) {
    let since_step = |ms: u64| watch.step_ms().saturating_add(ms);
    let starved_ms = watch.starved_ms();
    let (phase, until_ms) = match watch.progress() {
        Progress::Untouched => (Phase::Connect, deadlines.connect_ms),
        Progress::Starved => {
            let left_ms = deadlines.total_ms.saturating_sub(starved_ms);
            return (Phase::ClientBody, since_step(deadlines.idle_ms.min(left_ms)));
        }
        Progress::Writing => (Phase::FirstByte, since_step(deadlines.idle_ms)),
        Progress::Complete | Progress::Failed => {
            (Phase::FirstByte, since_step(deadlines.first_byte_ms))
        }
    };
    let total_ms = deadlines.total_ms.saturating_add(starved_ms);
    if total_ms < until_ms && phase != Phase::Connect {
        return (Phase::Total, total_ms);
    }
    (phase, until_ms.min(total_ms))
}

/// Maps hyper's error, given how far the request had been sent.
fn explain(error: legacy::Error, watch: &Watch) -> SendError {
    if let Some(cause) = find::<ConnectError>(&error) {
        return SendError::Connect(cause.clone());
    }
    match watch.progress() {
        Progress::Untouched => SendError::Unsent(chain(&error)),
        Progress::Failed => SendError::Payload(BoxError::from(error)),
        _ => {
            let bad = find::<hyper::Error>(&error)
                .is_some_and(|e| e.is_parse() || e.is_parse_status() || e.is_parse_too_large());
            let text = chain(&error);
            let is_early = watch.start().elapsed() < stale::WITHIN;
            match () {
                () if bad => SendError::BadReply(text),
                () if is_early && stale::is_cause_of(&error) => SendError::Stale(text),
                () => SendError::Cut(text),
            }
        }
    }
}

/// Whether a reply redirects the client to another host: such a redirect must not be passed on. A
/// location that can't be parsed counts as another host.
#[must_use]
pub fn redirects_elsewhere(status: StatusCode, headers: &HeaderMap, base: &BaseUrl) -> bool {
    if !status.is_redirection() {
        return false;
    }
    headers.get_all(LOCATION).iter().any(|location| match location.to_str() {
        Ok(text) => !stays_at(&as_browsers_read(text), base),
        Err(_) => true,
    })
}

/// Browsers drop tabs and line ends inside an address, and blanks around it.
fn as_browsers_read(location: &str) -> String {
    let text = location.trim_matches(|c: char| c <= ' ');
    text.chars().filter(|c| !matches!(c, '\t' | '\r' | '\n')).collect()
}

fn stays_at(location: &str, base: &BaseUrl) -> bool {
    // Browsers read `\` as `/`: both ways of writing `//host` count.
    let slash = |b: Option<&u8>| matches!(b, Some(b'/' | b'\\'));
    let bytes = location.as_bytes();
    if slash(bytes.first()) && slash(bytes.get(1)) {
        let scheme = if base.is_https() { "https:" } else { "http:" };
        return stays_at(&format!("{scheme}//{}", &location[2..]), base);
    }
    let scheme_end = location.find([':', '/', '?', '#']).filter(|&at| bytes[at] == b':');
    let Some(end) = scheme_end else { return true };
    let scheme = if base.is_https() { "https" } else { "http" };
    let Ok(uri) = location.parse::<Uri>() else { return false };
    let port = uri.port_u16().unwrap_or(if base.is_https() { 443 } else { 80 });
    location[..end].eq_ignore_ascii_case(scheme)
        && uri.host().is_some_and(|host| host.eq_ignore_ascii_case(base.host()))
        && port == base.port()
}

#[cfg(test)]
mod tests;
