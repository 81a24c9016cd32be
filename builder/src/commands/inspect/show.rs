//! What was found, for people: one column of names, one of values, tables aligned.

use std::fmt::{self, Write as _};

use xenolith_layout::{Bytes, names::EntryName};

use super::{
    gpt::Table,
    model::{
        Disk, Esp, Inspection, Iso, Netboot, Program, Reserved, RootImage, Signature, UpdateSet, Verity, What,
    },
};

/// The whole text.
pub fn text(found: &Inspection) -> String {
    let mut page = Page(String::new());
    let kind = match &found.what {
        What::BootFile(program) if program.command_lines.is_empty() => "EFI program",
        What::BootFile(_) => "boot file",
        What::Iso(_) => "ISO",
        What::Disk(_) => "disk",
        What::UpdateSet(_) => "update set",
        What::Netboot(_) => "network boot set",
    };
    page.line("", format_args!("{}: {kind}, {}", found.path.display(), size(found.size)));
    match &found.what {
        What::BootFile(program) => page.program(program),
        What::Iso(iso) => page.iso(iso),
        What::Disk(disk) => page.disk(disk),
        What::UpdateSet(set) => page.update_set(set),
        What::Netboot(set) => page.netboot(set),
    }
    for problem in found.broken() {
        page.field("WRONG", problem);
    }
    page.0
}

struct Page(String);

/// A size for people, with the exact number.
fn size(bytes: u64) -> String {
    let shown = Bytes::new(bytes).to_string();
    if bytes < 1024 { shown } else { format!("{shown} ({bytes} bytes)") }
}

fn short(bytes: u64) -> String {
    Bytes::new(bytes).to_string()
}

impl Page {
    fn line(&mut self, indent: &str, text: fmt::Arguments<'_>) {
        writeln!(self.0, "{indent}{text}").expect("a String takes everything");
    }

    fn field(&mut self, name: &str, value: impl fmt::Display) {
        self.line("", format_args!("  {name:<14} {value}"));
    }

