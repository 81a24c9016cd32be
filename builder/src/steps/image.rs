//! From trees to the pair that every medium starts: the root image with its verity tree, and the boot file.

use std::{
    collections::BTreeMap,
    io::{BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use xenolith_assemble::{
    EPOCH,
    initrd::{self, Initrd},
    rootfs::{Content, Modes, Tree},
};
use xenolith_bootfile::{Block, Section, XenConfig};
use xenolith_layout::{Bytes, RootHash, Version, names};
use xenolith_sandbox::{Sandbox, Tool};
use xenolith_store::StepContext;

use super::describe::packages::{self, owners};
use crate::recipe::{Boot, Recipe, Root};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The UUID of every root image's file system; images are told apart by their root hash.
const EROFS_UUID: &str = "78656e6f-6c69-8468-8000-000000000001";
/// The one block of the embedded configuration.
const CONFIG_BLOCK: &str = "xenolith";
/// What `root` says about the image, beside the image.
pub const ROOT_FACTS: &str = "root.json";

/// Which image this is: in os-release, in the boot file, in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `ID` and `IMAGE_ID`.
    pub id: String,
    /// For people.
    pub name: String,
    /// `IMAGE_VERSION`.
    pub version: String,
    /// The variant of the recipe.
    pub variant: String,
    /// The commit of the checkout, with `-dirty` if it had other changes.
    pub revision: String,
    /// SHA-256 of xenolith.lock.
    pub lock: String,
}

impl Identity {
    /// The text of `/usr/lib/os-release` and of the boot file's `.osrel` section.
    pub fn os_release(&self, build_id: &str) -> String {
        format!(
            "NAME=\"{name}\"\nID={id}\nID_LIKE=debian\nPRETTY_NAME=\"{name} {version}\"\nVERSION=\"{version}\"\nVERSION_ID={version}\n\
             IMAGE_ID={id}\nIMAGE_VERSION={version}\nVARIANT_ID={variant}\nBUILD_ID={build_id}\n\
             XENOLITH_REVISION={revision}\nXENOLITH_LOCK={lock}\n",
            name = self.name,
            id = self.id,
            version = self.version,
            variant = self.variant,
            revision = self.revision,
            lock = self.lock,
        )
    }
}

/// What later steps need to know of a root image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFacts {
    /// The root hash.
    pub root_hash: RootHash,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of the verity tree.
    pub verity_size: u64,
    /// Names the build: the first 16 digits of the key of the step that made the image.
    pub build_id: String,
    /// The kernel's version.
    pub kernel: String,
}

impl RootFacts {
    /// Reads what `root` wrote.
    ///
    /// # Errors
    /// When the file is not there or not its own.
    pub fn read(folder: &Path) -> Result<Self, Failed> {
        Ok(serde_json::from_slice(&fs::read(folder.join(ROOT_FACTS))?)?)
    }
}

/// The one kernel of a package tree.
///
/// # Errors
/// When there is none or more than one.
pub fn kernel_version(tree: &Path) -> Result<String, Failed> {
    let mut found = Vec::new();
    for entry in fs::read_dir(tree.join("usr/lib/modules"))? {
        found.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(format!("the package tree must have one kernel, and has {found:?}").into()),
    }
}

/// Where the kernel image of a package tree is: `RemoveFiles` takes /boot, so a copy lies beside the modules.
fn kernel_image(tree: &Path, version: &str) -> Result<PathBuf, Failed> {
    [tree.join(format!("usr/lib/modules/{version}/vmlinuz")), tree.join(format!("boot/vmlinuz-{version}"))]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| format!("the package tree has no kernel image for {version}").into())
}

/// Takes the one program of the initrd out of the others, so that editing those leaves the initrd as it is.
///
/// # Errors
/// When it is not there.
pub fn init_program(context: &StepContext) -> Result<(), Failed> {
    fs::copy(context.input("crates").join("bin/xenolith-init"), context.out().join("init"))?;
    Ok(())
}

