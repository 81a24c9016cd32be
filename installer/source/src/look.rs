//! Looks into places.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::Deserialize;
use xenolith_answers::MAX_ANSWERS;
use xenolith_layout::names::BOOT_FACTS;
use xenolith_machine::Machine;
use xenolith_probe::{Volume, plain_file};

use crate::{
    fetch::{FetchError, Server, Trust},
    hint::{AUTHORITY_FILE, BadHint, Hint, LONGEST_HINT, NamedTrust},
    lease::{LONGEST_LEASE, of_lease},
    place::Place,
    smbios::{LONGEST_TABLE, of_smbios},
    txt::{DNS_LABEL, of_txt, search_domains},
    volume::devices,
};

const MOUNT_POINT: &str = "/run/xenolith/answers-volume";
const SMBIOS_TABLE: &str = "sys/firmware/dmi/tables/DMI";
/// Shown by the module `qemu_fw_cfg`, on QEMU alone.
const FW_CFG: &str = "sys/firmware/qemu_fw_cfg/by_name/opt/xenolith/answers/raw";
const LEASES: &str = "run/systemd/netif/leases";
const RESOLV_CONF: &str = "run/systemd/resolve/resolv.conf";
const RESOLVECTL: &str = "/usr/bin/resolvectl";
/// Names of answers on a volume or in the reserved area.
const FILES: &[&str] = &["answers.toml", "answers.json", "answers.xml"];
/// A longer list of authorities is not read.
const LONGEST_AUTHORITIES: usize = 256 << 10;

/// Longer facts are not the initrd's.
const LONGEST_FACTS: usize = 64 << 10;

/// What of `boot.json` is needed here.
#[derive(Deserialize)]
struct ToldAtBoot {
    #[serde(default)]
    answers: Option<String>,
}

/// What was found in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Answers, not read yet.
    Answers(Vec<u8>),
    /// A server that has them.
    Server(Server),
}

/// Why a place has something that cannot be used. Other places are not asked then.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// It cannot be read.
    #[error("cannot look for answers on {what}")]
    Read {
        /// What.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// It holds answers more than once.
    #[error("there are answers in {one} and in {other}; leave one of them")]
    Twice {
        /// One.
        one: String,
        /// Another.
        other: String,
    },
    /// Its hint is none.
    #[error("the hint from {place} is refused")]
    Hint {
        /// The place.
        place: Place,
        /// Why.
        source: BadHint,
    },
    /// The hint needs a file that is not there.
    #[error(
        "the hint from {place} asks for the authority in ca.pem, and neither the medium nor a volume labelled XENOLITH has it"
    )]
    NoAuthority {
        /// The place.
        place: Place,
    },
    /// Interfaces disagree.
    #[error("the DHCP servers of two interfaces give different hints; leave one of them")]
    Disagree,
    /// The server could not be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// The reserved area of the medium that was booted.
pub trait OnMedium {
    /// A file in it, if it is there; no longer than one byte more than `longest`.
    ///
    /// # Errors
    /// When the area cannot be read.
    fn file(&self, name: &str, longest: usize) -> io::Result<Option<Vec<u8>>>;
}

/// Where places are on this host.
pub struct Looking<'a> {
    /// `/`, or a folder that stands for it.
    pub root: &'a Path,
    /// The machine, for its volumes.
    pub machine: &'a Machine,
    /// The reserved area.
    pub medium: &'a dyn OnMedium,
}

