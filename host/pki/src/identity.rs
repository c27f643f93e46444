//! Who a certificate belongs to.

use std::fmt;

use hostd_protocol::NodeId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::PkiError;

const SCHEME: &str = "hostd://";

/// The part of the authority's common name before the cluster's name.
const CA_NAME_PREFIX: &str = "hostd cluster ";

/// Who a certificate belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A node: URI subject alternative name `hostd://<cluster>/node/<id>`.
    Node {
        /// The cluster's name, as its authority gave it.
        cluster: String,
        /// The node's number.
        id: NodeId,
    },
    /// A client: the subject's common name.
    Client {
        /// The name.
        name: String,
    },
}

impl Identity {
    /// Reads the identity out of a certificate in DER. Checks nothing else: the caller has
    /// verified the chain.
    pub fn from_certificate(der: &[u8]) -> Result<Self, PkiError> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| PkiError::NoIdentity(format!("not an X.509 certificate: {error}")))?;
        Self::from_parsed(&certificate)
    }

    pub(crate) fn from_parsed(certificate: &X509Certificate<'_>) -> Result<Self, PkiError> {
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| PkiError::NoIdentity(error.to_string()))?;
        let mut uris = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
                _ => None,
            });
        if let Some(uri) = uris.next() {
            if uris.next().is_some() {
                return Err(PkiError::NoIdentity(
                    "it has several hostd:// names".to_owned(),
                ));
            }
            return Self::from_uri(uri).ok_or_else(|| {
                PkiError::NoIdentity(format!("{uri} is not hostd://<cluster>/node/<id>"))
            });
        }
        match common_name(certificate.subject()) {
            Some(name) => Ok(Self::Client { name }),
            None => Err(PkiError::NoIdentity(
                "it has neither a hostd:// URI nor a common name".to_owned(),
            )),
        }
    }

    fn from_uri(uri: &str) -> Option<Self> {
        let (cluster, id) = uri.strip_prefix(SCHEME)?.split_once("/node/")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // `parse` would take a sign.
        if cluster.is_empty() || !cluster.bytes().all(plain) || id.starts_with('+') {
            return None;
        }
        let id: NodeId = id.parse().ok()?;
        (id > 0).then(|| Self::Node {
            cluster: cluster.to_owned(),
            id,
        })
    }

    /// The arguments of `hostctl pki issue` that make a certificate for this identity.
    pub(crate) fn issue_arguments(&self) -> String {
        match self {
            Self::Node { id, .. } => format!("--node {id}"),
            Self::Client { name } => name.clone(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { cluster, id } => write!(formatter, "{SCHEME}{cluster}/node/{id}"),
            Self::Client { name } => write!(formatter, "client {name}"),
        }
    }
}

/// The common name of the authority of a cluster.
pub(crate) fn ca_common_name(cluster: &str) -> String {
    format!("{CA_NAME_PREFIX}{cluster}")
}

/// The cluster's name in an authority's subject; `None` for an authority that hostd did not make.
pub(crate) fn cluster_of_authority(certificate: &X509Certificate<'_>) -> Option<String> {
    common_name(certificate.subject())?
        .strip_prefix(CA_NAME_PREFIX)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

pub(crate) fn common_name(name: &X509Name<'_>) -> Option<String> {
    let mut names = name.iter_common_name();
    let first = names.next()?.as_str().ok()?;
    // Two common names would let a reader pick the one it likes.
    (names.next().is_none() && !first.is_empty()).then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_by_exactly_one_form_of_uri() {
        assert_eq!(
            Identity::from_uri("hostd://c0ffee/node/12"),
            Some(Identity::Node {
                cluster: "c0ffee".into(),
                id: 12
            })
        );
        for uri in [
            "hostd:///node/1",
            "hostd://c/node/",
            "hostd://c/node/0",
            "hostd://c/node/+1",
            "hostd://c/node/-1",
            "hostd://c/node/1/x",
            "hostd://c/x/node/1",
            "hostd://c d/node/1",
            "https://c/node/1",
            "hostd://c/node/99999999999999999999",
        ] {
            assert_eq!(Identity::from_uri(uri), None, "{uri}");
        }
    }
}
