//! The Debian archive: packages, indexes, signatures, and the lock.

use std::cmp::Ordering;
use std::str::from_utf8;
use std::sync::LazyLock;

use xenolith_archive::DebVersion;
use xenolith_archive::date::Timestamp;
use xenolith_archive::index::{IndexPackage, Release, packages as read_packages, sources as read_sources};
use xenolith_archive::lock::Lock;
use xenolith_archive::signature::Keyring;
use xenolith_archive::unpack::{Limits, ListSink, ListedKind, Rules, control_fields, unpack_into};

/// Small enough that a bomb is noticed by the fuzzer's memory limit, large enough for every seed.
fn rules() -> Rules {
    let limits = Limits {
        members: 10_000,
        data: 4 << 20,
        control: 1 << 20,
        ratio: 1000,
        names: 1 << 20,
        decoder: 16 << 20,
    };
    Rules { limits, ..Rules::default() }
}

/// A whole .deb: ar, compression, both tar archives.
pub fn deb(data: &[u8]) {
    let _ = control_fields(data);
    unpacked(data);
}

/// A data.tar in a .deb that is right otherwise: reaches deeper than [`deb`], which mostly breaks the outer format.
pub fn deb_data(data: &[u8]) {
    let control = include_bytes!("../seeds/control.tar");
    let mut deb = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("control.tar", control), ("data.tar", data)] {
        let length = content.len();
        deb.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n", 0, 0, 0, 100_644).bytes());
        deb.extend_from_slice(content);
        deb.extend(std::iter::repeat_n(b'\n', length % 2));
    }
    unpacked(&deb);
}

/// What passes stays inside the tree, whatever it is unpacked into.
fn unpacked(deb: &[u8]) {
    let rules = rules();
    let mut sink = ListSink::default();
    let Ok(stats) = unpack_into(deb, &rules, &mut sink) else { return };
    assert!(sink.members.len() as u64 <= rules.limits.members);
    let mut bytes = 0;
    for member in &sink.members {
        let path = member.path.as_bytes();
        let parts_are_plain =
            path.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
        assert!(parts_are_plain && !path.contains(&0), "{path:?} leaves the tree");
        assert_eq!(member.meta.mode & !0o1777, 0, "set-ID bits are dropped");
        if let ListedKind::File(size) = member.kind {
            bytes += size;
        }
    }
    assert_eq!(stats.bytes, bytes);
    assert!(bytes <= rules.limits.data);
}

/// A Packages index.
pub fn packages(data: &[u8]) {
    let Ok(packages) = read_packages(data) else { return };
    for IndexPackage { version, .. } in &packages {
        assert_eq!(version.rank(version), Ordering::Equal);
    }
}

/// A Sources index.
pub fn sources(data: &[u8]) {
    let _ = read_sources(data, &["xen", "hello"]);
}

/// A Release file whose signature was taken off.
pub fn release(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    if let Ok(release) = Release::parse(text) {
        let _ = release.file("main/binary-amd64/Packages.xz");
        let _ = xenolith_archive::signature::check_fresh(&release, now());
    }
}

/// A signed InRelease, with the keys of the Debian archive. The only text that may come out is the one that was signed.
pub fn inrelease(data: &[u8]) {
    static KEYS: LazyLock<Keyring> = LazyLock::new(Keyring::debian);
    static SIGNED: LazyLock<String> = LazyLock::new(|| {
        KEYS.verify(
            include_bytes!("../../../builder/archive/tests/signature/trixie-updates.InRelease"),
            now(),
        )
        .expect("the fixture is signed by Debian")
    });
    if let Ok(text) = KEYS.verify(data, now()) {
        assert_eq!(text, *SIGNED, "another text passes for signed");
    }
    let _ = Keyring::read(data);
}

/// 2026-11-20: after the fixture was signed.
fn now() -> Timestamp {
    Timestamp::from_rfc2822("Fri, 20 Nov 2026 00:00:00 UTC").expect("a date as in an InRelease")
}

/// xenolith.lock.
pub fn lock(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let Ok(lock) = Lock::parse(text) else { return };
    let rendered = lock.render();
    let again = Lock::parse(&rendered).expect("a lock that was rendered can be read");
    assert_eq!(again, lock);
    assert_eq!(again.render(), rendered);
    assert!(Lock::diff(&lock, &again).to_string().len() < rendered.len() + 1000);
}

/// Two versions: the order is an order.
pub fn version(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let versions: Vec<DebVersion<'_>> =
        text.split('\n').take(3).filter_map(|line| DebVersion::parse(line).ok()).collect();
    for a in &versions {
        for b in &versions {
            assert_eq!(a.rank(b), b.rank(a).reverse(), "{a} and {b}");
        }
    }
    if let [a, b, c] = &versions[..]
        && a.rank(b).is_le()
        && b.rank(c).is_le()
    {
        assert!(a.rank(c).is_le(), "{a}, {b}, {c}");
    }
}
