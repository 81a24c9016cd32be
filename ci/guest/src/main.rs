//! The userland of the test guests: says what kind of guest it is, proves that its virtual hardware works, and ends.
//!
//! It runs as PID 1 of an initrd. Its words on the console are what scenarios wait for:
//!
//! ```text
//!   xenolith-testguest: up type=PVH memory=245MiB processors=1 disk=ok
//! ```

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use fs_err as fs;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

/// What a scenario writes at the start of the guest's disk.
const DISK_MARK: &[u8] = b"xenolith test disk\n";
const DISK: &str = "/dev/xvda";
/// Generous: an emulated machine is slow.
const DISK_DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("xenolith-testguest is the init of a test guest and does nothing elsewhere");
        return ExitCode::from(2);
    }
    for (kind, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        if let Err(error) = mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>) {
            println!("xenolith-testguest: cannot mount {place}: {error}");
        }
    }
    load("xen-blkfront");
    println!(
        "xenolith-testguest: up type={} memory={}MiB processors={} disk={}",
        read("/sys/hypervisor/guest_type"),
        memory().unwrap_or(0),
        processors(),
        disk()
    );
    let _ = std::io::stdout().flush();
    nix::unistd::sync();
    // Only returns if the kernel refuses; then PID 1 ends, the kernel panics, and the scenario sees that.
    let refused = reboot(RebootMode::RB_POWER_OFF);
    println!("xenolith-testguest: cannot power off: {refused:?}");
    ExitCode::FAILURE
}

/// Loads a kernel module; without it the disk is absent, which the report then says.
fn load(module: &str) {
    let loaded = std::process::Command::new("/usr/sbin/modprobe").arg(module).status();
    if !loaded.is_ok_and(|status| status.success()) {
        println!("xenolith-testguest: {module} is not loaded");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|error| format!("unknown({error})"), |text| text.trim().to_owned())
}

/// `MemTotal`, in MiB.
fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1024)
}

fn processors() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count()
}

/// Whether the paravirtual disk delivers what the host put there.
///
/// The device appears some time after its driver: waits for it by what the kernel says.
fn disk() -> String {
    let Some(mut device) = appeared(DISK) else { return "absent".into() };
    let mut mark = vec![0; DISK_MARK.len()];
    match device.read_exact(&mut mark) {
        Ok(()) if mark == DISK_MARK => "ok".into(),
        Ok(()) => "wrong".into(),
        Err(error) => format!("unreadable({error})"),
    }
}

/// Opens a device as soon as it is there.
fn appeared(path: &str) -> Option<fs::File> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use std::os::fd::AsFd as _;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
    inotify.add_watch("/dev", AddWatchFlags::IN_CREATE).ok()?;
    let end = std::time::Instant::now() + DISK_DEADLINE;
    loop {
        if let Ok(file) = fs::File::open(path) {
            return Some(file);
        }
        if std::time::Instant::now() > end {
            return None;
        }
        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(u8::MAX)).ok()?;
        let _ = inotify.read_events();
    }
}
