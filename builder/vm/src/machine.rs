//! What a virtual machine is made of, and the command line that follows from it.

use std::path::{Path, PathBuf};

use xenolith_sandbox::{Network, Sandbox};

use crate::{Accelerator, Firmware, tpm::Tpm};

/// Where sockets, logs and firmware variables of a machine live inside its sandbox.
pub(crate) const RUN: &str = "/vm";

/// In a machine's run folder, the socket of a network card that is on a wire of somebody else; the first card is 0.
pub fn card_socket(card: usize) -> String {
    format!("card{card}.sock")
}

/// As [`card_socket`], the socket of whoever has the other end of the wire.
pub fn wire_socket(card: usize) -> String {
    format!("wire{card}.sock")
}

/// Something to boot from or to read.
#[derive(Clone, Debug)]
pub enum Medium {
    /// An optical disc.
    Cd(PathBuf),
    /// A USB stick, read-only.
    Usb(PathBuf),
    /// A USB stick that can be written to.
    Stick(PathBuf),
    /// A virtio disk. With `throw_away` nothing is written to the file.
    Disk {
        /// The raw image.
        path: PathBuf,
        /// Whether writes go to a temporary file that vanishes.
        throw_away: bool,
    },
}

/// Where the first serial line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serial {
    /// Into the event stream and `serial.log`.
    Events,
    /// To the terminal, with QEMU's monitor behind Ctrl-A.
    Terminal,
}

/// What the screen is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// A VGA adapter that nobody looks at but `screendump`.
    Hidden,
    /// A VNC server on 127.0.0.1, display number given.
    Vnc(u16),
}

/// A virtual machine, not started.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The tree with QEMU and OVMF.
    pub tools: PathBuf,
    /// A folder for sockets, logs and variables; short, because socket paths are limited to 107 bytes.
    pub run: PathBuf,
    /// How instructions are executed.
    pub accelerator: Accelerator,
    /// UEFI with or without Secure Boot.
    pub firmware: Firmware,
    /// In boot order.
    pub media: Vec<Medium>,
    /// In MiB.
    pub memory: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// This port of 127.0.0.1 leads to the machine's port 22.
    pub ssh_port: Option<u16>,
    /// What the network's DHCP server names as boot file.
    pub boot_url: Option<String>,
    /// How many network cards the machine has on wires of somebody else ([`wire_socket`]), from which it starts after its media. With
    /// none it has one on QEMU's own network.
    pub wires: usize,
    /// An OEM string in the firmware's tables (SMBIOS type 11).
    pub oem_string: Option<String>,
    /// The text of `opt/xenolith/answers` in QEMU's own device for facts (fw_cfg).
    pub fw_cfg: Option<String>,
    /// The folder that is the memory of the machine's TPM 2.0, if it has one; an empty one makes a fresh TPM.
    pub tpm: Option<PathBuf>,
    /// Where the serial line goes.
    pub serial: Serial,
    /// Where the screen goes.
    pub display: Display,
    /// Whether a reset ends the machine instead of booting again.
    pub stop_on_reset: bool,
}

impl Machine {
    /// A machine with the media given, 3 GiB, two processors, no network ports, events on the serial line.
    pub fn new(tools: &Path, run: &Path, media: Vec<Medium>) -> Self {
        Self {
            tools: tools.into(),
            run: run.into(),
            accelerator: Accelerator::Emulation,
            firmware: Firmware::Plain,
            media,
            memory: 3072,
            cpus: 2,
            ssh_port: None,
            boot_url: None,
            wires: 0,
            oem_string: None,
            fw_cfg: None,
            tpm: None,
            serial: Serial::Events,
            display: Display::Hidden,
            stop_on_reset: false,
        }
    }

