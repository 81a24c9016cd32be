//! A server on 127.0.0.1 with a certificate that is made for the occasion.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    str::FromStr as _,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use der::{EncodePem as _, asn1::OctetString, pem::LineEnding};
use ed25519_dalek::{
    SigningKey, VerifyingKey,
    ed25519::signature::{Error, Keypair, Signer},
    pkcs8::EncodePrivateKey as _,
};
use rand_core::RngCore as _;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sha2::{Digest as _, Sha256};
use spki::{
    AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, ObjectIdentifier, SignatureBitStringEncoding,
    SubjectPublicKeyInfoOwned, der::Encode as _, der::asn1::BitString,
};
use x509_cert::{
    builder::{Builder as _, CertificateBuilder, Profile},
    ext::pkix::{SubjectAltName, name::GeneralName},
    name::Name,
    serial_number::SerialNumber,
    time::Validity,
};
use xenolith_answers::Fingerprint;
use xenolith_source::{Server, Trust, Url};

/// RFC 8410.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A key that can sign certificates: the crate of Ed25519 does not say how its signatures lie in one.
struct Key(SigningKey);

struct Signature(Vec<u8>);

impl Keypair for Key {
    type VerifyingKey = VerifyingKey;
    fn verifying_key(&self) -> VerifyingKey {
        self.0.verifying_key()
    }
}

impl DynSignatureAlgorithmIdentifier for Key {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: ED25519, parameters: None })
    }
}

impl Signer<Signature> for Key {
    fn try_sign(&self, message: &[u8]) -> Result<Signature, Error> {
        Ok(Signature(self.0.try_sign(message)?.to_bytes().to_vec()))
    }
}

impl SignatureBitStringEncoding for Signature {
    fn to_bitstring(&self) -> spki::der::Result<BitString> {
        BitString::from_bytes(&self.0)
    }
}

impl Key {
    fn new() -> Self {
        let mut secret = [0; 32];
        rand_core::OsRng.fill_bytes(&mut secret);
        Self(SigningKey::from_bytes(&secret))
    }

    fn public(&self) -> SubjectPublicKeyInfoOwned {
        SubjectPublicKeyInfoOwned::from_key(self.0.verifying_key()).unwrap()
    }
}

/// A certificate for 127.0.0.1, and the authority that has signed it.
pub struct Identity {
    config: Arc<ServerConfig>,
    /// The SHA-256 of the certificate.
    pub pin: Fingerprint,
    /// The authority as PEM.
    pub authority: Vec<u8>,
}

impl Identity {
    pub fn new() -> Self {
        let (root, leaf) = (Key::new(), Key::new());
        let ca = Name::from_str("CN=a test's authority").unwrap();
        let name = Name::from_str("CN=a test's server").unwrap();
        let validity = Validity::from_now(Duration::from_secs(3600)).unwrap();
        let serial = || SerialNumber::from(7_u32);
        let authority =
            CertificateBuilder::new(Profile::Root, serial(), validity, ca.clone(), root.public(), &root)
                .unwrap()
                .build::<Signature>()
                .unwrap();
        let profile =
            Profile::Leaf { issuer: ca, enable_key_agreement: false, enable_key_encipherment: false };
        let mut builder =
            CertificateBuilder::new(profile, serial(), validity, name, leaf.public(), &root).unwrap();
        let here = GeneralName::IpAddress(OctetString::new([127, 0, 0, 1]).unwrap());
        builder.add_extension(&SubjectAltName(vec![here])).unwrap();
        let certificate = builder.build::<Signature>().unwrap().to_der().unwrap();
        let key = leaf.0.to_pkcs8_der().unwrap().as_bytes().to_vec();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.clone())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
            )
            .unwrap();
        Self {
            config: Arc::new(config),
            pin: Fingerprint(Sha256::digest(&certificate).into()),
            authority: authority.to_pem(LineEnding::LF).unwrap().into_bytes(),
        }
    }
}

/// A server that answers each request with the next of these texts, and then is gone.
pub struct Running {
    address: SocketAddr,
    safe: bool,
    asked: Receiver<String>,
}

/// `identity` for TLS, or none for plain HTTP.
pub fn serve(identity: Option<&Identity>, answers: Vec<String>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = identity.map(|identity| identity.config.clone());
    let safe = config.is_some();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((socket, _)) = listener.accept() else { return };
            let request = match &config {
                None => exchange(socket, &answer),
                Some(config) => {
                    let connection = ServerConnection::new(config.clone()).unwrap();
                    exchange(StreamOwned::new(connection, socket), &answer)
                }
            };
            // A client that does not like the certificate asks nothing.
            let _ = sender.send(request.unwrap_or_default());
        }
    });
    Running { address, safe, asked }
}

impl Running {
    pub fn url(&self) -> Url {
        let scheme = if self.safe { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{}/answers", self.address)).unwrap()
    }

    pub fn with(&self, trust: Trust) -> Server {
        Server { url: self.url(), trust }
    }

    /// What the next client has asked: head and body.
    pub fn asked(&self) -> String {
        self.asked.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    /// How many have connected so far.
    pub fn count(&self) -> usize {
        self.asked.try_iter().count()
    }
}

fn exchange(stream: impl Read + Write, answer: &str) -> std::io::Result<String> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if stream.read_line(&mut request)? == 0 {
            return Ok(request);
        }
    }
    let length = request
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    request.push_str(&String::from_utf8_lossy(&body));
    stream.get_mut().write_all(answer.as_bytes())?;
    stream.get_mut().flush()?;
    Ok(request)
}

/// An answer with a status and a body.
pub fn status(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
