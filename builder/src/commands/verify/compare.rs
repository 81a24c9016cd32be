//! Comparing two files, and finding the part of them that differs.
//!
//! ```text
//!   ISO, disk ──▶ files of the ISO, partitions ──▶ ESP: its files ──▶ EFI program: its sections ──▶ .ramdisk: its members
//!                                              └─▶ root image: its files (unpacked by the tools tree's fsck.erofs)
//!   JSON ──▶ its values
//! ```
//! **Whether two files are the same is decided by their bytes alone**; what is inside is looked at only to say where
//! they differ, so that a reader's mistake can blur an answer and never turn it round. With keys that differ ([`Keys`]) there is
//! no such shortcut: then the parts decide, signatures are left out, and what stands between the parts is compared too.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use xenolith_layout::names::NETBOOT_MANIFEST;
use xenolith_sandbox::{Sandbox, Tool};
use xenolith_store::{
    TreeFilter,
    tree::{Entry, Kind, entries},
};

use super::{
    difference::{Difference, How},
    initrd,
};
use crate::{
    commands::inspect::{fat, gpt, image, iso, program::MAX_PROGRAM, update, window::Window},
    steps::media::UPDATE_INDEX_TYPE,
};

/// Differences that are told of one thing; where there are more, the first ones say enough.
const MAX_TOLD: usize = 20;
/// The largest text that is compared value by value.
const MAX_JSON: u64 = 64 << 20;

/// Whether both sides were signed with the same keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// They were: every byte counts.
    Same,
    /// They were not: signatures, and what holds keys or sums of signed files, do not count.
    Differ,
}

/// What a comparison may use.
pub struct Comparison {
    /// Whether signatures count.
    pub keys: Keys,
    /// A tree with fsck.erofs, and a folder to unpack into.
    pub tools: Option<(PathBuf, PathBuf)>,
}

