//! Package URLs: the names under which scanners look packages up (purl-spec 1.0).

use std::fmt::Write as _;

/// A Debian binary package; `distro` is the release's code name.
pub fn deb(name: &str, version: &str, architecture: &str, distro: Option<&str>) -> String {
    let mut purl = format!("pkg:deb/debian/{}@{}?arch={}", encode(name), encode(version), architecture);
    if let Some(distro) = distro {
        let _ = write!(purl, "&distro={}", encode(distro));
    }
    purl
}

/// A crate of crates.io.
pub fn cargo(name: &str, version: &str) -> String {
    format!("pkg:cargo/{}@{}", encode(name), encode(version))
}

/// Percent-encodes all but unreserved characters and the colon, which the specification leaves as it is.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_stay_and_other_signs_are_encoded() {
        assert_eq!(
            deb("libstdc++6", "1:14.2.0-19+b1~x", "amd64", Some("trixie")),
            "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19%2Bb1~x?arch=amd64&distro=trixie"
        );
        assert_eq!(cargo("serde", "1.0.0+a"), "pkg:cargo/serde@1.0.0%2Ba");
        assert_eq!(deb("a", "1", "source", None), "pkg:deb/debian/a@1?arch=source");
    }
}
