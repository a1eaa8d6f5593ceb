//! `newapi`: a price, a balance and a durable settlement in front of any HTTP API.
//!
//! This crate is the binary: command line, configuration, wiring, lifecycle, log and metrics.
//! The environment, files and the clock are read here and nowhere else.
#![warn(clippy::disallowed_methods)]

mod app;
mod backup;
mod cli;
mod config;
mod connections;
mod cores;
mod diagnostics;
mod head_timer;
mod health;
mod logging;
mod memory_limit;
mod metrics;
mod mock_upstream;
mod probe;
mod process;
mod secret;
mod server;
mod signals;
mod supervisor;
mod traces;
mod wiring;
mod write_guard;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Sampling for heap profiles can be switched on later only if jemalloc was started prepared for
/// it. The diagnostics port does that; `MALLOC_CONF` in the environment wins. One allocation in
/// 128 KiB, for a server that has just started holds a few megabytes.
///
/// What is larger than 1 MiB goes back to the system at once: kept for reuse by each thread, the
/// memory of large bodies would be resident a second time, where no budget counts it.
#[cfg(feature = "jemalloc")]
#[allow(unsafe_code, non_upper_case_globals)] // The name under which jemalloc looks for it.
#[unsafe(export_name = "malloc_conf")]
pub static malloc_conf: &[u8; 73] =
    b"prof:true,prof_active:false,lg_prof_sample:17,oversize_threshold:1048576\0";

fn main() -> std::process::ExitCode {
    cli::main()
}
