//! Waiting for something that happens elsewhere, with one limit for all waits.

use std::future::Future;
use std::time::Duration;

/// The longest that a test waits for one thing before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The longest that a whole test may take.
const TEST_LIMIT: Duration = Duration::from_secs(300);

/// Awaits `future`, and fails the test with `what` when that takes longer than [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out after {PATIENCE:?} waiting for: {what}"),
    }
}

/// Polls until `probe` returns `Some`, and fails with `what` after [`PATIENCE`].
pub async fn eventually<T, F, Fut>(what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    within(what, async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Runs a test body on a runtime of its own, and fails it when it does not end.
pub fn run(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for the test");
    let limited = async { tokio::time::timeout(TEST_LIMIT, Box::pin(body)).await };
    if runtime.block_on(limited).is_err() {
        panic!("the test did not end within {TEST_LIMIT:?}");
    }
    runtime.shutdown_timeout(Duration::from_secs(5));
}
