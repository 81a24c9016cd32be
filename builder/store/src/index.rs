//! The stat index: digests of files that have not changed since they were last read.
//!
//! **The index never gives a digest that the file's contents do not have.** It saves reading ten thousand files
//! to learn that nothing changed; without it the builder is slower and otherwise the same, so a lost or
//! broken index is started anew.
//!
//! An entry says: when the file at this path had this [`Stamp`] (size, inode, modification and change time), its
//! digest was that. Any difference in the stamp, and the file is read again. What remains is the racily clean
//! file, known from git's index: a file written, hashed, and written again with the same length within one tick
//! of the file system's clock has two contents and one stamp.
//!
//! ```text
//!   clock tick      |----------- t -----------|------- t+1 ---
//!   the user          write "a"     write "b"
//!   the builder              read "a", stamp t                  later: stamp is still t, contents are "b"
//! ```
//!
//! So a digest is kept only if both times of the file were at least [`SETTLED`] old *when it was read*: any
//! later write then gets another time. Two seconds is the coarsest tick in use (FAT); a time in the future
//! counts as unsettled. The cost: files written within the last two seconds are read again by the next build.
//! The stamp is taken from the open file before it is read and compared after, so that a write in between is seen.
//!
//! One exception: blobs are written by the store alone and never again once they have their name, so their stamps
//! are taken at once. Without it every download would be hashed a second time by the build that fetched it.
//!
//! The change time is in the stamp because a modification time can be set (`touch -r`, `cp -p`, git tools that
//! restore times) and the change time cannot. Device numbers are not: they change with every boot.
//!
//! Two builds may save their index at once. The file is replaced by rename, so the later one wins whole; what
//! the other knew is read again. No lock is needed for something that may be lost.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, digest_sized};
use crate::tree::Stamp;

/// How old a file's times must be when it is read for its digest to be kept.
pub const SETTLED: Duration = Duration::from_secs(2);

/// Entries that no build has asked for in this many days are dropped.
const FORGET_AFTER_DAYS: u64 = 30;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    files: BTreeMap<String, Known>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    digest: Digest,
    /// Day (since 1970) on which a build last asked.
    asked: u64,
}

/// Digests by path, valid while the file's stamp stays.
pub(crate) struct StatIndex {
    files: BTreeMap<String, Known>,
    changed: bool,
    today: u64,
}

impl StatIndex {
    /// Reads the index; one that is missing, of another format or broken is empty.
    pub(crate) fn load(path: &Path) -> Self {
        let today = since_1970().as_secs() / 86_400;
        let saved = match fs::read(path) {
            Ok(text) => serde_json::from_slice::<Saved>(&text).map_err(io::Error::from),
            Err(error) => Err(error),
        };
        let files = match saved {
            Ok(saved) if saved.format == FORMAT => saved.files,
            Ok(saved) => {
                tracing::debug!(format = saved.format, "stat index of another format; files are read again");
                BTreeMap::new()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                tracing::warn!(%error, "stat index cannot be read; files are read again");
                BTreeMap::new()
            }
        };
        Self { files, changed: false, today }
    }

    /// The digest of a file's contents, read only if its stamp is not the known one. Links are followed.
    pub(crate) fn digest(&mut self, path: &Path) -> io::Result<Digest> {
        let stamp = Stamp::of(&fs::metadata(path)?);
        self.digest_stamped(path, stamp)
    }

    /// As [`Self::digest`] for a file whose stamp has just been taken.
    pub(crate) fn digest_stamped(&mut self, path: &Path, stamp: Stamp) -> io::Result<Digest> {
        // A path that is no text has no place in JSON: it is read each time.
        let name = path.to_str();
        if let Some(known) = name.and_then(|name| self.files.get_mut(name))
            && known.stamp == stamp
        {
            if known.asked != self.today {
                known.asked = self.today;
                self.changed = true;
            }
            return Ok(known.digest);
        }
        let (digest, settled) = read(path)?;
        if let Some(name) = name {
            self.changed |= match settled {
                Some(stamp) => {
                    let known = Known { stamp, digest, asked: self.today };
                    self.files.insert(name.to_owned(), known);
                    true
                }
                None => self.files.remove(name).is_some(),
            };
        }
        Ok(digest)
    }

    /// Takes the digest of a file that only the store writes to, and has finished, as known: it need not settle.
    pub(crate) fn vouch(&mut self, path: &Path, digest: Digest) -> io::Result<()> {
        let stamp = Stamp::of(&fs::metadata(path)?);
        if let Some(name) = path.to_str() {
            self.files.insert(name.to_owned(), Known { stamp, digest, asked: self.today });
            self.changed = true;
        }
        Ok(())
    }

