//! A TPM 2.0 beside a machine: swtpm, a program of its own, which ends with the machine and whose memory stays in a folder.

use std::{io, path::Path};

use xenolith_sandbox::{Command, Sandbox, Tool};

use crate::machine::RUN;

/// The socket in the run folder over which QEMU speaks to it.
pub(crate) const SOCKET: &str = "tpm.sock";
/// Where its memory is inside its sandbox.
const MEMORY: &str = "/tpm";

/// A TPM that runs. Dropping it ends it.
pub(crate) struct Tpm {
    pub(crate) handle: duct::Handle,
    _command: Command,
}

impl Tpm {
    /// Starts one whose memory is the folder `memory`; a fresh TPM, if that is empty. Its words go to `log`.
    pub(crate) fn start(tools: &Path, run: &Path, memory: &Path, log: &Path) -> io::Result<Self> {
        let sandbox = Sandbox::new(tools).bind_rw(run, RUN).bind_rw(memory, MEMORY);
        let args = [
            "socket".to_owned(),
            "--tpm2".to_owned(),
            "--tpmstate".to_owned(),
            format!("dir={MEMORY}"),
            "--ctrl".to_owned(),
            format!("type=unixio,path={RUN}/{SOCKET}"),
            // When QEMU lets go of it.
            "--terminate".to_owned(),
        ];
        let command = sandbox.command(Tool::Swtpm, args)?;
        let expression = command.expression.clone().stderr_path(log).stdout_null().stdin_null().unchecked();
        Ok(Self { handle: expression.start()?, _command: command })
    }

    /// What QEMU is told of it.
    pub(crate) fn args() -> Vec<String> {
        let chardev = format!("socket,id=tpm0,path={RUN}/{SOCKET}");
        ["-chardev", &chardev, "-tpmdev", "emulator,id=tpm0,chardev=tpm0", "-device", "tpm-tis,tpmdev=tpm0"]
            .map(str::to_owned)
            .into()
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // As for QEMU: an error means that it ended by itself.
        let _ = self.handle.kill();
        let _ = self.handle.wait();
    }
}
