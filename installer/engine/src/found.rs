//! Which host system a disk holds already.
//!
//! Told from labels alone, so that nothing has to be mounted. Labels of XCP-ng and XenServer end in a suffix that is drawn at
//! installation (`root-bkxwqz`); current XenServer names its GPT partitions as well.

use std::fmt;

use serde::Serialize;
use xenolith_layout::{Slot, disk::Role, names};
use xenolith_machine::{Disk, Part};

/// A host system on a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installation {
    /// Whose.
    pub product: Product,
    /// The partition with storage for guests' disks, if there is one.
    pub storage: Option<String>,
}

/// Makers of host systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// This system.
    Xenolith,
    /// XCP-ng or XenServer: their disks look the same.
    XcpNg,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xenolith => "Xenolith",
            Self::XcpNg => "XCP-ng or XenServer",
        })
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.product)?;
        match &self.storage {
            Some(part) => write!(f, " with storage for virtual machines on {part}"),
            None => Ok(()),
        }
    }
}

/// Prefixes of volume groups and labels of file systems that hold guests' disks.
const STORAGE: &[&str] = &["VG_XenStorage", "XSLocalEXT", "XSLocalLVM"];

/// The host system on a disk.
pub fn found(disk: &Disk) -> Option<Installation> {
    let parts = &disk.content.parts;
    let has = |role: Role| parts.iter().any(|part| part.label.as_deref() == Some(role.label()));
    if has(Role::Root(Slot::A)) && has(Role::Root(Slot::B)) && has(Role::State) {
        let sr = parts.iter().find(|part| part.label.as_deref() == Some(Role::LocalSr.label()));
        return Some(Installation {
            product: Product::Xenolith,
            storage: sr.map(|part| part.kernel_name.clone()),
        });
    }
    let volumes = || parts.iter().filter_map(|part| part.volume.as_deref());
    let labelled = |start: &str| volumes().any(|label| suffixed(label, start));
    let named = |name: &str| parts.iter().any(|part| part.label.as_deref() == Some(name));
    let old = labelled("root-") && (labelled("logs-") || labelled("BOOT-") || labelled("swap-"));
    let new = named("root") && named("backup") && named("logs");
    (old || new).then(|| Installation {
        product: Product::XcpNg,
        storage: parts.iter().find(|part| is_storage(part)).map(|part| part.kernel_name.clone()),
    })
}

/// `root-` and six letters.
fn suffixed(label: &str, start: &str) -> bool {
    let suffix = label.strip_prefix(start);
    suffix.is_some_and(|suffix| suffix.len() == 6 && suffix.chars().all(|c| c.is_ascii_alphanumeric()))
}

fn is_storage(part: &Part) -> bool {
    let marks = [part.group.as_deref(), part.volume.as_deref(), part.label.as_deref()];
    marks
        .into_iter()
        .flatten()
        .any(|mark| STORAGE.iter().any(|start| mark.starts_with(start)) || mark == "localsr")
}

/// What is on a disk, in words; empty if nothing was found.
pub fn holds(disk: &Disk) -> String {
    if let Some(installation) = found(disk) {
        return installation.to_string();
    }
    let content = &disk.content;
    let mut words = Vec::new();
    words.extend(content.group.iter().map(|group| format!("a part of the volume group {group}")));
    words.extend(
        content
            .signature
            .iter()
            .filter(|_| content.group.is_none())
            .map(|mark| mark_in_words(mark, content.label.as_deref())),
    );
    for part in &content.parts {
        let what = match (&part.group, &part.signature) {
            (Some(group), _) => format!("a part of the volume group {group}"),
            (None, Some(mark)) => mark_in_words(mark, part.volume.as_deref()),
            (None, None) => {
                part.label.clone().map_or_else(|| "nothing known".to_owned(), |label| format!("\"{label}\""))
            }
        };
        words.push(format!("{} ({what})", part.kernel_name));
    }
    if words.is_empty() && content.table.is_some() {
        words.push("an empty partition table".to_owned());
    }
    words.join(", ")
}

fn mark_in_words(mark: &str, label: Option<&str>) -> String {
    let what = match mark {
        names::RAID_MEMBER => "a member of a software RAID",
        names::LVM_MEMBER => "a physical volume of LVM",
        "crypto_LUKS" => "an encrypted container",
        other => other,
    };
    label.map_or_else(|| what.to_owned(), |label| format!("{what} \"{label}\""))
}
