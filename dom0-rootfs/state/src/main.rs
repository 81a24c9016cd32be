//! `xenolith-state`: what an administrator does to a host's encrypted state while it is open.
//!
//! The TPM gives its key to the initrd alone, and to nobody on a running host, so both commands want the recovery key. It goes into
//! programs as a file in RAM that only root can read, and is gone when they have ended; no command line ever holds it.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    os::linux::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Parser, Subcommand};
use fs_err as fs;
use nix::sys::stat::{major, minor};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use tempfile::NamedTempFile;
use xenolith_layout::seal::{RecoveryKey, SEALED_TO, STATE_CONTAINER_NODE};

const CRYPTSETUP: &str = "/usr/sbin/cryptsetup";
const CRYPTENROLL: &str = "/usr/bin/systemd-cryptenroll";
/// A folder in RAM.
const RUN: &str = "/run/xenolith";
/// Longer lines are no recovery key.
const LONGEST: usize = 1024;

/// Look after the encrypted state of this host
///
/// The recovery key is asked for, or read from standard input: the installer has shown it once.
///
/// Exit codes: 0 done, 2 usage, 3 the recovery key is refused, 4 this host has no encrypted state that is open, 7 the TPM or the disk
/// failed.
#[derive(Debug, Parser)]
#[command(name = "xenolith-state", version)]
struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Verb {
    /// Seal the key to this machine's TPM anew, and to Secure Boot's settings and keys as they are now
    ///
    /// For a host that asks for its recovery key at each start, because its firmware's keys or its board have changed. What was sealed
    /// before is removed.
    Bind,
    /// Say whether a recovery key that was written down opens the state
    Check,
}

/// A failure and the exit code that goes with it.
struct Failed(u8, anyhow::Error);

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.command) {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(Failed(code, error)) => {
            eprintln!("error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("because: {cause}"));
            ExitCode::from(code)
        }
    }
}

fn run(verb: Verb) -> Result<&'static str, Failed> {
    let device = container()
        .and_then(|container| below(Path::new("/sys"), container))
        .map_err(|error| Failed(4, error))?;
    let key = ask().map_err(|error| Failed(3, error))?;
    let file = secret(&key).map_err(|error| Failed(7, error))?;
    opens(&device, file.path()).map_err(|error| Failed(3, error))?;
    match verb {
        Verb::Check => Ok("This recovery key opens the state."),
        Verb::Bind => {
            bind(&device, file.path()).map_err(|error| Failed(7, error))?;
            Ok("The TPM opens the state from the next start on.")
        }
    }
}

const NONE: &str = "this host has no encrypted state that is open";

/// The number of the opened container. Its node is a device or a link to one: the initrd makes the former, udev the latter.
fn container() -> anyhow::Result<u64> {
    Ok(fs::metadata(STATE_CONTAINER_NODE).context(NONE)?.st_rdev())
}

/// The device that the device mapper says a device lies on.
fn below(sys: &Path, device: u64) -> anyhow::Result<PathBuf> {
    let name = format!("{}:{}", major(device), minor(device));
    let mut slaves = fs::read_dir(sys.join("dev/block").join(name).join("slaves")).context(NONE)?;
    match (slaves.next(), slaves.next()) {
        (Some(slave), None) => Ok(Path::new("/dev").join(slave?.file_name())),
        _ => bail!("the container of the state does not lie on one device"),
    }
}

/// The recovery key from a terminal that does not show it, or from whatever standard input is.
fn ask() -> anyhow::Result<RecoveryKey> {
    let stdin = io::stdin();
    let mut line = String::new();
    let read = |line: &mut String| io::Read::take(stdin.lock(), LONGEST as u64).read_line(line);
    if stdin.is_terminal() {
        eprint!("Recovery key: ");
        io::stderr().flush()?;
        let before = tcgetattr(&stdin)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &quiet)?;
        let ended = read(&mut line);
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &before)?;
        eprintln!();
        ended?;
    } else {
        read(&mut line)?;
    }
    line.trim().parse().context("this is no recovery key")
}

/// A file that only root reads, in RAM.
fn secret(key: &RecoveryKey) -> anyhow::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(RUN).context("cannot hand the key on")?;
    file.write_all(key.reveal().as_bytes())?;
    file.flush()?;
    Ok(file)
}

fn opens(device: &Path, key: &Path) -> anyhow::Result<()> {
    let args = ["open", "--test-passphrase", "--type", "luks2", "--key-file"];
    let args = args.iter().map(Into::into).chain([key.into(), device.into()]);
    program(CRYPTSETUP, args.collect()).context("this recovery key does not open the state")
}

fn bind(device: &Path, key: &Path) -> anyhow::Result<()> {
    let unlock = format!("--unlock-key-file={}", key.display());
    let pcrs = format!("--tpm2-pcrs={SEALED_TO}");
    let seal = vec![unlock.into(), "--tpm2-device=auto".into(), pcrs.into(), device.into()];
    // In two runs: what another TPM has sealed to the same registers is the same to systemd-cryptenroll, which then does nothing
    // (systemd 257, cryptenroll-tpm2.c, "This PCR set is already enrolled").
    program(CRYPTENROLL, vec!["--wipe-slot=tpm2".into(), device.into()])
        .and_then(|()| program(CRYPTENROLL, seal))
        .context("the key was not sealed to the TPM; the recovery key goes on to open the state")
}

fn program(program: &str, args: Vec<std::ffi::OsString>) -> anyhow::Result<()> {
    let ran = duct::cmd(program, args)
        .full_env([("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin:/usr/sbin")])
        .stdin_null()
        .stdout_null()
        .stderr_capture()
        .unchecked()
        .run()
        .with_context(|| format!("cannot run {program}"))?;
    if ran.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&ran.stderr);
    Err(anyhow!("{program} ended with {}: {}", ran.status, words.trim()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn the_device_is_found_that_the_container_lies_on() {
        let sys = tempfile::tempdir().unwrap();
        let error = below(sys.path(), 0).unwrap_err();
        assert_eq!(error.to_string(), "this host has no encrypted state that is open");
        let slaves = sys.path().join("dev/block/253:1/slaves");
        fs::create_dir_all(slaves.join("md127")).unwrap();
        let device = nix::sys::stat::makedev(253, 1);
        assert_eq!(below(sys.path(), device).unwrap(), Path::new("/dev/md127"));
        fs::create_dir_all(slaves.join("vda7")).unwrap();
        assert!(below(sys.path(), device).is_err(), "two devices are not guessed between");
    }
}
