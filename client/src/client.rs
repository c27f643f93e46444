//! What callers see.

use std::sync::Arc;
use std::time::Duration;

use hostd_protocol::codec::FRAME_BYTES_MAX;
use hostd_protocol::{
    Access, Call, CallError, Consistency, DryRun, Limits, LogPage, Member, MemberChange,
    NodeStatus, Once, PluginChange, PluginDescription, PluginInfo, Policy, PolicyChange, Rejection,
    RejectionCode, Reply, Request, Response, TokenChange, TokenInfo, TokenRequest,
    UPLOAD_CHUNK_BYTES, Verified, Watch,
};
use hostd_quic::Ended;
use serde_bytes::ByteBuf;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::catalogue::{Catalogue, Table};
use crate::cluster::{Cluster, NoRoute};
use crate::director::Director;
use crate::request::{Outcome, Plan, send};
use crate::session::{Sessions, Ticket};
use crate::watch::{Lines, Watcher};
use crate::{Builder, failure};

/// Room in a frame for everything around the arguments.
const ENVELOPE_BYTES: usize = 64 << 10;

/// How long closing a session may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long to let the last datagrams out. Whether they arrive is not waited for: a node that
/// does not hear them drops the connection by itself.
const FLUSH: Duration = Duration::from_millis(5);

/// A client of a cluster. Clones share everything; see the crate's documentation.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: Arc<Cluster>,
    sessions: Sessions,
    catalogue: Catalogue,
    timeout: Duration,
    one_shot: bool,
    lines: Lines,
    _director: Director,
}

/// How a call is to be made. The default suits most.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// The plugin, where two have a command of the same name.
    pub plugin: Option<String>,
    /// How fresh a read must be.
    pub consistency: Consistency,
    /// An idempotency key: of all writes of this client identity with the same key, one takes
    /// effect, and all get its reply. Takes the session's place.
    pub key: Option<String>,
    /// How long the call may take; the client's own timeout when `None`.
    pub timeout: Option<Duration>,
}

