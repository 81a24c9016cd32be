//! Folders: the update set, and the set for a network boot.

use std::{
    io::{self, Read},
    path::Path,
};

use base64::Engine as _;
use fs_err as fs;
use serde::Deserialize;
use xenolith_trust::{Fingerprint, dsse::DsseError, verify_dsse};

use super::{
    image::{self, Look, Orphan},
    model::{FileSize, ListedFile, Netboot, Program, RootImage, Signature, UpdateSet, Verity},
    program::{self, MAX_PROGRAM},
    window::Window,
};
use crate::steps::media::{Frame, UPDATE_INDEX_TYPE, UpdateIndex};

/// The signed index of an update set.
pub const INDEX: &str = "index.dsse.json";
/// The largest index that is read.
const MAX_INDEX: u64 = 64 << 20;
/// The largest frame, before or after compression, that is read.
const MAX_FRAME: u64 = 64 << 20;
const BOOT_FILE: &str = "xenolith.efi";

/// Why a folder is not an update set that can be shown.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// A file cannot be read.
    #[error("the set cannot be read")]
    Read(#[source] io::Error),
    /// The index is no index.
    #[error("the index is not one of an update set")]
    Json(#[source] serde_json::Error),
    /// The index is not what it should be.
    #[error("the index is not one of an update set: {0}")]
    Index(String),
}

/// Opens a file of a set.
fn open(path: &Path) -> io::Result<Window> {
    Window::of_file(fs::File::open(path)?)
}

/// Reads the index, whether its signature is trusted or not.
///
/// # Errors
/// When it is none.
pub fn index(folder: &Path, look: &Look<'_>) -> Result<(UpdateIndex, Signature), SetError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope {
        payload: String,
        payload_type: String,
    }
    let bytes =
        open(&folder.join(INDEX)).and_then(|window| window.to_vec(MAX_INDEX)).map_err(SetError::Read)?;
    let text = String::from_utf8(bytes).map_err(|_| SetError::Index("it is not text".into()))?;
    let keys = &look.trusted.update_keys;
    let signature = match verify_dsse(&text, UPDATE_INDEX_TYPE, keys) {
        Ok(verified) => Signature::Trusted { signer: "update key".into(), fingerprint: verified.key_id },
        Err(DsseError::Untrusted { signatures: 0 }) => Signature::Unsigned,
        // Whether a stranger's signature holds cannot be said without the key, unless it claims to be by one of ours.
        Err(DsseError::Untrusted { .. }) => match keys.iter().find(|key| claims(&text, &key.id())) {
            Some(key) => Signature::Bad { why: format!("it was changed after key {} signed it", key.id()) },
            None => Signature::Unknown { signer: "update key".into(), fingerprint: None },
        },
        Err(error) => Signature::Bad { why: super::chain(&error) },
    };
    let envelope: Envelope = serde_json::from_str(&text).map_err(SetError::Json)?;
    if envelope.payload_type != UPDATE_INDEX_TYPE {
        return Err(SetError::Index(format!("it is a {:?}", envelope.payload_type)));
    }
    let payload = base64::engine::general_purpose::STANDARD
        .decode(&envelope.payload)
        .map_err(|error| SetError::Index(error.to_string()))?;
    Ok((serde_json::from_slice(&payload).map_err(SetError::Json)?, signature))
}

/// Whether a signature of an envelope says that it is by this key.
fn claims(envelope: &str, key: &Fingerprint) -> bool {
    let parsed: Option<serde_json::Value> = serde_json::from_str(envelope).ok();
    let signatures = parsed.as_ref().and_then(|value| value.get("signatures")?.as_array());
    let id = key.to_string();
    signatures
        .is_some_and(|all| all.iter().any(|one| one.get("keyid").and_then(|id| id.as_str()) == Some(&id)))
}

/// Looks through an update set.
///
/// # Errors
/// When it has no index that can be read.
pub fn update_set(folder: &Path, look: &Look<'_>) -> Result<UpdateSet, SetError> {
    let (index, signature) = index(folder, look)?;
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for (name, sha256) in &index.files {
        // A name from outside: it must not lead out of the folder.
        let plain = !name.is_empty() && !name.contains('/') && name != "..";
        let window = plain.then(|| open(&folder.join(name)).ok()).flatten();
        let size = window.as_ref().map(Window::len);
        let holds = window.is_some_and(|mut window| image::sum(&mut window).is_ok_and(|sum| sum == *sha256));
        files.push(ListedFile { path: name.clone(), size, sha256: sha256.clone(), holds });
    }
    let boot_file = boot_file(folder, look, &mut problems);
    let root = frames_image(folder, &index, boot_file.as_ref(), look);
    if let Some(program) = &boot_file
        && program.version.as_deref() != Some(index.version.as_str())
    {
        let found = program.version.as_deref().unwrap_or("none");
        problems.push(format!("the index is of version {}, the boot file of {found}", index.version));
    }
    Ok(UpdateSet {
        version: index.version,
        root_hash: index.root_hash,
        signature,
        files,
        frames: index.frames.len(),
        frame_size: index.frame,
        stored: index.frames.iter().map(|frame| frame.stored).fold(0, u64::saturating_add),
        boot_file,
        root,
        problems,
    })
}

