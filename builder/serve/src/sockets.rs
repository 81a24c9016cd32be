//! Interfaces of this machine, and sockets that hear one of them only.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use tokio::net::UdpSocket;

use crate::ServeError;

/// A network interface with an address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its name.
    pub name: String,
    /// Its first IPv4 address, or the one that was asked for.
    pub address: Ipv4Addr,
}

/// The interface with this name or address.
///
/// # Errors
/// When there is none.
pub(crate) fn interface(asked: &str) -> Result<Interface, ServeError> {
    choose(&interfaces()?, asked).ok_or_else(|| ServeError::NoInterface { asked: asked.to_owned() })
}

/// An address under which others reach this machine; this machine's own if it is on no network.
///
/// # Errors
/// When the interfaces cannot be listed.
pub(crate) fn first_address() -> Result<IpAddr, ServeError> {
    let found = interfaces()?.into_iter().map(|one| one.address).find(|address| !address.is_loopback());
    Ok(found.unwrap_or(Ipv4Addr::LOCALHOST).into())
}

fn interfaces() -> Result<Vec<Interface>, ServeError> {
    let all = nix::ifaddrs::getifaddrs().map_err(|errno| ServeError::Interfaces(errno.into()))?;
    let found = all.filter_map(|one| {
        let address = one.address?.as_sockaddr_in()?.ip();
        Some(Interface { name: one.interface_name, address })
    });
    Ok(found.collect())
}

fn choose(all: &[Interface], asked: &str) -> Option<Interface> {
    let fits = |one: &&Interface| match asked.parse::<Ipv4Addr>() {
        Ok(address) => one.address == address,
        Err(_) => one.name == asked,
    };
    all.iter().find(fits).cloned()
}

/// A socket that hears everything for this port that comes in on the interface, broadcasts too, and nothing from elsewhere.
///
/// # Errors
/// [`ServeError::Listen`].
pub(crate) fn on_interface(interface: &Interface, port: u16) -> Result<UdpSocket, ServeError> {
    let open = || -> io::Result<UdpSocket> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        setsockopt(&socket, sockopt::Broadcast, &true)?;
        setsockopt(&socket, sockopt::BindToDevice, &OsString::from(&interface.name))?;
        bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))?;
        UdpSocket::from_std(std::net::UdpSocket::from(socket))
    };
    let address = (Ipv4Addr::UNSPECIFIED, port).into();
    open().map_err(|source| ServeError::Listen { protocol: "UDP", address, source })
}

/// An ordinary socket.
///
/// # Errors
/// [`ServeError::Listen`].
pub(crate) fn udp(address: SocketAddr) -> Result<UdpSocket, ServeError> {
    let open = || -> io::Result<UdpSocket> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    };
    open().map_err(|source| ServeError::Listen { protocol: "UDP", address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_its_name_or_by_an_address_of_it() {
        let one = |name: &str, address: [u8; 4]| Interface { name: name.into(), address: address.into() };
        let all = [one("lo", [127, 0, 0, 1]), one("eth0", [192, 0, 2, 1]), one("eth0", [192, 0, 2, 9])];
        assert_eq!(choose(&all, "eth0"), Some(one("eth0", [192, 0, 2, 1])));
        assert_eq!(choose(&all, "192.0.2.9"), Some(one("eth0", [192, 0, 2, 9])));
        assert_eq!(choose(&all, "192.0.2.8"), None);
        assert_eq!(choose(&all, "eth1"), None);
    }
}
