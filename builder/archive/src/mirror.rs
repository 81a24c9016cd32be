//! Where the archive is to be had. No mirror is named in this program: the user says one, or the host's own package
//! manager does.
//!
//! The first of these that names a mirror decides:
//!
//! 1. `--mirror` (and `--security-mirror`);
//! 2. `[mirror]` in `$XDG_CONFIG_HOME/xenolith/config.toml`;
//! 3. `/etc/apt/sources.list` and `/etc/apt/sources.list.d/`, where the first URL whose path ends in `debian` and the
//!    first whose path ends in `debian-security` are taken, whatever release of Debian the host has.
//!
//! Where the security archive is not said, it is looked for beside the other one: `…/debian` → `…/debian-security`.

mod apt;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use crate::Archive;

/// The roots of both archives; each URL ends in a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrors {
    /// The release, its updates and backports.
    pub debian: Url,
    /// Security updates.
    pub security: Url,
    /// What named them.
    pub origin: Origin,
}

/// What named a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--mirror`.
    CommandLine,
    /// The user's configuration.
    Configuration(PathBuf),
    /// The host's apt sources.
    AptSources(PathBuf),
}

/// Where to look for a mirror.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The value of `--mirror`.
    pub mirror: Option<String>,
    /// The value of `--security-mirror`.
    pub security_mirror: Option<String>,
    /// The user's configuration file; it need not exist.
    pub configuration: Option<PathBuf>,
    /// The folder of apt's configuration, `/etc/apt`; it need not exist.
    pub apt: Option<PathBuf>,
}

/// Why no mirror could be found.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Nothing names one.
    #[error(
        "no mirror of Debian is known; give one with --mirror URL, or write it to {} as\n  [mirror]\n  debian = \"https://…/debian\"",
        configuration.as_deref().unwrap_or(Path::new("xenolith/config.toml")).display()
    )]
    None {
        /// Where it could be set.
        configuration: Option<PathBuf>,
    },
    /// A URL that is none, or not one that can be fetched from.
    #[error("{origin}: {text:?} is no URL of a mirror (http, https or file)")]
    Url {
        /// Who says so.
        origin: Origin,
        /// What it says.
        text: String,
        /// What the URL reader found, if the text is no URL at all.
        source: Option<url::ParseError>,
    },
    /// Only one of two is known, and the other cannot be guessed from it.
    #[error(
        "{origin}: the security archive cannot be guessed from {debian}, whose path does not end in \"debian\"; \
         give it with --security-mirror URL, or as `security` beside `debian` in the configuration"
    )]
    NoSecurity {
        /// Who named the first one.
        origin: Origin,
        /// The first one.
        debian: Box<Url>,
    },
    /// `--security-mirror` alone.
    #[error("--security-mirror needs --mirror beside it")]
    SecurityAlone,
    /// A file that is there but cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A configuration file that says something else than we know.
    #[error("{} is not a configuration that we know", path.display())]
    Configuration {
        /// Which file.
        path: PathBuf,
        /// What the TOML reader found.
        source: Box<toml::de::Error>,
    },
}

#[derive(Deserialize)]
struct Configuration {
    mirror: Option<ConfiguredMirror>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfiguredMirror {
    debian: String,
    security: Option<String>,
}

impl Places {
    /// The usual places of this host, from its environment.
    pub fn of_host(mirror: Option<String>, security_mirror: Option<String>) -> Self {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
        Self {
            mirror,
            security_mirror,
            configuration: config.map(|folder| folder.join("xenolith/config.toml")),
            apt: Some(PathBuf::from("/etc/apt")),
        }
    }
}

impl Mirrors {
    /// Looks for mirrors.
    ///
    /// # Errors
    /// [`MirrorError`]; what is there but wrong is an error, not a reason to look elsewhere.
    pub fn find(places: &Places) -> Result<Self, MirrorError> {
        match (&places.mirror, &places.security_mirror) {
            (Some(mirror), security) => return Self::named(mirror, security.as_deref(), Origin::CommandLine),
            (None, Some(_)) => return Err(MirrorError::SecurityAlone),
            (None, None) => {}
        }
        if let Some(path) = &places.configuration
            && let Some(found) = read(path)?
        {
            let failed = |source| MirrorError::Configuration { path: path.clone(), source: Box::new(source) };
            let configuration: Configuration = toml::from_str(&found).map_err(failed)?;
            if let Some(ConfiguredMirror { debian, security }) = configuration.mirror {
                return Self::named(&debian, security.as_deref(), Origin::Configuration(path.clone()));
            }
        }
        if let Some(folder) = &places.apt
            && let Some(found) = apt::find(folder)?
        {
            return Ok(found);
        }
        Err(MirrorError::None { configuration: places.configuration.clone() })
    }

    /// The mirror of one archive.
    pub fn url(&self, archive: Archive) -> &Url {
        match archive {
            Archive::Debian => &self.debian,
            Archive::DebianSecurity => &self.security,
        }
    }

    /// The URL of a file of an archive. `path` is relative; a [`crate::PoolPath`] always is.
    pub fn file(&self, archive: Archive, path: &str) -> Url {
        let mut url = self.url(archive).clone();
        let folder = url.path().to_owned();
        url.set_path(&format!("{folder}{path}"));
        url
    }

    fn named(debian: &str, security: Option<&str>, origin: Origin) -> Result<Self, MirrorError> {
        let debian = parse(debian, &origin)?;
        let security = match security {
            Some(text) => parse(text, &origin)?,
            None => beside(&debian).ok_or_else(|| MirrorError::NoSecurity {
                origin: origin.clone(),
                debian: Box::new(debian.clone()),
            })?,
        };
        Ok(Self { debian, security, origin })
    }
}

fn parse(text: &str, origin: &Origin) -> Result<Url, MirrorError> {
    let refused = |source| MirrorError::Url { origin: origin.clone(), text: text.to_owned(), source };
    let mut url = Url::parse(text).map_err(|source| refused(Some(source)))?;
    let plain = url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https" | "file") || url.cannot_be_a_base() || !plain {
        return Err(refused(None));
    }
    let folder = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&folder);
    Ok(url)
}

/// The last part of the path of a mirror.
fn last_part(url: &Url) -> &str {
    url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn beside(debian: &Url) -> Option<Url> {
    let folder = debian.path().strip_suffix("/debian/")?;
    let mut url = debian.clone();
    url.set_path(&format!("{folder}/debian-security/"));
    Some(url)
}

/// The text of a file, unless there is none.
fn read(path: &Path) -> Result<Option<String>, MirrorError> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(MirrorError::Read { path: path.to_owned(), source }),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("--mirror"),
            Self::Configuration(path) | Self::AptSources(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
