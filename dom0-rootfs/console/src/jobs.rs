//! What the console does for whoever has logged in, on threads of its own, so that keys are always heard.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::SystemTime;

use anyhow::Context as _;
use fs_err as fs;
use xenolith_console::{
    Action, Edit, Installed, Known, Look, Page, Programs as _, Read, Secret, SshService, TRIAL, Tool, clean,
    guests, ping::ping, stick, support,
};
use xenolith_firstboot::{
    Amend, Facts, KEYMAPS, Paths, SSH_KEYS, ThisHost, amend, common_keyboards, current_settings, is_screen,
    keep, load_keyboard, settle, time_zones, try_network,
};
use xenolith_machine::{Machine, lsblk::COLUMNS};
use xenolith_settings::{Network, Settings, SshKey};

const SSH: &str = "ssh.service";
/// Takes the network back if the console does not. It has to have had its chance first.
const REVERT_UNIT: &str = "xenolith-network-revert";
const REVERT_AFTER: std::time::Duration = TRIAL.saturating_add(std::time::Duration::from_secs(10));
/// So many lines of a log are shown.
const LOG_LINES: &str = "--lines=5000";
/// Logs that are offered besides those of units that failed.
const LOGS: &[&str] = &["everything", "errors", "kernel"];
const UNITS: &[&str] = &[
    "xenolith-firstboot.service",
    "xenolith-firstboot-late.service",
    "xenolith-health.service",
    "systemd-networkd.service",
    "chrony.service",
    "ssh.service",
    "xenstored.service",
    "xenconsoled.service",
];

/// What a thread says.
pub enum Told {
    /// The state of the host.
    Look(Box<Look>),
    /// Whether the password was right.
    Login(Result<bool, String>),
    /// What may be changed.
    Known(Box<Known>),
    /// What a page shows.
    Page(Page, Vec<String>),
    /// A log.
    Log(String, Vec<String>),
    /// What came of an action.
    Done(Box<Action>, Result<Vec<String>, String>),
}

/// Starts a job. Whoever listens has gone only if the program is ending.
pub fn start(tell: &Sender<Told>, job: impl FnOnce() -> Told + Send + 'static) {
    let tell = tell.clone();
    std::thread::spawn(move || drop(tell.send(job())));
}

/// Checks root's password.
pub fn check(password: &Secret) -> Told {
    let right = Installed.is_roots_password(password.text());
    match &right {
        Ok(true) => eprintln!("root has logged in at the console"),
        Ok(false) => eprintln!("warning: a wrong password for root at the console"),
        Err(error) => eprintln!("error: root's password was not checked: {error}"),
    }
    Told::Login(right.map_err(|error| error.to_string()))
}

/// Reads something.
pub fn read(read: Read) -> Told {
    match read {
        Read::Everything => Told::Known(Box::new(known())),
        Read::Page(page) => Told::Page(page, page_lines(page)),
        Read::Log { unit, boots_ago } => log(&unit, boots_ago),
    }
}

fn paths() -> Paths {
    Paths::of(Path::new("/"))
}

fn known() -> Known {
    let (root, paths) = (Path::new("/"), paths());
    let settings = current_settings(&paths.state).unwrap_or_else(|error| {
        eprintln!("warning: the settings of this host cannot be read: {error:#}");
        unset()
    });
    let capture = xenolith_probe::outside(root);
    let nics = capture.map(|capture| Machine::of(&capture).nics).unwrap_or_default();
    let mut keyboards: Vec<(String, String)> =
        common_keyboards(root).into_iter().map(|(name, label)| (name.to_owned(), label.to_owned())).collect();
    let own = settings.host.keyboard.clone();
    if let Some(own) = own.filter(|own| keyboards.iter().all(|(name, _)| name != own)) {
        keyboards.push((own, format!("another one of /{KEYMAPS}")));
    }
    let ssh = SshService {
        runs: Installed.run(Tool::Systemctl, &["is-active", "--quiet", SSH]).is_ok(),
        wanted: !is_masked(),
        keys: keys().len(),
    };
    Known {
        settings,
        nics,
        keyboards,
        zones: time_zones(root),
        ssh,
        guests: Installed.run(Tool::Xl, &["list"]).ok().map(|said| guests(&said)),
        units: units(),
    }
}

