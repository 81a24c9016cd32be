//! What this system was started from, as far as an installation copies it.

use std::{
    io::{self, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use fs_err as fs;
use serde::Deserialize;
use xenolith_disk::{
    esp::{EspContent, EspFile, loader_conf},
    reserved::{self, Name},
    table::{Place, Table},
};
use xenolith_installer::Image;
use xenolith_layout::{
    Bytes, RootHash, SectorSize, TypeGuid, VERITY_BLOCK, Version,
    names::{self, BOOT_FACTS, EntryName, TRIES},
};
use xenolith_source::OnMedium;
use xenolith_verity::{Superblock, TreeShape};

use crate::netboot;

/// An ESP of ours has fewer files, and is smaller.
const MAX_FILES: usize = 64;
const MAX_BYTES: u64 = 512 << 20;
/// How much is read before it is told.
const CHUNK: u64 = 1 << 20;
/// How long the menu of an installed host's loader waits for a key, in seconds.
const MENU_SECONDS: u32 = 3;

/// What of `boot.json` is needed here.
#[derive(Deserialize)]
pub struct BootFacts {
    medium: String,
    disk: Option<PathBuf>,
    data_device: PathBuf,
    hash_device: PathBuf,
    root_hash: RootHash,
    /// The version that runs.
    pub version: Version,
    boot_url: Option<String>,
}

impl BootFacts {
    /// What this host was started from.
    ///
    /// # Errors
    /// When the initrd has left no word about it.
    pub fn read() -> anyhow::Result<Self> {
        serde_json::from_slice(&fs::read(BOOT_FACTS)?).context(BOOT_FACTS)
    }

    /// Whether it is an installed host, which installs nothing.
    pub fn is_installed(&self) -> bool {
        self.medium == "disk"
    }

    /// Whether all that was started came over a network; firmware leaves a medium in memory that it has loaded from there.
    pub fn came_over_network(&self) -> bool {
        matches!(self.medium.as_str(), "network" | "memory")
    }

    /// The medium that was started, where it lies on a disk.
    fn on_disk(&self) -> anyhow::Result<&Path> {
        self.disk.as_deref().context("the boot facts name no medium")
    }
}

/// The running medium.
#[derive(Clone)]
pub struct Medium {
    /// The image on it.
    pub image: Image,
    /// Where the root image can be read.
    pub root: PathBuf,
    /// Where its verity tree can be read.
    pub verity: PathBuf,
    /// Where loader and boot file are.
    origin: Origin,
}

/// Where loader and boot file of the running system are.
#[derive(Clone)]
enum Origin {
    /// On the ESP of this disk.
    Disk(PathBuf),
    /// On the server that this machine was started from.
    Network(netboot::Origin),
}

impl Medium {
    /// The medium that this host was started from.
    ///
    /// # Errors
    /// When it was started from something that cannot be installed from.
    pub fn running() -> anyhow::Result<Self> {
        let facts = BootFacts::read()?;
        let origin = match facts.medium.as_str() {
            "iso" | "memory" => Origin::Disk(facts.on_disk()?.to_path_buf()),
            "network" => {
                let url =
                    facts.boot_url.as_ref().context("the boot facts do not say where the root came from")?;
                Origin::Network(netboot::Origin::new(url)?)
            }
            "disk" => bail!("this host runs from its disk; start it from the ISO to install it anew"),
            other => bail!("this host was started from {other:?}, which this program does not know"),
        };
        let mut head = [0; Superblock::LEN];
        fs::File::open(&facts.hash_device)?.read_exact(&mut head)?;
        let blocks = Superblock::read(&head).context("the verity tree of the running system")?.data_blocks;
        let root = VERITY_BLOCK.checked_mul(blocks).context("the root image has no length")?;
        let image = Image {
            version: facts.version,
            root_hash: facts.root_hash,
            root,
            verity: TreeShape::of(blocks).len(),
        };
        Ok(Self { image, root: facts.data_device, verity: facts.hash_device, origin })
    }

    /// The files of an installed host's ESP: those of the medium, with a boot entry whose starts are counted and a menu that waits
    /// a moment. Tells how many bytes are read, of how many.
    ///
    /// # Errors
    /// When the medium has no ESP of ours, or the server not the files of the running system.
    pub fn esp(&self, tell: &mut dyn FnMut(Bytes, Bytes)) -> anyhow::Result<Vec<EspFile>> {
        let mut files = match &self.origin {
            Origin::Disk(disk) => self.esp_of(disk, tell)?,
            Origin::Network(folder) => folder.esp(&self.image, tell)?,
        };
        let text = loader_conf(MENU_SECONDS).into_bytes();
        files.push(EspFile { path: names::ESP_LOADER_CONF.into(), content: EspContent::Bytes(text) });
        Ok(files)
    }

    /// What of a medium's ESP an installed host has too.
    fn esp_of(&self, disk: &Path, tell: &mut dyn FnMut(Bytes, Bytes)) -> anyhow::Result<Vec<EspFile>> {
        let mut file = fs::File::open(disk)?.into_parts().0;
        // A hybrid medium counts in 512 bytes, whatever the drive does.
        let table = Table::read(&mut file, SectorSize::B512).with_context(|| disk.display().to_string())?;
        let esp = table
            .first(TypeGuid::ESP)
            .with_context(|| format!("{} has no EFI system partition", disk.display()))?
            .place;
        let part = whole(&mut file, esp, tell).with_context(|| disk.display().to_string())?;
        let mut room = part.len() as u64;
        let volume = fatfs::FileSystem::new(Cursor::new(part), fatfs::FsOptions::new())
            .context("the medium's ESP cannot be read")?;
        let mut found = Vec::new();
        list(&volume.root_dir(), "", &mut room, &mut found)?;
        let entry = EntryName::offered(self.image.version.clone(), TRIES);
        let (mut files, mut entries) = (Vec::new(), 0);
        for file in found {
            if file.path == names::ESP_LOADER_CONF {
                continue;
            }
            let is_entry = file.path.strip_prefix(names::ESP_ENTRIES).is_some();
            entries += usize::from(is_entry);
            let path = if is_entry { format!("{}/{entry}", names::ESP_ENTRIES) } else { file.path };
            files.push(EspFile { path, content: file.content });
        }
        ensure!(entries == 1, "the medium's ESP has {entries} boot files instead of one");
        Ok(files)
    }
}

/// What `xenolith iso customize` has put into the running medium.
pub struct Area;

impl OnMedium for Area {
    /// Without a medium on a disk there is no area, and one that is older than areas has none.
    fn file(&self, name: &str, _longest: usize) -> io::Result<Option<Vec<u8>>> {
        let facts = BootFacts::read().map_err(io::Error::other)?;
        match facts.medium.as_str() {
            "iso" | "memory" => file_in(facts.on_disk().map_err(io::Error::other)?, name),
            _ => Ok(None),
        }
    }
}

/// The area has a limit of its own for files.
fn file_in(disk: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let area = reserved::read(&mut fs::File::open(disk)?)
        .map_err(|error| io::Error::other(format!("{}: {:#}", disk.display(), anyhow::Error::new(error))))?;
    let known = Name::ALL.into_iter().find(|known| known.text() == name);
    Ok(area.zip(known).and_then(|(area, name)| area.get(name).map(<[u8]>::to_vec)))
}

/// A partition's bytes. It is read from end to end: a stick gives its bytes many times faster so than file by file in clusters of 512
/// bytes, which is what an ESP of this size has.
fn whole(
    disk: &mut (impl Read + Seek),
    place: Place,
    tell: &mut dyn FnMut(Bytes, Bytes),
) -> anyhow::Result<Vec<u8>> {
    let length = place.length;
    ensure!(length <= MAX_BYTES, "its ESP is not ours: it is too large");
    disk.seek(SeekFrom::Start(place.offset))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length)?);
    let told = |bytes: &Vec<u8>| Bytes::new(bytes.len() as u64);
    tell(Bytes::ZERO, Bytes::new(length));
    while told(&bytes).get() < length {
        let wanted = CHUNK.min(length - told(&bytes).get());
        let found = disk.by_ref().take(wanted).read_to_end(&mut bytes)?;
        ensure!(found > 0, "it ends within its ESP");
        tell(told(&bytes), Bytes::new(length));
    }
    Ok(bytes)
}

