//! Stage 1 and 2: from a plain process to a program that sees only its tree.

use std::{
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus},
};

use fs_err as fs;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal, stat::Mode, wait},
    unistd,
};

use crate::owner::{OwnerError, keep_owners};
use crate::spec::{Network, SELF, SPEC_VARIABLE, STAGE_VARIABLE, Spec};

/// Where the new root is put together. Any folder that every Linux has will do: it is covered only inside.
const NEW_ROOT: &str = "/mnt";
/// Folders that are fresh inside instead of coming from the tree.
const FRESH: &[&str] = &["dev", "proc", "sys", "tmp", "run", "var", "root", "home", "mnt", "srv", "opt"];
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Becomes a sandbox if the builder asked this process to be one; otherwise returns at once.
///
/// Every binary that uses [`crate::Sandbox`] calls this first in `main`, before any thread exists.
pub fn enter_if_asked() -> Option<ExitCode> {
    let file = std::env::var_os(SPEC_VARIABLE)?;
    let stage = std::env::var(STAGE_VARIABLE).unwrap_or_default();
    let entered = match stage.as_str() {
        "1" => stage_1(Path::new(&file)),
        _ => stage_2(),
    };
    Some(match entered {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("sandbox: {error}");
            ExitCode::from(125)
        }
    })
}