/// Those that failed come first: it is their logs that somebody looks for.
fn units() -> Vec<String> {
    let args = ["--failed", "--plain", "--no-legend", "--no-pager"];
    let failed = Installed.run(Tool::Systemctl, &args).unwrap_or_default();
    let mut units: Vec<String> = LOGS.iter().map(|log| (*log).to_owned()).collect();
    units.extend(clean(&failed).iter().filter_map(|line| line.split_whitespace().next()).map(str::to_owned));
    for unit in UNITS {
        if !units.iter().any(|known| known == unit) {
            units.push((*unit).to_owned());
        }
    }
    units
}

/// Of a host that was told nothing.
fn unset() -> Settings {
    Settings {
        version: xenolith_settings::VERSION,
        host: xenolith_settings::Host::default(),
        network: Network::default(),
        access: xenolith_settings::Access::default(),
        storage: None,
        pool: None,
    }
}

/// `systemctl mask` links a unit to nothing.
fn is_masked() -> bool {
    fs::read_link(Path::new("/etc/systemd/system").join(SSH))
        .is_ok_and(|target| target == Path::new("/dev/null"))
}

/// The keys that are let in, as they stand in sshd's file.
fn keys() -> Vec<String> {
    let text = fs::read_to_string(Path::new("/").join(SSH_KEYS)).unwrap_or_default();
    text.lines().filter_map(|line| Some(SshKey::new(line).ok()?.line().to_owned())).collect()
}

fn page_lines(page: Page) -> Vec<String> {
    let programs: &[(&str, Tool, &[&str])] = match page {
        Page::Network => &[
            ("Addresses", Tool::Ip, &["-brief", "address", "show"]),
            ("Routers", Tool::Ip, &["route", "show", "default"]),
            ("Name servers", Tool::Resolvectl, &["--no-pager", "dns"]),
        ],
        Page::Storage => &[
            ("Disks", Tool::Lsblk, &["--output", "NAME,SIZE,TYPE,FSTYPE,MOUNTPOINTS"]),
            ("Volume groups", Tool::Vgs, &["--options", "vg_name,vg_size,vg_free,pv_count"]),
        ],
        _ => &[],
    };
    let mut lines = Vec::new();
    for (title, tool, args) in programs {
        lines.push((*title).to_owned());
        let said = Installed.run(*tool, args).unwrap_or_else(|error| error.to_string());
        let said = clean(&said);
        if said.is_empty() {
            lines.push("  none".to_owned());
        }
        lines.extend(said.iter().map(|line| format!("  {}", line.trim_end())));
        lines.push(String::new());
    }
    if page == Page::Storage {
        let mdstat = fs::read_to_string("/proc/mdstat").unwrap_or_default();
        lines.push("Mirrors".to_owned());
        lines.extend(clean(&mdstat).iter().map(|line| format!("  {}", line.trim_end())));
        let record = xenolith_firstboot::storage::StorageRecord::read(Path::new("/"));
        lines.push("Local storage for guests".to_owned());
        lines.push(match record {
            Ok(Some(record)) => format!("  {} ({}), {}", record.name, record.kind, record.uuid),
            Ok(None) => "  none; SRs of other kinds come with the toolstack".to_owned(),
            Err(error) => format!("  not read: {error}"),
        });
    }
    lines
}

fn log(unit: &str, boots_ago: usize) -> Told {
    let boot = if boots_ago == 0 { "--boot=0" } else { "--boot=-1" };
    let mut args = vec![boot, "--no-pager", "--output=short", LOG_LINES];
    let unit_arg = format!("--unit={unit}");
    match unit {
        "everything" => {}
        "errors" => args.push("--priority=err"),
        "kernel" => args.push("--dmesg"),
        _ => args.push(&unit_arg),
    }
    let lines = match Installed.run(Tool::Journalctl, &args) {
        Ok(said) => clean(&said),
        Err(error) if boots_ago > 0 => {
            vec!["There is no journal of the boot before.".to_owned(), error.to_string()]
        }
        Err(error) => vec![error.to_string()],
    };
    Told::Log(unit.to_owned(), lines)
}

/// Does something, and says what came of it. `terminal` is the one that the console is on.
pub fn act(action: Action, terminal: &Path) -> Told {
    eprintln!("at the console: {}", in_words(&action));
    let came = perform(&action, terminal).map_err(|error| {
        eprintln!("error: at the console: {}: {error:#}", in_words(&action));
        format!("{error:#}")
    });
    Told::Done(Box::new(action), came)
}

