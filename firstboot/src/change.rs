//! Changes of a host, and whoever makes them.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown, symlink};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use xenolith_settings::HostName;

use crate::certificate::{self, CERTIFICATE, CertificateNames};
use crate::host_keys::HostKey;
use crate::identity::HOST_KEY;
use crate::pool::Join;
use crate::storage::{Programs as _, Step, ThisMachine};
use crate::xenapi::TOOLSTACK;

/// One change of the host. Each may be repeated. Paths are without the leading slash.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// A whole file, by rename. One that was there keeps its owner.
    Write {
        /// Its path.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Its text, which may hold a secret.
        text: String,
    },
    /// A symbolic link, by rename.
    Link {
        /// Its path.
        path: String,
        /// Where it points to.
        target: String,
    },
    /// A file that may not be there.
    Remove {
        /// Its path.
        path: String,
    },
    /// The name that the kernel reports.
    SetHostName(HostName),
    /// A network device that is made of files (a bond, a VLAN) goes away, if it is there: no daemon takes it away by itself.
    RemoveLink(String),
    /// A daemon reads its files again, if it runs.
    Reload(Reload),
    /// A new key with its certificate, in place of the one that was there.
    Certificate(CertificateNames),
    /// A new key for SSH, where none is.
    HostKey,
    /// A step to local storage.
    Storage(Step),
    /// The host becomes a member of a pool.
    JoinPool(Join),
}

/// Daemons that read their files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// systemd-networkd.
    Network,
    /// chrony.
    Clock,
    /// Whoever loads the console's keyboard.
    Keyboard,
    /// The kernel, which takes what stands in files of sysctl.d.
    Kernel,
}

/// Without the text of files.
impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write { path, text, .. } => write!(f, "/{path}: {} line(s)", text.lines().count()),
            Self::Link { path, target } => write!(f, "/{path} -> {target}"),
            Self::Remove { path } => write!(f, "/{path}: removed"),
            Self::SetHostName(name) => write!(f, "the kernel calls the host {name}"),
            Self::RemoveLink(name) => write!(f, "the network device {name} goes away"),
            Self::Reload(Reload::Network) => f.write_str("the network is set up anew"),
            Self::Reload(Reload::Clock) => f.write_str("the clock looks for its servers"),
            Self::Reload(Reload::Keyboard) => f.write_str("the keyboard is loaded"),
            Self::Reload(Reload::Kernel) => f.write_str("the kernel is told"),
            Self::Certificate(names) => {
                write!(f, "/{CERTIFICATE}: a new key and its certificate for {}", names.host)?;
                names.addresses.iter().try_for_each(|address| write!(f, ", {address}"))
            }
            Self::HostKey => write!(f, "/{HOST_KEY}: a new key"),
            Self::Storage(step) => step.fmt(f),
            Self::JoinPool(join) => join.fmt(f),
        }
    }
}

/// Everything that first boot does to the world outside of it, so that a test can end it between any two of them.
pub trait System {
    /// Writes a file so that it is there whole or not at all, and flushed, with its name.
    ///
    /// # Errors
    /// When it is not there.
    fn write(&mut self, path: &Path, mode: u32, text: &str) -> io::Result<()>;

    /// Makes a link in place of whatever has its name.
    ///
    /// # Errors
    /// When it is not there.
    fn link(&mut self, path: &Path, target: &str) -> io::Result<()>;

    /// Removes a file; one that is not there is removed.
    ///
    /// # Errors
    /// When it is still there.
    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// Tells the kernel the host's name.
    ///
    /// # Errors
    /// When it refuses.
    fn set_host_name(&mut self, name: &HostName) -> io::Result<()>;

    /// Takes a bond or VLAN away; one that is not there is away.
    ///
    /// # Errors
    /// With the kernel's words.
    fn remove_link(&mut self, name: &str) -> io::Result<()>;

    /// Makes a daemon that runs read its files again.
    ///
    /// # Errors
    /// With its words.
    fn reload(&mut self, what: Reload) -> io::Result<()>;

    /// Takes a step to local storage.
    ///
    /// # Errors
    /// With the words of the program that failed. What a cut leaves in the midst of it is said in [`crate::storage`].
    fn storage(&mut self, step: &Step) -> io::Result<()>;

    /// Joins a pool, by the toolstack that listens at `socket`.
    ///
    /// # Errors
    /// With its words.
    fn join(&mut self, socket: &Path, join: &Join) -> io::Result<()>;

