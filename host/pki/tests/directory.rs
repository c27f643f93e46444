//! What ends up in a pki directory, and what is refused there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Barrier};

use hostd_pki::{
    ADMIN, Authority, Credentials, Existing, Identity, PkiError, ServerNames, Subject, provision,
    show,
};
use tempfile::TempDir;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_closed_to_others_and_nothing_temporary_stays() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("deep/pki");
    provision(&dir, 7, &ServerNames::local()).unwrap();
    assert_eq!(mode(&dir), 0o700);
    for key in ["ca-key.pem", "node-7-key.pem", "admin-key.pem"] {
        assert_eq!(mode(&dir.join(key)), 0o600, "{key}");
    }
    let mut names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            ".lock",
            "admin-key.pem",
            "admin.pem",
            "ca-key.pem",
            "ca.pem",
            "node-7-key.pem",
            "node-7.pem"
        ]
    );
}

#[test]
fn a_key_that_others_can_read_is_pointed_out() {
    let dir = TempDir::new().unwrap();
    assert!(
        provision(dir.path(), 1, &ServerNames::local())
            .unwrap()
            .warnings()
            .is_empty()
    );
    let key = dir.path().join("node-1-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let credentials = Credentials::from_dir_node(dir.path(), 1).unwrap();
    let [warning] = credentials.warnings() else {
        panic!("{:?}", credentials.warnings());
    };
    assert!(warning.contains(key.to_str().unwrap()), "{warning}");
    assert!(warning.contains("640") && warning.contains("chmod 600"));
}

#[test]
fn nodes_that_start_at_once_share_one_authority() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("pki");
    let start = Arc::new(Barrier::new(8));
    let clusters: Vec<String> = std::thread::scope(|scope| {
        let nodes: Vec<_> = (1..=8)
            .map(|id| {
                let (start, dir) = (start.clone(), &dir);
                scope.spawn(move || {
                    start.wait();
                    let credentials = provision(dir, id, &ServerNames::local()).unwrap();
                    credentials.cluster().unwrap().to_owned()
                })
            })
            .collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    assert_eq!(clusters[0].len(), 16);
    assert!(clusters[0].bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(clusters.iter().all(|cluster| *cluster == clusters[0]));
    // ca, admin, eight nodes.
    assert_eq!(show(&dir).unwrap().len(), 10);
}

#[test]
fn provisioning_again_changes_nothing() {
    let dir = TempDir::new().unwrap();
    provision(dir.path(), 1, &ServerNames::local()).unwrap();
    let before = show(dir.path()).unwrap();
    provision(dir.path(), 1, &ServerNames::local()).unwrap();
    assert_eq!(show(dir.path()).unwrap(), before);
}

#[test]
fn a_certificate_that_lacks_a_name_is_renewed_and_keeps_those_it_has() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::init(dir.path()).unwrap();
    let extra = ServerNames::default().with_host("by-hand.example");
    authority
        .issue_with_names(&Subject::Node(1), &extra, Existing::Refuse)
        .unwrap();
    let before = fs::read(dir.path().join("node-1.pem")).unwrap();
    let local = ServerNames::local();
    provision(dir.path(), 1, &local).unwrap();
    assert_eq!(fs::read(dir.path().join("node-1.pem")).unwrap(), before);

    let wanted = local.with_host("10.9.8.7");
    let renewed = provision(dir.path(), 1, &wanted).unwrap();
    assert_ne!(fs::read(dir.path().join("node-1.pem")).unwrap(), before);
    assert!(renewed.names().cover(&wanted) && renewed.names().cover(&extra));
}

#[test]
fn identities_are_read_back() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::init(dir.path()).unwrap();
    authority.issue_node(3).unwrap();
    authority.issue_client("alice@example.org").unwrap();
    let cluster = authority.cluster().to_owned();

    let node = Credentials::from_dir_node(dir.path(), 3).unwrap();
    assert_eq!(
        *node.identity(),
        Identity::Node {
            cluster: cluster.clone(),
            id: 3
        }
    );
    let client = Credentials::from_dir_client(dir.path(), "alice@example.org").unwrap();
    assert_eq!(
        *client.identity(),
        Identity::Client {
            name: "alice@example.org".into()
        }
    );
    assert_eq!(client.cluster(), Some(cluster.as_str()));

    let shown = show(dir.path()).unwrap();
    assert_eq!(shown[0].identity, format!("authority {cluster}"));
    assert_eq!(shown[3].identity, format!("hostd://{cluster}/node/3"));
    assert!(
        shown
            .iter()
            .all(|info| info.valid && info.sha256.len() == 64)
    );
}

#[test]
fn what_is_there_is_replaced_only_on_request() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::init(dir.path()).unwrap();
    assert!(matches!(
        Authority::init(dir.path()),
        Err(PkiError::Exists { .. })
    ));
    let file = authority.issue_node(1).unwrap();
    let first = fs::read(&file).unwrap();
    let refused = authority.issue_node(1).unwrap_err();
    assert!(refused.to_string().contains("--replace"), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), first);
    authority
        .issue(&Subject::Node(1), Existing::Replace)
        .unwrap();
    assert_ne!(fs::read(&file).unwrap(), first);
    Credentials::from_dir_node(dir.path(), 1).unwrap();
}

