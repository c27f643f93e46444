//! The names by which a node is reached over TLS: for browsers, curl and redis-cli, which look at nothing
//! else. Nodes and hostd's own clients do not look at them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::SanType;
use rcgen::string::Ia5String;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::PkiError;

/// The longest DNS name (RFC 1035, section 2.3.4), without the dot at its end.
const DNS_BYTES_MAX: usize = 253;

/// DNS names and IP addresses of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames {
    dns: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl ServerNames {
    /// Those of every machine for itself: `localhost`, 127.0.0.1 and `::1`.
    pub fn local() -> Self {
        ["localhost", "127.0.0.1", "::1"]
            .into_iter()
            .fold(Self::default(), Self::with_host)
    }

    /// These and another: a DNS name, or an IP address, with or without brackets. What a certificate
    /// cannot name, such as 0.0.0.0, is left out.
    #[must_use]
    pub fn with_host(mut self, host: &str) -> Self {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => {}
            Ok(address) => {
                self.addresses.insert(address);
            }
            Err(_) => {
                let name = host.trim_end_matches('.').to_ascii_lowercase();
                if is_dns_name(&name) {
                    self.dns.insert(name);
                }
            }
        }
        self
    }

    /// Whether all of the `others` are among these.
    pub fn cover(&self, others: &Self) -> bool {
        self.dns.is_superset(&others.dns) && self.addresses.is_superset(&others.addresses)
    }

    /// These and the others.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.dns.extend(others.dns.iter().cloned());
        self.addresses.extend(&others.addresses);
        self
    }

    /// Those that a certificate has.
    pub(crate) fn of_certificate(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        let Ok(Some(extension)) = certificate.subject_alternative_name() else {
            return names;
        };
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => {
                    names.dns.insert(name.to_ascii_lowercase());
                }
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        names
    }

    /// All of them, as text.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = String> {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        self.dns.iter().cloned().chain(addresses)
    }

    pub(crate) fn alternative_names(&self) -> Result<Vec<SanType>, PkiError> {
        let mut names = Vec::new();
        for name in &self.dns {
            names.push(SanType::DnsName(Ia5String::try_from(name.as_str())?));
        }
        names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        Ok(names)
    }
}

impl std::fmt::Display for ServerNames {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.hosts().collect();
        formatter.write_str(&all.join(", "))
    }
}

/// RFC 5280, section 4.2.1.6: four or sixteen octets.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn is_dns_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    name.len() <= DNS_BYTES_MAX
        && name
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_cannot_name_is_left_out() {
        let names = |hosts: &[&str]| {
            hosts
                .iter()
                .fold(ServerNames::default(), |names, host| names.with_host(host))
                .to_string()
        };
        assert_eq!(
            names(&["Node-1.Example.", "10.0.0.1", "[fe80::1]"]),
            "node-1.example, 10.0.0.1, fe80::1"
        );
        assert_eq!(names(&["0.0.0.0", "[::]", "", "a..b", "a b", "*"]), "");
        assert!(ServerNames::local().cover(&ServerNames::default().with_host("LOCALHOST")));
    }
}
