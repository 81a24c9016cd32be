//! Hands a network boot set to a rack: over HTTP to whoever asks, and as PXE proxy and TFTP server where that is wished.
//!
//! ```text
//!   Config ─▶ prepare: every file read and checked, nothing opened to the network ─▶ Prepared: what each client would get
//!                                                                                       │ bind: all ports, or none
//!                                                                                       ▼
//!   Event ◀── one line for each thing that happens ──────────────────────────────── Server: run until told to stop
//! ```
//! **The server is not trusted, and need not be.** The firmware checks the boot file's signature where Secure Boot is on, and the root
//! is proven by the root hash in the boot file. What is checked here only tells early what would fail on every machine of the rack.
//! Answers are the exception: they hold hashes of passwords and decide what is erased. `docs/netboot.md` says how to guard them.

mod answers;
mod error;
mod event;
mod http;
mod proxy;
mod set;
mod sockets;
mod table;
#[cfg(test)]
mod tests;
mod tftp;
mod tls;

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use tokio::net::{TcpListener, UdpSocket};
use xenolith_netboot::{Manifest, dhcp};

pub use error::ServeError;
pub use event::Event;
pub use table::{Row, Table};

use answers::Library;
use set::Set;
use sockets::Interface;
use tls::Tls;

/// What is to be served, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder with the network boot set.
    pub set: PathBuf,
    /// Where HTTP listens.
    pub listen: SocketAddr,
    /// Where HTTPS listens, and with what.
    pub tls: Option<TlsConfig>,
    /// The interface, or an address of it, on which to be PXE proxy and TFTP server.
    pub pxe: Option<String>,
    /// A file of answers for everybody, or a folder of them.
    pub answers: Option<PathBuf>,
}

/// HTTPS.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The certificate and what leads to its authority, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// What events are told to.
pub type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// Checked, and not yet on the network.
pub struct Prepared {
    set: Set,
    answers: Option<Library>,
    listen: SocketAddr,
    tls: Option<(SocketAddr, Tls)>,
    pxe: Option<Interface>,
    /// How clients reach this machine.
    address: IpAddr,
}

/// What all servers share.
struct Shared {
    set: Set,
    answers: Option<Library>,
    has_tls: bool,
    tell: Tell,
}

impl Shared {
    fn tell(&self, event: Event) {
        (self.tell)(event);
    }

    fn refused(&self, client: SocketAddr, protocol: &'static str, why: String) {
        self.tell(Event::Refused { client, protocol, why });
    }
}

/// What clients are told of places.
#[derive(Clone, Debug)]
struct Places {
    /// Of the proxy and its TFTP server.
    address: Ipv4Addr,
    /// Of the HTTP server.
    http: SocketAddr,
    /// Where answers are, as an installation reads it.
    answers: Option<String>,
}

impl Places {
    fn url(&self, file: &str) -> String {
        match self.http.port() {
            80 => format!("http://{}/{file}", host(self.http.ip())),
            port => format!("http://{}:{port}/{file}", host(self.http.ip())),
        }
    }
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Reads and checks everything that will be served.
///
/// # Errors
/// [`ServeError`], with what is wrong where.
pub fn prepare(config: &Config) -> Result<Prepared, ServeError> {
    let pxe = config.pxe.as_deref().map(sockets::interface).transpose()?;
    let address = match (config.listen.ip(), &pxe) {
        (ip, None) if ip.is_unspecified() => sockets::first_address()?,
        (ip, Some(interface)) if ip.is_unspecified() => interface.address.into(),
        (ip, Some(interface)) if ip.is_loopback() != interface.address.is_loopback() || ip.is_ipv6() => {
            return Err(ServeError::Unreachable { interface: interface.name.clone(), listen: config.listen });
        }
        (ip, _) => ip,
    };
    let tls = config
        .tls
        .as_ref()
        .map(|tls| Ok((tls.listen, tls::read(&tls.certificate, &tls.key)?)))
        .transpose()?;
    let answers = config.answers.as_deref().map(Library::read).transpose()?;
    let prepared =
        Prepared { set: Set::open(&config.set)?, answers, listen: config.listen, tls, pxe, address };
    // Found out now and not when the first client asks.
    let places = prepared.places(config.listen.port(), prepared.tls_port());
    for text in places.answers.iter().chain([&places.url(xenolith_layout::names::NETBOOT_BOOT_FILE)]) {
        if text.len() > usize::from(u8::MAX) {
            return Err(ServeError::TooLong(text.clone()));
        }
    }
    Ok(prepared)
}

impl Prepared {
    /// What the set holds.
    pub fn manifest(&self) -> &Manifest {
        &self.set.manifest
    }