impl Client {
    /// Settings of a new client.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) async fn start(builder: &Builder, cluster: Arc<Cluster>) -> Result<Self, CallError> {
        let client = Self {
            inner: Arc::new(Inner {
                sessions: Sessions::default(),
                catalogue: Catalogue::default(),
                timeout: builder.timeout,
                one_shot: builder.one_shot,
                lines: Lines::default(),
                _director: Director::start(cluster.clone()),
                cluster: cluster.clone(),
            }),
        };
        if builder.one_shot {
            // Its one call dials, within its own deadline.
            return Ok(client);
        }
        let reach = async {
            loop {
                match cluster.route(&[], None).await {
                    Ok(_) => return Ok(()),
                    Err(NoRoute::Unreachable(failed)) => {
                        for (address, why) in failed {
                            if let Ended::Credentials(why) = why {
                                return Err(failure::credentials(&address, &why));
                            }
                        }
                    }
                    Err(NoRoute::AllAsked) => {}
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(builder.timeout, reach)
            .await
            .unwrap_or_else(|_| Err(failure::unreachable(&cluster.addresses(), builder.timeout)))
            .map(|()| client)
    }

    /// Calls a plugin's command.
    pub async fn call<A: AsRef<[u8]>>(
        &self,
        command: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Reply, CallError> {
        self.call_with(command, arguments, &CallOptions::default())
            .await
    }

    /// Calls a plugin's command in a way of one's choice.
    pub async fn call_with<A: AsRef<[u8]>>(
        &self,
        command: &str,
        arguments: impl IntoIterator<Item = A>,
        options: &CallOptions,
    ) -> Result<Reply, CallError> {
        let arguments: Vec<ByteBuf> = arguments
            .into_iter()
            .map(|argument| ByteBuf::from(argument.as_ref()))
            .collect();
        let limit = FRAME_BYTES_MAX - ENVELOPE_BYTES;
        let bytes = arguments.iter().map(|argument| argument.len() + 5).sum();
        if bytes > limit {
            return Err(failure::too_large(bytes, limit));
        }
        let call = Call {
            plugin: options.plugin.clone(),
            command: command.to_owned(),
            arguments,
            consistency: options.consistency,
            once: options.key.clone().map(Once::Key),
            timeout_ms: 0,
        };
        let deadline = Instant::now() + options.timeout.unwrap_or(self.inner.timeout);
        self.decide(call, deadline).await
    }

    /// Does in advance what the first call would have to wait for: learns the commands, and opens
    /// the session.
    pub async fn prepare(&self) -> Result<(), CallError> {
        let deadline = Instant::now() + self.inner.timeout;
        self.table(deadline).await?;
        if !self.inner.one_shot {
            self.ticket(deadline).await?;
        }
        Ok(())
    }

    /// Every plugin's description, sorted by name.
    pub async fn commands(&self) -> Result<Vec<PluginDescription>, CallError> {
        match self.ask(Request::Commands, Plan::READ).await? {
            Response::Commands(plugins) => {
                self.inner.catalogue.learn(&plugins);
                Ok(plugins)
            }
            _ => Err(failure::unexpected()),
        }
    }

    /// A row per member, as one node could gather them.
    pub async fn status(&self) -> Result<Vec<NodeStatus>, CallError> {
        match self.ask(Request::Status { all: true }, Plan::READ).await? {
            Response::Status(rows) => Ok(rows),
            _ => Err(failure::unexpected()),
        }
    }

    /// The members, as the answering node knows them.
    pub async fn members(&self) -> Result<Vec<Member>, CallError> {
        match self.ask(Request::Members, Plan::READ).await? {
            Response::Members(members) => {
                self.inner.cluster.learn_members(&members);
                Ok(members)
            }
            _ => Err(failure::unexpected()),
        }
    }

    /// Changes the membership.
    pub async fn change_member(&self, change: MemberChange) -> Result<(), CallError> {
        match self.ask(Request::Member(change), Plan::CHANGE).await? {
            Response::Done => Ok(()),
            _ => Err(failure::unexpected()),
        }
    }

    /// Every plugin with its versions, sorted by name, and the cluster's limits.
    pub async fn plugins(&self) -> Result<(Vec<PluginInfo>, Limits), CallError> {
        match self.ask(Request::Plugins, Plan::READ).await? {
            Response::Plugins(plugins, limits) => Ok((plugins, *limits)),
            _ => Err(failure::unexpected()),
        }
    }

    /// Changes the plugins, or limits. A change that is made already is no error.
    pub async fn change_plugins(&self, change: PluginChange) -> Result<Reply, CallError> {
        let deadline = Instant::now() + self.inner.timeout;
        let mut request = Request::Plugin {
            change,
            timeout_ms: 0,
        };
        reply(self.send(&mut request, Plan::WRITE, deadline).await)
    }

    /// A piece of the answering node's log: at most `count` lines from the entry at `from` on.
    pub async fn log(
        &self,
        from: u64,
        plugin: Option<String>,
        count: u32,
    ) -> Result<LogPage, CallError> {
        let request = Request::Log {
            from,
            plugin,
            count,
        };
        match self.ask(request, Plan::READ).await? {
            Response::Log(page) => Ok(page),
            _ => Err(failure::unexpected()),
        }
    }

    /// Tries a version on the last logged calls of its plugin, on one node and without any effect.
    pub async fn dry_run(&self, component: Vec<u8>, last: u32) -> Result<DryRun, CallError> {
        if component.len() > FRAME_BYTES_MAX - ENVELOPE_BYTES {
            return Err(Rejection::new(
                RejectionCode::TooLarge,
                format!("the component has {} bytes", component.len()),
            )
            .into());
        }
        match self
            .ask(Request::DryRun { component, last }, Plan::READ)
            .await?
        {
            Response::DryRun(run) => Ok(*run),
            _ => Err(failure::unexpected()),
        }
    }

    /// Has one node make a checkpoint and compare the states of all members at it. That reads all of
    /// them, so it may take longer than other requests: `patience`.
    pub async fn verify(&self, patience: Duration) -> Result<Verified, CallError> {
        let request = Request::Verify { timeout_ms: 0 };
        let deadline = Instant::now() + patience;
        match self.ask_until(request, Plan::ONCE, deadline).await? {
            Response::Verified(verified) => Ok(*verified),
            _ => Err(failure::unexpected()),
        }
    }

    /// Who may do what.
    pub async fn policy(&self) -> Result<Policy, CallError> {
        match self.ask(Request::Policy, Plan::READ).await? {
            Response::Policy(policy) => Ok(*policy),
            _ => Err(failure::unexpected()),
        }
    }

    /// Changes who may do what. Returns the rules that came or went.
    pub async fn change_policy(&self, change: PolicyChange) -> Result<Vec<String>, CallError> {
        let request = Request::ChangePolicy {
            change,
            timeout_ms: 0,
        };
        match self.ask(request, Plan::ONCE).await? {
            Response::Reply(Reply::Array(lines)) => Ok(lines
                .into_iter()
                .filter_map(|line| match line {
                    Reply::Text(line) => Some(line),
                    _ => None,
                })
                .collect()),
            _ => Err(failure::unexpected()),
        }
    }

    /// Changes the join tokens.
    pub async fn change_tokens(&self, change: TokenChange) -> Result<(), CallError> {
        let request = Request::Token(TokenRequest::Change(change));
        match self.ask(request, Plan::CHANGE).await? {
            Response::Done => Ok(()),
            _ => Err(failure::unexpected()),
        }
    }

    /// The join tokens that are of use, by id.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, CallError> {
        match self
            .ask(Request::Token(TokenRequest::List), Plan::READ)
            .await?
        {
            Response::Tokens(tokens) => Ok(tokens),
            _ => Err(failure::unexpected()),
        }
    }

    /// Watches changes. Nothing is sent before the first [`Watcher::next`].
    pub fn watch(&self, watch: Watch) -> Watcher {
        Watcher::new(self.clone(), watch)
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    pub(crate) fn lines(&self) -> &Lines {
        &self.inner.lines
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.inner.timeout
    }

    /// Uploads a component in pieces, and returns its digest, by which it can be activated. Goes on
    /// where an earlier attempt was interrupted. `progress` is told how many bytes the cluster has.
    pub async fn upload(
        &self,
        component: &[u8],
        mut progress: impl FnMut(u64),
    ) -> Result<[u8; 32], CallError> {
        let digest = *blake3::hash(component).as_bytes();
        let total = component.len() as u64;
        let mut offset = 0;
        loop {
            let rest = component.get(offset..).unwrap_or_default();
            let piece = &rest[..rest.len().min(UPLOAD_CHUNK_BYTES)];
            let change = PluginChange::Upload {
                digest,
                total,
                offset: offset as u64,
                bytes: piece.to_vec(),
            };
            let Reply::Integer(received) = self.change_plugins(change).await? else {
                return Err(failure::unexpected());
            };
            progress(received as u64);
            if received as u64 >= total {
                return Ok(digest);
            }
            offset = received as usize;
        }
    }

    /// Ends the session, so that the cluster need not keep it until it expires, and closes the
    /// connections. For all clones of this client. Dropping the last clone closes the connections
    /// too, and leaves the session.
    pub async fn close(self) {
        let session = self.inner.sessions.take();
        if let Some(session) = session {
            // Unheard, the session expires by itself.
            let close = self.ask(Request::CloseSession { session }, Plan::WRITE);
            let _ = timeout(GOODBYE, close).await;
        }
        let _ = timeout(FLUSH, self.inner.cluster.close()).await;
    }

    pub(crate) fn cluster_and_timeout(&self) -> (&Arc<Cluster>, Duration) {
        (&self.inner.cluster, self.inner.timeout)
    }

    async fn ask(&self, request: Request, plan: Plan) -> Result<Response, CallError> {
        let deadline = Instant::now() + self.inner.timeout;
        self.ask_until(request, plan, deadline).await
    }

    async fn ask_until(
        &self,
        mut request: Request,
        plan: Plan,
        deadline: Instant,
    ) -> Result<Response, CallError> {
        self.send(&mut request, plan, deadline).await.answer
    }

    async fn send(&self, request: &mut Request, plan: Plan, deadline: Instant) -> Outcome {
        send(&self.inner.cluster, request, plan, deadline).await
    }

    /// Gives a call what makes it safe to repeat, and sends it.
    async fn decide(&self, mut call: Call, deadline: Instant) -> Result<Reply, CallError> {
        if call.once.is_none() && self.inner.one_shot {
            // Whether it writes is not worth a question: a read ignores the key.
            call.once = Some(Once::Key(random_key()?));
        }
        if call.once.is_some() {
            let mut request = Request::Call(call);
            return reply(self.send(&mut request, Plan::WRITE, deadline).await);
        }
        if self.access(&call, deadline).await? == Some(Access::Read) {
            let plan = Plan {
                rotate: call.consistency == Consistency::Stale,
                ..Plan::READ
            };
            let mut request = Request::Call(call);
            return reply(self.send(&mut request, plan, deadline).await);
        }
        self.write_in_session(call, deadline).await
    }

    async fn write_in_session(&self, call: Call, deadline: Instant) -> Result<Reply, CallError> {
        let mut request = Request::Call(call);
        loop {
            let ticket = self.ticket(deadline).await?;
            if let Request::Call(call) = &mut request {
                call.once = Some(ticket.once());
            }
            let outcome = self.send(&mut request, Plan::WRITE, deadline).await;
            let expired =
                matches!(&outcome.answer, Err(error) if error.code() == "session_expired");
            if expired {
                self.inner.sessions.expire(ticket.session());
                if outcome.sends == 1 {
                    // It was sent once and refused, so it certainly did not run.
                    continue;
                }
            }
            return reply(outcome);
        }
    }

    async fn ticket(&self, deadline: Instant) -> Result<Ticket, CallError> {
        let open = || async {
            let opened = self.ask_until(Request::OpenSession, Plan::READ, deadline);
            match opened.await? {
                Response::Session(number) => Ok(number),
                _ => Err(failure::unexpected()),
            }
        };
        let begun = Instant::now();
        timeout_at(deadline, self.inner.sessions.ticket(open))
            .await
            .unwrap_or_else(|_| Err(failure::timeout(begun.elapsed(), false)))
    }

    async fn access(&self, call: &Call, deadline: Instant) -> Result<Option<Access>, CallError> {
        let look = |table: &Table| table.access(call.plugin.as_deref(), &call.command);
        let known = self.inner.catalogue.table();
        if let Some(table) = known.filter(|table| table.is_fresh())
            && let Some(access) = look(&table)
        {
            return Ok(Some(access));
        }
        // Unknown commands are asked for each time: one may just have been installed, and the
        // cluster refuses the call anyway if not.
        Ok(look(&*self.table(deadline).await?))
    }

    async fn table(&self, deadline: Instant) -> Result<Arc<Table>, CallError> {
        let catalogue = &self.inner.catalogue;
        let before = catalogue.table();
        let _one = catalogue.asking.lock().await;
        if let Some(table) = catalogue.table()
            && !before.is_some_and(|before| Arc::ptr_eq(&before, &table))
        {
            // Somebody else asked while this call waited.
            return Ok(table);
        }
        let asked = self.ask_until(Request::Commands, Plan::READ, deadline);
        match asked.await? {
            Response::Commands(plugins) => Ok(catalogue.learn(&plugins)),
            _ => Err(failure::unexpected()),
        }
    }
}

fn reply(outcome: Outcome) -> Result<Reply, CallError> {
    match outcome.answer? {
        Response::Reply(reply) => Ok(reply),
        _ => Err(failure::unexpected()),
    }
}

/// A key that nobody else has: 128 random bits.
fn random_key() -> Result<String, CallError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        failure::setup(format!(
            "the operating system gives no random bytes: {error}"
        ))
    })?;
    Ok(format!("once-{:032x}", u128::from_be_bytes(bytes)))
}
