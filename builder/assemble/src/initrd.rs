//! The initrd: `xenolith-init`, the few programs it starts, and kernel modules, as one compressed cpio archive.
//!
//! ```text
//!   early cpio (not compressed)   kernel/x86/microcode/{AuthenticAMD,GenuineIntel}.bin: found by Xen (`ucode=scan`)
//!   cpio, zstd                    /init, programs with their libraries, modules
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;

use crate::elf::{self, ElfError};

/// Deep enough to matter, quick enough for a build: 19 takes three times as long for 1 %.
const COMPRESSION: i32 = 15;

/// What an initrd is made of.
pub struct Initrd<'a> {
    /// Trees to take programs and libraries from; the first that has one wins.
    pub trees: &'a [&'a Path],
    /// The tree with the kernel's modules.
    pub kernel_tree: &'a Path,
    /// The kernel's version.
    pub kernel: &'a str,
    /// The program that is /init.
    pub init: &'a Path,
    /// Paths of programs inside the trees, such as `usr/sbin/veritysetup`.
    pub programs: &'a [&'a str],
    /// Libraries that programs open by name at run time.
    pub libraries: &'a [&'a str],
    /// Module names, or folders below `kernel/` ending in `/`.
    pub modules: &'a [&'a str],
    /// Patterns below `usr/lib/firmware`, packed where the tree has them.
    pub firmware: &'a [&'a str],
}

/// The initrd cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// A file.
    #[error("cannot make the initrd")]
    Io(#[from] io::Error),
    /// A library.
    #[error("cannot collect the initrd's libraries")]
    Elf(#[from] ElfError),
    /// A program.
    #[error("the initrd needs {0}, which is in none of the trees")]
    NoProgram(String),
    /// A module.
    #[error("the initrd needs the kernel module {0}, which this kernel neither has nor has built in")]
    NoModule(String),
}

enum Node {
    Folder,
    Link(PathBuf),
    File(PathBuf),
}

impl Initrd<'_> {
    /// Writes the compressed archive.
    ///
    /// # Errors
    /// [`InitrdError`].
    pub fn write(&self, out: &mut impl Write) -> Result<(), InitrdError> {
        let mut nodes: BTreeMap<PathBuf, Node> = BTreeMap::new();
        for folder in ["dev", "proc", "sys", "run", "sysroot", "tmp", "etc"] {
            nodes.insert(folder.into(), Node::Folder);
        }
        for (link, place) in
            [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
        {
            nodes.insert(link.into(), Node::Link(place.into()));
        }
        nodes.insert("init".into(), Node::File(self.init.into()));
        let mut elves = vec![self.init.to_path_buf()];
        for program in self.programs {
            let inside = program.trim_start_matches('/');
            let file = self.find(inside)?;
            elves.push(file.clone());
            nodes.insert(inside.into(), Node::File(file));
        }
        for (inside, file) in elf::closure(self.trees, &elves, self.libraries)? {
            // The interpreter is asked for below /lib64, whichever folder it is found in.
            if inside.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux")) {
                nodes.insert(
                    Path::new("usr/lib64").join(inside.file_name().expect("a library has a name")),
                    Node::File(file),
                );
                continue;
            }
            nodes.insert(inside, Node::File(file));
        }
        self.add_modules(&mut nodes)?;
        self.add_firmware(&mut nodes)?;
        let mut encoder = zstd::Encoder::new(out, COMPRESSION)?;
        write_cpio(&mut encoder, nodes)?;
        encoder.finish()?.flush()?;
        Ok(())
    }

    fn find(&self, program: &str) -> Result<PathBuf, InitrdError> {
        self.trees
            .iter()
            .find_map(|tree| fs::canonicalize(tree.join(program)).ok())
            .ok_or_else(|| InitrdError::NoProgram(program.into()))
    }

    fn add_firmware(&self, nodes: &mut BTreeMap<PathBuf, Node>) -> Result<(), InitrdError> {
        let root = glob::Pattern::escape(&self.kernel_tree.to_string_lossy());
        for pattern in self.firmware {
            let found =
                glob::glob(&format!("{root}/usr/lib/firmware/{pattern}")).map_err(io::Error::other)?;
            for path in found {
                let path = path.map_err(io::Error::from)?;
                if path.is_file() {
                    let inside = path.strip_prefix(self.kernel_tree).expect("a match lies below its tree");
                    nodes.insert(inside.into(), Node::File(fs::canonicalize(&path)?));
                }
            }
        }
        Ok(())
    }

    fn add_modules(&self, nodes: &mut BTreeMap<PathBuf, Node>) -> Result<(), InitrdError> {
        let base = Path::new("usr/lib/modules").join(self.kernel);
        let folder = self.kernel_tree.join(&base);
        let dependencies = parse_dependencies(&fs::read_to_string(folder.join("modules.dep"))?);
        let builtin = fs::read_to_string(folder.join("modules.builtin"))?;
        let built_in: BTreeSet<String> = builtin.lines().map(module_name).collect();
        let mut chosen: BTreeSet<&str> = BTreeSet::new();
        for wanted in self.modules {
            let matching: Vec<&str> = dependencies
                .keys()
                .map(String::as_str)
                .filter(|path| match wanted.strip_suffix('/') {
                    Some(below) => path.starts_with(&format!("kernel/{below}/")),
                    None => module_name(path) == wanted.replace('-', "_"),
                })
                .collect();
            let built = wanted.ends_with('/') || built_in.contains(&wanted.replace('-', "_"));
            if matching.is_empty() && !built {
                return Err(InitrdError::NoModule((*wanted).into()));
            }
            chosen.extend(matching);
        }
        let mut all: BTreeSet<&str> = BTreeSet::new();
        for module in chosen {
            all.insert(module);
            all.extend(dependencies[module].iter().map(String::as_str));
        }
        for module in all {
            nodes.insert(base.join(module), Node::File(folder.join(module)));
        }
        for index in fs::read_dir(&folder)? {
            let index = index?;
            let name = index.file_name();
            if name.to_string_lossy().starts_with("modules.") {
                nodes.insert(base.join(&name), Node::File(index.path()));
            }
        }
        Ok(())
    }
}

