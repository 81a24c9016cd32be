//! What is left of an installation for people: log, plan, journal, machine and answers, on a stick or a server.
//!
//! Answers hold passwords as hashes, which is why they go to a stick that somebody holds in the hand, and to no server. The password for
//! a pool is in none of these files.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::syncfs,
};
use xenolith_installer::Plan;
use xenolith_machine::{Capture, Machine, PluggedIn, plugged_in};
use xenolith_probe::{Installed, capture};
use xenolith_source::{FetchError, Hint, NamedTrust, Patience, Server, Trust, Upload, upload};

use crate::source::pause;

const MOUNT_POINT: &str = "/run/xenolith/install/stick";
/// File systems with options: what has no owners of its own belongs to root alone, as hashes of passwords are among the files.
const FILE_SYSTEMS: &[(&str, &str)] = &[("vfat", "umask=077"), ("exfat", "umask=077"), ("ext4", "")];
/// Lines of the system's journal. The beginning of a start is the part that is rarely asked for.
const JOURNAL_LINES: &str = "--lines=5000";
/// Nothing that is saved is longer, in bytes; of what is, the end is.
const LONGEST: usize = 4 << 20;
/// More folders of one machine than anybody makes.
const MOST_FOLDERS: u32 = 99;
/// Somebody waits for it.
const PATIENCE: Patience = Patience { attempt: Duration::from_secs(60), between: Duration::from_secs(3) };

/// A file that is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFile {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub text: String,
    /// Whether it may be sent over a network.
    pub for_servers: bool,
}

/// What was seen and decided. What cannot be asked says why in its own file.
pub fn gather(log: &[String], plan: Option<&Plan>, answers: &Path) -> Vec<RecordFile> {
    let said =
        |asked: anyhow::Result<String>| asked.unwrap_or_else(|error| format!("not known: {error:#}\n"));
    let file = |name, text: String| RecordFile { name, text: tail(text), for_servers: true };
    let mut files = vec![file("log.txt", format!("{}\n", log.join("\n")))];
    files.extend(plan.map(|plan| file("plan.txt", format!("{plan}\nplan {}\n", plan.hash()))));
    files.push(file("journal.txt", said(journal())));
    let machine = capture(Path::new("/"), &Installed, "saved by the installer");
    let text = |machine: Capture| serde_json::to_string_pretty(&machine).context("a capture is no JSON");
    files.push(file("machine.json", said(machine.and_then(text))));
    if let Ok(text) = fs::read_to_string(answers) {
        files.push(RecordFile { for_servers: false, ..file("answers.toml", text) });
    }
    files
}

fn journal() -> anyhow::Result<String> {
    let command = ["--boot", "--no-pager", "--output=short-monotonic", JOURNAL_LINES];
    let said = duct::cmd("/usr/bin/journalctl", command).stdin_null().stderr_null().stdout_capture().run()?;
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// The end of a text that is too long, from the beginning of a line.
fn tail(text: String) -> String {
    let Some(from) = text.len().checked_sub(LONGEST).filter(|from| *from > 0) else { return text };
    text[text.ceil_char_boundary(from)..]
        .split_once('\n')
        .map(|(_, rest)| rest.to_owned())
        .unwrap_or_default()
}

/// Where records may be saved: neither on a disk that `plan` names nor on the medium.
pub fn sticks(plan: Option<&Plan>) -> anyhow::Result<Vec<PluggedIn>> {
    let machine = Machine::of(&capture(Path::new("/"), &Installed, "looking for sticks")?);
    let chosen: BTreeSet<&str> =
        plan.iter().flat_map(|plan| &plan.erases).map(|erased| erased.disk.path.as_str()).collect();
    let disks = machine.disks.iter().filter(|disk| chosen.contains(disk.path().as_str()));
    let avoid = disks.map(|disk| disk.kernel_name.clone()).collect();
    Ok(plugged_in(&machine, &avoid))
}

/// Saves files in a folder of their own on a volume, and says where. The volume can be pulled out when this comes back.
///
/// # Errors
/// When not all of them are on it.
pub fn save(device: &Path, machine: &Machine, files: &[RecordFile]) -> anyhow::Result<String> {
    let stick = Stick::mount(device).with_context(|| format!("cannot use {}", device.display()))?;
    let folder = write(&stick.0, &name(machine), files)
        .with_context(|| format!("cannot write to {}", device.display()))?;
    stick.release().with_context(|| format!("{} holds the files, but is still in use", device.display()))?;
    Ok(format!("Saved on {} in the folder {folder}. It can be pulled out.", device.display()))
}

/// Sends what servers may have, and says where to.
///
/// # Errors
/// When the line is no address that is believed for a reason, or not all of it arrived.
pub fn send(line: &str, files: &[RecordFile]) -> anyhow::Result<String> {
    let server = server(line)?;
    send_to(&server, files, PATIENCE)?;
    Ok(format!("Sent to {}.", server.url))
}

/// Sends what servers may have.
///
/// # Errors
/// When not all of it arrived.
pub fn send_to(server: &Server, files: &[RecordFile], patience: Patience) -> Result<(), FetchError> {
    upload(server, &uploads(files), patience, &mut pause)
}

fn uploads(files: &[RecordFile]) -> Vec<Upload<'_>> {
    let sent = files.iter().filter(|file| file.for_servers);
    sent.map(|file| Upload { name: file.name, text: &file.text }).collect()
}

