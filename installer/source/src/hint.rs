//! One line that says where answers are: `URL [sha256=<hex>|ca=ca.pem|insecure]`.
//!
//! DHCP, DNS and firmware carry it. It is short, and it comes from whoever can write there.

use std::fmt;

use xenolith_answers::Fingerprint;

/// A longer line is no hint. An option of DHCP and a string of DNS have 255 bytes each, but may be put together.
pub const LONGEST_HINT: usize = 1024;

const SAFE: &str = "https://";
const PLAIN: &str = "http://";
const PIN: &str = "sha256=";
const AUTHORITY: &str = "ca=";
/// The one file that a hint may name.
pub(crate) const AUTHORITY_FILE: &str = "ca.pem";
const INSECURE: &str = "insecure";

/// An http or https address of a server: a host, no user, printable ASCII.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

/// Why a hint is knowingly believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedTrust {
    /// An authority that everybody knows has signed the server's certificate.
    Known,
    /// It is this certificate.
    Pinned(Fingerprint),
    /// The authority in `ca.pem`, which was given along on the medium or a volume, has signed it.
    Own,
    /// For no reason.
    Insecure,
}

/// Where answers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The address.
    pub url: Url,
    /// Why what comes from there is believed.
    pub trust: NamedTrust,
}

/// Why a line is no hint. No message quotes it: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHint {
    /// Longer than [`LONGEST_HINT`].
    #[error("the hint is longer than {LONGEST_HINT} bytes")]
    TooLong,
    /// Not one line of text.
    #[error("the hint is not one line of printable ASCII")]
    NotALine,
    /// Nothing is in it.
    #[error("the hint is empty")]
    Empty,
    /// The address is none.
    #[error("the address has to be http:// or https:// with a host and without a user")]
    Url,
    /// A word after the address that nobody knows.
    #[error("after the address only one of sha256=<64 hex digits>, ca=ca.pem and insecure may stand")]
    Word,
    /// The pin is none.
    #[error("sha256= is not followed by the 64 hexadecimal digits of a certificate's SHA-256")]
    Pin,
    /// Plain HTTP without saying that it is wanted.
    #[error(
        "plain HTTP is read and changed by anybody in between; use https, or say insecure if that is meant"
    )]
    Plain,
    /// Plain HTTP with a reason for trust that it cannot have.
    #[error("plain HTTP has no certificate; sha256= and ca= are for https")]
    NoCertificate,
}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// [`BadHint::Url`].
    pub fn parse(text: &str) -> Result<Self, BadHint> {
        let rest = text.strip_prefix(SAFE).or_else(|| text.strip_prefix(PLAIN)).ok_or(BadHint::Url)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let clean = text.len() <= LONGEST_HINT && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !clean || authority.is_empty() || authority.contains('@') || text.contains('#') {
            return Err(BadHint::Url);
        }
        let read: ureq::http::Uri = text.parse().map_err(|_| BadHint::Url)?;
        let host = read.host().filter(|host| !host.is_empty()).is_some();
        // `Uri` takes any digits for a port. Colons before the bracket are those of an address.
        let after = authority.rsplit(']').next().unwrap_or_default();
        let port =
            after.split_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
        if host && port { Ok(Self(text.to_owned())) } else { Err(BadHint::Url) }
    }

    /// The whole address, for asking. For people there is [`fmt::Display`].
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is plain HTTP.
    pub fn is_plain(&self) -> bool {
        self.0.starts_with(PLAIN)
    }
}

/// Without the query, in which a secret may stand.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('?') {
            Some((before, _)) => write!(f, "{before}?…"),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

impl Hint {
    /// Reads a line; white space and zeros around it are not part of it.
    ///
    /// # Errors
    /// [`BadHint`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadHint> {
        if bytes.len() > LONGEST_HINT {
            return Err(BadHint::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BadHint::NotALine)?;
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
        if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(BadHint::NotALine);
        }
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let url = Url::parse(words.next().ok_or(BadHint::Empty)?)?;
        let trust = words.next().map(reason).transpose()?;
        if words.next().is_some() {
            return Err(BadHint::Word);
        }
        Self::new(url, trust.unwrap_or(NamedTrust::Known))
    }

    /// An address with a reason to trust it.
    ///
    /// # Errors
    /// [`BadHint::Plain`] and [`BadHint::NoCertificate`] where there is none for plain HTTP.
    pub fn new(url: Url, trust: NamedTrust) -> Result<Self, BadHint> {
        match trust {
            NamedTrust::Known if url.is_plain() => Err(BadHint::Plain),
            NamedTrust::Pinned(_) | NamedTrust::Own if url.is_plain() => Err(BadHint::NoCertificate),
            _ => Ok(Self { url, trust }),
        }
    }

    /// The line.
    pub fn line(&self) -> String {
        let url = self.url.as_str();
        match self.trust {
            NamedTrust::Known => url.to_owned(),
            NamedTrust::Pinned(pin) => format!("{url} {PIN}{pin}"),
            NamedTrust::Own => format!("{url} {AUTHORITY}{AUTHORITY_FILE}"),
            NamedTrust::Insecure => format!("{url} {INSECURE}"),
        }
    }
}

