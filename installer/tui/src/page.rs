//! The pages: what stands on each, and which fields belong to it.

use xenolith_machine::{Machine, judge};

use crate::app::App;
use crate::disks;
use crate::field::Field;
use crate::form::{Form, V4_FIXED, V4_WAYS, V6_FIXED, V6_WAYS};
use crate::{network, pool};

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Page {
    /// What was found.
    Welcome,
    /// Where the system goes.
    Disk,
    /// Where guests' disks go.
    Storage,
    /// The management network.
    Network,
    /// Name and clock.
    Host,
    /// Who may come in.
    Access,
    /// The pool that it joins, if any.
    Pool,
    /// What will be lost.
    Summary,
    /// What is being done, and how it ended.
    Progress,
}

impl Page {
    /// All, in their order.
    pub const ALL: [Self; 9] = [
        Self::Welcome,
        Self::Disk,
        Self::Storage,
        Self::Network,
        Self::Host,
        Self::Access,
        Self::Pool,
        Self::Summary,
        Self::Progress,
    ];

    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Welcome => "Welcome",
            Self::Disk => "Disk",
            Self::Storage => "Storage for guests",
            Self::Network => "Management network",
            Self::Host => "Name and clock",
            Self::Access => "Access",
            Self::Pool => "Pool",
            Self::Summary => "Summary",
            Self::Progress => "Installation",
        }
    }

    /// What to know on it.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Welcome => {
                "Nothing is written before you confirm the summary, the last page but one. Escape goes back. What is proposed needs root's \
                 password and no more; Next asks for everything, page by page. The keyboard is changed with Left and Right on its field; \
                 it is loaded at once, and the installed host has it, too."
            }
            Self::Disk => {
                "The system takes one disk, or two that mirror each other: then the host starts with either. Enter chooses one; Space \
                 adds a second one or takes it away. What a Xenolith on it was told and is known by can be kept. With a TPM 2.0, what \
                 the host knows can be encrypted; guests' disks are not. A disk that is not offered says why: it is in use, is the \
                 medium that this installer runs from, is too small, can be taken out, or is reached over a network."
            }
            Self::Storage => {
                "Where the disks of virtual machines go. LVM: a volume for each of them, the fastest. ext4: a file for each, which \
                 takes only the room that it fills. Space gives whole disks to it besides. What is kept is not touched: the system is \
                 installed anew beside it."
            }
            Self::Network => {
                "The management network is how you reach this host. Leave it as it is if a DHCP server gives out addresses: then every \
                 interface asks for one. A fixed address is written with the length of its prefix: 192.0.2.10/24. Without a VLAN, \
                 management is untagged. Several interfaces can work as one, by LACP or active-backup; balance-slb, which XCP-ng \
                 has, needs a network service that is not there yet."
            }
            Self::Host => {
                "All of this may stay empty. In the name, {serial}, {uuid} and {mac} stand for this machine's own. Several servers are \
                 separated by spaces. A time zone is a name such as Europe/Vienna; without one the clock shows UTC."
            }
            Self::Access => {
                "The password is root's, for the console of this host: SSH takes keys only, never a password, and is off without a key. \
                 A key is the one line of a file such as id_ed25519.pub; below it there is room for another, up to eight."
            }
            Self::Pool => {
                "A host that stands alone is its own pool. To join one, name any host of it and whoever may add hosts there. Without a \
                 fingerprint its certificate is shown, and asked about, when the host joins; without a password that is asked for then. \
                 This version has no toolstack: until there is one, joining waits."
            }
            Self::Summary => {
                "From Install on, what is on the disks that are named here is lost. Back changes anything before."
            }
            Self::Progress => {
                "The disk does not boot before the last step is done, so an installation that is cut short leaves nothing half-made. \
                 L shows the log, and arrows scroll it. At the end, log and answers can be saved on a stick; logs can be sent to a server as well."
            }
        }
    }

    pub(crate) fn after(self, form: &Form) -> Self {
        Self::ALL.into_iter().find(|page| *page > self && page.is_asked(form)).unwrap_or(self)
    }

    pub(crate) fn before(self, form: &Form) -> Self {
        Self::ALL.into_iter().rev().find(|page| *page < self && page.is_asked(form)).unwrap_or(self)
    }

    /// What is kept is not asked for, nor what was taken as it was proposed.
    pub(crate) fn is_asked(self, form: &Form) -> bool {
        let kept = form.keeps_settings() && matches!(self, Self::Network | Self::Host | Self::Access);
        let proposed = form.short
            && matches!(self, Self::Disk | Self::Storage | Self::Network | Self::Host | Self::Pool);
        !kept && !proposed
    }

    /// Keys of the problems that are told on it.
    pub(crate) fn owns(self, at: &str) -> bool {
        match self {
            Self::Disk => at == "disk" || at == "settings" || at == "target.encryption",
            Self::Storage => at == "storage",
            Self::Network => at.starts_with("network"),
            Self::Host => at.starts_with("host."),
            Self::Access => at.starts_with("access") || at.starts_with("password"),
            Self::Pool => at.starts_with("pool"),
            Self::Welcome | Self::Summary | Self::Progress => false,
        }
    }
}