    /// Writes the index beside `path` in `tmp` and renames it over, if there is anything new in it.
    pub(crate) fn save(&mut self, path: &Path, tmp: &Path) -> io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let today = self.today;
        self.files.retain(|_, known| known.asked + FORGET_AFTER_DAYS >= today);
        let saved = Saved { format: FORMAT, files: std::mem::take(&mut self.files) };
        let text = serde_json::to_vec(&saved)?;
        self.files = saved.files;
        fs::write(tmp, text)?;
        fs::rename(tmp, path)?; // cut: the old index or the new one; a torn one does not parse and is dropped
        self.changed = false;
        Ok(())
    }
}

/// Reads the whole file. The stamp comes with it only if it can vouch for these contents.
fn read(path: &Path) -> io::Result<(Digest, Option<Stamp>)> {
    let mut file = fs::File::open(path)?;
    let before = Stamp::of(&file.metadata()?);
    let now = since_1970();
    let digest = digest_sized(&mut file, before.size)?;
    let after = Stamp::of(&file.metadata()?);
    let settled = before == after && settled(before.mtime, now) && settled(before.ctime, now);
    Ok((digest, settled.then_some(before)))
}

fn settled((seconds, nanoseconds): (i64, i64), now: Duration) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
        return true; // before 1970: long ago
    };
    now.checked_sub(Duration::new(seconds, nanoseconds)).is_some_and(|age| age >= SETTLED)
}

pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest_bytes;

    fn empty() -> StatIndex {
        StatIndex { files: BTreeMap::new(), changed: false, today: 20_000 }
    }

    #[test]
    fn a_file_written_just_now_is_not_trusted_to_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("racy");
        fs::write(&path, "one").unwrap();
        let mut index = empty();
        assert_eq!(index.digest(&path).unwrap(), digest_bytes(b"one"));
        assert!(index.files.is_empty(), "its change time is younger than two seconds");
    }

    #[test]
    fn an_old_modification_time_alone_does_not_make_a_file_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("touched");
        fs::write(&path, "one").unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().file().set_modified(UNIX_EPOCH).unwrap();
        let mut index = empty();
        index.digest(&path).unwrap();
        assert!(index.files.is_empty());
    }

    #[test]
    fn a_known_stamp_saves_reading_and_any_other_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut index = empty();
        let stamp = Stamp::of(&fs::metadata(&path).unwrap());
        let planted = digest_bytes(b"planted");
        let name = path.to_str().unwrap().to_owned();
        index.files.insert(name.clone(), Known { stamp, digest: planted, asked: index.today });
        assert_eq!(index.digest(&path).unwrap(), planted, "taken from the index");
        assert!(!index.changed);
        let others = [
            Stamp { size: stamp.size + 1, ..stamp },
            Stamp { ino: stamp.ino + 1, ..stamp },
            Stamp { mtime: (0, 0), ..stamp },
            Stamp { ctime: (0, 0), ..stamp },
        ];
        for other in others {
            index.files.insert(name.clone(), Known { stamp: other, digest: planted, asked: index.today });
            assert_eq!(index.digest(&path).unwrap(), digest_bytes(b"one"), "{other:?}");
        }
    }

    #[test]
    fn times_in_the_future_and_within_two_seconds_are_unsettled() {
        let now = Duration::new(1000, 0);
        assert!(settled((998, 0), now));
        assert!(!settled((998, 1), now));
        assert!(!settled((1001, 0), now));
        assert!(settled((-5, 0), now));
    }

    #[test]
    fn an_index_that_is_saved_is_loaded_and_a_torn_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let (path, tmp) = (folder.path().join("index.json"), folder.path().join("tmp"));
        let mut index = StatIndex::load(&path);
        let stamp = Stamp { size: 3, ino: 4, mtime: (5, 6), ctime: (7, 8) };
        let digest = digest_bytes(b"");
        index.files.insert("/a".to_owned(), Known { stamp, digest, asked: index.today });
        index.files.insert("/old".to_owned(), Known { stamp, digest, asked: index.today - 31 });
        index.changed = true;
        index.save(&path, &tmp).unwrap();
        let names: Vec<_> = StatIndex::load(&path).files.into_keys().collect();
        assert_eq!(names, ["/a"]);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(StatIndex::load(&path).files.is_empty());
    }
}
