//! What `inspect` says: the document of `inspect --json`.
//!
//! ```text
//!   { "format": 1, "path": …, "size": …, "kind": "boot_file" | "iso" | "disk" | "update_set" | "netboot", … }
//! ```
//! `format` counts up when a field goes or changes its meaning; new fields may come at any time. Sizes and offsets are
//! bytes, sums are SHA-256 in hexadecimal digits. What could not be found out is `null`; what was found to be wrong has a
//! `why`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;
use uuid::Uuid;
use xenolith_bootfile::SectionInfo;
use xenolith_layout::{RootHash, Slot};
use xenolith_trust::Fingerprint;

use super::{
    gpt::Table,
    iso::{BootImage, IsoFile},
};

/// Counts up when readers of the document would have to change.
pub const FORMAT: u32 = 1;

/// All that is known about a file.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// [`FORMAT`].
    pub format: u32,
    /// The file or folder.
    pub path: PathBuf,
    /// Its length in bytes; of a folder, the files in it.
    pub size: u64,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

/// What a file is, and what is in it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A boot file, or another EFI program.
    BootFile(Box<Program>),
    /// An ISO.
    Iso(Box<Iso>),
    /// A disk image or a disk.
    Disk(Box<Disk>),
    /// The folder of an update set.
    UpdateSet(Box<UpdateSet>),
    /// The folder of a network boot.
    Netboot(Box<Netboot>),
}

/// An EFI program; a boot file is one that has command lines.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Where it lies in the file system that holds it, or its name.
    pub path: String,
    /// Its length.
    pub size: u64,
    /// The sum of the whole file.
    pub sha256: String,
    /// What a signature signs (Authenticode, SHA-256).
    pub authenticode: Option<String>,
    /// Its signature.
    pub signature: Signature,
    /// `IMAGE_VERSION` of its `.osrel`.
    pub version: Option<String>,
    /// All of its `.osrel`.
    pub os_release: BTreeMap<String, String>,
    /// The command lines of its `.config`.
    pub command_lines: Vec<CommandLine>,
    /// The root hash in dom0's command line.
    pub root_hash: Option<RootHash>,
    /// Its sections, in the order of the file.
    pub sections: Vec<SectionInfo>,
    /// What is wrong with its texts.
    pub problems: Vec<String>,
}

/// A block of a boot file's configuration.
#[derive(Clone, Debug, Serialize)]
pub struct CommandLine {
    /// The block's name.
    pub name: String,
    /// Whether it is the one that boots.
    pub default: bool,
    /// Xen's command line.
    pub xen: String,
    /// dom0's.
    pub dom0: String,
}

/// What is known about a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Signature {
    /// There is none.
    Unsigned,
    /// It holds, and a certificate or key of the keys folder vouches for it.
    Trusted {
        /// Subject of the signer, or the kind of key.
        signer: String,
        /// The signer's fingerprint.
        fingerprint: Fingerprint,
    },
    /// It holds for what it signs, but nothing in the keys folder vouches for the signer.
    Unknown {
        /// Subject of the signer, or the kind of key.
        signer: String,
        /// The signer's fingerprint.
        fingerprint: Option<Fingerprint>,
    },
    /// It does not hold.
    Bad {
        /// Why.
        why: String,
    },
}

/// An ISO.
#[derive(Clone, Debug, Serialize)]
pub struct Iso {
    /// The sum of the whole file; not with `--quick`.
    pub sha256: Option<String>,
    /// The volume id.
    pub volume_id: String,
    /// What firmware starts from a CD.
    pub boot_images: Vec<BootImage>,
    /// Files of the ISO's file system.
    pub files: Vec<IsoFile>,
    /// What the ISO says about its build.
    pub manifest: Option<serde_json::Value>,
    /// The partition table that makes it a disk.
    pub table: Option<Table>,
    /// The ESP, which is appended as a partition.
    pub esp: Option<Esp>,
    /// The reserved area; `null` in an ISO from before there was one.
    pub reserved: Option<Reserved>,
    /// The root image.
    pub root: Option<RootImage>,
    /// What is missing or wrong.
    pub problems: Vec<String>,
}

/// The area of an ISO into which `iso customize` puts files. What they say is not shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reserved {
    /// Where it begins in the ISO, in bytes.
    pub offset: u64,
    /// Its length.
    pub size: u64,
    /// What was put into it.
    pub files: Vec<FileSize>,
}

/// A disk.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// Its partition table.
    pub table: Table,
    /// Its ESP.
    pub esp: Option<Esp>,
    /// Its slots.
    pub slots: Vec<SlotImage>,
    /// What is missing or wrong.
    pub problems: Vec<String>,
}

/// A slot with what is in it.
#[derive(Clone, Debug, Serialize)]
pub struct SlotImage {
    /// Which.
    pub slot: Slot,
    /// The root image; `null` if the slot is empty.
    pub root: Option<RootImage>,
}