/// For the journal: no value, since one of them is a password.
fn in_words(action: &Action) -> &'static str {
    match action {
        Action::TryNetwork(_) => "a network is tried",
        Action::KeepNetwork => "the network that was tried is kept",
        Action::RevertNetwork => "the network that was tried is taken back",
        Action::ResetNetwork => "the network is reset",
        Action::Test { .. } => "the network is tested",
        Action::Edit(Edit::Network { .. }) => "the network is changed",
        Action::Edit(Edit::Names { .. }) => "name and name servers are changed",
        Action::Edit(Edit::Clock { .. }) => "the clock is changed",
        Action::Edit(Edit::Keyboard(_)) => "the keyboard is changed",
        Action::Edit(Edit::Password(_)) => "root's password is changed",
        Action::Edit(Edit::SshKey(_)) => "a key is let in",
        Action::Ssh(true) => "SSH is switched on",
        Action::Ssh(false) => "SSH is switched off",
        Action::Retry => "first boot tries again",
        Action::Archive => "a support archive is written",
        Action::Restart => "the host is restarted",
        Action::PowerOff => "the host is switched off",
    }
}

fn perform(action: &Action, terminal: &Path) -> anyhow::Result<Vec<String>> {
    let paths = paths();
    let mut tell = |line: &str| eprintln!("{line}");
    match action {
        Action::TryNetwork(edit) => {
            let mut settings =
                current_settings(&paths.state).context("the settings of this host cannot be read")?;
            edit.apply(&mut settings, None, &[]);
            let facts = Facts::of(&paths.root)?;
            // The timer first: from then on the network comes back whatever becomes of this program.
            stop_timer();
            let after = format!("--on-active={}s", REVERT_AFTER.as_secs());
            let unit = format!("--unit={REVERT_UNIT}");
            let args = ["--quiet", "--collect", &unit, &after, "--timer-property=AccuracySec=1s"];
            let command = ["/usr/bin/xenolith-firstboot", "revert-network"];
            Installed
                .run(Tool::SystemdRun, &[&args[..], &command[..]].concat())
                .context("the network is not tried, since nothing would take it back")?;
            if let Err(error) = try_network(&settings, &facts, &paths, &mut ThisHost, &mut tell) {
                stop_timer();
                return Err(error.into());
            }
            Ok(Vec::new())
        }
        Action::KeepNetwork => {
            keep(&paths, &mut ThisHost)?;
            stop_timer();
            Ok(vec!["The network stays so, also after a restart.".to_owned()])
        }
        Action::RevertNetwork => {
            settle(&paths, &mut ThisHost, &mut tell)?;
            stop_timer();
            Ok(vec!["The network is as it was.".to_owned()])
        }
        Action::ResetNetwork => {
            settle(&paths, &mut ThisHost, &mut tell)?;
            stop_timer();
            let edit = Edit::Network { network: Network::default(), name_servers: Vec::new() };
            amended(&edit, &paths)?;
            Ok(vec!["Every interface asks for an address.".to_owned()])
        }
        Action::Test { target, name } => Ok(test(target, name)),
        Action::Edit(edit) => {
            amended(edit, &paths)?;
            after(edit, terminal)
        }
        Action::Ssh(on) => ssh(*on),
        Action::Retry => {
            Installed
                .run(Tool::FirstBoot, &["retry"])
                .context("not everything is done; the page says why")?;
            Ok(vec!["Everything is done.".to_owned()])
        }
        Action::Archive => archive(),
        Action::Restart => {
            Installed.run(Tool::Systemctl, &["reboot"]).map(|_| Vec::new()).map_err(Into::into)
        }
        Action::PowerOff => {
            Installed.run(Tool::Systemctl, &["poweroff"]).map(|_| Vec::new()).map_err(Into::into)
        }
    }
}

fn stop_timer() {
    // One that is not there has stopped.
    let timer = format!("{REVERT_UNIT}.timer");
    let _ = Installed.run(Tool::Systemctl, &["stop", &timer]);
}

fn amended(edit: &Edit, paths: &Paths) -> anyhow::Result<()> {
    let hash = match edit {
        Edit::Password(password) => {
            Some(xenolith_answers::hash_password(password.text()).context("no salt can be drawn")?)
        }
        _ => None,
    };
    let of = Amend { facts: &Facts::of(&paths.root)?, paths, tasks: edit.tasks() };
    let change = |settings: &mut Settings| edit.apply(settings, hash, &keys());
    Ok(amend(&of, change, &mut ThisHost, &mut |line| eprintln!("{line}"))?)
}

