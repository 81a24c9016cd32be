//! The host: what its initrd and first boot read from loader, kernel, disks and network.

use std::net::Ipv4Addr;
use std::str::from_utf8;
use std::sync::LazyLock;

use tempfile::TempDir;
use xenolith_firstboot::storage::{read_groups, read_signatures, read_volumes};
use xenolith_firstboot::{EtcFiles, Former};
use xenolith_init::blocks::{Disk, DiskKind, Partition};
use xenolith_init::guids::Guids;
use xenolith_init::net::{dhcp as messages, http, url::Base};
use xenolith_init::uevent::Uevent;
use xenolith_layout::{Bytes, seal::RecoveryKey};
use xenolith_settings::Settings;

/// A volume's seed.toml.
pub fn seed(data: &[u8]) {
    match Settings::parse(data) {
        Ok(settings) => {
            let written = serde_json::to_vec(&settings).expect("settings are made of what JSON can hold");
            assert_eq!(Settings::parse(&written), Ok(settings));
        }
        // Shown on a console that anybody may look at: long only if there is much to say.
        Err(error) => assert!(error.to_string().len() < 20_000),
    }
}

/// Files of a host that was there before, with NUL between them: what is kept of them is what settings may say.
pub fn former(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let mut files = text.split('\0').map(str::to_owned);
    let mut former = Former::told(Settings::parse(b"version = 1").expect("these are settings"));
    former.change(&EtcFiles {
        host_name: files.next(),
        shadow: files.next(),
        ssh_keys: files.next(),
        keyboard: files.next(),
        time_zone: files.next(),
    });
    let written = serde_json::to_vec(&former.settings).expect("settings are made of what JSON can hold");
    assert_eq!(Settings::parse(&written).as_ref(), Ok(&former.settings), "what is kept is refused");
}

/// What programs answer when first boot asks what is on partitions: labels and names in it are whatever somebody gave them.
pub fn storage_answers(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let _ = read_signatures(text);
    let _ = read_groups(text);
    if let Ok(volumes) = read_volumes(text) {
        assert!(volumes.values().flatten().all(|tag| !tag.is_empty() && !tag.contains(',')));
    }
}

/// What the toolstack replies when it is asked to join a pool. It is shown on a console that anybody may look at.
pub fn xenapi_reply(data: &[u8]) {
    if let Err(error) = xenolith_firstboot::parse_reply(data) {
        let said = error.to_string();
        assert!(said.len() < 8000 && !said.chars().any(char::is_control), "{said}");
    }
}

/// What somebody types at the console of a host whose state is locked.
pub fn recovery_key(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    if let Ok(key) = text.parse::<RecoveryKey>() {
        assert_eq!(key.reveal().parse(), Ok(key));
    }
}

/// The kernel's command line.
pub fn cmdline(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    if let Ok(found) = xenolith_init::cmdline::parse(text) {
        let written = format!("xenolith.roothash={} xenolith.version={}", found.root_hash, found.version);
        assert_eq!(xenolith_init::cmdline::parse(&written), Ok(found));
    }
}

/// A message on the kernel's socket, and a file in sysfs.
pub fn uevent(data: &[u8]) {
    if let Some(event) = Uevent::from_message(data) {
        let _ = (event.is_new_block_device(), event.get("DEVNAME"));
    }
    if let Ok(text) = from_utf8(data) {
        let _ = Uevent::from_file(text).is_new_block_device();
    }
}

/// An answer of a DHCP server to a question of ours.
pub fn dhcp(data: &[u8]) {
    let (mac, transaction) = ([0x52, 0x54, 0, 1, 2, 3], 7);
    if let Ok(answer) = messages::answer(data, mac, transaction) {
        assert!(answer.dns.len() <= 3 && answer.prefix <= 32);
        let question = messages::question(mac, transaction, Some(&answer));
        assert!(messages::answer(&question, mac, transaction).is_err(), "a question is no answer");
        let _ = Base::find(answer.boot_file.as_deref(), answer.next_server);
    }
}

/// The head of an HTTP answer.
pub fn http_head(data: &[u8]) {
    let Some((&asked, rest)) = data.split_first() else { return };
    let lines: Vec<String> = String::from_utf8_lossy(rest).lines().map(str::to_owned).collect();
    if let Ok(head) = http::head(&lines, asked.into()) {
        assert!(head.from == 0 || head.from == u64::from(asked));
    }
}

/// The URL that a DHCP server names.
pub fn url(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    if let Ok(Some(base)) = Base::find(Some(text), Some(Ipv4Addr::LOCALHOST)) {
        let written = base.to_string();
        assert_eq!(written.parse::<Base>().map(|base| base.to_string()), Ok(written));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(plain(&base.host()) && plain(&base.path("root.erofs")), "a request would have two lines");
    }
}

/// The first sectors of a disk with a partition table.
pub fn gpt(data: &[u8]) {
    static DEV: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder for the disk"));
    fs_err::write(DEV.path().join("vda"), data).expect("the disk is written");
    let partition = |number| Partition {
        name: format!("vda{number}"),
        number,
        size: Bytes::mib(1),
        label: None,
        uuid: None,
    };
    let mut disks = [Disk {
        name: "vda".into(),
        kind: DiskKind::Disk,
        size: Bytes::new(data.len() as u64),
        sector: 512,
        read_only: false,
        partitions: (1..=8).map(partition).collect(),
    }];
    Guids::default().complete(&mut disks, DEV.path());
}

/// What the loader left in EFI variables: three values, one after the other, each behind its length in one byte.
pub fn efi_variables(mut data: &[u8]) {
    const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
    static VARIABLES: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder for variables"));
    for name in ["LoaderDevicePartUUID", "LoaderInfo", "LoaderEntrySelected"] {
        let (&length, rest) = data.split_first().unwrap_or((&0, &[]));
        let (value, rest) = rest.split_at(rest.len().min(length.into()));
        data = rest;
        fs_err::write(VARIABLES.path().join(format!("{name}-{LOADER}")), value).expect("it is written");
    }
    let loader = xenolith_init::efi::loader(VARIABLES.path());
    assert!(loader.entry.is_none_or(|entry| !entry.contains('/') && entry.len() <= 255));
}
