//! Certificate and key from PEM files.

use std::{path::Path, sync::Arc};

use fs_err as fs;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::ServeError;

/// What TLS needs.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Speaks it.
    pub acceptor: TlsAcceptor,
    /// SHA-256 of the server's certificate (DER), for clients that know no authority.
    pub pin: String,
}

/// Reads both files.
///
/// # Errors
/// When one of them holds none, or they do not fit together.
pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Tls, ServeError> {
    let text =
        |path: &Path| fs::read(path).map_err(|source| ServeError::Read { path: path.to_owned(), source });
    let none = |path: &Path, what| ServeError::Tls { path: path.to_owned(), what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|_| none(certificate, "certificate"))?;
    let first = chain.first().ok_or_else(|| none(certificate, "certificate"))?;
    let pin = hex::encode(Sha256::digest(first));
    let private = PrivateKeyDer::from_pem_slice(&text(key)?).map_err(|_| none(key, "private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
        .map_err(ServeError::TlsPair)?;
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), pin })
}
