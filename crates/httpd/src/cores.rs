//! The threads of the data plane: one per core, each with a runtime of its own.
//!
//! A call stays on one of them from its first byte to its last, including its upstream connection:
//! nothing is handed between threads, and nothing waits for another thread's lock.

use std::io;
use std::num::NonZero;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// Name resolution is the only blocking work here.
const MAX_BLOCKING_THREADS: usize = 16;
/// Shorter than the time limit of an upstream connection.
const TICK: Duration = Duration::from_secs(2);

/// The threads; they end when this is dropped.
pub struct Cores(Vec<Core>);

struct Core {
    runtime: Handle,
    /// Ends the thread when dropped.
    _end: oneshot::Sender<()>,
}

impl Cores {
    /// Starts this many threads; 0: one per core.
    ///
    /// # Errors
    /// When the system has no more threads or descriptors.
    pub fn start(count: usize) -> io::Result<Self> {
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            given => given,
        };
        (0..count).map(Core::start).collect::<io::Result<_>>().map(Self)
    }

    /// Their runtimes.
    pub fn runtimes(&self) -> impl ExactSizeIterator<Item = &Handle> {
        self.0.iter().map(|core| &core.runtime)
    }
}

impl Core {
    fn start(number: usize) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        let builder = builder.max_blocking_threads(MAX_BLOCKING_THREADS).enable_all();
        let runtime = builder.thread_name(format!("core-{number}-block")).build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("core-{number}"));
        thread.spawn(move || run(runtime, ended))?;
        Ok(Self { runtime: handle, _end: end })
    }
}

fn run(runtime: Runtime, mut ended: oneshot::Receiver<()>) {
    runtime.block_on(async {
        // A timer that is due before all others has the runtime wake itself by a system call.
        // This one is always due before those of a call.
        while tokio::time::timeout(TICK, &mut ended).await.is_err() {}
    });
    // A name that can't be resolved must not delay the exit of the process.
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_on_the_core_it_was_given_to() {
        let cores = Cores::start(2).unwrap();
        let mut names = Vec::new();
        for runtime in cores.runtimes() {
            let name = async { std::thread::current().name().map(str::to_owned) };
            names.push(runtime.spawn(name).await.unwrap().unwrap());
        }
        assert_eq!(names, ["core-0", "core-1"]);
    }
}
