//! The connector: resolve, guard, connect, proxy, TLS. It connects to the very address that was
//! checked.

use crate::error::{ConnectError, chain};
use crate::guard::{AddressGuard, literal};
use crate::proxy::Route;
use crate::stale::ConnectionUse;
use crate::tls::Tls;
use http::Uri;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

/// Opens the connections of one hyper client.
#[derive(Clone)]
pub(crate) struct Connector(pub(crate) Arc<Way>);

/// What all connections of a [`Connector`] share.
pub(crate) struct Way {
    pub(crate) guard: Arc<AddressGuard>,
    pub(crate) route: Arc<Route>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) timeout: Duration,
    /// Proxies get the address that was judged, and no name.
    pub(crate) pins: bool,
}

impl Way {
    /// Whether a proxy gets an address in place of this host. Where everything is permitted there
    /// is nothing to judge, and a literal is its own address.
    pub(crate) fn pins_host(&self, host: &str) -> bool {
        self.pins && !self.guard.permits_everything() && literal(host).is_none()
    }
}

type Io = TokioIo<Stream>;

impl Service<Uri> for Connector {
    type Response = Io;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Io, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let way = Arc::clone(&self.0);
        Box::pin(async move {
            let deadline = Instant::now() + way.timeout;
            let connecting = connect(&way, &target, deadline);
            timeout_at(deadline, connecting).await.unwrap_or(Err(ConnectError::Timeout))
        })
    }
}

async fn connect(way: &Way, target: &Uri, deadline: Instant) -> Result<Io, ConnectError> {
    let https = match target.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(ConnectError::Address("the scheme is neither http nor https")),
    };
    let host = target.host().ok_or(ConnectError::Address("no host"))?;
    let port = target.port_u16().unwrap_or(if https { 443 } else { 80 });
    let stream = match way.route.intercept(target) {
        None => Stream::plain(dial(host, port, Some(&way.guard), deadline).await?),
        Some(proxy) => {
            let judged = judge(&way.guard, host, port).await?;
            let goal = match judged.filter(|_| way.pins_host(host)) {
                Some(address) => Goal::pinned(address, https)?,
                None => Goal { uri: with_port(target, https)?, tunnel: https },
            };
            through_proxy(way, &proxy, goal, deadline).await?
        }
    };
    if !https {
        return Ok(TokioIo::new(stream));
    }
    let config = way.tls.configs().await?.upstream;
    let tls = handshake(config, host, stream).await.map_err(ConnectError::Tls)?;
    let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(TokioIo::new(Stream {
        io: Inner::Boxed(Box::new(tls)),
        absolute_form: false,
        h2,
        usage: ConnectionUse::default(),
    }))
}

/// The target of a proxied connection.
struct Goal {
    /// Host and port, as a URI without a path.
    uri: Uri,
    /// Through a tunnel, which the proxy can't read.
    tunnel: bool,
}

impl Goal {
    /// A fixed address. The request itself still names the host, so a proxy must not rewrite it.
    fn pinned(address: SocketAddr, https: bool) -> Result<Self, ConnectError> {
        let scheme = if https { "https" } else { "http" };
        let uri = Uri::try_from(format!("{scheme}://{address}/"));
        let uri = uri.map_err(|_| ConnectError::Address("no host"))?;
        Ok(Self { uri, tunnel: true })
    }
}

/// Refuses a host that a proxy must not reach, else returns one of its addresses. A proxy that is
/// given the name may take any of them, so all have to be permitted.
///
/// Upstreams' proxies are given the name: many decide by names, and some are used because they have
/// a better resolver. The owner of the name may make it resolve differently there; refusing that is
/// up to the proxy. The hosts of webhooks are chosen by users, so there the address is pinned.
///
/// A guard that permits everything skips the resolver: on some machines only the proxy has one.
async fn judge(
    guard: &AddressGuard,
    host: &str,
    port: u16,
) -> Result<Option<SocketAddr>, ConnectError> {
    if !guard.permits_host(host) {
        return Err(ConnectError::Guarded(literal(host)));
    }
    if guard.permits_everything() {
        return Ok(None);
    }
    let addresses = resolve(host, port).await?;
    match addresses.iter().find(|address| !guard.permits(address.ip())) {
        Some(refused) => Err(ConnectError::Guarded(Some(refused.ip()))),
        // More proxies reach this kind, and there is no second try.
        None => Ok(addresses.iter().find(|one| one.is_ipv4()).or(addresses.first()).copied()),
    }
}

