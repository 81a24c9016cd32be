//! One module for each command.

use std::io::Write as _;

pub mod answers;
pub mod bench;
pub mod build;
pub mod flash;
pub mod gc;
pub mod inspect;
pub mod iso;
pub mod keys;
pub mod lock;
pub mod path;
pub mod report;
pub mod run;
pub mod scratch;
pub mod serve;
pub mod setup;
pub mod verify;

/// Prints a result. Whoever reads it (a pager, `head`) may have seen enough and be gone, which is no error of ours.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
}
