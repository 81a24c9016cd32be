//! How the host joins a pool: its own toolstack is asked to, by XenAPI's `pool.join`.
//!
//! `pool.join` itself believes whatever certificate the other host shows when it logs in there, and sends it the password. So it is called
//! only after that host has shown the certificate that somebody has named or confirmed.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs as _};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use serde::Deserialize;
use xenolith_layout::names::STATE_POOL_PASSWORD;
use xenolith_probe::short_file;
use xenolith_settings::{Fingerprint, Pool};
use xenolith_source::{Patience, Url, shown_certificate};

use crate::change::Change;
use crate::decide::Decision;
use crate::run::Paths;
use crate::xenapi::{Session, TOOLSTACK, XenApiError};

/// Longer is no password, in bytes.
const MAX_PASSWORD: usize = 4 << 10;
/// How long the other host is looked for: right after a boot the network may still be on its way.
const LOOKED_FOR: Patience = Patience { attempt: Duration::from_secs(20), between: Duration::from_secs(60) };
/// How long joining may take: the pool's database is fetched, and this host's records go there.
const JOINS_WITHIN: Duration = Duration::from_secs(15 * 60);
/// How long a toolstack that says it is still starting is waited for.
const STARTS_WITHIN: Duration = Duration::from_secs(10 * 60);
const BETWEEN: Duration = Duration::from_secs(2);
/// Until then XenAPI is there, but the host's network is not in it.
const STILL_BOOTING: &str = "HOST_STILL_BOOTING";

/// A text that nothing shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Of this text without the end of its line, unless nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim_end_matches(['\r', '\n']);
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What joining goes by.
#[derive(Clone, Debug)]
pub struct PoolFacts {
    /// Whether there is a toolstack that could be asked to.
    pub toolstack: bool,
    /// The password of whoever vouches for this host, if it is known.
    pub password: Option<Secret>,
    /// The certificate that the host to be joined shows.
    pub shown: Result<Fingerprint, String>,
    /// Whether somebody has seen that certificate and said that it is the right one.
    pub confirmed: bool,
}

impl PoolFacts {
    /// Looks for the toolstack and, if there is one, at the other host, which may take a minute or two.
    pub fn look(pool: &Pool, paths: &Paths) -> Self {
        let toolstack = paths.root.join(TOOLSTACK).exists();
        let shown = if toolstack { shown_by(&pool.join) } else { Err("it was not looked at".to_owned()) };
        Self { toolstack, password: password(&paths.state), shown, confirmed: false }
    }
}

/// What an installation has left in the state.
fn password(state: &Path) -> Option<Secret> {
    let bytes = short_file(&state.join(STATE_POOL_PASSWORD), MAX_PASSWORD)?;
    Secret::new(&String::from_utf8(bytes).ok()?)
}

/// The certificate of a host's XenAPI.
fn shown_by(host: &str) -> Result<Fingerprint, String> {
    let brackets = host.parse::<Ipv6Addr>().is_ok();
    let url = if brackets { format!("https://[{host}]/") } else { format!("https://{host}/") };
    let url = Url::parse(&url).map_err(|error| error.to_string())?;
    shown_certificate(&url, LOOKED_FOR, &mut pause).map_err(|error| error.to_string())
}

#[allow(clippy::disallowed_methods, reason = "no event tells that another host or the toolstack has come up")]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// Joins the pool, or says what is missing for that.
pub(crate) fn decide(pool: &Pool, facts: Option<&PoolFacts>) -> Decision {
    const ASKS: &str = "`xenolith-firstboot retry pool-join` on a terminal asks for it";
    let Some(facts) = facts.filter(|facts| facts.toolstack) else {
        return Decision::NotAvailable("there is no toolstack on this host that could join a pool");
    };
    let (host, user) = (&pool.join, pool.user());
    let shown = match &facts.shown {
        Ok(shown) => shown,
        Err(why) => return Decision::Cannot(why.clone()),
    };
    match &pool.fingerprint {
        Some(expected) if expected != shown => {
            return Decision::Cannot(format!(
                "{host} has the certificate {shown}, and {expected} is expected; nothing was sent there"
            ));
        }
        None if !facts.confirmed => {
            return Decision::Cannot(format!(
                "nobody has said whether {host} is the host with the certificate {shown}; {ASKS}"
            ));
        }
        _ => {}
    }
    let Some(password) = facts.password.clone() else {
        return Decision::Cannot(format!("nobody has said the password of {user} at {host}; {ASKS}"));
    };
    Decision::Do(vec![Change::JoinPool(Join { host: host.clone(), user: user.to_owned(), password })])
}

/// A pool, and who vouches for this host there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Name or address of a host of it.
    pub host: String,
    user: String,
    password: Secret,
}

/// A host, as far as it matters here.
#[derive(Deserialize)]
struct HostRecord {
    address: String,
    hostname: String,
}

impl Join {
    /// Asks the toolstack that listens at `socket`, unless the host is a member of that pool already: a power cut may have come between
    /// the two.
    ///
    /// # Errors
    /// With the toolstack's words, never with the password.
    pub fn carry_out(&self, socket: &Path) -> io::Result<()> {
        let started = Instant::now();
        loop {
            match self.once(socket) {
                Err(error) if error.is(STILL_BOOTING) && started.elapsed() < STARTS_WITHIN => {
                    pause(BETWEEN);
                }
                done => return done.map_err(|error| io::Error::other(self.without_password(&error))),
            }
        }
    }

    fn once(&self, socket: &Path) -> Result<(), XenApiError> {
        let session = Session::open(socket, JOINS_WITHIN)?;
        if self.is_member(&session)? {
            return Ok(());
        }
        session.call("pool.join", &[&self.host, &self.user, &self.password.0]).map(drop)
    }

    /// Whether another host of this one's pool is the one that is to be joined. A host that has never joined one is alone in its own.
    fn is_member(&self, session: &Session) -> Result<bool, XenApiError> {
        let this = session.this_host()?;
        let hosts = session.call("host.get_all_records", &[])?;
        let hosts: BTreeMap<String, HostRecord> =
            serde_json::from_value(hosts).map_err(|_| XenApiError::Reply)?;
        let mut others = hosts.iter().filter(|(reference, _)| **reference != this).peekable();
        if others.peek().is_none() {
            return Ok(false);
        }
        let addresses: Vec<IpAddr> = (&*self.host, 443)
            .to_socket_addrs()
            .map(|found| found.map(|address| address.ip()).collect())
            .unwrap_or_default();
        Ok(others.any(|(_, other)| {
            other.hostname.eq_ignore_ascii_case(&self.host)
                || other.address.parse().is_ok_and(|address| addresses.contains(&address))
        }))
    }

    fn without_password(&self, error: &XenApiError) -> String {
        error.to_string().replace(&self.password.0, "…")
    }
}

impl fmt::Display for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host joins the pool of {} as {}", self.host, self.user)
    }
}