/// A thing that is done by Enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Button {
    /// To what has to be asked in any case.
    Proposed,
    Next,
    Back,
    Install,
    Retry,
    Shell,
    /// Opens the part of the page where records are saved.
    SaveLogs,
    /// Likewise, after a success.
    SaveAnswers,
    /// Looks for sticks again.
    LookAgain,
    /// Sends logs to a server.
    Send,
    /// Ends saving.
    Close,
    Restart,
    PowerOff,
}

impl Button {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Proposed => "Take what is proposed",
            Self::Next => "Next",
            Self::Back => "Back",
            Self::Install => "Install",
            Self::Retry => "Try this step again",
            Self::Shell => "Shell",
            Self::SaveLogs => "Save logs",
            Self::SaveAnswers => "Save answers",
            Self::LookAgain => "Look again",
            Self::Send => "Send",
            Self::Close => "Back",
            Self::Restart => "Restart",
            Self::PowerOff => "Power off",
        }
    }
}

/// A part of a page, from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Words.
    Words(String),
    /// One of several, of which one is chosen.
    Option { index: usize, label: String, chosen: bool },
    /// One of several, changed by the arrows to the sides.
    Choice { field: Field, label: &'static str, value: String },
    /// A text.
    Input { field: Field, label: &'static str, value: String, secret: bool },
    /// What is wrong with the field above.
    Problem(String),
    /// Lines of the log: the last of them that the rest of the page leaves room for, unless somebody has scrolled.
    Log(Vec<String>),
    /// What Enter does; they stand beside each other.
    Button(Button),
}

impl Item {
    pub(crate) const fn takes_focus(&self) -> bool {
        !matches!(self, Self::Words(_) | Self::Problem(_) | Self::Log(_))
    }
}

/// What stands on the page that is shown.
pub(crate) fn items(app: &App) -> Vec<Item> {
    let mut items = match app.page {
        Page::Welcome => welcome(app),
        Page::Disk => disks::targets(app),
        Page::Storage => disks::storage(app),
        Page::Network => network::items(app),
        Page::Host => vec![
            text(app, Field::Name, "Host name"),
            text(app, Field::NameServers, "Name servers"),
            text(app, Field::TimeServers, "Time servers"),
            text(app, Field::TimeZone, "Time zone"),
        ],
        Page::Access => {
            let mut items = vec![
                text(app, Field::Password, "root's password"),
                text(app, Field::PasswordAgain, "The same again"),
                text(app, Field::SshKey(0), "SSH key"),
            ];
            let others = 1..app.form.ssh_key_fields();
            items.extend(others.map(|place| text(app, Field::SshKey(place), "Another SSH key")));
            items
        }
        Page::Pool => pool::items(app),
        Page::Summary => summary(app),
        Page::Progress if app.records.is_open() => return app.records.items(&app.form.records_url),
        Page::Progress => return app.progress.items(),
    };
    items = with_problems(app, items);
    items.extend(app.waits_for().map(|line| Item::Words(line.to_owned())));
    items.push(Item::Words(String::new()));
    match app.page {
        Page::Welcome if app.proposed().is_some() => {
            items.extend([Item::Button(Button::Proposed), Item::Button(Button::Next)]);
        }
        Page::Welcome => items.push(Item::Button(Button::Next)),
        Page::Summary => items.extend([Item::Button(Button::Back), Item::Button(Button::Install)]),
        _ => items.extend([Item::Button(Button::Next), Item::Button(Button::Back)]),
    }
    items
}

/// Each problem below its field, or below the last of several that are marked; those without one at the end.
fn with_problems(app: &App, items: Vec<Item>) -> Vec<Item> {
    let mut left: Vec<_> = app.problems.iter().collect();
    let mut all = Vec::new();
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        let at = match &item {
            Item::Choice { field, .. } | Item::Input { field, .. } => Some(field.at(&app.form)),
            Item::Option { .. } if app.page == Page::Network => {
                let last = !matches!(items.peek(), Some(Item::Option { .. }));
                last.then_some("network.bond.members".into())
            }
            _ => None,
        };
        all.push(item);
        left.retain(|problem| {
            let here = at.as_deref() == Some(problem.at.as_str());
            if here {
                all.push(Item::Problem(problem.what.clone()));
            }
            !here
        });
    }
    all.extend(left.into_iter().map(|problem| Item::Problem(problem.what.clone())));
    all
}