#[derive(Debug, thiserror::Error)]
enum EnterError {
    #[error("the kernel does not allow {what}: {source}{}", hint())]
    Forbidden { what: &'static str, source: nix::Error },
    #[error("cannot mount {what} at {}: {source}", at.display())]
    Mount { what: String, at: PathBuf, source: nix::Error },
    #[error("{0}")]
    Io(#[source] io::Error),
    #[error("cannot read the sandbox specification: {0}")]
    Spec(#[source] serde_json::Error),
    #[error("{0}")]
    System(#[source] nix::Error),
    #[error(transparent)]
    Owners(#[from] OwnerError),
    #[error("cannot start {program}: {source}")]
    Exec { program: String, source: io::Error },
}

/// Names the setting that stands in the way, where one is known.
fn hint() -> String {
    let settings = [
        ("kernel.unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("user.max_user_namespaces", "/proc/sys/user/max_user_namespaces", "0"),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
        ),
    ];
    for (name, file, bad) in settings {
        if fs::read_to_string(file).is_ok_and(|value| value.trim() == bad) {
            let good = if bad == "0" { "1 (or higher)" } else { "0" };
            return format!("\nhint: {name} is {bad}; set it to {good}, or build as root");
        }
    }
    "\nhint: in a container, give it CAP_SYS_ADMIN and an unmasked /proc; on a host, build as root".into()
}

fn stage_1(file: &Path) -> Result<u8, EnterError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(EnterError::System)?;
    let text = fs::read_to_string(file).map_err(EnterError::Io)?;
    let spec: Spec = serde_json::from_str(&text).map_err(EnterError::Spec)?;
    let (uid, gid) = (unistd::getuid(), unistd::getgid());
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if spec.network == Network::None {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    let forbidden = |what| move |source| EnterError::Forbidden { what, source };
    let privileged = uid.is_root() && unshare(flags).is_ok();
    if !privileged {
        unshare(CloneFlags::CLONE_NEWUSER).map_err(forbidden("user namespaces"))?;
        fs::write("/proc/self/setgroups", "deny").map_err(EnterError::Io)?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(EnterError::Io)?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(EnterError::Io)?;
        unshare(flags).map_err(forbidden("mount and process namespaces"))?;
    }
    // The next child is PID 1 of the new process namespace. It gets the specification by value: the
    // builder's temporary folder may be out of sight by then.
    let status = Command::new(SELF)
        .env_clear()
        .env(SPEC_VARIABLE, &text)
        .env(STAGE_VARIABLE, "2")
        .status()
        .map_err(EnterError::Io)?;
    Ok(code_of(status))
}

fn stage_2() -> Result<u8, EnterError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(EnterError::System)?;
    let text = std::env::var(SPEC_VARIABLE).unwrap_or_default();
    let spec: Spec = serde_json::from_str(&text).map_err(EnterError::Spec)?;
    build_root(&spec)?;
    nix::sys::stat::umask(Mode::S_IWGRP | Mode::S_IWOTH);
    unistd::sethostname("build").map_err(EnterError::System)?;
    keep_owners()?;
    let (program, args) = spec.argv.split_first().expect("Sandbox::command puts the program first");
    let child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(&spec.env)
        .current_dir(&spec.cwd)
        .process_group(0)
        .spawn()
        .map_err(|source| EnterError::Exec { program: program.to_string_lossy().into_owned(), source })?;
    reap(unistd::Pid::from_raw(child.id().cast_signed()))
}

/// Waits for the program, and for every orphan that PID 1 inherits meanwhile.
fn reap(program: unistd::Pid) -> Result<u8, EnterError> {
    loop {
        match wait::wait() {
            Ok(wait::WaitStatus::Exited(pid, code)) if pid == program => {
                return Ok(u8::try_from(code).unwrap_or(1));
            }
            Ok(wait::WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                return Ok(128 + u8::try_from(signal as i32).unwrap_or(0));
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(EnterError::System(error)),
        }
    }
}

fn code_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(137)
}

fn build_root(spec: &Spec) -> Result<(), EnterError> {
    let root = Path::new(NEW_ROOT);
    attach(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    // Sources are opened before the tmpfs covers NEW_ROOT, in case one lies below it.
    attach(Some("tmpfs"), root, Some("tmpfs"), MsFlags::empty())?;
    for entry in fs::read_dir(&spec.tree).map_err(EnterError::Io)? {
        let entry = entry.map_err(EnterError::Io)?;
        let (source, target) = (entry.path(), root.join(entry.file_name()));
        if FRESH.iter().any(|fresh| entry.file_name() == *fresh) {
            continue;
        }
        if entry.file_type().map_err(EnterError::Io)?.is_symlink() {
            let place = fs::read_link(&source).map_err(EnterError::Io)?;
            fs::os::unix::fs::symlink(place, &target).map_err(EnterError::Io)?;
        } else {
            bind(&source, &target, false)?;
        }
    }
    for fresh in FRESH {
        fs::create_dir_all(root.join(fresh)).map_err(EnterError::Io)?;
    }
    fs::create_dir_all(root.join("var/tmp")).map_err(EnterError::Io)?;
    fs::create_dir_all(root.join("var/lib/dpkg")).map_err(EnterError::Io)?;
    attach(Some("tmpfs"), &root.join("tmp"), Some("tmpfs"), MsFlags::empty())?;
    attach(Some("tmpfs"), &root.join("run"), Some("tmpfs"), MsFlags::empty())?;
    devices(&root.join("dev"))?;
    attach(Some("proc"), &root.join("proc"), Some("proc"), MsFlags::empty())?;
    for item in &spec.binds {
        if item.optional && !item.source.exists() {
            continue;
        }
        let inside = item.target.strip_prefix("/").unwrap_or(&item.target);
        bind(&item.source, &root.join(inside), item.writable)?;
    }
    unistd::chdir(root).map_err(EnterError::System)?;
    unistd::pivot_root(".", ".").map_err(EnterError::System)?;
    umount2(".", MntFlags::MNT_DETACH).map_err(EnterError::System)?;
    unistd::chdir("/").map_err(EnterError::System)
}

fn devices(dev: &Path) -> Result<(), EnterError> {
    // Not the usual 1777: in a sticky folder that anybody may write to, the kernel refuses to open for O_CREAT, as shells do for
    // `> /dev/null`, what belongs to somebody else; and to an ordinary user's namespace the host's devices do (fs/namei.c,
    // may_create_in_sticky).
    attach_with(Some("tmpfs"), dev, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    for name in DEVICES {
        bind(&Path::new("/dev").join(name), &dev.join(name), true)?;
    }
    for (link, place) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        fs::os::unix::fs::symlink(place, dev.join(link)).map_err(EnterError::Io)?;
    }
    fs::create_dir_all(dev.join("shm")).map_err(EnterError::Io)?;
    attach(Some("tmpfs"), &dev.join("shm"), Some("tmpfs"), MsFlags::empty())?;
    fs::create_dir_all(dev.join("pts")).map_err(EnterError::Io)?;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    attach_with(Some("devpts"), &dev.join("pts"), Some("devpts"), MsFlags::empty(), Some(options))?;
    fs::os::unix::fs::symlink("pts/ptmx", dev.join("ptmx")).map_err(EnterError::Io)
}

/// Binds a file or a folder, making the place for it. In a user namespace a read-only remount must keep the
/// flags that the host locked on the source, so it is tried with them as well.
fn bind(source: &Path, target: &Path, writable: bool) -> Result<(), EnterError> {
    let is_dir = fs::metadata(source).map_err(EnterError::Io)?.is_dir();
    if is_dir {
        fs::create_dir_all(target).map_err(EnterError::Io)?;
    } else if !target.exists() {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(EnterError::Io)?;
        }
        fs::write(target, "").map_err(EnterError::Io)?;
    }
    attach(source.to_str(), target, None, MsFlags::MS_BIND | MsFlags::MS_REC)?;
    if writable {
        return Ok(());
    }
    let readonly = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    let locked = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    attach(None, target, None, readonly)
        .or_else(|_| attach(None, target, None, readonly | locked))
        .or_else(|_| attach(None, target, None, readonly | locked | MsFlags::MS_NOEXEC))
}

fn attach(what: Option<&str>, at: &Path, kind: Option<&str>, flags: MsFlags) -> Result<(), EnterError> {
    attach_with(what, at, kind, flags, None)
}

/// With options of the file system.
fn attach_with(
    what: Option<&str>,
    at: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), EnterError> {
    mount(what, at, kind, flags, options).map_err(|source| EnterError::Mount {
        what: what.unwrap_or("nothing new").into(),
        at: at.into(),
        source,
    })
}
