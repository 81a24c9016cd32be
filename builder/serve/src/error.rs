//! Why nothing is served.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use xenolith_answers::AnswersError;
use xenolith_netboot::{BadManifest, FileName, WrongBootFile};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file of the set or of the answers.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The set's manifest.
    #[error("{} is refused", path.display())]
    Manifest {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: BadManifest,
    },
    /// A file of the set is another one than its manifest says.
    #[error("{name} in {} is not the file that its manifest names", folder.display())]
    Changed {
        /// Which.
        name: FileName,
        /// The set.
        folder: PathBuf,
    },
    /// The boot file starts something else.
    #[error("the boot file in {} does not belong to its set", folder.display())]
    BootFile {
        /// The set.
        folder: PathBuf,
        /// Why.
        source: WrongBootFile,
    },
    /// Answers that an installation would refuse.
    #[error("the answers in {} would be refused", path.display())]
    Answers {
        /// Which file.
        path: PathBuf,
        /// All that is wrong with them.
        source: AnswersError,
    },
    /// Two files of answers for one machine.
    #[error("{} and {} are for the same machine", one.display(), other.display())]
    AnswersTwice {
        /// A file.
        one: PathBuf,
        /// Another one.
        other: PathBuf,
    },
    /// A folder without answers, or with more than any rack needs.
    #[error("{} holds {count} files of answers (.toml, .json or .xml); 1 to {max} are served", folder.display())]
    AnswersCount {
        /// The folder.
        folder: PathBuf,
        /// How many.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// Certificate or key.
    #[error("{} holds no {what}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not fit together, or TLS cannot be spoken with them.
    #[error("certificate and key cannot be used")]
    TlsPair(#[source] rustls::Error),
    /// No such interface, or none with this address.
    #[error("no network interface with an IPv4 address is called {asked} or has this address")]
    NoInterface {
        /// What was asked for.
        asked: String,
    },
    /// Clients cannot reach what they are told.
    #[error("machines on {interface} cannot reach the HTTP server, which listens on {listen}")]
    Unreachable {
        /// Where the clients are.
        interface: String,
        /// Where the server listens.
        listen: SocketAddr,
    },
    /// A text is too long for a DHCP option.
    #[error("{0:?} is longer than a DHCP option can be")]
    TooLong(String),
    /// A port is in use, or not ours to use.
    #[error("cannot listen on {protocol} {address}")]
    Listen {
        /// TCP or UDP.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Something of the network that should always work.
    #[error("cannot look at the network interfaces of this machine")]
    Interfaces(#[source] io::Error),
    /// No address of the machine could be found.
    #[error("{0} is no address that a server can have")]
    Address(IpAddr),
}

impl ServeError {
    /// What to do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read { .. } => {
                Some("make a network boot set with `xenolith build --target netboot`, or name its folder")
            }
            Self::Manifest { .. } | Self::Changed { .. } | Self::BootFile { .. } => {
                Some("copy the whole set again, or make it anew with `xenolith build --target netboot`")
            }
            Self::Answers { .. } | Self::AnswersTwice { .. } | Self::AnswersCount { .. } => {
                Some("look at them with `xenolith answers validate`")
            }
            Self::Unreachable { .. } => Some("let --listen be 0.0.0.0, or an address of that interface"),
            Self::Listen { source, address, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied if address.port() < 1024 => {
                    Some("ports below 1024 need root, or CAP_NET_BIND_SERVICE and CAP_NET_RAW")
                }
                io::ErrorKind::PermissionDenied => Some("to listen on one interface only needs CAP_NET_RAW"),
                io::ErrorKind::AddrInUse if matches!(address.port(), 67 | 69 | 4011) => {
                    Some("a DHCP or TFTP server runs on this machine: let that one name the URL, or stop it")
                }
                io::ErrorKind::AddrInUse => Some("choose another port with --listen"),
                _ => None,
            },
            Self::NoInterface { .. } => Some("`ip -4 -brief address` lists them"),
            Self::Tls { .. } | Self::TlsPair(_) => Some("--cert and --key take PEM files"),
            Self::TooLong(_) | Self::Interfaces(_) | Self::Address(_) => None,
        }
    }

    /// Whether it is the host that lacks something, and not what was given.
    pub fn is_hosts(&self) -> bool {
        matches!(self, Self::Listen { .. } | Self::Interfaces(_))
    }
}
