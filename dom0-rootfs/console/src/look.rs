//! What is known of the host: what everybody sees, and what whoever has logged in may change.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use xenolith_machine::Nic;
use xenolith_settings::Settings;
use xenolith_status::{Medium, Report, Row, seen, title};

/// An address of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The network interface.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
}

/// What opens this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// root has a key for SSH.
    pub ssh: bool,
    /// root has a password.
    pub password: bool,
}

/// What Enter does on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnter {
    /// Nothing.
    Nothing,
    /// It asks for root's password.
    Login,
    /// It starts the installer.
    Install,
}

/// What everybody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The state of the host.
    pub report: Report,
    /// What it is called.
    pub host_name: String,
    /// Where it is reached.
    pub addresses: Vec<Address>,
    /// What opens it.
    pub doors: Doors,
}

/// What whoever has logged in may change, as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// What the host was told.
    pub settings: Settings,
    /// Its network interfaces.
    pub nics: Vec<Nic>,
    /// Keyboards with what people call them.
    pub keyboards: Vec<(String, String)>,
    /// Time zones that the image knows.
    pub zones: BTreeSet<String>,
    /// Whether somebody may come in over SSH.
    pub ssh: SshService,
    /// Guests that run, dom0 not among them; nothing if nobody could say.
    pub guests: Option<Vec<String>>,
    /// Units that logs can be read of.
    pub units: Vec<String>,
}

/// sshd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SshService {
    /// It runs.
    pub runs: bool,
    /// Nobody has switched it off.
    pub wanted: bool,
    /// How many keys are let in.
    pub keys: usize,
}

/// A medium installs, whoever is there; a host lets in who has the password.
pub fn on_enter(report: &Report, doors: Doors) -> OnEnter {
    match report.boot.as_ref().map(|boot| boot.medium) {
        Some(Medium::Iso | Medium::Memory | Medium::Network) => OnEnter::Install,
        Some(Medium::Disk) | None if doors.password => OnEnter::Login,
        Some(Medium::Disk) | None => OnEnter::Nothing,
    }
}

impl Look {
    /// What Enter does.
    pub fn on_enter(&self) -> OnEnter {
        on_enter(&self.report, self.doors)
    }

    /// Where the host is going to be managed from a browser.
    pub fn url(&self) -> Option<String> {
        Some(match self.addresses.first()?.ip {
            IpAddr::V4(ip) => format!("https://{ip}/"),
            IpAddr::V6(ip) => format!("https://[{ip}]/"),
        })
    }

    /// `Xenolith 1.0 on rack4`.
    pub fn title(&self) -> String {
        format!("{} on {}", title(&self.report), self.host_name)
    }

    /// What is known of the host, a fact a row.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = seen(&self.report);
        let shown: Vec<String> =
            self.addresses.iter().map(|address| format!("{} ({})", address.ip, address.interface)).collect();
        let shown = if shown.is_empty() { "none yet".to_owned() } else { shown.join(", ") };
        rows.push(Row { name: "addresses".to_owned(), value: shown });
        rows
    }

    /// How to get in.
    pub fn doors_in_words(&self) -> Vec<String> {
        let here = self.on_enter();
        let enter = match here {
            OnEnter::Install => "Press Enter to install Xenolith on this machine.",
            OnEnter::Login => "Press Enter to log in as root.",
            OnEnter::Nothing => "Nobody logs in here: root has no password.",
        };
        let mut words = vec![enter.to_owned()];
        match (self.doors.ssh, self.addresses.first()) {
            (true, Some(address)) if here == OnEnter::Nothing => words.extend([
                format!("With a key: ssh root@{}", address.ip),
                "There xenolith-console --open sets a password.".to_owned(),
            ]),
            (true, Some(address)) => words.push(format!("With a key: ssh root@{}", address.ip)),
            (true, None) => words.push("SSH waits for an address.".to_owned()),
            (false, _) if here == OnEnter::Nothing => words.extend([
                "SSH is off, too: no key was given at first boot.".to_owned(),
                "A volume labelled XENOLITH with a seed.toml brings one.".to_owned(),
            ]),
            (false, _) => words.push("SSH is off: it takes keys only, and none was given.".to_owned()),
        }
        words
    }
}

/// The status as a serial line shows it: text without colours and without clearing, since it is also a log.
pub fn serial(look: &Look) -> String {
    let mut out = format!("\n{}\n\n", look.title());
    for row in look.rows() {
        let _ = writeln!(out, "{row}");
    }
    out.push('\n');
    for line in look.doors_in_words() {
        let _ = writeln!(out, "{line}");
    }
    out
}
