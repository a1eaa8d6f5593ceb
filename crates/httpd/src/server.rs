//! The accept loop, and the connections that it serves.

use crate::connection_metrics::ConnectionMetrics;
use crate::connections::{ConnectionState, Connections};
use crate::head_timer::HeadTimer;
use crate::request_rules::refusal;
use crate::write_guard::{Sending, WriteGuard};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::Body;

/// The backlog: connections that the system accepts while this process is busy.
const BACKLOG: u32 = 4096;
/// Largest request head; hyper replies 431 to a larger one.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Buffer limit of a connection, for reading and for writing.
const MAX_BUFFER_BYTES: usize = 128 << 10;
/// Pause after an accept that failed for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of connections; more wait in the backlog.
    pub max_connections: usize,
    /// Time limit for a request head, and for an idle connection.
    pub header_timeout_ms: u64,
    /// How long a client may take almost nothing of its response.
    pub write_timeout_ms: u64,
}

/// How a server is stopped.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Graceful: no further connections, and no further requests on open ones.
    pub accepting: CancellationToken,
    /// Forced: everything in flight is cut.
    pub now: CancellationToken,
}

/// A runtime that serves connections.
pub struct Place<H> {
    /// The runtime that its connections stay on.
    pub runtime: Handle,
    /// Handles their requests.
    pub handler: H,
}

impl<H> Place<H> {
    /// The current runtime.
    pub fn here(handler: H) -> Self {
        Self { runtime: Handle::current(), handler }
    }
}

/// Opens the port.
///
/// # Errors
/// When it is in use, or not permitted.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until stopped, and returns when the last connection has ended. A connection is assigned
/// to the place with the fewest.
///
/// There is one accept loop for all: with a port shared among threads the system assigns
/// connections by a hash, which gives several busy ones to one thread and none to another.
pub async fn serve<H, F>(
    listener: TcpListener,
    limits: Limits,
    stop: Stop,
    places: Vec<Place<H>>,
    metrics: ConnectionMetrics,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .keep_alive(true);
    let places: Vec<_> =
        places.into_iter().map(|place| (place, Arc::<Connections>::default())).collect();
    let write_window = Duration::from_millis(limits.write_timeout_ms);
    let tracker = TaskTracker::new();
    take_connections(listener, limits, &stop, |stream, peer, slot| {
        let Some((place, connections)) = places.iter().min_by_key(|(_, c)| c.open()) else {
            return;
        };
        let handler = place.handler.clone();
        let sending = Sending::default();
        let guarded = sending.clone();
        let service = service_fn(move |request| {
            let answer = match refusal(&request) {
                None => Ok(handler(request, peer)),
                Some(refused) => Err(Box::new(refused)),
            };
            let sending = sending.clone();
            async move {
                let mut response = match answer {
                    Ok(answer) => answer.await,
                    Err(refused) => *refused,
                };
                sending.begins(&mut response);
                Ok::<_, Infallible>(response)
            }
        });
        let _there = place.runtime.enter();
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return connection_failed(&error),
        };
        let mut http = http.clone();
        http.timer(HeadTimer::default());
        let connections = Arc::clone(connections);
        let (stream, there) = (TokioIo::new(stream), connections.clone());
        let io = WriteGuard::new(stream, write_window, there, guarded, metrics.clone());
        let connection = http.serve_connection(io, service);
        let supervised = connections.join().supervise(connection);
        let open = metrics.opened();
        let connection = async move {
            if let Err(error) = supervised.await {
                tracing::debug!(%peer, %error, "connection ended early");
            }
            drop((open, slot));
        };
        tracker.spawn_on(roster::named("connection", connection), &place.runtime);
    })
    .await;
    tracker.close();
    // An idle connection closes at once; a request in flight finishes first.
    places.iter().for_each(|(_, connections)| connections.set_all(ConnectionState::Finishing));
    tokio::select! {
        () = tracker.wait() => return,
        () = stop.now.cancelled() => {}
    }
    places.iter().for_each(|(_, connections)| connections.set_all(ConnectionState::Cut));
    tracker.wait().await;
}

