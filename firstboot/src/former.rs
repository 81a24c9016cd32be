//! The host that was on a disk before: what it was told, what has become of that since, and what it is known by.
//!
//! ```text
//!   state/settings.toml ──────────────┐
//!   state/etc/<layer>/upper/hostname … ┴─▶ Settings       (what was changed later counts)
//!   state/var/lib/xenolith/host-uuid, upper/ssh/ssh_host_…, upper/xenolith/tls/host.pem ─▶ KeptIdentity
//! ```
//! **It is read from a disk that may come from anywhere.** Files are opened beneath the folder without following any link, are bounded,
//! and hold nothing that the same rules do not accept that settings go by; what they do not accept is left behind, and named. Where both
//! slots have a layer of `/etc`, that of the one that ran last counts: overlayfs makes the folder in its `work` anew at each boot
//! (Linux 6.12, fs/overlayfs/super.c, ovl_workdir_create).

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use fs_err as fs;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xenolith_layout::names::STATE_SETTINGS;
use xenolith_settings::{
    Access, Addressing, Host, HostName, Implied, MAX_SETTINGS, Network, Problems, Settings, SettingsError,
    SshKey, V4, VERSION,
};

use crate::certificate::{CERTIFICATE, shown};
use crate::decide::{SHADOW, SSH_KEYS};
use crate::identity::{HOST_KEY, IDENTITY};
use crate::zones::TIME_ZONES;

/// Files that are longer are left behind, in bytes.
const LONGEST: usize = MAX_SETTINGS;
/// The layers of `/etc` that an installed host can have.
const LAYERS: [&str; 2] = ["a", "b"];

/// The host that was there before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Former {
    /// What it was told, with what was changed since; without storage and pool.
    pub settings: Settings,
    /// What it is known by.
    pub identity: KeptIdentity,
    /// What of it cannot be kept, and why.
    pub left: Vec<String>,
}

/// What a host is known by, and brings along.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptIdentity {
    /// Its UUID.
    #[serde(default)]
    pub host_uuid: Option<Uuid>,
    /// Its SSH key, as OpenSSH writes it.
    #[serde(default)]
    pub ssh_key: Option<String>,
    /// The public half of that.
    #[serde(default)]
    pub ssh_public: Option<String>,
    /// Its certificate with the key.
    #[serde(default)]
    pub certificate: Option<String>,
}

/// Without the keys.
impl std::fmt::Debug for KeptIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptIdentity").field("parts", &self.parts()).finish_non_exhaustive()
    }
}

impl KeptIdentity {
    /// What there is of it, in words.
    pub fn parts(&self) -> Vec<&'static str> {
        let parts = [
            (self.host_uuid.is_some(), "UUID"),
            (self.ssh_key.is_some() && self.ssh_public.is_some(), "SSH host key"),
            (self.certificate.is_some(), "TLS certificate"),
        ];
        parts.into_iter().filter_map(|(is_there, word)| is_there.then_some(word)).collect()
    }
}

