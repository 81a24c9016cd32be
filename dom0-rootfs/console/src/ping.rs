//! Whether something answers: ICMP's echo, which dom0 has no program for.
//!
//! Source: RFC 792, RFC 4443 §4. A raw socket for IPv4 gives the IP header along with the answer, one for IPv6 does not, and the kernel
//! fills in the checksum there (RFC 3542 §3.1).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, socket,
};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks, and says how long the answer took; nothing if there was none.
///
/// # Errors
/// When nothing can be sent: the network is down, or there is no way there.
pub fn ping(ip: IpAddr, number: u16) -> io::Result<Option<Duration>> {
    let (family, protocol) = match ip {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    // Echoes of other programs come here, too: ours have a number that two consoles do not share.
    let id = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
    let (began, request) = (Instant::now(), request(ip.is_ipv4(), id, number));
    sendto(socket.as_raw_fd(), &request, &SockaddrStorage::from(SocketAddr::new(ip, 0)), MsgFlags::empty())?;
    loop {
        let left = PATIENCE.saturating_sub(began.elapsed());
        let mut wanted = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if left.is_zero() {
            return Ok(None);
        }
        match poll(&mut wanted, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
            // Programs of other threads end meanwhile.
            Err(Errno::EINTR) | Ok(0) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut packet = [0; 512];
        let count = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty())?;
        if is_answer(ip.is_ipv4(), &packet[..count], id, number) {
            return Ok(Some(began.elapsed()));
        }
    }
}

fn request(v4: bool, id: u16, number: u16) -> Vec<u8> {
    let mut packet = vec![if v4 { 8 } else { 128 }, 0, 0, 0];
    packet.extend(id.to_be_bytes());
    packet.extend(number.to_be_bytes());
    packet.extend(b"xenolith");
    if v4 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or_default()
}

/// Whether a packet, as a raw socket gives it, is the answer to our question.
pub fn is_answer(v4: bool, packet: &[u8], id: u16, number: u16) -> bool {
    let header = if v4 { packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4) } else { 0 };
    let Some(echo) = packet.get(header..).and_then(|rest| rest.get(..8)) else { return false };
    echo[0] == if v4 { 0 } else { 129 }
        && echo[4..6] == id.to_be_bytes()
        && echo[6..8] == number.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_up_to_nothing_and_its_echo_is_recognised() {
        let mut packet = request(true, 0x1234, 7);
        assert_eq!(checksum(&packet), 0);
        packet[0] = 0;
        let with_header = [&[0x45; 20][..], &packet].concat();
        assert!(is_answer(true, &with_header, 0x1234, 7));
        assert!(!is_answer(true, &with_header, 0x1234, 8));
        assert!(!is_answer(true, &with_header, 0x1235, 7));
        assert!(
            !is_answer(true, &[&[0x45; 20][..], &request(true, 0x1234, 7)].concat(), 0x1234, 7),
            "the question itself"
        );
        packet[0] = 129;
        assert!(is_answer(false, &packet, 0x1234, 7));
    }

    proptest::proptest! {
        #[test]
        fn no_packet_is_too_strange(v4: bool, packet: Vec<u8>) {
            is_answer(v4, &packet, 1, 1);
        }
    }
}
