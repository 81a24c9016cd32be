//! The screen on a console: the state of the host, and what Enter does there.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use xenolith_firstboot::{SHADOW, SSH_KEYS};
use xenolith_status::{Address, Doors, OnEnter, console, on_enter};

use crate::look;

/// How often the screen looks whether the host got another address, which costs nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often it asks systemd, device-mapper and the hypervisor, which costs a slow host seconds.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// How long an error of the installer stays where nobody presses a key.
const TIME_TO_READ: Duration = Duration::from_secs(120);
const LOGIN: &str = "/usr/bin/login";
const INSTALLER: &str = "/usr/bin/xenolith-install";

/// Draws the screen whenever it differs from the one that is shown, until somebody presses Enter.
pub fn show(root: &Path) -> io::Result<ExitCode> {
    // systemd sets TERM=linux on a virtual terminal; a serial line is not cleared, so that its log stays readable.
    let clear =
        if std::env::var_os("TERM").is_some_and(|term| term == "linux") { "\x1b[H\x1b[2J" } else { "" };
    let mut shown = String::new();
    let mut asked: Option<(Instant, Vec<Address>)> = None;
    let mut enter = OnEnter::Nothing;
    loop {
        let addresses = addresses();
        let fresh = asked.as_ref().is_some_and(|(when, of)| when.elapsed() < ASK_AGAIN && *of == addresses);
        if fresh {
            if enter_within(LOOK_AGAIN)? {
                match enter {
                    OnEnter::Nothing => {}
                    // In this process's place: login takes the terminal over, and systemd starts the screen again after it.
                    OnEnter::Login => return Err(Command::new(LOGIN).args(["-p", "root"]).exec()),
                    OnEnter::Install => install()?,
                }
                // Whatever was there has written over it.
                shown.clear();
                asked = None;
            }
            continue;
        }
        let host_name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        let name = host_name.unwrap_or_else(|_| "a host without a name".to_owned());
        let (report, doors) = (look(root), doors(root));
        enter = on_enter(&report, doors);
        let screen = console(&report, &name, &addresses, doors);
        if screen != shown {
            let mut out = io::stdout().lock();
            write!(out, "{clear}{screen}")?;
            out.flush()?;
            shown = screen;
        }
        asked = Some((Instant::now(), addresses));
    }
}

fn doors(root: &Path) -> Doors {
    let shadow = fs_err::read_to_string(root.join(SHADOW)).unwrap_or_default();
    // shadow(5): what begins otherwise can be no hash.
    let password = shadow.lines().any(|line| line.starts_with("root:$"));
    Doors { ssh: fs_err::metadata(root.join(SSH_KEYS)).is_ok_and(|keys| keys.len() > 0), password }
}

/// Whether Enter is pressed before the time is over. What else is typed is not shown and means nothing.
fn enter_within(time: Duration) -> io::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        #[allow(
            clippy::disallowed_methods,
            reason = "a screen that nobody can answer; no event tells of all that it shows"
        )]
        std::thread::sleep(time);
        return Ok(false);
    }
    let _quiet = Quiet::new()?;
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    let mut wanted = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    if poll(&mut wanted, timeout)? == 0 {
        return Ok(false);
    }
    let mut bytes = [0; 64];
    let count = stdin.lock().read(&mut bytes)?;
    if count == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the terminal has hung up"));
    }
    Ok(bytes[..count].iter().any(|byte| matches!(byte, b'\r' | b'\n')))
}

/// The installer on this terminal, until it ends.
fn install() -> io::Result<()> {
    // What it says on the way out is for whoever stands here, not for the journal.
    let errors = io::stdout().as_fd().try_clone_to_owned()?;
    let ended = Command::new(INSTALLER).stderr(errors).status()?;
    if !ended.success() {
        println!("\nThe installer ended with {ended}. Press Enter to go on.");
        enter_within(TIME_TO_READ)?;
    }
    Ok(())
}

/// A terminal that shows nothing of what is typed and gives it at once, as long as this is kept.
struct Quiet(Termios);

impl Quiet {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that has gone needs no tidying.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// The addresses by which the host can be reached from outside.
fn addresses() -> Vec<Address> {
    use std::net::IpAddr;
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let ip = |address: &nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
        match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(v4.ip().into()),
            (None, Some(v6)) if !v6.ip().is_unicast_link_local() => Some(v6.ip().into()),
            (None, _) => None,
        }
    };
    let mut addresses: Vec<Address> = all
        .filter_map(|one| Some(Address { ip: ip(&one.address?)?, interface: one.interface_name }))
        .filter(|address| !address.ip.is_loopback())
        .collect();
    addresses.sort_by(|one, other| (one.ip, &one.interface).cmp(&(other.ip, &other.interface)));
    addresses
}
