//! Which shared libraries a program needs.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use object::{Object, ObjectSection, elf, read::elf::ElfFile64};

/// Where Debian keeps libraries, in the loader's order; systemd's programs name their own folder.
const FOLDERS: &[&str] =
    &["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd", "usr/lib64", "usr/lib"];

/// A program or library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A needed library is nowhere in the trees.
    #[error("{} needs {library}, which is in none of the trees", path.display())]
    Missing {
        /// What needs it.
        path: PathBuf,
        /// Its name.
        library: String,
    },
}

/// The closure of `programs` and `libraries` (names such as `libgcc_s.so.1`, for what is opened at run time): paths
/// inside the trees with the file that each is. The first tree that has a library wins.
///
/// # Errors
/// [`ElfError`].
pub fn closure(
    trees: &[&Path],
    programs: &[PathBuf],
    libraries: &[&str],
) -> Result<BTreeSet<(PathBuf, PathBuf)>, ElfError> {
    let mut found = BTreeSet::new();
    let mut queue: Vec<PathBuf> = programs.to_vec();
    let mut wanted: Vec<(PathBuf, String)> =
        libraries.iter().map(|name| (PathBuf::from("the initrd"), (*name).to_owned())).collect();
    loop {
        while let Some((needed_by, library)) = wanted.pop() {
            let (inside, file) =
                find(trees, &library).ok_or(ElfError::Missing { path: needed_by, library })?;
            if found.insert((inside, file.clone())) {
                queue.push(file);
            }
        }
        let Some(next) = queue.pop() else { return Ok(found) };
        wanted.extend(needed(&next)?.into_iter().map(|name| (next.clone(), name)));
    }
}

fn find(trees: &[&Path], library: &str) -> Option<(PathBuf, PathBuf)> {
    let name = library.rsplit('/').next().unwrap_or(library);
    trees.iter().flat_map(|tree| FOLDERS.iter().map(move |folder| (tree, folder))).find_map(
        |(tree, folder)| {
            let inside = Path::new(folder).join(name);
            let file = fs::canonicalize(tree.join(&inside)).ok()?;
            Some((inside, file))
        },
    )
}

/// `DT_NEEDED` and the interpreter of an ELF file; a script or anything else needs nothing.
fn needed(path: &Path) -> Result<Vec<String>, ElfError> {
    let bytes = fs::read(path).map_err(|source| ElfError::Read { path: path.into(), source })?;
    let Ok(file) = ElfFile64::<object::Endianness>::parse(bytes.as_slice()) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    if let Some(section) = file.section_by_name(".interp")
        && let Ok(data) = section.data()
    {
        names.push(String::from_utf8_lossy(data).trim_end_matches('\0').to_owned());
    }
    let strings = file.section_by_name(".dynstr").and_then(|section| section.data().ok()).unwrap_or_default();
    let dynamic =
        file.section_by_name(".dynamic").and_then(|section| section.data().ok()).unwrap_or_default();
    for pair in dynamic.chunks_exact(16) {
        let (tag, value) = pair.split_at(8);
        let number = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("half of 16 bytes is 8"));
        if number(tag) == u64::from(elf::DT_NEEDED)
            && let Some(name) = usize::try_from(number(value)).ok().and_then(|at| strings.get(at..))
        {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            names.push(String::from_utf8_lossy(&name[..end]).into_owned());
        }
    }
    Ok(names)
}
