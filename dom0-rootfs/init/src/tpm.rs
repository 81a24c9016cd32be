//! The register that keeps the state's key in the initrd. The promise: **what runs after this program gets nothing out of the TPM that
//! is sealed to the register being zero**, whichever medium was started and whatever state was found.
//!
//! The register is extended by an event, so that every bank of it changes, whichever hashes a TPM has switched on. One command is all
//! that is needed, and is written down here: a program for it would bring more into the initrd than it does.
//!
//! Source: TCG TPM 2.0 Library 1.59, part 3 §22.3 (TPM2_PCR_Event), part 1 §19.4 (password authorisations). Linux 6.12,
//! drivers/char/tpm/tpm-dev-common.c: one command is one `write`, its response one `read`.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use xenolith_layout::seal::CLOSED_PCR;

use crate::console::{alarm, note};

/// The event. What it says does not matter, and nobody reads it back.
const EVENT: &[u8] = b"xenolith: end of the initrd";
/// A command or response with sessions.
const ST_SESSIONS: u16 = 0x8002;
const CC_PCR_EVENT: u32 = 0x0000_013c;
/// The handle that stands for a password; registers have an empty one.
const RS_PW: u32 = 0x4000_0009;
/// More than a response with a digest of each bank.
const LONGEST: usize = 4096;

/// The nodes of the TPMs of version 2.0; the kernel makes none of this kind for older ones.
pub fn devices(sys: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(sys.join("class/tpmrm")) else { return Vec::new() };
    let mut nodes: Vec<PathBuf> =
        entries.filter_map(|entry| Some(Path::new("/dev").join(entry.ok()?.file_name()))).collect();
    nodes.sort();
    nodes
}

/// Extends the register in every TPM of this machine. One that refuses is told of: nothing else can be done about it.
pub fn close(sys: &Path) {
    for node in devices(sys) {
        match extend(&node) {
            Ok(()) => note(format_args!("register {CLOSED_PCR} of {} is closed", node.display())),
            Err(error) => alarm(format_args!(
                "THE TPM STAYS OPEN: whoever gets into this host can ask {} for the key of its state: {error}",
                node.display()
            )),
        }
    }
}

fn extend(node: &Path) -> std::io::Result<()> {
    let mut device = fs_err::OpenOptions::new().read(true).write(true).open(node)?;
    device.write_all(&command())?;
    let mut response = [0; LONGEST];
    let length = device.read(&mut response)?;
    accepted(&response[..length]).map_err(|code| {
        std::io::Error::other(code.map_or("its answer is none".to_owned(), |code| format!("code {code:#x}")))
    })
}

fn command() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(CC_PCR_EVENT.to_be_bytes());
    body.extend(u32::from(CLOSED_PCR).to_be_bytes());
    // The authorisation: a password without nonce, attributes or text.
    body.extend(9_u32.to_be_bytes());
    body.extend(RS_PW.to_be_bytes());
    body.extend([0; 5]);
    body.extend(u16::try_from(EVENT.len()).expect("it is short").to_be_bytes());
    body.extend(EVENT);
    let mut command = ST_SESSIONS.to_be_bytes().to_vec();
    let length = u32::try_from(body.len() + 6).expect("it is short");
    command.extend(length.to_be_bytes());
    command.extend(body);
    command
}

/// Whether a response says that the command was carried out, else its code.
fn accepted(response: &[u8]) -> Result<(), Option<u32>> {
    let code = response.get(6..10).and_then(|code| code.first_chunk()).map(|code| u32::from_be_bytes(*code));
    if code == Some(0) { Ok(()) } else { Err(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_what_the_specification_says() {
        let command = command();
        let head = [
            0x80, 0x02, 0, 0, 0, 56, 0, 0, 1, 0x3c, 0, 0, 0, 11, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0,
            27,
        ];
        assert_eq!(command[..head.len()], head);
        assert_eq!(&command[head.len()..], EVENT);
        assert_eq!(command.len(), 56);
    }

    #[test]
    fn only_success_is_success() {
        assert_eq!(accepted(&[0x80, 2, 0, 0, 0, 10, 0, 0, 0, 0]), Ok(()));
        assert_eq!(accepted(&[0x80, 1, 0, 0, 0, 10, 0, 0, 9, 7]), Err(Some(0x907)));
        assert_eq!(accepted(&[]), Err(None));
        assert_eq!(accepted(&[0; 9]), Err(None));
    }

    #[test]
    fn a_machine_without_a_tpm_has_none() {
        let sys = tempfile::tempdir().unwrap();
        assert!(devices(sys.path()).is_empty());
        fs_err::create_dir_all(sys.path().join("class/tpmrm/tpmrm0")).unwrap();
        assert_eq!(devices(sys.path()), [Path::new("/dev/tpmrm0")]);
    }
}
