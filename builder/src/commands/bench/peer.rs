//! What a user would do without Xenolith: plain mkosi, the same packages, a disk image with erofs and verity.
//!
//! The mkosi of the tools tree, with dom0's own configuration (so that the same files are left out) but for the output: a disk
//! image that systemd-repart fills with an erofs root and its verity tree, kept incremental. It is measured with the codec of the recipe
//! and once more as repart compresses when nothing is said: not at all. The repository it installs from is there
//! before the clock starts. Not in its image: Xen compiled from source, the Rust programs, a boot file, signatures, an ISO.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use fs_err as fs;
use serde::Serialize;

use super::{Built, bare, result, step_failure, tell};
use crate::{
    exit::{Class, Classify as _, Failure},
    recipe::Root,
    steps::dom0::{Mkosi, RepositoryPackage},
};

/// Where a partition's definition says how it is compressed.
const PARTITIONS: [(&str, &str); 2] = [
    (
        "00-root.conf",
        "[Partition]\nType=root\nFormat=erofs\nCopyFiles=/\nMinimize=best\nVerity=data\nVerityMatchKey=root\n",
    ),
    (
        "10-root-verity.conf",
        "[Partition]\nType=root-verity\nMinimize=best\nVerity=hash\nVerityMatchKey=root\n",
    ),
];

/// How the peer compresses its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// As the recipe says.
    OfTheRecipe,
    /// As systemd-repart does by itself.
    None,
}

/// What mkosi took, in seconds for each run.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// How its root is compressed.
    pub codec: Codec,
    /// From nothing.
    pub cold: Vec<f64>,
    /// Again, with nothing changed.
    pub unchanged: Vec<f64>,
    /// Again, with a file added to `mkosi.extra`.
    pub file: Vec<f64>,
    /// Bytes of the disk image that are not holes.
    pub bytes: u64,
}

/// Measures mkosi.
///
/// # Errors
/// [`Class::Failed`] with mkosi's words.
pub fn measure(built: &Built, folder: &Path, cold: u16, runs: u16) -> Result<Vec<Peer>, Failure> {
    let setup = Setup::new(built, folder)?;
    let mut peers = Vec::new();
    for codec in [Codec::OfTheRecipe, Codec::None] {
        setup.partitions(&built.plan.recipe.root, codec)?;
        let mut peer = Peer { codec, cold: Vec::new(), unchanged: Vec::new(), file: Vec::new(), bytes: 0 };
        for _ in 0..cold {
            setup.forget()?;
            tell("mkosi from nothing");
            peer.cold.push(setup.build(built, codec)?);
        }
        for _ in 0..runs {
            tell("mkosi with nothing changed");
            peer.unchanged.push(setup.build(built, codec)?);
        }
        for run in 0..runs {
            setup.add_file(run)?;
            tell("mkosi with a file added");
            peer.file.push(setup.build(built, codec)?);
        }
        peer.bytes = setup.bytes()?;
        peers.push(peer);
    }
    Ok(peers)
}

struct Setup {
    conf: PathBuf,
    repository: PathBuf,
    scratch: PathBuf,
    out: PathBuf,
    log: PathBuf,
    packages: Vec<RepositoryPackage>,
}

impl Setup {
    fn new(built: &Built, folder: &Path) -> Result<Self, Failure> {
        let [conf, repository, scratch, out] =
            ["conf", "repository", "scratch", "out"].map(|name| folder.join(name));
        let from = built.plan.root.join("dom0-rootfs");
        let prepare = || -> std::io::Result<()> {
            for folder in [&conf, &scratch, &out] {
                fs::create_dir_all(folder)?;
            }
            fs::copy(from.join("mkosi.conf"), conf.join("mkosi.conf"))?;
            ["mkosi.skeleton", "mkosi.extra"]
                .iter()
                .filter(|name| from.join(name).is_dir())
                .try_for_each(|name| copy_tree(&from.join(name), &conf.join(name)))
        };
        prepare().class(Class::Host, "cannot lay out what mkosi reads")?;
        let packages = bare::write_repository(&built.plan, &repository)?;
        Ok(Self { conf, repository, scratch, out, log: folder.join("log"), packages })
    }