fn boot_file(folder: &Path, look: &Look<'_>, problems: &mut Vec<String>) -> Option<Program> {
    let bytes = match open(&folder.join(BOOT_FILE)).and_then(|window| window.to_vec(MAX_PROGRAM)) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.push(format!("{BOOT_FILE}: {error}"));
            return None;
        }
    };
    let program = program::inspect(BOOT_FILE, &bytes, look.trusted);
    program.map_err(|error| problems.push(format!("{BOOT_FILE}: {error}"))).ok()
}

/// The root image in the frames, checked against the root hash of the boot file if that is the index's too.
fn frames_image(
    folder: &Path,
    index: &UpdateIndex,
    boot_file: Option<&Program>,
    look: &Look<'_>,
) -> RootImage {
    let hash: Option<xenolith_layout::RootHash> = index.root_hash.parse().ok();
    let mut image = RootImage {
        size: index.root_size,
        file_system: None,
        verity_size: index.verity_size,
        verity_uuid: hash.as_ref().map(xenolith_layout::verity_uuid),
        root_hash: hash,
        boot_file: boot_file.map(|program| program.path.clone()),
        verity: Verity::NotChecked { why: "asked not to".into() },
    };
    let broken = |why: String| Verity::Broken { why };
    let Some(hash) = hash else {
        image.verity = broken(format!("{:?} in the index is no root hash", index.root_hash));
        return image;
    };
    if boot_file.is_some_and(|program| program.root_hash != Some(hash)) {
        image.verity = broken("the boot file asks for another root hash than the index".into());
    } else if !look.quick {
        image.verity = match (open(&folder.join("root.frames")), open(&folder.join("root.verity"))) {
            (Ok(stored), Ok(mut tree)) => {
                let mut data =
                    Frames { stored, frames: &index.frames, frame: index.frame, at: 0, block: Vec::new() };
                image::verity(&mut data, &mut tree, &hash)
            }
            (Err(error), _) | (_, Err(error)) => broken(error.to_string()),
        };
    }
    image
}

/// The root image, from its frames.
struct Frames<'a> {
    stored: Window,
    frames: &'a [Frame],
    frame: u64,
    at: u64,
    /// What of the current frame was not handed out yet, the last byte first.
    block: Vec<u8>,
}

impl Frames<'_> {
    fn next(&mut self) -> io::Result<bool> {
        let Some((frame, rest)) = self.frames.split_first() else { return Ok(false) };
        let bad =
            |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("frame at {}: {why}", frame.at));
        if frame.at != self.at {
            return Err(bad("it does not follow the one before"));
        }
        if self.frame > MAX_FRAME || frame.stored > MAX_FRAME {
            return Err(bad("it is too large"));
        }
        let window =
            self.stored.part(frame.stored_at, frame.stored).ok_or_else(|| bad("it lies beyond the file"))?;
        let packed = window.to_vec(MAX_FRAME)?;
        let limit = usize::try_from(self.frame).map_err(|_| bad("it is too large"))?;
        self.block = zstd::bulk::decompress(&packed, limit)?;
        self.at += self.block.len() as u64;
        self.block.reverse();
        self.frames = rest;
        Ok(true)
    }
}

impl Read for Frames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            if !self.next()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.block.len());
        let from = self.block.len() - count;
        for (to, byte) in buffer.iter_mut().zip(self.block.drain(from..).rev()) {
            *to = byte;
        }
        Ok(count)
    }
}

/// Looks through the files of a network boot.
///
/// # Errors
/// When the folder cannot be listed.
pub fn netboot(folder: &Path, look: &Look<'_>) -> io::Result<Netboot> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            files.push(FileSize {
                path: entry.file_name().to_string_lossy().into_owned(),
                size: metadata.len(),
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut problems = Vec::new();
    let boot_file = boot_file(folder, look, &mut problems);
    let root = match (open(&folder.join("root.erofs")), open(&folder.join("root.verity"))) {
        (Ok(data), Ok(tree)) => {
            let programs = boot_file.as_slice();
            image::root_image(&data, &tree, programs, Orphan::Broken, look)
                .map_err(|error| problems.push(format!("root.verity: {error}")))
                .ok()
        }
        (Err(error), _) | (_, Err(error)) => {
            problems.push(error.to_string());
            None
        }
    };
    Ok(Netboot { files, boot_file, root, problems })
}
