//! Packages: the binary packages of one suite, component and architecture.

use super::stanza::{self, Stanza};
use super::{IndexError, Problem, size};
use crate::names::{is_package_name, is_pool_path, shortened};
use crate::{Architecture, BadName, DebVersion, Sha256};

/// A binary package as an index offers it. Relations are still text, see [`super::relations`].
#[derive(Clone, Debug)]
pub struct IndexPackage<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: DebVersion<'a>,
    /// What it was built for.
    pub architecture: Architecture,
    /// Whether every system must have it.
    pub essential: bool,
    /// How much it belongs to an ordinary system.
    pub priority: Priority,
    /// `Pre-Depends`.
    pub pre_depends: &'a str,
    /// `Depends`.
    pub depends: &'a str,
    /// `Recommends`.
    pub recommends: &'a str,
    /// `Provides`.
    pub provides: &'a str,
    /// `Conflicts`.
    pub conflicts: &'a str,
    /// `Breaks`.
    pub breaks: &'a str,
    /// Where the archive has it; checked to stay inside the archive.
    pub path: &'a str,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Sha256,
}

/// How much a package belongs to an ordinary system, the most important first (Debian policy §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// dpkg may not work without it.
    Required,
    /// Expected on any Unix-like system.
    Important,
    /// A small system in text mode.
    Standard,
    /// Everything else.
    Optional,
}

/// Reads a Packages file.
///
/// # Errors
/// [`IndexError`] with the line at which reading stopped.
pub fn packages(bytes: &[u8]) -> Result<Vec<IndexPackage<'_>>, IndexError> {
    stanza::stanzas(stanza::text(bytes)?).map(|stanza| package(stanza?)).collect()
}

fn package(stanza: Stanza<'_>) -> Result<IndexPackage<'_>, IndexError> {
    let (mut name, mut version, mut architecture, mut essential, mut priority) =
        (None, None, None, None, None);
    let (mut pre_depends, mut depends, mut recommends, mut provides) = (None, None, None, None);
    let (mut conflicts, mut breaks, mut path, mut bytes, mut sha256) = (None, None, None, None, None);
    for field in stanza.fields() {
        let field = field?;
        let value = field.value;
        match field.name {
            "Package" => field.set(&mut name, "Package", package_name(value))?,
            "Version" => field.set(&mut version, "Version", DebVersion::parse(value))?,
            "Architecture" => field.set(&mut architecture, "Architecture", value.parse::<Architecture>())?,
            "Essential" => field.set(&mut essential, "Essential", yes_or_no(value))?,
            "Priority" => field.set(&mut priority, "Priority", parse_priority(value))?,
            "Pre-Depends" => field.set_text(&mut pre_depends, "Pre-Depends")?,
            "Depends" => field.set_text(&mut depends, "Depends")?,
            "Recommends" => field.set_text(&mut recommends, "Recommends")?,
            "Provides" => field.set_text(&mut provides, "Provides")?,
            "Conflicts" => field.set_text(&mut conflicts, "Conflicts")?,
            "Breaks" => field.set_text(&mut breaks, "Breaks")?,
            "Filename" => field.set(&mut path, "Filename", pool_path(value))?,
            "Size" => field.set(&mut bytes, "Size", size(value))?,
            "SHA256" => field.set(&mut sha256, "SHA256", value.parse::<Sha256>())?,
            _ => {}
        }
    }
    Ok(IndexPackage {
        name: stanza.required("Package", name)?,
        version: stanza.required("Version", version)?,
        architecture: stanza.required("Architecture", architecture)?,
        essential: essential.unwrap_or(false),
        priority: priority.unwrap_or(Priority::Optional),
        pre_depends: pre_depends.unwrap_or_default(),
        depends: depends.unwrap_or_default(),
        recommends: recommends.unwrap_or_default(),
        provides: provides.unwrap_or_default(),
        conflicts: conflicts.unwrap_or_default(),
        breaks: breaks.unwrap_or_default(),
        path: stanza.required("Filename", path)?,
        size: stanza.required("Size", bytes)?,
        sha256: stanza.required("SHA256", sha256)?,
    })
}

pub(super) fn package_name(text: &str) -> Result<&str, Problem> {
    if is_package_name(text) { Ok(text) } else { Err(BadName::Package(shortened(text)).into()) }
}

pub(super) fn pool_path(text: &str) -> Result<&str, Problem> {
    if is_pool_path(text) { Ok(text) } else { Err(BadName::Path(shortened(text)).into()) }
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, Problem> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(Problem::Word(shortened(text))),
    }
}

