//! How a client is set up.

use std::sync::Arc;
use std::time::Duration;

use hostd_pki::Credentials;
use hostd_protocol::{CallError, Failure, FailureCode};
use hostd_quic::Profile;

use crate::cluster::Cluster;
use crate::node::Dialer;
use crate::{Client, failure};

/// Settings of a [`Client`]. Obtained from [`Client::builder`].
#[derive(Debug)]
pub struct Builder {
    servers: Vec<String>,
    credentials: Option<Credentials>,
    pub(crate) timeout: Duration,
    connect_timeout: Duration,
    patience: Duration,
    endpoint: Option<quinn::Endpoint>,
    pub(crate) one_shot: bool,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            servers: Vec::new(),
            credentials: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_millis(1_500),
            patience: Duration::from_millis(500),
            endpoint: None,
            one_shot: false,
        }
    }

    /// Addresses, `host:port`, to find the cluster at. One that answers is enough: it names the
    /// others.
    #[must_use]
    pub fn servers<S: Into<String>>(mut self, servers: impl IntoIterator<Item = S>) -> Self {
        self.servers.extend(servers.into_iter().map(Into::into));
        self
    }

    /// The client's certificate, and the authority whose nodes it believes.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// How long a call may take when it does not say otherwise. 10 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long one address may take to complete a handshake before it counts as dead. 1.5 s
    /// unless set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a node may take to answer before another is asked as well. 500 ms unless set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Dials from this endpoint instead of sockets of its own. It must reach every address.
    #[must_use]
    pub fn endpoint(mut self, endpoint: quinn::Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// For a program that makes one call and ends: writes carry random idempotency keys instead of
    /// the numbers of a session, which would cost two more writes; members are learnt only when
    /// there is trouble; and [`connect`](Self::connect) leaves the dialling to the call.
    #[must_use]
    pub fn one_shot(mut self) -> Self {
        self.one_shot = true;
        self
    }

    /// Reaches the first server that answers.
    ///
    /// Fails with `unauthenticated` when one answers and either side does not accept the other's
    /// certificate, and with `no_leader` when none answers within the timeout.
    pub async fn connect(self) -> Result<Client, CallError> {
        let Some(credentials) = &self.credentials else {
            return Err(failure::setup("a client needs credentials"));
        };
        if self.servers.is_empty() {
            return Err(failure::setup("a client needs the address of a server"));
        }
        if let Some(bad) = self.servers.iter().find(|address| !address.contains(':')) {
            return Err(failure::setup(format!(
                "{bad:?} is not an address; write host:port, such as {}",
                hostd_protocol::DEFAULT_ADDRESS
            )));
        }
        let tls = credentials.client_config().map_err(|error| {
            CallError::from(Failure::new(
                FailureCode::Unauthenticated,
                error.to_string(),
            ))
        })?;
        let dialer = Dialer::new(
            hostd_quic::client_config(tls, Profile::Client),
            self.connect_timeout,
            self.endpoint.clone(),
        );
        let cluster = Cluster::new(dialer, self.servers.clone(), self.patience, !self.one_shot);
        Client::start(&self, Arc::new(cluster)).await
    }
}
