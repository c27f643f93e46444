//! Credentials that are replaced while connections are made with them.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::UnixTime;
use rustls::server::ParsedCertificate;

use crate::{Credentials, PkiError};

/// The credentials in force. Whoever makes a connection takes what is in force then; connections that
/// are there go on.
#[derive(Clone, Debug)]
pub struct CurrentCredentials(Arc<RwLock<Credentials>>);

impl CurrentCredentials {
    /// What is in force now.
    pub fn get(&self) -> Credentials {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts others in force. They must have been found fit by [`Credentials::fit_successor`].
    pub fn replace(&self, credentials: Credentials) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }
}

impl From<Credentials> for CurrentCredentials {
    fn from(credentials: Credentials) -> Self {
        Self(Arc::new(RwLock::new(credentials)))
    }
}

impl Credentials {
    /// Whether a running node may go on with `next` in the place of these: the same identity, and a
    /// certificate that the authorities beside it vouch for.
    pub fn fit_successor(&self, next: &Self) -> Result<(), PkiError> {
        if next.identity() != self.identity() {
            return Err(PkiError::Unfit(format!(
                "the certificate is of {}, and this is {}",
                next.identity(),
                self.identity()
            )));
        }
        next.vouched_for()
    }

    /// Whether an authority of these credentials vouches for a node's certificate now, as those who
    /// dial the node judge it.
    pub(crate) fn vouched_for(&self) -> Result<(), PkiError> {
        let (leaf, intermediates) = self
            .certified
            .cert
            .split_first()
            .ok_or_else(|| PkiError::Unfit("there is no certificate".to_owned()))?;
        let verified = ParsedCertificate::try_from(leaf).and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.roots,
                intermediates,
                UnixTime::now(),
                self.provider.signature_verification_algorithms.all,
            )
        });
        verified.map_err(|error| {
            PkiError::Unfit(format!(
                "no authority of the CA file vouches for the certificate: {error}"
            ))
        })
    }
}
