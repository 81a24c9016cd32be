//! `xenolith-status`: the state of the host, for people, programs, the health gate and the screen.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use xenolith_status::{Address, Host, Installed, Report, Xen, console, gather, ready, text};

/// How often the screen looks whether the host got another address, which costs nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often it asks systemd, device-mapper and the hypervisor, which costs a slow host seconds.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// A key for root, without which sshd does not start.
const SSH_KEYS: &str = "etc/ssh/authorized_keys.d/root";

/// Show which image runs, where it came from, and whether the host is fit to stay
///
/// Exit codes: 0 done, 2 usage, 9 the health gate does not pass (with --check), 70 a fault of this program.
#[derive(Debug, Parser)]
#[command(name = "xenolith-status", version)]
struct Args {
    /// Print the report as JSON (the field "schema" counts its form)
    #[arg(long, group = "form")]
    json: bool,
    /// Say nothing if the health gate passes; else say why it does not, and exit with 9
    #[arg(long, group = "form")]
    check: bool,
    /// Print the one line that says the host is ready
    #[arg(long, group = "form")]
    ready: bool,
    /// Show a screen that is drawn again when something changes
    #[arg(long, group = "form")]
    console: bool,
    /// Look at the host below this folder
    #[arg(long, default_value = "/", hide = true)]
    root: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        // Whoever reads along has gone: nobody is left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the state of the host was not shown: {error}");
            ExitCode::from(70)
        }
    }
}

fn run(args: &Args) -> io::Result<ExitCode> {
    if args.console {
        return show(&args.root);
    }
    let report = look(&args.root);
    let mut out = io::stdout().lock();
    if args.check {
        for problem in &report.health.problems {
            eprintln!("problem: {problem}");
        }
        for unread in report.unread.iter().filter(|_| !report.health.good) {
            eprintln!("not read: {}: {}", unread.fact, unread.because);
        }
        return Ok(if report.health.good { ExitCode::SUCCESS } else { ExitCode::from(9) });
    }
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else if args.ready {
        writeln!(out, "{}", ready(&report))?;
    } else {
        write!(out, "{}", text(&report))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn look(root: &Path) -> Report {
    gather(&Host { root, programs: &Installed }, ask_libxl())
}

#[cfg(feature = "libxl")]
#[allow(clippy::unnecessary_wraps, reason = "None is the answer without the feature")]
fn ask_libxl() -> Option<Result<Xen, String>> {
    use xenolith_libxl_sys::{Libxl, LibxlError};
    let ask = || -> Result<Xen, LibxlError> {
        let libxl = Libxl::open()?;
        let (version, machine) = (libxl.version()?, libxl.machine()?);
        Ok(Xen {
            version: version.version,
            compiled_by: Some(version.compiled_by),
            compiler: Some(version.compiler),
            build_id: Some(version.build_id),
            command_line: Some(version.command_line),
            total_memory: Some(machine.total_memory),
            free_memory: Some(machine.free_memory),
            domains: u32::try_from(libxl.domains()?.len()).ok(),
        })
    };
    Some(ask().map_err(|error| error.to_string()))
}

#[cfg(not(feature = "libxl"))]
fn ask_libxl() -> Option<Result<Xen, String>> {
    None
}

/// Draws the screen whenever it differs from the one that is shown, for ever.
fn show(root: &Path) -> io::Result<ExitCode> {
    // systemd sets TERM=linux on a virtual terminal; a serial line is not cleared, so that its log stays readable.
    let clear =
        if std::env::var_os("TERM").is_some_and(|term| term == "linux") { "\x1b[H\x1b[2J" } else { "" };
    let mut shown = String::new();
    let mut asked: Option<(Instant, Vec<Address>)> = None;
    loop {
        let addresses = addresses();
        let fresh = asked.as_ref().is_some_and(|(when, of)| when.elapsed() < ASK_AGAIN && *of == addresses);
        if fresh {
            #[allow(
                clippy::disallowed_methods,
                reason = "a screen for people; no event tells of all that it shows"
            )]
            std::thread::sleep(LOOK_AGAIN);
            continue;
        }
        let host_name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        let ssh = fs_err::metadata(root.join(SSH_KEYS)).is_ok_and(|keys| keys.len() > 0);
        let name = host_name.unwrap_or_else(|_| "a host without a name".to_owned());
        let screen = console(&look(root), &name, &addresses, ssh);
        if screen != shown {
            let mut out = io::stdout().lock();
            write!(out, "{clear}{screen}")?;
            out.flush()?;
            shown = screen;
        }
        asked = Some((Instant::now(), addresses));
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
