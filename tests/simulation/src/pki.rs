//! Certificates of the simulated cluster.
//!
//! The keys are Ed25519, whose signatures all have the same length: hostd's own are ECDSA, whose
//! length varies by a byte or two with the date in the certificate, and with it the datagrams.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hostd_pki::{Credentials, Identity};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber, string::Ia5String,
};

/// The cluster's name in its nodes' certificates.
const CLUSTER: &str = "simulated";

/// Certificates for nodes and clients, in a directory.
#[derive(Debug)]
pub(crate) struct Pki {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// A new authority in an existing directory.
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut parameters = parameters("hostd cluster simulated");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        std::fs::write(
            directory.join("ca.pem"),
            parameters.self_signed(&key)?.pem(),
        )?;
        Ok(Self {
            directory: directory.to_owned(),
            issuer: Issuer::new(parameters, key),
        })
    }

    /// A node's certificate.
    pub(crate) fn node(&self, id: u64) -> Result<Credentials> {
        let identity = Identity::Node {
            cluster: CLUSTER.into(),
            id,
        };
        let uri = SanType::URI(Ia5String::try_from(identity.to_string())?);
        self.issue(&format!("node-{id}"), Some(uri))
    }

    /// A client's certificate.
    pub(crate) fn client(&self, name: &str) -> Result<Credentials> {
        self.issue(name, None)
    }

    fn issue(&self, name: &str, node: Option<SanType>) -> Result<Credentials> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut parameters = parameters(name);
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Some(uri) = node {
            parameters
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
            parameters.subject_alt_names = vec![uri];
        }
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let file = |ending: &str| self.directory.join(format!("{name}{ending}.pem"));
        std::fs::write(file(""), certificate.pem())?;
        std::fs::write(file("-key"), key.serialize_pem())?;
        Credentials::load(&self.directory.join("ca.pem"), &file(""), &file("-key"))
            .with_context(|| format!("the certificate of {name}"))
    }
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    // All of one length.
    parameters.serial_number = Some(SerialNumber::from(vec![0x11; 16]));
    parameters
}
