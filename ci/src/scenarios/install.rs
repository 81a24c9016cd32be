//! Installations from the ISO onto an empty disk that then boots by itself: by answers, and by the screens.

use std::path::Path;

use anyhow::{Context as _, ensure};
use fs_err as fs;
use xenolith_layout::{Bytes, SectorSize, disk::minimum};
use xenolith_machine::Refusal;
use xenolith_vm::{Medium, Vm};

use super::media::runs_from;
use crate::{
    context::{Context, Count},
    host::{ACTION, BOOT, Bench, disks_not_offered, power_off, ready, status},
};

/// Answers for the machine's one disk, with the key that the seed has let in. The address is where QEMU's network expects a guest
/// that never asked for one.
const WRITE_ANSWERS: &str = r#"umask 077; key=$(cat /etc/ssh/authorized_keys.d/root); cat > /run/answers.toml <<END
version = 1
[target]
disks = [{ path = "vda", size = ">= 8 GiB" }]
[network]
ipv4 = { address = "10.0.2.15/24", gateway = "10.0.2.2" }
[host]
name = "installed-{mac}"
time_zone = "Europe/Vienna"
time_servers = ["10.0.2.2"]
name_servers = ["10.0.2.3"]
[access]
root_password_hash = "\$6\$salt\$a-hash-of-nothing"
ssh_keys = ["$key"]
[finish]
then = "stay"
END"#;
/// What first boot was asked for by these answers.
const TASKS: &[&str] = &[
    "host-keys",
    "host-name",
    "identity",
    "network",
    "root-password",
    "ssh-keys",
    "time-servers",
    "time-zone",
    "tls-certificate",
    "tuning",
];
/// What it has made of them: a command and what stands in its answer.
const MADE: &[(&str, &str)] = &[
    ("hostname", "installed-5254"),
    ("ip -4 -o address show scope global", "inet 10.0.2.15/24"),
    ("ip -4 route show default", "via 10.0.2.2"),
    ("cat /run/systemd/resolve/resolv.conf", "nameserver 10.0.2.3"),
    ("readlink /etc/localtime", "../usr/share/zoneinfo/Europe/Vienna"),
    ("grep -c '^pool' /etc/chrony/chrony.conf || true", "0"),
    ("chronyc -n sources", "10.0.2.2"),
    ("getent shadow root", "root:$6$salt$a-hash-of-nothing:"),
    ("stat -c %a /run/xenolith/state/settings.toml", "600"),
    ("stat -c %a /etc/sysctl.d/70-xenolith-tuning.conf", "644"),
];

/// Boots the ISO as a CD, installs, and starts from the disk without the medium.
pub fn cd(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let target = empty_disk(folder.path())?;
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    let mut bench = Bench::new(context, "iso-cd", Medium::Cd(iso))?;
    bench.machine().media.push(target.clone());
    bench.run(|vm| {
        ready(vm)?;
        runs_from(vm, "iso", &["vda"])?;
        installs(vm)?;
        power_off(vm)
    })?;
    // Neither the medium nor the seed: what lets us in is what was installed.
    bench.machine().media = vec![target];
    bench.run(|vm| {
        ready(vm)?;
        is_installed(vm)?;
        power_off(vm)?;
        Ok(Count::ONE)
    })
}

/// Plans, refuses to go on unasked, and installs onto the one empty disk.
pub fn installs(vm: &Vm) -> anyhow::Result<()> {
    vm.ssh_ok(WRITE_ANSWERS)?;
    let plan = vm.ssh_ok("xenolith-install --answers /run/answers.toml --dry-run")?;
    ensure!(plan.contains("/dev/vda") && plan.contains("will be lost"), "the plan names no disk:\n{plan}");
    let table = "wipefs --no-act --output TYPE --noheadings /dev/vda";
    ensure!(vm.ssh_ok(table)?.trim().is_empty(), "a dry run wrote something");
    let asked = vm.ssh("xenolith-install --answers /run/answers.toml < /dev/null")?;
    ensure!(asked.code == Some(9), "it went on though nobody said yes:\n{}{}", asked.stdout, asked.stderr);
    ensure!(vm.ssh_ok(table)?.trim().is_empty(), "it wrote something though nobody said yes");
    let said = vm.ssh_ok("xenolith-install --answers /run/answers.toml --yes")?;
    println!("{}", said.trim_end());
    ensure!(said.contains("Xenolith is installed"), "it does not say that it is done:\n{said}");
    // Whoever comes late hears the same.
    let heard = vm.ssh_ok("xenolith-install --watch")?;
    let steps = |text: &str| text.lines().filter(|line| line.starts_with('[')).count();
    ensure!(heard.contains("Xenolith is installed") && steps(&heard) > 5, "a watcher hears only:\n{heard}");
    Ok(())
}

