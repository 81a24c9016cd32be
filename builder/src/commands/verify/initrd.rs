//! The members of an initrd: archives one behind the other, plain or compressed, with zeros between them.
//!
//! ```text
//!   "070701"  13 fields of 8 hexadecimal digits, name, zeros up to 4, content, zeros up to 4    … "TRAILER!!!"
//!   zstd      a frame with the same inside
//! ```
//! Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.

use std::io::Read as _;

use super::{
    compare,
    difference::{Difference, How},
};

/// The most that is unpacked.
const MAX_UNPACKED: u64 = 2 << 30;
const HEADER: usize = 110;

/// A member: its name, what its header says of it beside sizes, its content.
struct Member {
    name: String,
    facts: String,
    content: Vec<u8>,
}

/// The members in which two initrds differ; nothing if one of them is no initrd.
pub fn differences(a: &[u8], b: &[u8]) -> Option<Vec<Difference>> {
    let (ours, theirs) = (members(a)?, members(b)?);
    let mut found = Vec::new();
    for member in &ours {
        let Some(other) = theirs.iter().find(|other| other.name == member.name) else {
            found.push(Difference::here(How::OnlyInFirst).within(&member.name));
            continue;
        };
        if let Some(how) = compare::bytes(&member.content, &other.content) {
            found.push(Difference::here(how).within(&member.name));
        } else if member.facts != other.facts {
            let how = How::Text { first: member.facts.clone(), second: other.facts.clone() };
            found.push(Difference::here(how).within(&member.name));
        }
    }
    let new = theirs.iter().filter(|member| !ours.iter().any(|other| other.name == member.name));
    found.extend(new.map(|member| Difference::here(How::OnlyInSecond).within(&member.name)));
    let order = |members: &[Member]| members.iter().map(|member| member.name.clone()).collect::<Vec<_>>();
    if found.is_empty() && order(&ours) != order(&theirs) {
        let how = How::Text { first: "one order".into(), second: "another order".into() };
        found.push(Difference::here(how).within("order of the members"));
    }
    Some(found)
}

fn members(bytes: &[u8]) -> Option<Vec<Member>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    loop {
        let zeros = rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len());
        rest = &rest[zeros..];
        if rest.is_empty() {
            return Some(found);
        }
        if rest.starts_with(b"070701") || rest.starts_with(b"070702") {
            rest = archive(rest, &mut found)?;
        } else if rest.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            // Compressed parts are the last ones.
            let mut unpacked = Vec::new();
            let decoder = zstd::stream::read::Decoder::new(rest).ok()?;
            decoder.take(MAX_UNPACKED).read_to_end(&mut unpacked).ok()?;
            let mut inside = unpacked.as_slice();
            while inside.starts_with(b"07070") {
                inside = archive(inside, &mut found)?;
                let zeros = inside.iter().position(|byte| *byte != 0).unwrap_or(inside.len());
                inside = &inside[zeros..];
            }
            return Some(found);
        } else {
            return None;
        }
    }
}

/// Reads one archive up to its trailer, and returns what is behind it.
fn archive<'a>(bytes: &'a [u8], found: &mut Vec<Member>) -> Option<&'a [u8]> {
    let mut at = 0_usize;
    loop {
        let header = bytes.get(at..at.checked_add(HEADER)?)?;
        let field = |number: usize| {
            let digits = header.get(6 + number * 8..14 + number * 8)?;
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let (size, name_size) = (usize::try_from(field(6)?).ok()?, usize::try_from(field(11)?).ok()?);
        let name_at = at + HEADER;
        let content_at = name_at.checked_add(name_size)?.checked_next_multiple_of(4)?;
        let end = content_at.checked_add(size)?;
        let name = bytes.get(name_at..name_at.checked_add(name_size)?)?;
        let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        let content = bytes.get(content_at..end)?;
        at = end.checked_next_multiple_of(4)?;
        if name == "TRAILER!!!" {
            return Some(bytes.get(at..).unwrap_or_default());
        }
        let facts = format!(
            "inode {}, mode {:o}, owner {}:{}, {} links, time {}, device {}:{}",
            field(0)?,
            field(1)?,
            field(2)?,
            field(3)?,
            field(4)?,
            field(5)?,
            field(9)?,
            field(10)?
        );
        found.push(Member { name, facts, content: content.to_vec() });
    }
}
