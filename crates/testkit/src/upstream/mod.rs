//! A scripted upstream on 127.0.0.1, with full control over every byte it sends.
//!
//! It implements HTTP/1.1 by hand rather than through a library, because a test must be able to
//! make it send wrong lengths, stall, cut a body or reply with garbage.

mod reply;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use reply::{Framing, Gate, Reply, Step, gzip, usage};

use crate::wait::within;

/// One request as the upstream received it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its number in the order of arrival, from 0; cleared requests count.
    pub index: usize,
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// When its head was read.
    pub at: Instant,
    /// The method as sent.
    pub method: String,
    /// The request target as sent: path and query, still encoded.
    pub target: String,
    /// Names and values as sent, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The received part of the body (64 MiB at most), without chunk framing.
    pub body: Bytes,
    /// How many bytes of the body have arrived.
    pub received: u64,
    /// Whether the request arrived completely.
    pub complete: bool,
    /// Whether the reply was sent completely.
    pub answered: bool,
    /// Whether the peer closed the connection before the reply was sent completely.
    pub peer_gone: bool,
    /// How many bytes of the reply's body the kernel has taken.
    pub sent: u64,
}

impl Recorded {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query as sent, without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// Whether this is an estimate call made in the query.
    pub fn is_estimate(&self) -> bool {
        self.query().is_some_and(|query| query.split('&').any(|pair| pair == "precharge=true"))
    }

    /// The first header of this name, case-insensitively.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers_named(name).into_iter().next()
    }

    /// Every header of this name, in order.
    pub fn headers_named(&self, name: &str) -> Vec<String> {
        let same = self.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the request's body is JSON")
    }
}

type Handler = Arc<dyn Fn(&Recorded) -> Reply + Send + Sync>;

#[derive(Default)]
struct Script {
    /// Replies to be given once each, in order; they take precedence over `always`.
    queue: VecDeque<Reply>,
    always: Option<Handler>,
    at_head: Option<Reply>,
}

#[derive(Default)]
struct State {
    scripts: HashMap<String, Script>,
    other: Script,
    requests: Vec<Recorded>,
    /// How many requests came before the first of `requests`.
    forgotten: usize,
    connections: usize,
    open_connections: usize,
}

struct Shared {
    state: Mutex<State>,
    /// Counts changes of `state`, so that waiters look again.
    changes: watch::Sender<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
        value
    }
}

/// A running upstream. It stops, and its connections end, when it is dropped.
pub struct Upstream {
    addr: SocketAddr,
    shared: Arc<Shared>,
    job: JoinHandle<()>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Upstream").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.job.abort();
    }
}

impl Upstream {
    /// Starts on a free port. A path without a script gets 404.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the upstream");
        Self::on_listener(listener)
    }

    /// Starts on this port, for a test that needs an upstream to come back at its old address.
    pub async fn start_on(port: u16) -> Self {
        let bound = within("the upstream's port", async {
            loop {
                match TcpListener::bind(("127.0.0.1", port)).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                }
            }
        });
        Self::on_listener(bound.await)
    }

    fn on_listener(listener: TcpListener) -> Self {
        let addr = listener.local_addr().expect("a bound listener");
        let shared = Arc::new(Shared { state: Mutex::default(), changes: watch::Sender::new(0) });
        let job = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, job }
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its `base_url`: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Replies to every request for this path (as sent, without the query) with this reply.
    pub fn on(&self, path: &str, reply: Reply) {
        self.handle(path, move |_| reply.clone());
    }

    /// Replies to every request for this path with the result of `handler`.
    pub fn handle(&self, path: &str, handler: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) {
        let handler: Handler = Arc::new(handler);
        self.shared.change(|state| state.script(path).always = Some(handler));
    }

    /// Replies to estimate calls (`?precharge=true`) and real calls for this path differently.
    pub fn on_estimate(&self, path: &str, estimate: Reply, real: Reply) {
        self.handle(
            path,
            move |request| {
                if request.is_estimate() { estimate.clone() } else { real.clone() }
            },
        );
    }

    /// Gives this reply once to a request for this path, before those of `on` or `handle`.
    pub fn queue(&self, path: &str, reply: Reply) {
        self.shared.change(|state| state.script(path).queue.push_back(reply));
    }

    /// Replies as soon as the head of a request has arrived; its body is never read.
    pub fn on_head(&self, path: &str, reply: Reply) {
        self.shared.change(|state| state.script(path).at_head = Some(reply));
    }

    /// Replies to every request that matches no path with this reply.
    pub fn otherwise(&self, reply: Reply) {
        self.otherwise_handle(move |_| reply.clone());
    }

    /// Replies to every request that matches no path with the result of `handler`.
    pub fn otherwise_handle(&self, handler: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) {
        let handler: Handler = Arc::new(handler);
        self.shared.change(|state| state.other.always = Some(handler));
    }

    /// Every request so far, in order of arrival.
    pub async fn requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.clone()
    }

    /// How many requests have come so far.
    pub fn count(&self) -> usize {
        self.shared.lock().requests.len()
    }

    /// How many connections have been opened to it so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// How many connections are open to it now.
    pub fn open_connections(&self) -> usize {
        self.shared.lock().open_connections
    }

    /// Clears the requests so far.
    pub fn forget(&self) {
        self.shared.change(|state| {
            state.forgotten += state.requests.len();
            state.requests.clear();
        });
    }

    /// Waits until `count` requests have arrived completely, and returns all there are.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<Recorded> {
        let what = format!("{count} requests at the upstream");
        self.wait_until(&what, |all| all.iter().filter(|one| one.complete).count() >= count).await
    }

    /// Waits until the heads of `count` requests have arrived.
    pub async fn wait_for_heads(&self, count: usize) -> Vec<Recorded> {
        let what = format!("{count} request heads at the upstream");
        self.wait_until(&what, |all| all.len() >= count).await
    }

    /// Waits until the peer has disconnected from request `index` before its reply was sent.
    pub async fn wait_for_peer_gone(&self, index: usize) -> Recorded {
        let gone = |one: &Recorded| one.index == index && one.peer_gone;
        let all = self.wait_until("the peer to go away", |all| all.iter().any(gone)).await;
        all.into_iter().find(gone).expect("it was among them a moment ago")
    }

    /// Waits until the requests so far satisfy `done`, and returns them.
    pub async fn wait_until(
        &self,
        what: &str,
        done: impl Fn(&[Recorded]) -> bool,
    ) -> Vec<Recorded> {
        let mut changes = self.shared.changes.subscribe();
        within(what, async {
            loop {
                changes.borrow_and_update();
                {
                    let state = self.shared.lock();
                    if done(&state.requests) {
                        return state.requests.clone();
                    }
                }
                changes.changed().await.expect("the upstream itself is here");
            }
        })
        .await
    }
}

impl State {
    fn script(&mut self, path: &str) -> &mut Script {
        self.scripts.entry(path.to_owned()).or_default()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this future, which ends every connection.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(wire::serve(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A bare TCP server, for a peer that does not speak HTTP at all (or not in time).
#[derive(Debug)]
pub struct RawServer {
    addr: SocketAddr,
    job: JoinHandle<()>,
}

impl RawServer {
    /// Starts on a free port, and gives every connection to `talk`.
    pub async fn start<F, Fut>(talk: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the server");
        let addr = listener.local_addr().expect("a bound listener");
        let job = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(talk(stream));
                }
            }
        });
        Self { addr, job }
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.job.abort();
    }
}
