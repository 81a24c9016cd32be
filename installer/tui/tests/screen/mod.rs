//! The screens of a captured machine, and the keys that a person would press.
#![allow(clippy::unwrap_used, dead_code, reason = "a test; each test file uses a part of it")]

use std::collections::BTreeSet;
use std::path::Path;

use ratatui::{Terminal, backend::TestBackend};
use xenolith_installer::Image;
use xenolith_layout::{Bytes, RootHash, Seed};
use xenolith_machine::{Capture, Machine, RawNic};
use xenolith_terminal::Key;
use xenolith_tui::{App, Effect, Keyboard, Page, draw};

pub const SIZES: [(u16, u16); 2] = [(80, 24), (120, 40)];
pub const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin@example";

/// A captured machine; "long-models" is the one with many disks, of which the first two are hard to tell apart; "nics" is the one with one disk, and three interfaces; "two-hosts" the one with a Xenolith, with storage, and another.
pub fn machine(name: &str) -> Machine {
    let folder = match name {
        "nics" => "one-disk",
        "two-hosts" => "xenolith",
        "long-models" => "raid-hba",
        name => name,
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines").join(folder).join("machine.json");
    let mut text = fs_err::read_to_string(path).unwrap();
    if name == "long-models" {
        text = text.replace("MTFDDAK480TDS", "Dell Ent NVMe PM1735a MU 1.6TB with more");
        text = text.replace("ZC100000X", "PHYF-0123456789-0123456789-0000A");
        text = text.replace("ZC100001X", "PHYF-0123456789-0123456789-0000B");
    }
    if name == "two-hosts" {
        let mut whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let disks = whole["lsblk"]["blockdevices"].as_array_mut().unwrap();
        let disk = disks.iter_mut().find(|disk| disk["name"] == "sda").unwrap();
        let parts = disk["children"].as_array_mut().unwrap();
        let storage = parts
            .last()
            .unwrap()
            .to_string()
            .replace("sda7", "sda8")
            .replace("xenolith-state", "xenolith-sr");
        parts.push(serde_json::from_str(&storage).unwrap());
        let other =
            disk.to_string().replace("sda", "sdb").replace("PHYF", "PHYG").replace("50a00029", "50a0002a");
        disks.push(serde_json::from_str(&other).unwrap());
        text = whole.to_string();
    }
    let mut capture = Capture::parse(text.as_bytes()).unwrap();
    if name == "nics" {
        let nic = |name: &str, number: u8, carrier: Option<bool>, speed: Option<i64>, driver: &str| RawNic {
            name: name.to_owned(),
            address: format!("52:54:00:00:00:{number:02x}"),
            carrier,
            speed,
            driver: Some(driver.to_owned()),
            place: None,
        };
        capture.nics = vec![
            nic("eno1", 1, Some(true), Some(1000), "igb"),
            nic("eno2", 2, Some(true), Some(1000), "igb"),
            nic("enp129s0f1np1", 3, Some(false), None, "mlx5_core"),
        ];
    }
    Machine::of(&capture)
}

pub fn app(name: &str) -> App {
    let machine = machine(name);
    let image = Image {
        version: "1.0.0".parse().unwrap(),
        root_hash: RootHash::new([7; 32]),
        root: Bytes::mib(180),
        verity: Bytes::mib(2),
    };
    let zones = ["Etc/UTC", "Europe/Vienna"].map(str::to_owned);
    let keyboards = [("us", "English (US)"), ("de-latin1", "German"), ("fr-latin9", "French")];
    let keyboard = |(name, label): (&str, &str)| Keyboard { name: name.to_owned(), label: label.to_owned() };
    App::new(machine, image, Seed::new([3; 32]), BTreeSet::from(zones))
        .with_keyboards(keyboards.map(keyboard).into())
}

/// The same, with the focus on what asks for everything.
pub fn by_page(name: &str) -> App {
    let mut app = app(name);
    if shown(&app, SIZES[0]).contains("[> Take what is proposed <]") {
        press(&mut app, &[Key::Right]);
    }
    app
}

pub fn shown(app: &App, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    terminal.backend().to_string()
}

pub fn snapshot(name: &str, app: &App) {
    for size in SIZES {
        snapshot_at(name, size, &shown(app, size));
    }
}

/// Compares with the snapshot of this name and size, whichever test file asks.
pub fn snapshot_at(name: &str, (width, height): (u16, u16), text: &str) {
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!(format!("{name}-{width}x{height}"), text);
    });
}

pub fn press(app: &mut App, keys: &[Key]) {
    for key in keys {
        assert_eq!(app.key(*key), Effect::None, "{key:?} on {:?}", app.page());
    }
}

pub fn type_text(app: &mut App, text: &str) {
    text.chars().for_each(|character| press(app, &[Key::Char(character)]));
}

pub fn ready_to_install() -> App {
    let mut app = by_page("one-disk");
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter, Key::Enter, Key::Enter, Key::Down, Key::Down]);
    type_text(&mut app, KEY);
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    app
}

/// On the page with the disks, of which there is one.
pub fn with_disk_page(name: &str) -> App {
    let mut app = by_page(name);
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Disk);
    app
}