/// What a change needs besides first boot's own tasks, while the host runs.
fn after(edit: &Edit, terminal: &Path) -> anyhow::Result<Vec<String>> {
    Ok(match edit {
        Edit::Keyboard(name) if is_screen(terminal) => {
            load_keyboard(name, terminal).context("it is set for the next start, but not loaded now")?;
            vec!["It is loaded, and will be at every start.".to_owned()]
        }
        Edit::Keyboard(_) => {
            vec!["The machine's own screens have it. This terminal keeps its own.".to_owned()]
        }
        Edit::Names { .. } => vec![
            "It is done. The host's certificate keeps the name that it was made for:".to_owned(),
            "xenolith-firstboot retry tls-certificate, in a shell, makes another.".to_owned(),
        ],
        Edit::Password(_) => vec!["root has a new password.".to_owned()],
        Edit::SshKey(_) if is_masked() => {
            vec!["The key is let in as soon as SSH is switched on.".to_owned()]
        }
        Edit::SshKey(_) => ssh(true)?,
        _ => Vec::new(),
    })
}

fn ssh(on: bool) -> anyhow::Result<Vec<String>> {
    if !on {
        Installed.run(Tool::Systemctl, &["mask", SSH])?;
        Installed.run(Tool::Systemctl, &["stop", SSH])?;
        return Ok(vec!["SSH is off, and stays off over restarts.".to_owned()]);
    }
    if is_masked() {
        Installed.run(Tool::Systemctl, &["unmask", SSH])?;
    }
    if keys().is_empty() {
        return Ok(vec!["SSH starts as soon as a key is let in: it takes keys only.".to_owned()]);
    }
    Installed.run(Tool::Systemctl, &["start", SSH])?;
    Ok(vec!["SSH is on.".to_owned()])
}

/// What answers, line by line.
fn test(target: &str, name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let routers = || {
        let said = Installed.run(Tool::Ip, &["route", "show", "default"]).unwrap_or_default();
        let via = |line: String| line.split("via ").nth(1)?.split_whitespace().next()?.parse::<IpAddr>().ok();
        clean(&said).into_iter().filter_map(via).collect::<Vec<_>>()
    };
    let targets: Vec<IpAddr> = match (target, target.parse()) {
        ("", _) => routers(),
        (_, Ok(ip)) => vec![ip],
        (name, Err(_)) => match (name, 0).to_socket_addrs() {
            Ok(found) => found.map(|address| address.ip()).take(1).collect(),
            Err(error) => {
                lines.push(format!("{name}: {error}"));
                Vec::new()
            }
        },
    };
    if targets.is_empty() && target.is_empty() {
        lines.push("There is no router to ask.".to_owned());
    }
    for ip in targets {
        lines.push(match ping(ip, 1) {
            Ok(Some(time)) => format!("{ip} answers after {:.1} ms", time.as_secs_f64() * 1000.0),
            Ok(None) => format!("{ip} does not answer within two seconds"),
            Err(error) => format!("{ip} cannot be asked: {error}"),
        });
    }
    if !name.is_empty() {
        lines.push(match (name, 0).to_socket_addrs() {
            Ok(found) => {
                let mut ips: Vec<String> = found.map(|address| address.ip().to_string()).collect();
                ips.dedup();
                format!("{name} is {}", ips.join(", "))
            }
            Err(error) => format!("{name}: {error}"),
        });
    }
    clean(&lines.join("\n"))
}

fn archive() -> anyhow::Result<Vec<String>> {
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let path: PathBuf = support::write(Path::new("/"), &host, SystemTime::now(), &Installed)?;
    let carried = carry(&path).unwrap_or_else(|error| format!("It is on no stick: {error:#}"));
    Ok(vec![format!("It is {}", path.display()), carried])
}

/// Onto the one stick that is plugged in, if it is one.
fn carry(path: &Path) -> anyhow::Result<String> {
    let devices = Installed.run(Tool::Lsblk, &["--json", "--bytes", "--output", COLUMNS])?;
    let devices = serde_json::from_str(&devices).context("lsblk's answer cannot be understood")?;
    Ok(match stick::volumes(&devices).as_slice() {
        [] => "No USB stick with vfat or ext4 is plugged in.".to_owned(),
        [(volume, kind)] => {
            stick::copy(path, volume, kind).with_context(|| volume.display().to_string())?;
            format!("It is on {}, too, which may be pulled out.", volume.display())
        }
        several => {
            let names: Vec<String> = several.iter().map(|(path, _)| path.display().to_string()).collect();
            format!("It is on no stick, since there are several: {}", names.join(", "))
        }
    })
}
