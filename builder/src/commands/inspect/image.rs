//! Root images, ESPs, and the media and disks that hold them.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use xenolith_disk::{
    reserved::{Area, ReservedError},
    table::TableError,
};
use xenolith_layout::{Bytes, Slot, VERITY_BLOCK, disk::Role, names, verity_uuid};
use xenolith_verity::{NotOurs, Superblock, TreeShape};

use super::{
    fat, gpt, iso,
    model::{Disk, Esp, FileSize, FileSystem, Iso, Program, Reserved, RootImage, SlotImage, Verity},
    program::{self, MAX_PROGRAM, Trusted},
    window::Window,
};

/// The largest manifest that is read.
const MAX_MANIFEST: u64 = 64 << 20;
/// EFI programs that are read at most.
const MAX_PROGRAMS: usize = 64;

/// How closely to look, and against which keys.
pub struct Look<'a> {
    /// Leave out what reads whole images.
    pub quick: bool,
    /// Who may have signed.
    pub trusted: &'a Trusted,
}

/// Lists an ESP and looks through its programs.
///
/// # Errors
/// When there is no FAT32, or it is damaged.
pub fn esp(window: &Window, look: &Look<'_>) -> Result<Esp, fat::FatError> {
    let volume = fat::Volume::open(window.clone())?;
    let (mut programs, mut problems) = (Vec::new(), Vec::new());
    let is_program = |file: &&fat::FatFile| file.path.to_ascii_lowercase().ends_with(".efi");
    for file in volume.files.iter().filter(is_program).take(MAX_PROGRAMS) {
        match volume.read(file, MAX_PROGRAM) {
            Ok(bytes) => match program::inspect(&file.path, &bytes, look.trusted) {
                Ok(program) => programs.push(program),
                Err(error) => problems.push(format!("{}: {}", file.path, super::chain(&error))),
            },
            Err(error) => problems.push(super::chain(&error)),
        }
    }
    let files =
        volume.files.iter().map(|file| FileSize { path: file.path.clone(), size: file.size }).collect();
    Ok(Esp {
        label: volume.label.clone(),
        serial: format!("{:04X}-{:04X}", volume.serial >> 16, volume.serial & 0xffff),
        size: window.len(),
        used: volume.used,
        files,
        programs,
        problems,
    })
}

/// A slot may hold an image that nothing boots: one that is being written, or whose entry was taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Orphan {
    /// That is in order.
    Fine,
    /// That means that the parts do not belong together.
    Broken,
}

/// Looks at a root image and its tree; `data` may be longer than the image, as a partition is.
///
/// # Errors
/// [`NotOurs::Magic`] if there is no tree at all.
pub fn root_image(
    data: &Window,
    tree: &Window,
    programs: &[Program],
    orphan: Orphan,
    look: &Look<'_>,
) -> Result<RootImage, NotOurs> {
    let head: [u8; Superblock::LEN] = tree.array(0).map_err(|_| NotOurs::Magic)?;
    let mut image = RootImage {
        size: data.len(),
        file_system: erofs(data),
        verity_size: tree.len(),
        verity_uuid: None,
        root_hash: None,
        boot_file: None,
        verity: Verity::NotChecked { why: "asked not to".into() },
    };
    let superblock = match Superblock::read(&head) {
        Ok(superblock) => superblock,
        Err(NotOurs::Magic) => return Err(NotOurs::Magic),
        Err(error) => {
            image.verity = Verity::Broken { why: error.to_string() };
            return Ok(image);
        }
    };
    image.verity_uuid = Some(superblock.uuid);
    let size = VERITY_BLOCK.checked_mul(superblock.data_blocks).unwrap_or(Bytes::new(u64::MAX));
    let shape = TreeShape::of(superblock.data_blocks).len();
    if size.get() > data.len() || shape.get() > tree.len() {
        let why = format!("the verity superblock speaks of {size}, the image has {}", Bytes::new(data.len()));
        image.verity = Verity::Broken { why };
        return Ok(image);
    }
    (image.size, image.verity_size) = (size.get(), shape.get());
    let named =
        |program: &&Program| program.root_hash.is_some_and(|hash| verity_uuid(&hash) == superblock.uuid);
    let Some((program, root_hash)) =
        programs.iter().find(named).and_then(|found| Some((found, found.root_hash?)))
    else {
        let why = format!("no boot file here asks for the root image {}", superblock.uuid);
        image.verity = match orphan {
            Orphan::Fine => Verity::NotChecked { why },
            Orphan::Broken => Verity::Broken { why },
        };
        return Ok(image);
    };
    image.root_hash = Some(root_hash);
    image.boot_file = Some(program.path.clone());
    if !look.quick {
        image.verity = verity(&mut data.clone(), &mut tree.clone(), &root_hash);
    }
    Ok(image)
}

/// Reads every block of image and tree.
pub fn verity(
    data: &mut (impl Read + Send),
    tree: &mut (impl Read + Send),
    root: &xenolith_layout::RootHash,
) -> Verity {
    match xenolith_verity::verify(data, tree, root) {
        Ok(()) => Verity::Holds,
        Err(error) => Verity::Broken { why: super::chain(&error) },
    }
}

