//! The files of the root image by package.

use std::collections::BTreeMap;

use super::model::{Contents, Group, Kind};
use crate::steps::{
    describe::packages::{PackageFiles, owners},
    image::FileEntry,
};

/// Sorts every file of the image under what it belongs to.
pub fn contents(files: &[FileEntry], packages: &[PackageFiles]) -> Contents {
    let owners = owners(packages);
    let mut groups: BTreeMap<(Kind, &str), Vec<(String, u64)>> = BTreeMap::new();
    for file in files {
        let group = match file.layer.as_str() {
            "packages" => match owners.get(file.path.as_str()) {
                Some(package) => (kind(package), *package),
                None => (Kind::Generated, "made while installing"),
            },
            "xen" => (Kind::Xen, "Xen tools"),
            "crates" => (Kind::Own, "Xenolith programs"),
            _ => (Kind::Own, "Xenolith settings"),
        };
        groups.entry(group).or_default().push((file.path.clone(), file.size));
    }
    let mut groups: Vec<Group> = groups
        .into_iter()
        .map(|((kind, name), mut files)| {
            files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            Group { name: name.to_owned(), kind, size: files.iter().map(|file| file.1).sum(), files }
        })
        .collect();
    groups.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    Contents { size: groups.iter().map(|group| group.size).sum(), files: files.len(), groups }
}

fn kind(package: &str) -> Kind {
    if package.starts_with("linux-image") {
        Kind::Kernel
    } else if package.starts_with("firmware-") || package.ends_with("-microcode") {
        Kind::Firmware
    } else {
        Kind::Package
    }
}
