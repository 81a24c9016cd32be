//! Where the answers of this installation come from, and what this host was started from.

use std::{path::Path, time::Duration};

use fs_err as fs;
use xenolith_answers::Fingerprint;
use xenolith_machine::Machine;
use xenolith_source::{
    Asked, FetchError, Fetched, Found, Identity, LookError, Looking, Patience, Place, Server, Trust, Url,
    auto, fetch,
};

use crate::{
    medium::{Area, BootFacts},
    session::{Coded as _, Failed},
};

/// How long a server is asked again that cannot be reached: a switch takes a minute to let a new machine in, a server to start five.
const PATIENCE: Patience = Patience::between(Duration::from_secs(600));
const WAIT_ONLINE: &str = "/usr/lib/systemd/systemd-networkd-wait-online";
/// How long a machine that was started from a network waits for the first address of its own, in seconds.
const ONLINE: &str = "--timeout=120";
/// A longer list of authorities is refused.
const LONGEST_AUTHORITIES: u64 = 256 << 10;

/// Why a server that was named is believed.
#[derive(Clone, Debug, Default)]
pub struct Believed<'a> {
    /// It has this certificate.
    pub pin: Option<Fingerprint>,
    /// An authority in this file has signed its certificate.
    pub ca: Option<&'a Path>,
    /// For no reason.
    pub insecure: bool,
}

/// Answers, not read yet.
pub struct Given {
    /// The document.
    pub bytes: Vec<u8>,
    /// Where it came from, for people.
    pub from: String,
}

/// The answers, or none if nobody has any for this machine.
///
/// # Errors
/// Code 3 for a hint or a file that is refused, 5 for a server that gives none, 6 for one that is not believed, 7 for a device.
pub fn given(asked: &Asked, believed: &Believed<'_>, machine: &Machine) -> Result<Option<Given>, Failed> {
    if let Asked::File(path) = asked {
        return Ok(Some(Given { bytes: fs::read(path).code(3)?, from: path.display().to_string() }));
    }
    if let Asked::Server(url) = asked {
        // On a machine for which this is only tried out, nobody knows what was started.
        let version = BootFacts::read().ok().map(|booted| booted.version.to_string());
        return ask(&server(url, believed)?, &Identity::of(machine, version), None);
    }
    let booted = BootFacts::read().code(4)?;
    let looking = Looking { root: Path::new("/"), machine, medium: &Area };
    let found = match asked {
        Asked::Medium => looking.look(Place::Medium).map(|found| found.map(|found| (Place::Medium, found))),
        _ => first(&looking, booted.came_over_network()),
    };
    match found.map_err(look_failed)? {
        None => Ok(None),
        Some((place, Found::Answers(bytes))) => Ok(Some(Given { bytes, from: place.to_string() })),
        Some((place, Found::Server(server))) => {
            ask(&server, &Identity::of(machine, Some(booted.version.to_string())), Some(place))
        }
    }
}

fn first(looking: &Looking<'_>, from_network: bool) -> Result<Option<(Place, Found)>, LookError> {
    let here = auto(false);
    let found = looking.first(&here)?;
    if found.is_some() || !from_network {
        return Ok(found);
    }
    // There may be no address in time, and then there is no lease.
    let _ = duct::cmd!(WAIT_ONLINE, "--any", ONLINE).stdin_null().stderr_null().unchecked().run();
    let outside: Vec<Place> = auto(true).into_iter().filter(|place| !here.contains(place)).collect();
    looking.first(&outside)
}

fn ask(server: &Server, identity: &Identity, named_by: Option<Place>) -> Result<Option<Given>, Failed> {
    let by = named_by.map(|place| format!(", named by {place}")).unwrap_or_default();
    let from = format!("{}{by}", server.url);
    crate::say(&format!("Asking {from} for answers"));
    match fetch(server, identity, PATIENCE, &mut pause).map_err(fetch_failed)? {
        Fetched::Nothing => Ok(None),
        Fetched::Answers(bytes) => Ok(Some(Given { bytes, from })),
    }
}

fn server(url: &Url, believed: &Believed<'_>) -> Result<Server, Failed> {
    let trust = match (believed.pin, believed.ca, believed.insecure) {
        (Some(pin), _, _) => Trust::Pinned(pin),
        (None, Some(path), _) => {
            let length = fs::metadata(path).code(3)?.len();
            if length > LONGEST_AUTHORITIES {
                return Err(Failed(
                    3,
                    anyhow::anyhow!("{} is no list of authorities: it is too long", path.display()),
                ));
            }
            Trust::Own(fs::read(path).code(3)?)
        }
        (None, None, true) => Trust::Insecure,
        (None, None, false) => Trust::Known,
    };
    Ok(Server { url: url.clone(), trust })
}

/// Waits before a server is asked again.
#[allow(clippy::disallowed_methods, reason = "no event tells that a server elsewhere has come up")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn look_failed(error: LookError) -> Failed {
    match error {
        LookError::Fetch(error) => fetch_failed(error),
        LookError::Read { .. } => Failed(7, error.into()),
        LookError::Twice { .. }
        | LookError::Hint { .. }
        | LookError::NoAuthority { .. }
        | LookError::Disagree => Failed(3, error.into()),
    }
}

fn fetch_failed(error: FetchError) -> Failed {
    let code = match error {
        FetchError::Unreachable { .. } | FetchError::Status { .. } | FetchError::Elsewhere { .. } => 5,
        FetchError::NotTrusted { .. }
        | FetchError::OtherCertificate { .. }
        | FetchError::Plain { .. }
        | FetchError::Authorities => 6,
        FetchError::TooLong { .. } => 3,
    };
    Failed(code, error.into())
}

/// Where answers were looked for, for people who expected some.
pub fn looked(asked: &Asked) -> String {
    match asked {
        Asked::File(path) => path.display().to_string(),
        Asked::Server(url) => format!("{url} has no answers for this machine"),
        Asked::Medium => "there are no answers in this medium; put them in with `xenolith iso customize ISO --answers FILE` and write it anew".to_owned(),
        Asked::Auto => "there are no answers on the medium, on a volume labelled XENOLITH, in SMBIOS or fw_cfg; DHCP and DNS are asked \
             only on a machine that was started from the network"
            .to_owned(),
    }
}
