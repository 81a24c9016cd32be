//! Where facts come from: files below a root folder, and two programs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;

/// A program of dom0 that is asked for facts. Closed: nothing else is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The device mapper's tables.
    Dmsetup,
    /// The state of units.
    Systemctl,
}

impl Tool {
    const fn path(self) -> &'static str {
        match self {
            Self::Dmsetup => "/usr/sbin/dmsetup",
            Self::Systemctl => "/usr/bin/systemctl",
        }
    }
}

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("cannot run {command}")]
    Start {
        /// Program and arguments.
        command: String,
        /// The reason.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{command} ended with {status}: {words}")]
    Failed {
        /// Program and arguments.
        command: String,
        /// How it ended.
        status: String,
        /// The last line that it wrote to standard error.
        words: String,
    },
}

/// Whoever answers in place of programs: the programs themselves, or a recording.
pub trait Programs {
    /// Standard output of a run.
    ///
    /// # Errors
    /// If the program cannot be started or ends with an error.
    fn run(&self, tool: Tool, args: &[&str]) -> Result<String, ToolError>;
}

/// The programs of this host.
pub struct Installed;

impl Programs for Installed {
    fn run(&self, tool: Tool, args: &[&str]) -> Result<String, ToolError> {
        let command = format!("{} {}", tool.path(), args.join(" "));
        let output = Command::new(tool.path())
            .args(args)
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", "/usr/bin:/usr/sbin")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ToolError::Start { command: command.clone(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.trim().lines().next_back().unwrap_or_default().to_owned();
        Err(ToolError::Failed { command, status: output.status.to_string(), words })
    }
}

/// Answers recorded in a folder: `<name of the program> <arguments>` is the file with its output.
pub struct Recorded(pub PathBuf);

impl Programs for Recorded {
    fn run(&self, tool: Tool, args: &[&str]) -> Result<String, ToolError> {
        let program = Path::new(tool.path()).file_name().unwrap_or_default().to_string_lossy();
        let command = format!("{program} {}", args.join(" "));
        let file = self.0.join(&command);
        fs::read_to_string(file).map_err(|source| ToolError::Start { command, source })
    }
}

/// The host that is looked at.
pub struct Host<'a> {
    /// `/`, or the folder of a test.
    pub root: &'a Path,
    /// Its programs.
    pub programs: &'a dyn Programs,
}

impl Host<'_> {
    /// A file's text without the white space around it.
    ///
    /// # Errors
    /// If it cannot be read; the error names it.
    pub fn text(&self, path: &str) -> io::Result<String> {
        let bytes = self.bytes(path)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// If it cannot be read; the error names it.
    pub fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.root.join(path.trim_start_matches('/')))
    }
}
