//! A loaded certificate, its key, and the authorities it trusts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hostd_protocol::NodeId;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::authority::node_stem;
use crate::identity::cluster_of_authority;
use crate::info::rfc3339;
use crate::{CA_FILE, Identity, PkiError, ServerNames, certificate_file, files, key_file, tls};

/// Everything one side of a connection needs: its certificate chain, its private key, and the
/// authorities that it believes.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) certified: Arc<CertifiedKey>,
    /// What `roots` was made of.
    pub(crate) authorities: Arc<Vec<CertificateDer<'static>>>,
    identity: Identity,
    names: ServerNames,
    cluster: Option<String>,
    not_after: OffsetDateTime,
    warnings: Vec<String>,
}

impl Credentials {
    /// Loads PEM files: `ca` may hold several authorities, `cert` a chain with the leaf first.
    ///
    /// A leaf that is expired is refused here, where the message can name the file. Whether an
    /// authority of `ca` signed it is for the other side to judge.
    pub fn load(ca: &Path, cert: &Path, key: &Path) -> Result<Self, PkiError> {
        let authorities = certificates(ca)?.ok_or_else(|| PkiError::Missing(ca.to_owned()))?;
        let missing = |path: &Path| PkiError::NotIssued {
            path: path.to_owned(),
            issue: issue_arguments_of_file(cert),
        };
        let chain = certificates(cert)?.ok_or_else(|| missing(cert))?;
        let private = files::read(key)?.ok_or_else(|| missing(key))?;
        let private = PrivateKeyDer::from_pem_slice(&private)
            .map_err(|error| PkiError::malformed(key, error))?;

        let mut roots = RootCertStore::empty();
        let mut cluster = None;
        for authority in &authorities {
            let (_, parsed) = X509Certificate::from_der(authority)
                .map_err(|error| PkiError::malformed(ca, error))?;
            cluster = cluster.or_else(|| cluster_of_authority(&parsed));
            roots
                .add(authority.clone())
                .map_err(|error| PkiError::malformed(ca, error))?;
        }

        let leaf = chain[0].clone();
        let (_, parsed) =
            X509Certificate::from_der(&leaf).map_err(|error| PkiError::malformed(cert, error))?;
        let identity =
            Identity::from_parsed(&parsed).map_err(|error| PkiError::malformed(cert, error))?;
        if let Identity::Node { cluster: named, .. } = &identity {
            cluster = Some(named.clone());
        }
        let not_before = parsed.validity().not_before.to_datetime();
        let not_after = parsed.validity().not_after.to_datetime();
        let now = OffsetDateTime::now_utc();
        if now < not_before || now > not_after {
            return Err(PkiError::OutsideValidity {
                path: cert.to_owned(),
                not_before: rfc3339(not_before),
                not_after: rfc3339(not_after),
                issue: identity.issue_arguments(),
            });
        }

        let provider = tls::provider();
        let certified = CertifiedKey::from_der(chain, private, &provider).map_err(|error| {
            PkiError::malformed(
                key,
                format!("it is not the key of {}: {error}", cert.display()),
            )
        })?;
        Ok(Self {
            provider,
            roots: Arc::new(roots),
            authorities: Arc::new(authorities),
            certified: Arc::new(certified),
            identity,
            names: ServerNames::of_certificate(&parsed),
            cluster,
            not_after,
            warnings: files::warn_if_readable_by_others(key).into_iter().collect(),
        })
    }

    /// Loads a node's certificate out of a pki directory.
    pub fn from_dir_node(directory: &Path, id: NodeId) -> Result<Self, PkiError> {
        let credentials = Self::from_dir(directory, &node_stem(id))?;
        match &credentials.identity {
            Identity::Node { id: found, .. } if *found == id => Ok(credentials),
            other => Err(PkiError::WrongIdentity {
                path: certificate_file(directory, &node_stem(id)),
                found: other.to_string(),
                expected: format!("node {id}"),
            }),
        }
    }

    /// Loads a client's certificate out of a pki directory.
    pub fn from_dir_client(directory: &Path, name: &str) -> Result<Self, PkiError> {
        let credentials = Self::from_dir(directory, name)?;
        match &credentials.identity {
            Identity::Client { .. } => Ok(credentials),
            other @ Identity::Node { .. } => Err(PkiError::WrongIdentity {
                path: certificate_file(directory, name),
                found: other.to_string(),
                expected: "a client".to_owned(),
            }),
        }
    }

    fn from_dir(directory: &Path, stem: &str) -> Result<Self, PkiError> {
        if !directory.is_dir() {
            return Err(PkiError::NoDirectory(directory.to_owned()));
        }
        let ca = directory.join(CA_FILE);
        match Self::load(
            &ca,
            &certificate_file(directory, stem),
            &key_file(directory, stem),
        ) {
            Err(PkiError::Missing(path)) if path == ca => Err(PkiError::NoAuthority(path)),
            other => other,
        }
    }

    /// Whose credentials these are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The cluster's name: a node's own certificate says it, and so does an authority that hostd
    /// made. `None` for a client of somebody's own PKI.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// The names by which a node is reached over TLS.
    pub fn names(&self) -> &ServerNames {
        &self.names
    }

    /// The last moment at which others accept the certificate.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// What a person should know though it prevents nothing, such as a key that others can read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("cluster", &self.cluster)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The certificates of a PEM file, at least one; `None` when there is no file.
pub(crate) fn certificates(path: &Path) -> Result<Option<Vec<CertificateDer<'static>>>, PkiError> {
    let Some(pem) = files::read(path)? else {
        return Ok(None);
    };
    let found = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| PkiError::malformed(path, error))?;
    if found.is_empty() {
        return Err(PkiError::malformed(path, "it holds no PEM certificate"));
    }
    Ok(Some(found))
}

/// What `hostctl pki issue` would be given to make this file, judged by its name.
pub(crate) fn issue_arguments_of_file(cert: &Path) -> String {
    let stem = PathBuf::from(cert.file_stem().unwrap_or_default());
    let stem = stem.to_string_lossy();
    match stem.strip_prefix("node-") {
        Some(id) if id.parse::<NodeId>().is_ok() => format!("--node {id}"),
        _ => stem.into_owned(),
    }
}
