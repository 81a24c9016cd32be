//! Release: what a suite consists of, with the hash of every index.

use std::collections::HashMap;

use super::stanza::{self, Stanza};
use super::{IndexError, Problem, file_line};
use crate::date::Timestamp;
use crate::names::{is_pool_path, shortened};
use crate::{BadName, Sha256};

/// A Release file. Whether it is signed is not known here: give it only what [`crate::signature`] returned.
#[derive(Debug)]
pub struct Release<'a> {
    /// The name of the suite that does not move, such as `trixie-security`.
    pub codename: &'a str,
    /// When it was made.
    pub date: Timestamp,
    /// Until when it may be used; releases that do not change any more have no such date.
    pub valid_until: Option<Timestamp>,
    /// Whether indexes can be had under the name of their hash, where a mirror's update cannot pull them away.
    pub by_hash: bool,
    files: HashMap<&'a str, IndexFile>,
}

/// A file that a Release file vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Its hash.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

const MAX_FILES: usize = 50_000;

impl<'a> Release<'a> {
    /// Reads the text of a Release file.
    ///
    /// # Errors
    /// [`IndexError`] with the line at which reading stopped.
    pub fn parse(text: &'a str) -> Result<Self, IndexError> {
        let mut stanzas = stanza::stanzas(text);
        let stanza = stanzas.next().ok_or(IndexError::Missing { line: 1, field: "Codename" })??;
        if stanzas.next().is_some() {
            return Err(IndexError::TooLong { line: 1, what: "the list of stanzas", limit: 1 });
        }
        Self::from_stanza(stanza)
    }

    fn from_stanza(stanza: Stanza<'a>) -> Result<Self, IndexError> {
        let (mut codename, mut date, mut valid_until, mut by_hash, mut files) =
            (None, None, None, None, None);
        for field in stanza.fields() {
            let field = field?;
            let value = field.value;
            match field.name {
                "Codename" => field.set_text(&mut codename, "Codename")?,
                "Date" => field.set(&mut date, "Date", Timestamp::from_rfc2822(value))?,
                "Valid-Until" => {
                    field.set(&mut valid_until, "Valid-Until", Timestamp::from_rfc2822(value))?
                }
                "Acquire-By-Hash" => {
                    field.set(&mut by_hash, "Acquire-By-Hash", super::packages::yes_or_no(value))?;
                }
                "SHA256" => field.set(&mut files, "SHA256", read_files(value))?,
                _ => {}
            }
        }
        Ok(Self {
            codename: stanza.required("Codename", codename)?,
            date: stanza.required("Date", date)?,
            valid_until,
            by_hash: by_hash.unwrap_or(false),
            files: stanza.required("SHA256", files)?,
        })
    }

    /// The file with this path below the suite's folder, such as `main/binary-amd64/Packages.xz`.
    pub fn file(&self, path: &str) -> Option<IndexFile> {
        self.files.get(path).copied()
    }
}

fn read_files(value: &str) -> Result<HashMap<&str, IndexFile>, Problem> {
    let mut files = HashMap::new();
    for line in value.lines() {
        let (sha256, size, path) = file_line(line)?;
        if !is_pool_path(path) {
            return Err(BadName::Path(shortened(path)).into());
        }
        if files.len() == MAX_FILES || files.insert(path, IndexFile { sha256, size }).is_some() {
            return Err(Problem::FileLine(shortened(line)));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Origin: Debian\nSuite: stable-updates\nCodename: trixie-updates\n\
        Date: Thu, 19 Nov 2026 02:12:54 UTC\nValid-Until: Thu, 26 Nov 2026 02:12:54 UTC\nAcquire-By-Hash: yes\n\
        SHA256:\n e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855        0 main/x\n \
        a728c1ce12fbf4bb6bdec22327b2f6bf372ba34f540d50d0ad18e4caf4acc700   395207 main/binary-amd64/Packages.xz\n";

    #[test]
    fn the_files_of_a_suite_are_found_by_path() {
        let release = Release::parse(TEXT).unwrap();
        assert_eq!(release.codename, "trixie-updates");
        assert_eq!(release.date.to_string(), "2026-11-19T02:12:54Z");
        assert_eq!(release.valid_until.unwrap().to_string(), "2026-11-26T02:12:54Z");
        assert!(release.by_hash);
        assert_eq!(release.file("main/binary-amd64/Packages.xz").unwrap().size, 395_207);
        assert_eq!(release.file("main/y"), None);
    }

    #[test]
    fn odd_files_are_refused() {
        for (from, to) in [
            ("main/x", "../x"),
            ("main/x", "main/binary-amd64/Packages.xz"),
            ("        0 ", " zero "),
            ("SHA256:", "SHA1:"),
            ("Codename: ", "Code: "),
            ("UTC", "CET"),
            ("Acquire-By-Hash: yes", "Acquire-By-Hash: perhaps"),
            ("Suite: ", "\nSuite: "),
        ] {
            assert!(Release::parse(&TEXT.replace(from, to)).is_err(), "{from} {to}");
        }
        assert!(Release::parse("").is_err());
    }
}
