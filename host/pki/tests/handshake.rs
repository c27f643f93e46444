//! Who gets through a handshake, over real TLS connections in memory.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hostd_pki::{Authority, Credentials, Identity, PkiError, ServerNames};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

/// Runs a handshake to its end: what each side made of it.
fn handshake(
    server: ServerConfig,
    client: ClientConfig,
) -> (Result<Identity, Error>, Result<Identity, Error>) {
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let name = ServerName::try_from("hostd").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let (mut server_error, mut client_error) = (None, None);
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while server_error.is_none() && !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server_error = server.process_new_packets().err();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while client_error.is_none() && !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client_error = client.process_new_packets().err();
        }
    }
    let seen_by = |error: Option<Error>, certificates: Option<&[CertificateDer<'_>]>| match error {
        Some(error) => Err(error),
        None => Ok(Identity::from_certificate(&certificates.unwrap()[0]).unwrap()),
    };
    (
        seen_by(server_error, server.peer_certificates()),
        seen_by(client_error, client.peer_certificates()),
    )
}

struct Pki {
    dir: TempDir,
    cluster: String,
}

impl Pki {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let authority = Authority::init(dir.path()).unwrap();
        for id in 1..=2 {
            authority.issue_node(id).unwrap();
        }
        let cluster = authority.cluster().to_owned();
        Self { dir, cluster }
    }

    fn node(&self, id: u64) -> Credentials {
        Credentials::from_dir_node(self.dir.path(), id).unwrap()
    }

    fn admin(&self) -> Credentials {
        Credentials::from_dir_client(self.dir.path(), "admin").unwrap()
    }

    fn node_identity(&self, id: u64) -> Identity {
        Identity::Node {
            cluster: self.cluster.clone(),
            id,
        }
    }

    /// Certificates that the authority's key signed by hand.
    fn custom(&self, stem: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::from_pem(&self.read("ca-key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&self.read("ca.pem"), key).unwrap();
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "custom");
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        write(self.dir.path(), stem, &certificate.pem(), &key);
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap()
    }

    fn load(&self, stem: &str) -> Result<Credentials, PkiError> {
        let path = |name: String| self.dir.path().join(name);
        Credentials::load(
            &path("ca.pem".into()),
            &path(format!("{stem}.pem")),
            &path(format!("{stem}-key.pem")),
        )
    }
}

fn write(dir: &Path, stem: &str, certificate: &str, key: &KeyPair) {
    fs::write(dir.join(format!("{stem}.pem")), certificate).unwrap();
    fs::write(dir.join(format!("{stem}-key.pem")), key.serialize_pem()).unwrap();
}

/// Runs a handshake of a client that looks at the server's name, as browsers and curl do.
fn by_name(pki: &Pki, credentials: &Credentials, name: &str) -> Result<(), Error> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(pki.dir.path().join("ca.pem")).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = credentials.web_server_config(false).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn whoever_checks_names_finds_those_of_the_node() {
    let pki = Pki::new();
    let names = ServerNames::local()
        .with_host("node-3.example")
        .with_host("10.1.2.3");
    let credentials = hostd_pki::provision(pki.dir.path(), 3, &names).unwrap();
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "node-3.example",
        "10.1.2.3",
    ] {
        by_name(&pki, &credentials, name).unwrap();
    }
    for name in ["example", "node-4.example", "127.0.0.2"] {
        assert!(by_name(&pki, &credentials, name).is_err(), "{name}");
    }
    assert!(by_name(&Pki::new(), &credentials, "localhost").is_err());
}

fn node_uri(cluster: &str, id: u64) -> SanType {
    SanType::URI(format!("hostd://{cluster}/node/{id}").try_into().unwrap())
}

#[test]
fn nodes_and_clients_of_one_cluster_know_each_other() {
    let pki = Pki::new();
    let (server, client) = handshake(
        pki.node(1).server_config().unwrap(),
        pki.admin().client_config().unwrap(),
    );
    assert_eq!(
        server.unwrap(),
        Identity::Client {
            name: "admin".into()
        }
    );
    assert_eq!(client.unwrap(), pki.node_identity(1));

    for expected in [None, Some(1)] {
        let (server, client) = handshake(
            pki.node(1).server_config().unwrap(),
            pki.node(2).peer_config(expected).unwrap(),
        );
        assert_eq!(server.unwrap(), pki.node_identity(2));
        assert_eq!(client.unwrap(), pki.node_identity(1));
    }
}

#[test]
fn another_authority_is_refused_by_both_sides() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let (_, client) = handshake(
        theirs.node(1).server_config().unwrap(),
        ours.admin().client_config().unwrap(),
    );
    assert!(matches!(client, Err(Error::InvalidCertificate(_))));

    // A client that believes our authority but holds a certificate of another.
    let path = |pki: &Pki, file: &str| pki.dir.path().join(file);
    let intruder = Credentials::load(
        &path(&ours, "ca.pem"),
        &path(&theirs, "admin.pem"),
        &path(&theirs, "admin-key.pem"),
    )
    .unwrap();
    let (server, _) = handshake(
        ours.node(1).server_config().unwrap(),
        intruder.client_config().unwrap(),
    );
    assert!(matches!(server, Err(Error::InvalidCertificate(_))));
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let pki = Pki::new();
    let mut anonymous = pki.admin().client_config().unwrap();
    anonymous.client_auth_cert_resolver =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
            .client_auth_cert_resolver;
    let (server, _) = handshake(pki.node(1).server_config().unwrap(), anonymous);
    assert!(matches!(server, Err(Error::NoCertificatesPresented)));
}

