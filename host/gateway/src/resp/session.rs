//! What a connection has said about itself so far.

use std::sync::Arc;

use super::encode::Version;
use super::mailbox::Mailbox;
use super::subscriptions::Subscriptions;
use crate::Caller;
use crate::tcp::Guest;

/// Wrong passwords after which a connection is closed.
pub(crate) const TRIES_MAX: u32 = 10;

/// A connection's state between commands.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its number, for CLIENT ID and INFO.
    pub(crate) id: u64,
    pub(crate) guest: Guest,
    pub(crate) version: Version,
    /// Who it is; `None` until it has proved that.
    pub(crate) caller: Option<Arc<Caller>>,
    /// CLIENT SETNAME.
    pub(crate) name: Vec<u8>,
    /// CLIENT SETINFO: the library's name and version.
    pub(crate) library: [Vec<u8>; 2],
    /// Wrong passwords so far.
    pub(crate) tries: u32,
    /// It is closed once its answers are written.
    pub(crate) ends: bool,
    /// What it is sent unasked, when it asked for that.
    pub(crate) mailbox: Option<Mailbox>,
    /// What it has subscribed to, when it ever did.
    pub(crate) subscriptions: Option<Subscriptions>,
}

impl Session {
    /// `unproved` is who a client is that proves nothing.
    pub(crate) fn new(id: u64, guest: Guest, unproved: Option<Arc<str>>) -> Self {
        let identity = guest.certificate.clone().or(unproved);
        let from = guest.from;
        Self {
            id,
            guest,
            version: Version::default(),
            caller: identity.map(|identity| Arc::new(Caller { identity, from })),
            name: Vec::new(),
            library: Default::default(),
            tries: 0,
            ends: false,
            mailbox: None,
            subscriptions: None,
        }
    }

    /// Whether it has subscribed to anything.
    pub(crate) fn is_subscribed(&self) -> bool {
        let subscriptions = self.subscriptions.as_ref();
        subscriptions.is_some_and(|subscriptions| subscriptions.count() > 0)
    }

    /// Whether it may only subscribe and unsubscribe: in RESP2 an answer could not be told from a message.
    pub(crate) fn is_confined(&self) -> bool {
        self.version == Version::Two && self.is_subscribed()
    }

    /// It has proved who it is.
    pub(crate) fn is(&mut self, identity: Arc<str>) {
        let from = self.guest.from;
        self.caller = Some(Arc::new(Caller { identity, from }));
    }

    /// As it was at its beginning.
    pub(crate) fn reset(&mut self, unproved: Option<Arc<str>>) {
        *self = Self {
            tries: self.tries,
            ..Self::new(self.id, self.guest.clone(), unproved)
        };
    }
}
