mod ways;

use super::*;
use crate::error::Sent;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENT: Deadlines =
    Deadlines { connect_ms: 5_000, first_byte_ms: 5_000, idle_ms: 5_000, total_ms: 10_000 };

fn config() -> ClientConfig {
    let allow = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap());
    ClientConfig {
        guard: AddressGuard::new(allow.to_vec()),
        proxies: Proxies::default(),
        pin_addresses: false,
        connect_timeout: Duration::from_secs(5),
        pool_idle_timeout: Duration::from_secs(5),
        pool_max_idle_per_host: 8,
    }
}

fn client() -> Client {
    Client::new(config()).unwrap()
}

fn get(uri: &str) -> OutboundRequest<'static> {
    post(uri, Payload::Whole(Bytes::new()))
}

fn post(uri: &str, body: Payload) -> OutboundRequest<'static> {
    let is_empty = matches!(&body, Payload::Whole(bytes) if bytes.is_empty());
    OutboundRequest {
        method: if is_empty { Method::GET } else { Method::POST },
        uri: uri.parse().unwrap(),
        headers: HeaderMap::new(),
        body,
        proxy: &ProxyChoice::Default,
    }
}

/// Reads the head of a request and as much of a body as its length says.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        text.extend_from_slice(&buffer[..read]);
        let all = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = all.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |digits| digits.parse().unwrap()) {
            return Some(all);
        }
    }
}

/// A server that runs `handle` on each connection.
async fn serve<F, R>(handle: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(handle(number, stream));
        }
    });
    address
}

