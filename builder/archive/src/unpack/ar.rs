//! The outer archive of a package: ar with exactly the members that deb(5) allows.
//!
//! ```text
//!   "!<arch>\n" │ header 60 B │ content │ "\n" if odd │ header …
//!   header: name 16, time 12, uid 6, gid 6, mode 8, size 10, "`\n"; text, filled up with spaces
//! ```
//! Order: `debian-binary` ("2.x\n"), control.tar.*, data.tar.*; names that begin with `_` may stand anywhere after
//! the first and are skipped.

use std::io::{self, Read};

use super::compression::Compression;
use super::{Malformed, Part, UnpackError};

/// One of the two tar archives of a package, still compressed.
pub(super) struct Body<'a> {
    pub part: Part,
    pub compression: Compression,
    /// Compressed bytes in all.
    pub size: u64,
    pub content: &'a mut dyn Read,
}

/// What to do after a part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Stop,
}

struct Header {
    name: [u8; 16],
    size: u64,
}

/// Calls `visit` for control.tar and then for data.tar. What it leaves unread is skipped.
pub(super) fn walk(
    deb: &mut dyn Read,
    visit: &mut dyn FnMut(Body<'_>) -> Result<Then, UnpackError>,
) -> Result<(), UnpackError> {
    read_intro(deb)?;
    let mut awaited = Some(Part::Control);
    while let Some(header) = read_header(deb)? {
        let mut content = deb.take(header.size);
        if header.name[0] != b'_' {
            let (part, compression) = classify(&header.name)?;
            if awaited != Some(part) {
                return Err(package(Malformed::Parts));
            }
            awaited = if part == Part::Control { Some(Part::Data) } else { None };
            let body = Body { part, compression, size: header.size, content: &mut content };
            if visit(body)? == Then::Stop {
                return Ok(());
            }
        }
        io::copy(&mut content, &mut io::sink())
            .map_err(|source| UnpackError::reading(Part::Package, source))?;
        if content.limit() > 0 {
            return Err(package(Malformed::Truncated));
        }
        skip_padding(deb, header.size)?;
    }
    if awaited.is_some() { Err(package(Malformed::Truncated)) } else { Ok(()) }
}

fn package(problem: Malformed) -> UnpackError {
    UnpackError::malformed(Part::Package, problem)
}

fn read_intro(deb: &mut dyn Read) -> Result<(), UnpackError> {
    let mut magic = [0; 8];
    if fill(deb, &mut magic)? < magic.len() || &magic != b"!<arch>\n" {
        return Err(package(Malformed::NotAr));
    }
    let first = read_header(deb)?.ok_or(package(Malformed::Truncated))?;
    if trimmed(&first.name) != b"debian-binary" || !(4..=64).contains(&first.size) {
        return Err(package(Malformed::Version));
    }
    let mut version = Vec::new();
    deb.take(first.size)
        .read_to_end(&mut version)
        .map_err(|source| UnpackError::reading(Part::Package, source))?;
    if !version.starts_with(b"2.") || !version.contains(&b'\n') {
        return Err(package(Malformed::Version));
    }
    skip_padding(deb, first.size)
}

/// The next header; `None` at the end of the file.
fn read_header(deb: &mut dyn Read) -> Result<Option<Header>, UnpackError> {
    let mut raw = [0; 60];
    match fill(deb, &mut raw)? {
        0 => return Ok(None),
        60 => {}
        _ => return Err(package(Malformed::Truncated)),
    }
    if raw[58..] != *b"`\n" {
        return Err(package(Malformed::Header("no end mark")));
    }
    let digits = raw[48..58].trim_ascii_end();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(package(Malformed::Header("the size is no number")));
    }
    let size = digits.iter().fold(0, |size, digit| size * 10 + u64::from(digit - b'0'));
    let mut name = [0; 16];
    name.copy_from_slice(&raw[..16]);
    Ok(Some(Header { name, size }))
}

/// The name without its filling and without the slash that GNU ar puts behind it.
fn trimmed(name: &[u8; 16]) -> &[u8] {
    let name = name.trim_ascii_end();
    name.strip_suffix(b"/").unwrap_or(name)
}

fn classify(name: &[u8; 16]) -> Result<(Part, Compression), UnpackError> {
    let name = trimmed(name);
    let (part, suffix) = if let Some(suffix) = name.strip_prefix(b"control.tar") {
        (Part::Control, suffix)
    } else if let Some(suffix) = name.strip_prefix(b"data.tar") {
        (Part::Data, suffix)
    } else {
        return Err(package(Malformed::Parts));
    };
    let compression =
        Compression::from_suffix(suffix).ok_or(UnpackError::malformed(part, Malformed::Compression))?;
    Ok((part, compression))
}

/// Content of odd length is followed by one byte; at the very end of a file it may be missing.
fn skip_padding(deb: &mut dyn Read, size: u64) -> Result<(), UnpackError> {
    if size % 2 == 1 {
        fill(deb, &mut [0])?;
    }
    Ok(())
}

/// Reads until `buffer` is full or the file ends.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, UnpackError> {
    let mut done = 0;
    while done < buffer.len() {
        match input.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(UnpackError::reading(Part::Package, source)),
        }
    }
    Ok(done)
}
