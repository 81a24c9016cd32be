//! The page about the management network.

use xenolith_machine::Nic;

use crate::app::App;
use crate::field::Field;
use crate::form::{BOND_MODES, V4_FIXED, V4_WAYS, V6_FIXED, V6_WAYS};
use crate::page::{Item, text};

pub(crate) fn items(app: &App) -> Vec<Item> {
    let form = &app.form;
    let interface = if form.is_bond(&app.machine) {
        "several as one (a bond)".to_owned()
    } else {
        chosen(app).map_or_else(
            || "every one".to_owned(),
            |nic| format!("{} {} {}, {}", nic.name, nic.mac, link(nic), nic.driver),
        )
    };
    let mut items = vec![Item::Choice { field: Field::Interface, label: "Interface", value: interface }];
    if form.is_bond(&app.machine) {
        let mode = BOND_MODES[form.bond_mode].1.to_owned();
        items.push(Item::Choice { field: Field::BondMode, label: "  Mode", value: mode });
        items.push(Item::Words("  Its members, two or more (Space marks them):".to_owned()));
        items.extend(app.machine.nics.iter().enumerate().map(|(index, nic)| Item::Option {
            index,
            label: format!("{:<15}  {}  {:<13}  {}", nic.name, nic.mac, link(nic), nic.driver),
            chosen: form.bond.contains(&index),
        }));
    }
    items.extend([
        text(app, Field::Vlan, "VLAN"),
        Item::Choice { field: Field::V4, label: "IPv4", value: V4_WAYS[form.v4].to_owned() },
    ]);
    if form.v4 == V4_FIXED {
        items.extend([text(app, Field::V4Address, "  Address"), text(app, Field::V4Gateway, "  Router")]);
    }
    items.push(Item::Choice { field: Field::V6, label: "IPv6", value: V6_WAYS[form.v6].to_owned() });
    if form.v6 == V6_FIXED {
        items.extend([text(app, Field::V6Address, "  Address"), text(app, Field::V6Gateway, "  Router")]);
    }
    items
}

/// For the summary: which interface.
pub(crate) fn in_words(app: &App) -> String {
    let form = &app.form;
    if !form.is_bond(&app.machine) {
        return chosen(app).map_or_else(|| "every interface".to_owned(), |nic| nic.name.clone());
    }
    let members = form.bond.iter().filter_map(|index| app.machine.nics.get(*index));
    let members: Vec<&str> = members.map(|nic| nic.name.as_str()).collect();
    let mode = BOND_MODES[form.bond_mode].1.split([' ', ':']).next().unwrap_or_default();
    format!("bond of {} ({mode})", members.join(" and "))
}

fn chosen(app: &App) -> Option<&Nic> {
    app.machine.nics.get(app.form.interface.checked_sub(1)?)
}

fn link(nic: &Nic) -> String {
    match (nic.link, nic.speed) {
        (Some(true), Some(speed)) => format!("{speed} Mbit/s"),
        (Some(true), None) => "link".to_owned(),
        (Some(false), _) => "no link".to_owned(),
        (None, _) => "down".to_owned(),
    }
}
