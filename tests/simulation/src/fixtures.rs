//! What all runs share and none changes: the engine, the compiled plugins, the certificates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use hostd::PluginFile;
use hostd_client::Credentials;
use hostd_machine::Engine;

use crate::entropy;
use crate::pki::Pki;
use crate::workloads::access::GUEST;

/// The highest number that a node can have in a simulation.
pub(crate) const NODES_MAX: u64 = 24;

/// The name that all clients have.
pub(crate) const CLIENT: &str = "simulated-client";

/// What all runs share.
#[derive(Clone)]
pub(crate) struct Fixtures {
    /// Compiles and runs plugins.
    pub(crate) engine: Arc<Engine>,
    /// The same, as the hostd before this one had it.
    pub(crate) older: Arc<Engine>,
    /// The plugins that every cluster has.
    pub(crate) plugins: Vec<PluginFile>,
    /// The versions of the plugin that is replaced, one of each layout.
    pub(crate) tallies: Vec<Arc<[u8]>>,
    /// By number.
    pub(crate) nodes: BTreeMap<u64, Credentials>,
    /// The clients' certificate.
    pub(crate) client: Credentials,
    /// The certificate of the client that has rules.
    pub(crate) guest: Credentials,
    /// For what a node keeps beside its databases.
    pub(crate) directory: PathBuf,
}

impl std::fmt::Debug for Fixtures {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fixtures").finish_non_exhaustive()
    }
}

impl Fixtures {
    /// Compiles the plugins of a directory and makes certificates in another.
    pub(crate) fn prepare(plugins: &Path, directory: &Path) -> Result<Self> {
        let files: Vec<PathBuf> = ["ticket", "kv", "hostile"]
            .iter()
            .map(|name| plugins.join(format!("{name}.wasm")))
            .collect();
        if let Some(missing) = files.iter().find(|file| !file.exists()) {
            return Err(anyhow!(
                "{} is missing; make it with: cargo xtask plugins",
                missing.display()
            ));
        }
        let tallies = ["tally", "tally-keys", "tally-steps"]
            .iter()
            .map(|name| {
                let file = plugins.join(format!("{name}.wasm"));
                let bytes = std::fs::read(&file).with_context(|| {
                    format!(
                        "{}; make it with: cargo xtask plugins --all",
                        file.display()
                    )
                })?;
                Ok(bytes.into())
            })
            .collect::<Result<_>>()?;
        let engine = Arc::new(Engine::new()?);
        let plugins = hostd::load_plugins(&engine, &files)?;
        let (nodes, client, guest) = certificates(directory)?;
        let older = match engine.honours() {
            [.., before, _] => engine.up_to_rules(before.rules),
            _ => return Err(anyhow!("there are no older rules to upgrade from")),
        };
        Ok(Self {
            older: Arc::new(older),
            engine,
            plugins,
            tallies,
            nodes,
            client,
            guest,
            directory: directory.to_owned(),
        })
    }
}

/// Of nodes by number, of clients, and of the guest.
type Certificates = (BTreeMap<u64, Credentials>, Credentials, Credentials);

/// The same in every process: keys and signatures decide how long a handshake's datagrams are.
fn certificates(directory: &Path) -> Result<Certificates> {
    let directory = directory.to_owned();
    let make = move || {
        entropy::decide(0);
        let pki = Pki::create(&directory)?;
        let nodes = (1..=NODES_MAX)
            .map(|id| Ok((id, pki.node(id)?)))
            .collect::<Result<_>>()?;
        Ok((nodes, pki.client(CLIENT)?, pki.client(GUEST)?))
    };
    std::thread::spawn(make)
        .join()
        .map_err(|_| anyhow!("panicked"))
        .flatten()
        .context("making certificates")
}
