//! Join tokens, and the certificate that a new node gets for one.
//!
//! A token is `ID.SECRET.AUTHORITY`: the name by which the cluster knows it, what proves it, and the
//! SHA-256 of the authority's certificate, by which the new node knows the cluster before it has
//! anything of it. The cluster has a digest of the proof only, and the proof is said to nobody but a
//! node of that authority.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use hostd_protocol::enroll::{ALPN_ENROLL, ENROLL_HOSTS_MAX};
use hostd_protocol::{EnrollRequest, Enrolled, NodeId, hex};
use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::authority::{CERTIFICATE_MODE, KEY_MODE, node_stem, random};
use crate::verifier::{NodeVerifier, Trusted};
use crate::{
    Authority, CA_FILE, Credentials, PkiError, ServerNames, certificate_file, files, key_file,
    sha256, tls,
};

/// Random bytes of an id and of a secret.
const ID_BYTES: usize = 5;
const SECRET_BYTES: usize = 16;

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    id: String,
    secret: String,
    authority: [u8; 32],
}

impl JoinToken {
    /// A new one for the cluster of an authority, by the SHA-256 of its certificate.
    pub fn generate(authority: [u8; 32]) -> Result<Self, PkiError> {
        Ok(Self {
            id: hex(&random::<ID_BYTES>()?),
            secret: hex(&random::<SECRET_BYTES>()?),
            authority,
        })
    }

    /// The name by which the cluster knows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What proves it.
    pub fn proof(&self) -> [u8; 32] {
        sha256(&[b"hostd join token ", self.secret.as_bytes()].concat())
    }

    /// What the cluster keeps of it.
    pub fn digest(&self) -> [u8; 32] {
        proof_digest(&self.proof())
    }
}

/// What the cluster keeps of a token that is proved so.
pub fn proof_digest(proof: &[u8; 32]) -> [u8; 32] {
    sha256(proof)
}

impl fmt::Display for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            secret,
            authority,
        } = self;
        write!(formatter, "{id}.{secret}.{}", hex(authority))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "JoinToken({}, ..)", self.id)
    }
}

impl FromStr for JoinToken {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let parse = || {
            let mut parts = text.trim().split('.');
            let (id, secret, authority) = (parts.next()?, parts.next()?, parts.next()?);
            let plain = |part: &str| {
                !part.is_empty()
                    && part.len() <= 64
                    && part.bytes().all(|byte| byte.is_ascii_hexdigit())
            };
            let fits = parts.next().is_none()
                && plain(id)
                && plain(secret)
                && plain(authority)
                && authority.len() == 64;
            let mut sum = [0; 32];
            for (place, digits) in sum.iter_mut().zip(authority.as_bytes().chunks(2)) {
                let digits = std::str::from_utf8(digits).ok()?;
                *place = u8::from_str_radix(digits, 16).ok()?;
            }
            fits.then(|| Self {
                id: id.to_owned(),
                secret: secret.to_owned(),
                authority: sum,
            })
        };
        parse().ok_or(PkiError::NotAToken)
    }
}

impl Credentials {
    /// SHA-256 of the only authority's certificate, as a token names it.
    ///
    /// # Errors
    /// While there are several, nobody can say by which one a node will be known.
    pub fn authority_sha256(&self) -> Result<[u8; 32], PkiError> {
        match self.authorities.as_slice() {
            [only] => Ok(sha256(only)),
            _ => Err(PkiError::SeveralAuthorities),
        }
    }

