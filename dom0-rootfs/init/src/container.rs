//! Opening an encrypted state (LUKS2). The promise: **a state that does not open is left as it is**, and the host starts without it.
//!
//! ```text
//!   the TPM gives the key       opened; nobody has to be there
//!   it does not, or is gone     the recovery key is asked for on every console, for a minute ([`prompt`])
//!   nobody types it             locked: the host starts without its state, and says how to go on
//! ```
//! cryptsetup opens the container, and systemd's part of its library asks the TPM (a token of type `systemd-tpm2`, made by
//! systemd-cryptenroll). systemd-cryptsetup would do the same, but wants systemd around it to ask people.

use std::path::Path;

use xenolith_layout::seal::{RecoveryKey, STATE_CONTAINER, StateKey};

use crate::console::{alarm, note, say};
use crate::error::InitError;
use crate::needs::{CONTAINER_MODULES, Tool};
use crate::{prompt, tpm};

/// Opens the container on `node`, and says by what.
///
/// # Errors
/// [`InitError::Locked`] if neither the TPM nor a person opens it; [`InitError::Refused`] if nobody could.
pub fn open(node: &Path, sys: &Path) -> Result<StateKey, InitError> {
    if let Err(error) = Tool::Modprobe.run().arg("-abq").args(CONTAINER_MODULES).done() {
        // A processor without AES has no aesni_intel. What is really missing fails below.
        note(error);
    }
    if Tool::Cryptsetup.run().args(["isLuks", "--type", "luks2"]).arg(node).code()? != 0 {
        return Err(InitError::Refused("the header of the encrypted state is damaged"));
    }
    let why = match by_tpm(node, sys) {
        Ok(()) => return Ok(StateKey::Tpm),
        Err(why) => why,
    };
    alarm(format_args!("THE STATE IS LOCKED: {why}"));
    if prompt::ask(sys, |key| by_key(node, key)) {
        say("the state was opened by its recovery key");
        return Ok(StateKey::RecoveryKey);
    }
    Err(InitError::Locked(why))
}

fn by_tpm(node: &Path, sys: &Path) -> Result<(), &'static str> {
    if tpm::devices(sys).is_empty() {
        return Err("this machine has no TPM 2.0 that could open it");
    }
    let token = ["--token-only", "--token-type", "systemd-tpm2"];
    let call = Tool::Cryptsetup.run().args(["open", "--type", "luks2"]).args(token);
    call.arg(node).arg(STATE_CONTAINER).done().map(drop).map_err(|error| {
        note(error);
        "the TPM does not give the key: Secure Boot's settings or keys have changed, or the disk was in another machine"
    })
}

/// The error of a failure does not hold the key, which goes in by another way than the command line.
fn by_key(node: &Path, key: &RecoveryKey) -> bool {
    let call = Tool::Cryptsetup.run().args(["open", "--type", "luks2", "--key-file", "-"]);
    let opened = call.arg(node).arg(STATE_CONTAINER).done_with(&key.reveal());
    opened.inspect_err(|error| note(error)).is_ok()
}