/// Connects to the proxy, and tunnels to the goal unless the proxy forwards plain requests.
/// The installation's proxy is the operator's choice, and not guarded; a channel's own is.
async fn through_proxy(
    way: &Way,
    proxy: &Intercept,
    goal: Goal,
    deadline: Instant,
) -> Result<Stream, ConnectError> {
    let failed = |e: ConnectError| match e {
        kept @ (ConnectError::Timeout | ConnectError::Guarded(_)) => kept,
        other => ConnectError::Proxy(other.to_string()),
    };
    let uri = proxy.uri();
    let host = uri.host().ok_or(ConnectError::Address("the proxy has no host"))?;
    let scheme = uri.scheme_str().unwrap_or("http");
    let port = uri.port_u16().unwrap_or(match scheme {
        "https" => 443,
        "socks5" | "socks5h" => 1080,
        _ => 80,
    });
    let guard = way.route.is_a_channels().then_some(&*way.guard);
    let mut stream = Stream::plain(dial(host, port, guard, deadline).await.map_err(failed)?);
    if scheme == "https" {
        let config = way.tls.configs().await?.proxy;
        let tls = handshake(config, host, stream).await.map_err(ConnectError::Proxy)?;
        stream = Stream {
            io: Inner::Boxed(Box::new(tls)),
            absolute_form: false,
            h2: false,
            usage: ConnectionUse::default(),
        };
    }
    let once = Once(Some(TokioIo::new(stream)));
    let tunnelled = match scheme {
        "socks5" | "socks5h" => {
            let mut socks = SocksV5::new(uri.clone(), once);
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            socks.call(goal.uri).await.map_err(|e| ConnectError::Proxy(format!("{e:?}")))?
        }
        _ if goal.tunnel => {
            let mut tunnel = Tunnel::new(uri.clone(), once);
            if let Some(auth) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(auth.clone());
            }
            tunnel.call(goal.uri).await.map_err(|e| ConnectError::Proxy(chain(&e)))?
        }
        _ => {
            let mut stream = once.0.ok_or(ConnectError::Address("no stream"))?.into_inner();
            stream.absolute_form = true;
            return Ok(stream);
        }
    };
    Ok(tunnelled.into_inner())
}

/// `target` without a path, and with an explicit port, as SOCKS requires it.
fn with_port(target: &Uri, https: bool) -> Result<Uri, ConnectError> {
    let host = target.host().ok_or(ConnectError::Address("no host"))?;
    let port = target.port_u16().unwrap_or(if https { 443 } else { 80 });
    let scheme = if https { "https" } else { "http" };
    let text = format!("{scheme}://{host}:{port}/");
    Uri::try_from(text).map_err(|_| ConnectError::Address("no host"))
}

/// A TCP connection to one of the host's addresses that `guard` permits.
async fn dial(
    host: &str,
    port: u16,
    guard: Option<&AddressGuard>,
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let mut addresses = resolve(host, port).await?;
    if let Some(guard) = guard {
        let first = addresses.first().map(SocketAddr::ip);
        addresses.retain(|address| guard.permits(address.ip()));
        if addresses.is_empty() {
            return Err(ConnectError::Guarded(first));
        }
    }
    let mut last = ConnectError::Dns("no address".to_owned());
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for (left, address) in (1..=count).rev().zip(&addresses) {
        // One dead address must not use up the time of the others.
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left;
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small writes must not wait for one another; a failure to set the option is
                // harmless.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(e)) => last = ConnectError::Refused(e.to_string()),
            Err(_) => last = ConnectError::Timeout,
        }
    }
    Err(last)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Some(address) = literal(host) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found.map_err(|e| ConnectError::Dns(e.to_string()))?.collect();
    if found.is_empty() {
        return Err(ConnectError::Dns("the name has no address".to_owned()));
    }
    Ok(found)
}

async fn handshake(
    config: Arc<rustls::ClientConfig>,
    host: &str,
    stream: Stream,
) -> Result<TlsStream<Stream>, String> {
    let name = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|e| chain(&e))
}

/// A service that hands out the one connection that it holds.
struct Once(Option<Io>);

impl Service<Uri> for Once {
    type Response = Io;
    type Error = io::Error;
    type Future = Ready<io::Result<Io>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::Error::other("asked twice")))
    }
}

/// A connection of any kind.
pub(crate) struct Stream {
    io: Inner,
    /// The peer is a proxy that expects absolute URIs in the request line.
    absolute_form: bool,
    h2: bool,
    usage: ConnectionUse,
}

enum Inner {
    Tcp(TcpStream),
    // Boxed, so that plain connections, of which there may be very many, stay small.
    Boxed(Box<TlsStream<Stream>>),
}

impl Stream {
    fn plain(tcp: TcpStream) -> Self {
        let usage = ConnectionUse::default();
        Self { io: Inner::Tcp(tcp), absolute_form: false, h2: false, usage }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.absolute_form).extra(self.usage.clone());
        if self.h2 { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.io {
            Inner::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Inner::Boxed(io) => Pin::new(io).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            self.usage.read();
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.usage.wrote();
        match &mut self.io {
            Inner::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Inner::Boxed(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.usage.wrote();
        match &mut self.io {
            Inner::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Inner::Boxed(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Inner::Tcp(io) => io.is_write_vectored(),
            Inner::Boxed(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Inner::Tcp(io) => Pin::new(io).poll_flush(cx),
            Inner::Boxed(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Inner::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Inner::Boxed(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
