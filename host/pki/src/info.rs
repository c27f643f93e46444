//! What `hostctl pki show` tells about certificates.

use std::path::{Path, PathBuf};

use hostd_protocol::hex;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::credentials::certificates;
use crate::identity::cluster_of_authority;
use crate::{Identity, PkiError, sha256};

/// A certificate, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateInfo {
    /// The file it is in.
    pub file: PathBuf,
    /// The subject's distinguished name.
    pub subject: String,
    /// Who it makes its holder: `authority …`, `hostd://…/node/N`, `client NAME`.
    pub identity: String,
    /// First moment of validity, RFC 3339.
    pub not_before: String,
    /// Last moment of validity, RFC 3339.
    pub not_after: String,
    /// Whether it is valid now.
    pub valid: bool,
    /// SHA-256 of the DER form in hexadecimal, as `openssl x509 -fingerprint -sha256` computes it.
    pub sha256: String,
}

impl CertificateInfo {
    /// Describes the first certificate of a PEM file.
    pub fn read(file: &Path) -> Result<Self, PkiError> {
        let found = certificates(file)?.ok_or_else(|| PkiError::Missing(file.to_owned()))?;
        Self::of(file, &found[0])
    }

    fn of(file: &Path, der: &[u8]) -> Result<Self, PkiError> {
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|error| PkiError::malformed(file, error))?;
        let identity = if parsed.is_ca() {
            match cluster_of_authority(&parsed) {
                Some(cluster) => format!("authority {cluster}"),
                None => "authority".to_owned(),
            }
        } else {
            Identity::from_parsed(&parsed)
                .map_or_else(|error| error.to_string(), |identity| identity.to_string())
        };
        let validity = parsed.validity();
        let not_before = validity.not_before.to_datetime();
        let not_after = validity.not_after.to_datetime();
        Ok(Self {
            file: file.to_owned(),
            subject: parsed.subject().to_string(),
            identity,
            not_before: rfc3339(not_before),
            not_after: rfc3339(not_after),
            valid: (not_before..=not_after).contains(&OffsetDateTime::now_utc()),
            sha256: hex(&sha256(der)),
        })
    }
}

/// Describes every certificate of a pki directory: the authority first, then by file name. During a
/// rotation the file of the authority has two.
pub fn show(directory: &Path) -> Result<Vec<CertificateInfo>, PkiError> {
    let mut described = Vec::new();
    for path in certificate_files(directory)? {
        if path.ends_with(crate::CA_FILE) {
            let authorities =
                certificates(&path)?.ok_or_else(|| PkiError::Missing(path.clone()))?;
            for der in &authorities {
                described.push(CertificateInfo::of(&path, der)?);
            }
        } else {
            described.push(CertificateInfo::read(&path)?);
        }
    }
    Ok(described)
}

/// The files of certificates in a pki directory, in the same order.
pub(crate) fn certificate_files(directory: &Path) -> Result<Vec<PathBuf>, PkiError> {
    if !directory.is_dir() {
        return Err(PkiError::NoDirectory(directory.to_owned()));
    }
    let entries = std::fs::read_dir(directory).map_err(PkiError::io("read", directory))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(PkiError::io("read", directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".pem") && !name.ends_with("-key.pem") {
            paths.push(path);
        }
    }
    paths.sort_by_key(|path| (!path.ends_with(crate::CA_FILE), path.clone()));
    Ok(paths)
}

pub(crate) fn rfc3339(moment: OffsetDateTime) -> String {
    moment
        .format(&Rfc3339)
        .unwrap_or_else(|_| moment.to_string())
}
