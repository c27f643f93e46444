//! Whoever operates the cluster: asks it for changes through a client of its own, and acts on the
//! answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hostd_client::{CallError, Client, MemberChange};

use crate::net::Net;
use crate::process::Process;
use crate::world::World;

/// What is to be done in the world because of an answer.
type Deed = Box<dyn FnOnce(&mut World) + Send>;

/// What an operator's client does.
type Acted = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// Deeds of tasks, which the world does after they ran.
#[derive(Clone, Default)]
pub(crate) struct Mailbox(Arc<Mutex<Vec<Deed>>>);

impl Mailbox {
    /// Has something done.
    pub(crate) fn put(&self, deed: impl FnOnce(&mut World) + Send + 'static) {
        self.lock().push(Box::new(deed));
    }

    /// What is to be done.
    pub(crate) fn take(&self) -> Vec<Deed> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Deed>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// Connects clients to the cluster.
#[derive(Clone)]
pub(crate) struct Dialing {
    /// The network.
    pub(crate) net: Net,
    /// Addresses to begin with.
    pub(crate) servers: Vec<String>,
    /// The clients' certificate.
    pub(crate) credentials: hostd_client::Credentials,
}

impl Dialing {
    /// A client at the address of `number`. Tries until somebody answers.
    pub(crate) async fn connect(&self, number: u64) -> Client {
        let address = crate::net::client_address(number);
        let socket = self.net.bind(address, Process::new());
        let endpoint =
            hostd_quic::bind_abstract(Arc::new(socket), None).expect("a socket that is bound");
        loop {
            let builder = Client::builder()
                .servers(self.servers.clone())
                .credentials(self.credentials.clone())
                .endpoint(endpoint.clone());
            if let Ok(client) = builder.connect().await {
                return client;
            }
        }
    }
}

/// The number of the operator's client.
pub(crate) const OPERATOR: u64 = 200;

/// The operator.
#[derive(Clone)]
pub(crate) struct Operator {
    dialing: Dialing,
    /// One at a time: they share an address.
    turn: Arc<tokio::sync::Mutex<()>>,
    mailbox: Mailbox,
}

impl Operator {
    /// An operator who has asked nothing yet.
    pub(crate) fn new(dialing: Dialing, mailbox: Mailbox) -> Self {
        Self {
            dialing,
            turn: Arc::default(),
            mailbox,
        }
    }

    /// How it reaches the cluster.
    pub(crate) fn dialing(&self) -> &Dialing {
        &self.dialing
    }

    /// Asks for a change of the membership once, and does something with the answer.
    pub(crate) fn change(
        &self,
        world: &World,
        change: MemberChange,
        then: impl FnOnce(&mut World, Result<(), CallError>) + Send + 'static,
    ) {
        world.trace.say(&format!("operator: {change:?}"));
        let ask = |client: Client| -> Acted {
            Box::pin(async move { client.change_member(change).await })
        };
        self.ask(world, ask, move |world, answer| {
            world.trace.say(&format!("operator hears: {answer:?}"));
            then(world, answer);
        });
    }

    /// Has a client do something, and says what came of it.
    pub(crate) fn act(
        &self,
        world: &World,
        what: &'static str,
        act: impl FnOnce(Client) -> Acted + Send + 'static,
    ) {
        world.trace.say(&format!("operator: {what}"));
        self.ask(world, act, move |world, answer| {
            world
                .trace
                .say(&format!("operator hears of {what}: {answer:?}"));
            let counted = if answer.is_ok() {
                "plugin operations done"
            } else {
                "plugin operations refused"
            };
            world.counters.add(counted, 1);
        });
    }

    /// Has a client do something when it is its turn, and then something in the world.
    fn ask(
        &self,
        world: &World,
        act: impl FnOnce(Client) -> Acted + Send + 'static,
        then: impl FnOnce(&mut World, Result<(), CallError>) + Send + 'static,
    ) {
        let operator = self.clone();
        // Whoever operates a cluster knows its nodes.
        let dialing = Dialing {
            servers: world.addresses(),
            ..self.dialing.clone()
        };
        world.clients.spawn(async move {
            let turn = operator.turn.lock().await;
            let client = dialing.connect(OPERATOR).await;
            let answer = act(client.clone()).await;
            client.close().await;
            drop(turn);
            operator.mailbox.put(move |world| then(world, answer));
        });
    }
}
