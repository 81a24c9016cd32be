//! An installation by a keyboard and a screen: keys go in through the machine's own keyboard, and what is on its first console is read
//! back from the kernel. Pictures of it are kept for the documentation.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::json;
use xenolith_disk::esp;
use xenolith_vm::{Medium, Vm};

use super::install::{PASSWORD, empty_disk};
use crate::{
    context::{Context, Count},
    host::{ACTION, Bench, power_off, ready, status},
};

/// Milliseconds that a key is down. Anything longer than a poll of QEMU's keyboard is felt.
const HOLD: u32 = 40;
/// The label of a stick that records are saved on, and how many bytes it has.
const STICK: &str = "RECORDS";
const STICK_SIZE: u64 = 64 << 20;
/// Keys, by QEMU's names for them.
const ENTER: &str = "ret";
const RIGHT: &str = "right";
const BACK: &str = "esc";
const FIRST: &str = "home";
const LAST: &str = "end";

/// Installs by keyboard and screen, with a key for SSH that is typed, and uses the installed host's console likewise.
pub fn vga(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let target = empty_disk(folder.path())?;
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    let mut bench = Bench::new(context, "install-vga", Medium::Cd(iso))?;
    let stick = folder.path().join("stick.img");
    esp::write(&stick, STICK_SIZE, STICK, 0x5354_4943, &[])?;
    bench.machine().media.extend([target.clone(), Medium::Stick(stick)]);
    let picture = |vm: &mut Vm, name: &str| context.keep_picture(&vm.screenshot()?, name);
    bench.run(|vm| {
        ready(vm)?;
        // The key that lets us look is the one that a person would have at hand.
        let key = vm.ssh_ok("cut -d ' ' -f 1,2 /etc/ssh/authorized_keys.d/root")?;
        until(vm, "Press Enter to install")?;
        picture(vm, "medium-console.png")?;
        leads_to(vm, ENTER, "Welcome (1 of 9)")?;
        shell(vm)?;
        picture(vm, "installer-welcome.png")?;
        leads_to(vm, RIGHT, "[> Next <]")?;
        leads_to(vm, ENTER, "Disk (2 of 9)")?;
        picture(vm, "installer-disk.png")?;
        for page in [
            "Storage for guests (3 of 9)",
            "Management network (4 of 9)",
            "Name and clock (5 of 9)",
            "Access (6 of 9)",
        ] {
            leads_to(vm, ENTER, page)?;
        }
        for (text, then) in
            [(PASSWORD, "> The same again"), (PASSWORD, "> SSH key"), (key.trim(), "> Another SSH key")]
        {
            type_keys(vm, text)?;
            leads_to(vm, ENTER, then)?;
        }
        leads_to(vm, ENTER, "[> Next <]")?;
        leads_to(vm, ENTER, "Pool (7 of 9)")?;
        leads_to(vm, ENTER, "[> Back <]")?;
        picture(vm, "installer-summary.png")?;
        leads_to(vm, RIGHT, "[> Install <]")?;
        press(vm, ENTER)?;
        watches(vm)?;
        until(vm, ">>   write the boot files")?;
        picture(vm, "installer-progress.png")?;
        until(vm, "Xenolith is installed.")?;
        picture(vm, "installer-done.png")?;
        saves(vm)?;
        picture(vm, "installer-saved.png")?;
        leads_to(vm, BACK, "Xenolith is installed.")?;
        press(vm, FIRST)?;
        leads_to(vm, RIGHT, "[> Power off <]")?;
        press(vm, ENTER)?;
        Ok(vm.ended(ACTION)?)
    })?;
    bench.machine().media = vec![target];
    bench.run(|vm| {
        ready(vm)?;
        // The key was typed without a slip if this comes in.
        ensure!(status(vm)?["boot"]["medium"] == "disk", "it started from elsewhere");
        until(vm, "Press Enter to log in as root.")?;
        picture(vm, "host-console.png")?;
        leads_to(vm, ENTER, "Password")?;
        type_keys(vm, PASSWORD)?;
        leads_to(vm, ENTER, "Log out")?;
        picture(vm, "host-menu.png")?;
        power_off(vm)?;
        Ok(Count::ONE)
    })
}

