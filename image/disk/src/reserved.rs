//! The reserved area of a medium: reading what somebody put into it, and changing it without touching anything else.
//!
//! ```text
//!   area ──load──▶ Area ──content──▶ Content          bounded, no bytes make it panic
//!   Content ──image──▶ 1 MiB of FAT12                 same content, same bytes
//!   Area + Content ──writes──▶ [Write; ≤ 3] ──carry_out──▶ the file
//! ```
//! A power cut leaves, by the write that it cuts: **the old content, an empty area, or the new content**.
//!
//! 1. The first sector of the root folder becomes zeros: an empty volume, whatever lies in tables and clusters.
//! 2. Everything else but the boot sector, which is the same in every area.
//! 3. The first sector of the root folder, which lists all files. One sector is written as a whole or not at all.
//!
//! Each is flushed and read back before the next. An empty area has no label, so that it never competes with a volume that somebody
//! plugs in; one with files has the label of a seed.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Cursor, Read, Seek, SeekFrom, Write as _},
    ops::Range,
};

use fatfs::{FatType, FormatVolumeOptions, FsOptions};
use xenolith_layout::{SectorSize, TypeGuid, names, reserved as layout};

use crate::{
    esp::IMAGE_TIME,
    fat12::{FatError, Shape, Volume},
    table::{Place, Table, TableError},
};

/// The longest area that is read: those of later versions may be longer than ours.
const MAX_AREA: u64 = 16 << 20;
const SECTOR: usize = 512;
/// Where a boot sector of FAT12 keeps a label, and what stands there without one. The label that counts is in the root folder.
const BOOT_LABEL: Range<usize> = 43..54;
const NO_LABEL: &[u8; 11] = b"NO NAME    ";
/// Where a boot sector of FAT12 keeps Linux' mark of a volume that is mounted, or was not unmounted.
const BOOT_STATE: usize = 37;

