//! What stands on each page.

use xenolith_firstboot::Outcome;

use crate::app::{App, Read};
use crate::form::{BOOTS, Field, V4_WAYS, V6_WAYS, interfaces};
use crate::look::Known;

/// An entry of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Page {
    /// What everybody sees.
    Status,
    /// The management network.
    Network,
    /// What the host is called, and who knows other names.
    Names,
    /// The clock.
    Clock,
    /// The console's keyboard.
    Keyboard,
    /// root's password.
    Password,
    /// SSH.
    Ssh,
    /// Disks and what is made of them.
    Storage,
    /// What became of the host's settings.
    FirstBoot,
    /// The journal.
    Logs,
    /// An archive for whoever helps.
    Support,
    /// A shell.
    Shell,
    /// Starting anew.
    Restart,
    /// Switching off.
    PowerOff,
    /// Leaving.
    LogOut,
}

impl Page {
    /// All, as the menu has them.
    pub const ALL: [Self; 15] = [
        Self::Status,
        Self::Network,
        Self::Names,
        Self::Clock,
        Self::Keyboard,
        Self::Password,
        Self::Ssh,
        Self::Storage,
        Self::FirstBoot,
        Self::Logs,
        Self::Support,
        Self::Shell,
        Self::Restart,
        Self::PowerOff,
        Self::LogOut,
    ];

    /// What the menu calls it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Status => "Status",
            Self::Network => "Network",
            Self::Names => "Name and DNS",
            Self::Clock => "Clock",
            Self::Keyboard => "Keyboard",
            Self::Password => "Password",
            Self::Ssh => "SSH",
            Self::Storage => "Storage",
            Self::FirstBoot => "First boot",
            Self::Logs => "Logs",
            Self::Support => "Support",
            Self::Shell => "Shell",
            Self::Restart => "Restart",
            Self::PowerOff => "Power off",
            Self::LogOut => "Log out",
        }
    }

    /// What there is to know about it.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Status => {
                "What everybody sees who stands before this host. Fingerprints are what a browser or ssh shows at the first connection: compare them."
            }
            Self::Network => {
                "A change of the network is tried for a minute. Keep it within that time, or it is taken back by itself, also if this console ends or the host loses power. Reset makes every interface ask for an address, for a host that nobody reaches any more."
            }
            Self::Names => {
                "The host's name, and the servers that know the addresses of others. Without any the host takes what DHCP says."
            }
            Self::Clock => {
                "Servers of time, separated by spaces, and the time zone that times are shown in, such as Europe/Vienna."
            }
            Self::Keyboard => {
                "The keyboard of the machine's own screens. A serial line has that of the terminal at its other end."
            }
            Self::Password => "root's password opens this console. SSH takes keys only.",
            Self::Ssh => "SSH as root, with keys only. Off stays off over restarts.",
            Self::Storage => {
                "Disks, volume groups, mirrors and local storage, to look at. Storage for guests is made by the installer, or comes with the toolstack."
            }
            Self::FirstBoot => {
                "What became of each thing that this host was told. What failed is tried again at every boot, or here."
            }
            Self::Logs => {
                "The journal of this boot or the one before: all, errors alone, the kernel's, or that of a unit. Esc leaves it."
            }
            Self::Support => {
                "An archive for whoever helps: status, journal, first boot, the hypervisor, disks and network. Passwords, keys and settings with secrets are never in it."
            }
            Self::Shell => "root's shell. The console comes back when it ends (exit or Ctrl-D).",
            Self::Restart | Self::PowerOff => {
                "Guests that run are not moved and not shut down: that comes with the toolstack. Shut them down first, with `xl shutdown` in a shell."
            }
            Self::LogOut => "Ends the login. It ends by itself after five minutes without a key.",
        }
    }

    /// What has to be read before it can be shown.
    pub const fn reads(self) -> Option<Read> {
        match self {
            Self::Network => Some(Read::Page(Self::Network)),
            Self::Storage => Some(Read::Page(Self::Storage)),
            _ => None,
        }
    }
}

/// A thing that is done by Enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Button {
    /// Try the network.
    Try,
    /// Keep what is tried.
    Keep,
    /// Take it back now.
    TakeBack,
    /// Every interface asks for an address.
    Reset,
    /// Ping something and look something up.
    Test,
    /// Make what was filled in so.
    Save,
    /// Let people in.
    SshOn,
    /// Let nobody in.
    SshOff,
    /// Let one more key in.
    AddKey,
    /// Do again what is not done.
    Retry,
    /// Show a log.
    ShowLog,
    /// Write the archive.
    Archive,
}

impl Button {
    /// What stands on it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Try => "Try it for a minute",
            Self::Keep => "Keep it",
            Self::TakeBack => "Take it back",
            Self::Reset => "Reset: DHCP everywhere",
            Self::Test => "Test",
            Self::Save => "Save",
            Self::SshOn => "Switch on",
            Self::SshOff => "Switch off",
            Self::AddKey => "Let this key in",
            Self::Retry => "Try again",
            Self::ShowLog => "Show",
            Self::Archive => "Write the archive",
        }
    }
}