/// A server that replies to each request on each connection with `pieces`, and then stalls.
async fn answer(pieces: &'static [&'static str]) -> SocketAddr {
    serve(move |_, mut stream| async move {
        while read_request(&mut stream).await.is_some() {
            for piece in pieces {
                if stream.write_all(piece.as_bytes()).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    })
    .await
}

async fn refused(request: OutboundRequest<'_>, deadlines: Deadlines) -> SendError {
    match client().send(request, &deadlines).await {
        Ok(reply) => panic!("a reply: {}", reply.status),
        Err(error) => error,
    }
}

async fn body_error(pieces: &'static [&'static str], deadlines: Deadlines) -> SendError {
    let address = answer(pieces).await;
    let reply = client().send(get(&format!("http://{address}/")), &deadlines).await.unwrap();
    reply.body.collect().await.expect_err("an error")
}

#[tokio::test]
async fn sends_a_request_and_reads_its_reply() {
    let address = serve(|_, mut stream| async move {
        let request = read_request(&mut stream).await.unwrap();
        let length = request.len();
        let reply = format!("HTTP/1.1 201 Created\r\nX-A: 1\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((reply + &request).as_bytes()).await.unwrap();
    })
    .await;
    let request = post(&format!("http://{address}/a%20b?c=d"), Bytes::from("hello").into());
    let reply = client().send(request, &PATIENT).await.unwrap();
    assert_eq!((reply.status, reply.version), (StatusCode::CREATED, Version::HTTP_11));
    assert_eq!(reply.headers["x-a"], "1");
    let body = reply.body.collect().await.unwrap().to_bytes();
    let host = address.to_string();
    let expected =
        format!("POST /a%20b?c=d HTTP/1.1\r\nhost: {host}\r\ncontent-length: 5\r\n\r\nhello");
    let mut lines: Vec<&str> = std::str::from_utf8(&body).unwrap().split("\r\n").collect();
    let mut wanted: Vec<&str> = expected.split("\r\n").collect();
    lines.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(lines, wanted);
}

#[tokio::test]
async fn connections_are_used_again_and_replaced_when_closed() {
    static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
    let address = serve(|number, mut stream| async move {
        CONNECTIONS.store(number + 1, Ordering::SeqCst);
        for _ in 0..2 {
            if read_request(&mut stream).await.is_none() {
                return;
            }
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(reply).await.unwrap();
        }
    })
    .await;
    let client = client();
    for sent in 1..=4 {
        let reply = client.send(get(&format!("http://{address}/")), &PATIENT).await.unwrap();
        assert_eq!(reply.body.collect().await.unwrap().to_bytes(), "ok");
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(CONNECTIONS.load(Ordering::SeqCst), usize::div_ceil(sent, 2));
    }
}

/// Closes each connection when a second request comes on it, without a word.
async fn closing() -> SocketAddr {
    serve(|_, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        read_request(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn a_connection_that_is_closed_while_it_waits_is_distinguished() {
    let (address, client) = (closing().await, client());
    let uri = format!("http://{address}/");
    for body in ["", "body"] {
        let request = || post(&uri, Bytes::from(body).into());
        let first = client.send(request(), &PATIENT).await.unwrap();
        first.body.collect().await.unwrap();
        let second = client.send(request(), &PATIENT).await;
        assert!(matches!(second, Err(SendError::Stale(_))), "{:?}", second.map(|it| it.status));
        client.send_afresh(request(), &PATIENT).await.unwrap();
    }
    // A new connection that is closed at once says that the upstream is broken.
    let broken = serve(|_, mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    let error = refused(get(&format!("http://{broken}/")), PATIENT).await;
    assert!(matches!(error, SendError::Cut(_)), "{error:?}");
}

#[tokio::test]
async fn reports_that_nothing_was_sent() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = refused(get(&format!("http://{closed}/")), PATIENT).await;
    assert!(matches!(error, SendError::Connect(ConnectError::Refused(_))), "{error:?}");
    assert_eq!((error.sent(), error.label()), (Sent::No, "refused"));

    let error = refused(get("http://no-such-host.invalid/"), PATIENT).await;
    assert!(matches!(error, SendError::Connect(ConnectError::Dns(_))), "{error:?}");
    assert_eq!(error.sent(), Sent::No);

    let error = refused(get("ftp://127.0.0.1/"), PATIENT).await;
    assert_eq!(error.sent(), Sent::No, "{error:?}");
}

#[tokio::test]
async fn the_guard_is_checked_before_connecting() {
    let address = serve(|_, _| async { panic!("connected") }).await;
    let port = address.port();
    let guarded = ClientConfig { guard: AddressGuard::default(), ..config() };
    let client = Client::new(guarded).unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let uri = format!("http://{host}:{port}/");
        let error = client.send(get(&uri), &PATIENT).await.err().expect("an error");
        assert!(matches!(error, SendError::Connect(ConnectError::Guarded(_))), "{host} {error:?}");
        assert_eq!((error.sent(), error.label()), (Sent::No, "guarded"));
    }
}

#[tokio::test]
async fn another_configuration_holds_for_the_next_request_on_every_runtime() {
    let address = answer(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
    let uri = format!("http://{address}/");
    let client = client();
    let other = client.with_own_connections();
    for client in [&client, &other] {
        client.send(get(&uri), &PATIENT).await.unwrap().body.collect().await.unwrap();
    }

    let proxies = Proxies { http: Some("ftp://proxy".to_owned()), ..Proxies::default() };
    let bad = ClientConfig { guard: AddressGuard::default(), proxies, ..config() };
    assert!(client.configure(bad).is_err());
    assert!(other.send(get(&uri), &PATIENT).await.is_ok(), "nothing has changed");
    let guard = AddressGuard::default();
    client.configure(ClientConfig { guard, ..config() }).unwrap();

    // Not over the open connections, either.
    for client in [&client, &other] {
        let error = client.send(get(&uri), &PATIENT).await.err().expect("an error");
        assert!(matches!(error, SendError::Connect(ConnectError::Guarded(_))), "{error:?}");
    }
    client.configure(config()).unwrap();
    assert!(other.send(get(&uri), &PATIENT).await.is_ok());
}

#[tokio::test]
async fn deadlines_are_separate() {
    let silent = answer(&[]).await;
    let uri = format!("http://{silent}/");
    let error = refused(get(&uri), Deadlines { first_byte_ms: 60, ..PATIENT }).await;
    assert!(matches!(error, SendError::Timeout(Phase::FirstByte)), "{error:?}");
    assert!(error.is_timeout() && error.sent() == Sent::Maybe);
    let error = refused(get(&uri), Deadlines { total_ms: 60, ..PATIENT }).await;
    assert!(matches!(error, SendError::Timeout(Phase::Total)), "{error:?}");

    // TLS to a peer that never sends its hello: the connection is never established.
    let uri = format!("https://{silent}/");
    let error = refused(get(&uri), Deadlines { connect_ms: 60, ..PATIENT }).await;
    assert!(matches!(error, SendError::Timeout(Phase::Connect)), "{error:?}");
    assert_eq!(error.sent(), Sent::No);
    let short = ClientConfig { connect_timeout: Duration::from_millis(60), ..config() };
    let error = Client::new(short).unwrap().send(get(&uri), &PATIENT).await.err().unwrap();
    assert!(matches!(error, SendError::Connect(ConnectError::Timeout)), "{error:?}");
    assert_eq!(error.sent(), Sent::No);
}

#[tokio::test]
async fn a_body_has_deadlines_of_its_own() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    let idle = Deadlines { idle_ms: 60, ..PATIENT };
    let error = body_error(&[HEAD, "a", "b"], idle).await;
    assert!(matches!(error, SendError::Timeout(Phase::Idle)), "{error:?}");
    const DRIP: &[&str] = &[
        HEAD, "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a",
    ];
    let error = body_error(DRIP, Deadlines { total_ms: 120, idle_ms: 80, ..PATIENT }).await;
    assert!(matches!(error, SendError::Timeout(Phase::Total)), "{error:?}");
}

#[tokio::test]
async fn a_slow_reader_is_not_a_slow_upstream() {
    let address = answer(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "a", "b"]).await;
    let deadlines = Deadlines { idle_ms: 100, ..PATIENT };
    let reply = client().send(get(&format!("http://{address}/")), &deadlines).await.unwrap();
    let mut body = reply.body;
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        read.extend_from_slice(&frame.unwrap().into_data().unwrap());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(read, b"ab");
}

#[tokio::test]
async fn a_cut_body_is_no_end() {
    for head in ["content-length: 100\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"]
    {
        let address = serve(move |_, mut stream| async move {
            read_request(&mut stream).await.unwrap();
            let reply = format!("HTTP/1.1 200 OK\r\n{head}");
            stream.write_all(reply.as_bytes()).await.unwrap();
        })
        .await;
        let reply = client().send(get(&format!("http://{address}/")), &PATIENT).await.unwrap();
        let mut body = reply.body;
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "abc");
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::Cut(_)), "{error:?}");
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_reply() {
    for text in
        ["SSH-2.0-OpenSSH_9\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\na b\r\n\r\n"]
    {
        let address = serve(move |_, mut stream| async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
        })
        .await;
        let error = refused(get(&format!("http://{address}/")), PATIENT).await;
        assert!(matches!(error, SendError::BadReply(_)), "{error:?}");
        assert_eq!(error.sent(), Sent::Maybe);
    }
    let hangs_up = serve(|_, mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    let error = refused(get(&format!("http://{hangs_up}/")), PATIENT).await;
    assert!(matches!(error, SendError::Cut(_)), "{error:?}");
    assert_eq!(error.sent(), Sent::Maybe);
}

fn slow_upload(pieces: Vec<Result<&'static str, &'static str>>, stall: bool) -> Payload {
    let frames = futures_util::stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        match pieces.next() {
            Some(piece) => {
                let frame = piece.map(|text| http_body::Frame::data(Bytes::from(text)));
                Some((frame.map_err(BoxError::from), pieces))
            }
            None if stall => std::future::pending().await,
            None => None,
        }
    });
    Payload::Stream(UnsyncBoxBody::new(StreamBody::new(frames)))
}

