//! PID 1 of the initrd: see the library for what it does and why.

use std::process::ExitCode;

use xenolith_init::{console, pid1};

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("xenolith-init: this is the first process of a Xenolith initrd and does nothing elsewhere");
        return ExitCode::from(2);
    }
    match pid1::run() {
        Ok(never) => match never {},
        Err(error) => {
            console::alarm(format_args!("this boot has failed: {}", error.line()));
            // The kernel panics when its first process ends, and `panic=10` then starts the machine again: the
            // loader has counted this try.
            ExitCode::FAILURE
        }
    }
}
