//! Sources: the source packages of one suite and component.

use super::packages::{package_name, pool_path};
use super::stanza::{self, Stanza};
use super::{IndexError, Problem, file_line};
use crate::names::shortened;
use crate::{BadName, DebVersion, PoolPath, Sha256};

/// A source package as an index offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSource<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: DebVersion<'a>,
    /// Its files, in the order of the index.
    pub files: Vec<SourceFile>,
}

/// A file of a source package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where the archive has it.
    pub path: PoolPath,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Sha256,
}

/// Reads the source packages with the given names out of a Sources file; the others are passed over.
///
/// # Errors
/// [`IndexError`] with the line at which reading stopped.
pub fn sources<'a>(bytes: &'a [u8], wanted: &[&str]) -> Result<Vec<IndexSource<'a>>, IndexError> {
    let mut found = Vec::new();
    for stanza in stanza::stanzas(stanza::text(bytes)?) {
        let stanza = stanza?;
        if wanted_stanza(stanza, wanted)? {
            found.push(source(stanza)?);
        }
    }
    Ok(found)
}

/// `Package` is the first field of nearly every stanza, so that the others are not looked at.
fn wanted_stanza(stanza: Stanza<'_>, wanted: &[&str]) -> Result<bool, IndexError> {
    for field in stanza.fields() {
        let field = field?;
        if field.name == "Package" {
            return Ok(wanted.contains(&field.value));
        }
    }
    stanza.required("Package", None)
}

fn source(stanza: Stanza<'_>) -> Result<IndexSource<'_>, IndexError> {
    let (mut name, mut version, mut directory, mut files) = (None, None, None, None);
    for field in stanza.fields() {
        let field = field?;
        match field.name {
            "Package" => field.set(&mut name, "Package", package_name(field.value))?,
            "Version" => field.set(&mut version, "Version", DebVersion::parse(field.value))?,
            "Directory" => field.set(&mut directory, "Directory", pool_path(field.value))?,
            "Checksums-Sha256" => files = Some(field),
            _ => {}
        }
    }
    let directory = stanza.required("Directory", directory)?;
    let field = stanza.required("Checksums-Sha256", files)?;
    let mut files = None;
    field.set(&mut files, "Checksums-Sha256", read_files(field.value, directory))?;
    Ok(IndexSource {
        name: stanza.required("Package", name)?,
        version: stanza.required("Version", version)?,
        files: files.unwrap_or_default(),
    })
}

fn read_files(value: &str, directory: &str) -> Result<Vec<SourceFile>, Problem> {
    let mut files = Vec::new();
    for line in value.lines() {
        let (sha256, size, name) = file_line(line)?;
        if name.contains('/') {
            return Err(BadName::Path(shortened(name)).into());
        }
        files.push(SourceFile { path: format!("{directory}/{name}").parse()?, size, sha256 });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: aide\nVersion: 0.19\n\nPackage: xen\nVersion: 4.20-1\nChecksums-Sha256:\n \
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 4054 xen_4.20-1.dsc\n \
        a728c1ce12fbf4bb6bdec22327b2f6bf372ba34f540d50d0ad18e4caf4acc700 99 xen_4.20.orig.tar.xz\n\
        Directory: pool/main/x/xen\n";

    #[test]
    fn a_source_package_brings_the_paths_of_its_files() {
        let read = sources(TEXT.as_bytes(), &["xen"]).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].name, read[0].version.as_str()), ("xen", "4.20-1"));
        let paths: Vec<_> = read[0].files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["pool/main/x/xen/xen_4.20-1.dsc", "pool/main/x/xen/xen_4.20.orig.tar.xz"]);
    }

    #[test]
    fn a_file_outside_the_folder_of_its_package_is_refused() {
        for bad in ["../xen_4.20-1.dsc", "a/xen_4.20-1.dsc", ".."] {
            assert!(sources(TEXT.replace("xen_4.20-1.dsc", bad).as_bytes(), &["xen"]).is_err(), "{bad}");
        }
        assert!(sources(TEXT.replace("pool/main/x/xen", "/pool").as_bytes(), &["xen"]).is_err());
        assert!(sources(b"Version: 1\n", &["xen"]).is_err());
    }
}