/// Makes `initrd`: early microcode and the compressed archive.
///
/// # Errors
/// When a program, library or module is missing.
pub fn initrd(context: &StepContext) -> Result<(), Failed> {
    let tree = context.input("packages").join("rootfs");
    let version = kernel_version(&tree)?;
    let init = context.input("init").join("init");
    let mut out = BufWriter::new(fs::File::create(context.out().join("initrd"))?);
    out.write_all(&initrd::microcode(&tree)?)?;
    let plan = Initrd {
        trees: &[&tree],
        kernel_tree: &tree,
        kernel: &version,
        init: &init,
        programs: &[xenolith_init::PROGRAMS, xenolith_init::PLUGINS].concat(),
        libraries: xenolith_init::LIBRARIES,
        modules: xenolith_init::MODULES,
        firmware: xenolith_init::FIRMWARE,
    };
    plan.write(&mut out)?;
    out.flush()?;
    Ok(())
}

/// Makes the test guest: `vmlinuz` and `initrd`, which boot as PV, PVH and HVM guest, say what they are, and end.
///
/// # Errors
/// When a program, library or module is missing.
pub fn test_guest(context: &StepContext) -> Result<(), Failed> {
    let tree = context.input("packages").join("rootfs");
    let version = kernel_version(&tree)?;
    fs::copy(kernel_image(&tree, &version)?, context.out().join("vmlinuz"))?;
    let init = context.input("crates").join("bin").join(super::crates::TEST_GUEST.name);
    let mut out = BufWriter::new(fs::File::create(context.out().join("initrd"))?);
    let plan = Initrd {
        trees: &[&tree],
        kernel_tree: &tree,
        kernel: &version,
        init: &init,
        programs: &["usr/sbin/modprobe"],
        libraries: &["libgcc_s.so.1"],
        modules: &["xen_blkfront"],
        firmware: &[],
    };
    plan.write(&mut out)?;
    out.flush()?;
    Ok(())
}

/// Packages whose files the Xen that was compiled here replaces: what dom0 runs must be what was compiled.
fn is_debians_xen(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.starts_with("usr/lib/x86_64-linux-gnu") && name.starts_with("libxen") && name.contains(".so")
}

/// What the root tree is put together from: results of steps, and a folder of the checkout.
pub struct Layers<'a> {
    /// The result of `packages`.
    pub packages: &'a Path,
    /// The result of `xen-tools`.
    pub xen_tools: &'a Path,
    /// The result of `crates`.
    pub crates: &'a Path,
    /// `dom0-rootfs/overlay`.
    pub overlay: &'a Path,
}

/// Puts the layers of the root tree together.
///
/// # Errors
/// When they clash, or Xen lacks a library that Debian's QEMU links.
pub fn layers(from: &Layers<'_>, os_release: &str) -> Result<Tree, Failed> {
    let mut tree = Tree::default();
    let packages = from.packages.join("rootfs");
    tree.add_layer("packages", &packages, Modes::Kept)?;
    let replaced: Vec<PathBuf> =
        tree.entries().map(|(path, _)| path.to_path_buf()).filter(|path| is_debians_xen(path)).collect();
    for path in &replaced {
        tree.remove(path);
    }
    tree.add_layer("xen", &from.xen_tools.join("tools"), Modes::Kept)?;
    let lost: Vec<String> = replaced
        .iter()
        .filter(|path| tree.get(path).is_none() && path.to_string_lossy().matches(".so.").count() == 1)
        .filter(|path| {
            path.to_string_lossy().rsplit(".so.").next().is_some_and(|v| !v.contains('.') || v == "4.20")
        })
        .map(|path| path.display().to_string())
        .collect();
    if !lost.is_empty() {
        return Err(
            format!("Debian's QEMU links these, and our Xen did not make them: {}", lost.join(", ")).into()
        );
    }
    for program in super::crates::PROGRAMS.iter().map(|program| program.name) {
        // PID 1 of the initrd has no business in dom0.
        if program == "xenolith-init" {
            continue;
        }
        let file = Content::File(from.crates.join("bin").join(program));
        tree.put("crates", Path::new("usr/bin").join(program), file, 0o755)?;
    }
    tree.add_layer("overlay", from.overlay, Modes::Checkout)?;
    tree.put("identity", "usr/lib/os-release".into(), Content::Text(os_release.into()), 0o644)?;
    let version = kernel_version(&packages)?;
    tree.remove(&Path::new("usr/lib/modules").join(&version).join("vmlinuz"));
    for mount_point in ["dev", "proc", "sys", "run", "tmp", "var", "efi", "mnt"] {
        tree.put("identity", mount_point.into(), Content::Folder, 0o755)?;
    }
    Ok(tree)
}

