//! Heap profiles, as sampled by jemalloc.

use domain::{Fault, UnixMs};
use pprof::protos::Profile;

#[cfg(feature = "jemalloc")]
pub(crate) use sampled::profile;
#[cfg(feature = "jemalloc")]
pub use sampled::start_sampling;

#[cfg(feature = "jemalloc")]
mod sampled {
    use super::{Fault, Profile, UnixMs, unsupported};
    use crate::failed;
    use crate::stacks::{self, Measure, Stack};
    use jemalloc_pprof::WeightedStack;

    /// Prefixes of functions that allocate on behalf of others: the allocator, its callers, and
    /// growing collections. The memory is attributed to their caller.
    const ALLOCATING: [&str; 16] = [
        "je_",
        "prof_",
        "malloc",
        "calloc",
        "realloc",
        "imalloc",
        "iralloc",
        "do_ralloc",
        "<tikv_jemallocator::",
        "__rust",
        "alloc::",
        "<alloc::",
        "hashbrown::",
        "<hashbrown::",
        "sqlite3Mem",
        "sqlite3Malloc",
    ];

    /// Starts sampling allocations with their stacks.
    pub async fn start_sampling() {
        jemalloc_pprof::activate_jemalloc_profiling().await;
    }

    pub(crate) async fn profile(now: UnixMs) -> Result<Profile, Fault> {
        let Some(control) = jemalloc_pprof::PROF_CTL.as_ref() else {
            return Err(unsupported("MALLOC_CONF has switched it off"));
        };
        let dump = move || {
            let mut control = control.blocking_lock();
            let period = 1 << control.lg_sample();
            let dumped = control.dump_profile().map_err(failed)?;
            let stacks = dumped.stacks.into_iter().map(|(stack, _)| held(stack));
            let bytes = ("space", "bytes");
            let measure = Measure {
                values: &[("inuse_space", "bytes")],
                period: (bytes, period),
                time_nanos: now.0.saturating_mul(1_000_000),
                duration_nanos: 0,
                hidden: |names| names.iter().take_while(|name| is_allocating(name)).count(),
                interrupts: false,
            };
            stacks::profile(&measure, stacks.collect()).map_err(failed)
        };
        tokio::task::spawn_blocking(dump).await.map_err(failed)?
    }

    fn is_allocating(name: &str) -> bool {
        ALLOCATING.iter().any(|beginning| name.starts_with(beginning))
    }

    fn held(stack: WeightedStack) -> Stack {
        let addresses = stack.addrs.into_iter().rev().map(|address| address as u64);
        #[allow(clippy::cast_possible_truncation)] // A number of bytes, which memory has.
        let bytes = stack.weight as i64;
        Stack { addresses: addresses.collect(), values: vec![bytes], thread: None }
    }
}

/// Starts sampling allocations with their stacks; fails without jemalloc.
#[cfg(not(feature = "jemalloc"))]
pub async fn start_sampling() {}

#[cfg(not(feature = "jemalloc"))]
pub(crate) async fn profile(_now: UnixMs) -> Result<Profile, Fault> {
    Err(unsupported("this build has no jemalloc: cargo build --features jemalloc"))
}

fn unsupported(why: &str) -> Fault {
    let en = format!("no heap profile: {why}");
    Fault::new(domain::FaultKind::Unsupported, "此版本无法剖析内存", en)
}
