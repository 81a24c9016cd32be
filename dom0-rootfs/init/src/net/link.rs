//! Network devices: finding them, talking DHCP on all of them at once, giving one its address and taking it
//! back.
//!
//! An ordinary UDP socket per device, bound to it, sends to and hears from the broadcast address before the
//! device has an address of its own (Linux 6.12); no packet socket is needed. That a link came up is heard on
//! a route netlink socket, which serves as an alarm clock only: nothing is read from it but that something
//! happened.

use std::ffi::OsString;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recvfrom, setsockopt,
    socket, sockopt,
};

use super::NetError;
use super::dhcp::{self, Answer};
use super::talk::{Heard, Talk};
use super::url::Base;
use crate::console::{note, say};
use crate::events::readable;
use crate::needs::{Tool, ToolError};

/// How long all devices together may take to get an address: links of servers come up in some ten seconds,
/// switches with spanning tree hold them for thirty.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The kernel's group for links that come, go, rise and fall.
const LINKS: u32 = 1;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its address.
    pub mac: [u8; 6],
}

/// What a conversation brought.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The device that got it.
    pub nic: Nic,
    /// Address, router and name servers.
    pub answer: Answer,
    /// Where to fetch from.
    pub base: Base,
}

/// The Ethernet devices with hardware behind them (a bridge or dummy has no `device`), by name.
pub fn nics(sys: &Path) -> Vec<Nic> {
    let Ok(entries) = fs_err::read_dir(sys.join("class/net")) else { return Vec::new() };
    let mut nics: Vec<Nic> = entries.filter_map(|entry| nic(&entry.ok()?.path())).collect();
    nics.sort_by(|one, other| one.name.cmp(&other.name));
    nics
}

fn nic(folder: &Path) -> Option<Nic> {
    let read = |file: &str| fs_err::read_to_string(folder.join(file)).ok();
    let is_ethernet = read("type")?.trim() == "1" && folder.join("device").exists();
    let octets: Vec<u8> =
        read("address")?.trim().split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let name = folder.file_name()?.to_str()?.to_owned();
    is_ethernet.then_some(Nic { name, mac: octets.try_into().ok()? })
}

/// One device's socket and conversation.
struct Line {
    nic: Nic,
    socket: UdpSocket,
    transaction: u32,
    talk: Talk,
}

/// Asks on all devices until one has a lease that leads somewhere.
///
/// # Errors
/// [`NetError::NoDevice`], [`NetError::NoLease`] with what was heard meanwhile.
pub fn lease(sys: &Path) -> Result<Lease, NetError> {
    let begin = Instant::now();
    let links = links().map_err(|source| NetError::Socket { device: "netlink".to_owned(), source })?;
    let mut lines = Vec::new();
    for nic in nics(sys) {
        if let Err(error) = Tool::Ip.run().args(["link", "set", "dev", &nic.name, "up"]).done() {
            note(error);
            continue;
        }
        match line(&nic) {
            Ok(line) => lines.push(line),
            Err(error) => note(error),
        }
    }
    if lines.is_empty() {
        return Err(NetError::NoDevice);
    }
    let names: Vec<&str> = lines.iter().map(|line| line.nic.name.as_str()).collect();
    say(format_args!("no root on this machine so far; asking on {}", names.join(", ")));
    let mut heard = Vec::new();
    while begin.elapsed() < PATIENCE {
        for line in &mut lines {
            if begin.elapsed() >= line.talk.due() {
                line.ask(begin.elapsed());
            }
        }
        let due = lines.iter().map(|line| line.talk.due()).fold(PATIENCE, Duration::min);
        let sockets: Vec<_> = lines.iter().map(|line| line.socket.as_fd()).chain([links.as_fd()]).collect();
        readable(&sockets, due.saturating_sub(begin.elapsed()))
            .map_err(|source| NetError::Socket { device: "all devices".to_owned(), source })?;
        if drain(&links) {
            lines.iter_mut().for_each(|line| line.talk.link_changed(begin.elapsed()));
        }
        for line in &mut lines {
            if let Some(lease) = line.listen(begin, &mut heard) {
                return Ok(lease);
            }
        }
    }
    heard.sort();
    heard.dedup();
    Err(NetError::NoLease { devices: lines.len(), heard: heard.join("; ") })
}

impl Line {
    fn ask(&mut self, now: Duration) {
        let offer = self.talk.ask(now);
        let question = dhcp::question(self.nic.mac, self.transaction, offer);
        if let Err(error) = self.socket.send_to(&question, (Ipv4Addr::BROADCAST, 67)) {
            note(format_args!("cannot ask on {}: {error}", self.nic.name));
        }
    }