/// A part of a page, from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Words.
    Words(String),
    /// One of several, changed by the arrows to the sides.
    Choice {
        /// Which field.
        field: Field,
        /// What it is called.
        label: &'static str,
        /// What is chosen.
        value: String,
    },
    /// A text.
    Input {
        /// Which field.
        field: Field,
        /// What it is called.
        label: &'static str,
        /// What was typed; stars for a password.
        value: String,
        /// It is not shown while it is typed.
        secret: bool,
    },
    /// What is wrong with the field above.
    Problem(String),
    /// What Enter does.
    Button(Button),
}

impl Item {
    /// Whether it can be chosen.
    pub const fn takes_focus(&self) -> bool {
        !matches!(self, Self::Words(_) | Self::Problem(_))
    }
}

/// What stands on the page that is shown.
pub fn items(app: &App) -> Vec<Item> {
    let Some(known) = &app.known else { return words(["Reading …"]) };
    let items = match app.page {
        Page::Status => Vec::new(),
        Page::Network => network(app, known),
        Page::Names => vec![
            text(app, Field::Name, "Host name"),
            text(app, Field::NameServers, "Name servers"),
            Item::Button(Button::Save),
        ],
        Page::Clock => vec![
            text(app, Field::TimeServers, "Time servers"),
            text(app, Field::TimeZone, "Time zone"),
            Item::Words("  Left empty: what is set now stays.".to_owned()),
            Item::Button(Button::Save),
        ],
        Page::Keyboard => keyboard(app, known),
        Page::Password => vec![
            text(app, Field::Password, "New password"),
            text(app, Field::PasswordAgain, "The same again"),
            Item::Button(Button::Save),
        ],
        Page::Ssh => ssh(app, known),
        Page::Storage => read(app),
        Page::FirstBoot => firstboot(app),
        Page::Logs => logs(app, known),
        Page::Support => {
            let mut items: Vec<Item> = words([
                "An archive of what helps to find a fault. It goes to",
                "/var/lib/xenolith/support, for root alone, and to a",
                "USB stick if exactly one is plugged in.",
                "",
                "In it:",
            ]);
            items.extend(crate::support::IN_WORDS.iter().map(|line| Item::Words(format!("  {line}"))));
            items.extend(words(["Never in it: passwords, keys, seeds, answers.", ""]));
            items.push(Item::Button(Button::Archive));
            items
        }
        Page::Shell => words(["Enter starts root's shell here. This comes back when it ends."]),
        Page::Restart | Page::PowerOff => words(guests_in_words(known)),
        Page::LogOut => words(["Enter goes back to the status."]),
    };
    with_problems(app, items)
}

fn words(lines: impl IntoIterator<Item = impl Into<String>>) -> Vec<Item> {
    lines.into_iter().map(|line| Item::Words(line.into())).collect()
}

/// What stops when the host stops.
pub(crate) fn guests_in_words(known: &Known) -> Vec<String> {
    match &known.guests {
        None => vec!["Whether guests run cannot be found out. Those that do will stop.".to_owned()],
        Some(guests) if guests.is_empty() => vec!["No guest is running.".to_owned()],
        Some(guests) => vec![format!("These guests will stop: {}", guests.join(", "))],
    }
}

fn text(app: &App, field: Field, label: &'static str) -> Item {
    let mut form = app.form.clone();
    let secret = form.secret(field).map(|secret| "*".repeat(secret.count()));
    let is_secret = secret.is_some();
    let value = secret.or_else(|| form.text(field).cloned()).unwrap_or_default();
    Item::Input { field, label, value, secret: is_secret }
}

fn read(app: &App) -> Vec<Item> {
    app.texts.get(&app.page).map_or_else(|| words(["Reading …"]), |lines| words(lines.clone()))
}

fn network(app: &App, known: &Known) -> Vec<Item> {
    if let Some(until) = app.trial {
        let left = until.saturating_sub(app.now).as_secs();
        let mut items = words([
            "The network is set up as it was asked for.".to_owned(),
            format!("It goes back to what it was in {left} s."),
            String::new(),
        ]);
        items.extend([Item::Button(Button::Keep), Item::Button(Button::TakeBack)]);
        items.push(Item::Words(String::new()));
        items.extend(test_items(app));
        items.push(Item::Words(String::new()));
        items.extend(read(app));
        return items;
    }
    let form = &app.form;
    let chosen = interfaces(known).into_iter().nth(form.interface).map(|(_, words)| words);
    let mut items = vec![
        Item::Choice { field: Field::Interface, label: "Interface", value: chosen.unwrap_or_default() },
        text(app, Field::Vlan, "VLAN"),
        Item::Choice { field: Field::V4, label: "IPv4", value: V4_WAYS[form.v4].to_owned() },
    ];
    if form.v4_is_fixed() {
        items.extend([text(app, Field::V4Address, "  Address"), text(app, Field::V4Gateway, "  Router")]);
    }
    items.push(Item::Choice { field: Field::V6, label: "IPv6", value: V6_WAYS[form.v6].to_owned() });
    if form.v6_is_fixed() {
        items.extend([text(app, Field::V6Address, "  Address"), text(app, Field::V6Gateway, "  Router")]);
    }
    items.push(text(app, Field::NameServers, "Name servers"));
    items.extend([Item::Button(Button::Try), Item::Words(String::new())]);
    items.extend(test_items(app));
    items.extend([Item::Words(String::new()), Item::Button(Button::Reset), Item::Words(String::new())]);
    items.extend(read(app));
    items
}

