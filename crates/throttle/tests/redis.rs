//! The shared counters, against a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use domain::KeyId;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::{Redis, eventually};
use throttle::{RateLimits, Shared};
use tokio_util::sync::CancellationToken;

/// A node: its limits, its connection, and its shutdown.
struct Node {
    limits: RateLimits,
    shared: Arc<Shared>,
    end: CancellationToken,
}

impl Node {
    fn start(url: &str, secret: &[u8]) -> Self {
        let shared = Arc::new(Shared::new(url, secret).unwrap());
        let end = CancellationToken::new();
        tokio::spawn(Arc::clone(&shared).keep(end.clone()));
        Self { limits: RateLimits::new(Some(Arc::clone(&shared))), shared, end }
    }

    /// Waits until the node considers Redis available, or not.
    async fn sees(&self, up: bool) {
        let seen = || async { (self.shared.is_up() == up).then_some(()) };
        eventually("the link to change", seen).await;
    }

    /// How many lookups failed, as on a loaded machine.
    fn failures(&self) -> u64 {
        let mut registry = Registry::default();
        self.shared.register(&mut registry);
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        let sample = "custompass_redis_asked_total{result=\"failed\"} ";
        page.lines().find_map(|line| line.strip_prefix(sample)?.parse().ok()).unwrap()
    }

    async fn takes(&self, key: i64, per_minute: u32) -> Result<(), i64> {
        self.limits.take(KeyId(key), per_minute, 0).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

#[test]
fn nodes_share_a_minutes_worth() {
    testkit::run(async {
        let redis = Redis::start().await;
        let nodes = [Node::start(&redis.url(), b"s"), Node::start(&redis.url(), b"s")];
        let stranger = Node::start(&redis.url(), b"another installation");
        for node in nodes.iter().chain([&stranger]) {
            node.sees(true).await;
        }

        let mut taken = 0;
        for turn in 0..10 {
            taken += u64::from(nodes[turn % 2].takes(7, 4).await.is_ok());
        }

        // Each failure is one that a node may have counted alone.
        let most = 4 + nodes.iter().map(Node::failures).sum::<u64>();
        assert!((4..=most).contains(&taken), "{taken} of {most}");
        let wait_us = nodes[0].takes(7, 4).await.unwrap_err();
        assert!((1..=15_000_000).contains(&wait_us), "{wait_us}");
        assert_eq!(nodes[1].takes(8, 4).await, Ok(()), "keys don't share a limit");
        assert_eq!(stranger.takes(7, 4).await, Ok(()), "nor do installations");
        for name in redis.cli(&["KEYS", "*"]).await.split_whitespace() {
            let hash = name.strip_prefix("newapi:rpm:").unwrap();
            assert_eq!(hash.len(), 32, "{name}");
            let left: i64 = redis.cli(&["PTTL", name]).await.trim().parse().unwrap();
            assert!(left <= 60_000 && left != -1, "{name} stays {left} ms");
        }
    });
}

#[test]
fn nodes_share_a_minutes_tokens() {
    testkit::run(async {
        let redis = Redis::start().await;
        let nodes = [Node::start(&redis.url(), b"s"), Node::start(&redis.url(), b"s")];
        for node in &nodes {
            node.sees(true).await;
        }
        let left = async |node: &Node, key| node.limits.look_for_tokens(KeyId(key), 0).await;
        let telling = |used| nodes[0].limits.count_tokens(KeyId(7), used, 1_000, 0).unwrap();
        assert_eq!(left(&nodes[1], 7).await, Ok(()));
        telling(600).await;
        assert_eq!(left(&nodes[1], 7).await, Ok(()), "400 are left");

        let counted_alone = nodes[0].limits.count_tokens(KeyId(8), 1_200, 1_000, 0).unwrap();
        assert_eq!(left(&nodes[0], 8).await, Err(12_000_001), "before any node is informed");
        drop(counted_alone);
        assert_eq!(left(&nodes[1], 8).await, Ok(()), "keys don't share a limit");
        let wait_us = eventually("the other node to know", || async {
            // Repeated, because on a loaded machine a count or a lookup may time out.
            telling(600).await;
            left(&nodes[1], 7).await.err()
        })
        .await;
        assert!((1..=60_000_001).contains(&wait_us), "{wait_us}");
        for name in redis.cli(&["KEYS", "newapi:tpm:*"]).await.split_whitespace() {
            let left: i64 = redis.cli(&["PTTL", name]).await.trim().parse().unwrap();
            assert!((60_000..=120_000).contains(&left), "{name} stays {left} ms");
        }
    });
}

#[test]
fn room_comes_back_evenly() {
    testkit::run(async {
        let redis = Redis::start().await;
        let node = Node::start(&redis.url(), b"s");
        node.sees(true).await;
        // Twenty a second, and a minute's worth at once.
        let began = Instant::now();
        let mut taken = 0_u64;
        while node.takes(1, 1_200).await.is_ok() {
            taken += 1;
        }
        let most = 1_200 + 1 + u64::try_from(began.elapsed().as_millis()).unwrap() / 50;
        assert!((1_200..=most).contains(&taken), "{taken} of at most {most}");

        let wait_us = loop {
            if let Err(wait_us) = node.takes(1, 1_200).await {
                break wait_us;
            }
        };

        assert!((1..=50_000).contains(&wait_us), "{wait_us}");
        tokio::time::sleep(Duration::from_micros(wait_us.unsigned_abs() + 1)).await;
        assert_eq!(node.takes(1, 1_200).await, Ok(()));
    });
}

#[test]
fn a_node_that_loses_it_counts_on_alone() {
    testkit::run(async {
        let mut redis = Redis::start().await;
        let node = Node::start(&redis.url(), b"s");
        node.sees(true).await;
        for _ in 0..2 {
            node.takes(1, 3).await.unwrap();
        }

        redis.kill_9().await;
        node.sees(false).await;
        node.takes(1, 3).await.unwrap();
        node.takes(1, 3).await.unwrap_err();

        redis.start_again().await;
        node.sees(true).await;
        // Redis has lost everything.
        node.takes(1, 3).await.unwrap();
    });
}

#[test]
fn one_that_hangs_is_not_waited_for() {
    testkit::run(async {
        let redis = Redis::start().await;
        let node = Node::start(&redis.url(), b"s");
        node.sees(true).await;

        redis.pause();
        let began = Instant::now();
        for _ in 0..1_000 {
            node.takes(1, 60_000).await.unwrap();
        }

        assert!(!node.shared.is_up());
        // Three times 10 ms, and no more for all the others.
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        redis.resume();
        node.sees(true).await;
    });
}

#[test]
fn a_read_only_server_is_not_used() {
    testkit::run(async {
        let redis = Redis::start().await;
        redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
        let node = Node::start(&redis.url(), b"s");

        let refused = node.shared.reach().await.unwrap_err().to_string();

        assert!(refused.contains("OOM"), "{refused}");
        node.takes(1, 1).await.unwrap();
        node.takes(1, 1).await.unwrap_err();
        redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
        node.sees(true).await;
    });
}
