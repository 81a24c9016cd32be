//! What machines send to a server of network boots, and the manifest of what it serves.

use std::net::Ipv4Addr;
use std::str::from_utf8;

use xenolith_netboot::dhcp::{self, Boot};
use xenolith_netboot::tftp::{self as transfers, Send, Transfer};
use xenolith_netboot::{Identity, Manifest, Range, range};

/// `netboot.json`.
pub fn netboot_manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else { return };
    assert_eq!(Manifest::parse(manifest.render().as_bytes()).expect("what was written is read"), manifest);
    assert!(
        manifest.files.keys().all(|name| !name.as_str().contains("..") && !name.as_str().starts_with('/'))
    );
}

/// What a machine says of itself, as JSON and as a query.
pub fn netboot_identity(data: &[u8]) {
    let parsed = Identity::parse(data).ok();
    let query = from_utf8(data).ok().map(Identity::of_query);
    for identity in parsed.into_iter().chain(query) {
        assert!(identity.names().all(|name| !name.contains('/')), "a name that leads to another folder");
        assert!(identity.names().count() <= 66);
    }
}

/// A question to the DHCP proxy: its answer has no address, and is no question.
pub fn proxy_dhcp(data: &[u8]) {
    let Ok(question) = dhcp::question(data) else { return };
    let answer = dhcp::answer(&question, Ipv4Addr::LOCALHOST, Boot::Tftp("x"), Some("http://h/"));
    assert_eq!(answer[16..20], [0; 4]);
    assert!(dhcp::question(&answer).is_err());
}

/// A request, and what a client says later.
pub fn tftp(data: &[u8]) {
    let _ = transfers::reply(data);
    let Ok(request) = transfers::request(data) else { return };
    let length = 100_000;
    let (mut transfer, mut send) = Transfer::begin(&request, length);
    for reply in data.chunks(4).filter_map(transfers::reply) {
        send = transfer.hear(reply);
    }
    if let Send::Blocks(blocks) = send {
        assert!(blocks.clone().count() <= usize::from(transfers::LARGEST_WINDOW));
        assert!(blocks.into_iter().all(|block| transfer.place(block).end <= length));
    }
    assert!(transfer.arrived() <= length);
}

/// The `Range` field.
pub fn http_range(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    for length in [0, 10, u64::MAX] {
        if let Range::Part(part) = range(Some(text), length) {
            assert!(part.start < part.end && part.end <= length);
        }
    }
}
