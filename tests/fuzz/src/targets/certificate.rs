//! Who a certificate belongs to. Any server that a client dials can send one, before its chain is
//! verified.

use hostd_pki::Identity;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "certificate",
    what: "a certificate names one identity, or none",
    run,
    seeds,
    bytes_max: 4096,
    inputs: 100_000,
};

fn run(bytes: &[u8]) {
    let identity = crate::memory::bounded(bytes, 64, || Identity::from_certificate(bytes));
    match identity {
        Ok(Identity::Node { cluster, id }) => {
            assert!(id > 0 && !cluster.is_empty());
            // It is compared with, and shown to, people and files.
            assert!(
                cluster
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
                "{cluster:?}"
            );
            let uri = format!("hostd://{cluster}/node/{id}");
            assert!(
                bytes
                    .windows(uri.len())
                    .any(|window| window == uri.as_bytes())
            );
        }
        Ok(Identity::Client { name }) => assert!(!name.is_empty()),
        Err(error) => drop(error.to_string()),
    }
}

/// Made with `hostctl pki init` and `pki issue`; their dates do not matter here.
fn seeds() -> Vec<Vec<u8>> {
    let node: &[u8] = include_bytes!("../../seeds/certificate/node.der");
    let client: &[u8] = include_bytes!("../../seeds/certificate/client.der");
    let authority: &[u8] = include_bytes!("../../seeds/certificate/authority.der");
    [node, client, authority].map(<[u8]>::to_vec).into()
}