    /// What each kind of client would get.
    pub fn table(&self) -> Table {
        let places = self.places(self.listen.port(), self.tls_port());
        table::table(
            &self.set.manifest,
            &places,
            self.pxe.as_ref(),
            self.answers.as_ref().map(Library::count),
        )
    }

    fn tls_port(&self) -> Option<u16> {
        self.tls.as_ref().map(|(listen, _)| listen.port())
    }

    fn places(&self, http: u16, tls: Option<u16>) -> Places {
        let address = match (&self.pxe, self.address) {
            (Some(interface), _) => interface.address,
            (None, IpAddr::V4(address)) => address,
            (None, IpAddr::V6(_)) => Ipv4Addr::UNSPECIFIED,
        };
        let http = SocketAddr::new(self.address, http);
        let answers = self.answers.as_ref().map(|_| match (&self.tls, tls) {
            (Some((listen, tls)), Some(port)) => {
                let ip = if listen.ip().is_unspecified() { self.address } else { listen.ip() };
                format!("https://{}:{port}{} sha256={}", host(ip), http::ANSWERS, tls.pin)
            }
            _ => format!("http://{}:{}{} insecure", host(http.ip()), http.port(), http::ANSWERS),
        });
        Places { address, http, answers }
    }

    /// Opens all ports.
    ///
    /// # Errors
    /// [`ServeError::Listen`] for the first that cannot be had; none is open then.
    pub async fn bind(self, tell: Tell) -> Result<Server, ServeError> {
        let http = tcp(self.listen).await?;
        let port = port(&http, self.listen)?;
        let (mut https, mut tls_port) = (None, None);
        if let Some((listen, tls)) = &self.tls {
            let listener = tcp(*listen).await?;
            tls_port = Some(self::port(&listener, *listen)?);
            https = Some((listener, tls.acceptor.clone()));
        }
        let places = self.places(port, tls_port);
        let mut pxe = None;
        if let Some(interface) = &self.pxe {
            pxe = Some(Pxe {
                offers: sockets::on_interface(interface, dhcp::SERVER_PORT)?,
                requests: sockets::on_interface(interface, dhcp::PROXY_PORT)?,
                tftp: sockets::udp((interface.address, xenolith_netboot::tftp::PORT).into())?,
            });
        }
        let shared = Shared { set: self.set, answers: self.answers, has_tls: https.is_some(), tell };
        Ok(Server { shared: Arc::new(shared), http, https, pxe, places })
    }
}

/// All ports are open.
pub struct Server {
    shared: Arc<Shared>,
    http: TcpListener,
    https: Option<(TcpListener, tokio_rustls::TlsAcceptor)>,
    pxe: Option<Pxe>,
    places: Places,
}

struct Pxe {
    offers: UdpSocket,
    requests: UdpSocket,
    tftp: UdpSocket,
}

impl Server {
    /// The URL of the boot file, as clients are told.
    pub fn url(&self) -> String {
        self.places.url(xenolith_layout::names::NETBOOT_BOOT_FILE)
    }

    /// Where answers are, as an installation reads it; none if there are none.
    pub fn answers(&self) -> Option<&str> {
        self.places.answers.as_deref()
    }

    /// Serves until `stop` comes. Transfers that are under way then are broken off; clients can begin them again.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { shared, http, https, pxe, places } = self;
        let mut tasks = tokio::task::JoinSet::new();
        let listening = |protocol, address: std::io::Result<SocketAddr>| {
            if let Ok(address) = address {
                shared.tell(Event::Listening { protocol, address });
            }
        };
        listening("HTTP", http.local_addr());
        tasks.spawn(http::serve(Arc::clone(&shared), http, None));
        if let Some((listener, acceptor)) = https {
            listening("HTTPS", listener.local_addr());
            tasks.spawn(http::serve(Arc::clone(&shared), listener, Some(acceptor)));
        }
        if let Some(Pxe { offers, requests, tftp }) = pxe {
            listening("DHCP proxy", offers.local_addr());
            listening("DHCP proxy", requests.local_addr());
            listening("TFTP", tftp.local_addr());
            tasks.spawn(proxy::serve(Arc::clone(&shared), offers, proxy::At::Offers, places.clone()));
            let address = places.address;
            tasks.spawn(proxy::serve(Arc::clone(&shared), requests, proxy::At::Requests, places));
            tasks.spawn(tftp::serve(Arc::clone(&shared), tftp, address));
        }
        stop.await;
        tasks.shutdown().await;
    }
}

async fn tcp(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { protocol: "TCP", address, source })
}

fn port(listener: &TcpListener, address: SocketAddr) -> Result<u16, ServeError> {
    let local = listener.local_addr();
    Ok(local.map_err(|source| ServeError::Listen { protocol: "TCP", address, source })?.port())
}
