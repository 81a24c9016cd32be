//! Talking to a booted host as a user would: over SSH, with a key made for the occasion.

use std::path::{Path, PathBuf};

use fs_err as fs;
use xenolith_sandbox::{Network, Sandbox, Tool, ToolError};

use crate::{Vm, VmError, machine::RUN};

/// A throw-away key pair in a machine's run folder.
#[derive(Clone, Debug)]
pub struct SshKey {
    /// The line for `authorized_keys`.
    pub public: String,
}

/// What a command on the host printed.
#[derive(Clone, Debug)]
pub struct SshOutput {
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl SshKey {
    /// Makes a key in `run`, which must be the run folder of the machine it is for.
    ///
    /// # Errors
    /// When `ssh-keygen` fails or the key cannot be read back.
    pub fn make(tools: &Path, run: &Path) -> Result<Self, ToolError> {
        let sandbox = Sandbox::new(tools).bind_rw(run, RUN);
        let key = format!("{RUN}/id");
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", "xenolith-test", "-f", &key];
        sandbox.run(Tool::SshKeygen, args, &run.join("ssh-keygen.log"))?;
        let public: PathBuf = run.join("id.pub");
        let public = fs::read_to_string(&public)
            .map_err(|source| ToolError::Start { command: "ssh-keygen".into(), source })?;
        Ok(Self { public: public.trim().into() })
    }
}

impl Vm {
    /// Runs a command on the host as root.
    ///
    /// # Errors
    /// When `ssh` itself cannot be run; a command that fails is an [`SshOutput`] with its code.
    pub fn ssh(&self, command: &str) -> Result<SshOutput, VmError> {
        let io = |source| VmError::Io { what: "run ssh", source };
        let port = self.machine.ssh_port.expect("a machine that is spoken to has an SSH port").to_string();
        let sandbox =
            Sandbox::new(&self.machine.tools).network(Network::Host).bind_rw(&self.machine.run, RUN);
        let key = format!("{RUN}/id");
        let args = [
            "-i",
            &key,
            "-p",
            &port,
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=120",
            "-o",
            "ConnectionAttempts=5",
            "-o",
            "ServerAliveInterval=30",
            "-o",
            "ServerAliveCountMax=20",
            "root@127.0.0.1",
            command,
        ];
        let prepared = sandbox.command(Tool::Ssh, args).map_err(io)?;
        let ran = prepared
            .expression
            .stdin_null()
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .run()
            .map_err(io)?;
        Ok(SshOutput {
            code: ran.status.code(),
            stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
        })
    }

    /// Runs a command on the host as root that must succeed, and gives its standard output.
    ///
    /// # Errors
    /// [`VmError::Remote`] with what it printed.
    pub fn ssh_ok(&self, command: &str) -> Result<String, VmError> {
        let output = self.ssh(command)?;
        if output.code == Some(0) {
            return Ok(output.stdout);
        }
        let status = output.code.map_or_else(|| "a signal".into(), |code| format!("code {code}"));
        Err(VmError::Remote { command: command.into(), status, output: output.stdout + &output.stderr })
    }
}
