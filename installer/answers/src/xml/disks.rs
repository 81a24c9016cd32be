//! Disks and storage: the old installer names them, and erases them without asking.

use roxmltree::Node;

use super::reader::{Reader, truth};
use crate::disk_rule::DiskRule;
use crate::types::StorageKind;

/// What a file says of disks, until all of it is read.
#[derive(Default)]
pub(super) struct Disks {
    primary: Option<String>,
    /// Both halves of a mirror, with the name under which it is the primary disk.
    mirror: Option<(String, Vec<String>)>,
    guests: Vec<String>,
    /// `guest-storage="no"`.
    without_storage: bool,
}

impl Reader<'_> {
    pub(super) fn primary_disk(&mut self, node: Node<'_, '_>) {
        for attribute in node.attributes() {
            let yes = truth(Some(attribute.value()));
            match attribute.name() {
                name @ ("guest-storage" | "gueststorage") => match yes {
                    Some(yes) => {
                        self.disks.without_storage = !yes;
                        self.attribute_mapped(node, name, "storage.kind");
                    }
                    None => self.attribute_refused(node, name, "neither yes nor no"),
                },
                "preserve-first-partition" if yes == Some(true) => {
                    let why = "no partition of the disk can be kept";
                    self.attribute_refused(node, "preserve-first-partition", why);
                }
                "preserve-first-partition" => {
                    self.attribute_ignored(node, "preserve-first-partition", "the whole disk is used");
                }
                "swraid" => {
                    let halves = attribute.value().split(',').map(|half| half.trim().to_owned()).collect();
                    self.mirror(node, "swraid", halves);
                }
                name @ ("sr-at-end" | "fs-type") => {
                    self.attribute_ignored(node, name, "the layout of the disk is the same on every host");
                }
                name => self.attribute_refused(node, name, "not known"),
            }
        }
        match self.text(node) {
            Some(name) if name.starts_with("iscsi:") => {
                self.refused(node, "starting from a LUN over iSCSI is not supported");
            }
            Some(name) => {
                self.disks.primary = Some(name);
                let to = "target.disks, with target.erase: what is on the disk goes, as it went before";
                self.mapped(node, to);
            }
            None if self.disks.mirror.is_some() => self.mapped(node, "target.disks"),
            None => self.refused(node, "it names no disk"),
        }
    }

    /// XCP-ng's mirror, `<raid device="md127"><disk>sda</disk><disk>sdb</disk></raid>`.
    pub(super) fn raid(&mut self, node: Node<'_, '_>) {
        self.only_attributes(node, &["device"]);
        let Some(device) = node.attribute("device") else {
            return self.refused(node, "it has no `device`, by which `primary-disk` could name it");
        };
        let mut halves = Vec::new();
        for child in node.children().filter(Node::is_element) {
            match (child.tag_name().name(), self.text(child)) {
                ("disk", Some(disk)) => halves.push(disk),
                ("disk", None) => self.refused(child, "it names no disk"),
                _ => self.refused(child, "not known"),
            }
        }
        self.mirror(node, device, halves);
    }

    fn mirror(&mut self, node: Node<'_, '_>, device: &str, halves: Vec<String>) {
        if self.disks.mirror.is_some() {
            return self
                .refused(node, "there is a mirror already, and only the system's disks can be mirrored");
        }
        if halves.len() != 2 || halves.iter().any(|half| half.is_empty() || half == "missing") {
            return self.refused(node, "a mirror is made of exactly two disks that are there");
        }
        self.disks.mirror = Some((device.to_owned(), halves));
        self.mapped(node, "target.disks, two for a mirror");
    }

    pub(super) fn guest_disks(&mut self, node: Node<'_, '_>) {
        for child in node.children().filter(Node::is_element) {
            match (child.tag_name().name(), self.text(child)) {
                ("guest-disk", Some(disk)) => {
                    self.disks.guests.push(disk);
                    self.mapped(child, "storage.disks");
                }
                ("guest-disk", None) => self.refused(child, "it names no disk"),
                _ => self.refused(child, "not known"),
            }
        }
    }

    /// Rules from the names, when all of them are known.
    pub(super) fn settle_disks(&mut self, root: Node<'_, '_>, kind: StorageKind) {
        let disks = std::mem::take(&mut self.disks);
        let targets = match (&disks.primary, &disks.mirror) {
            (Some(primary), Some((device, halves))) if bare(primary) == bare(device) => halves.clone(),
            (None, Some((device, halves))) if device == "swraid" => halves.clone(),
            (Some(_), Some(_)) => {
                return self.refused(root, "`primary-disk` does not name the mirror; both cannot be");
            }
            (Some(primary), None) => vec![primary.clone()],
            (None, _) => return self.refused(root, "`primary-disk` is missing"),
        };
        let is_target = |disk: &String| targets.iter().any(|target| bare(target) == bare(disk));
        let guests: Vec<&String> = disks.guests.iter().filter(|disk| !is_target(disk)).collect();
        if disks.without_storage && !guests.is_empty() {
            self.ignored(root, "the rest of the system's disk becomes storage as well as the guest disks");
        }
        if !disks.without_storage || !guests.is_empty() {
            self.answers.storage.kind = kind;
        }
        self.answers.storage.disks = guests.into_iter().map(|disk| rule(disk)).collect();
        self.answers.target.disks = targets.iter().map(|disk| rule(disk)).collect();
        self.answers.target.erase = true;
    }
}

fn bare(disk: &str) -> &str {
    disk.strip_prefix("/dev/").unwrap_or(disk)
}

/// The disk of this name: bare names are below `/dev`.
fn rule(disk: &str) -> DiskRule {
    DiskRule { path: Some(format!("/dev/{}", bare(disk))), count: 1, ..DiskRule::default() }
}
