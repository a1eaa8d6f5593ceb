//! Where processor time goes: a sample of all running threads, some times a second.

use super::failed;
use domain::{Fault, FaultKind};
use pprof::ProfilerGuardBuilder;
use pprof::protos::Profile;
use std::time::Duration;
use tokio::sync::Semaphore;

/// As many samples a second as other profilers take; not a divisor of anything periodic.
const FREQUENCY: i32 = 99;
const DEFAULT_SECONDS: u64 = 30;
const MAX_SECONDS: u64 = 60;
/// A sample is taken in a signal handler, where walking the stack from within these can wait for
/// a lock that the interrupted thread holds.
const NOT_WALKED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// There is one timer a process, so one profile at a time.
static TURN: Semaphore = Semaphore::const_new(1);

/// Takes samples for `seconds`.
pub async fn profile(seconds: Option<&str>) -> Result<Profile, Fault> {
    let pause = Duration::from_secs(read(seconds)?);
    let Ok(_turn) = TURN.try_acquire() else {
        let (zh, en) = ("已有剖析正在进行", "a profile is being taken already");
        return Err(Fault::new(FaultKind::Conflict, zh, en));
    };
    let sampling = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&NOT_WALKED);
    let sampling = sampling.build().map_err(failed)?;
    tokio::time::sleep(pause).await;
    // Finding the names of functions reads the binary's debug information, which takes a while.
    let named = tokio::task::spawn_blocking(move || sampling.report().build()?.pprof());
    named.await.map_err(failed)?.map_err(failed)
}

fn read(seconds: Option<&str>) -> Result<u64, Fault> {
    let Some(text) = seconds else { return Ok(DEFAULT_SECONDS) };
    let wanted = text.parse().ok().filter(|wanted| (1..=MAX_SECONDS).contains(wanted));
    wanted.ok_or_else(|| {
        let zh = format!("seconds 须在 1 到 {MAX_SECONDS} 之间");
        let en = format!("seconds must be 1 to {MAX_SECONDS}");
        Fault::new(FaultKind::InvalidRequest, zh, en)
    })
}