fn test_items(app: &App) -> Vec<Item> {
    vec![text(app, Field::Target, "Ping"), text(app, Field::Lookup, "Look up"), Item::Button(Button::Test)]
}

fn keyboard(app: &App, known: &Known) -> Vec<Item> {
    let Some((name, label)) = known.keyboards.get(app.form.keyboard) else {
        return words(["This image has no keyboards to choose from."]);
    };
    let value = format!("{label}   {name}");
    vec![Item::Choice { field: Field::Keyboard, label: "Keyboard", value }, Item::Button(Button::Save)]
}

fn ssh(app: &App, known: &Known) -> Vec<Item> {
    let ssh = known.ssh;
    let state = match (ssh.runs, ssh.wanted) {
        (true, _) => "SSH is on.",
        (false, true) if ssh.keys == 0 => "SSH waits for a key: it takes keys only.",
        (false, true) => "SSH does not run, though it should: the log of ssh.service says why.",
        (false, false) => "SSH is off, and stays off over restarts.",
    };
    let keys = match ssh.keys {
        1 => "1 key is let in.".to_owned(),
        keys => format!("{keys} keys are let in."),
    };
    let mut items = words([state.to_owned(), keys]);
    items.push(Item::Button(if ssh.wanted { Button::SshOff } else { Button::SshOn }));
    items.extend([Item::Words(String::new()), text(app, Field::SshKey, "One more key")]);
    items.push(Item::Button(Button::AddKey));
    items
}

fn firstboot(app: &App) -> Vec<Item> {
    let Some(journal) = app.look.as_ref().and_then(|look| look.report.firstboot.as_ref()) else {
        return words(["What was done at first boot cannot be read."]);
    };
    if journal.tasks.is_empty() {
        return words(["This host was told nothing yet."]);
    }
    let mut items = Vec::new();
    let mut open = false;
    for (task, entry) in &journal.tasks {
        let outcome = match entry.outcome {
            Outcome::Done => "done",
            Outcome::Failed => "FAILED",
            Outcome::NotAvailable => "not available",
        };
        open |= entry.outcome != Outcome::Done;
        items.push(Item::Words(format!("{:<16}{outcome}", task.name())));
        items.extend(entry.why.iter().map(|why| Item::Words(format!("    {why}"))));
    }
    if open {
        items.extend([Item::Words(String::new()), Item::Button(Button::Retry)]);
    }
    items
}

fn logs(app: &App, known: &Known) -> Vec<Item> {
    let unit = known.units.get(app.form.unit).cloned().unwrap_or_default();
    vec![
        Item::Choice { field: Field::Unit, label: "Log", value: unit },
        Item::Choice { field: Field::Boot, label: "Of", value: BOOTS[app.form.boot].to_owned() },
        Item::Button(Button::ShowLog),
    ]
}

/// Where a problem of a field is known by.
fn at(field: Field) -> &'static str {
    match field {
        Field::Interface => "network.interface",
        Field::Vlan => "network.vlan",
        Field::V4 => "network.ipv4",
        Field::V4Address => "network.ipv4.address",
        Field::V4Gateway => "network.ipv4.gateway",
        Field::V6 => "network.ipv6",
        Field::V6Address => "network.ipv6.address",
        Field::V6Gateway => "network.ipv6.gateway",
        Field::NameServers => "host.name_servers",
        Field::Name => "host.name",
        Field::TimeServers => "host.time_servers",
        Field::TimeZone => "host.time_zone",
        Field::Keyboard => "host.keyboard",
        Field::Password => "password",
        Field::PasswordAgain => "password_again",
        Field::SshKey => "ssh_key",
        Field::Target => "target",
        Field::Lookup => "lookup",
        Field::Unit => "unit",
        Field::Boot => "boot",
    }
}

/// Each problem below its field, those without one before the first button.
fn with_problems(app: &App, items: Vec<Item>) -> Vec<Item> {
    let mut left: Vec<_> = app.problems.iter().collect();
    let mut all = Vec::new();
    for item in items {
        let field = match &item {
            Item::Choice { field, .. } | Item::Input { field, .. } => Some(*field),
            _ => None,
        };
        all.push(item);
        left.retain(|problem| {
            let here = field.is_some_and(|field| at(field) == problem.at);
            if here {
                all.push(Item::Problem(problem.what.clone()));
            }
            !here
        });
    }
    let first = all.iter().position(|item| matches!(item, Item::Button(_))).unwrap_or(all.len());
    for problem in left.into_iter().rev() {
        all.insert(first, Item::Problem(problem.what.clone()));
    }
    all
}