impl Comparison {
    /// Compares two folders, or two files.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn trees(&self, first: &Path, second: &Path) -> io::Result<Vec<Difference>> {
        if fs::metadata(first)?.is_file() && fs::metadata(second)?.is_file() {
            return self.files(first, second);
        }
        let all = TreeFilter::everything();
        let (ours, theirs) = (entries(first, &all)?, entries(second, &all)?);
        let mut found = Vec::new();
        let (mut a, mut b) = (ours.iter().peekable(), theirs.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return Ok(found),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => a.path.as_os_str().cmp(b.path.as_os_str()),
            };
            let ours = order.is_le().then(|| a.next()).flatten();
            let theirs = order.is_ge().then(|| b.next()).flatten();
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => found.extend(self.entry(first, second, ours, theirs)?),
                (Some(ours), None) => found.push(named(How::OnlyInFirst, &ours.path)),
                (None, Some(theirs)) => found.push(named(How::OnlyInSecond, &theirs.path)),
                (None, None) => return Ok(found),
            }
        }
    }

    fn entry(
        &self,
        first: &Path,
        second: &Path,
        ours: &Entry,
        theirs: &Entry,
    ) -> io::Result<Vec<Difference>> {
        if self.keys == Keys::Differ && holds_keys(&ours.path) {
            return Ok(Vec::new());
        }
        let text = |kind: &Kind| match kind {
            Kind::File => "a file".to_owned(),
            Kind::Directory => "a folder".to_owned(),
            Kind::Link(target) => format!("a link to {}", target.display()),
            Kind::Special { kind, device } => format!("a special file {kind:o} {device}"),
        };
        let mut found = Vec::new();
        if ours.kind != theirs.kind {
            found.push(named(How::Text { first: text(&ours.kind), second: text(&theirs.kind) }, &ours.path));
        } else if ours.kind == Kind::File {
            let inside = self.files(&first.join(&ours.path), &second.join(&ours.path))?;
            found.extend(inside.into_iter().map(|one| one.within(ours.path.display().to_string())));
        }
        if ours.mode != theirs.mode && !matches!(ours.kind, Kind::Link(_)) {
            found.push(named(How::Mode { first: ours.mode, second: theirs.mode }, &ours.path));
        }
        Ok(found)
    }

    /// Compares two files; no difference, no answer.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn files(&self, first: &Path, second: &Path) -> io::Result<Vec<Difference>> {
        let (a, b) = (Window::of_file(fs::File::open(first)?)?, Window::of_file(fs::File::open(second)?)?);
        let Some(how) = first_difference(&a, &b)? else { return Ok(Vec::new()) };
        let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(self.explain(&name, &a, &b, how))
    }

    /// The parts in which two files differ that are not the same.
    fn explain(&self, name: &str, a: &Window, b: &Window, how: How) -> Vec<Difference> {
        let mut found = self.parts(name, a, b).unwrap_or_else(|| vec![Difference::here(how)]);
        if found.len() > MAX_TOLD {
            let more = format!("{} more differences", found.len() - MAX_TOLD);
            found.truncate(MAX_TOLD);
            found.push(Difference::here(How::Unreadable { why: more }));
        }
        found
    }

    /// Nothing if the files have no parts that we know, or if no part differs while every byte counts.
    fn parts(&self, name: &str, a: &Window, b: &Window) -> Option<Vec<Difference>> {
        let both = |holds: &dyn Fn(&Window) -> bool| holds(a) && holds(b);
        let found = if both(&|window| window.array::<2>(0).is_ok_and(|head| head == *b"MZ")) {
            self.programs(a, b)
        } else if both(&iso::is_iso) {
            self.isos(a, b)
        } else if both(&|window| gpt::read(window).is_ok()) {
            self.disks(a, b)
        } else if both(&|window| image::erofs(window).is_some()) {
            self.root_images(a, b)
        } else if both(&|window| fat::Volume::open(window.clone()).is_ok()) {
            self.volumes(a, b)
        } else if name == update::INDEX {
            self.indexes(a, b)
        } else if name.ends_with(".json") {
            json(a, b)
        } else if name == "initrd" || name == "section .ramdisk" {
            initrd::differences(&a.to_vec(MAX_PROGRAM).ok()?, &b.to_vec(MAX_PROGRAM).ok()?)
        } else {
            None
        }?;
        (!found.is_empty() || self.keys == Keys::Differ).then_some(found)
    }

    /// Compares windows that may be parts of files.
    fn windows(&self, name: &str, a: &Window, b: &Window) -> Vec<Difference> {
        let found = match first_difference(a, b) {
            Ok(None) => Vec::new(),
            Ok(Some(how)) => self.explain(name, a, b, how),
            Err(error) => vec![Difference::here(How::Unreadable { why: error.to_string() })],
        };
        found.into_iter().map(|one| one.within(name)).collect()
    }

    /// Compares parts by name.
    fn named_parts(&self, ours: &[(String, Window)], theirs: &[(String, Window)]) -> Vec<Difference> {
        let mut found = Vec::new();
        for (name, a) in ours {
            if self.keys == Keys::Differ && holds_keys(Path::new(name)) {
                continue;
            }
            match theirs.iter().find(|(other, _)| other == name) {
                Some((_, b)) => found.extend(self.windows(name, a, b)),
                None => found.push(Difference::here(How::OnlyInFirst).within(name)),
            }
        }
        let missing = theirs.iter().filter(|(name, _)| !ours.iter().any(|(other, _)| other == name));
        found.extend(missing.map(|(name, _)| Difference::here(How::OnlyInSecond).within(name)));
        found
    }

    fn programs(&self, a: &Window, b: &Window) -> Option<Vec<Difference>> {
        let (mut a, mut b) = (a.to_vec(MAX_PROGRAM).ok()?, b.to_vec(MAX_PROGRAM).ok()?);
        let strip = |bytes: &[u8]| xenolith_bootfile::strip_signature(bytes).ok();
        let (plain_a, plain_b) = (strip(&a)?, strip(&b)?);
        if plain_a == plain_b {
            return Some(match self.keys {
                Keys::Differ => Vec::new(),
                Keys::Same => {
                    let at = plain_a.len() as u64;
                    let how = How::Bytes { at, first: a.len() as u64, second: b.len() as u64 };
                    vec![Difference::here(how).within("signature")]
                }
            });
        }
        (a, b) = (plain_a, plain_b);
        let sections = |bytes: &[u8]| -> Option<Vec<(String, Window)>> {
            let found = xenolith_bootfile::inspect(bytes).ok()?;
            let part = |section: &xenolith_bootfile::SectionInfo| {
                let data = found.section(&section.name)?.to_vec();
                let length = data.len() as u64;
                Some((format!("section {}", section.name), Window::new(data, length)))
            };
            found.sections.iter().map(part).collect()
        };
        let found = self.named_parts(&sections(&a)?, &sections(&b)?);
        if found.is_empty() {
            let how = bytes(&a, &b)?;
            return Some(vec![Difference::here(how).within("headers")]);
        }
        Some(found)
    }

    fn isos(&self, a: &Window, b: &Window) -> Option<Vec<Difference>> {
        let parts = |disk: &Window| -> Option<Vec<(String, Window)>> {
            let volume = iso::read(disk).ok()?;
            let files = volume.files.iter().filter_map(|file| {
                Some((file.path.trim_start_matches('/').to_owned(), disk.part(file.offset, file.size)?))
            });
            let mut parts: Vec<_> = files.collect();
            parts.extend(esp(disk));
            Some(parts)
        };
        let mut found = self.named_parts(&parts(a)?, &parts(b)?);
        if self.keys == Keys::Differ {
            found.extend(self.around_esp(a, b));
        }
        Some(found)
    }

    /// What lies before the ESP and behind it, for files whose ESPs may differ by signatures.
    fn around_esp(&self, a: &Window, b: &Window) -> Vec<Difference> {
        let range = |disk: &Window| {
            let table = gpt::read(disk).ok()?;
            let esp = xenolith_layout::TypeGuid::ESP.uuid();
            let partition = table.partitions.into_iter().find(|partition| partition.type_guid == esp)?;
            let end = partition.offset.checked_add(partition.size)?;
            Some((disk.part(0, partition.offset)?, disk.part(end, disk.len().checked_sub(end)?)?))
        };
        let (Some(ours), Some(theirs)) = (range(a), range(b)) else { return Vec::new() };
        let plain = |name: &str, a: &Window, b: &Window| {
            let found = first_difference(a, b);
            let how = found.unwrap_or_else(|error| Some(How::Unreadable { why: error.to_string() }))?;
            Some(Difference::here(how).within(name))
        };
        plain("before the ESP", &ours.0, &theirs.0)
            .into_iter()
            .chain(plain("behind the ESP", &ours.1, &theirs.1))
            .collect()
    }

    fn disks(&self, a: &Window, b: &Window) -> Option<Vec<Difference>> {
        let parts = |disk: &Window| -> Option<Vec<(String, Window)>> {
            let table = gpt::read(disk).ok()?;
            let part = |partition: &gpt::Partition| {
                let name = format!("partition {} ({})", partition.number, partition.label);
                Some((name, disk.part(partition.offset, partition.size)?))
            };
            table.partitions.iter().map(part).collect()
        };
        let mut found = self.named_parts(&parts(a)?, &parts(b)?);
        if found.is_empty() {
            let table = |disk: &Window| gpt::read(disk).map(|table| format!("{table:?}")).ok();
            let (first, second) = (table(a)?, table(b)?);
            if first != second {
                found.push(Difference::here(How::Text { first, second }).within("partition table"));
            }
        }
        Some(found)
    }

    fn volumes(&self, a: &Window, b: &Window) -> Option<Vec<Difference>> {
        let parts = |window: &Window| -> Option<Vec<(String, Window)>> {
            let volume = fat::Volume::open(window.clone()).ok()?;
            let part = |file: &fat::FatFile| {
                let bytes = volume.read(file, MAX_PROGRAM).ok()?;
                let length = bytes.len() as u64;
                Some((file.path.clone(), Window::new(bytes, length)))
            };
            volume.files.iter().map(part).collect()
        };
        Some(self.named_parts(&parts(a)?, &parts(b)?))
    }

    /// The index of an update set, without the sums of signed files if keys differ.
    fn indexes(&self, a: &Window, b: &Window) -> Option<Vec<Difference>> {
        let payload = |window: &Window| -> Option<serde_json::Value> {
            use base64::Engine as _;
            let envelope: serde_json::Value = serde_json::from_slice(&window.to_vec(MAX_JSON).ok()?).ok()?;
            if envelope.get("payloadType")?.as_str()? != UPDATE_INDEX_TYPE {
                return None;
            }
            let text =
                base64::engine::general_purpose::STANDARD.decode(envelope.get("payload")?.as_str()?).ok()?;
            let mut index: serde_json::Value = serde_json::from_slice(&text).ok()?;
            if self.keys == Keys::Differ {
                index.get_mut("files")?.as_object_mut()?.remove("xenolith.efi");
            }
            Some(index)
        };
        let mut found = Vec::new();
        values(&payload(a)?, &payload(b)?, "", &mut found);
        Some(found.into_iter().map(|one| one.within("payload")).collect())
    }

    /// Unpacks both images with the tools tree, if there is one, and compares the files.
    fn root_images(&self, a: &Window, b: &Window) -> Option<Vec<Difference>> {
        let (tree, scratch) = self.tools.as_ref()?;
        let folder = tempfile::tempdir_in(scratch).ok()?;
        for (name, window) in [("first", a), ("second", b)] {
            let mut image = fs::File::create(folder.path().join(format!("{name}.erofs"))).ok()?;
            // A partition is longer than the image in it, and is mostly a hole.
            let size = image::erofs(window)?.size.min(window.len());
            io::copy(&mut window.part(0, size)?, &mut image).ok()?;
        }
        let sandbox = Sandbox::new(tree).bind_rw(folder.path(), "/work");
        let log = folder.path().join("log");
        for name in ["first", "second"] {
            let args = [format!("--extract=/work/{name}"), format!("/work/{name}.erofs")];
            if let Err(error) = sandbox.run(Tool::FsckErofs, args, &log) {
                return Some(vec![Difference::here(How::Unreadable { why: error.to_string() })]);
            }
        }
        self.trees(&folder.path().join("first"), &folder.path().join("second")).ok()
    }
}

