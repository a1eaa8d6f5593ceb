//! TLS to PostgreSQL, as libpq's `sslmode` has it.

use crate::StoreError;
use crate::dsn::Verify;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a line of a PEM file is (RFC 7468).
const PEM_COLUMNS: usize = 64;

/// The connector for one way of verifying.
pub(crate) fn connector(verify: Verify) -> Result<MakeRustlsConnect, StoreError> {
    let unusable = |error: &dyn std::error::Error| StoreError::Config(format!("TLS: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let config = match verify {
        Verify::Full => builder.with_root_certificates(roots()).with_no_client_auth(),
        Verify::Nothing => {
            let lenient = Arc::new(Lenient { chain: None, provider });
            builder.dangerous().with_custom_certificate_verifier(lenient).with_no_client_auth()
        }
        Verify::Chain => {
            let roots = Arc::new(roots());
            let chain =
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            let chain = Some(chain.map_err(|error| unusable(&error))?);
            let lenient = Arc::new(Lenient { chain, provider });
            builder.dangerous().with_custom_certificate_verifier(lenient).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// The system's certificates as one PEM file; `None` where the system has none.
pub(crate) fn roots_pem() -> Option<String> {
    let certs = rustls_native_certs::load_native_certs().certs;
    let mut pem = String::new();
    for cert in &certs {
        let text = STANDARD.encode(cert);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(PEM_COLUMNS) {
            pem.extend(line.iter().map(|byte| char::from(*byte)).chain(['\n']));
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    (!certs.is_empty()).then_some(pem)
}

/// The system's certificates, or the well-known ones where the system has none.
fn roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let (added, _) =
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

/// `require` encrypts without verifying the server; `verify-ca` verifies the chain alone.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
