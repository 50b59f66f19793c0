//! TLS for the public port: one certificate, read anew when its files change.
//!
//! ```text
//!  files ─ look ─▶ the same twice, and not what is served ─▶ read ─┬─▶ current ─▶ new handshakes
//!                                                                  └─ broken: said once, kept
//! ```
//! Connections that stand go on with what they began with. TLS 1.2 and 1.3; HTTP/2 and HTTP/1.1
//! are offered by ALPN. A handshake that fails is counted and is nobody's news: the internet is
//! full of them.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::{CERTIFICATE_LOOK_EVERY, PEM_BYTES_MAX};
use crate::metrics::{ByReason, Metrics};

const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Why a handshake failed: what was said is no TLS or nothing that both speak,
const PROTOCOL: &str = "protocol";
/// the client went away,
const GONE: &str = "gone";
/// or it took too long.
const TIMEOUT: &str = "timeout";

/// Why a certificate cannot be served. Names the key of the config and the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no certificate's by its size.
    #[error("{key}: cannot read {}: {source}", file.display())]
    Unreadable {
        /// Of the config.
        key: &'static str,
        /// Which one.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no PEM of the right kind in it.
    #[error("{key}: {} has no {wanted} in PEM: {source}", file.display())]
    NotThere {
        /// Of the config.
        key: &'static str,
        /// Which one.
        file: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What was found.
        source: pem::Error,
    },
    /// What is in it cannot be used.
    #[error("{key}: {} cannot be used: {source}", file.display())]
    Unusable {
        /// Of the config.
        key: &'static str,
        /// Which one.
        file: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// Each is fine, and they are not each other's.
    #[error("tls.key: {} is not the key of the certificate in {}", key.display(), cert.display())]
    NotAPair {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        cert: PathBuf,
    },
}

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// The bytes of both.
#[derive(Hash)]
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// What new handshakes are made with.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().expect("no holder panics")))
    }
}

/// The certificate of the public port.
pub struct Tls {
    files: Files,
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    provider: Arc<CryptoProvider>,
    look_every: Duration,
    /// What the files held when they were last tried.
    tried: u64,
    failed: Family<ByReason, Counter>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate with its chain, and its key; both PEM.
    ///
    /// # Errors
    /// Why they cannot be served.
    pub fn load(cert: &Path, key: &Path, metrics: &Metrics) -> Result<Self, TlsError> {
        let files = Files { cert: cert.to_owned(), key: key.to_owned() };
        let provider = Arc::new(ring::default_provider());
        let pem = files.read();
        let tried = fingerprint(&pem);
        let certified = files.certified(&pem?, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring speaks the versions that rustls does")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        let failed = metrics.tls_handshakes_failed.clone();
        // At zero from the start, so that the first failures can be seen as a rate.
        for reason in [PROTOCOL, GONE, TIMEOUT] {
            drop(failed.get_or_create(&ByReason { reason }));
        }
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let look_every = CERTIFICATE_LOOK_EVERY;
        Ok(Self { files, acceptor, current, provider, look_every, tried, failed })
    }

    /// How often the files are looked at; by default `limits::CERTIFICATE_LOOK_EVERY`.
    #[must_use]
    pub fn look_every(mut self, look_every: Duration) -> Self {
        self.look_every = look_every;
        self
    }

    /// The handshake. `None`: it failed or was not over in time, and has been counted.
    pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        timeout: Duration,
    ) -> Option<TlsStream<S>> {
        let greeted = tokio::time::timeout(timeout, self.acceptor.accept(socket)).await;
        let (reason, error) = match greeted {
            Ok(Ok(stream)) => return Some(stream),
            // What rustls objects to is `InvalidData`; the rest is the client's going away.
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => (PROTOCOL, error),
            Ok(Err(error)) => (GONE, error),
            Err(elapsed) => (TIMEOUT, elapsed.into()),
        };
        self.failed.get_or_create(&ByReason { reason }).inc();
        tracing::trace!(%error, reason, "no TLS handshake");
        None
    }

    /// Looks at the files for ever, and serves what they hold.
    pub(super) async fn watch(self: Arc<Self>) {
        let (mut seen, mut tried) = (self.tried, self.tried);
        loop {
            tokio::time::sleep(self.look_every).await;
            let files = self.files.clone();
            let Ok(pem) = tokio::task::spawn_blocking(move || files.read()).await else { return };
            let found = fingerprint(&pem);
            // Whoever writes two files writes one of them first: they have to come to rest.
            let rests = found == seen;
            seen = found;
            if !rests || found == tried {
                continue;
            }
            tried = found;
            match pem.and_then(|pem| self.files.certified(&pem, &self.provider)) {
                Ok(certified) => {
                    *self.current.0.write().expect("no holder panics") = Arc::new(certified);
                    tracing::info!(cert = %self.files.cert.display(), "serving a new certificate");
                }
                Err(error) => tracing::error!(%error, "the certificate stays as it was"),
            }
        }
    }
}

/// Whether the client and we speak HTTP/2 to each other.
pub(super) fn chose_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

impl Files {
    fn read(&self) -> Result<Pem, TlsError> {
        let read = |key, file: &PathBuf| {
            read(file).map_err(|source| TlsError::Unreadable { key, file: file.clone(), source })
        };
        Ok(Pem { cert: read("tls.cert", &self.cert)?, key: read("tls.key", &self.key)? })
    }

    fn certified(&self, pem: &Pem, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let not_there = |key, file: &PathBuf, wanted| {
            let file = file.clone();
            move |source| TlsError::NotThere { key, file, wanted, source }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.cert).collect();
        let chain = chain
            .and_then(
                |chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) },
            )
            .map_err(not_there("tls.cert", &self.cert, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(not_there(
            "tls.key",
            &self.key,
            "private key",
        ))?;
        let unusable =
            |key, file: &PathBuf, source| TlsError::Unusable { key, file: file.clone(), source };
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|source| unusable("tls.key", &self.key, source))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(certified)
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TlsError::NotAPair { key: self.key.clone(), cert: self.cert.clone() })
            }
            Err(source) => Err(unusable("tls.cert", &self.cert, source)),
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {PEM_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Tells one content of the files from another, without keeping the key once more.
fn fingerprint(pem: &Result<Pem, TlsError>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match pem {
        Ok(pem) => pem.hash(&mut hasher),
        Err(error) => error.to_string().hash(&mut hasher),
    }
    hasher.finish()
}
