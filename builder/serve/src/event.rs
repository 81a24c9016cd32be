//! What happens while files are served, one line each. Never the contents of answers.

use std::{fmt, net::SocketAddr, time::Duration};

use serde::Serialize;
use xenolith_layout::Bytes;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A server listens.
    Listening {
        /// What it speaks.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
    },
    /// A client asked in DHCP and was told what to boot, or why nothing.
    Offered {
        /// Its Ethernet address.
        client: String,
        /// What it was told.
        told: String,
    },
    /// A file was sent, or as much of it as the client took.
    Sent {
        /// Who.
        client: SocketAddr,
        /// How.
        protocol: &'static str,
        /// Which file.
        file: String,
        /// Bytes that went out.
        sent: Bytes,
        /// Bytes that it asked for.
        wanted: Bytes,
        /// How long it took.
        milliseconds: u64,
    },
    /// A request was refused.
    Refused {
        /// Who.
        client: SocketAddr,
        /// How.
        protocol: &'static str,
        /// Why.
        why: String,
    },
    /// A machine got answers.
    Answered {
        /// Who.
        client: SocketAddr,
        /// What it said of itself.
        machine: String,
        /// The file that it got.
        file: String,
    },
    /// Something went wrong that the server survives.
    Trouble {
        /// What.
        what: String,
    },
}

impl Event {
    /// A file went out.
    pub(crate) fn sent(
        client: SocketAddr,
        protocol: &'static str,
        file: &str,
        (sent, wanted): (u64, u64),
        took: Duration,
    ) -> Self {
        Self::Sent {
            client,
            protocol,
            file: file.to_owned(),
            sent: Bytes::new(sent),
            wanted: Bytes::new(wanted),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { protocol, address } => write!(f, "{protocol} on {address}"),
            Self::Offered { client, told } => write!(f, "{client}: {told}"),
            Self::Sent { client, protocol, file, sent, wanted, milliseconds } => {
                let (seconds, tenths) = (milliseconds / 1000, milliseconds % 1000 / 100);
                write!(f, "{}: {file} over {protocol}: ", client.ip())?;
                if sent == wanted {
                    write!(f, "{sent} in {seconds}.{tenths} s")
                } else {
                    write!(f, "broken off after {sent} of {wanted}, {seconds}.{tenths} s")
                }
            }
            Self::Refused { client, protocol, why } => {
                write!(f, "{}: refused over {protocol}: {why}", client.ip())
            }
            Self::Answered { client, machine, file } => {
                write!(f, "{}: answers for {machine}: {file}", client.ip())
            }
            Self::Trouble { what } => f.write_str(what),
        }
    }
}
