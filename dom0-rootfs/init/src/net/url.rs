//! Where the files lie: the folder of the URL that the DHCP server names.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The folder below `next-server` that is asked when there is no URL.
const FOLDER: &str = "/xenolith/";

/// A folder on an HTTP server. Always ends in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    host: String,
    port: u16,
    folder: String,
}

/// Why a text is no address of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not `http`. Nothing is lost without TLS: verity proves the root, and it is no secret.
    #[error("{0:?} does not begin with http://")]
    Scheme(String),
    /// No host, or one with characters that no host has.
    #[error("{0:?} has no plain host name")]
    Host(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} has no valid port")]
    Port(String),
}

impl Base {
    /// What an answer leads to: its URL, or the usual folder on its next server.
    ///
    /// # Errors
    /// [`BadUrl`] if there is a URL and it is none of ours. A boot file that is a mere path is for TFTP clients
    /// and counts as none.
    pub fn find(boot_file: Option<&str>, next_server: Option<Ipv4Addr>) -> Result<Option<Self>, BadUrl> {
        match boot_file.filter(|text| text.contains("://")) {
            Some(url) => url.parse().map(Some),
            None => Ok(next_server.map(|server| Self {
                host: server.to_string(),
                port: 80,
                folder: FOLDER.to_owned(),
            })),
        }
    }

    /// What to connect to.
    pub fn server(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The `Host` line's value.
    pub fn host(&self) -> String {
        if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The path of a file in the folder.
    pub fn path(&self, file: &str) -> String {
        format!("{}{file}", self.folder)
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host(), self.folder)
    }
}

impl FromStr for Base {
    type Err = BadUrl;

    /// Takes the folder of a file's URL; a query or fragment ends the path.
    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let scheme = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
        let rest = scheme.and_then(|_| url.get(7..)).ok_or_else(|| BadUrl::Scheme(url.to_owned()))?;
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(is_plain) {
            return Err(BadUrl::Host(url.to_owned()));
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| BadUrl::Port(url.to_owned()))?;
        let is_path = path.bytes().all(|byte| byte.is_ascii_graphic());
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !is_path {
            return Err(BadUrl::Host(url.to_owned()));
        }
        Ok(Self { host: host.to_owned(), port, folder: format!("{folder}/") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        url.parse::<Base>().unwrap().to_string()
    }

    #[test]
    fn the_folder_of_the_boot_file_is_taken() {
        assert_eq!(shown("http://10.0.2.2/a/b/xenolith.efi"), "http://10.0.2.2/a/b/");
        assert_eq!(shown("HTTP://boot.example:8080/x.iso?site=1"), "http://boot.example:8080/");
        assert_eq!(shown("http://boot.example"), "http://boot.example/");
        assert_eq!(shown("http://boot.example/a/"), "http://boot.example/a/");
        assert_eq!("http://h/a/b".parse::<Base>().unwrap().path("root.erofs"), "/a/root.erofs");
    }

    #[test]
    fn other_schemes_and_odd_hosts_are_refused() {
        assert!(matches!("https://a/b".parse::<Base>(), Err(BadUrl::Scheme(_))));
        assert!(matches!("tftp://a/b".parse::<Base>(), Err(BadUrl::Scheme(_))));
        assert!(matches!("".parse::<Base>(), Err(BadUrl::Scheme(_))));
        for host in ["http://", "http:///x", "http://user@host/", "http://[::1]/", "http://a b/", "http://ä/"]
        {
            assert!(matches!(host.parse::<Base>(), Err(BadUrl::Host(_))), "{host}");
        }
        for port in ["http://a:/", "http://a:0/", "http://a:65536/", "http://a:80:80/"] {
            assert!(matches!(port.parse::<Base>(), Err(BadUrl::Port(_))), "{port}");
        }
    }

    #[test]
    fn without_a_url_the_next_server_is_asked() {
        let server = Some(Ipv4Addr::new(10, 0, 2, 2));
        let found = |file, server| Base::find(file, server).unwrap().map(|base| base.to_string());
        assert_eq!(found(Some("http://a/b"), server).as_deref(), Some("http://a/"));
        assert_eq!(found(Some("pxelinux.0"), server).as_deref(), Some("http://10.0.2.2/xenolith/"));
        assert_eq!(found(None, server).as_deref(), Some("http://10.0.2.2/xenolith/"));
        assert_eq!(found(None, None), None);
        assert!(Base::find(Some("https://a/b"), server).is_err(), "never quietly somewhere else");
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_prints_and_reads_back(url in "http://[a-z0-9.-]{1,20}(:[1-9][0-9]{0,3})?(/[!-~]{0,20}){0,3}") {
            let base: Base = url.parse().unwrap();
            assert_eq!(base.to_string().parse::<Base>().unwrap(), base);
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = text.parse::<Base>();
            let _ = format!("http://{text}").parse::<Base>();
        }
    }
}
