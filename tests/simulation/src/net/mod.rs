//! The simulated network: datagrams between addresses, and what happens to them on the way.
//!
//! It knows nothing of who sends what. QUIC runs over it unchanged, so that connections break, time
//! out and come back as they would between machines.

mod socket;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

pub(crate) use socket::Socket;

use crate::chance::Chance;
use crate::process::Process;
use crate::trace::Counters;

/// Datagrams that wait at a socket before more are dropped, as a kernel's buffer would.
const INBOX_MAX: usize = 2_000;

/// What happens to datagrams between two hosts, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Nothing passes.
    pub(crate) cut: bool,
    /// Shortest time on the way.
    pub(crate) delay_min_ms: u64,
    /// Longest time on the way; more than the shortest means that datagrams overtake each other.
    pub(crate) delay_max_ms: u64,
    /// Lost, in a million.
    pub(crate) loss_ppm: u32,
    /// Arriving twice, in a million.
    pub(crate) duplicate_ppm: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            cut: false,
            delay_min_ms: 1,
            delay_max_ms: 1,
            loss_ppm: 0,
            duplicate_ppm: 0,
        }
    }
}

/// The network. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Net(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    now_ms: u64,
    sequence: u64,
    /// By arrival; the sequence keeps equal ones in the order of sending.
    under_way: BTreeMap<(u64, u64), Datagram>,
    sockets: BTreeMap<SocketAddr, Arc<Mutex<Inbox>>>,
    /// Links that differ from the usual one.
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    usual: Link,
    chance: Chance,
    counters: Counters,
}

#[derive(Clone, Debug)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// What arrived at a socket.
#[derive(Debug, Default)]
struct Inbox {
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

impl Net {
    /// A network on which everything arrives after a millisecond.
    pub(crate) fn new(seed: u64, counters: Counters) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            now_ms: 0,
            sequence: 0,
            under_way: BTreeMap::new(),
            sockets: BTreeMap::new(),
            links: BTreeMap::new(),
            usual: Link::default(),
            chance: Chance::new(seed, "network"),
            counters,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// A socket at an address; one that was there before gets nothing more.
    pub(crate) fn bind(&self, address: SocketAddr, process: Process) -> Socket {
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        self.lock().sockets.insert(address, Arc::clone(&inbox));
        Socket::new(self.clone(), address, inbox, process)
    }

    /// Takes the socket at an address away.
    pub(crate) fn unbind(&self, address: SocketAddr) {
        self.lock().sockets.remove(&address);
    }

    /// What every link is like that nobody changed.
    pub(crate) fn set_usual(&self, link: Link) {
        self.lock().usual = link;
    }

    /// Changes the link from one host to another, in this direction only.
    pub(crate) fn change(&self, from: IpAddr, to: IpAddr, change: impl FnOnce(&mut Link)) {
        let mut inner = self.lock();
        let mut link = inner.link(from, to);
        change(&mut link);
        if link == inner.usual {
            inner.links.remove(&(from, to));
        } else {
            inner.links.insert((from, to), link);
        }
    }

    /// Every link is as usual again.
    pub(crate) fn heal(&self) {
        self.lock().links.clear();
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut inner = self.lock();
        let link = inner.link(from.ip(), to.ip());
        inner.counters.add("datagrams", 1);
        if link.cut || inner.chance.ppm(link.loss_ppm) {
            inner.counters.add("datagrams lost", 1);
            return;
        }
        let copies = if inner.chance.ppm(link.duplicate_ppm) {
            inner.counters.add("datagrams duplicated", 1);
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay = inner.chance.within(link.delay_min_ms..=link.delay_max_ms);
            inner.sequence += 1;
            let key = (inner.now_ms + delay.max(1), inner.sequence);
            let datagram = Datagram {
                from,
                to,
                bytes: bytes.to_vec(),
            };
            inner.under_way.insert(key, datagram);
        }
    }

    /// A millisecond passes: what arrives in it is put where it belongs.
    pub(crate) fn tick(&self) {
        let mut woken = Vec::new();
        {
            let mut inner = self.lock();
            inner.now_ms += 1;
            let next = (inner.now_ms + 1, 0);
            let later = inner.under_way.split_off(&next);
            let arriving = std::mem::replace(&mut inner.under_way, later);
            for datagram in arriving.into_values() {
                let Some(inbox) = inner.sockets.get(&datagram.to) else {
                    continue;
                };
                let mut inbox = inbox
                    .lock()
                    .expect("nothing panics while it holds the lock");
                if inbox.datagrams.len() < INBOX_MAX {
                    inbox.datagrams.push_back((datagram.from, datagram.bytes));
                }
                woken.extend(inbox.waker.take());
            }
        }
        // Outside of the lock: a waker may do anything.
        for waker in woken {
            waker.wake();
        }
    }
}

impl Inner {
    fn link(&self, from: IpAddr, to: IpAddr) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or(self.usual)
    }
}

/// Where node `id` listens.
pub(crate) fn node_address(id: u64) -> SocketAddr {
    let id = u8::try_from(id).expect("a simulation has few nodes");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, id)), 11_001)
}

/// From where client `number` dials.
pub(crate) fn client_address(number: u64) -> SocketAddr {
    let number = u8::try_from(number).expect("a simulation has few clients");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, number)), 40_000)
}
