//! What the types of a recipe cannot say.
//!
//! Limits come from where they are true: the layout crate for slots and versions, the boot file's own renderer for
//! command lines, mkfs.erofs for codecs. A recipe that passes can still fail a build (a package that does not exist),
//! but not because of a value that was wrong on sight.

use std::collections::BTreeSet;

use xenolith_archive::{GroupName, PackageName, resolve::PackageRequest};
use xenolith_layout::{Bytes, RootHash, Version, disk, names};

use super::{Boot, Document, Group, Image, ListedPackage, PackageList, Problem, Recipe, Root, Size, Variant};
use crate::steps::image::{Identity, RootFacts, xen_config};

/// Groups that have a file of their own.
const OWN_FILE: [(&str, &str); 2] =
    [("build", "hypervisor-src/packages.toml"), ("dom0", "dom0-rootfs/packages.toml")];
/// Groups without which there are no steps.
const NEEDED: [&str; 2] = ["tools", "vm"];
/// The variant that is built unless another one is asked for.
const DEFAULT_VARIANT: &str = "default";
/// The most boots a boot entry can offer: its name has one digit for them.
const MOST_TRIES: u8 = 9;
/// `-z` arguments of mkfs.erofs 1.8: codec, highest level, whether it has a dictionary. lzma has levels 100 to 109
/// besides, and lz4 none at all.
const CODECS: [(&str, Option<u32>, bool); 6] = [
    ("lz4", None, false),
    ("lz4hc", Some(12), false),
    ("lzma", Some(9), true),
    ("deflate", Some(9), true),
    ("libdeflate", Some(12), false),
    ("zstd", Some(22), true),
];
/// Compression clusters of erofs: a block, up to `Z_EROFS_PCLUSTER_MAX_SIZE` of Linux 6.12.
const CLUSTERS: std::ops::RangeInclusive<u64> = (4 << 10)..=(1 << 20);

impl Document for Recipe {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        check_image(&self.image, &mut problems);
        check_variants(self, &mut problems);
        check_budget(self, &mut problems);
        check_root(&self.root, &mut problems);
        check_groups(self, &mut problems);
        problems
    }
}

impl Document for PackageList {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.package.is_empty() {
            problems.push(Problem::new("package", "there must be at least one"));
        }
        let mut seen = BTreeSet::new();
        for (list, entries) in [("package", &self.package), ("exclude", &self.exclude)] {
            for entry in entries {
                check_listed(list, entry, &mut problems);
                if !seen.insert(entry.name.as_str()) {
                    problems.push(Problem::new(format!("{list} {:?}", entry.name), "it is listed before"));
                }
            }
        }
        problems
    }
}

fn check_image(image: &Image, problems: &mut Vec<Problem>) {
    if !is_id(&image.id) {
        problems.push(Problem::new("image.id", not_an_id(&image.id)));
    }
    // os-release is read by shells, inside double quotes.
    let quotable = |c: char| !c.is_control() && !"\"\\$`".contains(c);
    if image.name.trim().is_empty() || image.name.chars().count() > 60 || !image.name.chars().all(quotable) {
        let what =
            format!("{:?} cannot stand in os-release: 1 to 60 characters, none of \" \\ $ `", image.name);
        problems.push(Problem::new("image.name", what));
    }
    if let Err(error) = image.version.parse::<Version>() {
        problems.push(Problem::new("image.version", error.to_string()));
    }
    match image.tries {
        0 => problems.push(Problem::new("image.tries", "a new version could never start; write 1 to 9")),
        1..=MOST_TRIES => {}
        many => {
            let what = format!("{many} has two digits, and the name of a boot entry one; write 1 to 9");
            problems.push(Problem::new("image.tries", what));
        }
    }
}

/// What may be part of a file name and an identifier in os-release.
fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=32).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

fn not_an_id(text: &str) -> String {
    format!(
        "{text:?} cannot be part of a file name: 1 to 32 of a-z 0-9 . _ -, the first one a letter or digit"
    )
}

fn check_variants(recipe: &Recipe, problems: &mut Vec<Problem>) {
    check_command_lines("boot", &recipe.boot, &Variant::default(), problems);
    if !recipe.variant.contains_key(DEFAULT_VARIANT) {
        problems.push(Problem::new("variant", "there must be one named \"default\""));
    }
    for (name, variant) in &recipe.variant {
        let key = format!("variant.{name}");
        if !is_id(name) {
            problems.push(Problem::new(&key, not_an_id(name)));
        }
        // What is wrong with the boot lines alone has been said.
        if *variant != Variant::default() {
            check_command_lines(&key, &recipe.boot, variant, problems);
        }
    }
}

/// Renders the configuration as a build will, with a root hash of the right length.
fn check_command_lines(key: &str, boot: &Boot, variant: &Variant, problems: &mut Vec<Problem>) {
    let text = |text: &str| text.to_owned();
    for word in format!("{} {}", boot.dom0, variant.dom0).split_whitespace() {
        let name = word.split('=').next().unwrap_or_default();
        if [names::KARG_ROOT_HASH, names::KARG_VERSION].contains(&name) {
            problems.push(Problem::new(format!("{key}.dom0"), format!("{name} is set by the builder alone")));
        }
    }
    let identity = Identity {
        id: text("id"),
        name: text("name"),
        version: "9".repeat(40),
        variant: text("variant"),
        revision: String::new(),
        lock: String::new(),
    };
    let facts = RootFacts {
        root_hash: RootHash::new([0; 32]),
        size: 0,
        verity_size: 0,
        build_id: String::new(),
        kernel: String::new(),
    };
    if let Err(error) = xen_config(boot, (&variant.xen, &variant.dom0), &identity, &facts) {
        problems.push(Problem::new(key, error.to_string()));
    }
}

