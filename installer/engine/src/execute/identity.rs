//! Whether a name still means the disk that a plan was made for. The kernel gives names away in the order in which disks are found:
//! what was `/dev/sda` when somebody chose it may be another disk after one was pulled and plugged in again.

use std::{io, path::Path};

use serde_json::json;
use xenolith_machine::{Capture, Machine, lsblk::COLUMNS};

use super::device::run;
use crate::plan::DiskId;

/// Of util-linux 2.41; it asks udev.
const LSBLK: &str = "/usr/bin/lsblk";

/// Succeeds if this block device is the disk that is meant, by serial number, world wide name and size.
///
/// # Errors
/// What it is instead.
pub(super) fn check(meant: &DiskId) -> io::Result<()> {
    same(meant, &run(LSBLK, &["--json", "--bytes", "--output", COLUMNS])?)
}

fn same(meant: &DiskId, answer: &str) -> io::Result<()> {
    let answer: serde_json::Value = serde_json::from_str(answer)?;
    let capture = json!({ "format": 1, "efi": true, "lsblk": answer }).to_string();
    let machine = Machine::of(&Capture::parse(capture.as_bytes()).map_err(io::Error::other)?);
    let found = machine.disks.iter().map(DiskId::of).find(|disk| disk.path == meant.path);
    if found.as_ref() == Some(meant) {
        return Ok(());
    }
    let name = Path::new(&meant.path).display();
    let now =
        found.map_or_else(|| "there is none now".to_owned(), |found| format!("it is {} now", words(&found)));
    let why = format!("{name} was {} when the plan was made, and {now}", words(meant));
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// `serial S1, wwn 0x5000c500, 13.0 GiB`.
fn words(disk: &DiskId) -> String {
    let known = [("serial", &disk.serial), ("wwn", &disk.wwn)];
    let known = known.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", value.as_deref()?)));
    known.chain([disk.size.to_string()]).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_layout::Bytes;

    fn meant() -> DiskId {
        DiskId {
            path: "/dev/sda".into(),
            serial: Some("S1".into()),
            wwn: Some("0x5000c500a1b2c3d4".into()),
            size: Bytes::gib(20),
        }
    }

    fn found(name: &str, serial: &str) -> String {
        let disk = json!({ "name": name, "kname": name, "type": "disk", "size": 20_u64 << 30, "log-sec": 512,
            "tran": "sata", "serial": serial, "wwn": "0x5000C500A1B2C3D4" });
        json!({ "blockdevices": [disk] }).to_string()
    }

    #[test]
    fn the_same_disk_is_the_same() {
        same(&meant(), &found("sda", "S1")).unwrap();
    }

    #[test]
    fn an_array_that_is_on_its_way_meanwhile_changes_nothing() {
        let mut answer: serde_json::Value = serde_json::from_str(&found("sda", "S1")).unwrap();
        let array = json!({ "name": "md127", "kname": "md127", "type": "md", "size": 0, "log-sec": null, "ro": null });
        answer["blockdevices"].as_array_mut().unwrap().push(array);
        same(&meant(), &answer.to_string()).unwrap();
    }

    #[test]
    fn a_name_that_means_another_disk_is_said_with_both() {
        let error = same(&meant(), &found("sda", "S2")).unwrap_err().to_string();
        assert_eq!(
            error,
            "/dev/sda was serial S1, wwn 0x5000c500a1b2c3d4, 20 GiB when the plan was made, and it is \
             serial S2, wwn 0x5000c500a1b2c3d4, 20 GiB now"
        );
        let error = same(&meant(), &found("sdb", "S1")).unwrap_err().to_string();
        assert!(error.ends_with("when the plan was made, and there is none now"), "{error}");
        assert!(same(&meant(), "lsblk: error").is_err());
    }
}
