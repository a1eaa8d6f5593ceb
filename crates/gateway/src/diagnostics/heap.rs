//! What holds memory, as jemalloc has sampled it.

use domain::Fault;

#[cfg(feature = "jemalloc")]
pub use sampled::{profile, start_sampling};

#[cfg(feature = "jemalloc")]
mod sampled {
    use super::{Fault, unsupported};
    use crate::diagnostics::failed;

    /// From now on some allocations are remembered with their stacks.
    pub async fn start_sampling() {
        jemalloc_pprof::activate_jemalloc_profiling().await;
    }

    pub async fn profile() -> Result<Vec<u8>, Fault> {
        let Some(control) = jemalloc_pprof::PROF_CTL.as_ref() else {
            return Err(unsupported("MALLOC_CONF has switched it off"));
        };
        let dump = || control.blocking_lock().dump_pprof();
        tokio::task::spawn_blocking(dump).await.map_err(failed)?.map_err(failed)
    }
}

#[cfg(not(feature = "jemalloc"))]
pub async fn start_sampling() {}

#[cfg(not(feature = "jemalloc"))]
pub async fn profile() -> Result<Vec<u8>, Fault> {
    Err(unsupported("this build has no jemalloc: cargo build --features jemalloc"))
}

fn unsupported(why: &str) -> Fault {
    let en = format!("no heap profile: {why}");
    Fault::new(domain::FaultKind::Unsupported, "此版本无法剖析内存", en)
}
