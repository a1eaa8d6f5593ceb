//! TLS and proxies.

use super::*;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

// A root, and a certificate of `up.test` and 127.0.0.1 with its key: made for these tests alone.
const ROOT: &[u8] = include_bytes!("../../../tests/tls/root.der");
const LEAF: &[u8] = include_bytes!("../../../tests/tls/leaf.der");
const LEAF_KEY: &[u8] = include_bytes!("../../../tests/tls/leaf.key.der");

fn acceptor(alpn: &[&[u8]]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(LEAF_KEY));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(LEAF)], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A guard that resolves nothing before a proxy gets a name: `up.test` has no address.
fn open() -> ClientConfig {
    let allow = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap());
    ClientConfig { guard: AddressGuard::new(allow.to_vec()), ..config() }
}

fn trusting(config: ClientConfig) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ROOT)).unwrap();
    Client::with_tls(config, Tls::trusting(roots)).unwrap()
}

async fn serve_tls(stream: TcpStream, alpn: &[&[u8]]) {
    let Ok(stream) = acceptor(alpn).accept(stream).await else { return };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let reply = service_fn(|_| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from("hello"))))
    });
    let io = TokioIo::new(stream);
    let _ = if is_h2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.serve_connection(io, reply).await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(io, reply).await
    };
}

#[tokio::test]
async fn speaks_tls_and_the_version_that_is_agreed_on() {
    const H2: &[&[u8]] = &[b"h2", b"http/1.1"];
    const H1: &[&[u8]] = &[b"http/1.1"];
    for (alpn, version) in [(H2, Version::HTTP_2), (H1, Version::HTTP_11)] {
        let address = serve(move |_, stream| serve_tls(stream, alpn)).await;
        let client = trusting(config());
        for _ in 0..3 {
            let uri = format!("https://{address}/");
            let request = post(&uri, Bytes::from("body").into());
            let reply = client.send(request, &PATIENT).await.unwrap();
            assert_eq!((reply.status, reply.version), (StatusCode::OK, version));
            assert_eq!(reply.body.collect().await.unwrap().to_bytes(), "hello");
        }
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_no_connection() {
    let address = serve(|_, stream| serve_tls(stream, &[])).await;
    let error = refused(get(&format!("https://{address}/")), PATIENT).await;
    assert!(matches!(error, SendError::Connect(ConnectError::Tls(_))), "{error:?}");
    let port = address.port();
    let wrong_name = get(&format!("https://[::ffff:127.0.0.1]:{port}/"));
    let error = trusting(config()).send(wrong_name, &PATIENT).await.err().unwrap();
    assert!(matches!(error, SendError::Connect(ConnectError::Tls(_))), "{error:?}");
    assert_eq!((error.sent(), error.label()), (Sent::No, "tls"));
}

/// A proxy that replies to plain requests itself, and tunnels to `serve_tls`. It reports what it
/// received.
async fn proxy(refuses: bool) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (saw, seen) = tokio::sync::mpsc::unbounded_channel();
    let address = serve(move |_, mut stream| {
        let saw = saw.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                let tunnel = request.starts_with("CONNECT ");
                let _ = saw.send(request);
                if refuses {
                    let reply = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                    stream.write_all(reply).await.unwrap();
                } else if tunnel {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    return serve_tls(stream, &[]).await;
                } else {
                    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy";
                    stream.write_all(reply).await.unwrap();
                }
            }
        }
    })
    .await;
    (address, seen)
}

fn via(request: OutboundRequest<'static>, url: &str) -> (OutboundRequest<'static>, ProxyChoice) {
    (request, ProxyChoice::parse(url).unwrap())
}

#[tokio::test]
async fn a_channels_proxy_reads_plain_requests_and_tunnels_others() {
    let (address, mut seen) = proxy(false).await;
    let client = trusting(open());
    let url = format!("http://user:pa%3Ass@{address}");
    let auth = "proxy-authorization: Basic dXNlcjpwYTpzcw==";
    for (target, line, answer) in [
        ("http://up.test/a?b", "GET http://up.test/a?b HTTP/1.1\r\n", "proxy"),
        ("https://up.test/a", "CONNECT up.test:443 HTTP/1.1\r\n", "hello"),
        ("https://up.test:8443/a", "CONNECT up.test:8443 HTTP/1.1\r\n", "hello"),
    ] {
        let (request, choice) = via(get(target), &url);
        let request = OutboundRequest { proxy: &choice, ..request };
        let reply = client.send(request, &PATIENT).await.unwrap();
        assert_eq!(reply.body.collect().await.unwrap().to_bytes(), answer);
        let request = seen.recv().await.unwrap();
        assert!(request.starts_with(line), "{request}");
        assert!(request.to_lowercase().contains(&auth.to_lowercase()), "{request}");
        assert!(request.to_lowercase().contains("host: up.test"), "{request}");
    }
    // A channel with its own proxy shares no connection with one without.
    let error = client.send(get("http://no-such-host.invalid/"), &PATIENT).await.err().unwrap();
    assert!(matches!(error, SendError::Connect(ConnectError::Dns(_))), "{error:?}");
}

