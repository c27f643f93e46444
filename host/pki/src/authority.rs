//! The authority: makes itself, and issues certificates.

use std::fs::File;
use std::path::{Path, PathBuf};

use hostd_protocol::NodeId;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::credentials::certificates;
use crate::identity::{ca_common_name, cluster_of_authority};
use crate::{
    ADMIN, CA_FILE, CA_KEY_FILE, CA_VALIDITY_DAYS, Credentials, Identity, LEAF_VALIDITY_DAYS,
    PkiError, RENEW_BEFORE_DAYS, ServerNames, certificate_file, files, key_file,
};

pub(crate) const KEY_MODE: u32 = 0o600;
pub(crate) const CERTIFICATE_MODE: u32 = 0o644;

/// How far back a validity begins.
const BACKDATED: Duration = Duration::DAY;

/// A certificate authority in a pki directory.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    cluster: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// Certificates must not outlive what vouches for them.
    not_after: OffsetDateTime,
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A node.
    Node(NodeId),
    /// A client, by name.
    Client(String),
}

/// What to do when the certificate is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Fail with [`PkiError::Exists`].
    Refuse,
    /// Issue a new one in its place.
    Replace,
}

impl Authority {
    /// Makes an authority, with a random cluster name, and the [`ADMIN`] client certificate.
    /// Makes the directory where it is missing; fails where it holds an authority.
    pub fn init(directory: &Path) -> Result<Self, PkiError> {
        files::create_directory(directory)?;
        let lock = files::lock(directory)?;
        for name in [CA_FILE, CA_KEY_FILE] {
            let path = directory.join(name);
            if path.exists() {
                return Err(PkiError::Exists {
                    path,
                    hint: "this directory has its authority; choose another with --pki",
                });
            }
        }
        Self::create(&lock, directory)
    }

    /// Opens an authority to issue certificates with: the one of `ca.pem` that the key belongs to.
    pub fn open(directory: &Path) -> Result<Self, PkiError> {
        let ca_path = directory.join(CA_FILE);
        let key_path = directory.join(CA_KEY_FILE);
        if !directory.is_dir() {
            return Err(PkiError::NoDirectory(directory.to_owned()));
        }
        let present = certificates(&ca_path)?.ok_or(PkiError::NoAuthority(ca_path.clone()))?;
        let key =
            files::read(&key_path)?.ok_or_else(|| PkiError::NoAuthorityKey(key_path.clone()))?;
        let key = std::str::from_utf8(&key)
            .map_err(|error| PkiError::malformed(&key_path, error))
            .and_then(|pem| {
                KeyPair::from_pem(pem).map_err(|error| PkiError::malformed(&key_path, error))
            })?;
        let mut own = None;
        for der in &present {
            let (_, certificate) = X509Certificate::from_der(der)
                .map_err(|error| PkiError::malformed(&ca_path, error))?;
            if key.public_key_raw() == certificate.public_key().subject_public_key.data.as_ref() {
                own = Some((der.clone(), certificate));
            }
        }
        let (der, certificate) =
            own.ok_or_else(|| PkiError::malformed(&key_path, "it is not the key of ca.pem"))?;
        let cluster = cluster_of_authority(&certificate).ok_or_else(|| {
            PkiError::malformed(
                &ca_path,
                "its subject does not name a hostd cluster; issue certificates with your own PKI's tools",
            )
        })?;
        let not_after = certificate.validity().not_after.to_datetime();
        Ok(Self {
            directory: directory.to_owned(),
            cluster,
            issuer: Issuer::from_ca_cert_der(&der, key)?,
            certificate: der,
            not_after,
        })
    }

    /// Opens the directory's authority, and makes it first where there is none. Several processes
    /// may do so at once: one makes it, all open the same.
    pub fn open_or_init(directory: &Path) -> Result<Self, PkiError> {
        files::create_directory(directory)?;
        let lock = files::lock(directory)?;
        Self::open_or_create(&lock, directory)
    }

    /// The cluster's name: 16 hexadecimal digits.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Issues a node's certificate; fails when it has one. Returns the certificate's file.
    pub fn issue_node(&self, id: NodeId) -> Result<PathBuf, PkiError> {
        self.issue(&Subject::Node(id), Existing::Refuse)
    }

    /// Issues a client's certificate; fails when it has one. Returns the certificate's file.
    pub fn issue_client(&self, name: &str) -> Result<PathBuf, PkiError> {
        self.issue(&Subject::Client(name.to_owned()), Existing::Refuse)
    }