/// A shell, and back to the screens.
fn shell(vm: &mut Vm) -> anyhow::Result<()> {
    leads_to(vm, "f2", "root@xenolith:~#")?;
    type_keys(vm, "exit")?;
    leads_to(vm, ENTER, "Welcome (1 of 9)")
}

/// The second console watches what the first one does.
fn watches(vm: &mut Vm) -> anyhow::Result<()> {
    send(vm, &["alt", "f2"])?;
    until_on(vm, 2, "Press Enter to install")?;
    press(vm, ENTER)?;
    until_on(vm, 2, "Somebody else installs")?;
    send(vm, &["alt", "f1"])
}

/// Saves answers and logs on the stick, by the buttons of the last page.
fn saves(vm: &mut Vm) -> anyhow::Result<()> {
    leads_to(vm, LAST, "[> Save answers <]")?;
    leads_to(vm, ENTER, STICK)?;
    press(vm, FIRST)?;
    leads_to(vm, ENTER, "It can be pulled out.")?;
    let read = format!(
        "mount -r $(blkid -L {STICK}) /mnt && cat /mnt/xenolith-*-1/answers.toml && ls /mnt/xenolith-*-1 && umount /mnt"
    );
    let saved = vm.ssh_ok(&read)?;
    for expected in ["root_password_hash = \"$6$", "machine.json"] {
        ensure!(saved.contains(expected), "the stick does not hold {expected}:\n{saved}");
    }
    ensure!(!saved.contains(PASSWORD), "the stick holds a password");
    Ok(())
}

/// Waits until the first console shows this.
fn until(vm: &Vm, text: &str) -> anyhow::Result<()> {
    until_on(vm, 1, text)
}

/// Waits until this console shows it.
fn until_on(vm: &Vm, console: u32, text: &str) -> anyhow::Result<()> {
    // vcs(4), with a space for everything that is no letter. A console that nobody has been to is not there.
    let look = format!("test ! -e /dev/vcs{console} || tr -c '[:print:]' ' ' < /dev/vcs{console}");
    let began = Instant::now();
    loop {
        let shown = vm.ssh_ok(&look)?;
        if shown.contains(text) {
            return Ok(());
        }
        ensure!(began.elapsed() < ACTION, "console {console} does not show {text:?}, but:\n{shown}");
    }
}

/// Presses a key, and waits until the first console shows what it leads to.
fn leads_to(vm: &mut Vm, key: &str, shown: &str) -> anyhow::Result<()> {
    press(vm, key)?;
    until(vm, shown)
}

fn press(vm: &mut Vm, key: &str) -> anyhow::Result<()> {
    send(vm, &[key])
}

fn type_keys(vm: &mut Vm, text: &str) -> anyhow::Result<()> {
    text.chars().try_for_each(|character| {
        let (shift, key) = key_of(character).with_context(|| format!("no key is known for {character:?}"))?;
        if shift { send(vm, &["shift", &key]) } else { send(vm, &[&key]) }
    })
}

/// Keys that are pressed together, by QEMU's names for them.
fn send(vm: &mut Vm, keys: &[&str]) -> anyhow::Result<()> {
    let keys: Vec<_> = keys.iter().map(|key| json!({ "type": "qcode", "data": key })).collect();
    vm.qmp("send-key", &json!({ "keys": keys, "hold-time": HOLD }))?;
    Ok(())
}

/// The key of a keyboard of the USA that types this, and whether with shift.
fn key_of(character: char) -> Option<(bool, String)> {
    let (shift, key) = match character {
        ' ' => (false, "spc"),
        '-' => (false, "minus"),
        '/' => (false, "slash"),
        '=' => (false, "equal"),
        '+' => (true, "equal"),
        _ if character.is_ascii_alphanumeric() => {
            return Some((character.is_ascii_uppercase(), character.to_ascii_lowercase().to_string()));
        }
        _ => return None,
    };
    Some((shift, key.to_owned()))
}
