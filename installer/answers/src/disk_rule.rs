//! Rules that choose disks.
//!
//! **A rule that matches another number of disks than it says chooses none.** Of disks that look alike an installer that takes the
//! first one takes the wrong one some day; the refusal lists all disks, so that the rule can be made to fit from what it says.

use std::fmt::{self, Write as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenolith_machine::{Bus, Disk, Machine, NO_DISKS, judge};

use crate::size::SizeRange;

/// What a disk has to be. All that is given has to hold; `*` in a text stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskRule {
    /// Its serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its world wide name, such as `0x5000c500a1b2c3d4` or `eui.0025…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// Its name or a link to it: `sda`, `/dev/nvme0n1`, `/dev/disk/by-path/pci-…`. Names such as `sda` change from boot to boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its size: "480 GB" (within 4 %), ">= 1 TB", "400 GB..600 GB".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeRange>,
    /// How it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub bus: Option<Bus>,
    /// The smallest or the largest of those that match. Two of the same size are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick>,
    /// How many disks it has to match. Left out: 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u16,
}

fn one() -> u16 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(count: &u16) -> bool {
    *count == 1
}

/// One of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// The smallest.
    Smallest,
    /// The largest.
    Largest,
}

impl DiskRule {
    /// A rule for exactly this disk, by what names it best.
    pub fn naming(disk: &Disk) -> Self {
        let rule = Self { count: 1, ..Self::default() };
        match (&disk.wwn, &disk.serial) {
            (Some(wwn), _) => Self { wwn: Some(wwn.clone()), ..rule },
            (None, Some(serial)) => Self { serial: Some(serial.clone()), ..rule },
            (None, None) => Self {
                path: Some(
                    disk.links.first().map_or_else(|| disk.path(), |link| format!("/dev/disk/{link}")),
                ),
                ..rule
            },
        }
    }

    /// Whether it says anything about the disk.
    pub fn is_empty(&self) -> bool {
        *self == Self { count: self.count, ..Self::default() }
    }

    fn matches(&self, disk: &Disk) -> bool {
        let text = |wanted: &Option<String>, found: &Option<String>| match (wanted, found) {
            (None, _) => true,
            (Some(wanted), Some(found)) => like(wanted, found),
            (Some(_), None) => false,
        };
        text(&self.serial, &disk.serial)
            && text(&self.model, &disk.model)
            && text(&self.wwn.as_ref().map(|wwn| wwn.to_ascii_lowercase()), &disk.wwn)
            && self.path.as_ref().is_none_or(|path| names(path, disk))
            && self.size.is_none_or(|size| size.contains(disk.size))
            && self.bus.is_none_or(|bus| bus == disk.bus)
    }
}

impl fmt::Display for DiskRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts =
            [("serial", &self.serial), ("wwn", &self.wwn), ("path", &self.path), ("model", &self.model)];
        let mut said: Vec<String> =
            texts.iter().filter_map(|(name, text)| Some(format!("{name} = {:?}", text.as_ref()?))).collect();
        said.extend(self.size.map(|size| format!("size = \"{size}\"")));
        said.extend(self.bus.map(|bus| format!("bus = {bus}")));
        said.extend(
            self.pick.map(|pick| {
                format!("pick = {}", if pick == Pick::Smallest { "smallest" } else { "largest" })
            }),
        );
        said.extend((self.count != 1).then(|| format!("count = {}", self.count)));
        write!(f, "{{ {} }}", said.join(", "))
    }
}

/// Whether `text` is what `pattern` says. Takes time proportional to the product of their lengths at worst.
fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            match rest.find(before) {
                Some(at) => rest = &rest[at + before.len()..],
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

fn names(path: &str, disk: &Disk) -> bool {
    let bare = path.strip_prefix("/dev/disk/").or_else(|| path.strip_prefix("/dev/mapper/"));
    let bare = bare.or_else(|| path.strip_prefix("/dev/")).unwrap_or(path);
    bare == disk.name || bare == disk.kernel_name || disk.links.iter().any(|link| link == bare)
}

/// Why rules choose nothing. It prints the rule, what it matched, and all disks of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMatch {
    /// Which rule, as it is written.
    pub rule: String,
    /// What is wrong with it.
    pub why: String,
    /// A line for each disk.
    pub disks: Vec<String>,
}

impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk rule {} {}; this machine has:", self.rule, self.why)?;
        self.disks.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for NoMatch {}

/// The disks that each rule chooses, in the machine's order.
///
/// # Errors
/// [`NoMatch`] for the first rule that does not match what it says, or matches a disk that an earlier one has.
pub fn choose<'a>(machine: &'a Machine, rules: &[DiskRule]) -> Result<Vec<Vec<&'a Disk>>, NoMatch> {
    let mut chosen: Vec<Vec<&Disk>> = Vec::new();
    for rule in rules {
        let refuse = |why: String| NoMatch { rule: rule.to_string(), why, disks: listed(machine) };
        let matching: Vec<&Disk> = machine.disks.iter().filter(|disk| rule.matches(disk)).collect();
        let (offered, refused): (Vec<&Disk>, Vec<&Disk>) =
            matching.into_iter().partition(|disk| judge(machine, disk).is_offered());
        let picked = pick(rule.pick, &offered);
        if picked.len() != usize::from(rule.count) {
            let mut why =
                format!("has to match {}, but matches {}", disks(usize::from(rule.count)), picked.len());
            if !picked.is_empty() {
                let names: Vec<_> = picked.iter().map(|disk| disk.name.as_str()).collect();
                let _ = write!(why, " ({})", names.join(", "));
            }
            for disk in refused {
                let _ = write!(why, "; {} would match, but {}", disk.name, reasons(machine, disk));
            }
            return Err(refuse(why));
        }
        let taken =
            |disk: &&&Disk| chosen.iter().flatten().any(|earlier| earlier.kernel_name == disk.kernel_name);
        if let Some(twice) = picked.iter().find(taken) {
            return Err(refuse(format!("matches {}, which an earlier rule has chosen", twice.name)));
        }
        chosen.push(picked);
    }
    Ok(chosen)
}

fn pick<'a>(pick: Option<Pick>, disks: &[&'a Disk]) -> Vec<&'a Disk> {
    let sizes = disks.iter().map(|disk| disk.size);
    let wanted = match pick {
        None => return disks.to_vec(),
        Some(Pick::Smallest) => sizes.min(),
        Some(Pick::Largest) => sizes.max(),
    };
    disks.iter().copied().filter(|disk| Some(disk.size) == wanted).collect()
}

fn disks(count: usize) -> String {
    if count == 1 { "1 disk".to_owned() } else { format!("{count} disks") }
}

fn reasons(machine: &Machine, disk: &Disk) -> String {
    let reasons: Vec<_> = judge(machine, disk).refusals.iter().map(ToString::to_string).collect();
    reasons.join(", and ")
}

/// A line for each disk: what a rule can ask for, and why it is not offered if it is not.
fn listed(machine: &Machine) -> Vec<String> {
    let lines = machine.disks.iter().map(|disk| {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mut line = format!(
            "{}  {}  {}  model {}  serial {}  wwn {}",
            disk.name,
            disk.size,
            disk.bus,
            known(&disk.model),
            known(&disk.serial),
            known(&disk.wwn)
        );
        if !judge(machine, disk).is_offered() {
            let _ = write!(line, "  (not offered: {})", reasons(machine, disk));
        }
        line
    });
    let mut lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        lines.push(NO_DISKS.to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, fits) in [
            ("S3Z*", "S3Z8NB", true),
            ("*NB", "S3Z8NB", true),
            ("S*8*B", "S3Z8NB", true),
            ("*", "", true),
            ("S3Z8NB", "S3Z8NB", true),
            ("S3Z8", "S3Z8NB", false),
            ("a*a", "a", false),
            ("*ab*ab", "xab", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern} {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_text_is_like_itself_and_like_any_part_between_stars(text in "[a-c]{0,12}", from in 0_usize..12, to in 0_usize..12) {
            proptest::prop_assert!(like(&text, &text));
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            if from <= to {
                let pattern = format!("*{}*", &text[from..to]);
                proptest::prop_assert!(like(&pattern, &text));
            }
        }
    }
}
