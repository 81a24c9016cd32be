//! What each kind of client would get: the words of a dry run.

use std::fmt;

use serde::Serialize;
use xenolith_layout::names::{NETBOOT_BOOT_FILE, NETBOOT_IPXE};
use xenolith_netboot::{Class, EXAMPLES, Manifest, Offer, offer};

use crate::{Places, sockets::Interface};

/// One kind of client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What people call it.
    pub client: &'static str,
    /// What it is told: a URL, a file over TFTP, or why nothing.
    pub gets: String,
    /// Who tells it; none if it gets nothing.
    pub told_by: Option<&'static str>,
}

/// All that is served, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Of this format.
    pub format: u32,
    /// The version of the image.
    pub version: String,
    /// Its root hash.
    pub root_hash: String,
    /// The URL of the boot file.
    pub boot_file: String,
    /// The URL of the script for iPXE.
    pub ipxe: String,
    /// Where answers are, as an installation reads it.
    pub answers: Option<String>,
    /// How many files of answers there are.
    pub answer_files: usize,
    /// Whether one of them is for every machine without a file of its own.
    pub answers_for_all: bool,
    /// What clients get.
    pub clients: Vec<Row>,
}

const PROXY: &str = "this server";
const THEIR_DHCP: &str = "your DHCP server";

/// Puts it together from the decisions that are made for real clients.
pub(crate) fn table(
    manifest: &Manifest,
    places: &Places,
    pxe: Option<&Interface>,
    answers: Option<(usize, bool)>,
) -> Table {
    let row = |example: &xenolith_netboot::Example| {
        let decided = offer(&example.asked);
        let told_by = Some(if pxe.is_some() { PROXY } else { THEIR_DHCP });
        let (gets, told_by) = match (decided, pxe) {
            (Offer::Nothing { .. }, _) => (decided.to_string(), None),
            (Offer::Http { file }, _) => (places.url(file), told_by),
            (Offer::Tftp { .. }, Some(_)) => (format!("{decided} from {}", places.address), told_by),
            (Offer::Tftp { .. }, None) => {
                ("nothing: PXE clients are served with --pxe INTERFACE only".to_owned(), None)
            }
        };
        debug_assert!(example.asked.class != Class::Ordinary, "examples want to boot");
        Row { client: example.name, gets, told_by }
    };
    let (answer_files, answers_for_all) = answers.unwrap_or_default();
    Table {
        format: 1,
        version: manifest.version.to_string(),
        root_hash: manifest.root_hash.to_string(),
        boot_file: places.url(NETBOOT_BOOT_FILE),
        ipxe: places.url(NETBOOT_IPXE),
        answers: places.answers.clone(),
        answer_files,
        answers_for_all,
        clients: EXAMPLES.iter().map(row).collect(),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Xenolith {}, root hash {}", self.version, self.root_hash)?;
        let width = self.clients.iter().map(|row| row.client.len()).max().unwrap_or_default();
        for Row { client, gets, told_by } in &self.clients {
            write!(f, "  {client:<width$}  {gets}")?;
            match told_by {
                Some(who) => writeln!(f, "  (told by {who})")?,
                None => writeln!(f)?,
            }
        }
        match &self.answers {
            None => write!(f, "no answers: an installation has to be given them"),
            Some(place) => {
                let files = if self.answer_files == 1 { "file" } else { "files" };
                let rest = if self.answers_for_all {
                    "one of them for every other machine"
                } else {
                    "none for other machines"
                };
                write!(f, "{} {files} of answers, {rest}: {place}", self.answer_files)
            }
        }
    }
}
