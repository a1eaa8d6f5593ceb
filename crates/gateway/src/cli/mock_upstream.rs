//! `newapi mock-upstream`: something to point a channel at.

use super::out;
use crate::{mock_upstream, signals};
use anyhow::Context;
use httpd::Stop;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

/// Serves a scripted upstream on the loopback interface, for trying things out.
///
/// It answers like a chat API and always counts 20 prompt and 60 completion tokens. In the query
/// it can be asked for something else: prompt_tokens=N, completion_tokens=N, estimate_tokens=N,
/// usage=off, status=N, code=N, delay_ms=N, cut=true. A path that ends in /submit takes a task,
/// which is done at the second question about it (polls=N), or has failed then (outcome=failed). A
/// path that ends in /echo returns the body.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Port to serve on; 0 takes a free one.
    #[arg(long, default_value_t = 9000)]
    port: u16,
}

/// Runs it until a signal ends it.
///
/// # Errors
/// When the port can't be had.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = httpd::listen(address).with_context(|| address.to_string())?;
    let address = listener.local_addr()?;
    out::line(format_args!("the scripted upstream listens on http://{address}"));
    let stop = Stop::default();
    let job = tokio::spawn(mock_upstream::serve(listener, stop.clone()));
    signals::stop_requested().await;
    stop.accepting.cancel();
    stop.now.cancel();
    job.await?;
    Ok(ExitCode::SUCCESS)
}