    /// Rows of cells, each column as wide as its widest cell; the last one is never padded.
    fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            self.line("    ", format_args!("{}", cells.join("  ").trim_end()));
        }
    }

    fn heading(&mut self, text: &str) {
        self.line("\n", format_args!("{text}"));
    }

    fn program(&mut self, program: &Program) {
        for (name, key) in [("version", "IMAGE_VERSION"), ("name", "PRETTY_NAME"), ("variant", "VARIANT_ID")]
        {
            if let Some(value) = program.os_release.get(key) {
                self.field(name, value);
            }
        }
        for (name, key) in
            [("build", "BUILD_ID"), ("revision", "XENOLITH_REVISION"), ("lock", "XENOLITH_LOCK")]
        {
            if let Some(value) = program.os_release.get(key) {
                self.field(name, value);
            }
        }
        if let Some(hash) = &program.root_hash {
            self.field("root hash", hash);
        }
        self.field("SHA-256", &program.sha256);
        if let Some(digest) = &program.authenticode {
            self.field("signed digest", digest);
        }
        self.field("signature", signature(&program.signature));
        for line in &program.command_lines {
            let name = if line.default { "" } else { &line.name };
            self.field(format!("Xen {name}").trim_end(), &line.xen);
            self.field(format!("dom0 {name}").trim_end(), &line.dom0);
        }
        self.heading("  sections");
        let mut rows = vec![["name", "address", "size", "SHA-256"].map(str::to_owned).to_vec()];
        rows.extend(program.sections.iter().map(|section| {
            let address = format!("{:#010x}", section.rva);
            vec![section.name.clone(), address, short(section.size.get()), section.sha256.to_string()]
        }));
        self.table(&rows);
    }

    fn iso(&mut self, iso: &Iso) {
        self.field("volume id", &iso.volume_id);
        if let Some(sum) = &iso.sha256 {
            self.field("SHA-256", sum);
        }
        for image in &iso.boot_images {
            self.field("boots as CD", format_args!("{}, image at byte {}", image.platform, image.offset));
        }
        if let Some(root) = &iso.root {
            self.root(root);
        }
        self.heading("  files");
        let rows: Vec<Vec<String>> =
            iso.files.iter().map(|file| vec![file.path.clone(), short(file.size)]).collect();
        self.table(&rows);
        if let Some(area) = &iso.reserved {
            self.reserved(area);
        }
        if let Some(table) = &iso.table {
            self.partitions(table);
        }
        if let Some(esp) = &iso.esp {
            self.esp(esp);
        }
    }

    fn reserved(&mut self, area: &Reserved) {
        let what = if area.files.is_empty() { ", empty" } else { "" };
        self.heading(&format!("  reserved area, {} at byte {}{what}", short(area.size), area.offset));
        let rows: Vec<Vec<String>> =
            area.files.iter().map(|file| vec![file.path.clone(), short(file.size)]).collect();
        self.table(&rows);
    }

    fn disk(&mut self, disk: &Disk) {
        self.partitions(&disk.table);
        for slot in &disk.slots {
            self.heading(&format!("  slot {}", slot.slot));
            match &slot.root {
                Some(root) => self.root(root),
                None => self.field("root image", "none"),
            }
        }
        if let Some(esp) = &disk.esp {
            self.esp(esp);
        }
    }

    fn partitions(&mut self, table: &Table) {
        self.heading(&format!("  partitions of disk {}, sectors of {} bytes", table.guid, table.sector));
        let mut rows = vec![["nr", "label", "type", "first LBA", "size", "GUID"].map(str::to_owned).to_vec()];
        rows.extend(table.partitions.iter().map(|partition| {
            vec![
                partition.number.to_string(),
                partition.label.clone(),
                partition.kind.map_or_else(|| partition.type_guid.to_string(), str::to_owned),
                partition.first_lba.to_string(),
                short(partition.size),
                partition.guid.to_string(),
            ]
        }));
        self.table(&rows);
    }

    fn root(&mut self, root: &RootImage) {
        let kind = root.file_system.as_ref().map_or("", |system| system.kind);
        self.field("root image", format_args!("{} {kind}", size(root.size)));
        if let Some(system) = &root.file_system {
            self.field("", format_args!("{} inodes, UUID {}", system.inodes, system.uuid));
        }
        self.field("verity tree", size(root.verity_size));
        if let Some(uuid) = root.verity_uuid {
            self.field("", format_args!("UUID {uuid}"));
        }
        if let Some(hash) = &root.root_hash {
            self.field("root hash", hash);
        }
        if let Some(program) = &root.boot_file {
            self.field("", format_args!("asked for by {program}"));
        }
        match &root.verity {
            Verity::Holds => self.field("verity", "holds: every block is what the root hash stands for"),
            Verity::Broken { why } => self.field("verity", format_args!("BROKEN: {why}")),
            Verity::NotChecked { why } => self.field("verity", format_args!("not checked: {why}")),
        }
    }

    fn esp(&mut self, esp: &Esp) {
        self.heading(&format!(
            "  ESP {} ({}), {}, of which {} are in use",
            esp.label,
            esp.serial,
            short(esp.size),
            short(esp.used)
        ));
        let rows: Vec<Vec<String>> =
            esp.files.iter().map(|file| vec![file.path.clone(), short(file.size)]).collect();
        self.table(&rows);
        for program in &esp.programs {
            self.heading(&format!("  {}", program.path));
            if program.command_lines.is_empty() {
                self.field("SHA-256", &program.sha256);
                self.field("signature", signature(&program.signature));
                continue;
            }
            let name = program.path.rsplit('/').next().unwrap_or(&program.path);
            match name.parse::<EntryName>().ok().map(|entry| entry.tries) {
                Some(Some(tries)) => {
                    self.field("boot entry", format_args!("{} boots left, {} begun", tries.left, tries.done));
                }
                Some(None) => self.field("boot entry", "blessed"),
                None => {}
            }
            self.program(program);
        }
    }

    fn update_set(&mut self, set: &UpdateSet) {
        self.field("version", &set.version);
        self.field("root hash", &set.root_hash);
        self.field("index", signature(&set.signature));
        self.field(
            "frames",
            format_args!("{} of {}, stored in {}", set.frames, short(set.frame_size), short(set.stored)),
        );
        self.root(&set.root);
        self.heading("  files");
        let rows: Vec<Vec<String>> = set
            .files
            .iter()
            .map(|file| {
                let holds = if file.holds { "as the index says" } else { "NOT as the index says" };
                let length = file.size.map_or_else(|| "missing".to_owned(), short);
                vec![file.path.clone(), length, file.sha256.clone(), holds.to_owned()]
            })
            .collect();
        self.table(&rows);
        if let Some(program) = &set.boot_file {
            self.heading(&format!("  {}", program.path));
            self.program(program);
        }
    }

    fn netboot(&mut self, set: &Netboot) {
        if let Some(root) = &set.root {
            self.root(root);
        }
        self.heading("  files");
        let rows: Vec<Vec<String>> =
            set.files.iter().map(|file| vec![file.path.clone(), short(file.size)]).collect();
        self.table(&rows);
        if let Some(program) = &set.boot_file {
            self.heading(&format!("  {}", program.path));
            self.program(program);
        }
    }
}

fn signature(signature: &Signature) -> String {
    match signature {
        Signature::Unsigned => "none".into(),
        Signature::Trusted { signer, fingerprint } => {
            format!("holds, by {signer} ({fingerprint}), who is trusted")
        }
        Signature::Unknown { signer, fingerprint } => {
            let shown = fingerprint.map(|fingerprint| format!(" ({fingerprint})")).unwrap_or_default();
            format!("by {signer}{shown}, whom none of the given keys vouches for")
        }
        Signature::Bad { why } => format!("BAD: {why}"),
    }
}
