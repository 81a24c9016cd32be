//! Scenarios: real artefacts booted in QEMU with UEFI firmware, watched as a user would watch them.

mod bonded;
mod corruption;
mod customized;
mod disk;
mod encrypted;
mod guests;
mod install;
mod kept;
mod media;
mod netboot;
mod power;
mod secure_boot;
mod state;
mod storage;
mod unattended;
mod vga;

use crate::{Check, Cost};

/// In this order: what everything else builds on comes first.
pub const CHECKS: &[Check] = &[
    slow(
        "disk",
        "the disk image runs what was compiled here, starts PV, PVH and HVM guests, and finds its state again",
        disk::disk,
    ),
    slow(
        "iso-cd",
        "the ISO boots as a CD and installs by answers onto an empty disk, which then boots by itself",
        install::cd,
    ),
    slow("iso-usb", "the ISO boots as a USB stick", media::usb),
    rare(
        "bonded",
        "a VLAN on two links that LACP makes one carries the management network, and either link may go",
        bonded::bonded,
    ),
    rare(
        "install-screens",
        "somebody installs with keys on a serial line, and logs in there with the password",
        install::screens,
    ),
    rare(
        "install-vga",
        "somebody installs with keyboard and screen, and uses the console of the installed host likewise",
        vga::vga,
    ),
    rare(
        "mirror",
        "two disks mirror each other under Secure Boot, and the host starts with either of them",
        storage::mirror,
    ),
    rare(
        "encrypted",
        "a state that the machine's TPM opens under Secure Boot, another TPM does not, and its recovery key does",
        encrypted::encrypted,
    ),
    rare(
        "reinstall",
        "a second installation keeps the storage of the first, byte for byte, and what the host is known by",
        kept::on_one_disk,
    ),
    rare(
        "reinstall-mirror",
        "the same on two disks that mirror each other, one of which knows less",
        kept::on_a_mirror,
    ),
    rare(
        "power-cuts",
        "power that fails during an installation leaves a whole system or a disk that does not start",
        power::cuts,
    ),
    rare(
        "unattended-volume",
        "answers on a stick install a machine that nobody touches, once",
        unattended::volume,
    ),
    rare(
        "unattended-url",
        "firmware names a server, which answers for the machine and is told how it ended",
        unattended::url,
    ),
    rare(
        "unattended-dhcp",
        "firmware starts by PXE beside a DHCP server, and DHCP leads to answers",
        unattended::dhcp,
    ),
    rare("unattended-dns", "the same with a TXT record in place of DHCP's option", unattended::dns),
    rare(
        "iso-customized",
        "answers and a seed put into the ISO: it lets us in and installs, as a CD and as a USB stick",
        customized::customized,
    ),
    rare("http", "the firmware starts the boot file from an HTTP server", media::http),
    rare(
        "netboot-install",
        "a machine with an empty disk boots over HTTP from `xenolith serve`, with Secure Boot, installs, and starts from its disk",
        netboot::install,
    ),
    slow("secure-boot", "signed by an enrolled key: boots, and dom0 knows", secure_boot::signed),
    slow(
        "secure-boot-tamper",
        "one byte of the boot file changed: the firmware refuses it",
        secure_boot::tampered,
    ),
    slow("secure-boot-inject", "an unsigned loader entry cannot change Xen's options", secure_boot::injected),
    slow("corrupt-root", "one bit of the root image flipped: never ready", corruption::root),
    // The initrd gives up after two minutes only, in case a sound disk is slow to appear.
    rare("corrupt-verity", "one bit of the verity tree flipped: never ready", corruption::verity),
];

const fn rare(
    name: &'static str,
    proves: &'static str,
    run: fn(&crate::context::Context) -> anyhow::Result<crate::context::Count>,
) -> Check {
    Check { cost: Cost::Rare, ..slow(name, proves, run) }
}

const fn slow(
    name: &'static str,
    proves: &'static str,
    run: fn(&crate::context::Context) -> anyhow::Result<crate::context::Count>,
) -> Check {
    Check { name, proves, cost: Cost::Slow, run }
}
