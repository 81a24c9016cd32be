//! The pages about disks: where the system goes, and where guests' disks do.

use xenolith_answers::StorageKind;
use xenolith_machine::{Disk, NO_DISKS, Tpm, judge};

use crate::app::App;
use crate::field::Field;
use crate::form::{ENCRYPTION_WAYS, SETTINGS_WAYS};
use crate::page::Item;

/// The disks that may be chosen, and the others with their reasons.
pub(crate) fn targets(app: &App) -> Vec<Item> {
    let machine = &app.machine;
    let words = match app.form.disks.len() {
        0 | 1 => "Where the system goes. All of that disk will be lost.",
        _ => "Two disks that mirror each other. All of both will be lost.",
    };
    let mut items = vec![Item::Words(words.to_owned())];
    let mut not = Vec::new();
    for (index, disk) in machine.disks.iter().enumerate() {
        let refusals = judge(machine, disk).refusals;
        if refusals.is_empty() {
            items.extend(offered(index, disk, app.form.disks.contains(&index)));
        } else {
            not.push(Item::Words(format!("      {}", label(disk))));
            let reasons: Vec<String> = refusals.iter().map(|why| format!("not offered: {why}")).collect();
            not.push(details(disk, &reasons.join("; ")));
        }
    }
    if machine.disks.is_empty() {
        not.push(Item::Words(NO_DISKS.to_owned()));
    }
    items.extend(not);
    if items.iter().filter(|item| item.takes_focus()).count() > 1 {
        items.push(Item::Words("Space marks a second disk, so that the two mirror each other.".to_owned()));
    }
    if machine.tpm == Tpm::V2 {
        let value = ENCRYPTION_WAYS[app.form.encryption].1.to_owned();
        items.push(Item::Choice { field: Field::Encryption, label: "What it knows", value });
    }
    if app.form.former().is_some() {
        let value = SETTINGS_WAYS[app.form.settings].to_owned();
        items.push(Item::Words(
            "There is a Xenolith on it. What it was told and is known by can be kept:".to_owned(),
        ));
        items.push(Item::Choice { field: Field::Settings, label: "Its settings", value });
    }
    items
}

/// What becomes of storage, and the disks that it may get besides.
pub(crate) fn storage(app: &App) -> Vec<Item> {
    let kind = app.form.storage_kind(&app.machine);
    let mut items = vec![
        Item::Words("Where the disks of virtual machines go.".to_owned()),
        Item::Choice { field: Field::StorageKind, label: "Storage", value: in_words(kind).to_owned() },
    ];
    if !takes_disks(app) {
        return items;
    }
    let free =
        app.machine.disks.iter().enumerate().filter(|(index, disk)| {
            !app.form.disks.contains(index) && judge(&app.machine, disk).is_offered()
        });
    let free: Vec<Item> = free
        .flat_map(|(index, disk)| offered(index, disk, app.form.storage_disks.contains(&index)))
        .collect();
    if !free.is_empty() {
        let words = match app.form.disks.len() {
            0 | 1 => "Whole disks that it gets besides (Space marks them; all that is on them will be lost):",
            _ => "Whole disks that it gets instead (Space marks them; all that is on them will be lost):",
        };
        items.push(Item::Words(words.to_owned()));
    }
    items.extend(free);
    items
}

/// Whether storage may get whole disks.
fn takes_disks(app: &App) -> bool {
    matches!(app.form.storage_kind(&app.machine), StorageKind::Lvm | StorageKind::Ext)
}

/// The line of the summary.
pub(crate) fn storage_in_words(app: &App) -> String {
    let kind = app.form.storage_kind(&app.machine);
    let disks = match app.form.storage_disks.len() {
        0 => return in_words(kind).to_owned(),
        _ if !takes_disks(app) => return in_words(kind).to_owned(),
        1 => "one more disk".to_owned(),
        more => format!("{more} more disks"),
    };
    match app.form.disks.len() {
        0 | 1 => format!("{}, and {disks}", in_words(kind)),
        _ => format!("{disks}, {}", if kind == StorageKind::Lvm { "LVM" } else { "ext4" }),
    }
}

const fn in_words(kind: StorageKind) -> &'static str {
    match kind {
        StorageKind::None => "none for now",
        StorageKind::Lvm => "the rest of the disk, LVM",
        StorageKind::Ext => "the rest of the disk, ext4",
        StorageKind::Keep => "what is there stays as it is",
    }
}

fn offered(index: usize, disk: &Disk, chosen: bool) -> [Item; 2] {
    let holds = xenolith_installer::holds(disk);
    let holds =
        if holds.is_empty() { "nothing was found on it".to_owned() } else { format!("holds {holds}") };
    [Item::Option { index, label: label(disk), chosen }, details(disk, &holds)]
}

/// Below its label, where lines may break: by the serial number disks of one model are told apart, so that is never cut.
fn details(disk: &Disk, what: &str) -> Item {
    Item::Words(match &disk.serial {
        Some(serial) => format!("        serial {serial}; {what}"),
        None => format!("        {what}"),
    })
}

fn label(disk: &Disk) -> String {
    format!(
        "{:<9}{:>9}  {:<7} {}",
        disk.name,
        disk.size.to_string(),
        disk.bus.to_string(),
        disk.model.as_deref().unwrap_or("-")
    )
}