    /// For new nodes that have no certificate yet. The authorities are shown too, so that who has
    /// nothing but a token can judge them.
    pub fn enroll_server_config(&self) -> Result<ServerConfig, PkiError> {
        let mut chain = self.certified.cert.clone();
        chain.extend(self.authorities.iter().cloned());
        let certified = CertifiedKey::new(chain, Arc::clone(&self.certified.key));
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| PkiError::Tls(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN_ENROLL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// What a new node needs to get its certificate.
pub struct Enrollment {
    token: JoinToken,
    node: NodeId,
    key: KeyPair,
    request: EnrollRequest,
}

impl Enrollment {
    /// Makes the key of a new node.
    pub fn new(token: JoinToken, node: NodeId, names: &ServerNames) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let request = CertificateParams::default().serialize_request(&key)?;
        Ok(Self {
            request: EnrollRequest {
                id: token.id.clone(),
                proof: token.proof(),
                node,
                hosts: names.hosts().take(ENROLL_HOSTS_MAX).collect(),
                request: request.der().to_vec(),
            },
            token,
            node,
            key,
        })
    }

    /// What to say to a node of the cluster, and to nobody else.
    pub fn request(&self) -> &EnrollRequest {
        &self.request
    }

    /// For dialling: whoever answers must be a node of the token's authority.
    pub fn client_config(&self) -> Result<ClientConfig, PkiError> {
        let provider = tls::provider();
        let trusted = Trusted::Pinned(self.token.authority);
        let verifier = NodeVerifier::new(trusted, &provider, None, None);
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| PkiError::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_ENROLL.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }

    /// Keeps what the cluster gave, in the directory of the node's certificates, once it is found to
    /// be what was asked for.
    pub fn accept(&self, directory: &Path, enrolled: &Enrolled) -> Result<(), PkiError> {
        files::create_directory(directory)?;
        let _lock = files::lock(directory)?;
        let stem = node_stem(self.node);
        let (certificate, key) = (
            certificate_file(directory, &stem),
            key_file(directory, &stem),
        );
        let ca = directory.join(CA_FILE);
        files::write(&key, &self.key.serialize_pem(), KEY_MODE)?;
        files::write(&certificate, &enrolled.certificate, CERTIFICATE_MODE)?;
        files::write(&ca, &enrolled.authorities, CERTIFICATE_MODE)?;
        let checked = Credentials::from_dir_node(directory, self.node).and_then(|credentials| {
            let known = |der: &CertificateDer<'_>| sha256(der) == self.token.authority;
            if !credentials.authorities.iter().any(known) {
                return Err(PkiError::Unfit(
                    "the authority that was given is not the one of the token".to_owned(),
                ));
            }
            credentials.vouched_for()
        });
        if checked.is_err() {
            for file in [&key, &certificate, &ca] {
                // What cannot be removed is found to be of no use at the next start.
                let _ = std::fs::remove_file(file);
            }
        }
        checked
    }
}

impl Authority {
    /// A certificate for a node that was never issued one here, for the key of a request. It counts
    /// once it is [kept](Self::keep_issued).
    pub fn sign(&self, request: &EnrollRequest) -> Result<Enrolled, PkiError> {
        let stem = node_stem(request.node);
        let path = certificate_file(self.directory(), &stem);
        if path.exists() {
            return Err(PkiError::Exists {
                path,
                hint: "its node has, or had, this number, and a token takes in new nodes only; choose another --node-id",
            });
        }
        let names = request
            .hosts
            .iter()
            .take(ENROLL_HOSTS_MAX)
            .fold(ServerNames::default(), |names, host| names.with_host(host));
        let key = CertificateSigningRequestParams::from_der(&request.request.as_slice().into())?;
        let certificate = self.sign_node(request.node, &names, &key.public_key)?;
        let ca = self.directory().join(CA_FILE);
        let authorities = files::read(&ca)?.ok_or(PkiError::NoAuthority(ca.clone()))?;
        Ok(Enrolled {
            certificate,
            authorities: String::from_utf8(authorities)
                .map_err(|error| PkiError::malformed(ca, error))?,
        })
    }

    /// Remembers that a node has a certificate.
    pub fn keep_issued(&self, node: NodeId, enrolled: &Enrolled) -> Result<(), PkiError> {
        let _lock = files::lock(self.directory())?;
        let path = certificate_file(self.directory(), &node_stem(node));
        files::write(&path, &enrolled.certificate, CERTIFICATE_MODE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let token = JoinToken::generate([9; 32]).unwrap();
        let text = token.to_string();
        let read: JoinToken = text.parse().unwrap();
        assert_eq!(read, token);
        assert!(!format!("{token:?}").contains(&token.secret));
        for text in [
            "",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            &text[1..text.len() - 1],
            "a.b.\u{e9}",
        ] {
            assert!(text.parse::<JoinToken>().is_err(), "{text}");
        }
    }
}