    /// Hears what has arrived. Collects what is worth a word in the report.
    fn listen(&mut self, begin: Instant, heard: &mut Vec<String>) -> Option<Lease> {
        let mut buffer = [0; dhcp::LONGEST + 1];
        // A flood must not keep the other devices from being heard.
        for _ in 0..64 {
            let length = self.socket.recv(&mut buffer).ok()?;
            let answer = match dhcp::answer(&buffer[..length], self.nic.mac, self.transaction) {
                Ok(answer) => answer,
                Err(dhcp::NoAnswer::NotOurs) => continue,
                Err(error) => {
                    remember(heard, format!("{}: an answer was refused: {error}", self.nic.name));
                    continue;
                }
            };
            match self.talk.hear(answer, begin.elapsed()) {
                Heard::Nothing(why) => remember(heard, format!("{}: {why}", self.nic.name)),
                Heard::Bad(why) => remember(heard, format!("{}: {why}", self.nic.name)),
                Heard::Ask => self.ask(begin.elapsed()),
                Heard::Done(answer, base) => return Some(Lease { nic: self.nic.clone(), answer, base }),
            }
        }
        None
    }
}

/// Anyone on the wire can make us remember things, so there is an end to it.
fn remember(heard: &mut Vec<String>, what: String) {
    if heard.len() < 8 && !heard.contains(&what) {
        heard.push(what);
    }
}

fn line(nic: &Nic) -> Result<Line, NetError> {
    let socket = udp(&nic.name).map_err(|source| NetError::Socket { device: nic.name.clone(), source })?;
    let [.., a, b, c, d] = nic.mac;
    // Only has to differ from machine to machine and from try to try.
    let uptime = fs_err::read_to_string("/proc/uptime").unwrap_or_default();
    let ticks = uptime
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0_u32, |sum, digit| sum.wrapping_mul(10).wrapping_add(u32::from(digit)));
    let transaction = u32::from_be_bytes([a, b, c, d]) ^ ticks;
    Ok(Line { nic: nic.clone(), socket, transaction, talk: Talk::new() })
}

fn udp(device: &str) -> Result<UdpSocket, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::Broadcast, &true)?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(device))?;
    bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 68))?;
    Ok(UdpSocket::from(socket))
}

fn links() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, LINKS))?;
    Ok(socket)
}

/// Empties the socket; whether there was anything.
fn drain(links: &OwnedFd) -> bool {
    let mut buffer = [0; 16 * 1024];
    let mut any = false;
    loop {
        match recvfrom::<NetlinkAddr>(links.as_raw_fd(), &mut buffer) {
            Ok(_) | Err(Errno::ENOBUFS) => any = true,
            Err(Errno::EINTR) => {}
            Err(_) => return any,
        }
    }
}

/// Gives the device its address, its way out, and the resolver its servers.
///
/// # Errors
/// [`ToolError`] of `ip`.
pub fn configure(lease: &Lease) -> Result<(), ToolError> {
    let (name, answer) = (lease.nic.name.as_str(), &lease.answer);
    let address = format!("{}/{}", answer.address, answer.prefix);
    Tool::Ip.run().args(["address", "replace", &address, "dev", name]).done()?;
    if let Some(router) = answer.router {
        let router = router.to_string();
        Tool::Ip.run().args(["route", "replace", "default", "via", &router, "dev", name, "onlink"]).done()?;
    }
    let servers: String = answer.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
    if let Err(error) = fs_err::write("/etc/resolv.conf", servers) {
        note(error);
    }
    Ok(())
}

/// Takes the address back: the system begins with devices that nobody has configured.
pub fn release(lease: &Lease) {
    if let Err(error) = Tool::Ip.run().args(["address", "flush", "dev", &lease.nic.name]).done() {
        note(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ethernet_hardware_is_asked() {
        let sys = tempfile::tempdir().unwrap();
        let device = |name: &str, kind: &str, address: &str, has_hardware: bool| {
            let folder = sys.path().join("class/net").join(name);
            fs_err::create_dir_all(&folder).unwrap();
            fs_err::write(folder.join("type"), kind).unwrap();
            fs_err::write(folder.join("address"), address).unwrap();
            if has_hardware {
                fs_err::create_dir(folder.join("device")).unwrap();
            }
        };
        device("lo", "772\n", "00:00:00:00:00:00\n", false);
        device("eth1", "1\n", "52:54:00:00:00:02\n", true);
        device("eth0", "1\n", "52:54:00:00:00:01\n", true);
        device("br0", "1\n", "52:54:00:00:00:03\n", false);
        device("ib0", "32\n", "00:00\n", true);
        device("odd", "1\n", "no\n", true);
        let names: Vec<_> = nics(sys.path()).into_iter().map(|nic| (nic.name, nic.mac[5])).collect();
        assert_eq!(names, [("eth0".to_owned(), 1), ("eth1".to_owned(), 2)]);
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut heard = Vec::new();
        (0..1000).for_each(|number| remember(&mut heard, number.to_string()));
        assert_eq!(heard.len(), 8);
    }
}