    /// The sandbox that shows QEMU its tools, its run folder and its media, and nothing else.
    pub(crate) fn sandbox(&self) -> Sandbox {
        let mut sandbox = Sandbox::new(&self.tools)
            .network(Network::Host)
            .bind_rw(&self.run, RUN)
            .bind_device(Path::new("/dev/kvm"));
        for (number, medium) in self.media.iter().enumerate() {
            let inside = format!("/media/{number}");
            sandbox = match medium {
                Medium::Cd(path) | Medium::Usb(path) | Medium::Disk { path, throw_away: true } => {
                    sandbox.bind_ro(path, &inside)
                }
                Medium::Stick(path) | Medium::Disk { path, throw_away: false } => {
                    sandbox.bind_rw(path, &inside)
                }
            };
        }
        sandbox
    }

    /// QEMU's arguments.
    pub fn args(&self) -> Vec<String> {
        let mut args = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["-nodefaults", "-no-user-config", "-name", "xenolith"]);
        let smm = if self.firmware.is_secure() { ",smm=on" } else { "" };
        add(&["-machine", &format!("q35,accel={}{smm}", self.accelerator.name())]);
        add(&["-cpu", self.accelerator.cpu()]);
        add(&["-m", &self.memory.to_string(), "-smp", &self.cpus.to_string()]);
        add(&["-rtc", "base=utc", "-device", "virtio-rng-pci"]);
        for word in self.firmware.args() {
            add(&[&word]);
        }
        // QEMU takes a comma for the end of a value unless it stands twice.
        let value = |text: &String| text.replace(',', ",,");
        if let Some(text) = self.oem_string.as_ref().map(value) {
            add(&["-smbios", &format!("type=11,value={text}")]);
        }
        if let Some(text) = self.fw_cfg.as_ref().map(value) {
            add(&["-fw_cfg", &format!("name=opt/xenolith/answers,string={text}")]);
        }
        add(&["-device", "VGA", "-device", "qemu-xhci,id=usb", "-device", "virtio-scsi-pci,id=scsi"]);
        for (number, medium) in self.media.iter().enumerate() {
            for word in medium_args(number, medium) {
                add(&[&word]);
            }
        }
        for word in self.tpm.iter().flat_map(|_| Tpm::args()) {
            add(&[&word]);
        }
        for word in self.network_args() {
            add(&[&word]);
        }
        match self.serial {
            Serial::Events => {
                let chardev = format!(
                    "socket,id=serial0,path={RUN}/serial.sock,server=on,wait=on,logfile={RUN}/serial.log,logappend=on"
                );
                add(&["-chardev", &chardev, "-serial", "chardev:serial0"]);
            }
            Serial::Terminal => add(&["-serial", "mon:stdio"]),
        }
        match self.display {
            Display::Hidden => add(&["-display", "none"]),
            Display::Vnc(number) => add(&["-display", "none", "-vnc", &format!("127.0.0.1:{number}")]),
        }
        if self.serial == Serial::Events {
            add(&["-qmp", &format!("unix:{RUN}/qmp.sock,server=on,wait=off")]);
        }
        if self.stop_on_reset {
            add(&["-no-reboot"]);
        }
        args
    }

    fn network_args(&self) -> Vec<String> {
        if self.wires > 0 {
            return (0..self.wires).flat_map(|card| self.card_args(card)).collect();
        }
        let mut network = "user,id=net0".to_owned();
        match self.ssh_port {
            Some(port) => network.push_str(&format!(",hostfwd=tcp:127.0.0.1:{port}-:22")),
            None => network.push_str(",restrict=on"),
        }
        if let Some(url) = &self.boot_url {
            network.push_str(&format!(",bootfile={url}"));
        }
        vec!["-netdev".into(), network, "-device".into(), "virtio-net-pci,netdev=net0,romfile=".into()]
    }

    fn card_args(&self, card: usize) -> [String; 4] {
        let (ours, theirs) = (card_socket(card), wire_socket(card));
        let network = format!(
            "dgram,id=net{card},local.type=unix,local.path={RUN}/{ours},remote.type=unix,remote.path={RUN}/{theirs}"
        );
        // A card that does not know its speed is left out of bonds.
        let boot = self.media.len() + 1 + card;
        let device =
            format!("virtio-net-pci,netdev=net{card},romfile=,speed=10000,duplex=full,bootindex={boot}");
        ["-netdev".into(), network, "-device".into(), device]
    }
}