    /// Issues a certificate. Returns its file; the key's is [`key_file`]. A node's has the names of
    /// every machine for itself, and those of the one that it replaces.
    pub fn issue(&self, subject: &Subject, existing: Existing) -> Result<PathBuf, PkiError> {
        self.issue_with_names(subject, &ServerNames::default(), existing)
    }

    /// As [`issue`](Self::issue), with these names too. Clients have none.
    pub fn issue_with_names(
        &self,
        subject: &Subject,
        names: &ServerNames,
        existing: Existing,
    ) -> Result<PathBuf, PkiError> {
        let lock = files::lock(&self.directory)?;
        self.issue_locked(&lock, subject, names, existing)
    }

    fn open_or_create(lock: &File, directory: &Path) -> Result<Self, PkiError> {
        if directory.join(CA_FILE).exists() {
            Self::open(directory)
        } else {
            Self::create(lock, directory)
        }
    }

    fn create(lock: &File, directory: &Path) -> Result<Self, PkiError> {
        let cluster = random_name()?;
        let key = KeyPair::generate()?;
        let certificate = self_signed(&cluster, &key)?;
        // The certificate last: where it is, the key is.
        files::write(&directory.join(CA_KEY_FILE), &key.serialize_pem(), KEY_MODE)?;
        files::write(
            &directory.join(CA_FILE),
            &certificate.pem(),
            CERTIFICATE_MODE,
        )?;
        let authority = Self::open(directory)?;
        let admin = Subject::Client(ADMIN.to_owned());
        authority.issue_locked(lock, &admin, &ServerNames::default(), Existing::Replace)?;
        Ok(authority)
    }

    fn issue_locked(
        &self,
        _lock: &File,
        subject: &Subject,
        names: &ServerNames,
        existing: Existing,
    ) -> Result<PathBuf, PkiError> {
        let stem = subject.stem()?;
        let certificate_path = certificate_file(&self.directory, &stem);
        let key_path = key_file(&self.directory, &stem);
        if existing == Existing::Refuse && certificate_path.exists() {
            return Err(PkiError::Exists {
                path: certificate_path,
                hint: "`--replace` issues a new one in its place",
            });
        }
        let key = KeyPair::generate()?;
        let parameters = match subject {
            Subject::Node(id) => {
                self.node_parameters(*id, &names_in(&certificate_path).and(names))?
            }
            Subject::Client(_) => self.parameters(&stem)?,
        };
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        files::write(&key_path, &key.serialize_pem(), KEY_MODE)?;
        files::write(&certificate_path, &certificate.pem(), CERTIFICATE_MODE)?;
        Ok(certificate_path)
    }

    /// What every certificate has that this authority issues.
    fn parameters(&self, common_name: &str) -> Result<CertificateParams, PkiError> {
        let now = OffsetDateTime::now_utc();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = distinguished_name(common_name);
        parameters.serial_number = Some(random_serial()?);
        parameters.not_before = now - BACKDATED;
        parameters.not_after = (now + Duration::days(LEAF_VALIDITY_DAYS)).min(self.not_after);
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(parameters)
    }

    /// And a node's: it serves too, and has names.
    fn node_parameters(
        &self,
        id: NodeId,
        names: &ServerNames,
    ) -> Result<CertificateParams, PkiError> {
        let mut parameters = self.parameters(&Subject::Node(id).stem()?)?;
        parameters
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
        let uri = Identity::Node {
            cluster: self.cluster.clone(),
            id,
        }
        .to_string();
        parameters.subject_alt_names = ServerNames::local().and(names).alternative_names()?;
        parameters
            .subject_alt_names
            .push(SanType::URI(Ia5String::try_from(uri)?));
        Ok(parameters)
    }

    /// A node's certificate for somebody's key, PEM. Nothing is written.
    pub(crate) fn sign_node(
        &self,
        id: NodeId,
        names: &ServerNames,
        key: &impl PublicKeyData,
    ) -> Result<String, PkiError> {
        let parameters = self.node_parameters(id, names)?;
        Ok(parameters.signed_by(key, &self.issuer)?.pem())
    }