/// An ESP.
#[derive(Clone, Debug, Serialize)]
pub struct Esp {
    /// Its label.
    pub label: String,
    /// Its serial number, as `/dev/disk/by-uuid` has it.
    pub serial: String,
    /// Its length.
    pub size: u64,
    /// Bytes in use.
    pub used: u64,
    /// Its files.
    pub files: Vec<FileSize>,
    /// Its EFI programs.
    pub programs: Vec<Program>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// A file with its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileSize {
    /// Its path.
    pub path: String,
    /// Its length.
    pub size: u64,
}

/// A root image with its verity tree.
#[derive(Clone, Debug, Serialize)]
pub struct RootImage {
    /// Bytes of the image.
    pub size: u64,
    /// Its file system.
    pub file_system: Option<FileSystem>,
    /// Bytes of the verity tree.
    pub verity_size: u64,
    /// The UUID in the verity superblock: the first half of the root hash.
    pub verity_uuid: Option<Uuid>,
    /// The root hash that the boot file asks for.
    pub root_hash: Option<RootHash>,
    /// The boot file that asks for it.
    pub boot_file: Option<String>,
    /// Whether every block is what the root hash stands for.
    pub verity: Verity,
}

/// An erofs file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileSystem {
    /// `erofs`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its inodes.
    pub inodes: u64,
    /// Its length by its own account.
    pub size: u64,
}

/// Whether a root image is what its root hash stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Verity {
    /// It is: every block was read.
    Holds,
    /// It is not.
    Broken {
        /// Where, or why.
        why: String,
    },
    /// It was not looked at.
    NotChecked {
        /// Why not.
        why: String,
    },
}

/// An update set.
#[derive(Clone, Debug, Serialize)]
pub struct UpdateSet {
    /// The version.
    pub version: String,
    /// The root hash.
    pub root_hash: String,
    /// The index's signature.
    pub signature: Signature,
    /// Files beside the index.
    pub files: Vec<ListedFile>,
    /// Compressed frames of the root image.
    pub frames: usize,
    /// Bytes in a frame before compression.
    pub frame_size: u64,
    /// Bytes of all frames as they are stored.
    pub stored: u64,
    /// The boot file.
    pub boot_file: Option<Program>,
    /// The root image in the frames.
    pub root: RootImage,
    /// What is missing or wrong.
    pub problems: Vec<String>,
}

/// A file that an index lists.
#[derive(Clone, Debug, Serialize)]
pub struct ListedFile {
    /// Its name.
    pub path: String,
    /// Its length; `null` if it is not there.
    pub size: Option<u64>,
    /// The sum that it must have.
    pub sha256: String,
    /// Whether it has that sum.
    pub holds: bool,
}

/// The folder of a network boot.
#[derive(Clone, Debug, Serialize)]
pub struct Netboot {
    /// Its files.
    pub files: Vec<FileSize>,
    /// The boot file.
    pub boot_file: Option<Program>,
    /// The root image.
    pub root: Option<RootImage>,
    /// What is missing or wrong.
    pub problems: Vec<String>,
}

impl Inspection {
    /// Everything in it that is broken, as against unknown or foreign: why `inspect` ends with an error.
    pub fn broken(&self) -> Vec<String> {
        let mut found = Vec::new();
        match &self.what {
            What::BootFile(program) => program.broken(&mut found),
            What::Iso(iso) => {
                found.extend(iso.problems.iter().cloned());
                iso.esp.iter().for_each(|esp| esp.broken(&mut found));
                iso.root.iter().for_each(|root| root.broken("the root image", &mut found));
            }
            What::Disk(disk) => {
                found.extend(disk.problems.iter().cloned());
                disk.esp.iter().for_each(|esp| esp.broken(&mut found));
                for slot in &disk.slots {
                    slot.root.iter().for_each(|root| root.broken(&format!("slot {}", slot.slot), &mut found));
                }
            }
            What::UpdateSet(set) => {
                found.extend(set.problems.iter().cloned());
                if let Signature::Bad { why } = &set.signature {
                    found.push(format!("the index: {why}"));
                }
                let bad = set.files.iter().filter(|file| !file.holds);
                found.extend(bad.map(|file| format!("{} is missing or not what the index says", file.path)));
                set.boot_file.iter().for_each(|program| program.broken(&mut found));
                set.root.broken("the root image", &mut found);
            }
            What::Netboot(set) => {
                found.extend(set.problems.iter().cloned());
                set.boot_file.iter().for_each(|program| program.broken(&mut found));
                set.root.iter().for_each(|root| root.broken("the root image", &mut found));
            }
        }
        found
    }
}

impl Program {
    fn broken(&self, found: &mut Vec<String>) {
        if let Signature::Bad { why } = &self.signature {
            found.push(format!("{}: {why}", self.path));
        }
        found.extend(self.problems.iter().map(|problem| format!("{}: {problem}", self.path)));
    }
}

impl Esp {
    fn broken(&self, found: &mut Vec<String>) {
        found.extend(self.problems.iter().cloned());
        self.programs.iter().for_each(|program| program.broken(found));
    }
}

impl RootImage {
    fn broken(&self, what: &str, found: &mut Vec<String>) {
        if let Verity::Broken { why } = &self.verity {
            found.push(format!("{what}: {why}"));
        }
    }
}
