//! Files by HTTP, each proven by the size and SHA-256 that a lock gives.
//!
//! **A destination either does not exist or holds exactly the bytes that were asked for**, after any failure, kill or
//! power cut and with any number of builds at once.
//!
//! ```text
//!   dest is there, right size and hash ──────────────────────────────────────────────────▶ present
//!   else: lock dest.part ▶ hash what it holds ▶ GET from there ▶ append, hash ▶ size, hash right?
//!              ▲                                                    │              │ yes: fsync, rename ▶ done
//!              └──── wait, with back-off: 5xx, 408, 429, broken, ◀──┘              └ no: empty it, once more from 0,
//!                    stalled, ended early; keeps what has arrived                        then Trust
//! ```
//! Order of writes: content to `dest.part`, fsync, rename. A cut before the rename leaves a part that the next run
//! goes on with; its hash tells whether the file system kept it well. The folder is not synced: a lost rename costs
//! one download. Two builds that want the same file take turns by a lock on the part, and the second finds it done.
//! A server is never trusted to send what was asked for, or no more than that: one that ignores the range starts the
//! file again, one that announces another length is not read at all, and after `size` bytes reading ends.
//!
//! Left out: mirrors of mirrors and parallel ranges of one file (packages are small and many), HTTP caching headers
//! (what a lock names never changes), stamps for files already proven (hashing runs at the speed of the disk).
//! Source: RFC 9110 §14 (ranges), §10.2.3 (Retry-After).

mod error;
mod http;
mod one;
mod pace;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use error::{Cause, FetchError, Mismatch};
pub use pace::Stop;

use one::{Fetched, Job};
use pace::{Gate, Trouble};

/// How files are fetched.
#[derive(Clone, Debug)]
pub struct DownloadOptions {
    /// Files at once.
    pub parallel: usize,
    /// Attempts after the first one that failed, counted again whenever a good piece has arrived.
    pub retries: u32,
    /// No request is made; what is missing is an error.
    pub offline: bool,
    /// PEM file with the certificate authorities to trust in place of the built-in ones.
    pub certificates: Option<PathBuf>,
    /// How long a server may be silent.
    pub stall: Duration,
    /// The wait before the first retry; it doubles with each.
    pub first_wait: Duration,
    /// The longest wait that doubling leads to.
    pub longest_wait: Duration,
}

impl Default for DownloadOptions {
    /// Eight at once, five retries; certificates from `SSL_CERT_FILE` as OpenSSL and curl take them.
    fn default() -> Self {
        Self {
            parallel: 8,
            retries: 5,
            offline: false,
            certificates: std::env::var_os("SSL_CERT_FILE").map(PathBuf::from),
            stall: Duration::from_secs(30),
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(20),
        }
    }
}

/// A file to be had.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it is.
    pub url: String,
    /// The package it belongs to, as `xenolith lock --update` takes it.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Where it goes; folders on the way are made. `.part` behind it names the unfinished file.
    pub dest: PathBuf,
}

/// Something happened to an item.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The item.
    pub item: &'a Item,
    /// Its place in the list.
    pub index: usize,
    /// What happened.
    pub event: Event,
    /// Bytes in place or in parts, of all items together. May fall back.
    pub done: u64,
    /// The sizes of all items together.
    pub total: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was there already.
    Present,
    /// A request is made for everything from this byte on.
    Started {
        /// Bytes that an earlier attempt or run has left.
        from: u64,
    },
    /// So many of its bytes are there. May fall back to 0.
    At(u64),
    /// An attempt failed and another will be made.
    Waiting {
        /// The number of the attempt that failed, from 1.
        attempt: u32,
        /// Until the next.
        wait: Duration,
        /// Why it failed.
        because: String,
    },
    /// Another process fetches this file.
    Elsewhere,
    /// It is in its place.
    Done,
}

/// What [`Downloader::fetch_all`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were there already.
    pub present: usize,
    /// Files that were fetched.
    pub fetched: usize,
    /// Bytes that came over the network, those in vain included.
    pub bytes: u64,
    /// Bytes that earlier runs had left in parts.
    pub resumed: u64,
    /// Attempts that failed.
    pub failures: u64,
}

/// Fetches files. Connections are kept open and shared by all calls.
pub struct Downloader {
    options: DownloadOptions,
    agent: ureq::Agent,
    stop: Stop,
}

impl Downloader {
    /// Proxies are taken from the usual environment variables. Certificates that cannot be read are warned about, and
    /// the built-in ones used.
    pub fn new(options: DownloadOptions) -> Self {
        let agent = http::agent(&options);
        Self { options, agent, stop: Stop::default() }
    }

    /// A handle that ends all fetching, for whoever gets the Ctrl-C. Waits end at once, a running read after the next
    /// piece or when the server has been silent for too long.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Brings every item to its place. `progress` is called from several threads.
    ///
    /// # Errors
    /// [`FetchError::Gone`] names every item that the mirror no longer has, after all others were fetched. All other
    /// errors end the run at once; what has arrived stays for the next.
    pub fn fetch_all(
        &self,
        items: &[Item],
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Summary, FetchError> {
        let run = Run {
            downloader: self,
            gate: Gate::new(&self.stop),
            next: AtomicUsize::new(0),
            results: Mutex::default(),
            positions: items.iter().map(|_| AtomicU64::new(0)).collect(),
            done: AtomicU64::new(0),
            total: sum_of_sizes(items.iter()),
            progress,
        };
        // The largest first: a large file that starts last would leave the other threads idle.
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(items[*index].size));
        std::thread::scope(|scope| {
            for _ in 0..self.options.parallel.clamp(1, items.len().max(1)) {
                scope.spawn(|| run.work(items, &order));
            }
        });
        let results = run.results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.conclude(items)
    }

