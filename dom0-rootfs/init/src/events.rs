//! Device events, and the kernel modules that they call for. There is no udev here.
//!
//! The socket is opened **before** the first walk over sysfs, so a device that appears during the walk is seen
//! by one of the two. Messages are only a reason to look again: disks are always read from sysfs, so a lost
//! message (the kernel says `ENOBUFS`) costs one more walk and nothing else.
//!
//! Modules are loaded by separate processes that are not waited for: a controller that takes a minute to
//! start its disks then does not hold up the USB stick. They are waited for once, with a limit, before the
//! system starts.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt, socket, sockopt,
};

use crate::console::note;
use crate::error::InitError;
use crate::needs::{EARLY_MODULES, Tool};
use crate::uevent::Uevent;

/// Processes that share the first walk's modules.
const LOADERS: usize = 4;
/// The kernel's group of the uevent family.
const KERNEL_GROUP: u32 = 1;

/// The socket, and the processes that load modules.
#[derive(Debug)]
pub struct Events {
    socket: OwnedFd,
    loaders: Vec<Loader>,
    asked: BTreeSet<String>,
}

#[derive(Debug)]
struct Loader {
    child: Child,
    /// Becomes readable (end of file) when the process ends.
    output: ChildStdout,
}

impl Events {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`InitError::System`].
    pub fn open() -> Result<Self, InitError> {
        let at = |what| move |source| InitError::System { what, source };
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )
        .map_err(at("open the uevent socket"))?;
        // Coldplug of a large server says thousands of things at once; a smaller buffer only means another
        // walk.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20));
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP)).map_err(at("listen to uevents"))?;
        Ok(Self { socket, loaders: Vec::new(), asked: BTreeSet::new() })
    }

    /// Loads what no device announces, and waits for it.
    pub fn load_early_modules(&self) {
        if let Err(error) = Tool::Modprobe.run().arg("-abq").args(EARLY_MODULES).done() {
            // One of them may not suit this machine (sha256_ssse3, efivarfs). What is really missing fails
            // later.
            note(error);
        }
    }

    /// Starts loading the modules of all devices that are there.
    pub fn coldplug(&mut self, sys: &Path) {
        let aliases = new_ones(modaliases(sys), &mut self.asked);
        let share = aliases.len().div_ceil(LOADERS).max(1);
        for some in aliases.chunks(share) {
            self.load(some);
        }
    }

    /// Waits until something happened or the time is over. Gives the names below `/dev` of block devices that
    /// came or changed.
    ///
    /// # Errors
    /// [`InitError::System`].
    pub fn wait(&mut self, timeout: Duration, sys: &Path) -> Result<Vec<String>, InitError> {
        self.poll(timeout, true)?;
        self.reap();
        let mut devices = Vec::new();
        let mut aliases = BTreeSet::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((length, Some(sender))) if sender.pid() == 0 => {
                    let Some(event) = Uevent::from_message(&buffer[..length]) else { continue };
                    aliases.extend(event.get("MODALIAS").map(str::to_owned));
                    if event.is_new_block_device() {
                        devices.extend(event.get("DEVNAME").map(str::to_owned));
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => aliases.extend(modaliases(sys)),
                Err(Errno::EAGAIN) => break,
                Err(source) => return Err(InitError::System { what: "receive a uevent", source }),
            }
        }
        let aliases = new_ones(aliases, &mut self.asked);
        self.load(&aliases);
        Ok(devices)
    }

    /// Waits for the processes that still load modules, at most until the limit.
    ///
    /// # Errors
    /// [`InitError::System`].
    pub fn settle(&mut self, limit: Duration) -> Result<(), InitError> {
        let end = Instant::now() + limit;
        while !self.loaders.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                note("some modules are still being loaded");
                return Ok(());
            }
            self.poll(left, false)?;
            self.reap();
        }
        Ok(())
    }

    fn poll(&self, timeout: Duration, with_socket: bool) -> Result<(), InitError> {
        let readable = PollFlags::POLLIN;
        let mut files: Vec<PollFd> =
            self.loaders.iter().map(|loader| PollFd::new(loader.output.as_fd(), readable)).collect();
        if with_socket {
            files.push(PollFd::new(self.socket.as_fd(), readable));
        }
        // Rounded up: a wait of zero milliseconds would turn the last millisecond into a busy loop.
        let milliseconds = i32::try_from(timeout.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        match poll(&mut files, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(source) => Err(InitError::System { what: "wait for events", source }),
        }
    }

    fn load(&mut self, aliases: &[String]) {
        if aliases.is_empty() {
            return;
        }
        let call = Tool::Modprobe.run().args(["-abq", "--"]).args(aliases);
        let spawned = call.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        match spawned {
            Ok(mut child) => {
                if let Some(output) = child.stdout.take() {
                    self.loaders.push(Loader { child, output });
                }
            }
            Err(error) => note(format_args!("cannot start modprobe: {error}")),
        }
    }

    /// Collects the processes that ended. That some alias has no module here is usual, so nobody asks how.
    fn reap(&mut self) {
        self.loaders.retain_mut(|loader| matches!(loader.child.try_wait(), Ok(None)));
    }
}

