//! Packages for tests, honest ones and others.

use std::io::Write;

/// A tar archive in the making; nothing is checked.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// One header with whatever is said here, and this content behind it.
    #[allow(clippy::too_many_arguments)]
    pub fn raw(mut self, kind: u8, name: &[u8], link: &[u8], mode: u32, size: u64, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        fields.linkname[..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        fields.typeflag = [kind];
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Any member, with GNU long names where they are needed.
    pub fn member(mut self, kind: u8, name: &[u8], link: &[u8], mode: u32, content: &[u8]) -> Self {
        for (long, kind) in [(name, b'L'), (link, b'K')] {
            if long.len() > 100 {
                let text = [long, b"\0"].concat();
                self = self.raw(kind, b"././@LongLink", b"", 0, len(&text), &text);
            }
        }
        self.raw(kind, name, link, mode, len(content), content)
    }

    pub fn dir(self, name: &str) -> Self {
        self.member(b'5', name.as_bytes(), b"", 0o755, b"")
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.member(b'0', name.as_bytes(), b"", 0o644, content.as_bytes())
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.member(b'2', name.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(b'1', name.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    /// The bytes with their end mark.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// A package with this as its data.
    pub fn deb(self) -> Vec<u8> {
        deb_of(&[("data.tar", &self.end())])
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, content.len()).unwrap();
        out.extend_from_slice(content);
        if content.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

pub fn control() -> Vec<u8> {
    let text =
        "Package: demo\nVersion: 1.0-1\nArchitecture: all\nDescription: a demo\n with more\n .\n to say\n";
    Tar::default().dir("./").file("./control", text).end()
}

/// A package with the usual beginning and these members after it.
pub fn deb_of(rest: &[(&str, &[u8])]) -> Vec<u8> {
    let control = control();
    let mut members: Vec<(&str, &[u8])> = vec![("debian-binary", b"2.0\n"), ("control.tar", &control)];
    members.extend_from_slice(rest);
    ar(&members)
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}