    /// The whole of a small file of which neither size nor hash is known yet, `max` bytes at most.
    ///
    /// # Errors
    /// [`FetchError::TooLarge`] beyond `max`; [`FetchError::NotFound`]; [`FetchError::Offline`].
    pub fn fetch_small(&self, url: &str, max: u64) -> Result<Vec<u8>, FetchError> {
        if self.options.offline {
            return Err(FetchError::Offline { missing: 1, bytes: 0, first: vec![url.to_owned()] });
        }
        let gate = Gate::new(&self.stop);
        let result =
            gate.persist(&self.options, url, url, &mut |_| {}, &mut || self.small_once(&gate, url, max));
        result.map_err(|error| match error {
            FetchError::Gone { url, status, .. } => FetchError::NotFound { url, status },
            other => other,
        })
    }

    fn small_once(&self, gate: &Gate<'_>, url: &str, max: u64) -> Result<Vec<u8>, Trouble> {
        let mut answer = http::get(&self.agent, url, url, 0)?;
        if answer.length.is_some_and(|length| length > max) {
            return Err(Trouble::Final(FetchError::TooLarge { url: url.to_owned(), max }));
        }
        let mut content = Vec::new();
        let mut buffer = vec![0; http::BUFFER];
        loop {
            gate.check()?;
            match http::read(&mut answer.body, &mut buffer)? {
                0 => return Ok(content),
                read => content.extend_from_slice(&buffer[..read]),
            }
            if u64::try_from(content.len()).is_ok_and(|length| length > max) {
                return Err(Trouble::Final(FetchError::TooLarge { url: url.to_owned(), max }));
            }
        }
    }
}

struct Run<'a> {
    downloader: &'a Downloader,
    gate: Gate<'a>,
    next: AtomicUsize,
    results: Mutex<Results>,
    /// How many bytes of each item are there; `done` is their sum.
    positions: Vec<AtomicU64>,
    done: AtomicU64,
    total: u64,
    progress: &'a (dyn Fn(Progress<'_>) + Sync),
}

#[derive(Default)]
struct Results {
    summary: Summary,
    missing: Vec<usize>,
    gone: Vec<(usize, FetchError)>,
    failed: Option<FetchError>,
}

impl Run<'_> {
    fn work(&self, items: &[Item], order: &[usize]) {
        while let Some(index) = order.get(self.next.fetch_add(1, Ordering::Relaxed)).copied() {
            let item = &items[index];
            let report = |event| self.report(item, index, event);
            let job = Job {
                item,
                agent: &self.downloader.agent,
                options: &self.downloader.options,
                gate: &self.gate,
                report: &report,
            };
            let result = job.run();
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(fetched) => results.count(index, &fetched),
                Err(gone @ FetchError::Gone { .. }) => results.gone.push((index, gone)),
                Err(error) => {
                    // The first failure is the cause; what it interrupts elsewhere is not.
                    results.failed.get_or_insert(error);
                    drop(results);
                    self.gate.close();
                    return;
                }
            }
        }
    }
}

impl Run<'_> {
    fn report(&self, item: &Item, index: usize, event: Event) {
        let position = match event {
            Event::Present | Event::Done => Some(item.size),
            Event::Started { from } | Event::At(from) => Some(from),
            Event::Waiting { .. } | Event::Elsewhere => None,
        };
        if let Some(position) = position {
            // One thread has the item, so nothing comes between; together the two stay a sum, whatever the order.
            let before = self.positions[index].swap(position, Ordering::Relaxed);
            self.done.fetch_add(position, Ordering::Relaxed);
            self.done.fetch_sub(before, Ordering::Relaxed);
        }
        let done = self.done.load(Ordering::Relaxed);
        (self.progress)(Progress { item, index, event, done, total: self.total });
    }
}

impl Results {
    fn count(&mut self, index: usize, fetched: &Fetched) {
        match fetched {
            Fetched::Present => self.summary.present += 1,
            Fetched::Missing => self.missing.push(index),
            Fetched::Now { bytes, resumed, failures } => {
                self.summary.fetched += 1;
                self.summary.bytes += bytes;
                self.summary.resumed += resumed;
                self.summary.failures += failures;
            }
        }
    }

    fn conclude(mut self, items: &[Item]) -> Result<Summary, FetchError> {
        /// Enough to see what is missing; the number says how many more.
        const NAMED: usize = 5;
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.gone.sort_by_key(|(index, _)| *index);
        let mut gone = self.gone.into_iter();
        if let Some((first, error)) = gone.next() {
            let mut names: Vec<String> = gone.map(|(index, _)| items[index].name.clone()).collect();
            names.dedup();
            names.retain(|name| *name != items[first].name);
            return Err(error.and_also(names));
        }
        self.missing.sort_unstable();
        if !self.missing.is_empty() {
            return Err(FetchError::Offline {
                missing: self.missing.len(),
                bytes: sum_of_sizes(self.missing.iter().map(|index| &items[*index])),
                first: self.missing.iter().take(NAMED).map(|index| items[*index].name.clone()).collect(),
            });
        }
        Ok(self.summary)
    }
}

/// Sizes come from a lock file and may be anything.
fn sum_of_sizes<'a>(items: impl Iterator<Item = &'a Item>) -> u64 {
    items.fold(0, |sum, item| sum.saturating_add(item.size))
}
