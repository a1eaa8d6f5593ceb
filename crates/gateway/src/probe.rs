//! Asks a server of this kind how it is, over its port, as any client would.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The shortest beginning of a reply that has a status: `HTTP/1.1 200`.
const HEAD: usize = 12;

/// Returns the status of `GET /readyz` at the address that a server listens on.
///
/// # Errors
/// When there is no HTTP response in time.
pub(crate) async fn status(listening: SocketAddr, within: Duration) -> io::Result<u16> {
    let answer = tokio::time::timeout(within, ask(reachable(listening))).await;
    answer.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}

async fn ask(address: SocketAddr) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).await?;
    let status = std::str::from_utf8(&head).ok().and_then(|head| head.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|digits| digits.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

/// Where a server that listens on every address can be reached from its own machine.
#[must_use]
pub(crate) fn reachable(mut listening: SocketAddr) -> SocketAddr {
    match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listening.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listening.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listening
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answering(answer: &'static str) -> io::Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        status(everywhere, Duration::from_secs(10)).await
    }

    #[tokio::test]
    async fn tells_answers_apart() {
        assert_eq!(answering("HTTP/1.1 200 OK\r\n\r\n").await.unwrap(), 200);
        assert_eq!(answering("HTTP/1.1 503 Service Unavailable\r\n\r\n").await.unwrap(), 503);
        assert!(answering("SSH-2.0-OpenSSH_9.2\r\n").await.is_err());
        assert!(answering("").await.is_err());
    }

    #[tokio::test]
    async fn a_server_that_takes_no_connection_is_no_answer() {
        // The kernel completes the connection; it is never accepted.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let error = status(address, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(listener);
        assert!(status(address, Duration::from_secs(10)).await.is_err());
    }
}
