//! Certificates that are made now, and their files as a gateway is given them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate of its own.
pub struct Identity {
    /// The certificate.
    pub cert: rcgen::Certificate,
    /// Its key, as a PEM file has it.
    pub key: String,
}

impl Identity {
    /// Of `localhost`.
    #[must_use]
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        Self { key: made.signing_key.serialize_pem(), cert: made.cert }
    }

    /// The certificate by itself.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        self.cert.der().clone()
    }

    /// What a server is that has it.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let server = server.expect("known ones").with_no_client_auth();
        Arc::new(server.with_single_cert(vec![self.der()], key).expect("they fit"))
    }
}

/// The files of a certificate.
pub struct Files {
    /// Where they are.
    pub dir: tempfile::TempDir,
}

impl Files {
    /// Files that hold this one.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        let files = Self { dir: tempfile::tempdir().expect("a folder") };
        files.hold(identity);
        files
    }

    /// From now on they hold this one.
    pub fn hold(&self, identity: &Identity) {
        std::fs::write(self.cert(), identity.cert.pem()).expect("write");
        std::fs::write(self.key(), &identity.key).expect("write");
    }

    /// Where the certificate is.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// Where its key is.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// What the configuration says of them.
    #[must_use]
    pub fn config(&self) -> String {
        format!("[tls]\ncert = {:?}\nkey = {:?}\n", self.cert(), self.key())
    }
}