    /// Issues what is missing, about to expire, without one of the names, or of another authority. Under the directory's
    /// lock.
    fn ensure(&self, lock: &File, subject: &Subject, names: &ServerNames) -> Result<(), PkiError> {
        let stem = subject.stem()?;
        let lasts = |credentials: &Credentials| {
            credentials.not_after() - OffsetDateTime::now_utc() > Duration::days(RENEW_BEFORE_DAYS)
                || credentials.not_after() >= self.not_after
        };
        let fresh = |credentials: &Credentials| {
            lasts(credentials)
                && credentials.names().cover(names)
                && (matches!(subject, Subject::Client(_)) || credentials.vouched_for().is_ok())
        };
        match Credentials::load(
            &self.directory.join(CA_FILE),
            &certificate_file(&self.directory, &stem),
            &key_file(&self.directory, &stem),
        ) {
            Ok(credentials) if fresh(&credentials) => Ok(()),
            Ok(_) | Err(PkiError::NotIssued { .. } | PkiError::OutsideValidity { .. }) => self
                .issue_locked(lock, subject, names, Existing::Replace)
                .map(|_| ()),
            Err(error) => Err(error),
        }
    }
}

impl Subject {
    /// The name of the files, without their ending.
    fn stem(&self) -> Result<String, PkiError> {
        match self {
            Subject::Node(0) => Err(PkiError::NodeId),
            Subject::Node(id) => Ok(node_stem(*id)),
            Subject::Client(name) => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
                let fits = (1..=64).contains(&name.len())
                    && name.bytes().all(plain)
                    && !name.starts_with(['.', '-'])
                    // Names whose files would be the authority's, a node's, or another's key.
                    && name != "ca"
                    && !name.starts_with("node-")
                    && !name.ends_with("-key");
                fits.then(|| name.clone())
                    .ok_or_else(|| PkiError::ClientName(name.clone()))
            }
        }
    }
}

/// An authority's certificate for a cluster of this name.
pub(crate) fn self_signed(cluster: &str, key: &KeyPair) -> Result<Certificate, PkiError> {
    let now = OffsetDateTime::now_utc();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = distinguished_name(&ca_common_name(cluster));
    parameters.serial_number = Some(random_serial()?);
    parameters.not_before = now - BACKDATED;
    parameters.not_after = now + Duration::days(CA_VALIDITY_DAYS);
    // Issues leaves only.
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters.self_signed(key)?)
}

/// The name of a node's files, without their ending.
pub fn node_stem(id: NodeId) -> String {
    format!("node-{id}")
}

/// What a node does when it starts: makes what is missing in the directory and can be made there
/// (the authority, the node's certificate, the [`ADMIN`] certificate), renews what is about to
/// expire or lacks one of the node's `names`, and loads the node's credentials.
///
/// On a machine that has the cluster's `ca.pem` without its key, the node's certificate must have
/// been issued elsewhere and copied; otherwise [`PkiError::NoAuthorityKey`] says so.
pub fn provision(
    directory: &Path,
    id: NodeId,
    names: &ServerNames,
) -> Result<Credentials, PkiError> {
    files::create_directory(directory)?;
    let lock = files::lock(directory)?;
    let here = directory.join(CA_KEY_FILE).exists();
    let issued_elsewhere = directory.join(CA_FILE).exists() && !here;
    if issued_elsewhere && certificate_file(directory, &node_stem(id)).exists() {
        return Credentials::from_dir_node(directory, id);
    }
    let authority = Authority::open_or_create(&lock, directory)?;
    authority.ensure(&lock, &Subject::Node(id), names)?;
    let admin = Subject::Client(ADMIN.to_owned());
    authority.ensure(&lock, &admin, &ServerNames::default())?;
    Credentials::from_dir_node(directory, id)
}

/// The names of a certificate that may be there.
fn names_in(certificate: &Path) -> ServerNames {
    let Ok(Some(found)) = certificates(certificate) else {
        return ServerNames::default();
    };
    X509Certificate::from_der(&found[0])
        .map(|(_, parsed)| ServerNames::of_certificate(&parsed))
        .unwrap_or_default()
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "hostd");
    name.push(DnType::CommonName, common_name);
    name
}

pub(crate) fn random<const BYTES: usize>() -> Result<[u8; BYTES], PkiError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        PkiError::Tls(format!(
            "the operating system gives no random bytes: {error}"
        ))
    })?;
    Ok(bytes)
}

fn random_name() -> Result<String, PkiError> {
    Ok(format!("{:016x}", u64::from_be_bytes(random()?)))
}

/// RFC 5280, section 4.1.2.2: positive, at most 20 octets.
fn random_serial() -> Result<SerialNumber, PkiError> {
    let mut bytes: [u8; 16] = random()?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
