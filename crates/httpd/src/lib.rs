//! The HTTP server: HTTP/1.1 connections, one function call per request. `axum::serve` has no
//! limits on heads, idle connections and slow readers; this has, and nothing else.
//!
//! [`serve`] accepts connections and spreads them over places, usually the threads of [`Cores`].
//! Used for clients, for metrics and diagnostics, and by the trial upstream.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod connection_metrics;
mod connections;
mod cores;
mod head_timer;
mod request_rules;
mod server;
mod write_guard;

pub use connection_metrics::ConnectionMetrics;
pub use cores::Cores;
pub use server::{Limits, Place, Stop, listen, serve};