fn server(line: &str) -> anyhow::Result<Server> {
    let Hint { url, trust } = Hint::parse(line.as_bytes())?;
    let trust = match trust {
        NamedTrust::Known => Trust::Known,
        NamedTrust::Pinned(pin) => Trust::Pinned(pin),
        NamedTrust::Insecure => Trust::Insecure,
        NamedTrust::Own => anyhow::bail!("ca= names a file of the medium; give sha256= here"),
    };
    Ok(Server { url, trust })
}

/// What a folder with records of this machine is called. FAT takes few characters.
fn name(machine: &Machine) -> String {
    let fits =
        |text: &String| -> String { text.chars().filter(char::is_ascii_alphanumeric).take(40).collect() };
    let serial = machine.system.serial.as_ref().map(fits).filter(|serial| !serial.is_empty());
    let known = serial.or_else(|| machine.nics.first().map(|nic| fits(&nic.mac)));
    format!("xenolith-{}", known.unwrap_or_else(|| "machine".to_owned()))
}

/// Writes files into the first folder of that name that is not there, and gives its name.
fn write(volume: &Path, name: &str, files: &[RecordFile]) -> io::Result<String> {
    let mut number = 1;
    let folder = loop {
        let folder = format!("{name}-{number}");
        match fs::create_dir(volume.join(&folder)) {
            Ok(()) => break folder,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MOST_FOLDERS => {
                number += 1
            }
            Err(error) => return Err(error),
        }
    };
    for RecordFile { name, text, .. } in files {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(volume.join(&folder).join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    syncfs(fs::File::open(volume)?.file())?;
    Ok(folder)
}

/// A volume that is mounted.
struct Stick(PathBuf);

impl Stick {
    fn mount(device: &Path) -> io::Result<Self> {
        fs::create_dir_all(MOUNT_POINT)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        for (kind, options) in FILE_SYSTEMS {
            match mount(Some(device), MOUNT_POINT, Some(*kind), flags, Some(*options)) {
                Ok(()) => return Ok(Self(MOUNT_POINT.into())),
                // Another file system than this one, or one that this kernel has not.
                Err(Errno::EINVAL | Errno::ENODEV) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::other("it has a file system that nothing can be saved on (FAT, exFAT or ext4)"))
    }

    /// Not before everything is on it.
    fn release(self) -> io::Result<()> {
        Ok(umount2(&self.0, MntFlags::empty())?)
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        // After a release nothing is mounted there any more, and that is all that this can find out.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &'static str, for_servers: bool) -> RecordFile {
        RecordFile { name, text: format!("{name}\n"), for_servers }
    }

    fn machine(serial: Option<&str>) -> Machine {
        let dmi = serial.map(|serial| ("product_serial".to_owned(), serial.to_owned()));
        Machine::of(&Capture { dmi: dmi.into_iter().collect(), ..Capture::new() })
    }

    #[test]
    fn nothing_that_is_on_a_stick_is_written_over() {
        let stick = tempfile::tempdir().unwrap();
        let name = name(&machine(Some("7XK/2M")));
        for expected in ["xenolith-7XK2M-1", "xenolith-7XK2M-2"] {
            assert_eq!(write(stick.path(), &name, &[file("log.txt", true)]).unwrap(), expected);
            let text = fs::read_to_string(stick.path().join(expected).join("log.txt")).unwrap();
            assert_eq!(text, "log.txt\n");
        }
        assert_eq!(super::name(&machine(None)), "xenolith-machine");
    }

    #[test]
    fn no_answers_are_sent_to_a_server() {
        let files = [file("log.txt", true), file("answers.toml", false)];
        let sent: Vec<&str> = uploads(&files).iter().map(|file| file.name).collect();
        assert_eq!(sent, ["log.txt"]);
    }

    #[test]
    fn a_server_is_believed_for_a_reason() {
        assert_eq!(server("https://a/").unwrap().trust, Trust::Known);
        assert_eq!(server(" http://a/logs insecure ").unwrap().trust, Trust::Insecure);
        for line in ["http://a/", "ftp://a/", "https://a/ ca=ca.pem", ""] {
            assert!(server(line).is_err(), "{line}");
        }
    }

    #[test]
    fn of_a_long_text_the_end_is_kept() {
        let text = tail(format!("first\n{}last\n", "ä\n".repeat(LONGEST)));
        assert!(text.len() <= LONGEST && text.starts_with("ä\n") && text.ends_with("last\n"));
        assert_eq!(tail("short\n".to_owned()), "short\n");
    }

    #[test]
    fn what_cannot_be_asked_does_not_keep_the_rest_from_being_saved() {
        let files = gather(&["[1/7] begun".to_owned()], None, Path::new("/nowhere/answers.toml"));
        let names: Vec<&str> = files.iter().map(|file| file.name).collect();
        assert_eq!(names, ["log.txt", "journal.txt", "machine.json"]);
        assert_eq!(files[0].text, "[1/7] begun\n");
    }
}