/// What holds of a host that runs from the disk that was installed.
pub fn is_installed(vm: &Vm) -> anyhow::Result<()> {
    // What waits for disks is done apart; a job for a unit that runs ends when the unit does.
    vm.ssh_ok("systemctl start xenolith-firstboot-late.service")?;
    let status = status(vm)?;
    ensure!(
        status["boot"]["medium"] == "disk" && status["boot"]["slot"] == "A",
        "booted from elsewhere: {status}"
    );
    ensure!(status["root"]["verity"] == "good", "the root is not verified: {status}");
    ensure!(status["health"]["good"] == true, "the installed host is not fit to stay: {status}");
    let tasks = status["firstboot"]["tasks"].as_object();
    let tasks = tasks.with_context(|| format!("nothing is known of first boot: {status}"))?;
    ensure!(tasks.keys().eq(TASKS), "other tasks than the answers ask for: {status}");
    ensure!(tasks.values().all(|task| task["outcome"] == "done"), "not all tasks are done: {status}");
    ensure!(status["ready"] == true, "first boot has something left to do: {status}");
    for (command, expected) in MADE {
        let said = vm.ssh_ok(command)?;
        ensure!(said.contains(expected), "{command} does not say {expected}:\n{said}");
    }
    let dynamic = vm.ssh_ok("ip -4 -o address show scope global dynamic")?;
    ensure!(dynamic.trim().is_empty(), "an address came from DHCP:\n{dynamic}");
    let disks = disks_not_offered(vm)?;
    let own = disks.get("vda").is_some_and(|why| why.contains(&Refusal::RunningFrom));
    ensure!(own, "an installation would take the disk that the host runs from: {disks:?}");
    vm.ssh_ok(WRITE_ANSWERS)?;
    let again = vm.ssh("xenolith-install --answers /run/answers.toml --yes")?;
    ensure!(again.code == Some(4), "an installed host installs:\n{}{}", again.stdout, again.stderr);
    Ok(())
}

/// A key of the screens, and what the terminal shows when it has been understood: four strokes, and a password typed twice. Page by page
/// is what `install-vga` does.
const STROKES: &[(&str, &str)] = &[
    ("\r", "[> Take what is proposed <]"),
    ("\r", "Access (2 of 4)"),
    (PASSWORD, "[*************_"),
    ("\r", "> The same again"),
    (PASSWORD, "[*************_"),
    ("\r", "[> Back <]"),
    // Right.
    ("\x1b[C", "[> Install <]"),
    ("\r", "Installation (4 of 4)"),
];
/// root's, as somebody types it.
pub const PASSWORD: &str = "correct horse";

/// Installs by the screens on the serial line, key by key, and logs in there on the installed host.
pub fn screens(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let target = empty_disk(folder.path())?;
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    let mut bench = Bench::new(context, "install-screens", Medium::Cd(iso))?;
    bench.machine().media.push(target.clone());
    bench.run(|vm| {
        ready(vm)?;
        vm.shows("Press Enter to install", ACTION)?;
        for (keys, shown) in STROKES {
            vm.type_serial(keys)?;
            vm.shows(shown, ACTION)?;
        }
        let shown = vm.shows("Xenolith is installed.", BOOT)?;
        println!("{}", shown.trim_end());
        vm.shows("[> Restart <]", ACTION)?;
        vm.type_serial("\x1b[C")?;
        vm.shows("[> Power off <]", ACTION)?;
        vm.type_serial("\r")?;
        Ok(vm.ended(ACTION)?)
    })?;
    bench.machine().media = vec![target];
    bench.run(|vm| {
        ready(vm)?;
        vm.shows("Press Enter to log in as root.", ACTION)?;
        vm.type_serial("\r")?;
        vm.shows("Password:", ACTION)?;
        vm.type_serial(&format!("{PASSWORD}\r"))?;
        // Nothing here answers where its cursor is, so the menus come as numbered lines.
        vm.shows("Number or word:", ACTION)?;
        vm.type_serial("shell\r")?;
        vm.shows("root@xenolith:~#", ACTION)?;
        vm.type_serial("clear; xenolith-firstboot status\r")?;
        let done = vm.shows("root-password   done", ACTION)?;
        ensure!(!done.contains("FAILED"), "a task of first boot failed:\n{done}");
        vm.type_serial("systemctl poweroff\r")?;
        vm.ended(ACTION)?;
        Ok(Count::ONE)
    })
}

/// A disk that is just large enough, with nothing on it.
pub fn empty_disk(folder: &Path) -> anyhow::Result<Medium> {
    let path = folder.join("disk.img");
    let size = minimum(SectorSize::B512, false) + Bytes::gib(2);
    fs::File::create(&path)?.set_len(size.get())?;
    Ok(Medium::Disk { path, throw_away: false })
}
