//! What a sandbox is made of, and starting it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::Tool;

/// Names the variable that carries the path of a [`Spec`] from the builder to stage 1 and 2.
pub(crate) const SPEC_VARIABLE: &str = "XENOLITH_SANDBOX_SPEC";
pub(crate) const STAGE_VARIABLE: &str = "XENOLITH_SANDBOX_STAGE";

/// Midnight of the day that every file in an image carries: 2026-01-01 00:00:00 UTC.
const EPOCH: &str = "1767225600";
/// This program, even if its file has been compiled anew since it was started.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Which network a program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// None at all, not even loopback's addresses.
    None,
    /// The host's: for the machine emulator and its forwarded ports only.
    Host,
}

/// A host path that appears inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
    pub writable: bool,
    pub optional: bool,
}

/// All that stage 1 and 2 need to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub tree: PathBuf,
    pub binds: Vec<Bind>,
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    pub network: Network,
    pub argv: Vec<OsString>,
}

/// A program failed, or could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The program ran and said no.
    #[error("{command} ended with {status}{}", if tail.is_empty() { String::new() } else { format!("; its last lines:\n{tail}") })]
    Failed {
        /// The command line, quoted for reading.
        command: String,
        /// Exit code or signal.
        status: String,
        /// The last lines that it printed.
        tail: String,
        /// Where all that it printed is.
        log: PathBuf,
    },
    /// It could not be started at all.
    #[error("cannot start {command}")]
    Start {
        /// The command line, quoted for reading.
        command: String,
        /// Why.
        source: io::Error,
    },
}

/// A tree to run programs of, and what they see beside it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    spec: Spec,
}

impl Sandbox {
    /// Programs of `tree` with no network, nothing bound, working in `/`.
    pub fn new(tree: &Path) -> Self {
        let env = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("LC_ALL", "C.UTF-8"),
            ("TZ", "UTC"),
            ("TMPDIR", "/tmp"),
            ("SOURCE_DATE_EPOCH", EPOCH),
        ];
        Self {
            spec: Spec {
                tree: tree.into(),
                binds: Vec::new(),
                env: env.map(|(name, value)| (name.into(), value.into())).into(),
                cwd: "/".into(),
                network: Network::None,
                argv: Vec::new(),
            },
        }
    }

    fn bind(mut self, source: &Path, target: &str, writable: bool, optional: bool) -> Self {
        self.spec.binds.push(Bind { source: source.into(), target: target.into(), writable, optional });
        self
    }

    /// Shows `source` (a file or a folder) at `target`, read-only.
    pub fn bind_ro(self, source: &Path, target: &str) -> Self {
        self.bind(source, target, false, false)
    }

    /// Shows `source` at `target`, writable.
    pub fn bind_rw(self, source: &Path, target: &str) -> Self {
        self.bind(source, target, true, false)
    }

    /// Shows a device node of the host if it is there.
    pub fn bind_device(self, device: &Path) -> Self {
        let target = device.to_string_lossy().into_owned();
        self.bind(device, &target, true, true)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.spec.env.insert(name.into(), value.into());
        self
    }

    /// The working folder, as seen inside.
    pub fn cwd(mut self, folder: &str) -> Self {
        self.spec.cwd = folder.into();
        self
    }

    /// Which network the programs see.
    pub fn network(mut self, network: Network) -> Self {
        self.spec.network = network;
        self
    }

    /// A command for the caller to start, wait for and redirect; it holds its specification file until it is dropped.
    ///
    /// # Errors
    /// When the specification cannot be written.
    pub fn command<I>(&self, tool: Tool, args: I) -> io::Result<Command>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let mut spec = self.spec.clone();
        spec.argv = std::iter::once(tool.program().into()).chain(args.into_iter().map(Into::into)).collect();
        let line = spec.argv.iter().map(|arg| quote(&arg.to_string_lossy())).collect::<Vec<_>>().join(" ");
        let mut file = tempfile::Builder::new().prefix("xenolith-sandbox-").tempfile()?;
        file.write_all(&serde_json::to_vec(&spec).map_err(io::Error::other)?)?;
        file.flush()?;
        let expression = duct::cmd(SELF, Vec::<OsString>::new())
            .full_env([(SPEC_VARIABLE, file.path().as_os_str()), (STAGE_VARIABLE, "1".as_ref())]);
        Ok(Command { expression, line, _spec: file })
    }

    /// Runs a program to its end; all that it prints is appended to `log` below its command line.
    ///
    /// # Errors
    /// [`ToolError::Failed`] with the last lines, [`ToolError::Start`] if it never ran.
    pub fn run<I>(&self, tool: Tool, args: I, log: &Path) -> Result<(), ToolError>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let start = |command: &str, source| ToolError::Start { command: command.into(), source };
        let command = self.command(tool, args).map_err(|source| start(tool.program(), source))?;
        let opened = fs::OpenOptions::new().create(true).append(true).open(log);
        let mut sink = opened.map_err(|source| start(&command.line, source))?;
        writeln!(sink, "$ {}", command.line).map_err(|source| start(&command.line, source))?;
        let err = sink.file().try_clone().map_err(|source| start(&command.line, source))?;
        let out = sink.into_parts().0;
        let ran = command.expression.stdin_null().stdout_file(out).stderr_file(err).unchecked().run();
        let output = ran.map_err(|source| start(&command.line, source))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ToolError::Failed {
            command: shorten(&command.line),
            status: output.status.to_string(),
            tail: tail(log, 20),
            log: log.into(),
        })
    }

    /// Runs a program and returns what it printed on standard output.
    ///
    /// # Errors
    /// As [`Sandbox::run`]; the log then holds standard error only.
    pub fn read<I>(&self, tool: Tool, args: I, log: &Path) -> Result<Vec<u8>, ToolError>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let start = |command: &str, source| ToolError::Start { command: command.into(), source };
        let command = self.command(tool, args).map_err(|source| start(tool.program(), source))?;
        let opened = fs::OpenOptions::new().create(true).append(true).open(log);
        let mut sink = opened.map_err(|source| start(&command.line, source))?;
        writeln!(sink, "$ {}", command.line).map_err(|source| start(&command.line, source))?;
        let err = sink.into_parts().0;
        let ran = command.expression.stdin_null().stdout_capture().stderr_file(err).unchecked().run();
        let output = ran.map_err(|source| start(&command.line, source))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(ToolError::Failed {
            command: shorten(&command.line),
            status: output.status.to_string(),
            tail: tail(log, 20),
            log: log.into(),
        })
    }
}

/// A program in its sandbox, not started yet.
pub struct Command {
    /// To redirect and start; killing it kills all that runs inside.
    pub expression: duct::Expression,
    /// The command line inside, quoted for reading.
    pub line: String,
    _spec: tempfile::NamedTempFile,
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn shorten(line: &str) -> String {
    const LONGEST: usize = 400;
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{} …", &line[..at]),
        None => line.into(),
    }
}

/// The last `lines` lines of a log, or nothing if it cannot be read.
fn tail(log: &Path, lines: usize) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_spaces_and_quotes_are_quoted_for_reading() {
        assert_eq!(quote("-j2"), "-j2");
        assert_eq!(quote("it's here"), "'it'\\''s here'");
        assert_eq!(quote(""), "''");
    }
}