#[test]
fn names_that_would_hit_other_files_are_refused() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::init(dir.path()).unwrap();
    for name in [
        "", "ca", "node-1", "../x", "a/b", ".hidden", "-o", "bob-key", "a b", "é",
    ] {
        assert!(
            matches!(authority.issue_client(name), Err(PkiError::ClientName(_))),
            "{name:?}"
        );
    }
    assert!(matches!(authority.issue_node(0), Err(PkiError::NodeId)));
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("pki");
    let message = |error: PkiError| error.to_string();

    let missing = message(Credentials::from_dir_client(&dir, ADMIN).unwrap_err());
    assert!(missing.contains(dir.to_str().unwrap()), "{missing}");
    assert!(missing.contains("hostctl pki init") && missing.contains("--pki"));

    fs::create_dir(&dir).unwrap();
    let no_ca = message(Credentials::from_dir_client(&dir, ADMIN).unwrap_err());
    assert!(no_ca.contains("ca.pem") && no_ca.contains("hostctl pki init"));

    Authority::init(&dir).unwrap();
    let no_node = message(Credentials::from_dir_node(&dir, 9).unwrap_err());
    assert!(no_node.contains("node-9.pem") && no_node.contains("pki issue --node 9"));
    let no_client = message(Credentials::from_dir_client(&dir, "bob").unwrap_err());
    assert!(no_client.contains("bob.pem") && no_client.contains("pki issue bob"));

    // Without the authority's key a machine can neither issue nor silently make a new authority.
    fs::remove_file(dir.join("ca-key.pem")).unwrap();
    let no_key = message(provision(&dir, 9, &ServerNames::local()).unwrap_err());
    assert!(no_key.contains("ca-key.pem") && no_key.contains("hostctl pki issue"));

    fs::write(dir.join("ca.pem"), "not PEM").unwrap();
    let garbage = message(Credentials::from_dir_client(&dir, ADMIN).unwrap_err());
    assert!(garbage.contains("ca.pem"), "{garbage}");
}

#[test]
fn a_copied_certificate_needs_no_authority_key() {
    let home = TempDir::new().unwrap();
    let away = TempDir::new().unwrap();
    let authority = Authority::init(home.path()).unwrap();
    authority.issue_node(4).unwrap();
    for file in ["ca.pem", "node-4.pem", "node-4-key.pem"] {
        fs::copy(home.path().join(file), away.path().join(file)).unwrap();
    }
    let credentials = provision(away.path(), 4, &ServerNames::local()).unwrap();
    assert_eq!(credentials.cluster(), Some(authority.cluster()));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::init(dir.path()).unwrap();
    authority.issue_node(1).unwrap();
    authority.issue_node(2).unwrap();
    fs::copy(
        dir.path().join("node-2-key.pem"),
        dir.path().join("node-1-key.pem"),
    )
    .unwrap();
    let error = Credentials::from_dir_node(dir.path(), 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("node-1-key.pem"), "{error}");

    fs::copy(dir.path().join("node-2.pem"), dir.path().join("node-1.pem")).unwrap();
    assert!(matches!(
        Credentials::from_dir_node(dir.path(), 1),
        Err(PkiError::WrongIdentity { .. })
    ));
}