/// Accepts connections, as long as there is capacity, until stopped.
async fn take_connections(
    listener: TcpListener,
    limits: Limits,
    stop: &Stop,
    mut take: impl FnMut(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit),
) {
    let slots = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
    let accepting = async {
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let (stream, peer) = accept(&listener).await;
            take(stream, peer, slot);
        }
    };
    tokio::select! {
        biased;
        () = stop.accepting.cancelled() => {}
        () = accepting => {}
    }
}

/// The next connection, not on any runtime yet.
async fn accept(listener: &TcpListener) -> (std::net::TcpStream, SocketAddr) {
    loop {
        let accepted = listener.accept().await.and_then(|(stream, peer)| {
            // A small response must not wait for the peer's delayed acknowledgement.
            let _ = stream.set_nodelay(true);
            Ok((stream.into_std()?, peer))
        });
        match accepted {
            Ok(connection) => return connection,
            Err(error) => {
                connection_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that could not be set up.
fn connection_failed(error: &std::io::Error) {
    tracing::warn!(target: "custompass", event = "connection_failed", %error);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMITS: Limits =
        Limits { max_connections: 2, header_timeout_ms: 300, write_timeout_ms: 60_000 };
    const LIMITS_OF_MANY: Limits =
        Limits { max_connections: 16, header_timeout_ms: 60_000, write_timeout_ms: 60_000 };

    async fn started(limits: Limits) -> (SocketAddr, Stop, tokio::task::JoinHandle<()>) {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::default();
        let handler = |request: Request<Incoming>, _| async move {
            if request.uri().path() == "/slow" {
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(web::full(bytes))
        };
        let places = vec![Place::here(handler)];
        let serving = serve(listener, limits, stop.clone(), places, ConnectionMetrics::default());
        let job = tokio::spawn(serving);
        (address, stop, job)
    }

    async fn ask(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn finishes_what_is_under_way_and_then_ends() {
        let (address, stop, job) = started(LIMITS).await;
        let call = tokio::spawn(ask(address, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.accepting.cancel();
        let answer = call.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        job.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_finish_is_cut() {
        let (address, stop, job) = started(LIMITS).await;
        let call = tokio::spawn(ask(address, "GET /never HTTP/1.1\r\nhost: x\r\n\r\n"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.accepting.cancel();
        stop.now.cancel();
        job.await.unwrap();
        assert_eq!(call.await.unwrap(), "");
    }

    #[tokio::test]
    async fn slow_heads_end_and_make_room_for_others() {
        let (address, stop, job) = started(LIMITS).await;
        let mut half_open = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HT").await.unwrap();
            half_open.push(stream);
        }
        let answer = ask(address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        stop.accepting.cancel();
        job.await.unwrap();
    }

    #[tokio::test]
    async fn too_large_a_head_is_refused() {
        let (address, stop, job) = started(LIMITS).await;
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(70 << 10));
        let answer = ask(address, &head).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        stop.accepting.cancel();
        job.await.unwrap();
    }

    #[tokio::test]
    async fn connections_are_spread_evenly() {
        let cores = crate::cores::Cores::start(2).unwrap();
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::default();
        let says_where = |_, _| async {
            let thread = std::thread::current();
            Response::new(web::full(thread.name().unwrap_or_default().to_owned()))
        };
        let places = cores.runtimes().map(|runtime| {
            let runtime = runtime.clone();
            Place { runtime, handler: says_where }
        });
        let (places, metrics) = (places.collect(), ConnectionMetrics::default());
        let job = tokio::spawn(serve(listener, LIMITS_OF_MANY, stop.clone(), places, metrics));
        let (mut kept, mut seen) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 4096];
            let read = stream.read(&mut answer).await.unwrap();
            seen.push(String::from_utf8_lossy(&answer[read - "core-0".len()..read]).into_owned());
            kept.push(stream);
        }
        seen.sort();
        assert_eq!(seen, ["core-0", "core-0", "core-1", "core-1"]);
        stop.accepting.cancel();
        job.await.unwrap();
    }
}