fn parse_priority(text: &str) -> Result<Priority, Problem> {
    match text {
        "required" => Ok(Priority::Required),
        "important" => Ok(Priority::Important),
        "standard" => Ok(Priority::Standard),
        // "extra" is what "optional" was called until policy 4.0.1.
        "optional" | "extra" => Ok(Priority::Optional),
        _ => Err(Problem::Word(shortened(text))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn stanza(name: &str, more: &str) -> String {
        format!(
            "Package: {name}\nVersion: 1-1\nArchitecture: amd64\n{more}Description: a\n b\n .\n c: d\n\
             Filename: pool/main/{name}.deb\nSize: 12\nSHA256: {HASH}\n"
        )
    }

    #[test]
    fn the_fields_that_count_are_read_and_the_others_passed_over() {
        let text = format!(
            "{}\n\n{}",
            stanza("bash", "Essential: yes\nPriority: required\nPre-Depends: libc6 (>= 2.38),\n libtinfo6\n"),
            stanza("zsh", "Depends: libc6\n")
        );
        let read = packages(text.as_bytes()).unwrap();
        assert_eq!(read.iter().map(|package| package.name).collect::<Vec<_>>(), ["bash", "zsh"]);
        assert!(read[0].essential && !read[1].essential);
        assert_eq!((read[0].priority, read[1].priority), (Priority::Required, Priority::Optional));
        assert_eq!(read[0].pre_depends, "libc6 (>= 2.38),\n libtinfo6");
        assert_eq!((read[1].depends, read[1].path, read[1].size), ("libc6", "pool/main/zsh.deb", 12));
        assert!(packages(b"").unwrap().is_empty());
        assert!(packages(b"\n\n\n").unwrap().is_empty());
    }

    #[test]
    fn a_bad_stanza_is_refused_with_its_line() {
        let good = stanza("bash", "");
        let bad = |from: &str, to: &str| {
            let text = format!("{good}\n{}", good.replace(from, to));
            packages(text.as_bytes()).unwrap_err().to_string()
        };
        assert_eq!(bad("Size: 12\n", ""), "the stanza at line 12 has no Size");
        assert_eq!(bad("Size: 12", "Size: -1"), "line 20: Size is not valid");
        assert_eq!(bad("Size: 12", "Size: 99999999999999999999"), "line 20: Size is not valid");
        assert_eq!(bad("Size: 12", "Size: 12\nSize: 12"), "line 21: the stanza has Size twice");
        assert_eq!(bad("pool/main", "/pool/main"), "line 19: Filename is not valid");
        assert_eq!(bad("pool/main", "pool/../../main"), "line 19: Filename is not valid");
        assert_eq!(bad("amd64", "m68k"), "line 14: Architecture is not valid");
        assert_eq!(bad("e3b0", "e3b"), "line 21: SHA256 is not valid");
        assert_eq!(bad("Version: ", "Version "), "line 13 is neither a field nor the continuation of one");
        assert_eq!(bad("Package: ", " Package: "), "line 12 is neither a field nor the continuation of one");
    }

    #[test]
    fn a_line_without_end_and_bytes_that_are_no_text_are_refused() {
        let long = stanza("bash", &format!("Depends: {}\n", "x".repeat(300 << 10)));
        assert_eq!(
            packages(long.as_bytes()).unwrap_err().to_string(),
            "line 4: a line is longer than 262144"
        );
        assert_eq!(packages(b"Package: \xff").unwrap_err().to_string(), "byte 9 is not UTF-8");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, tail in "(Package|Size|: |\n| |\t|a|\r|é){0,20}") {
            let _ = packages(&bytes);
            let _ = packages(tail.as_bytes());
        }
    }
}
