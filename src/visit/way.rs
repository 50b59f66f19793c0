//! How a visit gets there: straight or through a proxy, with a header of the PROXY protocol before
//! all else, with TLS that looks who it is or (to oneself) does not.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Target, VisitError};

/// Bytes of what a proxy says before it leads on.
const PROXY_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// How to get there.
#[derive(Debug, Clone)]
pub struct Way {
    /// Whom to connect to, whatever the URL says.
    pub address: Option<SocketAddr>,
    /// `host:port` of a proxy for HTTP.
    pub proxy: Option<String>,
    /// Says by the PROXY protocol (version 1) that this is the client.
    pub proxy_protocol: Option<SocketAddr>,
    /// Whom TLS believes.
    pub tls: Arc<ClientConfig>,
    /// What the visitor calls itself.
    pub agent: String,
    /// Sent besides.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a visit reads from and writes to.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

impl Way {
    /// A socket to the target that its request can be written to.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Box<dyn Socket>, VisitError> {
        let mut socket = self.socket(target).await?;
        let _ = socket.set_nodelay(true);
        let broken = |error: std::io::Error| VisitError::Broken(error.to_string());
        if let Some(client) = self.proxy_protocol {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            // Both addresses have to be of one family, and nobody asks for the second.
            let (ip, port) = (client.ip(), client.port());
            let line = format!("PROXY {family} {ip} {ip} {port} {port}\r\n");
            socket.write_all(line.as_bytes()).await.map_err(broken)?;
        }
        if !target.https {
            return Ok(Box::new(socket));
        }
        if let Some(proxy) = &self.proxy {
            tunnel(&mut socket, proxy, target).await?;
        }
        let name = ServerName::try_from(target.host.clone());
        let name = name.map_err(|error| VisitError::Tls(std::io::Error::other(error)))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await;
        Ok(Box::new(tls.map_err(VisitError::Tls)?))
    }

    async fn socket(&self, target: &Target) -> Result<TcpStream, VisitError> {
        let (to, connected) = match (&self.address, &self.proxy) {
            (Some(address), _) => (address.to_string(), TcpStream::connect(address).await),
            (None, Some(proxy)) => (proxy.clone(), TcpStream::connect(proxy).await),
            (None, None) => {
                let to = (&*target.host, target.port);
                (format!("{}:{}", to.0, to.1), TcpStream::connect(to).await)
            }
        };
        connected.map_err(|source| VisitError::Connect { to, source })
    }
}

/// Asks a proxy for a way through to the target (CONNECT).
async fn tunnel(socket: &mut TcpStream, proxy: &str, target: &Target) -> Result<(), VisitError> {
    let says = |says: String| VisitError::Proxy { proxy: proxy.to_owned(), says };
    let to = target.host_and_port();
    let request = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.map_err(|error| says(error.to_string()))?;
    // Byte by byte: what comes after the answer's head is the target's.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = socket.read_u8().await.map_err(|error| says(error.to_string()))?;
        answer.push(byte);
        if answer.len() > PROXY_ANSWER_BYTES_MAX {
            return Err(says("an answer without an end".to_owned()));
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let line = answer.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        _ => Err(says(line.to_owned())),
    }
}

/// TLS that believes whom this system does, and besides who is in a PEM file.
///
/// # Errors
/// A file that has no certificate.
pub fn verified(more: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = more {
        let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let all = CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?;
        let mut count = 0;
        for certificate in all {
            let certificate = certificate.map_err(|error| bad(&error))?;
            roots.add(certificate).map_err(|error| bad(&error))?;
            count += 1;
        }
        if count == 0 {
            return Err(bad(&"there is no certificate in it"));
        }
    }
    let config = client(ring::default_provider()).with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}

/// TLS that does not ask who the other side is: for oneself, or for who says so.
#[must_use]
pub fn no_questions_asked() -> Arc<ClientConfig> {
    let provider = ring::default_provider();
    let anyone = Arc::new(Anyone(provider.clone()));
    let config = client(provider).dangerous().with_custom_certificate_verifier(anyone);
    Arc::new(config.with_no_client_auth())
}

fn client(provider: CryptoProvider) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    builder.with_safe_default_protocol_versions().expect("the provider has the usual ones")
}

/// Believes that anyone is who they say, if they have their certificate's key.
#[derive(Debug)]
struct Anyone(CryptoProvider);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
