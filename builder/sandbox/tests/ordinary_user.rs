//! A program in a sandbox that was started by an ordinary user. Without the test harness, since this program has to become the sandbox.
#![allow(clippy::unwrap_used)]

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode},
};

use xenolith_sandbox::{Sandbox, Tool};

/// Nobody's number, and that of nobody's group.
const NOBODY: u32 = 65534;
/// What programs do with devices. A device is opened for writing as shells do: with `O_CREAT`, which the kernel refuses on other
/// people's files in a folder that anybody may write to.
const SCRIPT: &str = "set -e; echo x > /dev/null; head -c 3 /dev/zero > /dev/full && exit 1; \
    test \"$(stat -c %a /dev)\" = 755; test \"$(id -u)\" = 0; ! test -e /sys/kernel; echo good";

fn main() -> ExitCode {
    if let Some(code) = xenolith_sandbox::enter_if_asked() {
        return code;
    }
    if nix::unistd::geteuid().is_root() {
        // Where only this user may look, nobody else can start from: the link goes past the folders.
        let mut again = Command::new("/proc/self/exe");
        let ended = again.uid(NOBODY).gid(NOBODY).current_dir("/").env("HOME", "/").status().unwrap();
        assert!(ended.success(), "as an ordinary user: {ended}");
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    // The host's own programs: any tree will do.
    let ran = Sandbox::new(Path::new("/")).run(Tool::Sh, ["-c", SCRIPT], &log);
    let said = fs_err::read_to_string(&log).unwrap_or_default();
    match ran {
        Ok(()) => assert!(said.contains("good"), "{said}"),
        Err(error) if said.contains("user namespace") => {
            println!("skipped: {error}\n{said}\ntest result: ok. 0 passed; 0 failed; 1 ignored");
            return ExitCode::SUCCESS;
        }
        Err(error) => panic!("{error:?}\n{said}"),
    }
    println!("test result: ok. 1 passed; 0 failed; as user {}", nix::unistd::geteuid());
    ExitCode::SUCCESS
}
