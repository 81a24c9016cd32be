//! One GET, and what its answer means.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::pace::Trouble;
use super::{Cause, DownloadOptions, FetchError};

/// Bytes read at once.
pub(super) const BUFFER: usize = 128 << 10;

/// The content that a server sends.
pub(super) struct Answer {
    /// The position in the file of the first byte that comes.
    pub from: u64,
    /// How many come, if the server says so.
    pub length: Option<u64>,
    /// The size of the whole file, if the server says so.
    pub size: Option<u64>,
    pub body: ureq::BodyReader<'static>,
}

pub(super) fn agent(options: &DownloadOptions) -> ureq::Agent {
    let mut tls = TlsConfig::builder();
    if let Some(path) = &options.certificates {
        match read_certificates(path) {
            Ok(roots) => tls = tls.root_certs(roots),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "certificates not read, the built-in ones are used");
            }
        }
    }
    ureq::Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .user_agent(concat!("xenolith/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(options.stall))
        .timeout_connect(Some(options.stall))
        .timeout_recv_response(Some(options.stall))
        .timeout_per_read(Some(options.stall))
        .timeout_per_write(Some(options.stall))
        .max_idle_connections(options.parallel.max(1))
        .max_idle_connections_per_host(options.parallel.max(1))
        .build()
        .into()
}

fn read_certificates(path: &Path) -> io::Result<RootCerts> {
    let pem = fs_err::read(path)?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(io::Error::other)? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// Asks for the file from byte `from` on. The answer may begin elsewhere: look at [`Answer::from`].
pub(super) fn get(agent: &ureq::Agent, name: &str, url: &str, from: u64) -> Result<Answer, Trouble> {
    let mut request = agent.get(url);
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let response = request.call().map_err(sort)?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = response.status().as_u16();
    let (name, url) = (name.to_owned(), url.to_owned());
    let (start, size) = match status {
        200 => (0, None),
        206 => header("content-range").and_then(parse_range).ok_or(Trouble::passing(Cause::Range))?,
        404 | 410 => return Err(Trouble::Final(FetchError::Gone { name, url, status, also: Vec::new() })),
        408 | 416 | 425 | 429 | 500.. => {
            let after =
                header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            return Err(Trouble::Passing { cause: Cause::Status(status), after, advanced: false });
        }
        _ => return Err(Trouble::Final(FetchError::Refused { name, url, status })),
    };
    let body = response.into_body();
    let length = body.content_length();
    let size = if status == 200 { length } else { size };
    Ok(Answer { from: start, length, size, body: body.into_reader() })
}

/// The next bytes; 0 at the end.
pub(super) fn read(body: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Trouble> {
    loop {
        match body.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(|error| Trouble::passing(Cause::Broken(error))),
        }
    }
}

/// Whether asking again can help. What is wrong with the request or the certificate stays wrong.
fn sort(error: ureq::Error) -> Trouble {
    let hopeless = matches!(
        error,
        ureq::Error::BadUri(_)
            | ureq::Error::Http(_)
            | ureq::Error::TooManyRedirects
            | ureq::Error::RedirectFailed
            | ureq::Error::InvalidProxyUrl
            | ureq::Error::Pem(_)
            | ureq::Error::Rustls(_)
    );
    let (cause, advanced) = (Cause::Request(Box::new(error)), false);
    if hopeless { Trouble::Hopeless(cause) } else { Trouble::Passing { cause, after: None, advanced } }
}

/// `bytes 100-199/200` or `bytes 100-199/*`: first byte, and size if it is known.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    if first > last {
        return None;
    }
    match size {
        "*" => Some((first, None)),
        size => Some((first, Some(size.parse().ok().filter(|size| last < *size)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_as_first_byte_and_size() {
        assert_eq!(parse_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(parse_range("bytes 100-199/*"), Some((100, None)));
        for bad in [
            "",
            "bytes */200",
            "bytes 5-4/200",
            "bytes 0-200/200",
            "items 0-1/2",
            "bytes 0-1",
            "bytes -1-2/9",
        ] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }
}