/// The superblock of erofs, 1024 bytes into the image.
/// Source: Linux `fs/erofs/erofs_fs.h`, `struct erofs_super_block`.
pub fn erofs(data: &Window) -> Option<FileSystem> {
    let head: [u8; 128] = data.array(1024).ok()?;
    let bits = u32::from(head[12]);
    if head[..4] != 0xe0f5_e1e2_u32.to_le_bytes() || !(9..=16).contains(&bits) {
        return None;
    }
    let blocks = u64::from(u32::from_le_bytes(*head[36..].first_chunk()?));
    Some(FileSystem {
        kind: "erofs",
        uuid: Uuid::from_bytes(*head[48..].first_chunk()?),
        inodes: u64::from_le_bytes(*head[16..].first_chunk()?),
        size: blocks << bits,
    })
}

/// Looks through an ISO.
///
/// # Errors
/// When its file system cannot be read; all else is listed among its problems.
pub fn iso(disk: &Window, look: &Look<'_>) -> Result<Iso, iso::IsoError> {
    let volume = iso::read(disk)?;
    let mut problems = Vec::new();
    let table = gpt::read(disk).map_err(|error| problems.push(super::chain(&error))).ok();
    let (mut found, mut area) = (None, None);
    if let Some(table) = &table {
        problems.extend(backup_problem(table));
        match esp_of(disk, table) {
            None => {
                problems.push("no partition of the ISO is an ESP: as a USB stick it does not boot".into())
            }
            Some(Err(why)) => problems.push(why),
            Some(Ok(window)) => {
                found = esp(&window, look).map_err(|error| problems.push(super::chain(&error))).ok();
            }
        }
        area = reserved(disk).unwrap_or_else(|error| {
            problems.push(super::chain(&error));
            None
        });
    }
    let file = |path: &str| {
        let file = volume.files.iter().find(|file| file.path == path)?;
        disk.part(file.offset, file.size)
    };
    let manifest = file(names::MEDIA_MANIFEST).and_then(|window| {
        let bytes = window.to_vec(MAX_MANIFEST).ok()?;
        let parsed = serde_json::from_slice(&bytes);
        parsed.map_err(|error| problems.push(format!("{}: {error}", names::MEDIA_MANIFEST))).ok()
    });
    let root = match (file(names::MEDIA_ROOT), file(names::MEDIA_VERITY)) {
        (Some(data), Some(tree)) => {
            let programs = found.as_ref().map_or(&[][..], |esp: &Esp| &esp.programs);
            root_image(&data, &tree, programs, Orphan::Broken, look)
                .map_err(|error| problems.push(format!("{}: {error}", names::MEDIA_VERITY)))
                .ok()
        }
        _ => None,
    };
    let sha256 = if look.quick {
        None
    } else {
        let read = |source| iso::IsoError::Read { what: "all".into(), source };
        Some(sum(&mut disk.clone()).map_err(read)?)
    };
    let iso::Volume { id: volume_id, files, boot_images, .. } = volume;
    Ok(Iso {
        sha256,
        volume_id,
        boot_images,
        files,
        manifest,
        table,
        esp: found,
        reserved: area,
        root,
        problems,
    })
}

/// The reserved area of an ISO, if it has one, and what is in it.
///
/// # Errors
/// When there is one that cannot be read.
pub fn reserved(disk: &Window) -> Result<Option<Reserved>, ReservedError> {
    let Some(area) = Area::load(&mut disk.clone())? else { return Ok(None) };
    let files = area.listed()?.into_iter().map(|(path, size)| FileSize { path, size }).collect();
    Ok(Some(Reserved { offset: area.place.offset, size: area.place.length, files }))
}

/// A missing backup is how a truncated file or a copy that was cut short shows.
fn backup_problem(table: &gpt::Table) -> Option<String> {
    match &table.backup {
        gpt::Backup::Same => None,
        gpt::Backup::Differs => Some("the partition table's backup says something else".into()),
        gpt::Backup::Unreadable { why } => Some(format!("the partition table's backup: {why}")),
    }
}

/// SHA-256 of all that can be read, in hexadecimal digits.
///
/// # Errors
/// As reading.
pub fn sum(from: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Where the ESP is, if the table has one; the error says that it is not within the disk.
pub fn esp_of(disk: &Window, table: &gpt::Table) -> Option<Result<Window, String>> {
    let esp = Role::Esp.type_guid().uuid();
    let partition = table.partitions.iter().find(|partition| partition.type_guid == esp)?;
    let window = disk.part(partition.offset, partition.size);
    Some(window.ok_or_else(|| format!("partition {} lies beyond the end of the disk", partition.number)))
}

/// Looks through a disk or a disk image.
///
/// # Errors
/// When it has no readable partition table; all else is listed among its problems.
pub fn disk(disk: &Window, look: &Look<'_>) -> Result<Disk, TableError> {
    let table = gpt::read(disk)?;
    let mut problems = Vec::new();
    let found = match esp_of(disk, &table) {
        None => None,
        Some(Err(why)) => {
            problems.push(why);
            None
        }
        Some(Ok(window)) => esp(&window, look).map_err(|error| problems.push(super::chain(&error))).ok(),
    };
    problems.extend(backup_problem(&table));
    let programs = found.as_ref().map_or(&[][..], |esp: &Esp| &esp.programs);
    let part = |role: Role| {
        let partition = table.partitions.iter().find(|partition| partition.label == role.label())?;
        disk.part(partition.offset, partition.size)
    };
    let slots = Slot::ALL
        .into_iter()
        .filter_map(|slot| {
            let (data, tree) = (part(Role::Root(slot))?, part(Role::Verity(slot))?);
            let root = root_image(&data, &tree, programs, Orphan::Fine, look).ok();
            Some(SlotImage { slot, root })
        })
        .collect();
    Ok(Disk { table, esp: found, slots, problems })
}