/// Makes `root.erofs`, `root.verity` and [`ROOT_FACTS`], and `files.json`: what takes how much room.
///
/// # Errors
/// When layers clash, mkfs.erofs fails or the image is over its budget.
pub fn root(context: &StepContext, root: &Root, identity: &Identity, budget: u64) -> Result<(), Failed> {
    let build_id: String = context.key().to_string().chars().take(16).collect();
    let from = Layers {
        packages: context.input("packages"),
        xen_tools: context.input("xen-tools"),
        crates: context.input("crates"),
        overlay: context.input("overlay"),
    };
    let tree = layers(&from, &identity.os_release(&build_id))?;
    let archive = context.scratch().join("root.tar");
    write_archive(&tree, &archive)?;
    write_file_list(&tree, &context.out().join("files.json"))?;
    let image = context.out().join("root.erofs");
    make_erofs(context.input("tools-tree"), &archive, &image, &erofs_options(root), context.log())?;
    fs::remove_file(&archive)?;
    let size = fs::metadata(&image)?.len();
    if size > budget {
        let packages = packages::read(context.input("package-files"))?;
        let list = largest(&file_sizes(&tree), &owners(&packages), 10);
        return Err(format!(
            "the root image has {size} bytes, over its budget of {budget} in image.toml; what takes most before compression:\n{list}"
        )
        .into());
    }
    let verity = context.out().join("root.verity");
    let mut out = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&verity)?;
    let mut data = BufReader::new(fs::File::open(&image)?);
    let root_hash = xenolith_verity::build(&mut data, Bytes::new(size), &mut out)?;
    drop(out);
    let packages = context.input("packages").join("rootfs");
    let kernel = kernel_version(&packages)?;
    let facts = RootFacts { root_hash, size, verity_size: fs::metadata(&verity)?.len(), build_id, kernel };
    fs::write(context.out().join(ROOT_FACTS), serde_json::to_vec_pretty(&facts)?)?;
    Ok(())
}

/// Writes the archive that the image is made of.
///
/// # Errors
/// When a file of a layer cannot be read or the archive cannot be written.
pub fn write_archive(tree: &Tree, archive: &Path) -> Result<(), Failed> {
    Ok(tree.write_tar(BufWriter::with_capacity(1 << 20, fs::File::create(archive)?))?)
}

/// What the recipe says to mkfs.erofs.
pub fn erofs_options(root: &Root) -> Vec<String> {
    vec![format!("-z{}", root.compression), format!("-C{}", root.cluster.0)]
}

/// Makes an image of an archive, in whole blocks: verity counts those.
///
/// # Errors
/// When mkfs.erofs fails; its words are in the log.
pub fn make_erofs(
    tools: &Path,
    archive: &Path,
    image: &Path,
    options: &[String],
    log: &Path,
) -> Result<(), Failed> {
    let (Some(folder), Some(name)) = (image.parent(), image.file_name()) else {
        return Err(format!("{} is no place for an image", image.display()).into());
    };
    let sandbox = Sandbox::new(tools).bind_ro(archive, "/tmp/root.tar").bind_rw(folder, "/out");
    let mut args = vec!["--quiet".to_owned()];
    args.extend_from_slice(options);
    args.extend([
        format!("-T{EPOCH}"),
        format!("-U{EROFS_UUID}"),
        "--all-root".into(),
        "--tar=f".into(),
        format!("/out/{}", name.to_string_lossy()),
        "/tmp/root.tar".into(),
    ]);
    sandbox.run(Tool::MkfsErofs, args, log)?;
    Ok(pad(image)?)
}

fn pad(image: &Path) -> std::io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(image)?;
    let length = file.metadata()?.len();
    file.set_len(length.next_multiple_of(4096))
}

/// A file of the root image, for the report and the SBOM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its path.
    pub path: String,
    /// Its size before compression.
    pub size: u64,
    /// The layer it comes from.
    pub layer: String,
}

