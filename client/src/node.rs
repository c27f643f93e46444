//! One address of a node: dialling it, and the connection to it while there is one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hostd_pki::Identity;
use hostd_protocol::NodeId;
use hostd_quic::{Ended, SERVER_NAME};
use quinn::rustls::pki_types::CertificateDer;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout};

use crate::link::Link;

/// When several addresses could be dialled, each gets this head start over the next.
pub(crate) const STAGGER: Duration = Duration::from_millis(150);

/// An address that did not answer is not dialled again for so long.
const REDIAL_AFTER: Duration = Duration::from_millis(100);

/// Opens connections.
#[derive(Debug)]
pub(crate) struct Dialer {
    config: ClientConfig,
    /// A handshake that takes longer is given up, so that another address gets its turn.
    within: Duration,
    v4: Mutex<Option<Endpoint>>,
    v6: Mutex<Option<Endpoint>>,
}

impl Dialer {
    /// `endpoint` is to be used for every address, where it is given.
    pub(crate) fn new(config: ClientConfig, within: Duration, endpoint: Option<Endpoint>) -> Self {
        Self {
            config,
            within,
            v4: Mutex::new(endpoint.clone()),
            v6: Mutex::new(endpoint),
        }
    }

    /// Dials every address that a name has, each a little after the one before, and takes the
    /// first that answers: `localhost` may mean an IPv6 address at which nobody listens.
    pub(crate) async fn connect(&self, address: &str) -> Result<Connection, Ended> {
        let resolved: Vec<SocketAddr> = lookup_host(address)
            .await
            .map_err(|error| Ended::Lost(format!("not an address: {error}")))?
            .collect();
        let mut dialled: FuturesUnordered<_> = resolved
            .into_iter()
            .zip(0u32..)
            .map(|(target, position)| async move {
                sleep(STAGGER * position).await;
                timeout(self.within, self.connect_to(target)).await
            })
            .collect();
        let mut last = Ended::Lost("the name has no address".to_owned());
        while let Some(result) = dialled.next().await {
            match result {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(ended)) => last = ended,
                Err(_) => last = Ended::Lost(format!("no answer within {:?}", self.within)),
            }
        }
        Err(last)
    }

    async fn dial(&self, address: &str) -> Result<Link, Ended> {
        Link::open(self.connect(address).await?).await
    }

    async fn connect_to(&self, target: SocketAddr) -> Result<Connection, Ended> {
        let lost = |error: &dyn std::fmt::Display| Ended::Lost(error.to_string());
        let endpoint = self.endpoint(target).map_err(|error| lost(&error))?;
        endpoint
            .connect_with(self.config.clone(), target, SERVER_NAME)
            .map_err(|error| lost(&error))?
            .await
            .map_err(|error| Ended::new(&error))
    }

    fn endpoint(&self, target: SocketAddr) -> std::io::Result<Endpoint> {
        let (slot, any) = match target {
            SocketAddr::V4(_) => (&self.v4, SocketAddr::from(([0; 4], 0))),
            SocketAddr::V6(_) => (&self.v6, SocketAddr::from(([0; 16], 0))),
        };
        let mut slot = lock(slot);
        match &*slot {
            Some(endpoint) => Ok(endpoint.clone()),
            None => Ok(slot.insert(hostd_quic::bind(any, None)?).clone()),
        }
    }

    /// Waits until the other sides have been told that their connections are closed.
    pub(crate) async fn wait_idle(&self) {
        for slot in [&self.v4, &self.v6] {
            let endpoint = lock(slot).clone();
            if let Some(endpoint) = endpoint {
                endpoint.wait_idle().await;
            }
        }
    }
}

/// A node, known by one address.
#[derive(Debug)]
pub(crate) struct Node {
    address: String,
    /// Its number: from the membership, or from its certificate once it has answered; 0 before.
    id: AtomicU64,
    link: Mutex<Option<Arc<Link>>>,
    /// Held while dialling, so that many callers dial once. When and why it last failed.
    dialling: tokio::sync::Mutex<Option<(Instant, Ended)>>,
}

impl Node {
    pub(crate) fn new(address: String, id: Option<NodeId>) -> Self {
        Self {
            address,
            id: AtomicU64::new(id.unwrap_or(0)),
            link: Mutex::new(None),
            dialling: tokio::sync::Mutex::new(None),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The node's number, once it is known.
    pub(crate) fn id(&self) -> Option<NodeId> {
        Some(self.id.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// The connection, while it is up.
    pub(crate) fn up(&self) -> Option<Arc<Link>> {
        let mut link = lock(&self.link);
        if link.as_ref().is_some_and(|link| !link.is_up()) {
            *link = None;
        }
        link.clone()
    }

    /// The connection, dialled where there is none.
    pub(crate) async fn reach(&self, dialer: &Dialer) -> Result<Arc<Link>, Ended> {
        if let Some(link) = self.up() {
            return Ok(link);
        }
        let mut failed = self.dialling.lock().await;
        if let Some(link) = self.up() {
            return Ok(link);
        }
        if let Some((when, why)) = &*failed
            && when.elapsed() < REDIAL_AFTER
        {
            return Err(why.clone());
        }
        match dialer.dial(&self.address).await {
            Ok(link) => {
                if let Some(id) = proven_id(&link) {
                    self.id.store(id, Ordering::Relaxed);
                }
                *failed = None;
                let link = Arc::new(link);
                *lock(&self.link) = Some(link.clone());
                Ok(link)
            }
            Err(why) => {
                *failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Why it could not be reached the last time, if nobody is dialling it now.
    pub(crate) fn trouble(&self) -> Option<Ended> {
        let failed = self.dialling.try_lock().ok()?;
        failed.as_ref().map(|(_, why)| why.clone())
    }

    /// Drops the connection.
    pub(crate) fn hang_up(&self) {
        *lock(&self.link) = None;
    }
}

/// The node number in the certificate that the handshake verified.
fn proven_id(link: &Link) -> Option<NodeId> {
    let certificates = link
        .connection()
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    match Identity::from_certificate(certificates.first()?).ok()? {
        Identity::Node { id, .. } => Some(id),
        Identity::Client { .. } => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds the lock")
}