    fn partitions(&self, root: &Root, codec: Codec) -> Result<(), Failure> {
        let folder = self.conf.join("mkosi.repart");
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&folder)?;
            for (name, text) in PARTITIONS {
                let compression = if name.starts_with("00") {
                    compression(&root.compression, codec)
                } else {
                    String::new()
                };
                fs::write(folder.join(name), format!("{text}{compression}"))?;
            }
            Ok(())
        };
        write().class(Class::Host, "cannot write the partitions' definitions")
    }

    /// Makes the next build one from nothing.
    fn forget(&self) -> Result<(), Failure> {
        let again = || {
            for folder in [&self.scratch, &self.out] {
                fs::remove_dir_all(folder)?;
                fs::create_dir_all(folder)?;
            }
            Ok::<_, std::io::Error>(())
        };
        again().class(Class::Host, "cannot remove what mkosi left")
    }

    fn add_file(&self, run: u16) -> Result<(), Failure> {
        let folder = self.conf.join("mkosi.extra/usr/share/xenolith");
        // The name ends like none of the other runs' and codecs', or nothing would have been added.
        let name = |number| folder.join(format!("bench-{run}-{number}"));
        let write = || {
            fs::create_dir_all(&folder)?;
            let file = (0..u16::MAX).map(name).find(|file| !file.exists());
            file.map_or(Ok(()), |file| fs::write(file, "added\n"))
        };
        write().class(Class::Host, "cannot add a file for mkosi")
    }

    fn build(&self, built: &Built, codec: Codec) -> Result<f64, Failure> {
        let mkosi = Mkosi {
            tools: result(built, "tools-tree")?,
            folder: &self.conf,
            repository: &self.repository,
            scratch: &self.scratch,
            out: &self.out,
            packages: &self.packages,
        };
        fs::create_dir_all(self.scratch.join("incremental"))
            .class(Class::Host, "cannot make mkosi's cache")?;
        let mkfs =
            format!("--environment=SYSTEMD_REPART_MKFS_OPTIONS_EROFS=-C{}", built.plan.recipe.root.cluster.0);
        let mut args = vec![
            "--format=disk",
            "--output=peer",
            "--incremental=yes",
            "--cache-directory=/scratch/incremental",
            "--repart-directory=/dom0-rootfs/mkosi.repart",
        ];
        if codec == Codec::OfTheRecipe {
            args.push(&mkfs);
        }
        let began = Instant::now();
        mkosi.run(&args, &self.log).map_err(step_failure("mkosi"))?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn bytes(&self) -> Result<u64, Failure> {
        use std::os::unix::fs::MetadataExt as _;
        let image =
            fs::metadata(self.out.join("peer.raw")).class(Class::Failed, "mkosi left no disk image")?;
        // In sectors of 512 bytes whatever the disk has (stat(2)).
        Ok(image.blocks() * 512)
    }
}

/// systemd-repart's words for what mkfs.erofs calls `zstd,level=12` (repart.d(5), since systemd 256).
fn compression(of_the_recipe: &str, codec: Codec) -> String {
    if codec == Codec::None {
        return String::new();
    }
    let (name, rest) = of_the_recipe.split_once(',').unwrap_or((of_the_recipe, ""));
    let level = rest.split(',').find_map(|option| option.strip_prefix("level="));
    let level = level.map(|level| format!("CompressionLevel={level}\n")).unwrap_or_default();
    format!("Compression={name}\n{level}")
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in walkdir::WalkDir::new(from).sort_by_file_name() {
        let entry = entry?;
        let target = to.join(entry.path().strip_prefix(from).expect("a walk stays below its root"));
        if entry.file_type().is_dir() {
            fs::create_dir_all(target)?;
        } else if entry.file_type().is_symlink() {
            fs::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_is_said_in_the_words_of_repart() {
        let zstd = compression("zstd,level=12", Codec::OfTheRecipe);
        assert_eq!(zstd, "Compression=zstd\nCompressionLevel=12\n");
        assert_eq!(compression("lz4hc", Codec::OfTheRecipe), "Compression=lz4hc\n");
        assert_eq!(compression("zstd,level=12", Codec::None), "");
    }
}