impl Looking<'_> {
    /// The first of these places that has something, and what.
    ///
    /// # Errors
    /// [`LookError`] of the first place that has something that cannot be used.
    pub fn first(&self, places: &[Place]) -> Result<Option<(Place, Found)>, LookError> {
        for place in places {
            if let Some(found) = self.look(*place)? {
                return Ok(Some((*place, found)));
            }
        }
        Ok(None)
    }

    /// What is in a place.
    ///
    /// # Errors
    /// [`LookError`] for something that cannot be used.
    pub fn look(&self, place: Place) -> Result<Option<Found>, LookError> {
        let hint = |read: Result<Option<Hint>, BadHint>| {
            read.map_err(|source| LookError::Hint { place, source })?
                .map(|hint| self.server(place, hint).map(Found::Server))
                .transpose()
        };
        match place {
            Place::Medium => {
                let read = |name: &str| self.medium.file(name, MAX_ANSWERS);
                Ok(answers(&place.to_string(), read)?.map(|(_, bytes)| Found::Answers(bytes)))
            }
            Place::Volume => self.volumes(),
            Place::Smbios => hint(of_smbios(&self.bytes(SMBIOS_TABLE, LONGEST_TABLE)?.unwrap_or_default())),
            Place::FwCfg => match self.bytes(FW_CFG, MAX_ANSWERS)? {
                // A document begins with none of a hint's words.
                Some(bytes) if !bytes.trim_ascii_start().starts_with(b"http") => {
                    Ok(Some(Found::Answers(bytes)))
                }
                Some(bytes) => hint(Hint::parse(&bytes).map(Some)),
                None => Ok(None),
            },
            Place::Dhcp => hint(Ok(self.leases()?)),
            Place::Dns => hint(self.txt()),
        }
    }

    fn volumes(&self) -> Result<Option<Found>, LookError> {
        let mut found: Option<(String, Vec<u8>)> = None;
        for device in devices(self.machine, self.root) {
            let what = device.display().to_string();
            let volume = Volume::mount(&device, Path::new(MOUNT_POINT))
                .map_err(|source| LookError::Read { what: what.clone(), source })?;
            let Some((name, bytes)) = answers(&what, |name| volume.file(name, MAX_ANSWERS))? else {
                continue;
            };
            let here = format!("{what} ({name})");
            if let Some((one, _)) = found {
                return Err(LookError::Twice { one, other: here });
            }
            found = Some((here, bytes));
        }
        Ok(found.map(|(_, bytes)| Found::Answers(bytes)))
    }

    /// What the initrd was told when it fetched the root: a proxy that gives no addresses leaves no lease.
    fn told_at_boot(&self) -> Result<Option<Hint>, LookError> {
        let place = Place::Dhcp;
        let Some(bytes) = self.bytes(BOOT_FACTS.trim_start_matches('/'), LONGEST_FACTS)? else {
            return Ok(None);
        };
        let told = serde_json::from_slice::<ToldAtBoot>(&bytes).ok().and_then(|told| told.answers);
        let hint = told.map(|line| Hint::parse(line.as_bytes())).transpose();
        hint.map_err(|source| LookError::Hint { place, source })
    }

    /// The hint of all leases and of the network boot, if they agree.
    fn leases(&self) -> Result<Option<Hint>, LookError> {
        let mut found = self.told_at_boot()?;
        let folder = self.root.join(LEASES);
        let Ok(entries) = fs::read_dir(folder) else { return Ok(found) };
        let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        files.sort();
        for path in files {
            let longest = usize::try_from(LONGEST_LEASE).unwrap_or(usize::MAX);
            let bytes = plain_file(&path, longest).map_err(|source| read(&path, source))?.unwrap_or_default();
            let place = Place::Dhcp;
            let hint = of_lease(&String::from_utf8_lossy(&bytes));
            let Some(hint) = hint.map_err(|source| LookError::Hint { place, source })? else { continue };
            if found.as_ref().is_some_and(|other| *other != hint) {
                return Err(LookError::Disagree);
            }
            found = Some(hint);
        }
        Ok(found)
    }

    /// The hint of the first search domain that has one. A name that is not there and a server that does not answer look the same.
    fn txt(&self) -> Result<Option<Hint>, BadHint> {
        let text = self.bytes(RESOLV_CONF, LONGEST_HINT * 16).ok().flatten().unwrap_or_default();
        for domain in search_domains(&String::from_utf8_lossy(&text)) {
            let name = format!("{DNS_LABEL}.{domain}");
            let asked = duct::cmd!(RESOLVECTL, "query", "--json=short", "--type=TXT", &name)
                .stdin_null()
                .stdout_capture()
                .stderr_null()
                .unchecked()
                .run();
            let Ok(said) = asked else { return Ok(None) };
            if said.status.success()
                && let Some(hint) = of_txt(&said.stdout)?
            {
                return Ok(Some(hint));
            }
        }
        Ok(None)
    }

    /// The server that a hint names, with the authority that it asks for.
    fn server(&self, place: Place, hint: Hint) -> Result<Server, LookError> {
        let trust = match hint.trust {
            NamedTrust::Known => Trust::Known,
            NamedTrust::Pinned(pin) => Trust::Pinned(pin),
            NamedTrust::Insecure => Trust::Insecure,
            NamedTrust::Own => Trust::Own(self.authority()?.ok_or(LookError::NoAuthority { place })?),
        };
        Ok(Server { url: hint.url, trust })
    }

    /// `ca.pem` of the medium, or of the first volume that has one.
    fn authority(&self) -> Result<Option<Vec<u8>>, LookError> {
        let on_medium = self.medium.file(AUTHORITY_FILE, LONGEST_AUTHORITIES);
        let on_medium =
            on_medium.map_err(|source| LookError::Read { what: Place::Medium.to_string(), source })?;
        if on_medium.is_some() {
            return Ok(on_medium);
        }
        for device in devices(self.machine, self.root) {
            let volume =
                Volume::mount(&device, Path::new(MOUNT_POINT)).map_err(|source| read(&device, source))?;
            let found = volume.file(AUTHORITY_FILE, LONGEST_AUTHORITIES);
            if let Some(bytes) = found.map_err(|source| read(&device, source))? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    fn bytes(&self, path: &str, longest: usize) -> Result<Option<Vec<u8>>, LookError> {
        let path = self.root.join(path);
        plain_file(&path, longest).map_err(|source| read(&path, source))
    }
}

fn read(what: &Path, source: io::Error) -> LookError {
    LookError::Read { what: what.display().to_string(), source }
}

/// The one file with answers, and its name.
fn answers(
    what: &str,
    read: impl Fn(&str) -> io::Result<Option<Vec<u8>>>,
) -> Result<Option<(&'static str, Vec<u8>)>, LookError> {
    let mut found: Option<(&'static str, Vec<u8>)> = None;
    for name in FILES {
        let bytes = read(name).map_err(|source| LookError::Read { what: what.to_owned(), source })?;
        let Some(bytes) = bytes else { continue };
        if let Some((one, _)) = found {
            let of = |name: &str| format!("{what} ({name})");
            return Err(LookError::Twice { one: of(one), other: of(name) });
        }
        found = Some((name, bytes));
    }
    Ok(found)
}
