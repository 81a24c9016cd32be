//! Asks a server for answers, and tells one how it went: a POST of JSON.

use std::{io, time::Duration};

use ureq::{
    Agent, Body,
    config::Config,
    http::Response,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector as _, TcpConnector},
    },
};
use xenolith_answers::{Fingerprint, MAX_ANSWERS};

use crate::{
    hint::Url,
    identity::Identity,
    report::Report,
    tls::{PinnedConnector, Seen},
};

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longer lists of authorities are not read.
const MAX_AUTHORITIES: usize = 256 << 10;
/// What is understood, best first.
const ACCEPT: &str = "application/toml, application/json, application/xml;q=0.5, */*;q=0.1";

/// A server, and why it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub url: Url,
    /// The reason.
    pub trust: Trust,
}

/// Why a server is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// An authority of Mozilla's list, which is compiled in, has signed its certificate.
    Known,
    /// It has this certificate.
    Pinned(Fingerprint),
    /// An authority of this list (PEM) has signed its certificate.
    Own(Vec<u8>),
    /// For no reason; the only one that plain HTTP can have.
    Insecure,
}

/// How long a server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one attempt, from the name's resolution to the last byte.
    pub attempt: Duration,
    /// Between attempts, in all.
    pub between: Duration,
}

impl Patience {
    /// The usual attempts, and as long between them.
    pub const fn between(between: Duration) -> Self {
        Self { attempt: Duration::from_secs(30), between }
    }
}

/// What a server has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// These are the answers.
    Answers(Vec<u8>),
    /// There are none for this machine: `204 No Content`.
    Nothing,
}

/// Why there is no answer. No message holds what the server has sent.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There was no way to it, or it did not answer in time.
    #[error("cannot reach {url}: is the server running, and the network there?")]
    Unreachable {
        /// The server.
        url: Url,
        /// What went wrong the last time.
        source: Box<ureq::Error>,
    },
    /// It is not known to be the one that was meant.
    #[error(
        "{url} is not trusted; give the SHA-256 of its certificate (sha256=, --pin), or the authority that has signed it (ca=, --ca)"
    )]
    NotTrusted {
        /// The server.
        url: Url,
        /// What is wrong with its certificate.
        source: Box<ureq::Error>,
    },
    /// It has another certificate than the pinned one.
    #[error("{url} has the certificate {seen}, and {pinned} is expected; nothing was taken from it")]
    OtherCertificate {
        /// The server.
        url: Url,
        /// What it has.
        seen: Fingerprint,
        /// What was expected.
        pinned: Fingerprint,
    },
    /// It is not plain HTTP only by the hint, but nothing says that this is wanted.
    #[error("{url} is plain HTTP, which anybody in between can change; use https, or say insecure")]
    Plain {
        /// The server.
        url: Url,
    },
    /// It refuses.
    #[error("{url} answers with status {code}")]
    Status {
        /// The server.
        url: Url,
        /// Its answer.
        code: u16,
    },
    /// It wants somebody else to be asked, whom nobody has named.
    #[error("{url} leads to another address (status {code}), which is not followed; give the final one")]
    Elsewhere {
        /// The server.
        url: Url,
        /// Its answer.
        code: u16,
    },
    /// It sends more than answers can be.
    #[error("{url} sends more than {} KiB", MAX_ANSWERS >> 10)]
    TooLong {
        /// The server.
        url: Url,
    },
    /// The list of authorities cannot be used.
    #[error("the list of authorities has no certificate in PEM")]
    Authorities,
}

impl FetchError {
    /// Whether another attempt may end otherwise.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // Asked too often, too slow, or the server has a problem of its own.
            Self::Status { code, .. } => matches!(code, 408 | 425 | 429 | 500..),
            _ => false,
        }
    }
}

/// Asks for this machine's answers; a server that cannot be reached yet is asked again for as long as `patience`, and `pause` waits.
///
/// # Errors
/// [`FetchError`] of the last attempt.
pub fn fetch(
    server: &Server,
    identity: &Identity,
    patience: Patience,
    pause: &mut dyn FnMut(Duration),
) -> Result<Fetched, FetchError> {
    let asking = Asking::new(server, patience.attempt)?;
    let body = identity.json();
    again(patience, pause, || match asking.post(&body) {
        // A server of plain files knows no POST.
        Err(FetchError::Status { code: 405 | 501, .. }) => asking.get(),
        other => other,
    })
}

/// Says how an installation ended.
///
/// # Errors
/// [`FetchError`] of the last attempt.
pub fn send(
    server: &Server,
    report: &Report,
    patience: Patience,
    pause: &mut dyn FnMut(Duration),
) -> Result<(), FetchError> {
    let asking = Asking::new(server, patience.attempt)?;
    let body = report.json();
    again(patience, pause, || asking.post(&body)).map(drop)
}

/// The certificate that a server shows. It is sent nothing: the connection ends when it has shown it.
///
/// # Errors
/// [`FetchError`] of the last attempt.
pub fn shown_certificate(
    url: &Url,
    patience: Patience,
    pause: &mut dyn FnMut(Duration),
) -> Result<Fingerprint, FetchError> {
    // No certificate has this hash, so every one ends the connection and is named.
    let server = Server { url: url.clone(), trust: Trust::Pinned(Fingerprint([0; 32])) };
    let asking = Asking::new(&server, patience.attempt)?;
    match again(patience, pause, || asking.get()) {
        Err(FetchError::OtherCertificate { seen, .. }) => Ok(seen),
        Err(error) => Err(error),
        Ok(_) => Err(FetchError::Plain { url: url.clone() }),
    }
}

