//! Waiting that can be ended, and trying again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Cause, DownloadOptions, Event, FetchError};

/// A server may ask for patience, but not for more than this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Ends all fetching of a [`Downloader`](super::Downloader), for good.
#[derive(Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    /// Held while a flag that waiters look at is changed, so that none of them misses it.
    changing: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// Ends it. May be called from any thread, and more than once.
    pub fn stop(&self) {
        self.change(&self.0.stopped);
    }

    fn change(&self, flag: &AtomicBool) {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        flag.store(true, Ordering::Relaxed);
        self.0.changed.notify_all();
    }
}

/// What one run waits at: closed by [`Stop`], or when the run has failed elsewhere.
pub(super) struct Gate<'a> {
    stop: &'a Stop,
    closed: AtomicBool,
}

/// Why an attempt has not led to the end.
pub(super) enum Trouble {
    /// It is over.
    Final(FetchError),
    /// The same, by a cause that no other attempt could change.
    Hopeless(Cause),
    /// Another attempt may.
    Passing {
        cause: Cause,
        /// What the server asks for.
        after: Option<Duration>,
        /// Whether so much has arrived that the attempts are counted anew.
        advanced: bool,
    },
}

impl Trouble {
    pub(super) fn passing(cause: Cause) -> Self {
        Self::Passing { cause, after: None, advanced: false }
    }
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

impl<'a> Gate<'a> {
    pub(super) fn new(stop: &'a Stop) -> Self {
        Self { stop, closed: AtomicBool::new(false) }
    }

    /// Ends this run, because one of its items has failed.
    pub(super) fn close(&self) {
        self.stop.change(&self.closed);
    }

    /// # Errors
    /// [`FetchError::Interrupted`] if the run is to end.
    pub(super) fn check(&self) -> Result<(), FetchError> {
        if self.stop.0.stopped.load(Ordering::Relaxed) || self.closed.load(Ordering::Relaxed) {
            return Err(FetchError::Interrupted);
        }
        Ok(())
    }

    /// Returns after `time`, or at once with an error when the run is to end.
    pub(super) fn wait(&self, time: Duration) -> Result<(), FetchError> {
        let shared = &*self.stop.0;
        let until = Instant::now() + time;
        let mut guard = shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            guard = shared.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Calls `attempt` until it succeeds, fails for good, or has failed too often in a row.
    pub(super) fn persist<T>(
        &self,
        options: &DownloadOptions,
        name: &str,
        url: &str,
        report: &mut dyn FnMut(Event),
        attempt: &mut dyn FnMut() -> Result<T, Trouble>,
    ) -> Result<T, FetchError> {
        let unreachable = |attempts, source| {
            let (name, url) = (name.to_owned(), url.to_owned());
            FetchError::Unreachable { name, url, attempts, source }
        };
        let mut failed: u32 = 0;
        loop {
            self.check()?;
            let (cause, after, advanced) = match attempt() {
                Ok(done) => return Ok(done),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Hopeless(cause)) => return Err(unreachable(failed + 1, cause)),
                Err(Trouble::Passing { cause, after, advanced }) => (cause, after, advanced),
            };
            failed = if advanced { 1 } else { failed + 1 };
            tracing::debug!(url, failed, %cause, "attempt failed");
            if failed > options.retries {
                return Err(unreachable(failed, cause));
            }
            let wait = back_off(options, failed).max(after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
            report(Event::Waiting { attempt: failed, wait, because: cause.to_string() });
            self.wait(wait)?;
        }
    }
}

/// Doubles with each failure; half of it is chance, so that many clients do not come back at the same moment.
fn back_off(options: &DownloadOptions, failed: u32) -> Duration {
    let doubled = options.first_wait.saturating_mul(2u32.saturating_pow(failed - 1));
    let half = doubled.min(options.longest_wait) / 2;
    let chance = u32::try_from(RandomState::new().build_hasher().finish() % 1000).expect("below 1000");
    half + half * chance / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_fall_below_half() {
        let options = DownloadOptions {
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(1),
            ..DownloadOptions::default()
        };
        for (failed, full) in [(1, 100), (2, 200), (4, 800), (5, 1000), (40, 1000)] {
            let wait = back_off(&options, failed);
            let full = Duration::from_millis(full);
            assert!(wait >= full / 2 && wait <= full, "{failed}: {wait:?}");
        }
    }

    #[test]
    fn a_stop_ends_a_wait_that_has_begun() {
        let stop = Stop::default();
        let gate = Gate::new(&stop);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| gate.wait(Duration::from_secs(600)));
            stop.stop();
            assert!(matches!(waiter.join().unwrap(), Err(FetchError::Interrupted)));
        });
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