fn reason(word: &str) -> Result<NamedTrust, BadHint> {
    if word == INSECURE {
        return Ok(NamedTrust::Insecure);
    }
    if let Some(pin) = word.strip_prefix(PIN) {
        return pin.parse().map(NamedTrust::Pinned).map_err(|_| BadHint::Pin);
    }
    match word.strip_prefix(AUTHORITY) {
        Some(AUTHORITY_FILE) => Ok(NamedTrust::Own),
        _ => Err(BadHint::Word),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PINNED: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

    fn read(line: &str) -> Result<Hint, BadHint> {
        Hint::parse(line.as_bytes())
    }

    #[test]
    fn each_reason_for_trust_is_read() {
        let trust = |line: &str| read(line).unwrap().trust;
        assert_eq!(trust("https://deploy.example.com/answers"), NamedTrust::Known);
        assert_eq!(
            trust(&format!("https://192.0.2.1:8443/a?b=c  sha256={PINNED}\n")),
            NamedTrust::Pinned(PINNED.parse().unwrap())
        );
        assert_eq!(trust("https://[2001:db8::1]/ ca=ca.pem\0"), NamedTrust::Own);
        assert_eq!(trust("http://192.0.2.1/answers insecure"), NamedTrust::Insecure);
    }

    #[test]
    fn what_is_no_hint_is_refused() {
        for (line, why) in [
            ("", BadHint::Empty),
            (" \0\n", BadHint::Empty),
            ("deploy.example.com", BadHint::Url),
            ("ftp://deploy.example.com/", BadHint::Url),
            ("HTTPS://deploy.example.com/", BadHint::Url),
            ("https://", BadHint::Url),
            ("https:///answers", BadHint::Url),
            ("https://:443/", BadHint::Url),
            ("https://a:/", BadHint::Url),
            ("https://a:99999/", BadHint::Url),
            ("https://a:0/", BadHint::Url),
            ("https://user:secret@a/", BadHint::Url),
            ("https://a/#part", BadHint::Url),
            ("https://a/ sha256=abc", BadHint::Pin),
            ("https://a/ ca=/etc/passwd", BadHint::Word),
            ("https://a/ ca=", BadHint::Word),
            ("https://a/ secure", BadHint::Word),
            ("https://a/ insecure insecure", BadHint::Word),
            ("http://a/", BadHint::Plain),
            ("http://a/ ca=ca.pem", BadHint::NoCertificate),
            ("https://a/\nhttps://b/", BadHint::NotALine),
            ("https://ä/", BadHint::NotALine),
        ] {
            assert_eq!(read(line), Err(why), "{line:?}");
        }
        assert_eq!(read(&format!("http://a/ sha256={PINNED}")), Err(BadHint::NoCertificate));
        assert_eq!(read(&format!("https://a/{}", "x".repeat(LONGEST_HINT))), Err(BadHint::TooLong));
        assert_eq!(Hint::parse(b"https://a/\xff"), Err(BadHint::NotALine));
    }

    #[test]
    fn what_people_see_has_no_query() {
        assert_eq!(read("https://a/b?token=hunter2").unwrap().url.to_string(), "https://a/b?…");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_read_is_written_the_same(bytes: Vec<u8>, line in "https?://[a-z0-9:.\\[\\]-]{1,20}/[ -~]{0,40}( insecure| ca=ca.pem)?") {
            let _ = Hint::parse(&bytes);
            if let Ok(hint) = Hint::parse(line.as_bytes()) {
                prop_assert_eq!(Hint::parse(hint.line().as_bytes()), Ok(hint.clone()));
                prop_assert!(!hint.url.is_plain() || hint.trust == NamedTrust::Insecure);
            }
        }
    }
}
