//! What each element means.

use std::collections::BTreeSet;

use roxmltree::{Document, Node};
use xenolith_settings::{Access, Host, Network};

use super::{Dialect, Fate, Line, disks::Disks};
use crate::password::hash_password;
use crate::types::{Answers, Encryption, Finish, Storage, StorageKind, Target};

/// Goes through a document once.
pub(super) struct Reader<'a> {
    document: &'a Document<'a>,
    report: Vec<Line>,
    pub(super) answers: Answers,
    pub(super) disks: Disks,
    dialect: Dialect,
    storage: Option<StorageKind>,
    /// Elements that may stand there once, and did.
    seen: BTreeSet<String>,
}

/// Elements that may stand there more than once.
const SEVERAL: &[&str] = &[
    "name-server",
    "nameserver",
    "ntp-server",
    "ntp-servers",
    "source",
    "driver-source",
    "script",
    "service",
    "fcoe-interface",
];
/// The longest password, in bytes: the work for its hash grows with it.
const LONGEST_PASSWORD: usize = 128;

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Document<'a>, dialect: Dialect, ssh_keys: Vec<String>) -> Self {
        let answers = Answers {
            // That format knows nothing of them.
            kept: None,
            pool: None,
            version: 1,
            target: Target { disks: Vec::new(), erase: false, state: None, encryption: Encryption::None },
            storage: Storage::default(),
            network: Network::default(),
            host: Host::default(),
            access: Access { root_password_hash: None, ssh_keys },
            finish: Finish::default(),
        };
        Self {
            document,
            report: Vec::new(),
            answers,
            disks: Disks::default(),
            dialect,
            storage: None,
            seen: BTreeSet::new(),
        }
    }

    pub(super) fn read(mut self) -> (Answers, Vec<Line>) {
        let root = self.document.root_element();
        self.root(root);
        for node in root.children().filter(Node::is_element) {
            self.element(node);
        }
        if !self.answers.access.ssh_keys.is_empty() && self.answers.access.root_password_hash.is_none() {
            self.ignored(
                root,
                "the host has no root password; the SSH keys given beside the file let you in",
            );
        }
        let kind = self.storage.unwrap_or(self.dialect.storage());
        self.settle_disks(root, kind);
        (self.answers, self.report)
    }

    fn root(&mut self, root: Node<'_, '_>) {
        match root.tag_name().name() {
            "installation" => {}
            "upgrade" => self.refused(root, "upgrades are made by the running host, not by the installer"),
            "restore" => {
                self.refused(root, "there is no backup to go back to; the host rolls back by itself")
            }
            _ => self.refused(root, "this is no answer file: the outermost element has to be `installation`"),
        }
        for attribute in root.attributes() {
            let value = attribute.value().trim();
            match attribute.name() {
                "mode" if value == "fresh" => self.attribute_mapped(root, "mode", "what an installation is"),
                "mode" => self.attribute_refused(root, "mode", "only fresh installations are made"),
                name @ ("sr-type" | "srtype") => match value {
                    "lvm" | "ext" => {
                        let kind = if value == "lvm" { StorageKind::Lvm } else { StorageKind::Ext };
                        self.storage = Some(kind);
                        self.attribute_mapped(root, name, "storage.kind");
                    }
                    _ => {
                        self.attribute_refused(root, name, "storage of this kind is not made; use lvm or ext")
                    }
                },
                name @ ("repo-gpgcheck" | "gpgcheck" | "netinstall-gpg-check") => {
                    self.attribute_ignored(root, name, "the image's signature is always checked");
                }
                name => self.attribute_refused(root, name, "not known"),
            }
        }
    }

    fn element(&mut self, node: Node<'_, '_>) {
        let name = node.tag_name().name();
        if !SEVERAL.contains(&name) && !self.seen.insert(name.to_owned()) {
            return self.refused(node, "it stands there twice");
        }
        match name {
            "primary-disk" => self.primary_disk(node),
            "guest-disks" => self.guest_disks(node),
            "raid" => self.raid(node),
            "admin-interface" => self.admin_interface(node),
            "root-password" => self.root_password(node),
            "source" => {
                self.ignored(node, "the image is the one that the installer was started with");
            }
            "name-server" | "nameserver" => {
                let text = self.text(node);
                self.answers.host.name_servers.extend(text);
                self.mapped(node, "host.name_servers");
            }
            "hostname" => {
                self.answers.host.name = self.text(node);
                self.mapped(node, "host.name");
            }
            "timezone" => {
                self.answers.host.time_zone = self.text(node);
                self.mapped(node, "host.time_zone");
            }
            "keymap" => {
                self.answers.host.keyboard = self.text(node);
                self.mapped(node, "host.keyboard");
            }
            "ntp" => self.ntp(node),
            "ntp-server" | "ntp-servers" => self.time_server(node),
            "network-backend" => self.ignored(node, "networks are always switched by Open vSwitch"),
            "bootloader" => self.ignored(node, "the loader is systemd-boot, and a boot entry is always made"),
            "ui-confirmation-prompt" => match truth(self.text(node).as_deref()) {
                Some(false) => self.ignored(node, "nothing is asked when answers are given"),
                _ => self.refused(node, "an installation with answers asks nothing; leave the answers out"),
            },
            "ssh-mode" => match self.text(node).as_deref() {
                Some("off") if self.answers.access.ssh_keys.is_empty() => {
                    self.mapped(node, "access.ssh_keys, which is empty");
                }
                _ => self.ignored(node, "SSH is on if and only if there are keys for it"),
            },
            "selected-multiversion-drivers" => self.ignored(node, "there is one version of each driver"),
            "driver-source" => {
                self.refused(node, "driver disks are not read; the image has the drivers that it has")
            }
            "fcoe-interface" => self.refused(node, "Fibre Channel over Ethernet is not supported"),
            "service" => self.refused(node, "services cannot be switched on or off at installation"),
            "script" | "post-install-script" | "install-failed-script" => {
                self.refused(
                    node,
                    "scripts are not run; what they do has to become answers, or be done afterwards",
                );
            }
            "existing-installation" | "backup-disk" => {
                self.refused(node, "it belongs to an upgrade or a restoration");
            }
            "initial-partitions" => self.refused(node, "partitions are not made beforehand"),
            _ => self.refused(node, "not known"),
        }
    }

    fn root_password(&mut self, node: Node<'_, '_>) {
        let hashed = match node.attribute("type") {
            None | Some("plaintext") => false,
            Some("hash") => true,
            Some(_) => return self.attribute_refused(node, "type", "neither `hash` nor `plaintext`"),
        };
        self.only_attributes(node, &["type"]);
        match (self.text(node), hashed) {
            (None, _) => self.refused(node, "it is empty; leave it out, and give SSH keys beside the file"),
            (Some(hash), true) if hash == "!!" => {
                self.ignored(node, "no password is set, and none is asked for at the first start");
            }
            (Some(hash), true) => {
                self.answers.access.root_password_hash = Some(hash);
                self.mapped(node, "access.root_password_hash");
            }
            (Some(password), false) if password.len() > LONGEST_PASSWORD => {
                self.refused(node, "the password is longer than 128 bytes");
            }
            (Some(password), false) => match hash_password(&password) {
                Some(hash) => {
                    self.answers.access.root_password_hash = Some(hash);
                    self.mapped(
                        node,
                        "access.root_password_hash, hashed now; whoever has read the file knows it",
                    );
                }
                None => self.refused(node, "it cannot be hashed here; give `type=\"hash\"` and a hash"),
            },
        }
    }

    fn ntp(&mut self, node: Node<'_, '_>) {
        let children: Vec<_> = node.children().filter(Node::is_element).collect();
        match node.attribute("source") {
            Some("manual") => self.mapped(node, "host.time_servers"),
            None | Some("dhcp" | "default") if children.is_empty() => {
                self.mapped(node, "host.time_servers, which is left out");
            }
            None | Some("dhcp" | "default") => {
                self.attribute_refused(node, "source", "servers can be named with `manual` only");
            }
            Some("none") => self.refused(node, "a host always keeps its clock by NTP"),
            Some(_) => self.attribute_refused(node, "source", "not known"),
        }
        self.only_attributes(node, &["source"]);
        for child in children {
            match child.tag_name().name() {
                "ntp-server" | "ntp-servers" => self.time_server(child),
                _ => self.refused(child, "not known"),
            }
        }
    }

    fn time_server(&mut self, node: Node<'_, '_>) {
        let text = self.text(node);
        self.answers.host.time_servers.extend(text);
        self.mapped(node, "host.time_servers");
    }

    /// An element's text without the space around it; nothing if that is all.
    pub(super) fn text(&self, node: Node<'_, '_>) -> Option<String> {
        let text: String = node.children().filter(Node::is_text).filter_map(|text| text.text()).collect();
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Refuses all attributes but these.
    pub(super) fn only_attributes(&mut self, node: Node<'_, '_>, known: &[&str]) {
        for attribute in node.attributes().filter(|attribute| !known.contains(&attribute.name())) {
            self.attribute_refused(node, attribute.name(), "not known");
        }
    }

    pub(super) fn mapped(&mut self, node: Node<'_, '_>, to: &str) {
        self.report(node, None, Fate::Mapped { to: to.to_owned() });
    }

    pub(super) fn ignored(&mut self, node: Node<'_, '_>, why: &str) {
        self.report(node, None, Fate::Ignored { why: why.to_owned() });
    }

    pub(super) fn refused(&mut self, node: Node<'_, '_>, why: &str) {
        self.report(node, None, Fate::Refused { why: why.to_owned() });
    }

    pub(super) fn attribute_mapped(&mut self, node: Node<'_, '_>, attribute: &str, to: &str) {
        self.report(node, Some(attribute), Fate::Mapped { to: to.to_owned() });
    }

    pub(super) fn attribute_ignored(&mut self, node: Node<'_, '_>, attribute: &str, why: &str) {
        self.report(node, Some(attribute), Fate::Ignored { why: why.to_owned() });
    }

    pub(super) fn attribute_refused(&mut self, node: Node<'_, '_>, attribute: &str, why: &str) {
        self.report(node, Some(attribute), Fate::Refused { why: why.to_owned() });
    }

    fn report(&mut self, node: Node<'_, '_>, attribute: Option<&str>, fate: Fate) {
        let line = self.document.text_pos_at(node.range().start).row;
        let element = node.tag_name().name();
        let tag = attribute.map_or_else(|| element.to_owned(), |attribute| format!("{element}@{attribute}"));
        self.report.push(Line { line, tag, fate });
    }
}

/// The words that the old installer takes for true and false.
pub(super) fn truth(text: Option<&str>) -> Option<bool> {
    match text?.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" => Some(true),
        "no" | "false" | "0" => Some(false),
        _ => None,
    }
}
