//! What becomes of memory that was freed.
//!
//! What is larger than 1 MiB goes back to the system at once, whichever allocator this is: kept
//! for reuse by each thread, the memory of large bodies would be resident a second time, where no
//! budget counts it.

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Sampling for heap profiles can be switched on later only if jemalloc was started prepared for
/// it. The diagnostics port does that; `MALLOC_CONF` in the environment wins. One allocation in
/// 128 KiB, for a server that has just started holds a few megabytes.
#[cfg(feature = "jemalloc")]
#[allow(unsafe_code, non_upper_case_globals)] // The name under which jemalloc looks for it.
#[unsafe(export_name = "malloc_conf")]
pub(crate) static malloc_conf: &[u8; 73] =
    b"prof:true,prof_active:false,lg_prof_sample:17,oversize_threshold:1048576\0";

/// Has glibc do what `oversize_threshold` says to jemalloc. By itself it raises its threshold to
/// the largest block that was ever freed, and keeps up to twice that in each of its arenas.
#[cfg(all(not(feature = "jemalloc"), target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)] // A call of C, which takes two numbers; no thread but this one runs yet.
pub(crate) fn give_large_memory_back() {
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20) };
}

/// jemalloc was configured when it was loaded; other allocators have nothing to configure.
#[cfg(not(all(not(feature = "jemalloc"), target_os = "linux", target_env = "gnu")))]
pub(crate) const fn give_large_memory_back() {}