/// Those that were not asked for before; an alias is enough once, as the module then takes every such device.
fn new_ones(aliases: BTreeSet<String>, asked: &mut BTreeSet<String>) -> Vec<String> {
    aliases.into_iter().filter(|alias| asked.insert(alias.clone())).collect()
}

/// The aliases of all devices below `sys/devices`.
pub fn modaliases(sys: &Path) -> BTreeSet<String> {
    let mut aliases = BTreeSet::new();
    let mut folders = vec![sys.join("devices")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs_err::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            // Links lead to other devices and back; only real folders are walked.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && entry.file_name() == "modalias" => {
                    let text = fs_err::read_to_string(entry.path()).unwrap_or_default();
                    let alias = text.trim();
                    if !alias.is_empty() {
                        aliases.insert(alias.to_owned());
                    }
                }
                _ => {}
            }
        }
    }
    aliases
}

/// Reads nothing, waits for nothing: only whether a socket has something, for the network part.
///
/// # Errors
/// [`Errno`] of `poll`.
pub fn readable(sockets: &[std::os::fd::BorrowedFd<'_>], timeout: Duration) -> Result<(), Errno> {
    let mut files: Vec<PollFd> =
        sockets.iter().map(|socket| PollFd::new(*socket, PollFlags::POLLIN)).collect();
    let milliseconds = i32::try_from(timeout.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
    match poll(&mut files, PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_collected_once_and_links_are_not_followed() {
        let sys = tempfile::tempdir().unwrap();
        let device = |path: &str, alias: &str| {
            let folder = sys.path().join("devices").join(path);
            fs_err::create_dir_all(&folder).unwrap();
            fs_err::write(folder.join("modalias"), alias).unwrap();
        };
        device("pci0/0000:00:01.0", "pci:v00001AF4\n");
        device("pci0/0000:00:02.0", "pci:v00001AF4\n");
        device("pci0/0000:00:02.0/usb1", "usb:v1D6B\n");
        device("platform/none", "\n");
        std::os::unix::fs::symlink("..", sys.path().join("devices/pci0/subsystem")).unwrap();
        let aliases = modaliases(sys.path());
        assert_eq!(aliases.iter().collect::<Vec<_>>(), ["pci:v00001AF4", "usb:v1D6B"]);
        let mut asked = BTreeSet::new();
        assert_eq!(new_ones(aliases.clone(), &mut asked).len(), 2);
        assert!(new_ones(aliases, &mut asked).is_empty());
    }

    #[test]
    fn the_socket_opens_and_a_wait_ends_in_time() {
        let sys = tempfile::tempdir().unwrap();
        let mut events = Events::open().unwrap();
        let begin = Instant::now();
        events.wait(Duration::from_millis(1), sys.path()).unwrap();
        events.settle(Duration::from_secs(1)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