/// `modules.dep`: `path: dependency dependency…`, dependencies complete (kmod's depmod(8)).
fn parse_dependencies(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (module.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
        .collect()
}

/// `kernel/drivers/md/dm-verity.ko.xz` is `dm_verity`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Writes nodes and the folders above them, sorted, inodes numbered in that order, owner 0:0, time 0.
fn write_cpio(out: &mut impl Write, mut nodes: BTreeMap<PathBuf, Node>) -> io::Result<()> {
    let above: BTreeSet<PathBuf> = nodes
        .keys()
        .flat_map(|path| path.ancestors().skip(1).map(Path::to_path_buf).collect::<Vec<_>>())
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    for folder in above {
        nodes.entry(folder).or_insert(Node::Folder);
    }
    for (inode, (path, node)) in (1u32..).zip(&nodes) {
        let (mode, bytes) = match node {
            Node::Folder => (0o040_755, Vec::new()),
            Node::Link(place) => (0o120_777, place.to_string_lossy().into_owned().into_bytes()),
            Node::File(file) => (0o100_755, fs::read(file)?),
        };
        member(out, inode, &path.to_string_lossy(), mode, &bytes)?;
    }
    cpio::newc::trailer(&mut *out)?;
    Ok(())
}

fn member(out: &mut impl Write, inode: u32, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let builder = cpio::newc::Builder::new(name).ino(inode).mode(mode).nlink(links);
    let mut writer = builder.write(&mut *out, size);
    writer.write_all(bytes)?;
    writer.finish()?;
    Ok(())
}

/// The early archive that Xen and Linux look for microcode in.
///
/// # Errors
/// When the firmware folders cannot be read.
pub fn microcode(tree: &Path) -> io::Result<Vec<u8>> {
    let firmware = tree.join("usr/lib/firmware");
    let mut out = Vec::new();
    let vendors = [("amd-ucode", "AuthenticAMD.bin"), ("intel-ucode", "GenuineIntel.bin")];
    let mut inode = 1;
    for folder in ["kernel", "kernel/x86", "kernel/x86/microcode"] {
        member(&mut out, inode, folder, 0o040_755, &[])?;
        inode += 1;
    }
    for (folder, name) in vendors {
        let mut files: Vec<PathBuf> = match fs::read_dir(firmware.join(folder)) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        files.sort();
        let mut all = Vec::new();
        for file in files {
            let is_text =
                file.extension().is_some_and(|extension| extension == "asc" || extension == "initramfs");
            if !is_text {
                all.extend(fs::read(file)?);
            }
        }
        member(&mut out, inode, &format!("kernel/x86/microcode/{name}"), 0o100_644, &all)?;
        inode += 1;
    }
    cpio::newc::trailer(&mut out)?;
    out.resize(out.len().next_multiple_of(512), 0);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_known_by_name_whatever_their_file_is_called() {
        assert_eq!(module_name("kernel/drivers/md/dm-verity.ko.xz"), "dm_verity");
        assert_eq!(module_name("kernel/fs/erofs/erofs.ko"), "erofs");
    }

    #[test]
    fn an_archive_is_the_same_twice_and_holds_the_folders_above_each_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x"), "x").unwrap();
        let make = || {
            let nodes = BTreeMap::from([(PathBuf::from("usr/bin/x"), Node::File(folder.path().join("x")))]);
            let mut out = Vec::new();
            write_cpio(&mut out, nodes).unwrap();
            out
        };
        let first = make();
        assert_eq!(first, make());
        let text = String::from_utf8_lossy(&first).into_owned();
        assert!(text.contains("usr\0") && text.contains("usr/bin\0") && text.contains("usr/bin/x\0"));
    }
}
