//! Copying files that are mostly holes.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use fs_err as fs;
use nix::{
    errno::Errno,
    unistd::{Whence, lseek64},
};

/// Copies `from` to `to`, leaving holes where `from` has holes; `to` appears under its name only when it is whole.
///
/// # Errors
/// As the file system says; `to` is then as it was.
pub fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut source = fs::File::open(from)?;
    let mut target = tempfile::Builder::new().prefix(".copying-").tempfile_in(folder)?;
    let length = source.metadata()?.len();
    target.as_file().set_len(length)?;
    let mut at: i64 = 0;
    loop {
        let start = match lseek64(source.file(), at, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = lseek64(source.file(), start, Whence::SeekHole)?;
        source.seek(SeekFrom::Start(start.cast_unsigned()))?;
        target.seek(SeekFrom::Start(start.cast_unsigned()))?;
        io::copy(&mut (&mut source).take((end - start).cast_unsigned()), &mut target)?;
        at = end;
    }
    target.flush()?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    target.as_file().set_permissions(mode)?;
    target.persist(to).map_err(|error| error.error)?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_bytes_and_keeps_holes() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("below/to"));
        let mut file = fs::File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.seek(SeekFrom::Start(5 << 20)).unwrap();
        file.write_all(b"data").unwrap();
        drop(file);
        assert_eq!(copy(&from, &to).unwrap(), 64 << 20);
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 8 << 20);
    }
}