#[tokio::test]
async fn the_installations_proxy_is_used_but_where_it_is_not() {
    let (address, mut seen) = proxy(false).await;
    let direct = answer(&["HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ndirect"]).await;
    let proxies = Proxies {
        http: Some(format!("http://{address}")),
        https: Some(format!("http://{address}")),
        no: Some("127.0.0.1".to_owned()),
    };
    let client = trusting(ClientConfig { proxies, ..open() });
    for (target, expected) in [
        ("http://up.test/".to_owned(), "proxy"),
        ("https://up.test/".to_owned(), "hello"),
        (format!("http://{direct}/"), "direct"),
    ] {
        let reply = client.send(get(&target), &PATIENT).await.unwrap();
        assert_eq!(reply.body.collect().await.unwrap().to_bytes(), expected);
    }
    assert!(seen.recv().await.unwrap().starts_with("GET http://up.test/"));
    let choice = ProxyChoice::Direct;
    let request = OutboundRequest { proxy: &choice, ..get("http://no-such-host.invalid/") };
    let error = client.send(request, &PATIENT).await.err().unwrap();
    assert!(matches!(error, SendError::Connect(ConnectError::Dns(_))), "{error:?}");
}

#[tokio::test]
async fn a_proxy_is_no_way_around_the_guard() {
    let (address, mut seen) = proxy(false).await;
    let guard = AddressGuard::default();
    let url = format!("http://{address}");
    let proxies = Proxies { http: Some(url.clone()), https: Some(url.clone()), no: None };
    let client = trusting(ClientConfig { guard, proxies, ..config() });
    // The last of them stands for a public upstream through a channel's own proxy in here.
    let choice = ProxyChoice::parse(&url).unwrap();
    for (target, proxy) in [
        ("http://169.254.169.254/", &ProxyChoice::Default),
        ("https://[::1]/", &ProxyChoice::Default),
        ("http://localhost/", &ProxyChoice::Default),
        ("http://1.1.1.1/", &choice),
        ("https://1.1.1.1/", &choice),
    ] {
        let error = client.send(OutboundRequest { proxy, ..get(target) }, &PATIENT).await;
        let error = error.err().unwrap();
        assert!(matches!(error, SendError::Connect(ConnectError::Guarded(_))), "{error:?}");
    }
    // A name without an address is not left to the proxy.
    let error = client.send(get("http://no-such-host.invalid/"), &PATIENT).await.err().unwrap();
    assert!(matches!(error, SendError::Connect(ConnectError::Dns(_))), "{error:?}");
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_no_connection() {
    let (refuses, _seen) = proxy(true).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (address, target) in [(refuses, "https://up.test/"), (closed, "http://up.test/")] {
        let choice = ProxyChoice::parse(&format!("http://{address}")).unwrap();
        let request = OutboundRequest { proxy: &choice, ..get(target) };
        let error = trusting(open()).send(request, &PATIENT).await.err().unwrap();
        assert!(matches!(error, SendError::Connect(ConnectError::Proxy(_))), "{error:?}");
        assert_eq!((error.sent(), error.label()), (Sent::No, "proxy"));
    }
}

#[tokio::test]
async fn socks_connects_to_the_requested_name() {
    let address = serve(|_, mut stream| async move {
        let mut greeting = [0; 2];
        stream.read_exact(&mut greeting).await.unwrap();
        let mut methods = vec![0; usize::from(greeting[1])];
        stream.read_exact(&mut methods).await.unwrap();
        stream.write_all(&[5, 0]).await.unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[..4], [5, 1, 0, 3]);
        let mut name = vec![0; usize::from(head[4]) + 2];
        stream.read_exact(&mut name).await.unwrap();
        assert_eq!(name, b"up.test\x00\x50");
        stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80]).await.unwrap();
        let request = read_request(&mut stream).await.unwrap();
        assert!(request.starts_with("GET /a HTTP/1.1\r\n"), "{request}");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let choice = ProxyChoice::parse(&format!("socks5://{address}")).unwrap();
    let request = OutboundRequest { proxy: &choice, ..get("http://up.test/a") };
    let reply = trusting(open()).send(request, &PATIENT).await.unwrap();
    assert_eq!(reply.body.collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn many_proxies_do_not_pile_up() {
    let client = client();
    for port in 1..=100 {
        let choice = ProxyChoice::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let ProxyChoice::Via(url) = choice else { panic!("no proxy") };
        assert!(client.state().own_lane(&url).is_ok());
    }
    assert_eq!(client.state().own.read().unwrap().len(), MAX_PROXIES);
}