/// Why there is nothing to keep.
#[derive(Debug, thiserror::Error)]
pub enum FormerError {
    /// Something could not be read.
    #[error("the state of the host that is there cannot be read")]
    Io(#[from] io::Error),
    /// Its settings are none, or those of another version.
    #[error("the settings of the host that is there are not understood")]
    Settings(#[from] SettingsError),
    /// Nobody has made a host of it yet.
    #[error("the host that is there was told nothing yet, so there is nothing to keep")]
    Nothing,
}

impl Former {
    /// Reads the state that is mounted at `state`.
    ///
    /// # Errors
    /// [`FormerError`].
    pub fn read(state: &Path) -> Result<Self, FormerError> {
        let folder = Folder::open(state)?;
        let told = folder.text(Path::new(STATE_SETTINGS))?;
        let layer = folder.layer();
        if told.is_none() && layer.is_none() {
            return Err(FormerError::Nothing);
        }
        let settings = match told {
            Some(text) => Settings::parse(text.as_bytes())?,
            None => Settings {
                version: VERSION,
                host: Host::default(),
                network: Network::default(),
                access: Access::default(),
                storage: None,
                pool: None,
            },
        };
        let mut former = Self::told(settings);
        if let Some(layer) = layer {
            let file = |path: &str| folder.text(&layer.join(path.trim_start_matches("etc/")));
            former.change(&EtcFiles {
                host_name: file("etc/hostname")?,
                shadow: file(SHADOW)?,
                ssh_keys: file(SSH_KEYS)?,
                keyboard: file("etc/vconsole.conf")?,
                time_zone: folder.link(&layer, "localtime")?,
            });
            former.identity.ssh_key = file(HOST_KEY)?;
            former.identity.ssh_public = file(&format!("{HOST_KEY}.pub"))?;
            former.identity.certificate = file(CERTIFICATE)?.filter(|text| shown(text).is_ok());
        }
        let uuid = folder.text(Path::new(IDENTITY))?;
        former.identity.host_uuid = uuid.and_then(|uuid| Uuid::try_parse(uuid.trim()).ok());
        Ok(former)
    }

    /// What is kept, a line each, without secrets.
    pub fn lines(&self) -> Vec<String> {
        let Settings { host, network, access, .. } = &self.settings;
        let name = host.name.as_deref().unwrap_or("xenolith");
        let interface = match (&network.interface, &network.bond) {
            (_, Some(bond)) => format!("a bond of {}", bond.members.join(" and ")),
            (Some(interface), None) => interface.clone(),
            (None, None) if network.implied(&[]) == Implied::Every => "every interface".to_owned(),
            (None, None) => "the interface with a link".to_owned(),
        };
        let vlan = network.vlan.map_or_else(String::new, |vlan| format!(", VLAN {vlan}"));
        let v4 = match &network.ipv4 {
            V4::By(Addressing::Dhcp) => "DHCP".to_owned(),
            V4::By(_) => "none".to_owned(),
            V4::Static(fixed) => fixed.address.clone(),
        };
        let password = access.root_password_hash.as_ref().map(|_| "password".to_owned());
        let keys = (!access.ssh_keys.is_empty()).then(|| format!("{} SSH key(s)", access.ssh_keys.len()));
        let access: Vec<String> = password.into_iter().chain(keys).collect();
        let parts = self.identity.parts();
        let mut lines = vec![
            format!("Host name     {name}"),
            format!("Network       {interface}{vlan}; IPv4 {v4}"),
            format!("Clock         {}", host.time_zone.as_deref().unwrap_or("UTC")),
            format!("Keyboard      {}", host.keyboard.as_deref().unwrap_or("us")),
            format!(
                "root comes in by {}",
                if access.is_empty() { "nothing".to_owned() } else { access.join(" and ") }
            ),
            format!(
                "Known by      {}",
                if parts.is_empty() { "nothing yet".to_owned() } else { parts.join(", ") }
            ),
        ];
        lines.extend(self.left.iter().map(|left| format!("Not kept      {left}")));
        lines
    }

    /// A host that was told this, and no more is known of.
    pub fn told(settings: Settings) -> Self {
        let settings = Settings { storage: None, pool: None, ..settings };
        Self { settings, identity: KeptIdentity::default(), left: Vec::new() }
    }

    /// What was changed after the host was told, as far as settings may say it.
    pub fn change(&mut self, layer: &EtcFiles) {
        let Settings { host, access, .. } = &mut self.settings;
        let mut left = Vec::new();
        if let Some(name) = layer.host_name.as_ref() {
            match HostName::new(name.trim().to_owned()) {
                Ok(name) => host.name = Some(name.to_string()),
                Err(why) => left.push(format!("its host name, which {why}")),
            }
        }
        if let Some(shadow) = &layer.shadow {
            access.root_password_hash = root_password(shadow);
        }
        if let Some(keys) = &layer.ssh_keys {
            let lines = keys.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let (good, bad): (Vec<&str>, Vec<&str>) = lines.partition(|line| SshKey::new(line).is_ok());
            access.ssh_keys = good.into_iter().map(str::to_owned).collect();
            if !bad.is_empty() {
                left.push(format!(
                    "{} line(s) of its keys for SSH, which have options or are no keys",
                    bad.len()
                ));
            }
        }
        if let Some(keyboard) = layer.keyboard.as_deref().and_then(keymap) {
            host.keyboard = Some(keyboard);
        }
        if let Some(zone) = layer.time_zone.as_deref().and_then(zone) {
            host.time_zone = Some(zone);
        }
        self.drop_what_is_refused(&mut left);
        self.left = left;
    }

    /// The rules for settings decide about what was not told by settings.
    fn drop_what_is_refused(&mut self, left: &mut Vec<String>) {
        let mut problems = Problems::default();
        self.settings.check(&mut problems);
        for problem in problems.0 {
            match problem.at.as_str() {
                "access.root_password_hash" => self.settings.access.root_password_hash = None,
                "access.ssh_keys" => self.settings.access.ssh_keys.clear(),
                "host.keyboard" => self.settings.host.keyboard = None,
                "host.time_zone" => self.settings.host.time_zone = None,
                _ => continue,
            }
            left.push(problem.to_string());
        }
    }
}

/// Files of a layer of `/etc`, as far as they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcFiles {
    /// `hostname`.
    pub host_name: Option<String>,
    /// `shadow`.
    pub shadow: Option<String>,
    /// root's `authorized_keys`.
    pub ssh_keys: Option<String>,
    /// `vconsole.conf`.
    pub keyboard: Option<String>,
    /// Where `localtime` points to.
    pub time_zone: Option<String>,
}

/// The hash of root's password, if it has one. Source: shadow(5).
fn root_password(shadow: &str) -> Option<String> {
    let root = shadow.lines().find_map(|line| line.strip_prefix("root:"))?;
    root.split(':').next().filter(|hash| hash.starts_with('$')).map(str::to_owned)
}

/// As first boot writes it.
fn keymap(vconsole: &str) -> Option<String> {
    vconsole
        .lines()
        .find_map(|line| line.strip_prefix("KEYMAP="))
        .map(|name| name.trim().trim_matches('"').to_owned())
}

fn zone(target: &str) -> Option<String> {
    target.split_once(&format!("{TIME_ZONES}/")).map(|(_, zone)| zone.to_owned())
}

/// A folder that nothing leads out of.
struct Folder(OwnedFd, PathBuf);

impl Folder {
    fn open(path: &Path) -> io::Result<Self> {
        let folder = fs::File::open(path)?;
        if !folder.metadata()?.is_dir() {
            return Err(io::Error::other(format!("{} is no folder", path.display())));
        }
        Ok(Self(folder.into_parts().0.into(), path.to_owned()))
    }

