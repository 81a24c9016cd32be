//! One file, from its part to its place.

use std::cell::Cell;
use std::fs::TryLockError;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err::File;
use sha2::{Digest, Sha256};

use super::http::{self, Answer, BUFFER};
use super::pace::{Gate, Trouble};
use super::{Cause, DownloadOptions, Event, FetchError, Item, Mismatch};

/// An attempt that brought this much has not failed at once: attempts are counted anew.
const GOOD_PIECE: u64 = 256 << 10;
/// How often we look whether another process is done with a part.
const ELSEWHERE: Duration = Duration::from_millis(200);

/// How an item came to its place.
pub(super) enum Fetched {
    Present,
    /// It is not there, and no request may be made.
    Missing,
    Now {
        bytes: u64,
        resumed: u64,
        failures: u64,
    },
}

pub(super) struct Job<'a> {
    pub item: &'a Item,
    pub agent: &'a ureq::Agent,
    pub options: &'a DownloadOptions,
    pub gate: &'a Gate<'a>,
    pub report: &'a dyn Fn(Event),
}

/// The unfinished file: what it holds, and the hash of that.
struct PartFile {
    file: File,
    length: u64,
    hash: Sha256,
}

impl Job<'_> {
    pub(super) fn run(&self) -> Result<Fetched, FetchError> {
        self.gate.check()?;
        if self.present()? {
            (self.report)(Event::Present);
            return Ok(Fetched::Present);
        }
        if self.options.offline {
            return Ok(Fetched::Missing);
        }
        let Some(mut part) = self.open_part()? else {
            (self.report)(Event::Present);
            return Ok(Fetched::Present);
        };
        let (resumed, bytes, failures) = (part.length, Cell::new(0), Cell::new(0));
        let mut again = false;
        loop {
            let mut report = |event| {
                failures.set(failures.get() + 1);
                (self.report)(event);
            };
            let result =
                self.gate.persist(self.options, &self.item.name, &self.item.url, &mut report, &mut || {
                    self.attempt(&mut part, &bytes)
                });
            let mismatch = match result? {
                None => break,
                Some(mismatch) => mismatch,
            };
            // Once more from zero: the part of an earlier run may be what is wrong, or a cache on the way.
            part.clear().map_err(|error| self.failed("empty", &self.part_path(), error))?;
            (self.report)(Event::At(0));
            if again {
                return Err(FetchError::Trust {
                    name: self.item.name.clone(),
                    url: self.item.url.clone(),
                    source: mismatch,
                });
            }
            tracing::warn!(url = self.item.url, %mismatch, "content is not what was asked for, once more from zero");
            again = true;
            failures.set(failures.get() + 1);
        }
        self.commit(&part)?;
        (self.report)(Event::Done);
        Ok(Fetched::Now { bytes: bytes.get(), resumed, failures: failures.get() })
    }

    /// One request and what comes of it: `None` if all is there and right.
    fn attempt(&self, part: &mut PartFile, bytes: &Cell<u64>) -> Result<Option<Mismatch>, Trouble> {
        let size = self.item.size;
        if part.length < size {
            (self.report)(Event::Started { from: part.length });
            let answer = http::get(self.agent, &self.item.name, &self.item.url, part.length);
            // 416: the server has fewer bytes than the part. Its own answer to a request from zero will tell why.
            if let Err(Trouble::Passing { cause: Cause::Status(416), .. }) = &answer {
                self.clear(part)?;
            }
            let mut answer = answer?;
            if let Some(got) = answer.size.filter(|got| *got != size) {
                return Ok(Some(Mismatch::Size { expected: size, got }));
            }
            if answer.from != part.length {
                self.clear(part)?;
                if answer.from != 0 {
                    return Err(Trouble::passing(Cause::Range));
                }
            }
            self.receive(part, &mut answer, bytes)?;
        }
        let got: [u8; 32] = part.hash.clone().finalize().into();
        let expected = self.item.sha256;
        Ok(if got == expected { None } else { Some(Mismatch::Hash { expected, got }) })
    }

    fn receive(&self, part: &mut PartFile, answer: &mut Answer, bytes: &Cell<u64>) -> Result<(), Trouble> {
        let size = self.item.size;
        let begun = part.length;
        let mut buffer = vec![0; BUFFER];
        while part.length < size {
            self.gate.check()?;
            // Never more than what is missing is even asked for.
            let most = usize::try_from(size - part.length).unwrap_or(usize::MAX).min(BUFFER);
            let advanced = part.length - begun >= GOOD_PIECE;
            let read = match http::read(&mut answer.body, &mut buffer[..most]) {
                Ok(0) => {
                    let cause = Cause::Short { got: part.length, size };
                    return Err(Trouble::Passing { cause, after: None, advanced });
                }
                Err(Trouble::Passing { cause, after, .. }) => {
                    return Err(Trouble::Passing { cause, after, advanced });
                }
                other => other?,
            };
            part.append(&buffer[..read]).map_err(|error| self.failed("write", &self.part_path(), error))?;
            bytes.set(bytes.get() + u64::try_from(read).expect("a usize fits into 64 bits"));
            (self.report)(Event::At(part.length));
        }
        if answer.length == Some(size - begun) {
            // The end has been announced, so this reads nothing; only then is the connection kept for the next file.
            http::read(&mut answer.body, &mut buffer[..1])?;
        }
        Ok(())
    }

    fn clear(&self, part: &mut PartFile) -> Result<(), FetchError> {
        (self.report)(Event::At(0));
        part.clear().map_err(|error| self.failed("empty", &self.part_path(), error))
    }

    /// Whether the destination holds exactly what is wanted. What it holds otherwise will be replaced.
    fn present(&self) -> Result<bool, FetchError> {
        let path = &self.item.dest;
        let failed = |error| self.failed("read", path, error);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() || meta.len() != self.item.size {
            return Ok(false);
        }
        let (length, hash) = self.hash(&mut file).map_err(failed)?;
        let right = length == self.item.size && <[u8; 32]>::from(hash.finalize()) == self.item.sha256;
        if !right {
            tracing::warn!(path = %path.display(), "file is damaged and will be fetched again");
        }
        Ok(right)
    }

    fn hash(&self, file: &mut File) -> io::Result<(u64, Sha256)> {
        let (mut length, mut hash, mut buffer) = (0, Sha256::new(), vec![0; BUFFER]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok((length, hash)),
                Ok(read) => {
                    hash.update(&buffer[..read]);
                    length += u64::try_from(read).expect("a usize fits into 64 bits");
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The part with our lock on it; `None` if another process has meanwhile put the file into its place.
    fn open_part(&self) -> Result<Option<PartFile>, FetchError> {
        let path = self.part_path();
        let failed = |operation, error| self.failed(operation, &path, error);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder).map_err(|error| self.failed("make", folder, error))?;
        }
        let mut waited = false;
        loop {
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = file.map_err(|error| failed("open", error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if !waited {
                        (self.report)(Event::Elsewhere);
                    }
                    waited = true;
                    self.gate.wait(ELSEWHERE)?;
                    continue;
                }
                Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
            }
            // Between opening and locking, its owner may have renamed it: then we hold what is now `dest`.
            if !is_still_at(&file, &path).map_err(|error| failed("look at", error))? {
                waited = true;
                continue;
            }
            if waited && self.present()? {
                // Made by our own opening, and empty.
                fs_err::remove_file(&path).map_err(|error| failed("remove", error))?;
                return Ok(None);
            }
            let (length, hash) = self.hash(&mut file).map_err(|error| failed("read", error))?;
            let mut part = PartFile { file, length, hash };
            if part.length > self.item.size {
                part.clear().map_err(|error| failed("empty", error))?;
            }
            return Ok(Some(part));
        }
    }

    fn commit(&self, part: &PartFile) -> Result<(), FetchError> {
        let path = self.part_path();
        // cut: the part is whole, and found so by its hash in the next run
        part.file.sync_all().map_err(|error| self.failed("sync", &path, error))?;
        // the commit. cut: the part or the file, both whole
        fs_err::rename(&path, &self.item.dest).map_err(|error| self.failed("rename", &path, error))
    }

    fn part_path(&self) -> PathBuf {
        let mut path = self.item.dest.clone().into_os_string();
        path.push(".part");
        path.into()
    }

    fn failed(&self, operation: &'static str, path: &Path, source: io::Error) -> FetchError {
        FetchError::Write { operation, path: path.to_owned(), source }
    }
}

fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs_err::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl PartFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.length += u64::try_from(bytes.len()).expect("a usize fits into 64 bits");
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.length = 0;
        self.hash = Sha256::new();
        Ok(())
    }
}