pub(crate) fn text(app: &App, field: Field, label: &'static str) -> Item {
    let mut form = app.form.clone();
    let value = field.text(&mut form).cloned().unwrap_or_default();
    Item::Input { field, label, value, secret: field.is_secret() }
}

fn welcome(app: &App) -> Vec<Item> {
    let machine = &app.machine;
    let system = [&machine.system.vendor, &machine.system.product];
    let system: Vec<&str> = system.into_iter().flatten().map(String::as_str).collect();
    let offered = machine.disks.iter().filter(|disk| judge(machine, disk).is_offered()).count();
    let mut words = vec![
        format!("This installs Xenolith {} on this machine.", app.image.version),
        String::new(),
        format!("Machine     {}", if system.is_empty() { "unknown".to_owned() } else { system.join(" ") }),
        format!("Processors  {}, memory {}", machine.processors, machine.memory),
        format!("Disks       {}, of which {offered} can be installed on", machine.disks.len()),
        format!("Network     {}", nics(machine)),
    ];
    for disk in &machine.disks {
        if let Some(installation) = xenolith_installer::found(disk) {
            words.push(format!("Found       {installation} on {}", disk.name));
        }
    }
    if let Some(disk) = app.proposed() {
        let storage = disks::storage_in_words(app);
        words.push(format!("Proposed    all of {} ({}); storage: {storage};", disk.name, disk.size));
        words.push("            addresses from DHCP; no pool".to_owned());
    }
    words.extend([String::new(), "Nothing is written before you confirm the summary.".to_owned()]);
    let mut items: Vec<Item> = words.into_iter().map(Item::Words).collect();
    if let Some(keyboard) = app.keyboards.get(app.keyboard()) {
        let value = format!("{}   {}", keyboard.label, keyboard.name);
        items.push(Item::Words(String::new()));
        items.push(Item::Choice { field: Field::Keyboard, label: "Keyboard", value });
        items.extend(app.keyboard_note.iter().map(|note| Item::Words(format!("    {note}"))));
    }
    items
}

fn nics(machine: &Machine) -> String {
    let linked = machine.nics.iter().filter(|nic| nic.link == Some(true)).count();
    let interfaces = if machine.nics.len() == 1 { "interface" } else { "interfaces" };
    format!("{} {interfaces}, {linked} with a link", machine.nics.len())
}

fn summary(app: &App) -> Vec<Item> {
    let form = &app.form;
    let said = |text: &str, otherwise: &str| {
        if text.trim().is_empty() { otherwise.to_owned() } else { text.trim().to_owned() }
    };
    let mut words: Vec<String> = app
        .plan
        .iter()
        .flat_map(|plan| plan.losses().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    words.push(String::new());
    if let Some(seal) = app.plan.as_ref().and_then(xenolith_installer::Plan::seal) {
        words.push(format!("State         {seal}"));
    }
    words.push(format!("Storage       {}", disks::storage_in_words(app)));
    if let Some(lines) = form.former().filter(|_| form.keeps_settings()) {
        words.push("Kept of the host that is there:".to_owned());
        words.extend(lines.iter().map(|line| format!("  {line}")));
        words.push(format!("Pool          {}", pool::in_words(form)));
        return words.into_iter().map(Item::Words).collect();
    }
    let v4 = if form.v4 == V4_FIXED { said(&form.v4_address, "-") } else { V4_WAYS[form.v4].to_owned() };
    let v6 = if form.v6 == V6_FIXED { said(&form.v6_address, "-") } else { V6_WAYS[form.v6].to_owned() };
    let nic = network::in_words(app);
    let vlan =
        if form.vlan.trim().is_empty() { String::new() } else { format!(", VLAN {}", form.vlan.trim()) };
    words.push(format!("Network       {nic}{vlan}; IPv4 {v4}; IPv6 {v6}"));
    words.push(format!("Host name     {}", said(&form.name, "xenolith")));
    if !form.keyboard.is_empty() {
        words.push(format!("Keyboard      {}", form.keyboard));
    }
    words.push(format!("Clock         {}", said(&form.time_zone, "UTC")));
    let password = (!form.password.is_empty()).then(|| "password on the console".to_owned());
    let keys = match form.filled_ssh_keys().count() {
        0 => None,
        1 => Some("SSH key".to_owned()),
        more => Some(format!("{more} SSH keys")),
    };
    let ways: Vec<String> = [password, keys].into_iter().flatten().collect();
    words.push(format!("root comes in by {}", ways.join(" and ")));
    words.push(format!("Pool          {}", pool::in_words(form)));
    words.into_iter().map(Item::Words).collect()
}
