//! CPU profiles: samples of all running threads, some times a second.

use super::failed;
use super::stacks::{self, Measure, NamedUnit, Stack};
use domain::{Fault, FaultKind};
use pprof::protos::Profile;
use pprof::{ProfilerGuard, ProfilerGuardBuilder, UnresolvedReport};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

/// As many samples per second as other profilers take; not a divisor of anything periodic.
const FREQUENCY: i32 = 99;
const PERIOD_NANOS: i64 = 1_000_000_000 / FREQUENCY as i64;
const CPU: NamedUnit = ("cpu", "nanoseconds");
const DEFAULT_SECONDS: u64 = 30;
const MAX_SECONDS: u64 = 60;
/// A sample is taken in a signal handler. Within these libraries, walking the stack can wait for a
/// lock that the interrupted thread holds, or fail. The C library is not among them: calls wait for
/// the kernel there, which is most of a gateway's time.
const NOT_WALKED: [&str; 3] = ["libgcc", "pthread", "vdso"];

/// There is one timer per process, so one profile at a time.
static TURN: Semaphore = Semaphore::const_new(1);

/// Samples are taken while this lives.
struct Sampling {
    guard: ProfilerGuard<'static>,
    _turn: SemaphorePermit<'static>,
}

/// Takes samples for `seconds`.
pub(crate) async fn profile(seconds: Option<&str>) -> Result<Profile, Fault> {
    let pause = Duration::from_secs(read(seconds)?);
    let Ok(turn) = TURN.try_acquire() else {
        let (zh, en) = ("已有剖析正在进行", "a profile is being taken already");
        return Err(Fault::new(FaultKind::Conflict, zh, en));
    };
    let sampling = spawn_blocking(|| Sampling::start(turn)).await.map_err(failed)?;
    let sampling = sampling.map_err(failed)?;
    tokio::time::sleep(pause).await;
    spawn_blocking(|| sampling.end()).await.map_err(failed)?
}

impl Sampling {
    fn start(turn: SemaphorePermit<'static>) -> pprof::Result<Self> {
        let builder = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&NOT_WALKED);
        let guard = builder.build()?;
        // This walks and resolves a stack, so that the unwinder is initialised before the signal
        // handler needs it. The debug information read for the names takes a hundred megabytes.
        backtrace::clear_symbol_cache();
        Ok(Self { guard, _turn: turn })
    }

    fn end(self) -> Result<Profile, Fault> {
        let report = self.guard.report().build_unresolved().map_err(failed)?;
        drop(self);
        named(&report).map_err(failed)
    }
}

fn named(report: &UnresolvedReport) -> std::io::Result<Profile> {
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let measure = Measure {
        values: &[("samples", "count"), CPU],
        period: (CPU, PERIOD_NANOS),
        time_nanos: nanos(report.timing.start_time.duration_since(UNIX_EPOCH).unwrap_or_default()),
        duration_nanos: nanos(report.timing.duration),
        hidden: |names| {
            // Our handler, and the kernel's frame that calls it.
            let handler = names.iter().position(|name| *name == "perf_signal_handler");
            handler.map_or(0, |handler| handler + 2)
        },
        interrupts: true,
    };
    let stacks = report.data.iter().map(|(frames, count)| {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        let name = frames.thread_name.get(..frames.thread_name_length).unwrap_or_default();
        Stack {
            addresses: frames.frames.iter().map(|frame| frame.ip() as u64).collect(),
            values: vec![count, count.saturating_mul(PERIOD_NANOS)],
            thread: Some(String::from_utf8_lossy(name).into_owned()),
        }
    });
    stacks::profile(&measure, stacks.collect())
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
