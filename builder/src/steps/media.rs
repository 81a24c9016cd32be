//! From the pair of root image and boot file to everything that a user takes away.

use std::{
    collections::BTreeMap,
    io::{BufReader, Read, Write as _},
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use xenolith_disk::{
    disk,
    esp::{self, EspContent, EspFile, loader_conf},
    reserved::Content,
};
use xenolith_layout::{
    SectorSize, Seed, Slot, TypeGuid, Version,
    disk::{ESP_SIZE, Options, Role, minimum, plan},
    names, reserved,
};
use xenolith_netboot::{FileFacts, FileName, Manifest};
use xenolith_sandbox::{Sandbox, Tool};
use xenolith_store::{StepContext, Unit};
use xenolith_trust::{EfiTime, KeyError, KeySet, TrustError};

use super::image::RootFacts;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// FAT serial numbers of the two ESPs that a build writes.
const DISK_ESP_SERIAL: u32 = 0x5845_4e31;
const MEDIA_ESP_SERIAL: u32 = 0x5845_4e32;
/// Every disk image has the same GUIDs; a disk that an installer writes gets its own.
const DISK_SEED: Seed = Seed::new(*b"xenolith disk image, GUID seed 1");
/// Bytes of the root image in one compressed frame of the update set: small enough to fetch for a few changed
/// blocks, large enough to compress.
pub const FRAME: usize = 4 << 20;
/// Counts up when a network boot set gets other files.
pub const NETBOOT_FORMAT: u32 = 2;
/// The payload type of a signed [`UpdateIndex`].
pub const UPDATE_INDEX_TYPE: &str = "application/vnd.xenolith.update-index+json";

/// Signs loader and boot file, and makes the files that enrol the keys: `boot/*`, `keys/*`.
///
/// # Errors
/// When the keys cannot be used.
pub fn sign(context: &StepContext, keys: &Path) -> Result<(), Failed> {
    let keys = KeySet::load(keys)?;
    let boot = context.out().join("boot");
    fs::create_dir_all(&boot)?;
    let unsigned = fs::read(context.input("boot-file").join("xenolith.efi"))?;
    fs::write(boot.join("xenolith.efi"), keys.sign_pe(&unsigned)?)?;
    let loader = context.input("tools-tree").join("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    fs::write(boot.join("systemd-bootx64.efi"), keys.sign_pe(&fs::read(loader)?)?)?;
    let folder = context.out().join("keys");
    fs::create_dir_all(&folder)?;
    for (name, bytes) in enrolment_files(&keys)? {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// The files that enrol PK, KEK and db; none if the private keys of PK and KEK are kept elsewhere, as those of a
/// release should be: whoever has them makes these files once, and not in every build.
fn enrolment_files(keys: &KeySet) -> Result<Vec<(String, Vec<u8>)>, Failed> {
    let time = EfiTime::new((2026, 1, 1), (0, 0, 0)).ok_or("the epoch is a valid EFI time")?;
    let variables = match keys.enrolment(time, &[]) {
        Err(TrustError::Key(KeyError::Absent { .. })) => return Ok(Vec::new()),
        made => made?,
    };
    let files = variables.iter().flat_map(|variable| variable.files());
    Ok(files.map(|(name, bytes)| (name, bytes.to_vec())).collect())
}

/// The script for iPXE, which takes a name without a scheme from where the script came from.
const IPXE: &str =
    "#!ipxe\n# UEFI only. The boot file is one signed program; it needs no arguments.\nchain xenolith.efi\n";

/// What an ESP holds. `version` names the boot entry.
fn esp_files(signed: &Path, version: &Version, tries: u8, timeout: u32) -> Result<Vec<EspFile>, Failed> {
    let file = |path: String, from: PathBuf| EspFile { path, content: EspContent::File(from) };
    let loader = signed.join("boot/systemd-bootx64.efi");
    let entry = names::EntryName::offered(version.clone(), tries);
    let mut files = vec![
        file(names::ESP_FALLBACK_LOADER.into(), loader.clone()),
        file(names::ESP_LOADER.into(), loader),
        file(format!("{}/{entry}", names::ESP_ENTRIES), signed.join("boot/xenolith.efi")),
        EspFile {
            path: names::ESP_LOADER_CONF.into(),
            content: EspContent::Bytes(loader_conf(timeout).into_bytes()),
        },
    ];
    let mut keys: Vec<PathBuf> = fs::read_dir(signed.join("keys"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    keys.sort();
    for key in keys {
        let name = key.file_name().expect("an entry of a folder has a name").to_string_lossy().into_owned();
        files.push(file(format!("{}/{name}", names::ESP_ENROLMENT), key));
    }
    Ok(files)
}

/// Makes `esp.img`, as large as the files need, for optical media and USB sticks.
///
/// # Errors
/// When a file cannot be read.
pub fn media_esp(context: &StepContext, version: &Version, tries: u8) -> Result<(), Failed> {
    let files = esp_files(context.input("signed"), version, tries, 0)?;
    let size = esp::smallest_size(&files)?;
    esp::write(&context.out().join("esp.img"), size, names::ESP_FS_LABEL, MEDIA_ESP_SERIAL, &files)?;
    Ok(())
}

/// Makes `xenolith.iso`: one file that starts as a CD and, written raw, as a USB stick.
///
/// # Errors
/// When xorriso fails or the ISO is over its budget.
pub fn iso(context: &StepContext, budget: u64, manifest: &str) -> Result<(), Failed> {
    let root = context.input("root");
    let media = context.scratch().join("media.json");
    fs::write(&media, manifest)?;
    let area = context.scratch().join("reserved.img");
    fs::write(&area, Content::default().image())?;
    let sandbox = Sandbox::new(context.input("tools-tree"))
        .bind_ro(&root.join("root.erofs"), "/media/root.erofs")
        .bind_ro(&root.join("root.verity"), "/media/root.verity")
        .bind_ro(&media, "/media/manifest.json")
        .bind_ro(&context.input("media-esp").join("esp.img"), "/media/esp.img")
        .bind_ro(&area, "/media/reserved.img")
        .bind_rw(context.out(), "/out");
    let uuid = "2026010100000000";
    let (area_number, area_type) = (reserved::PARTITION.to_string(), TypeGuid::RESERVED.to_string());
    let args = [
        "-volume_date",
        "uuid",
        uuid,
        "-volume_date",
        "all_file_dates",
        uuid,
        "-as",
        "mkisofs",
        "-iso-level",
        "3",
        "-r",
        "-V",
        names::ISO_VOLUME_ID,
        "-o",
        "/out/xenolith.iso",
        "-partition_offset",
        "16",
        "-append_partition",
        "2",
        "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        "/media/esp.img",
        // Behind the ESP, so that writing into it moves nothing.
        "-append_partition",
        &area_number,
        &area_type,
        "/media/reserved.img",
        "-appended_part_as_gpt",
        "-e",
        "--interval:appended_partition_2:all::",
        "-no-emul-boot",
        "-graft-points",
    ];
    let mut args: Vec<String> = args.map(str::to_owned).to_vec();
    for (inside, file) in [
        (names::MEDIA_ROOT, "/media/root.erofs"),
        (names::MEDIA_VERITY, "/media/root.verity"),
        (names::MEDIA_MANIFEST, "/media/manifest.json"),
    ] {
        args.push(format!("{inside}={file}"));
    }
    sandbox.run(Tool::Xorriso, args, context.log())?;
    let size = fs::metadata(context.out().join("xenolith.iso"))?.len();
    if size > budget {
        return Err(format!("the ISO has {size} bytes, over its budget of {budget} in image.toml").into());
    }
    Ok(())
}

/// Makes `disk.img`: the whole partition table, the ESP and slot A; slot B and the state partition stay holes.
///
/// # Errors
/// When a content does not fit into its partition.
pub fn disk_image(context: &StepContext, version: &Version, tries: u8) -> Result<(), Failed> {
    let root = context.input("root");
    let esp_image = context.scratch().join("esp.img");
    let files = esp_files(context.input("signed"), version, tries, 3)?;
    esp::write(&esp_image, ESP_SIZE.get(), names::ESP_FS_LABEL, DISK_ESP_SERIAL, &files)?;
    let size = minimum(SectorSize::B512, false);
    let layout = plan(size, SectorSize::B512, &Options::new(DISK_SEED))?;
    let contents = [
        (Role::Esp, esp_image),
        (Role::Root(Slot::A), root.join("root.erofs")),
        (Role::Verity(Slot::A), root.join("root.verity")),
    ];
    disk::write(&context.out().join("disk.img"), &layout, &contents)?;
    Ok(())
}

/// Makes the files that a network boot serves. UEFI HTTP boot starts the boot file itself; its initrd then fetches
/// root image and verity tree from beside it. Loader and keys are for installations: they go onto the ESP.
///
/// # Errors
/// When a file cannot be copied.
pub fn netboot(context: &StepContext, version: &Version) -> Result<(), Failed> {
    let (out, root, signed) = (context.out(), context.input("root"), context.input("signed"));
    let mut files = vec![
        (names::NETBOOT_BOOT_FILE.to_owned(), signed.join("boot/xenolith.efi")),
        (names::NETBOOT_LOADER.to_owned(), signed.join("boot/systemd-bootx64.efi")),
        (names::NETBOOT_ROOT.to_owned(), root.join("root.erofs")),
        (names::NETBOOT_VERITY.to_owned(), root.join("root.verity")),
    ];
    for key in fs::read_dir(signed.join("keys"))? {
        let key = key?.path();
        let name = key.file_name().expect("an entry of a folder has a name").to_string_lossy().into_owned();
        files.push((format!("{}/{name}", names::NETBOOT_KEYS), key));
    }
    fs::create_dir_all(out.join(names::NETBOOT_KEYS))?;
    for (name, from) in &files {
        fs::copy(from, out.join(name))?;
    }
    fs::write(out.join(names::NETBOOT_IPXE), IPXE)?;
    let mut facts = BTreeMap::new();
    for name in files.into_iter().map(|(name, _)| name).chain([names::NETBOOT_IPXE.to_owned()]) {
        let found = FileFacts::of(fs::File::open(out.join(&name))?)?;
        facts.insert(FileName::try_from(name)?, found);
    }
    let manifest = Manifest::new(version.clone(), RootFacts::read(root)?.root_hash, facts)?;
    fs::write(out.join(names::NETBOOT_MANIFEST), manifest.render())?;
    Ok(())
}

/// One frame of the root image in the update set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Frame {
    /// Offset in the root image, in bytes.
    pub at: u64,
    /// Offset in the file of frames.
    pub stored_at: u64,
    /// Bytes in the file of frames.
    pub stored: u64,
}

/// What an updater reads first: which files there are and what they must hash to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpdateIndex {
    /// Of this format.
    pub format: u32,
    /// The version of the image.
    pub version: String,
    /// The root hash.
    pub root_hash: String,
    /// Bytes of the root image.
    pub root_size: u64,
    /// Bytes of the verity tree.
    pub verity_size: u64,
    /// Bytes of the root image in one frame, before compression.
    pub frame: u64,
    /// The frames, in order.
    pub frames: Vec<Frame>,
    /// SHA-256 of each file beside this one.
    pub files: std::collections::BTreeMap<String, String>,
}

/// Makes the update set: boot file, verity tree, and the root image in independently compressed frames, with an index
/// signed by the update key (a DSSE envelope).
///
/// # Errors
/// When a file cannot be read or the keys cannot be used.
pub fn update(context: &StepContext, version: &Version, keys: &Path) -> Result<(), Failed> {
    let (out, root) = (context.out(), context.input("root"));
    let facts = RootFacts::read(root)?;
    fs::copy(context.input("signed").join("boot/xenolith.efi"), out.join("xenolith.efi"))?;
    fs::copy(root.join("root.verity"), out.join("root.verity"))?;
    let frames = write_frames(context, &root.join("root.erofs"), &out.join("root.frames"), facts.size)?;
    let mut files = std::collections::BTreeMap::new();
    for name in ["xenolith.efi", "root.verity", "root.frames"] {
        files.insert(name.to_owned(), xenolith_store::digest_file(&out.join(name))?.to_string());
    }
    let index = UpdateIndex {
        format: 1,
        version: version.to_string(),
        root_hash: facts.root_hash.to_string(),
        root_size: facts.size,
        verity_size: facts.verity_size,
        frame: FRAME as u64,
        frames,
        files,
    };
    let text = serde_json::to_vec(&index)?;
    let keys = KeySet::load(keys)?;
    let envelope = keys.update().sign_dsse(UPDATE_INDEX_TYPE, &text);
    fs::write(out.join("index.dsse.json"), envelope)?;
    Ok(())
}

fn write_frames(context: &StepContext, image: &Path, to: &Path, size: u64) -> Result<Vec<Frame>, Failed> {
    let mut source = BufReader::new(fs::File::open(image)?);
    let mut out = fs::File::create(to)?;
    let (mut frames, mut at, mut stored_at) = (Vec::new(), 0_u64, 0_u64);
    loop {
        let mut block = Vec::with_capacity(FRAME);
        (&mut source).take(FRAME as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(frames);
        }
        // The image is compressed already; what is left to gain is in metadata and tables.
        let packed = zstd::bulk::compress(&block, 3)?;
        out.write_all(&packed)?;
        frames.push(Frame { at, stored_at, stored: packed.len() as u64 });
        at += block.len() as u64;
        stored_at += packed.len() as u64;
        context.progress(at, size, Unit::Bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_private_keys_of_pk_and_kek_there_is_nothing_to_enrol_and_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let files = enrolment_files(&KeySet::init(&keys, &Default::default()).unwrap()).unwrap();
        assert_eq!(files.len(), 9, "PK, KEK and db, each as .auth, .esl and .der");
        fs::write(keys.join("keys.toml"), "format = 1\nkind = \"release\"\n").unwrap();
        fs::remove_file(keys.join("pk.key")).unwrap();
        fs::remove_file(keys.join("kek.key")).unwrap();
        assert!(enrolment_files(&KeySet::load(&keys).unwrap()).unwrap().is_empty());
    }
}