fn medium_args(number: usize, medium: &Medium) -> Vec<String> {
    let boot = number + 1;
    let (drive, device) = match medium {
        Medium::Cd(_) => ("media=cdrom,readonly=on", "scsi-cd,bus=scsi.0"),
        Medium::Usb(_) => ("readonly=on", "usb-storage,bus=usb.0,removable=on"),
        Medium::Stick(_) => ("discard=unmap", "usb-storage,bus=usb.0,removable=on"),
        Medium::Disk { throw_away: true, .. } => ("snapshot=on,discard=unmap", "virtio-blk-pci"),
        Medium::Disk { throw_away: false, .. } => ("discard=unmap", "virtio-blk-pci"),
    };
    vec![
        "-drive".into(),
        format!("if=none,id=medium{number},file=/media/{number},format=raw,{drive}"),
        "-device".into(),
        format!("{device},drive=medium{number},bootindex={boot}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(machine: &Machine) -> String {
        machine.args().join(" ")
    }

    #[test]
    fn a_cd_is_read_only_and_a_throw_away_disk_is_a_snapshot() {
        let media =
            vec![Medium::Cd("/a.iso".into()), Medium::Disk { path: "/b.img".into(), throw_away: true }];
        let line = joined(&Machine::new(Path::new("/tools"), Path::new("/run/vm"), media));
        assert!(line.contains("media=cdrom,readonly=on"));
        assert!(line.contains("snapshot=on"));
    }

    #[test]
    fn emulation_uses_the_one_processor_model_that_boots_a_pv_dom0() {
        let line = joined(&Machine::new(Path::new("/tools"), Path::new("/run/vm"), vec![]));
        assert!(line.contains("-cpu qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2,+sha-ni"));
    }

    #[test]
    fn a_tpm_is_there_only_if_it_was_asked_for() {
        let mut machine = Machine::new(Path::new("/tools"), Path::new("/run/vm"), vec![]);
        assert!(!joined(&machine).contains("tpm"));
        machine.tpm = Some("/memory".into());
        assert!(joined(&machine).contains("-device tpm-tis,tpmdev=tpm0"));
    }

    #[test]
    fn what_firmware_says_keeps_its_commas() {
        let mut machine = Machine::new(Path::new("/tools"), Path::new("/run/vm"), vec![]);
        assert!(!joined(&machine).contains("-smbios") && !joined(&machine).contains("fw_cfg"));
        machine.oem_string = Some("a=b,c".into());
        machine.fw_cfg = Some("d,e".into());
        let line = joined(&machine);
        assert!(line.contains("-smbios type=11,value=a=b,,c"), "{line}");
        assert!(line.contains("-fw_cfg name=opt/xenolith/answers,string=d,,e"), "{line}");
    }

    #[test]
    fn secure_boot_needs_system_management_mode() {
        let mut machine = Machine::new(Path::new("/tools"), Path::new("/run/vm"), vec![]);
        machine.firmware = Firmware::SecureBoot;
        let line = joined(&machine);
        assert!(line.contains("smm=on"));
        assert!(line.contains("secure,value=on"));
    }

    #[test]
    fn on_a_wire_there_is_no_network_of_qemu() {
        let disk = Medium::Disk { path: "/d".into(), throw_away: false };
        let mut machine = Machine::new(Path::new("/t"), Path::new("/r"), vec![disk]);
        machine.ssh_port = Some(2222);
        machine.wires = 2;
        let args = joined(&machine);
        assert!(!args.contains("user,") && args.contains("remote.path=/vm/wire0.sock"), "{args}");
        assert!(args.contains("netdev=net0,romfile=,speed=10000,duplex=full,bootindex=2"), "{args}");
        assert!(args.contains("remote.path=/vm/wire1.sock") && args.contains("bootindex=3"), "{args}");
    }
}
