//! How a node's certificate is judged by whoever dials it.

use std::sync::Arc;

use hostd_protocol::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::{Identity, sha256};

/// Which authorities count.
#[derive(Debug)]
pub(crate) enum Trusted {
    /// These.
    Roots(Arc<RootCertStore>),
    /// The one whose certificate has this SHA-256, which the node shows with its own.
    Pinned([u8; 32]),
}

impl Trusted {
    fn roots(&self, shown: &[CertificateDer<'_>]) -> Result<Arc<RootCertStore>, Error> {
        let pin = match self {
            Trusted::Roots(roots) => return Ok(Arc::clone(roots)),
            Trusted::Pinned(pin) => pin,
        };
        let stranger = || Error::General("the node is not of the token's authority".to_owned());
        let pinned = shown.iter().find(|certificate| sha256(certificate) == *pin);
        let mut roots = RootCertStore::empty();
        roots.add(pinned.ok_or_else(stranger)?.clone().into_owned())?;
        Ok(Arc::new(roots))
    }
}

/// Accepts nodes of the cluster: the chain leads to an authority that is `trusted`, the leaf is valid
/// now and for serving, and its URI names a node of the cluster. The host name that was dialled
/// is not looked at: a node is who its certificate says, wherever it is.
#[derive(Debug)]
pub(crate) struct NodeVerifier {
    trusted: Trusted,
    algorithms: WebPkiSupportedAlgorithms,
    /// `None` accepts any cluster of the authority.
    cluster: Option<String>,
    /// `None` accepts any node.
    expected: Option<NodeId>,
}

impl NodeVerifier {
    pub(crate) fn new(
        trusted: Trusted,
        provider: &CryptoProvider,
        cluster: Option<String>,
        expected: Option<NodeId>,
    ) -> Self {
        Self {
            trusted,
            algorithms: provider.signature_verification_algorithms,
            cluster,
            expected,
        }
    }

    fn judge(&self, identity: &Identity) -> Result<(), String> {
        let Identity::Node { cluster, id } = identity else {
            return Err(format!("the server is {identity}, not a node"));
        };
        if let Some(expected) = self
            .cluster
            .as_ref()
            .filter(|expected| *expected != cluster)
        {
            return Err(format!(
                "the server is a node of cluster {cluster}, not of {expected}"
            ));
        }
        match self.expected {
            Some(expected) if expected != *id => {
                Err(format!("the server is node {id}, not node {expected}"))
            }
            _ => Ok(()),
        }
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let roots = self.trusted.roots(intermediates)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Identity::from_certificate(end_entity)
            .map_err(|error| error.to_string())
            .and_then(|identity| self.judge(&identity))
            .map_err(Error::General)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