fn check_budget(recipe: &Recipe, problems: &mut Vec<Problem>) {
    let half = Bytes::new(disk::ROOT_SIZE.get() / 2);
    let Size(root) = recipe.budget.root;
    if root > half.get() {
        let what = format!(
            "{root} bytes are over half of a slot, which has {}; write at most {half}",
            disk::ROOT_SIZE
        );
        problems.push(Problem::new("budget.root", what));
    }
    for (key, size) in [("budget.root", recipe.budget.root), ("budget.iso", recipe.budget.iso)] {
        if size.0 == 0 {
            problems.push(Problem::new(key, "nothing fits into 0 bytes"));
        }
    }
}

fn check_root(root: &Root, problems: &mut Vec<Problem>) {
    if let Err(what) = check_compression(&root.compression) {
        problems.push(Problem::new("root.compression", what));
    }
    let Size(cluster) = root.cluster;
    if !cluster.is_power_of_two() || !CLUSTERS.contains(&cluster) {
        let what = format!(
            "{} is no cluster of erofs: a power of two from {} to {}",
            Bytes::new(cluster),
            Bytes::new(*CLUSTERS.start()),
            Bytes::new(*CLUSTERS.end())
        );
        problems.push(Problem::new("root.cluster", what));
    }
}

/// `codec[,level=N][,dictsize=N]`.
fn check_compression(text: &str) -> Result<(), String> {
    let mut parts = text.split(',');
    let codec = parts.next().unwrap_or_default();
    let Some((_, highest, dictionary)) = CODECS.into_iter().find(|(name, ..)| *name == codec) else {
        let known = CODECS.map(|(name, ..)| name).join(", ");
        return Err(format!("mkfs.erofs has no codec {codec:?}; it has {known}"));
    };
    let mut seen = BTreeSet::new();
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let highest = match name {
            "level" => highest,
            "dictsize" if dictionary => Some(u32::MAX),
            _ => None,
        };
        let highest = highest.ok_or_else(|| format!("{codec} has no option {part:?}"))?;
        if !seen.insert(name) {
            return Err(format!("{name} is given twice"));
        }
        let number: u32 = value.parse().map_err(|_| format!("{name} needs a number, and has {value:?}"))?;
        let extreme = codec == "lzma" && (100..=109).contains(&number);
        if number > highest && !extreme {
            return Err(format!("{codec} has levels up to {highest}, not {number}"));
        }
    }
    Ok(())
}

fn check_groups(recipe: &Recipe, problems: &mut Vec<Problem>) {
    for needed in NEEDED.iter().filter(|needed| !recipe.group.contains_key(**needed)) {
        problems.push(Problem::new(format!("group.{needed}"), "the build needs this group"));
    }
    for (name, group) in &recipe.group {
        let key = format!("group.{name}");
        if let Err(error) = name.parse::<GroupName>() {
            problems.push(Problem::new(&key, error.to_string()));
        }
        if let Some((_, file)) = OWN_FILE.iter().find(|(own, _)| own == name) {
            problems.push(Problem::new(&key, format!("the packages of this group are in {file}")));
        }
        check_group(&key, group, problems);
    }
}

fn check_group(key: &str, group: &Group, problems: &mut Vec<Problem>) {
    if group.packages.is_empty() {
        problems.push(Problem::new(format!("{key}.packages"), "there must be at least one"));
    }
    let mut seen = BTreeSet::new();
    for package in &group.packages {
        match package.parse::<PackageRequest>() {
            Ok(request) if !seen.insert(request.name.clone()) => {
                let what = format!("{} is there twice", request.name);
                problems.push(Problem::new(format!("{key}.packages"), what));
            }
            Ok(_) => {}
            Err(error) => problems.push(Problem::new(format!("{key}.packages"), error.to_string())),
        }
    }
    for package in &group.exclude {
        match package.parse::<PackageName>() {
            Ok(name) if !seen.insert(name.clone()) => {
                let what = format!("{name} is wanted as well, or there twice");
                problems.push(Problem::new(format!("{key}.exclude"), what));
            }
            Ok(_) => {}
            Err(error) => problems.push(Problem::new(format!("{key}.exclude"), error.to_string())),
        }
    }
}

fn check_listed(list: &str, entry: &ListedPackage, problems: &mut Vec<Problem>) {
    let key = format!("{list} {:?}", entry.name);
    let written = match &entry.suite {
        Some(suite) => format!("{}@{suite}", entry.name),
        None => entry.name.clone(),
    };
    if let Err(error) = written.parse::<PackageRequest>() {
        problems.push(Problem::new(&key, error.to_string()));
    }
    if entry.why.trim().is_empty() {
        problems.push(Problem::new(&key, "why it is there is not said"));
    }
    if list == "exclude" && entry.suite.is_some() {
        problems.push(Problem::new(&key, "a package that is kept out has no suite"));
    }
}