fn file_sizes(tree: &Tree) -> Vec<FileEntry> {
    let size = |content: &Content| match content {
        Content::File(path) => fs::metadata(path).map(|metadata| metadata.len()).ok(),
        Content::Text(text) => Some(text.len() as u64),
        Content::Folder | Content::Link(_) => None,
    };
    tree.entries()
        .filter_map(|(path, entry)| {
            let size = size(&entry.content)?;
            Some(FileEntry { path: path.display().to_string(), size, layer: entry.layer.into() })
        })
        .collect()
}

fn write_file_list(tree: &Tree, out: &Path) -> Result<(), Failed> {
    fs::write(out, serde_json::to_vec(&file_sizes(tree))?)?;
    Ok(())
}

/// The packages, and layers that are none, whose files take most.
fn largest(files: &[FileEntry], owners: &BTreeMap<&str, &str>, count: usize) -> String {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for file in files {
        let owner = owners.get(file.path.as_str()).filter(|_| file.layer == "packages");
        *sizes.entry(owner.copied().unwrap_or(&file.layer)).or_default() += file.size;
    }
    let mut sizes: Vec<(u64, &str)> = sizes.into_iter().map(|(name, size)| (size, name)).collect();
    sizes.sort_by(|a, b| b.cmp(a));
    let lines = sizes.iter().take(count).map(|(size, name)| format!("{size:>12}  {name}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// One space between words, none around them.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The command lines of one image.
///
/// # Errors
/// When an option holds a character that the configuration cannot.
pub fn xen_config(
    boot: &Boot,
    extra: (&str, &str),
    identity: &Identity,
    facts: &RootFacts,
) -> Result<String, Failed> {
    let xen = format!("{} {}", boot.xen, extra.0);
    let dom0 = format!(
        "{} {} {}={} {}={}",
        boot.dom0,
        extra.1,
        names::KARG_ROOT_HASH,
        facts.root_hash,
        names::KARG_VERSION,
        identity.version
    );
    let block = Block { name: CONFIG_BLOCK.into(), xen_options: words(&xen), dom0_cmdline: words(&dom0) };
    Ok(XenConfig { default: CONFIG_BLOCK.into(), blocks: vec![block] }.render()?)
}

/// Makes `xenolith.efi`, the boot file without a signature.
///
/// # Errors
/// When the hypervisor's PE cannot be extended.
pub fn boot_file(
    context: &StepContext,
    recipe: &Recipe,
    variant: &str,
    identity: &Identity,
) -> Result<(), Failed> {
    let facts = RootFacts::read(context.input("root"))?;
    let variant = recipe.variant.get(variant).ok_or("the recipe has no such variant")?;
    let config = xen_config(&recipe.boot, (&variant.xen, &variant.dom0), identity, &facts)?;
    let tree = context.input("packages").join("rootfs");
    let version: Version = identity.version.parse()?;
    let xen = fs::read(context.input("xen").join("hypervisor/xen.efi"))?;
    let os_release = identity.os_release(&facts.build_id);
    let kernel = fs::read(kernel_image(&tree, &facts.kernel)?)?;
    let ramdisk = fs::read(context.input("initrd").join("initrd"))?;
    let sections = [
        Section { name: ".config", data: config.as_bytes() },
        Section { name: ".osrel", data: os_release.as_bytes() },
        Section { name: ".kernel", data: &kernel },
        Section { name: ".ramdisk", data: &ramdisk },
    ];
    let boot_file = xenolith_bootfile::assemble(&xen, &sections)?;
    fs::write(context.out().join("xenolith.efi"), boot_file)?;
    fs::write(context.out().join("version"), version.as_str())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_most_is_listed_by_package_and_layer() {
        let file = |path: &str, size, layer: &str| FileEntry { path: path.into(), size, layer: layer.into() };
        let files = [
            file("usr/lib/a", 10, "packages"),
            file("usr/lib/b", 5, "packages"),
            file("usr/lib/made", 1, "packages"),
            file("usr/sbin/xl", 12, "xen"),
        ];
        let owners = BTreeMap::from([("usr/lib/a", "one"), ("usr/lib/b", "one")]);
        let list = largest(&files, &owners, 2);
        assert_eq!(list, "          15  one\n          12  xen");
    }
}
