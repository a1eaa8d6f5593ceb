//! What the system reports about this process, and the limit that is raised for it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are kept back from connections: database, log, metrics, upstreams' DNS.
const RESERVED_DESCRIPTORS: u64 = 256;
/// What is assumed where there is no limit.
const UNLIMITED_DESCRIPTORS: u64 = 1 << 20;

/// Raises the descriptor limit to its maximum, and returns the new limit.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(UNLIMITED_DESCRIPTORS)
}

/// Client connections that `descriptors` are enough for: each may need a second one upstream.
pub(crate) fn connections_for(descriptors: u64) -> usize {
    let half = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2;
    usize::try_from(half).unwrap_or(usize::MAX).max(16)
}

/// The descriptor limit as it stands.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED_DESCRIPTORS)
}

/// Resident memory, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

/// Open descriptors.
pub(crate) fn open_descriptors() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    // One of them is the directory itself.
    u64::try_from(entries.count().saturating_sub(1)).ok()
}

/// Threads.
pub(crate) fn threads() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(open_descriptors().is_some_and(|count| count >= 3));
        assert!(threads().is_some_and(|count| count >= 1));
        assert_eq!(connections_for(20_000), 9_872);
        assert_eq!(connections_for(0), 16);
    }
}
