//! What the client knows of the cluster, and which node it asks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hostd_protocol::{Member, NodeId};
use hostd_quic::Ended;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::link::Link;
use crate::node::{Dialer, Node, STAGGER};

/// A node to ask, and the connection to it.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) node: Arc<Node>,
    pub(crate) link: Arc<Link>,
}

/// Why there is no node to ask.
#[derive(Debug)]
pub(crate) enum NoRoute {
    /// Every node that is known is being asked already.
    AllAsked,
    /// None could be reached: each address with its reason.
    Unreachable(Vec<(String, Ended)>),
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) dialer: Dialer,
    /// The addresses that the user gave: kept whatever the members say.
    seeds: Vec<Arc<Node>>,
    /// Members first, then seeds that are none.
    nodes: Mutex<Vec<Arc<Node>>>,
    /// Where calls go.
    primary: Mutex<Option<Route>>,
    /// The leader's number; 0 while unknown.
    leader: AtomicU64,
    rotation: AtomicUsize,
    /// A node that is asked and says nothing for so long is passed over.
    patience: Duration,
    /// Learn the members as soon as one is reached, not only when there is trouble.
    eager: bool,
    /// Wakes the director: there was trouble, or there is a new primary to learn from.
    pub(crate) unsettled: Notify,
}

impl Cluster {
    pub(crate) fn new(
        dialer: Dialer,
        servers: Vec<String>,
        patience: Duration,
        eager: bool,
    ) -> Self {
        let seeds: Vec<_> = servers
            .into_iter()
            .map(|address| Arc::new(Node::new(address, None)))
            .collect();
        Self {
            dialer,
            nodes: Mutex::new(seeds.clone()),
            seeds,
            primary: Mutex::new(None),
            leader: AtomicU64::new(0),
            rotation: AtomicUsize::new(0),
            patience,
            eager,
            unsettled: Notify::new(),
        }
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Where calls go at present. Its link may have ended since.
    pub(crate) fn primary(&self) -> Option<Route> {
        lock(&self.primary).clone()
    }

    /// Connected nodes, to ask about the cluster: the primary first, silent ones last.
    pub(crate) fn connected(&self) -> Vec<Route> {
        let primary = self.primary().map(|route| route.node);
        let mut routes: Vec<_> = lock(&self.nodes)
            .iter()
            .filter_map(|node| {
                let link = node.up()?;
                let node = node.clone();
                Some(Route { node, link })
            })
            .collect();
        routes.sort_by_key(|route| {
            let is_primary = primary
                .as_ref()
                .is_some_and(|primary| Arc::ptr_eq(primary, &route.node));
            (self.is_silent(&route.link), !is_primary)
        });
        routes
    }

    /// The node after the last one, for reads that any node may answer. One that is not connected
    /// yet is dialled meanwhile.
    pub(crate) fn rotate(self: &Arc<Self>) -> Option<Route> {
        let node = {
            let nodes = lock(&self.nodes);
            let turn = self.rotation.fetch_add(1, Ordering::Relaxed);
            nodes[turn % nodes.len()].clone()
        };
        match node.up() {
            Some(link) if !self.is_silent(&link) => Some(Route { node, link }),
            Some(_) => None,
            None => {
                let cluster = self.clone();
                tokio::spawn(async move {
                    // A node that cannot be reached is passed over; its turn comes again.
                    let _ = node.reach(&cluster.dialer).await;
                });
                None
            }
        }
    }

    /// A node to ask that is none of `asked`, and `last` only if there is no other. Becomes the
    /// primary, because the primary either is missing or did not do.
    pub(crate) async fn route(
        &self,
        asked: &[Arc<Node>],
        last: Option<&Arc<Node>>,
    ) -> Result<Route, NoRoute> {
        let is = |one: &Arc<Node>, other: &Arc<Node>| Arc::ptr_eq(one, other);
        let mut free: Vec<_> = self.by_preference();
        free.retain(|node| !asked.iter().any(|other| is(node, other)));
        if free.is_empty() {
            return Err(NoRoute::AllAsked);
        }
        let mut reserve = None;
        let mut down = Vec::new();
        for node in free {
            let wanted = !last.is_some_and(|last| is(&node, last));
            match node.up() {
                Some(link) if wanted && !self.is_silent(&link) => {
                    return Ok(self.settle(Route { node, link }));
                }
                Some(link) => reserve = reserve.or(Some(Route { node, link })),
                None => down.push(node),
            }
        }
        let head_start = STAGGER * u32::try_from(down.len()).unwrap_or(u32::MAX);
        let mut dialled: FuturesUnordered<_> = down
            .into_iter()
            .zip(0u32..)
            .map(|(node, position)| async move {
                sleep(STAGGER * position).await;
                let reached = node.reach(&self.dialer).await;
                (node, reached)
            })
            .collect();
        let mut failed = Vec::new();
        let dialling = async {
            while let Some((node, reached)) = dialled.next().await {
                match reached {
                    Ok(link) => return Some(Route { node, link }),
                    Err(why) => failed.push((node.address().to_owned(), why)),
                }
            }
            None
        };
        let route = match reserve {
            // Better a node that did not do before than to wait for ones that may be dead.
            Some(reserve) => tokio::time::timeout(head_start, dialling)
                .await
                .ok()
                .flatten()
                .or(Some(reserve)),
            None => dialling.await,
        };
        route
            .map(|route| self.settle(route))
            .ok_or(NoRoute::Unreachable(failed))
    }

    /// Makes a node the primary.
    pub(crate) fn settle(&self, route: Route) -> Route {
        *lock(&self.primary) = Some(route.clone());
        if self.eager {
            self.unsettled.notify_one();
        }
        route
    }

    /// Something went wrong with a node: if it is the primary, the next call looks for another.
    pub(crate) fn unsettle(&self, node: &Arc<Node>) {
        let mut primary = lock(&self.primary);
        if primary
            .as_ref()
            .is_some_and(|route| Arc::ptr_eq(&route.node, node))
        {
            *primary = None;
        }
        drop(primary);
        self.unsettled.notify_one();
    }

    /// Whether the node is asked something and says nothing at all.
    pub(crate) fn is_silent(&self, link: &Link) -> bool {
        link.silent_for() >= self.patience
    }

    /// Takes over what a node says about the membership.
    pub(crate) fn learn_members(&self, members: &[Member]) {
        if let Some(leader) = members.iter().find(|member| member.leader) {
            self.leader.store(leader.id, Ordering::Relaxed);
        }
        let mut nodes = lock(&self.nodes);
        let mut next = Vec::with_capacity(members.len());
        for member in members {
            let known = |node: &&Arc<Node>| {
                node.address() == member.address
                    // Known by an address that works from here, which may not be the one that
                    // the members use among each other.
                    || (node.id() == Some(member.id) && node.up().is_some())
            };
            let node = nodes.iter().find(known).cloned();
            next.push(
                node.unwrap_or_else(|| {
                    Arc::new(Node::new(member.address.clone(), Some(member.id)))
                }),
            );
        }
        for seed in &self.seeds {
            if !next.iter().any(|node| Arc::ptr_eq(node, seed)) {
                next.push(seed.clone());
            }
        }
        *nodes = next;
    }

    /// Takes over a hint of a node that is not the leader.
    pub(crate) fn learn_leader(&self, id: NodeId, address: &str) {
        self.leader.store(id, Ordering::Relaxed);
        let mut nodes = lock(&self.nodes);
        let known = nodes
            .iter()
            .any(|node| node.id() == Some(id) || node.address() == address);
        if !known {
            nodes.insert(0, Arc::new(Node::new(address.to_owned(), Some(id))));
        }
    }

    /// The leader, as far as it is known.
    pub(crate) fn leader(&self) -> Option<Arc<Node>> {
        let id = self.leader.load(Ordering::Relaxed);
        lock(&self.nodes)
            .iter()
            .find(|node| id != 0 && node.id() == Some(id))
            .cloned()
    }

    /// Every address, with the reason why it could not be reached the last time.
    pub(crate) fn addresses(&self) -> Vec<(String, Option<Ended>)> {
        lock(&self.nodes)
            .iter()
            .map(|node| (node.address().to_owned(), node.trouble()))
            .collect()
    }

    /// Every node, beginning with another each time.
    pub(crate) fn in_turn(&self) -> Vec<Arc<Node>> {
        let mut nodes = lock(&self.nodes).clone();
        let turn = self.rotation.fetch_add(1, Ordering::Relaxed);
        let count = nodes.len().max(1);
        nodes.rotate_left(turn % count);
        nodes
    }

    /// Closes every connection.
    pub(crate) async fn close(&self) {
        *lock(&self.primary) = None;
        for node in lock(&self.nodes).iter() {
            node.hang_up();
        }
        self.dialer.wait_idle().await;
    }

    /// The leader, then connected nodes, then the others.
    fn by_preference(&self) -> Vec<Arc<Node>> {
        let leader = self.leader.load(Ordering::Relaxed);
        let mut nodes = lock(&self.nodes).clone();
        nodes.sort_by_key(|node| {
            (
                leader == 0 || node.id() != Some(leader),
                node.up().is_none(),
            )
        });
        nodes
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds the lock")
}
