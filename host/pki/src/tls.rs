//! TLS configurations: no resumption anywhere; for QUIC version 1.3 only, and both sides with
//! certificates.
//!
//! A resumed session would skip the verifier, and so outlive a certificate that is no longer
//! accepted; data sent before the handshake ends (0-RTT) could be replayed.

use std::sync::Arc;

use hostd_protocol::{ALPN_CLIENT, ALPN_PEER, NodeId};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, ServerConfig};

use crate::verifier::{NodeVerifier, Trusted};
use crate::{Credentials, PkiError};

impl Credentials {
    /// For a node's listener: a certificate of the cluster's authority is required of whoever
    /// connects. Who it is, the gateway reads out of the verified certificate.
    pub fn server_config(&self) -> Result<ServerConfig, PkiError> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), self.provider.clone())
                .build()
                .map_err(|error| PkiError::Tls(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| PkiError::Tls(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = vec![ALPN_CLIENT.to_vec(), ALPN_PEER.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// For a node's listener of RESP and HTTP over TLS. A client's certificate, where it has one, must
    /// be of the cluster's authority; without one it is let in unless that is `required`.
    pub fn web_server_config(&self, required: bool) -> Result<ServerConfig, PkiError> {
        let tls = |error: &dyn std::fmt::Display| PkiError::Tls(error.to_string());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), self.provider.clone());
        let verifier = if required {
            verifier
        } else {
            verifier.allow_unauthenticated()
        };
        let verifier = verifier.build().map_err(|error| tls(&error))?;
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| tls(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// For a client: whoever answers must be a node of the cluster, any of them.
    pub fn client_config(&self) -> Result<ClientConfig, PkiError> {
        self.dialling_config(ALPN_CLIENT, None)
    }

    /// For a node that dials another: it must be a node of the cluster, and the `expected` one
    /// where that is known.
    pub fn peer_config(&self, expected: Option<NodeId>) -> Result<ClientConfig, PkiError> {
        self.dialling_config(ALPN_PEER, expected)
    }

    fn dialling_config(
        &self,
        alpn: &[u8],
        expected: Option<NodeId>,
    ) -> Result<ClientConfig, PkiError> {
        let verifier = NodeVerifier::new(
            Trusted::Roots(self.roots.clone()),
            &self.provider,
            self.cluster().map(str::to_owned),
            expected,
        );
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| PkiError::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        // Nodes are told apart by certificate, not by name.
        config.enable_sni = false;
        Ok(config)
    }
}

/// ring's algorithms, with AES-128 first: it is as safe here as AES-256 and cheaper per packet.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}
