//! Another authority in the place of the one that a cluster has: first both are believed, then
//! certificates are issued anew, then the old one goes.

use std::path::Path;

use std::sync::Arc;

use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use crate::authority::{CERTIFICATE_MODE, KEY_MODE, self_signed};
use crate::credentials::{certificates, issue_arguments_of_file};
use crate::info::certificate_files;
use crate::{Authority, CA_FILE, CA_KEY_FILE, PkiError, files, tls};

impl Authority {
    /// Makes another authority for the same cluster. From then on it issues; `ca.pem` holds both.
    ///
    /// # Errors
    /// [`PkiError::RotationUnderWay`] where `ca.pem` holds several already.
    pub fn rotate(directory: &Path) -> Result<Self, PkiError> {
        let old = Self::open(directory)?;
        let _lock = files::lock(directory)?;
        let ca_path = directory.join(CA_FILE);
        let present = read_text(&ca_path)?;
        if authorities(&present).count() > 1 {
            return Err(PkiError::RotationUnderWay(ca_path));
        }
        let key = KeyPair::generate()?;
        let new = self_signed(old.cluster(), &key)?;
        // Whichever of them the key belongs to issues, so that either file may be the older one.
        let both = format!("{}\n{}", present.trim_end(), new.pem());
        files::write(&ca_path, &both, CERTIFICATE_MODE)?;
        files::write(&directory.join(CA_KEY_FILE), &key.serialize_pem(), KEY_MODE)?;
        Self::open(directory)
    }

    /// Ends a rotation: `ca.pem` holds the authority that issues and no other.
    ///
    /// # Errors
    /// [`PkiError::OfOldAuthority`] as long as the directory has certificates of another.
    pub fn finish_rotation(directory: &Path) -> Result<Self, PkiError> {
        let authority = Self::open(directory)?;
        let _lock = files::lock(directory)?;
        let ca_path = directory.join(CA_FILE);
        let present = read_text(&ca_path)?;
        let remaining = authorities(&present)
            .find(|(_, der)| der == authority.certificate())
            .map(|(text, _)| format!("{text}\n"))
            .ok_or_else(|| PkiError::malformed(&ca_path, "it changed meanwhile"))?;
        let verifier = verifier(authority.certificate())?;
        let mut left = Vec::new();
        for path in certificate_files(directory)? {
            if path.ends_with(CA_FILE) {
                continue;
            }
            let chain = certificates(&path)?.ok_or_else(|| PkiError::Missing(path.clone()))?;
            if !vouched_for(&*verifier, &chain[0]) {
                left.push(path);
            }
        }
        if let Some(first) = left.first() {
            let names = left.iter().map(|path| path.display().to_string());
            return Err(PkiError::OfOldAuthority {
                files: names.collect(),
                issue: issue_arguments_of_file(first),
            });
        }
        files::write(&ca_path, &remaining, CERTIFICATE_MODE)?;
        Self::open(directory)
    }
}

fn read_text(path: &Path) -> Result<String, PkiError> {
    let bytes = files::read(path)?.ok_or_else(|| PkiError::NoAuthority(path.to_owned()))?;
    String::from_utf8(bytes).map_err(|error| PkiError::malformed(path, error))
}

/// The certificates of a PEM file, each as it is written there.
fn authorities(pem: &str) -> impl Iterator<Item = (&str, CertificateDer<'static>)> {
    pem.split_inclusive("-----END CERTIFICATE-----")
        .filter_map(|part| {
            let text = &part[part.find("-----BEGIN CERTIFICATE-----")?..];
            let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
            Some((text, der))
        })
}

fn verifier(authority: &CertificateDer<'static>) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    let failed = |error: &dyn std::fmt::Display| PkiError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.clone())
        .map_err(|error| failed(&error))?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .build()
        .map_err(|error| failed(&error))
}

/// Whether the authority issued it. Every certificate of hostd's may be used for dialling.
fn vouched_for(authority: &dyn ClientCertVerifier, leaf: &CertificateDer<'_>) -> bool {
    match authority.verify_client_cert(leaf, &[], UnixTime::now()) {
        // Nobody misses what has expired anyway.
        Ok(_)
        | Err(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => true,
        Err(_) => false,
    }
}
