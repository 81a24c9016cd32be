//! A network boot set, checked and held open: what is served is what its manifest names, whatever happens to the folder.

use std::{
    fs::File,
    io::{self, Seek as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use fs_err as fs;
use xenolith_layout::names::{NETBOOT_BOOT_FILE, NETBOOT_IPXE, NETBOOT_MANIFEST};
use xenolith_netboot::{FileFacts, FileName, MAX_MANIFEST, Manifest, boots};

use crate::ServeError;

/// Names that are easy to type, for those that the build gives.
const ALSO: &[(&str, &str)] = &[("boot.efi", NETBOOT_BOOT_FILE), ("boot.ipxe", NETBOOT_IPXE)];

/// A set that can be served.
pub struct Set {
    /// What it holds.
    pub manifest: Manifest,
    files: Vec<Served>,
}

/// A file that can be served.
#[derive(Clone)]
pub struct Served {
    /// Its name.
    pub name: String,
    /// Its length.
    pub size: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sum: String,
    content: Arc<Content>,
}

enum Content {
    File(File),
    Bytes(Vec<u8>),
}

impl Set {
    /// Opens the set in a folder and reads every byte of it once.
    ///
    /// # Errors
    /// When a file is missing, or not the one that the manifest names, or the boot file is for another root.
    pub fn open(folder: &Path) -> Result<Self, ServeError> {
        let path = folder.join(NETBOOT_MANIFEST);
        let read = |source| ServeError::Read { path: path.clone(), source };
        if fs::metadata(&path).map_err(read)?.len() > MAX_MANIFEST as u64 {
            let source = xenolith_netboot::BadManifest::TooLong;
            return Err(ServeError::Manifest { path: path.clone(), source });
        }
        let text = fs::read(&path).map_err(read)?;
        let manifest =
            Manifest::parse(&text).map_err(|source| ServeError::Manifest { path: path.clone(), source })?;
        let mut files = vec![Served {
            name: NETBOOT_MANIFEST.to_owned(),
            size: text.len() as u64,
            sum: FileFacts::of(text.as_slice()).map_err(read)?.sha256.to_string(),
            content: Arc::new(Content::Bytes(text.clone())),
        }];
        for (name, facts) in &manifest.files {
            files.push(file(folder, name, *facts)?);
        }
        let set = Self { manifest, files };
        let boot_file = set.find(NETBOOT_BOOT_FILE).expect("a manifest names the boot file");
        let bytes = boot_file.read(0, boot_file.size).map_err(read)?;
        boots(&bytes, &set.manifest.root_hash, &set.manifest.version)
            .map_err(|source| ServeError::BootFile { folder: folder.to_owned(), source })?;
        Ok(set)
    }

    /// The file that a client asks for; a slash in front does not matter. Nothing else of the file system can be asked for.
    pub fn find(&self, name: &str) -> Option<&Served> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let name = ALSO.iter().find(|(short, _)| *short == name).map_or(name, |(_, name)| name);
        self.files.iter().find(|file| file.name == name)
    }
}

impl Served {
    /// Bytes of the file; fewer only if somebody has cut it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        match &*self.content {
            Content::Bytes(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes[start..start.saturating_add(length).min(bytes.len())].to_vec())
            }
            Content::File(file) => {
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, at)?;
                Ok(buffer)
            }
        }
    }
}

/// Opens a file and makes sure that it is the right one.
fn file(folder: &Path, name: &FileName, expected: FileFacts) -> Result<Served, ServeError> {
    let path = folder.join(name.as_str());
    let read = |source| ServeError::Read { path: path.clone(), source };
    let mut file = fs::File::open(&path).map_err(read)?;
    let changed = || ServeError::Changed { name: name.clone(), folder: folder.to_owned() };
    // The length first: a wrong one is told without reading gigabytes.
    if file.metadata().map_err(read)?.len() != expected.size.get() {
        return Err(changed());
    }
    if FileFacts::of(&mut file).map_err(read)? != expected {
        return Err(changed());
    }
    file.rewind().map_err(read)?;
    Ok(Served {
        name: name.to_string(),
        size: expected.size.get(),
        sum: expected.sha256.to_string(),
        content: Arc::new(Content::File(file.into_parts().0)),
    })
}
