//! A network boot set in miniature. Its boot file is a real PE image that starts nothing.

#![allow(clippy::unwrap_used, reason = "for tests")]

use std::collections::BTreeMap;

use xenolith_bootfile::{Block, Section, XenConfig, assemble, xen_like};
use xenolith_layout::names::{
    KARG_ROOT_HASH, KARG_VERSION, NETBOOT_BOOT_FILE, NETBOOT_IPXE, NETBOOT_LOADER, NETBOOT_MANIFEST,
    NETBOOT_ROOT, NETBOOT_VERITY,
};
use xenolith_layout::{RootHash, Version};

use crate::{FileFacts, FileName, Manifest};

/// The root hash of the set. The root in it does not hash to it: verity is not tested with it.
pub fn root_hash() -> RootHash {
    RootHash::new([7; 32])
}

/// Its version.
pub fn version() -> Version {
    "0.1.0+20260101.1".parse().unwrap()
}

/// A boot file for this root.
pub fn boot_file(root_hash: &RootHash, version: &Version) -> Vec<u8> {
    boot_file_with(&format!("console=hvc0 {KARG_ROOT_HASH}={root_hash} {KARG_VERSION}={version}"))
}

/// A boot file with this command line for dom0.
pub fn boot_file_with(dom0: &str) -> Vec<u8> {
    let block = Block { name: "a".into(), xen_options: String::new(), dom0_cmdline: dom0.to_owned() };
    let config = XenConfig { default: "a".into(), blocks: vec![block] }.render().unwrap();
    assemble(&xen_like(), &[Section { name: ".config", data: config.as_bytes() }]).unwrap()
}

/// All files of the set, its manifest among them, by name.
pub fn set() -> BTreeMap<String, Vec<u8>> {
    let root = (0..3_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut files: BTreeMap<String, Vec<u8>> = [
        (NETBOOT_BOOT_FILE, boot_file(&root_hash(), &version())),
        (NETBOOT_ROOT, root),
        (NETBOOT_VERITY, b"tree".to_vec()),
        (NETBOOT_LOADER, b"loader".to_vec()),
        (NETBOOT_IPXE, b"#!ipxe\nchain xenolith.efi\n".to_vec()),
        ("keys/PK.auth", b"key".to_vec()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into();
    let facts = files
        .iter()
        .map(|(name, bytes)| {
            (FileName::try_from(name.clone()).unwrap(), FileFacts::of(bytes.as_slice()).unwrap())
        })
        .collect();
    let manifest = Manifest::new(version(), root_hash(), facts).unwrap();
    files.insert(NETBOOT_MANIFEST.to_owned(), manifest.render().into_bytes());
    files
}
