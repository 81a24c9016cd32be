//! Which client gets what.
//!
//! A client says in DHCP what it can do: option 60 how it wants to load (`HTTPClient`, `PXEClient`), option 93 what it is (the IANA
//! list "Processor Architecture Types"; RFC 4578 and its erratum: 64-bit UEFI calls itself 7 or 9), option 77 that it is iPXE.
//! There is one boot file, for 64-bit UEFI; everybody else gets nothing, and the log says why.

use std::fmt;

use serde::Serialize;
use xenolith_layout::names::{NETBOOT_BOOT_FILE, NETBOOT_IPXE};

/// How a client wants to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// From a URL.
    Http,
    /// As PXE says: over TFTP.
    Pxe,
    /// Not at all: it wants an address.
    Ordinary,
}

/// What a client says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// How it wants to load.
    pub class: Class,
    /// Whether it is iPXE, which reads scripts and loads over HTTP.
    pub is_ipxe: bool,
    /// Its architecture's number, if it says one.
    pub architecture: Option<u16>,
}

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Offer {
    /// The URL of this file.
    Http {
        /// Its name in the set.
        file: &'static str,
    },
    /// This file over TFTP.
    Tftp {
        /// Its name in the set.
        file: &'static str,
    },
    /// Nothing.
    Nothing {
        /// For this reason.
        why: Why,
    },
}

/// Why a client gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It asks for an address and for nothing to boot.
    NoBoot,
    /// BIOS cannot start a UEFI program.
    Bios,
    /// Another processor, or 32-bit firmware.
    Architecture,
    /// It does not say what it is.
    Unknown,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBoot => "it does not ask for anything to boot",
            Self::Bios => {
                "the boot file is a UEFI program, and BIOS starts none: switch the firmware to UEFI"
            }
            Self::Architecture => "there is no image for its architecture, only for 64-bit x86 with UEFI",
            Self::Unknown => "it does not say which architecture it has (DHCP option 93)",
        })
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { file } => write!(f, "{file} over HTTP"),
            Self::Tftp { file } => write!(f, "{file} over TFTP"),
            Self::Nothing { why } => write!(f, "nothing: {why}"),
        }
    }
}

/// Decides. All that an answer to a client depends on is in its arguments.
pub fn offer(asked: &Asked) -> Offer {
    let nothing = |why| Offer::Nothing { why };
    match (asked.class, asked.architecture) {
        (Class::Ordinary, _) => nothing(Why::NoBoot),
        (_, Some(0 | 20)) => nothing(Why::Bios),
        (_, None) => nothing(Why::Unknown),
        (Class::Http, Some(16)) => Offer::Http { file: NETBOOT_BOOT_FILE },
        (Class::Pxe, Some(7 | 9)) if asked.is_ipxe => Offer::Http { file: NETBOOT_IPXE },
        (Class::Pxe, Some(7 | 9)) => Offer::Tftp { file: NETBOOT_BOOT_FILE },
        (Class::Http | Class::Pxe, Some(_)) => nothing(Why::Architecture),
    }
}

/// A kind of client, for the table of a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// What people call it.
    pub name: &'static str,
    /// What it says of itself.
    #[serde(flatten)]
    pub asked: Asked,
}

/// The kinds of clients that are met.
pub const EXAMPLES: &[Example] = &[
    example("UEFI HTTP boot, 64-bit x86", Class::Http, false, 16),
    example("Xenolith's own initrd", Class::Http, false, 16),
    example("UEFI PXE, 64-bit x86", Class::Pxe, false, 7),
    example("iPXE on UEFI, 64-bit x86", Class::Pxe, true, 7),
    example("PXE on BIOS", Class::Pxe, false, 0),
    example("iPXE on BIOS", Class::Pxe, true, 0),
    example("UEFI PXE, 32-bit x86", Class::Pxe, false, 6),
    example("UEFI HTTP boot, 64-bit ARM", Class::Http, false, 19),
];

const fn example(name: &'static str, class: Class, is_ipxe: bool, architecture: u16) -> Example {
    Example { name, asked: Asked { class, is_ipxe, architecture: Some(architecture) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_client_gets_what_it_can_start() {
        let got: Vec<String> = EXAMPLES.iter().map(|example| offer(&example.asked).to_string()).collect();
        let begins = [
            "xenolith.efi over HTTP",
            "xenolith.efi over HTTP",
            "xenolith.efi over TFTP",
            "xenolith.ipxe over HTTP",
            "nothing: the boot file is a UEFI program",
            "nothing: the boot file is a UEFI program",
            "nothing: there is no image",
            "nothing: there is no image",
        ];
        assert_eq!(got.len(), begins.len());
        for (got, begin) in got.iter().zip(begins) {
            assert!(got.starts_with(begin), "{got}");
        }
    }

    #[test]
    fn nobody_who_asks_for_an_address_gets_anything_to_boot() {
        for architecture in (0..=u8::MAX).map(|number| Some(number.into())).chain([None]) {
            let asked = Asked { class: Class::Ordinary, is_ipxe: true, architecture };
            assert_eq!(offer(&asked), Offer::Nothing { why: Why::NoBoot });
        }
    }

    #[test]
    fn who_says_not_what_it_is_gets_nothing() {
        for class in [Class::Http, Class::Pxe] {
            let asked = Asked { class, is_ipxe: false, architecture: None };
            assert_eq!(offer(&asked), Offer::Nothing { why: Why::Unknown });
        }
    }
}
