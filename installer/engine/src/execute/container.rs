//! An encrypted state: a container (LUKS2) with the file system in it, which two keys open.
//!
//! ```text
//!   slot 0   the recovery key          for people; 256 random bits, made for this host and shown once
//!   slot 1   one that the TPM holds    for the initrd, and for nobody after it (`xenolith_layout::seal`)
//! ```
//! Neither slot stretches its key for long (PBKDF2 with few rounds): that makes guesses dear where people choose a password, and 256
//! random bits cannot be guessed. Argon2id, which cryptsetup would take, wants up to a gigabyte of memory, which is all that dom0 has.
//!
//! The recovery key comes as a file in RAM, since a command line could be read by anybody. A run that was cut short is done again from
//! its beginning.
//!
//! Source: cryptsetup 2.7 and systemd 257, cryptsetup-luksFormat(8), systemd-cryptenroll(1); docs/LUKS2_METADATA.md of systemd for the
//! token `systemd-recovery`.

use std::{ffi::OsString, io, path::Path};

use uuid::Uuid;
use xenolith_layout::{names::STATE_FS_LABEL, seal::SEALED_TO};

use super::device::{make_file_system, run, run_with};

const CRYPTSETUP: &str = "/usr/sbin/cryptsetup";
const CRYPTENROLL: &str = "/usr/bin/systemd-cryptenroll";
/// Not the name that a running host has its own under.
const NAME: &str = "xenolith-new-state";
const NODE: &str = "/dev/mapper/xenolith-new-state";
/// Has systemd-cryptenroll list the first slot as what it is. It is told from a password by nothing else.
const RECOVERY_TOKEN: &str = r#"{"type":"systemd-recovery","keyslots":["0"]}"#;
/// Sectors of 4 KiB suit disks of either size, and a state file system has no smaller blocks.
const FORMAT: &[&str] = &[
    "luksFormat",
    "--batch-mode",
    "--type",
    "luks2",
    "--cipher",
    "aes-xts-plain64",
    "--key-size",
    "512",
    "--sector-size",
    "4096",
    "--pbkdf",
    "pbkdf2",
    "--pbkdf-force-iterations",
    "1000",
    "--label",
    STATE_FS_LABEL,
];

/// The opened container, which is closed with this.
struct Opened;

impl Opened {
    fn close() -> io::Result<()> {
        run(CRYPTSETUP, &["close", NAME]).map(drop)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let _ = Self::close();
    }
}

/// Makes the container on `device`, and the file system with the files of `folder` in it.
///
/// # Errors
/// With the words of the program that failed.
pub(super) fn make_state(device: &str, id: Uuid, key: &Path, folder: &Path) -> io::Result<()> {
    // A run that was cut short may have left it open.
    if Path::new(NODE).exists() {
        let _ = Opened::close();
    }
    let id = id.to_string();
    let with_key = |words: &[&str]| -> Vec<OsString> {
        let words = words.iter().map(Into::into);
        words.chain(["--key-file".into(), key.into(), device.into()]).collect()
    };
    run(CRYPTSETUP, &with_key(&[FORMAT, &["--uuid", &id]].concat()))?;
    run_with(CRYPTSETUP, &["token", "import", "--json-file", "-", device], RECOVERY_TOKEN)?;
    let mut unlock = OsString::from("--unlock-key-file=");
    unlock.push(key);
    let sealed = format!("--tpm2-pcrs={SEALED_TO}");
    run(CRYPTENROLL, &[unlock, "--tpm2-device=auto".into(), sealed.into(), device.into()])?;
    let mut open = with_key(&["open", "--type", "luks2"]);
    open.push(NAME.into());
    run(CRYPTSETUP, &open)?;
    let opened = Opened;
    make_file_system(Path::new(NODE), folder)?;
    std::mem::forget(opened);
    Opened::close()
}