#[test]
fn another_node_than_the_dialled_one_is_refused() {
    let pki = Pki::new();
    let (_, client) = handshake(
        pki.node(1).server_config().unwrap(),
        pki.node(2).peer_config(Some(5)).unwrap(),
    );
    let error = client.unwrap_err().to_string();
    assert!(error.contains("node 1, not node 5"), "{error}");
}

#[test]
fn a_node_of_another_cluster_of_the_same_authority_is_refused() {
    let pki = Pki::new();
    pki.custom("other", |parameters| {
        parameters.subject_alt_names = vec![node_uri("elsewhere", 1)];
    });
    let server = pki.load("other").unwrap().server_config().unwrap();
    let (_, client) = handshake(server, pki.node(2).peer_config(Some(1)).unwrap());
    let error = client.unwrap_err().to_string();
    assert!(error.contains("cluster elsewhere"), "{error}");
}

#[test]
fn a_client_certificate_cannot_pass_for_a_node() {
    let pki = Pki::new();
    // Without extended key usages, so that only the missing URI is in its way.
    pki.custom("posing", |parameters| {
        parameters.extended_key_usages.clear();
    });
    let server = pki.load("posing").unwrap().server_config().unwrap();
    let (_, client) = handshake(server, pki.admin().client_config().unwrap());
    let error = client.unwrap_err().to_string();
    assert!(error.contains("not a node"), "{error}");
}

#[test]
fn an_expired_certificate_is_refused_when_loaded() {
    let pki = Pki::new();
    pki.custom("node-8", |parameters| {
        parameters.subject_alt_names = vec![node_uri(&pki.cluster, 8)];
        parameters.not_before = OffsetDateTime::now_utc() - Duration::days(10);
        parameters.not_after = OffsetDateTime::now_utc() - Duration::hours(1);
    });
    let error = pki.load("node-8").unwrap_err();
    assert!(matches!(error, PkiError::OutsideValidity { .. }));
    assert!(
        error.to_string().contains("pki issue --node 8 --replace"),
        "{error}"
    );
    // A node that can issue renews its own.
    hostd_pki::provision(pki.dir.path(), 8, &ServerNames::local()).unwrap();
}

#[test]
fn a_certificate_that_expires_later_is_refused_by_whoever_verifies_then() {
    use rustls::time_provider::TimeProvider;

    #[derive(Debug)]
    struct InThreeYears;
    impl TimeProvider for InThreeYears {
        fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
            let now = rustls::pki_types::UnixTime::now().as_secs();
            let then = std::time::Duration::from_secs(now + 3 * 365 * 86_400);
            Some(rustls::pki_types::UnixTime::since_unix_epoch(then))
        }
    }

    let pki = Pki::new();
    let mut server = pki.node(1).server_config().unwrap();
    server.time_provider = Arc::new(InThreeYears);
    let (server, _) = handshake(server, pki.admin().client_config().unwrap());
    assert!(matches!(server, Err(Error::InvalidCertificate(_))));

    let mut dialling = pki.node(2).peer_config(Some(1)).unwrap();
    dialling.time_provider = Arc::new(InThreeYears);
    let (_, client) = handshake(pki.node(1).server_config().unwrap(), dialling);
    assert!(matches!(client, Err(Error::InvalidCertificate(_))));
}

#[test]
fn ones_own_pki_needs_only_the_uri_or_the_common_name() {
    let dir = TempDir::new().unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "ACME Root R1");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    fs::write(dir.path().join("root.crt"), &ca_pem).unwrap();
    let issuer = Issuer::new(ca, ca_key);

    let mut node = CertificateParams::new(vec!["db1.example.org".to_owned()]).unwrap();
    node.subject_alt_names.push(node_uri("prod", 1));
    let node_key = KeyPair::generate().unwrap();
    let certificate = node.signed_by(&node_key, &issuer).unwrap();
    write(dir.path(), "db1", &certificate.pem(), &node_key);

    let mut client = CertificateParams::default();
    client.distinguished_name = rcgen::DistinguishedName::new();
    client
        .distinguished_name
        .push(DnType::CommonName, "billing service");
    let client_key = KeyPair::generate().unwrap();
    let certificate = client.signed_by(&client_key, &issuer).unwrap();
    write(dir.path(), "billing", &certificate.pem(), &client_key);

    let load = |stem: &str| {
        Credentials::load(
            &dir.path().join("root.crt"),
            &dir.path().join(format!("{stem}.pem")),
            &dir.path().join(format!("{stem}-key.pem")),
        )
        .unwrap()
    };
    assert_eq!(load("db1").cluster(), Some("prod"));
    assert_eq!(load("billing").cluster(), None);
    let (server, client) = handshake(
        load("db1").server_config().unwrap(),
        load("billing").client_config().unwrap(),
    );
    assert_eq!(
        server.unwrap(),
        Identity::Client {
            name: "billing service".into()
        }
    );
    assert!(matches!(client.unwrap(), Identity::Node { id: 1, .. }));
}
