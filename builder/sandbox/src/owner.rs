//! One owner for everything.
//!
//! An ordinary user has one user and one group inside the sandbox, so that giving a file to another one fails, and with
//! it every package with a group of its own. All our images say "root" for every file. So such calls do nothing and
//! succeed, for root outside as well: who builds must not show in what is built.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// chown(2) under all its names.
const CALLS: &[i64] = &[libc::SYS_chown, libc::SYS_fchown, libc::SYS_lchown, libc::SYS_fchownat];

/// The filter could not be made or was refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep programs from changing owners: {0}")]
pub struct OwnerError(#[from] seccompiler::Error);

fn filter() -> Result<BpfProgram, BackendError> {
    let rules: BTreeMap<i64, Vec<_>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let done = SeccompAction::Errno(0);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, done, arch)?.try_into()
}

/// Makes chown(2) do nothing, for this process and all that it starts.
///
/// # Errors
/// When the kernel has no seccomp filters.
pub fn keep_owners() -> Result<(), OwnerError> {
    let program = filter().map_err(seccompiler::Error::from)?;
    Ok(seccompiler::apply_filter(&program)?)
}
