//! Fetching a file over HTTP/1.1, in pieces if it must be.
//!
//! Only what a static file server answers to one `GET` is understood: a status of 200 or 206, a length, the
//! bytes. Redirects, chunks and compression are refused with their name. A connection that ends early or says
//! nothing for [`STALL`] is opened again with `Range` where it ended; a server that does not know ranges
//! starts from the beginning. Every attempt that brings at least one byte is progress; [`TRIES`] in a row
//! that bring none end it.
//!
//! Nothing here is trusted: length and status steer only how long we listen. Source: RFC 9110, RFC 9112.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use xenolith_layout::Bytes;

use super::NetError;
use super::url::Base;

/// How long a server may say nothing.
pub const STALL: Duration = Duration::from_secs(20);
/// Attempts in a row without a byte.
pub const TRIES: u32 = 5;
/// The longest head of an answer, all lines together.
const LONGEST_HEAD: u64 = 16 * 1024;

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where in the file the body begins.
    pub from: u64,
    /// The file's whole length.
    pub length: Bytes,
}

/// Why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// Not HTTP, or cut off.
    #[error("the answer is no HTTP")]
    Shape,
    /// Not 200 or 206.
    #[error("the server says {0:?}")]
    Status(String),
    /// No usable length.
    #[error("the answer has no plain length")]
    Length,
    /// Chunks or compression.
    #[error("the answer is sent as {0:?}, which is not understood")]
    Encoding(String),
    /// A range that was not asked for.
    #[error("the answer is another part than the one asked for")]
    Range,
}

/// Fetches `file` from the folder into `out`, at most `limit`, exactly `exact` if that is known. Calls
/// `progress` now and then with what is here and the whole length.
///
/// # Errors
/// [`NetError::Answer`] and [`NetError::Length`] at once: another attempt would bring the same;
/// [`NetError::Fetch`] after the last attempt.
pub fn fetch(
    base: &Base,
    file: &str,
    size: Size,
    out: &mut (impl Write + io::Seek),
    pause: impl Fn(u32),
    mut progress: impl FnMut(Bytes, Bytes),
) -> Result<Bytes, NetError> {
    let mut have = 0;
    let mut in_vain = 0;
    loop {
        let before = have;
        let source = match attempt(base, file, size, &mut have, out, &mut progress) {
            Ok(length) => return Ok(length),
            Err(Attempt::Never(error)) => return Err(error),
            Err(Attempt::Again(source)) => source,
        };
        in_vain = if have > before { 0 } else { in_vain + 1 };
        if in_vain == TRIES {
            return Err(NetError::Fetch { url: format!("{base}{file}"), source });
        }
        pause(in_vain);
    }
}

/// How long a file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// No longer than this.
    AtMost(Bytes),
    /// Just this.
    Exactly(Bytes),
}

impl Size {
    fn allows(self, length: Bytes) -> bool {
        match self {
            Self::AtMost(limit) => length <= limit,
            Self::Exactly(exact) => length == exact,
        }
    }
}

enum Attempt {
    Again(io::Error),
    Never(NetError),
}

impl From<io::Error> for Attempt {
    fn from(error: io::Error) -> Self {
        Self::Again(error)
    }
}

fn attempt(
    base: &Base,
    file: &str,
    size: Size,
    have: &mut u64,
    out: &mut (impl Write + io::Seek),
    progress: &mut impl FnMut(Bytes, Bytes),
) -> Result<Bytes, Attempt> {
    let address = base.server().to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    let mut stream = TcpStream::connect_timeout(&address, STALL)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    stream.write_all(request(base, file, *have).as_bytes())?;
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let lines = head_lines(&mut stream)?;
    let url = || format!("{base}{file}");
    let head =
        head(&lines, *have).map_err(|source| Attempt::Never(NetError::Answer { url: url(), source }))?;
    if !size.allows(head.length) {
        return Err(Attempt::Never(NetError::Length { url: url(), length: head.length }));
    }
    *have = head.from;
    out.seek(io::SeekFrom::Start(head.from))?;
    let mut buffer = vec![0; 256 * 1024];
    while *have < head.length.get() {
        let left = usize::try_from(head.length.get() - *have).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let count = stream.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(Attempt::Again(io::ErrorKind::UnexpectedEof.into()));
        }
        // A full disk (here: RAM) will be full the next time too.
        out.write_all(&buffer[..count])
            .map_err(|source| Attempt::Never(NetError::Store { url: url(), source }))?;
        *have += u64::try_from(count).expect("a buffer is shorter than 2^64 bytes");
        progress(Bytes::new(*have), head.length);
    }
    Ok(head.length)
}

fn request(base: &Base, file: &str, from: u64) -> String {
    let range = if from == 0 { String::new() } else { format!("Range: bytes={from}-\r\n") };
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: xenolith-init\r\nAccept-Encoding: identity\r\n{range}\
         Connection: close\r\n\r\n",
        base.path(file),
        base.host()
    )
}

/// The lines up to the empty one.
fn head_lines(stream: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut limited = stream.take(LONGEST_HEAD);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        limited.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line);
    }
}

/// Reads the head of an answer to a request from `asked` on.
///
/// # Errors
/// [`BadHead`].
pub fn head(lines: &[String], asked: u64) -> Result<Head, BadHead> {
    let (status, fields) = lines.split_first().ok_or(BadHead::Shape)?;
    let (version, status) = status.split_once(' ').ok_or(BadHead::Shape)?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(BadHead::Shape);
    }
    let field = |name: &str| {
        let mut values = fields.iter().filter_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        values.next()
    };
    for name in ["Transfer-Encoding", "Content-Encoding"] {
        if let Some(encoding) = field(name).filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(BadHead::Encoding(encoding.chars().take(80).collect()));
        }
    }
    let body: u64 = field("Content-Length").and_then(digits).ok_or(BadHead::Length)?;
    match status.split(' ').next() {
        Some("200") => Ok(Head { from: 0, length: Bytes::new(body) }),
        Some("206") => {
            let (from, to, length) = field("Content-Range").and_then(range).ok_or(BadHead::Range)?;
            let fits =
                from == asked && to.checked_add(1) == Some(length) && length.checked_sub(from) == Some(body);
            if fits { Ok(Head { from, length: Bytes::new(length) }) } else { Err(BadHead::Range) }
        }
        _ => Err(BadHead::Status(status.chars().take(80).collect())),
    }
}

/// `bytes 10-99/100`.
fn range(text: &str) -> Option<(u64, u64, u64)> {
    let (from, rest) = text.strip_prefix("bytes ")?.split_once('-')?;
    let (to, length) = rest.split_once('/')?;
    Some((digits(from)?, digits(to)?, digits(length)?))
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
