//! Arrays of disks that mirror each other, as the kernel tells of them (Linux 6.12, Documentation/admin-guide/md.rst).

use std::path::Path;

use serde::{Deserialize, Serialize};

/// An array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// The kernel's name of it.
    pub device: String,
    /// How many disks it is made for.
    pub disks: u32,
    /// How many of them do not take part, or are not up to date.
    pub missing: u32,
    /// The members that are there, and what the kernel calls their state: `in_sync`, `spare`, `faulty` …
    pub members: Vec<Member>,
    /// How far a member has been brought up to date, in percent; absent if there is nothing to do.
    pub rebuilt: Option<u8>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The partition.
    pub device: String,
    /// Its state.
    pub state: String,
}

impl Mirror {
    /// What somebody should look at.
    pub fn warning(&self) -> Option<String> {
        let Self { device, disks, missing, .. } = self;
        match (missing, self.rebuilt) {
            (0, _) => None,
            (missing, Some(percent)) => {
                Some(format!("the mirror {device} brings {missing} of {disks} disks up to date: {percent} %"))
            }
            (missing, None) => Some(format!(
                "the mirror {device} runs on {} of {disks} disks; put the other one back, or replace it",
                disks.saturating_sub(*missing)
            )),
        }
    }
}

/// The mirrors below `root`, in the order of their names.
pub fn mirrors(root: &Path) -> Vec<Mirror> {
    let Ok(found) = fs_err::read_dir(root.join("sys/block")) else { return Vec::new() };
    let mut names: Vec<String> = found
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.starts_with("md"))
        .collect();
    names.sort();
    names
        .into_iter()
        .filter_map(|name| mirror(&root.join("sys/block").join(&name).join("md"), &name))
        .collect()
}

fn mirror(folder: &Path, name: &str) -> Option<Mirror> {
    let read = |name: &str| Some(fs_err::read_to_string(folder.join(name)).ok()?.trim().to_owned());
    (read("level")? == "raid1").then_some(())?;
    let mut members: Vec<Member> = fs_err::read_dir(folder)
        .ok()?
        .filter_map(|entry| {
            let file = entry.ok()?.file_name().to_string_lossy().into_owned();
            let device = file.strip_prefix("dev-")?.to_owned();
            Some(Member { device, state: read(&format!("{file}/state"))? })
        })
        .collect();
    members.sort();
    Some(Mirror {
        device: name.to_owned(),
        disks: read("raid_disks")?.split(' ').next()?.parse().ok()?,
        missing: read("degraded")?.parse().ok()?,
        members,
        rebuilt: read("sync_completed").and_then(|said| percent(&said)),
    })
}

/// `1234 / 5678`, or `none`.
fn percent(said: &str) -> Option<u8> {
    let (done, all) = said.split_once('/')?;
    let (done, all): (u64, u64) = (done.trim().parse().ok()?, all.trim().parse().ok()?);
    u8::try_from(done.checked_mul(100)?.checked_div(all)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join("sys/block/md127/md").join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, format!("{text}\n")).unwrap();
        }
        root
    }

    #[test]
    fn a_whole_mirror_is_no_warning() {
        let root = array(&[
            ("level", "raid1"),
            ("raid_disks", "2"),
            ("degraded", "0"),
            ("sync_completed", "none"),
            ("dev-vda7/state", "in_sync"),
            ("dev-vdb7/state", "in_sync"),
        ]);
        let found = mirrors(root.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].members.len(), 2);
        assert_eq!((found[0].missing, found[0].warning()), (0, None));
    }

    #[test]
    fn a_missing_disk_is_told_and_so_is_one_that_is_brought_up_to_date() {
        let lost =
            array(&[("level", "raid1"), ("raid_disks", "2"), ("degraded", "1"), ("sync_completed", "none")]);
        let lost = mirrors(lost.path())[0].warning().unwrap();
        assert!(lost.contains("runs on 1 of 2 disks"), "{lost}");
        let back = array(&[
            ("level", "raid1"),
            ("raid_disks", "2"),
            ("degraded", "1"),
            ("sync_completed", "1024 / 4096"),
        ]);
        let back = mirrors(back.path())[0].warning().unwrap();
        assert!(back.contains("25 %"), "{back}");
    }

    #[test]
    fn other_arrays_are_not_ours_to_judge() {
        assert!(
            mirrors(array(&[("level", "raid5"), ("raid_disks", "3"), ("degraded", "0")]).path()).is_empty()
        );
        assert!(mirrors(Path::new("/nonexistent")).is_empty());
    }
}