/// A file that the area may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Answers in TOML.
    AnswersToml,
    /// Answers in JSON.
    AnswersJson,
    /// Answers in XCP-ng's XML.
    AnswersXml,
    /// Certificates.
    Ca,
    /// What first boot on the medium is told.
    Seed,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::AnswersToml, Self::AnswersJson, Self::AnswersXml, Self::Ca, Self::Seed];

    /// The file's name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::AnswersToml => layout::ANSWERS[0],
            Self::AnswersJson => layout::ANSWERS[1],
            Self::AnswersXml => layout::ANSWERS[2],
            Self::Ca => layout::CA,
            Self::Seed => names::SEED_FILE,
        }
    }

    const fn is_answers(self) -> bool {
        matches!(self, Self::AnswersToml | Self::AnswersJson | Self::AnswersXml)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why the area cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReservedError {
    /// The device or file.
    #[error("the reserved area cannot be read or written")]
    Io(#[from] io::Error),
    /// The partition table in front of it.
    #[error("the reserved area cannot be found")]
    Table(#[from] TableError),
    /// Its length is nothing that any version makes.
    #[error("the reserved area has {0} bytes, which no version of it has")]
    Length(u64),
    /// Its file system.
    #[error("the reserved area cannot be understood")]
    Fat(#[from] FatError),
    /// A file is too long.
    #[error("{name} has {size} bytes; at most {} fit", layout::MAX_FILE)]
    TooLong {
        /// Which.
        name: Name,
        /// Its length.
        size: u64,
    },
    /// More than one file of answers.
    #[error("there are two files of answers, {0} and {1}")]
    TwoAnswers(Name, Name),
    /// Linux has it mounted, or had and was cut off.
    #[error("the reserved area is mounted somewhere, or was not unmounted")]
    InUse,
    /// The boot sector is not ours.
    #[error("the reserved area was formatted by another program")]
    Foreign,
    /// What was written does not read back.
    #[error("the reserved area does not read back as it was written")]
    ReadBack,
}

/// The files of an area. Its `Debug` prints no contents: they may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Content(BTreeMap<Name, Vec<u8>>);

impl Content {
    /// Adds a file, in place of one of that name.
    ///
    /// # Errors
    /// When it is too long, or answers and there are some under another name.
    pub fn put(&mut self, name: Name, bytes: Vec<u8>) -> Result<(), ReservedError> {
        let size = bytes.len() as u64;
        if size > layout::MAX_FILE.get() {
            return Err(ReservedError::TooLong { name, size });
        }
        let other = self.0.keys().find(|other| **other != name && other.is_answers());
        if let Some(other) = other.filter(|_| name.is_answers()) {
            return Err(ReservedError::TwoAnswers(*other, name));
        }
        self.0.insert(name, bytes);
        Ok(())
    }

    /// A file's bytes.
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        self.0.get(&name).map(Vec::as_slice)
    }

    /// The answers, and what they are called.
    pub fn answers(&self) -> Option<(Name, &[u8])> {
        self.files().find(|(name, _)| name.is_answers())
    }

    /// All files, in a fixed order.
    pub fn files(&self) -> impl Iterator<Item = (Name, &[u8])> {
        self.0.iter().map(|(name, bytes)| (*name, bytes.as_slice()))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The file system that holds these files and nothing else: the same bytes for the same files.
    pub fn image(&self) -> Vec<u8> {
        let size = usize::try_from(layout::SIZE.get()).expect("an area is smaller than memory");
        let mut image = vec![0; size];
        self.write_to(&mut image).expect("files within their limits fit, and memory takes every write");
        image[BOOT_LABEL].copy_from_slice(NO_LABEL);
        image
    }

    fn write_to(&self, image: &mut [u8]) -> io::Result<()> {
        let mut label = [b' '; 11];
        label[..names::SEED_LABEL.len()].copy_from_slice(names::SEED_LABEL.as_bytes());
        let options = FormatVolumeOptions::new()
            .fat_type(FatType::Fat12)
            .bytes_per_cluster(512)
            .volume_id(layout::SERIAL);
        let options = if self.is_empty() { options } else { options.volume_label(label) };
        let mut disk = Cursor::new(image);
        fatfs::format_volume(&mut disk, options)?;
        disk.seek(SeekFrom::Start(0))?;
        let options = FsOptions::new().time_provider(&IMAGE_TIME).update_accessed_date(false);
        let volume = fatfs::FileSystem::new(disk, options)?;
        for (name, bytes) in self.files() {
            let mut file = volume.root_dir().create_file(name.text())?;
            file.write_all(bytes)?;
            file.flush()?;
        }
        volume.unmount()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.files().map(|(name, bytes)| (name, bytes.len()))).finish()
    }
}

/// An area with all its bytes.
pub struct Area {
    /// Where it lies.
    pub place: Place,
    bytes: Vec<u8>,
}

/// A part of a change: flushed before the next.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// From which byte of the medium on.
    pub at: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// What the area of a medium holds; none if the medium has no area.
///
/// # Errors
/// [`ReservedError`].
pub fn read(medium: &mut (impl Read + Seek)) -> Result<Option<Content>, ReservedError> {
    Area::load(medium)?.map(|area| area.content()).transpose()
}

impl Area {
    /// The area of a medium, if it has one.
    ///
    /// # Errors
    /// When it cannot be found or read.
    pub fn load(medium: &mut (impl Read + Seek)) -> Result<Option<Self>, ReservedError> {
        let table = match Table::read(medium, SectorSize::B512) {
            Err(TableError::Missing) => return Ok(None),
            table => table?,
        };
        let Some(place) = table.first(TypeGuid::RESERVED).map(|partition| partition.place) else {
            return Ok(None);
        };
        if !(SECTOR as u64..=MAX_AREA).contains(&place.length) {
            return Err(ReservedError::Length(place.length));
        }
        let mut bytes = vec![0; usize::try_from(place.length).unwrap_or(SECTOR)];
        medium.seek(SeekFrom::Start(place.offset))?;
        medium.read_exact(&mut bytes)?;
        Ok(Some(Self { place, bytes }))
    }

    /// The files that we know; others are passed over.
    ///
    /// # Errors
    /// When its file system is damaged, or a file of ours is too long.
    pub fn content(&self) -> Result<Content, ReservedError> {
        let volume = Volume::open(&self.bytes)?;
        let mut content = Content::default();
        for file in &volume.files {
            let known = Name::ALL.into_iter().find(|name| file.name.eq_ignore_ascii_case(name.text()));
            let Some(name) = known else { continue };
            let size = u64::from(file.size);
            if size > layout::MAX_FILE.get() {
                return Err(ReservedError::TooLong { name, size });
            }
            content.put(name, volume.read(file)?)?;
        }
        Ok(content)
    }

    /// Name and length of every file, known or not.
    ///
    /// # Errors
    /// When its file system is damaged.
    pub fn listed(&self) -> Result<Vec<(String, u64)>, ReservedError> {
        let volume = Volume::open(&self.bytes)?;
        Ok(volume.files.into_iter().map(|file| (file.name, file.size.into())).collect())
    }

    /// The writes that make `content` all that the area holds, in their order; none if nothing would change.
    ///
    /// # Errors
    /// When the area is none that these writes keep whole at every moment.
    pub fn writes(&self, content: &Content) -> Result<Vec<Write>, ReservedError> {
        let new = content.image();
        if self.bytes == new {
            return Ok(Vec::new());
        }
        let shape = Shape::of(&new)?;
        let (mut old_boot, new_boot) = (self.bytes[..SECTOR].to_vec(), &new[..SECTOR]);
        if self.bytes.len() != new.len() {
            return Err(ReservedError::Foreign);
        }
        if old_boot != new_boot {
            old_boot[BOOT_STATE] = new_boot[BOOT_STATE];
            return Err(if old_boot == new_boot { ReservedError::InUse } else { ReservedError::Foreign });
        }
        let write = |range: Range<usize>, bytes: &[u8]| Write {
            at: self.place.offset + range.start as u64,
            bytes: bytes[range].to_vec(),
        };
        let head = shape.root.start..shape.root.start + SECTOR;
        // All but the boot sector, with the head as it is now.
        let mut rest = new.clone();
        rest[head.clone()].fill(0);
        let mut writes =
            vec![write(head.clone(), &vec![0; new.len()]), write(shape.fat.start..new.len(), &rest)];
        if !content.is_empty() {
            writes.push(write(head, &new));
        }
        Ok(writes)
    }
}

/// Carries out what [`Area::writes`] has decided.
///
/// # Errors
/// When a write fails or does not read back; the header of this module says what is then there.
pub fn carry_out(medium: &mut fs_err::File, writes: &[Write]) -> Result<(), ReservedError> {
    for write in writes {
        medium.seek(SeekFrom::Start(write.at))?;
        medium.write_all(&write.bytes)?;
        medium.sync_all()?;
        let mut again = vec![0; write.bytes.len()];
        medium.seek(SeekFrom::Start(write.at))?;
        medium.read_exact(&mut again)?;
        if again != write.bytes {
            return Err(ReservedError::ReadBack);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
