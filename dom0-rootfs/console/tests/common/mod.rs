//! A recorded host for the screens.
#![allow(clippy::unwrap_used, dead_code, reason = "a test, and not every one needs all of it")]

use std::path::Path;
use std::time::Duration;

use xenolith_console::{Address, App, Doors, Effect, Known, Look, Page, Read, SshService};
use xenolith_machine::Nic;
use xenolith_settings::Settings;
use xenolith_status::{Host, Recorded, Report, Xen, gather};
use xenolith_terminal::Key;

/// The report of a recorded host.
pub fn report(name: &str) -> Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../status/tests/fixtures").join(name);
    let said = Xen {
        version: "4.20.4".into(),
        total_memory: Some(64 << 30),
        free_memory: Some(48 << 30),
        domains: Some(3),
        ..Xen::default()
    };
    gather(&Host { root: &folder.join("root"), programs: &Recorded(folder.join("programs")) }, Some(Ok(said)))
}

pub fn address(ip: &str) -> Address {
    Address { interface: "eno1".into(), ip: ip.parse().unwrap() }
}

pub fn look(name: &str, addresses: &[&str], doors: Doors) -> Look {
    let addresses = addresses.iter().map(|ip| address(ip)).collect();
    Look { report: report(name), host_name: "rack4".into(), addresses, doors }
}

pub fn installed() -> Look {
    look("disk-on-trial", &["192.0.2.7"], Doors { ssh: true, password: true })
}

pub const SETTINGS: &str = r#"
version = 1
[host]
name = "rack4"
time_zone = "Europe/Vienna"
keyboard = "de-latin1"
time_servers = ["ntp.example"]
name_servers = ["192.0.2.53"]
[network]
interface = "eno1"
vlan = 120
ipv4 = { address = "192.0.2.7/24", gateway = "192.0.2.1" }
[access]
root_password_hash = "$6$salt$hash"
"#;

pub fn known() -> Known {
    let nic = |name: &str, number: u8| Nic {
        name: name.to_owned(),
        mac: format!("52:54:00:00:00:{number:02x}"),
        link: Some(true),
        speed: Some(10_000),
        driver: "igb".to_owned(),
        place: None,
    };
    let keyboards = [("us", "English (US)"), ("de-latin1", "German"), ("fr-latin9", "French")];
    Known {
        settings: Settings::parse(SETTINGS.as_bytes()).unwrap(),
        nics: vec![nic("eno1", 1), nic("eno2", 2)],
        keyboards: keyboards.map(|(name, label)| (name.to_owned(), label.to_owned())).into(),
        zones: ["Etc/UTC", "Europe/Vienna", "Asia/Tokyo"].map(str::to_owned).into(),
        ssh: SshService { runs: true, wanted: true, keys: 1 },
        guests: Some(vec!["db-1".into(), "web".into()]),
        units: ["everything", "errors", "kernel", "xenolith-firstboot.service"].map(str::to_owned).into(),
    }
}

/// Somebody has logged in, and everything has been read.
pub fn open() -> App {
    let mut app = App::new(true);
    app.told_look(installed());
    assert_eq!(app.key(Key::Enter), Effect::None);
    type_text(&mut app, "right");
    assert!(matches!(app.key(Key::Enter), Effect::Check(_)));
    assert_eq!(app.told_login(Ok(true)), Effect::Read(Read::Everything));
    app.told_known(known());
    app
}

pub fn type_text(app: &mut App, text: &str) {
    for character in text.chars() {
        assert_eq!(app.key(Key::Char(character)), Effect::None);
    }
}

/// On a page, with the keys for it.
pub fn on(page: Page) -> App {
    let mut app = open();
    app.turn_to(page);
    app.told_page(
        Page::Network,
        [
            "Addresses",
            "  lo               UNKNOWN        127.0.0.1/8",
            "  vlan120@eno1     UP             192.0.2.7/24",
            "",
            "Routers",
            "  default via 192.0.2.1 dev vlan120",
            "",
        ]
        .map(str::to_owned)
        .into(),
    );
    app.told_page(
        Page::Storage,
        [
            "Disks",
            "  NAME     SIZE TYPE  FSTYPE MOUNTPOINTS",
            "  sda      480G disk",
            "  └─sda7    64G part  ext4   /var",
            "",
            "Volume groups",
            "  none",
            "",
        ]
        .map(str::to_owned)
        .into(),
    );
    assert_eq!(app.key(Key::Enter), Effect::None);
    app
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
