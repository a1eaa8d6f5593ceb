//! `newapi`: a price, a balance and a durable settlement in front of any HTTP API.
//!
//! This crate is the binary: command line, configuration, wiring, lifecycle and metrics.
//! The environment and the clock are read here and nowhere else; files, too, but for those that are
//! another crate's purpose (the database, the log, the profiles).
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod allocator;
mod app;
mod backup;
mod cli;
mod config;
mod doctor;
mod health;
mod memory_limit;
mod metrics;
mod mock_upstream;
mod probe;
mod process;
mod secret;
mod signals;
mod supervisor;
mod traces;
mod wiring;

fn main() -> std::process::ExitCode {
    allocator::give_large_memory_back();
    cli::main()
}
