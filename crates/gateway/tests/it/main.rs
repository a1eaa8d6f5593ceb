//! The black-box suite: the real binary, a scripted upstream and a fresh database for every test.
//!
//! Each module is a concern, each test a user's session that ends in a clean audit. Run it with
//! `cargo xtask test`, or one test of it with `cargo xtask pg -- cargo test -p world --test it
//! NAME`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::large_futures)]

#[macro_use]
mod world;

mod access_tokens;
mod accounts;
mod asked_usage;
mod backup;
mod balance;
mod browser;
mod channels;
mod cluster;
mod commands;
mod concurrency;
mod console;
mod counted;
mod crash;
mod database;
mod diagnostics;
mod disk;
mod doctor;
mod errors;
mod estimate;
mod examined;
mod front;
mod guard;
mod held;
mod idempotency;
mod journal;
mod keys;
mod limits;
mod live;
mod locked;
mod low_balance;
mod malformed;
mod memory;
mod metered;
mod methods;
mod metrics;
mod nodes;
mod observe;
mod openapi;
mod own_api;
mod pages;
mod pages_prices;
mod pages_protocols;
mod paid;
mod poller;
mod pooler;
mod priced;
mod protocols;
mod redemption;
mod requests;
mod resources;
mod rights;
mod scripts;
mod secrets;
mod settings;
mod setup;
mod setup_rules;
mod shutdown;
mod slow_clients;
mod spending;
mod spoken;
mod stale;
mod storm;
mod stream_end;
mod streams;
mod streams_cut;
mod submit;
mod submit_crash;
mod supervised;
mod task_life;
mod task_view;
mod timeouts;
mod traces;
mod upstreams;
mod v1;
mod webhooks;
mod wire;
