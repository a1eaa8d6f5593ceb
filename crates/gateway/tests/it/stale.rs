//! Connections that an upstream closes just when they are used again.

use crate::world::{World, fixed};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::{RawServer, TestDb, json, on_both_databases};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A completion, and the acceptance of a task.
const REPLY: &str =
    r#"{"code":0,"data":{"task_id":"t-1"},"choices":[{"message":{"content":"hi"}}]}"#;

/// Reads one request with a JSON object as its body, if another one comes.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while !all.ends_with(b"}") && !all.ends_with(b"0\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(bytes) if bytes > 0 => all.extend_from_slice(&piece[..bytes]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&all).into_owned())
}

/// An upstream that replies to the first request of each connection, and closes it at the second
/// without a word.
async fn closing(requests: Arc<AtomicUsize>) -> RawServer {
    RawServer::start(move |mut stream| {
        let requests = Arc::clone(&requests);
        async move {
            for round in 0.. {
                if read_request(&mut stream).await.is_none() {
                    return;
                }
                requests.fetch_add(1, Ordering::SeqCst);
                if round > 0 {
                    return;
                }
                let length = REPLY.len();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
                stream
                    .write_all(format!("{head} {length}\r\n\r\n{REPLY}").as_bytes())
                    .await
                    .unwrap();
            }
        }
    })
    .await
}

/// Calls twice on one connection, whose thread has one pool.
async fn twice(world: &World, target: &str, key: &str) -> [u16; 2] {
    let mut raw = world.server.raw().await;
    let mut statuses = [0; 2];
    for status in &mut statuses {
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n");
        let kind = "Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"model\":\"m\"}";
        raw.send(head + kind).await;
        *status = raw.read_answer().await.unwrap().status;
    }
    statuses
}

on_both_databases! {
    async fn a_call_is_sent_again_but_a_submission_is_not(db: TestDb) {
        let settings = [("CUSTOM_PASS_POLL_INTERVAL", "1h")];
        let world = World::with(db, &settings).await;
        let requests = Arc::new(AtomicUsize::new(0));
        let upstream = closing(Arc::clone(&requests)).await;
        for model in ["m", "img/submit"] {
            let to = json!({"base_url": upstream.url()});
            world.channel(&[model], to).await;
        }
        world.admin().price("m", fixed(1)).await;
        let ann = world.payer(100).await;
        assert_eq!(twice(&world, "/v1/chat/completions", &ann.key).await, [200, 200]);
        assert_eq!(requests.load(Ordering::SeqCst), 3, "the second one twice");
        assert_eq!(world.money(&ann).await.used, 2);

        requests.store(0, Ordering::SeqCst);
        assert_eq!(twice(&world, "/pass/img/submit", &ann.key).await, [200, 502]);
        assert_eq!(requests.load(Ordering::SeqCst), 2, "a submission may have been read");
        world.close().await;
    }
}
