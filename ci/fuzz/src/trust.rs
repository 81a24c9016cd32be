//! Signatures. Nothing is trusted here, so nothing may ever pass.

use std::str::from_utf8;

use xenolith_trust::uri::Pkcs11Uri;
use xenolith_trust::{Cert, read_signatures, verify_dsse, verify_pe};

/// A signed program, a certificate.
pub fn signatures(data: &[u8]) {
    let _ = read_signatures(data);
    assert!(verify_pe(data, &[]).is_err(), "a signature passes that nobody vouches for");
    if let Ok(cert) = Cert::from_der(data) {
        let _ = (cert.subject(), cert.validity(), cert.fingerprint());
    }
    let _ = Cert::from_pem(data);
}

/// An envelope around a signed statement.
pub fn dsse(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let opened = verify_dsse(text, "application/example", &[]);
    assert!(opened.is_err(), "a statement passes that nobody signed");
}

/// Where a key in a token is.
pub fn pkcs11_uri(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let Ok(uri) = text.parse::<Pkcs11Uri>() else { return };
    let shown = uri.to_string();
    let again: Pkcs11Uri = shown.parse().unwrap_or_else(|error| panic!("{shown:?} cannot be read: {error}"));
    assert_eq!(again.to_string(), shown);
    assert!(again.pin_value().is_none(), "a PIN is never shown");
}
