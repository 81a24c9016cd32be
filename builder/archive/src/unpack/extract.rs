//! The rules that need to know only the package.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use super::ar::{self, Body, Then};
use super::tar_reader::{Kind, Member, TarReader};
use super::{
    Limits, Malformed, MemberPath, Meta, NameProblem, Part, Refusal, Rules, SetId, Sink, Special, Stats,
    UnpackError,
};

const SET_ID: u32 = 0o6000;
const LONGEST_TARGET: usize = 4095;
const LARGEST_CONTROL_FILE: u64 = 1 << 20;

/// Feeds data.tar to the sink. `Stats::replaced` stays empty.
pub(super) fn data(deb: &mut dyn Read, rules: &Rules, sink: &mut dyn Sink) -> Result<Stats, UnpackError> {
    let mut stats = Stats::default();
    ar::walk(deb, &mut |body| {
        if body.part == Part::Data {
            let mut extraction = Extraction { rules, sink, stats: &mut stats, seen: HashMap::new() };
            each_member(body, rules.limits.data, &rules.limits, &mut |reader, member| {
                extraction.member(reader, &member)
            })?;
        }
        Ok(Then::GoOn)
    })?;
    Ok(stats)
}

/// Reads the control file out of control.tar.
pub(super) fn control(deb: &mut dyn Read, limits: &Limits) -> Result<BTreeMap<String, String>, UnpackError> {
    let mut text = None;
    ar::walk(deb, &mut |body| {
        each_member(body, limits.control, limits, &mut |reader, member| {
            if member.kind == Kind::File
                && MemberPath::parse(&member.name).is_ok_and(|p| p.as_bytes() == b"control")
            {
                if text.is_some() {
                    return Err(UnpackError::refused(&member.name, Refusal::Twice));
                }
                text = Some(read_control_file(reader, member.size)?);
            }
            Ok(())
        })?;
        Ok(Then::Stop)
    })?;
    let text = text.ok_or(bad_control("it is missing"))?;
    parse_fields(&text)
}

fn each_member(
    body: Body<'_>,
    most: u64,
    limits: &Limits,
    visit: &mut dyn FnMut(&mut TarReader<'_>, Member) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let mut input = body
        .compression
        .decode(body.content, body.size, most, limits)
        .map_err(|source| UnpackError::reading(body.part, source))?;
    let mut reader = TarReader::new(&mut *input, body.part, limits);
    while let Some(member) = reader.next_member()? {
        visit(&mut reader, member)?;
    }
    Ok(())
}

struct Extraction<'a> {
    rules: &'a Rules,
    sink: &'a mut dyn Sink,
    stats: &'a mut Stats,
    seen: HashMap<MemberPath, Kind>,
}

impl Extraction<'_> {
    fn member(&mut self, reader: &mut TarReader<'_>, member: &Member) -> Result<(), UnpackError> {
        let refuse = |reason| UnpackError::refused(&member.name, reason);
        let path = MemberPath::parse(&member.name).map_err(|problem| refuse(Refusal::Name(problem)))?;
        if path.is_root() {
            return if member.kind == Kind::Directory && member.size == 0 {
                self.stats.directories += 1;
                Ok(())
            } else {
                Err(refuse(Refusal::Name(NameProblem::Root)))
            };
        }
        if !matches!(member.kind, Kind::File | Kind::Unknown(_)) && member.size > 0 {
            return Err(refuse(Refusal::Content));
        }
        self.place(&path, member.kind).map_err(refuse)?;
        match member.kind {
            Kind::Directory => {
                self.stats.directories += 1;
                self.sink.directory(&path, self.meta(member))
            }
            Kind::File => {
                self.stats.files += 1;
                self.stats.bytes += member.size;
                self.sink.file(&path, self.meta(member), &mut reader.content())
            }
            Kind::Symlink
                if member.link.is_empty()
                    || member.link.len() > LONGEST_TARGET
                    || member.link.contains(&0) =>
            {
                Err(refuse(Refusal::Target))
            }
            Kind::Symlink => {
                self.stats.symlinks += 1;
                self.sink.symlink(&path, &member.link, member.mtime)
            }
            Kind::HardLink => {
                let to =
                    MemberPath::parse(&member.link).map_err(|problem| refuse(Refusal::LinkName(problem)))?;
                if to == path || !matches!(self.seen.get(&to), Some(Kind::File | Kind::HardLink)) {
                    return Err(refuse(Refusal::LinkUnknown));
                }
                self.stats.hard_links += 1;
                self.sink.hard_link(&path, &to)
            }
            Kind::Special if self.rules.special == Special::Refuse => Err(refuse(Refusal::Special)),
            Kind::Special => {
                self.stats.skipped += 1;
                Ok(())
            }
            Kind::Unknown(byte) => Err(refuse(Refusal::Type(byte))),
        }
    }

    /// Remembers the member and holds it against those before it.
    fn place(&mut self, path: &MemberPath, kind: Kind) -> Result<(), Refusal> {
        for above in path.ancestors() {
            match self.seen.get(above) {
                None | Some(Kind::Directory) => {}
                Some(Kind::Symlink) => return Err(Refusal::UnderOwnLink),
                Some(Kind::File | Kind::HardLink | Kind::Special | Kind::Unknown(_)) => {
                    return Err(Refusal::NotADirectory);
                }
            }
        }
        match self.seen.insert(path.clone(), kind) {
            None => Ok(()),
            Some(Kind::Directory) if kind == Kind::Directory => Ok(()),
            Some(_) => Err(Refusal::Twice),
        }
    }

    fn meta(&self, member: &Member) -> Meta {
        let mode = match self.rules.set_id {
            SetId::Drop => member.mode & !SET_ID,
            SetId::Keep => member.mode,
        };
        Meta { mode, mtime: member.mtime }
    }
}

fn read_control_file(reader: &mut TarReader<'_>, size: u64) -> Result<Vec<u8>, UnpackError> {
    if size > LARGEST_CONTROL_FILE {
        return Err(bad_control("it is too large"));
    }
    let mut text = Vec::new();
    while reader.content().piece(|bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })? {}
    Ok(text)
}

/// One paragraph of `Name: value` lines (deb822(5)); a line that begins with a blank goes on with the one before.
fn parse_fields(text: &[u8]) -> Result<BTreeMap<String, String>, UnpackError> {
    let text = std::str::from_utf8(text).map_err(|_| bad_control("it is not UTF-8"))?;
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.trim_end().lines() {
        if let Some(more) = line.strip_prefix([' ', '\t']) {
            let name = current.as_ref().ok_or(bad_control("it begins with a continuation"))?;
            let value = fields.entry(name.clone()).or_default();
            value.push('\n');
            value.push_str(more.trim_end());
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(bad_control("a line has no colon"))?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad_control("a field has no name"));
        }
        if fields.insert(name.to_owned(), value.trim().to_owned()).is_some() {
            return Err(bad_control("a field is there twice"));
        }
        current = Some(name.to_owned());
    }
    Ok(fields)
}

fn bad_control(why: &'static str) -> UnpackError {
    UnpackError::malformed(Part::Control, Malformed::Control(why))
}