#[tokio::test]
async fn a_client_that_stalls_or_leaves_is_to_blame_itself() {
    let silent = answer(&[]).await;
    let uri = format!("http://{silent}/");
    let stalls = post(&uri, slow_upload(vec![Ok("a")], true));
    let error = refused(stalls, Deadlines { idle_ms: 80, first_byte_ms: 40, ..PATIENT }).await;
    assert!(matches!(error, SendError::Timeout(Phase::ClientBody)), "{error:?}");
    assert!(error.is_clients_fault() && !error.is_timeout());

    let fails = post(&uri, slow_upload(vec![Ok("a"), Err("too much")], false));
    let error = refused(fails, PATIENT).await;
    assert!(matches!(error, SendError::Payload(_)), "{error:?}");
    assert!(error.is_clients_fault());
    assert!(chain(&error).contains("too much"), "{}", chain(&error));
}

#[tokio::test]
async fn a_slow_upload_does_not_use_up_the_upstreams_time() {
    let address = serve(|_, mut stream| async move {
        let mut seen = Vec::new();
        while !seen.ends_with(b"0\r\n\r\n") {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            seen.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let upload = slow_upload(vec![Ok("a"); 20], false);
    let deadlines = Deadlines { first_byte_ms: 100, idle_ms: 100, ..PATIENT };
    let sent = client().send(post(&format!("http://{address}/"), upload), &deadlines).await;
    assert_eq!(sent.unwrap().status, StatusCode::OK);
}

#[test]
fn recognises_a_redirect_to_another_host() {
    let base = BaseUrl::parse("https://up.example").unwrap();
    let elsewhere = |status: u16, location: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location.parse().unwrap());
        redirects_elsewhere(StatusCode::from_u16(status).unwrap(), &headers, &base)
    };
    for location in [
        "https://evil.example/x",
        "http://up.example/x",
        "https://up.example:8443/x",
        "//evil.example/x",
        "/\\evil.example",
        "\\\\evil.example",
        "HTTPS://evil.example",
        "https:evil.example",
        "/\t/evil.example",
        "\t//evil.example",
        "ht\ttps://evil.example",
        "/\t\\evil.example",
        "https://up.example@evil.example/",
        "javascript:alert(1)",
        "https://[oops",
    ] {
        assert!(elsewhere(302, location), "{location}");
    }
    for location in [
        "/x",
        "x?y=http://z",
        "?a",
        "#a",
        "",
        "https://up.example/x",
        "HTTPS://UP.EXAMPLE:443/",
        "//up.example/x",
    ] {
        assert!(!elsewhere(307, location), "{location}");
    }
    assert!(!elsewhere(200, "https://evil.example/"));
    assert!(!redirects_elsewhere(StatusCode::NOT_MODIFIED, &HeaderMap::new(), &base));
}