pub(crate) fn again<T>(
    patience: Patience,
    pause: &mut dyn FnMut(Duration),
    mut attempt: impl FnMut() -> Result<T, FetchError>,
) -> Result<T, FetchError> {
    let mut pauses = pauses(patience.between);
    loop {
        let ended = attempt();
        match &ended {
            Err(error) if error.may_pass() => match pauses.next() {
                Some(time) => pause(time),
                None => return ended,
            },
            _ => return ended,
        }
    }
}

/// How long is waited after each failure: 1 s, 2 s, 4 s, … 30 s, 30 s, together no more than `patience`.
fn pauses(patience: Duration) -> impl Iterator<Item = Duration> {
    let each =
        std::iter::successors(Some(Duration::from_secs(1)), |last| Some((*last * 2).min(LONGEST_PAUSE)));
    each.scan(patience, |left, pause| {
        *left = left.checked_sub(pause)?;
        Some(pause)
    })
}

/// How a text is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Post,
    Put,
}

/// A server that is asked.
pub(crate) struct Asking<'a> {
    server: &'a Server,
    agent: Agent,
    seen: Seen,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(server: &'a Server, attempt: Duration) -> Result<Self, FetchError> {
        if server.url.is_plain() && server.trust != Trust::Insecure {
            return Err(FetchError::Plain { url: server.url.clone() });
        }
        let seen = Seen::default();
        let usual = |tls: TlsConfig| config(tls, attempt).new_agent();
        let agent = match &server.trust {
            Trust::Known => usual(TlsConfig::builder().root_certs(RootCerts::WebPki).build()),
            Trust::Own(pem) => {
                let roots = RootCerts::new_with_certs(&authorities(pem)?);
                usual(TlsConfig::builder().root_certs(roots).build())
            }
            Trust::Insecure => usual(TlsConfig::builder().disable_verification(true).build()),
            Trust::Pinned(pin) => {
                let connector =
                    ().chain(TcpConnector::default()).chain(PinnedConnector::new(*pin, seen.clone()));
                let config = config(TlsConfig::default(), attempt);
                Agent::with_parts(config, connector, DefaultResolver::default())
            }
        };
        Ok(Self { server, agent, seen })
    }

    fn post(&self, body: &[u8]) -> Result<Fetched, FetchError> {
        let request = self.agent.post(self.server.url.as_str()).content_type("application/json");
        self.answer(request.send(body))
    }

    pub(crate) fn text(&self, method: Method, text: &str) -> Result<Fetched, FetchError> {
        let url = self.server.url.as_str();
        let request = match method {
            Method::Post => self.agent.post(url),
            Method::Put => self.agent.put(url),
        };
        self.answer(request.content_type("text/plain; charset=utf-8").send(text))
    }

    fn get(&self) -> Result<Fetched, FetchError> {
        self.answer(self.agent.get(self.server.url.as_str()).call())
    }

    fn answer(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Fetched, FetchError> {
        let url = || self.server.url.clone();
        let mut response = answer.map_err(|error| self.failed(error))?;
        match response.status().as_u16() {
            204 => Ok(Fetched::Nothing),
            200..300 => {
                // The limit refuses what reaches it.
                let limit = MAX_ANSWERS as u64 + 1;
                let bytes = response.body_mut().with_config().limit(limit).read_to_vec();
                bytes.map(Fetched::Answers).map_err(|error| match error {
                    ureq::Error::BodyExceedsLimit(_) => FetchError::TooLong { url: url() },
                    other => self.failed(other),
                })
            }
            code @ 300..400 => Err(FetchError::Elsewhere { url: url(), code }),
            code => Err(FetchError::Status { url: url(), code }),
        }
    }

    fn failed(&self, error: ureq::Error) -> FetchError {
        let url = self.server.url.clone();
        match (&self.server.trust, self.seen.get()) {
            (Trust::Pinned(pinned), Some(seen)) if seen != *pinned => {
                FetchError::OtherCertificate { url, seen, pinned: *pinned }
            }
            _ if is_about_trust(&error) => FetchError::NotTrusted { url, source: Box::new(error) },
            _ => FetchError::Unreachable { url, source: Box::new(error) },
        }
    }
}

/// Whether it was the certificate. rustls hands its errors on inside of those of the connection.
fn is_about_trust(error: &ureq::Error) -> bool {
    let certificate = |error: &rustls::Error| matches!(error, rustls::Error::InvalidCertificate(_));
    match error {
        ureq::Error::Rustls(error) => certificate(error),
        ureq::Error::Io(error) => {
            let inner: Option<&rustls::Error> = error.get_ref().and_then(|inner| inner.downcast_ref());
            error.kind() == io::ErrorKind::InvalidData && inner.is_some_and(certificate)
        }
        _ => false,
    }
}

/// No proxy of an environment, nobody else's address, and an end in time.
fn config(tls: TlsConfig, attempt: Duration) -> Config {
    Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(attempt))
        .max_idle_connections(0)
        .accept(ACCEPT)
        .user_agent(concat!("xenolith-install/", env!("CARGO_PKG_VERSION")))
        .build()
}

fn authorities(pem: &[u8]) -> Result<Vec<Certificate<'static>>, FetchError> {
    if pem.len() > MAX_AUTHORITIES {
        return Err(FetchError::Authorities);
    }
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| FetchError::Authorities)? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(FetchError::Authorities) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let seconds: Vec<u64> = pauses(Duration::from_secs(100)).map(|pause| pause.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pauses(Duration::ZERO).count(), 0);
    }
}
