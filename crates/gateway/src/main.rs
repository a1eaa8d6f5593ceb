//! `newapi`: a price, a balance and a durable settlement in front of any HTTP API.
//!
//! This crate is the binary: command line, configuration, wiring, lifecycle, log and metrics.
//! The environment, files and the clock are read here and nowhere else.

mod app;
mod cli;
mod config;
mod connections;
mod cores;
mod head_timer;
mod health;
mod logging;
mod metrics;
mod mock_upstream;
mod probe;
mod process;
mod secret;
mod server;
mod signals;
mod supervisor;
mod wiring;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
