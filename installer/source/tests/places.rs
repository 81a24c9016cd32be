//! Places in a folder that stands for a host.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, io, path::Path};

use fs_err as fs;
use xenolith_machine::{Capture, Machine};
use xenolith_source::{Found, LookError, Looking, OnMedium, Place, Server, Trust, auto};

#[derive(Default)]
struct Area(BTreeMap<&'static str, &'static str>);

impl OnMedium for Area {
    fn file(&self, name: &str, _longest: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).map(|text| text.as_bytes().to_vec()))
    }
}

fn first(files: &[(&str, &[u8])], area: &Area, network: bool) -> Result<Option<(Place, Found)>, LookError> {
    let root = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let machine = Machine::of(&Capture::new());
    Looking { root: root.path(), machine: &machine, medium: area }.first(&auto(network))
}

fn line(found: Option<(Place, Found)>) -> (Place, String) {
    match found.unwrap() {
        (place, Found::Server(Server { url, .. })) => (place, url.as_str().to_owned()),
        (place, Found::Answers(bytes)) => (place, String::from_utf8(bytes).unwrap()),
    }
}

/// An OEM string in a table that ends with it.
fn smbios(text: &str) -> Vec<u8> {
    [&[11, 5, 0, 0, 1][..], b"xenolith.answers=", text.as_bytes(), &[0, 0]].concat()
}

const SMBIOS: &str = "sys/firmware/dmi/tables/DMI";
const FW_CFG: &str = "sys/firmware/qemu_fw_cfg/by_name/opt/xenolith/answers/raw";
/// `https://dhcp/`.
const LEASE: &[u8] = b"ADDRESS=192.0.2.7\nOPTION_224=68747470733a2f2f646863702f\n";

#[test]
fn a_host_without_any_of_it_has_no_answers() {
    assert_eq!(first(&[], &Area::default(), true).unwrap(), None);
}

#[test]
fn what_was_put_nearest_to_the_machine_comes_first() {
    let hint = smbios("https://smbios/");
    let files: &[(&str, &[u8])] =
        &[(SMBIOS, &hint), (FW_CFG, b"version = 1"), ("run/systemd/netif/leases/2", LEASE)];
    let area = Area([("answers.toml", "version = 2")].into());
    assert_eq!(line(first(files, &area, true).unwrap()), (Place::Medium, "version = 2".into()));
    let none = Area::default();
    assert_eq!(line(first(files, &none, true).unwrap()), (Place::Smbios, "https://smbios/".into()));
    assert_eq!(line(first(&files[1..], &none, true).unwrap()), (Place::FwCfg, "version = 1".into()));
    assert_eq!(line(first(&files[2..], &none, true).unwrap()), (Place::Dhcp, "https://dhcp/".into()));
    assert_eq!(
        first(&files[2..], &none, false).unwrap(),
        None,
        "DHCP erases nothing that was not started from there"
    );
}

#[test]
fn a_place_with_something_broken_ends_the_search() {
    let hint = smbios("http://smbios/");
    let error = first(&[(SMBIOS, &hint), (FW_CFG, b"version = 1")], &Area::default(), false).unwrap_err();
    assert!(matches!(error, LookError::Hint { place: Place::Smbios, .. }), "{error:?}");
    let twice = Area([("answers.toml", ""), ("answers.xml", "")].into());
    let error = first(&[(FW_CFG, b"version = 1")], &twice, false).unwrap_err();
    assert!(matches!(error, LookError::Twice { .. }), "{error:?}");
}

#[test]
fn fw_cfg_holds_a_hint_or_a_whole_document() {
    let of =
        |text: &'static str| first(&[(FW_CFG, text.as_bytes())], &Area::default(), false).unwrap().unwrap().1;
    assert_eq!(of("{\"version\": 1}"), Found::Answers(b"{\"version\": 1}".to_vec()));
    assert!(matches!(of(" https://a/\n"), Found::Server(Server { trust: Trust::Known, .. })));
}

#[test]
fn interfaces_that_disagree_are_told() {
    let other = b"OPTION_224=68747470733a2f2f6f746865722f\n";
    let files: &[(&str, &[u8])] =
        &[("run/systemd/netif/leases/2", LEASE), ("run/systemd/netif/leases/3", other)];
    assert!(matches!(first(files, &Area::default(), true), Err(LookError::Disagree)));
    let files: &[(&str, &[u8])] =
        &[("run/systemd/netif/leases/2", LEASE), ("run/systemd/netif/leases/3", LEASE)];
    assert_eq!(line(first(files, &Area::default(), true).unwrap()).0, Place::Dhcp);
}

#[test]
fn what_the_initrd_was_told_by_a_proxy_that_gives_no_addresses_counts_as_dhcp() {
    let facts = br#"{ "medium": "network", "answers": "https://deploy.example.com/answers" }"#;
    let files: &[(&str, &[u8])] = &[("run/xenolith/boot.json", facts)];
    assert_eq!(line(first(files, &Area::default(), true).unwrap()).0, Place::Dhcp);
    assert!(first(files, &Area::default(), false).unwrap().is_none(), "asked without a network boot");
    let facts = br#"{ "medium": "network", "answers": "ftp://x" }"#;
    let files: &[(&str, &[u8])] = &[("run/xenolith/boot.json", facts)];
    assert!(matches!(first(files, &Area::default(), true), Err(LookError::Hint { .. })));
}

#[test]
fn a_hint_that_asks_for_an_authority_gets_the_one_on_the_medium() {
    let hint = smbios("https://a/ ca=ca.pem");
    let with = Area([("ca.pem", "a certificate")].into());
    let (_, found) = first(&[(SMBIOS, &hint)], &with, false).unwrap().unwrap();
    assert!(matches!(found, Found::Server(Server { trust: Trust::Own(pem), .. }) if pem == b"a certificate"));
    let error = first(&[(SMBIOS, &hint)], &Area::default(), false).unwrap_err();
    assert!(matches!(error, LookError::NoAuthority { place: Place::Smbios }), "{error:?}");
}

#[test]
fn a_link_is_no_file() {
    let root = tempfile::tempdir().unwrap();
    let table = root.path().join(FW_CFG);
    fs::create_dir_all(table.parent().unwrap()).unwrap();
    fs::os::unix::fs::symlink(Path::new("/dev/zero"), &table).unwrap();
    let machine = Machine::of(&Capture::new());
    let looking = Looking { root: root.path(), machine: &machine, medium: &Area::default() };
    assert!(matches!(looking.look(Place::FwCfg), Err(LookError::Read { .. })));
}