/// Files that are made of keys, or of sums of what keys have signed.
fn holds_keys(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    matches!(&*ending, "auth" | "esl" | "crt" | "cer" | "der")
        || name == NETBOOT_MANIFEST
        || name == "manifest.json" && path.parent().is_none_or(|above| above.as_os_str().is_empty())
        || name.starts_with("provenance")
}

fn named(how: How, path: &Path) -> Difference {
    Difference::here(how).within(path.display().to_string())
}

fn esp(disk: &Window) -> Option<(String, Window)> {
    let table = gpt::read(disk).ok()?;
    Some(("ESP".to_owned(), image::esp_of(disk, &table)?.ok()?))
}

fn json(a: &Window, b: &Window) -> Option<Vec<Difference>> {
    let read = |window: &Window| serde_json::from_slice(&window.to_vec(MAX_JSON).ok()?).ok();
    let mut found = Vec::new();
    values(&read(a)?, &read(b)?, "", &mut found);
    Some(found)
}

/// The values in which two documents differ, each with its pointer.
fn values(a: &serde_json::Value, b: &serde_json::Value, at: &str, found: &mut Vec<Difference>) {
    use serde_json::Value::{Array, Object};
    match (a, b) {
        _ if a == b => {}
        (Object(a), Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    Some(other) => values(value, other, &format!("{at}/{key}"), found),
                    None => found.push(Difference::here(How::OnlyInFirst).within(format!("{at}/{key}"))),
                }
            }
            let new = b.keys().filter(|key| !a.contains_key(*key));
            found.extend(new.map(|key| Difference::here(How::OnlyInSecond).within(format!("{at}/{key}"))));
        }
        (Array(a), Array(b)) if a.len() == b.len() => {
            for (number, (a, b)) in a.iter().zip(b).enumerate() {
                values(a, b, &format!("{at}/{number}"), found);
            }
        }
        _ => {
            let text = |value: &serde_json::Value| value.to_string().chars().take(100).collect();
            found.push(Difference::here(How::Text { first: text(a), second: text(b) }).within(at));
        }
    }
}

/// The first byte that differs.
pub fn bytes(a: &[u8], b: &[u8]) -> Option<How> {
    let (first, second) = (a.len() as u64, b.len() as u64);
    let place = a.iter().zip(b).position(|(a, b)| a != b);
    let at = place.map_or(first.min(second), |place| place as u64);
    (place.is_some() || first != second).then_some(How::Bytes { at, first, second })
}

/// The first byte that differs; what is a hole in both is passed over: a disk image is 10 GiB of holes.
fn first_difference(a: &Window, b: &Window) -> io::Result<Option<How>> {
    let (first, second) = (a.len(), b.len());
    let common = first.min(second);
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        at = a.next_data(at).min(b.next_data(at)).min(common);
        let length = usize::try_from(common - at).unwrap_or(usize::MAX).min(ours.len());
        if length == 0 {
            return Ok((first != second).then_some(How::Bytes { at, first, second }));
        }
        a.read_exact_at(&mut ours[..length], at)?;
        b.read_exact_at(&mut theirs[..length], at)?;
        if let Some(How::Bytes { at: place, .. }) = bytes(&ours[..length], &theirs[..length]) {
            return Ok(Some(How::Bytes { at: at + place, first, second }));
        }
        at += length as u64;
    }
}