/// Adds the files below a folder of a volume whose path is `above`, as long as the volume has `room` for them, in bytes.
fn list<D: fatfs::ReadWriteSeek>(
    folder: &fatfs::Dir<'_, D>,
    above: &str,
    room: &mut u64,
    found: &mut Vec<EspFile>,
) -> anyhow::Result<()> {
    for entry in folder.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
        ensure!(
            found.len() < MAX_FILES && path.len() < 256,
            "the medium's ESP is not ours: it has too many files"
        );
        if entry.is_dir() {
            list(&entry.to_dir(), &path, room, found)?;
            continue;
        }
        // A damaged table may go round in circles, and folders may say anything.
        *room = room
            .checked_sub(entry.len())
            .with_context(|| format!("the medium's ESP is damaged: there is no room in it for {path}"))?;
        let mut bytes = Vec::new();
        let read = entry.to_file().take(entry.len()).read_to_end(&mut bytes)?;
        ensure!(read as u64 == entry.len(), "the medium's ESP is damaged: {path} ends too early");
        found.push(EspFile { path, content: EspContent::Bytes(bytes) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use gpt::GptConfig;
    use xenolith_disk::reserved::Content;

    use super::*;

    const SECTOR: u64 = 512;

    /// A medium with this area as its third partition, or with another kind of partition there.
    fn medium(folder: &Path, kind: TypeGuid, area: &[u8]) -> PathBuf {
        let path = folder.join("medium");
        let mut file =
            fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        file.set_len(4 << 20).unwrap();
        let mut table = GptConfig::new()
            .writable(true)
            .logical_block_size(gpt::disk::LogicalBlockSize::Lb512)
            .create_from_device(file.file_mut(), None)
            .unwrap();
        let entry = gpt::partition::Partition {
            part_type_guid: gpt::partition_types::Type {
                guid: kind.uuid(),
                os: gpt::partition_types::OperatingSystem::None,
            },
            part_guid: TypeGuid::STATE.uuid(),
            first_lba: 2048,
            last_lba: 2048 + area.len() as u64 / SECTOR - 1,
            flags: 0,
            name: "Appended3".into(),
        };
        table.update_partitions([(3, entry)].into()).unwrap();
        table.write().unwrap();
        file.seek(SeekFrom::Start(2048 * SECTOR)).unwrap();
        file.write_all(area).unwrap();
        path
    }

    #[test]
    fn files_are_read_from_the_area_of_the_medium() {
        let folder = tempfile::tempdir().unwrap();
        let mut content = Content::default();
        let read = |kind, area: &[u8]| file_in(&medium(folder.path(), kind, area), "answers.json");
        assert_eq!(read(TypeGuid::RESERVED, &content.image()).unwrap(), None);
        assert_eq!(read(TypeGuid::STATE, &content.image()).unwrap(), None, "an older medium");
        let damaged = read(TypeGuid::RESERVED, &[0; 1 << 20]).unwrap_err().to_string();
        assert!(damaged.contains("there is no FAT12 file system"), "{damaged}");
        content.put(Name::AnswersJson, b"{}".to_vec()).unwrap();
        assert_eq!(read(TypeGuid::RESERVED, &content.image()).unwrap().unwrap(), b"{}");
    }

    /// A volume with a file in a folder.
    fn volume() -> Vec<u8> {
        let mut volume = Cursor::new(vec![0; 1 << 20]);
        fatfs::format_volume(&mut volume, fatfs::FormatVolumeOptions::new()).unwrap();
        {
            let opened = fatfs::FileSystem::new(&mut volume, fatfs::FsOptions::new()).unwrap();
            let folder = opened.root_dir().create_dir("EFI").unwrap();
            folder.create_file("loader.efi").unwrap().write_all(&[7; 100_000]).unwrap();
        }
        volume.into_inner()
    }

    fn listed(volume: Vec<u8>, mut room: u64) -> anyhow::Result<Vec<EspFile>> {
        let opened = fatfs::FileSystem::new(Cursor::new(volume), fatfs::FsOptions::new())?;
        let mut found = Vec::new();
        list(&opened.root_dir(), "", &mut room, &mut found)?;
        Ok(found)
    }

    #[test]
    fn a_partition_is_read_from_end_to_end_and_its_files_are_those_that_were_put_there() {
        let volume = volume();
        let length = volume.len() as u64;
        let place = Place { offset: 4096, length };
        let mut told = Vec::new();
        let mut disk = Cursor::new([vec![1; 4096], volume.clone()].concat());
        let part = whole(&mut disk, place, &mut |done, total| told.push((done.get(), total.get()))).unwrap();
        assert!(part == volume);
        assert_eq!(told, [(0, length), (length, length)]);
        let [file] = <[EspFile; 1]>::try_from(listed(part, length).unwrap()).ok().unwrap();
        assert_eq!(file.path, "EFI/loader.efi");
        assert!(matches!(file.content, EspContent::Bytes(bytes) if bytes == [7; 100_000]));
    }

    #[test]
    fn a_partition_that_is_cut_off_or_promises_too_much_is_refused() {
        let refused = |offset, length| {
            let mut disk = Cursor::new(vec![0; 2 << 20]);
            whole(&mut disk, Place { offset, length }, &mut |_, _| ()).unwrap_err().to_string()
        };
        assert!(refused(1 << 20, 2 << 20).contains("ends within its ESP"));
        assert!(refused(0, MAX_BYTES + 1).contains("too large"));
        let Err(full) = listed(volume(), 99_999) else { panic!("it was taken") };
        assert!(full.to_string().contains("no room in it for EFI/loader.efi"), "{full}");
    }
}