    fn beneath(&self, path: &Path, flags: OFlag) -> io::Result<Option<fs::File>> {
        let how =
            OpenHow::new().flags(flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_XDEV,
            );
        match openat2(&self.0, path, how) {
            Ok(file) => Ok(Some(fs::File::from_parts(file.into(), self.1.join(path)))),
            // A link is not one of ours: what it names is not there.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A plain file of bounded length that is text.
    fn text(&self, path: &Path) -> io::Result<Option<String>> {
        let Some(file) = self.beneath(path, OFlag::empty())? else { return Ok(None) };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() <= LONGEST).then(|| String::from_utf8(bytes).ok()).flatten())
    }

    fn link(&self, folder: &Path, name: &str) -> io::Result<Option<String>> {
        let Some(folder) = self.beneath(folder, OFlag::O_DIRECTORY)? else { return Ok(None) };
        match readlinkat(folder.file(), name) {
            Ok(target) => Ok(target.into_string().ok()),
            // Not there, or no link.
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The layer of `/etc` that ran last.
    fn layer(&self) -> Option<PathBuf> {
        let layers = LAYERS.iter().filter_map(|slot| {
            let layer = Path::new("etc").join(slot);
            let upper = self.beneath(&layer.join("upper"), OFlag::O_DIRECTORY).ok()??;
            let work = self.beneath(&layer.join("work"), OFlag::O_DIRECTORY).ok().flatten();
            let ran = work.unwrap_or(upper).metadata().and_then(|work| work.modified()).ok();
            Some((ran, layer.join("upper")))
        });
        layers.max_by_key(|(ran, _)| *ran).map(|(_, upper)| upper)
    }
}
