//! What no setting asks for and no image can know: how much a host may hold back before it writes.
//!
//! | setting | value | why |
//! | --- | --- | --- |
//! | `vm.dirty_bytes` | 128 MiB where a local disk turns, else 512 MiB; at most a tenth of dom0's memory | what dom0 has taken and not written yet (an import, a backup, files of an ext4 repository) is written in one go, and guests wait for that long. The kernel's 20 % of memory are gigabytes, and minutes of a disk that turns |
//! | `vm.dirty_background_bytes` | a quarter of it | writing begins before anybody has to wait |
//!
//! What is right for every host lies in the image instead: `60-xenolith.conf` of sysctl.d, and `60-xenolith-disks.rules` of udev, which
//! chooses the I/O scheduler of each disk when it comes, not once. A cut leaves the file as it was or as it will be; it is read at each boot.
//! Somebody's own file with a later name wins. Source: Linux 6.12, Documentation/admin-guide/sysctl/vm.rst.

use std::path::Path;

use fs_err as fs;
use xenolith_layout::Bytes;

use crate::change::{Change, Reload};

/// Where it is written down, below the root.
pub const TUNING: &str = "etc/sysctl.d/70-xenolith-tuning.conf";

/// About a second of a disk that turns.
const TURNING: Bytes = Bytes::mib(128);
/// About a second of a SATA SSD, and less of anything faster.
const FLASH: Bytes = Bytes::mib(512);
/// The part of memory that may be held back at most, as a divisor.
const MEMORY_PART: u64 = 10;
/// The kernel takes no less than two pages; this is what the smallest dom0 can do with.
const LEAST: Bytes = Bytes::mib(16);

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TuningFacts {
    /// dom0's memory.
    pub memory: Bytes,
    /// Whether a local disk turns.
    pub turns: bool,
}

impl TuningFacts {
    /// Of the host whose files lie below `root`.
    ///
    /// # Errors
    /// When the kernel does not say how much memory there is.
    pub fn look(root: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(root.join("proc/meminfo")).map_err(|error| error.to_string())?;
        let memory = memory(&text).ok_or("/proc/meminfo does not say how much memory there is")?;
        // A disk of hardware has a device below it; what cannot be read does not turn.
        let disks = fs::read_dir(root.join("sys/block")).into_iter().flatten().filter_map(Result::ok);
        let turns = |disk: &Path| {
            let is = |file: &str| fs::read_to_string(disk.join(file)).is_ok_and(|text| text.trim() == "1");
            disk.join("device").exists() && is("queue/rotational") && !is("removable")
        };
        Ok(Self { memory, turns: disks.into_iter().any(|disk| turns(&disk.path())) })
    }
}

fn memory(meminfo: &str) -> Option<Bytes> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024).map(Bytes::new)
}

/// The changes that a host with these facts needs.
pub(crate) fn changes(facts: &TuningFacts) -> Vec<Change> {
    let by_disk = if facts.turns { TURNING } else { FLASH };
    let most = Bytes::new(facts.memory.get() / MEMORY_PART);
    let dirty = by_disk.min(most).max(LEAST).get();
    let text = format!(
        "# Written at first boot; `xenolith-firstboot retry tuning` decides anew. Why: a write that is held back is one that guests wait for.\n\
         vm.dirty_bytes = {dirty}\nvm.dirty_background_bytes = {}\n",
        dirty / 4
    );
    vec![Change::Write { path: TUNING.to_owned(), mode: 0o644, text }, Change::Reload(Reload::Kernel)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with this memory and these disks: name, whether it turns, whether it is taken out, whether there is hardware.
    fn host(meminfo: &str, disks: &[(&str, bool, bool, bool)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", meminfo);
        for (name, turns, removable, hardware) in disks {
            write(&format!("sys/block/{name}/queue/rotational"), if *turns { "1\n" } else { "0\n" });
            write(&format!("sys/block/{name}/removable"), if *removable { "1\n" } else { "0\n" });
            if *hardware {
                write(&format!("sys/block/{name}/device/model"), "x\n");
            }
        }
        root
    }

    fn dirty(memory: Bytes, turns: bool) -> (u64, u64) {
        let Change::Write { text, .. } = &changes(&TuningFacts { memory, turns })[0] else {
            panic!("a file comes first")
        };
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
            line.unwrap().parse().unwrap()
        };
        (value("vm.dirty_bytes"), value("vm.dirty_background_bytes"))
    }

    #[test]
    fn less_is_held_back_for_a_disk_that_turns_and_by_a_small_dom0() {
        assert_eq!(dirty(Bytes::gib(8), true), (128 << 20, 32 << 20));
        assert_eq!(dirty(Bytes::gib(8), false), (512 << 20, 128 << 20));
        assert_eq!(dirty(Bytes::gib(1), false).0, (1 << 30) / 10);
        assert_eq!(dirty(Bytes::mib(8), true).0, 16 << 20);
    }

    #[test]
    fn only_disks_of_the_machine_count() {
        let meminfo = "MemTotal:        4044032 kB\nMemFree: 1 kB\n";
        let look =
            |disks: &[(&str, bool, bool, bool)]| TuningFacts::look(host(meminfo, disks).path()).unwrap();
        assert_eq!(look(&[]), TuningFacts { memory: Bytes::kib(4_044_032), turns: false });
        assert!(look(&[("nvme0n1", false, false, true), ("sda", true, false, true)]).turns);
        let none =
            [("loop0", true, false, false), ("sr0", true, true, true), ("nvme0n1", false, false, true)];
        assert!(!look(&none).turns);
        assert!(TuningFacts::look(host("MemTotal: much\n", &[]).path()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn writing_begins_before_anybody_waits(memory: u64, turns: bool) {
            let (dirty, background) = dirty(Bytes::new(memory), turns);
            proptest::prop_assert!(background >= 8192 && background < dirty && dirty <= 512 << 20);
        }
    }
}