    /// Makes a change below `root`.
    ///
    /// # Errors
    /// As the change.
    fn make(&mut self, root: &Path, change: &Change) -> io::Result<()> {
        match change {
            Change::Write { path, mode, text } => self.write(&root.join(path), *mode, text),
            Change::Link { path, target } => self.link(&root.join(path), target),
            Change::Remove { path } => self.remove(&root.join(path)),
            Change::SetHostName(name) => self.set_host_name(name),
            Change::RemoveLink(name) => self.remove_link(name),
            Change::Reload(what) => self.reload(*what),
            Change::Certificate(names) => {
                let text = certificate::make(names).map_err(io::Error::other)?;
                self.write(&root.join(CERTIFICATE), 0o600, &text)
            }
            Change::HostKey => HostKey::draw()?.write(root, self),
            Change::Storage(step) => self.storage(step),
            Change::JoinPool(join) => self.join(&root.join(TOOLSTACK), join),
        }
    }
}

/// Loads the keyboard at each boot.
const KEYBOARD: &str = "xenolith-keyboard.service";

/// Writes sysctl.d's files into the kernel, at each boot; it stays active.
const SYSCTL: &str = "systemd-sysctl.service";

/// The host that this program runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisHost;

impl System for ThisHost {
    fn write(&mut self, path: &Path, mode: u32, text: &str) -> io::Result<()> {
        let (folder, new) = beside(path)?;
        let owner = fs::metadata(path).ok().map(|old| (old.uid(), old.gid()));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        if let Some((user, group)) = owner {
            fchown(file.file(), Some(user), Some(group))?;
        }
        // The mode above is cut by the umask, and says nothing if the file was there.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        flush(&folder)
    }

    fn link(&mut self, path: &Path, target: &str) -> io::Result<()> {
        let (folder, new) = beside(path)?;
        self.remove(&new)?;
        symlink(target, &new)?;
        fs::rename(&new, path)?;
        flush(&folder)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn set_host_name(&mut self, name: &HostName) -> io::Result<()> {
        Ok(nix::unistd::sethostname(name.as_str())?)
    }

    fn remove_link(&mut self, name: &str) -> io::Result<()> {
        if !Path::new("/sys/class/net").join(name).exists() {
            return Ok(());
        }
        let said = duct::cmd!("/usr/bin/ip", "link", "delete", "dev", name)
            .stdin_null()
            .stdout_null()
            .stderr_capture()
            .unchecked()
            .run()?;
        if said.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&said.stderr);
        Err(io::Error::other(format!("ip link delete ended with {}: {}", said.status, words.trim())))
    }

    fn reload(&mut self, what: Reload) -> io::Result<()> {
        // Neither starts a daemon that does not run: it reads its files when it starts.
        let (unit, command): (_, &[&str]) = match what {
            Reload::Network => ("systemd-networkd.service", &["/usr/bin/networkctl", "reload"]),
            Reload::Clock => {
                ("chrony.service", &["/usr/bin/systemctl", "--no-block", "try-restart", "chrony.service"])
            }
            Reload::Keyboard => (KEYBOARD, &["/usr/bin/systemctl", "--no-block", "try-restart", KEYBOARD]),
            Reload::Kernel => (SYSCTL, &["/usr/bin/systemctl", "--no-block", "try-restart", SYSCTL]),
        };
        let runs = duct::cmd!("/usr/bin/systemctl", "is-active", "--quiet", unit).unchecked().run()?;
        if !runs.status.success() {
            return Ok(());
        }
        let said = duct::cmd(command[0], &command[1..]).stdout_null().stderr_capture().unchecked().run()?;
        if said.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&said.stderr);
        Err(io::Error::other(format!("{} ended with {}: {}", command.join(" "), said.status, words.trim())))
    }

    fn storage(&mut self, step: &Step) -> io::Result<()> {
        step.commands()
            .iter()
            .try_for_each(|command| ThisMachine.ask(command).map(drop).map_err(io::Error::other))
    }

    fn join(&mut self, socket: &Path, join: &Join) -> io::Result<()> {
        join.carry_out(socket)
    }
}

/// The folder of a file, made if need be, and the name under which the file is put together.
fn beside(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    fs::create_dir_all(&folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.new"));
    Ok((folder, new))
}

fn flush(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_with_its_mode_and_may_be_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        for text in ["one\n", "two\n"] {
            ThisHost.write(&path, 0o600, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        }
        ThisHost.remove(&path).unwrap();
        ThisHost.remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_link_takes_the_place_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("localtime");
        fs::write(&path, "").unwrap();
        for target in ["../a", "../b"] {
            ThisHost.link(&path, target).unwrap();
            assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
        }
    }

    #[test]
    fn nothing_of_a_file_is_shown() {
        let change =
            Change::Write { path: "etc/shadow".into(), mode: 0o640, text: "root:$y$secret\n".into() };
        assert_eq!(format!("{change:?}"), "/etc/shadow: 1 line(s)");
    }
}
