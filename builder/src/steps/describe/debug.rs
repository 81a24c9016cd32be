//! The debug symbols of the Xen that was compiled here, in one archive.
//!
//! ```text
//!   usr/lib/debug/.build-id/xx/yyyy.debug   the tools, where gdb looks by itself
//!   usr/lib/debug/<path>.debug              programs without a build id (hvmloader)
//!   usr/lib/debug/xen/xen-syms, *.map, …    the hypervisor, for crash dumps and `addr2line`
//! ```

use std::path::{Path, PathBuf};

use fs_err as fs;
use xenolith_assemble::rootfs::{Content, Tree};
use xenolith_store::StepContext;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The file in the step's output.
pub const FILE: &str = "debug.tar.zst";
const PLACE: &str = "usr/lib/debug";
/// Most of it is compressed already.
const LEVEL: i32 = 9;

/// Makes the archive: sorted, owned by root, with one time, whatever machine it is made on.
///
/// # Errors
/// When a file cannot be read or written.
pub fn archive(context: &StepContext) -> Result<(), Failed> {
    let mut tree = Tree::default();
    add(&mut tree, &context.input("xen-hypervisor").join("debug"), &Path::new(PLACE).join("xen"))?;
    add(&mut tree, &context.input("xen-tools").join("debug"), Path::new(PLACE))?;
    let mut out = zstd::Encoder::new(fs::File::create(context.out().join(FILE))?, LEVEL)?;
    // One worker or many give the same bytes; none gives others.
    out.multithread(u32::try_from(context.jobs().max(1))?)?;
    out.include_checksum(true)?;
    tree.write_tar(&mut out)?;
    out.finish()?;
    Ok(())
}

fn add(tree: &mut Tree, from: &Path, to: &Path) -> Result<(), Failed> {
    for entry in walkdir::WalkDir::new(from).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            let below: PathBuf = to.join(entry.path().strip_prefix(from)?);
            tree.put("debug", below, Content::File(entry.path().into()), 0o644)?;
        }
    }
    Ok(())
}
