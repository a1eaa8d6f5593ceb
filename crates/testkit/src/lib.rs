//! Support for the black-box tests: a scripted upstream, a fresh database on either engine, the
//! real binary as a child process, and a small client for its HTTP surfaces.
//!
//! This crate depends on none of the crates under test, so that it sees what a user sees.
//! It panics where a test would: an assertion that fails here is a test that fails.
//!
//! ```ignore
//! on_both_databases! {
//!     async fn a_call_is_charged(db: TestDb) {
//!         let upstream = Upstream::start().await;
//!         upstream.on("/m", Reply::result(10, 20));
//!         let server = Server::start(env!("CARGO_BIN_EXE_newapi"), &db).await;
//!         let ann = server.admin().set_up(&upstream, "m", json!({"ratio": 2.0}), 1_000).await;
//!         let answer = server.call("POST", "/pass/m").key(&ann.key).json(&json!({})).send().await;
//!         answer.expect(200);
//!         assert_eq!(server.admin().user_quota(ann.user_id).await, 940);
//!         server.audit_clean().await;
//!     }
//! }
//! ```
// Test support: it reports by panicking, and explains on standard error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

pub mod api;
pub mod client;
pub mod db;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod redis;
pub mod server;
pub mod upstream;
mod wait;
mod watchdog;

pub use api::{Admin, Paid, Token};
pub use client::{Answer, Call, RawClient, StreamAnswer};
pub use db::{Engine, Row, TestDb, Transaction};
pub use pgbouncer::Pgbouncer;
pub use postgres::Postgres;
pub use redis::Redis;
pub use server::{ROOT_PASSWORD, Server, ServerBuilder, Signal};
pub use upstream::{Gate, RawServer, Recorded, Reply, Step, Upstream, gzip};
pub use wait::{PATIENCE, eventually, run, within};

#[doc(hidden)]
pub use serde_json::json;

/// Writes each test twice: `name::sqlite` and `name::postgres`.
///
/// Every body gets a fresh [`TestDb`], which goes away when the body is done with it.
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident : $ty:ty) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn body($db: $ty) $body

            $(#[$meta])*
            #[test]
            fn sqlite() {
                $crate::run(async { body($crate::TestDb::sqlite().await).await })
            }

            $(#[$meta])*
            #[test]
            fn postgres() {
                $crate::run(async { body($crate::TestDb::postgres().await).await })
            }
        }
    )+};
}
