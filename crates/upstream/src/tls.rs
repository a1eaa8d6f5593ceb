//! TLS towards upstreams. Built at the first `https://` connection: loading the system's
//! certificates costs time and memory that a plain installation need not pay.

use crate::error::ConnectError;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The TLS settings, built when first used.
#[derive(Default)]
pub(crate) struct Tls {
    cell: OnceCell<Configs>,
}

/// One for upstreams, which may negotiate HTTP/2, one for proxies, which must not.
#[derive(Clone)]
pub(crate) struct Configs {
    pub(crate) upstream: Arc<ClientConfig>,
    pub(crate) proxy: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) async fn configs(&self) -> Result<Configs, ConnectError> {
        let build = || async {
            let built = tokio::task::spawn_blocking(|| Configs::trusting(system_roots())).await;
            built.map_err(|e| ConnectError::Tls(e.to_string()))?
        };
        self.cell.get_or_try_init(build).await.cloned()
    }

    #[cfg(test)]
    pub(crate) fn trusting(roots: RootCertStore) -> Self {
        let configs = Configs::trusting(roots).expect("a configuration");
        Self { cell: OnceCell::new_with(Some(configs)) }
    }
}

impl Configs {
    fn trusting(roots: RootCertStore) -> Result<Self, ConnectError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| ConnectError::Tls(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let proxy = Arc::new(config.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { upstream: Arc::new(config), proxy })
    }
}

/// The system's certificates; Mozilla's, built in, where the system has none.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
