//! The throughput of the money path without any HTTP: hold and settle, each durable, by N callers.
//!
//! `cargo run --release -p ledger --example throughput -- DIR [DSN|-] [ACCOUNTS CALLERS]` prints
//! paid calls a second and the median latency of one: for these numbers of accounts and callers, or
//! for 1, 32 and 256 callers of one account and of a thousand.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::float_arithmetic)]

use domain::{
    Clock, FrozenPrice, HoldId, KeyId, NodeId, PriceRow, Pricing, Quota, Ratio, UnixMs, UserId,
};
use ledger::{HoldRequest, Ledger, LedgerConfig, Movement, Settlement};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{Db, DbConfig, Value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMs(i64::try_from(since.as_millis()).unwrap())
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap();
    let config = DbConfig {
        dsn: args.next().filter(|dsn| dsn != "-"),
        data_dir: dir.into(),
        max_connections: 5,
        connect_timeout_ms: 5000,
    };
    let db = Db::open(&config).await.unwrap();
    store::make_months(&db, now()).await.unwrap();
    let clock = Clock::new(now);
    let (node, jobs) = (NodeId(Uuid::now_v7()), TaskTracker::new());
    let stop = CancellationToken::new();
    let ledger =
        Ledger::start(db.clone(), node, LedgerConfig::default(), clock, &jobs, stop).await.unwrap();
    let users = users(&db, &ledger, 1000).await;
    let chosen: Vec<usize> = args.map(|arg| arg.parse().unwrap()).collect();
    let all = [(1000, 1), (1000, 32), (1000, 256), (1, 1), (1, 32), (1, 256)];
    let rounds =
        if let [accounts, callers] = chosen[..] { &[(accounts, callers)][..] } else { &all };
    for &(accounts, callers) in rounds {
        run(&ledger, &users[..accounts], callers).await;
    }
    ledger.drain().await;
    let report = ledger::audit(&db, now()).await.unwrap();
    println!("audit clean: {}", report.clean);
}

async fn users(db: &Db, ledger: &Ledger, count: usize) -> Vec<UserId> {
    let mut users = Vec::new();
    for _ in 0..count {
        let name = Value::Text(Uuid::now_v7().to_string());
        let sql = "INSERT INTO users (username) VALUES ($1) RETURNING id";
        users.push(UserId(db.write(sql, &[name]).await.unwrap()[0].get("id").unwrap()));
    }
    let deposits = users.iter().map(|&user_id| {
        let amount = Quota(1_000_000_000_000);
        let (reason, by, reference) = ("bench".into(), "bench".into(), None);
        ledger.deposit(Movement { user_id, amount, reason, by, reference, told: None })
    });
    futures_util::future::try_join_all(deposits).await.unwrap();
    users
}

fn price() -> Arc<FrozenPrice> {
    let row = PriceRow { fixed_quota: Some(Quota(100)), ..PriceRow::default() };
    match Pricing::freeze(Some(&row), Ratio::ONE, Ratio::ONE).unwrap() {
        Pricing::Priced(price) => Arc::new(price),
        Pricing::Free => unreachable!("the row has a price"),
    }
}

async fn run(ledger: &Ledger, users: &[UserId], callers: usize) {
    let until = Instant::now() + Duration::from_secs(3);
    let mut workers = Vec::new();
    for caller in 0..callers {
        let (ledger, users) = (ledger.clone(), users.to_vec());
        workers.push(tokio::spawn(async move {
            let (mut times, mut n) = (Vec::new(), caller);
            while Instant::now() < until {
                let started = Instant::now();
                paid_call(&ledger, users[n % users.len()]).await;
                times.push(started.elapsed());
                n += 37;
            }
            times
        }));
    }
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await.unwrap());
    }
    times.sort_unstable();
    println!(
        "{:4} accounts {callers:4} callers: {:7.0} calls/s, median {:6} us, p99 {:6} us",
        users.len(),
        times.len() as f64 / 3.0,
        times[times.len() / 2].as_micros(),
        times[times.len() * 99 / 100].as_micros(),
    );
}

async fn paid_call(ledger: &Ledger, user_id: UserId) {
    let request = HoldRequest {
        hold_id: HoldId(Uuid::now_v7()),
        user_id,
        key_id: KeyId(1),
        key_is_limited: false,
        channel_id: None,
        model: "model".into(),
        request_id: Uuid::now_v7().to_string().into(),
        amount: Quota(100),
        price: price(),
        deadline_at: now().plus_ms(60_000),
        task: None,
    };
    let mut hold = ledger.hold(request).await.unwrap();
    let settlement = Settlement { charge: Quota(100), ..Settlement::default() };
    ledger.settle(&mut hold, settlement).await.unwrap();
}
