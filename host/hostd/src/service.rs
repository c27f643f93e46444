//! The one function that every request runs through, whichever door it came in by.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hostd_gateway::{Caller, Check, Elsewhere};
use hostd_machine::{Budget, Fault, RULES_POLICY, View, Views};
use hostd_planted::{self as planted, Bug};
use hostd_protocol::{
    Access, Call, CallError, Command, CommandDescription, Consistency, EnrollRequest, Enrolled,
    Failure, FailureCode, Health, Outcome, PluginChange, Policy, PolicyChange, Rejection,
    RejectionCode, Reply, Request, Response, TokenChange, TokenRequest, Watch,
};
use hostd_replica::Replica;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::access::{self, Doorkeeper, permit, permit_monitor};
use crate::audit::{self, AuditLog, Called};
use crate::config::{Config, Redirect};
use crate::enroll::{Desk, check_rules};
use crate::health;
use crate::metrics::{self, Calls};
use crate::watch::Watching;

/// The longest that a client may ask a node to try.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_mins(1);

/// The longest that a comparison of all states may take: it reads all of them.
const VERIFY_MAX: Duration = Duration::from_mins(10);

/// Between two attempts of a write that waits for a migration.
pub(crate) const MIGRATION_LOOK: Duration = Duration::from_millis(20);

/// Long queries that run at the same time. Their threads are apart from those that serve.
const LONG_QUERIES_MAX: usize = 2;

/// Lines of one page of the log.
const LINES_MAX: usize = 10_000;

/// Answers requests. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) replica: Replica,
    pub(crate) views: Views,
    open_reads: bool,
    redirect: Option<Redirect>,
    /// Since its start this node was once as far as the leader.
    caught_up: Arc<AtomicBool>,
    /// Under which others know this node.
    host_name: Option<Arc<str>>,
    doorkeeper: Doorkeeper,
    desk: Desk,
    pub(crate) audit: AuditLog,
    /// Whether clients are served already.
    open: Arc<AtomicBool>,
    long_queries: Arc<Semaphore>,
    pub(crate) calls: Calls,
    /// Who wants to know of each read: a plugin's author.
    reads: Option<ReadSink>,
}

/// Takes each read with what it came to and the fuel that it used.
pub(crate) type ReadSink = Arc<dyn Fn(&str, &Call, &Outcome, u64) + Send + Sync>;

impl Service {
    pub(crate) fn new(replica: Replica, config: &Config, audit: AuditLog) -> Self {
        let views = replica.views();
        let desk = Desk::open(&replica, config);
        Self {
            replica,
            views,
            open_reads: config.open_reads,
            caught_up: Arc::default(),
            host_name: config
                .advertise
                .as_deref()
                .and_then(|address| Some(address.rsplit_once(':')?.0.into())),
            doorkeeper: Doorkeeper::new(config),
            desk,
            audit,
            open: Arc::new(AtomicBool::new(config.policy.is_empty())),
            redirect: config.redirect,
            long_queries: Arc::new(Semaphore::new(LONG_QUERIES_MAX)),
            calls: Calls::default(),
            reads: None,
        }
    }

    /// From now on clients are served: the cluster has the rules that it was founded with.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// As it is, and each read is told.
    pub(crate) fn tell_reads(self, sink: ReadSink) -> Self {
        Self {
            reads: Some(sink),
            ..self
        }
    }

    /// Calls a command: a write through the log, a read on the local state once that is as fresh
    /// as asked.
    pub(crate) async fn call(&self, principal: &str, call: Call) -> Result<Reply, CallError> {
        let counted = self.calls.of(&self.views.latest(), &call);
        let begun = Instant::now();
        let ended = self.perform(principal, call).await;
        counted.ended(begun.elapsed(), ended.as_ref());
        ended
    }

    async fn perform(&self, principal: &str, call: Call) -> Result<Reply, CallError> {
        let timeout = Duration::from_millis(u64::from(call.timeout_ms)).min(TIMEOUT_MAX);
        let deadline = Instant::now() + timeout;
        match self.access(principal, &call, deadline).await? {
            Access::Write => {
                let Call {
                    plugin,
                    command,
                    arguments,
                    once,
                    ..
                } = call;
                let principal = principal.to_owned();
                let command = Command::Call {
                    principal,
                    plugin,
                    command,
                    arguments,
                    once,
                };
                match self.write(command, deadline).await {
                    Err(_) if planted::active(Bug::AckUnknown) => Ok(Reply::Integer(1)),
                    outcome => Ok(outcome??),
                }
            }
            Access::Read => Ok(self.look_up(principal, call, deadline).await?.outcome?),
        }
    }

    /// Calls a command that only reads; `None` when it writes.
    async fn read(&self, principal: &str, call: Call) -> Result<Option<(Reply, u64)>, CallError> {
        let counted = self.calls.of(&self.views.latest(), &call);
        let begun = Instant::now();
        let timeout = Duration::from_millis(u64::from(call.timeout_ms)).min(TIMEOUT_MAX);
        let deadline = begun + timeout;
        let found = match self.access(principal, &call, deadline).await {
            Ok(Access::Write) => return Ok(None),
            Ok(Access::Read) => self.look_up(principal, call, deadline).await,
            Err(error) => Err(error),
        };
        let ended = found.and_then(|found| Ok((found.outcome?, found.revision)));
        counted.ended(begun.elapsed(), ended.as_ref().map(|(reply, _)| reply));
        ended.map(Some)
    }

    /// Runs a read on the local state once that is as fresh as asked.
    async fn look_up(
        &self,
        principal: &str,
        call: Call,
        deadline: Instant,
    ) -> Result<Found, CallError> {
        if call.consistency == Consistency::Linearizable {
            self.freshen(deadline).await?;
        }
        let Some(sink) = &self.reads else {
            return self.query(principal, call, deadline).await;
        };
        let found = self.query(principal, call.clone(), deadline).await?;
        sink(principal, &call, &found.outcome, found.fuel);
        Ok(found)
    }

    /// Waits until this node has applied what a read must see; with open reads, only until it knows that
    /// it is no more behind than a working follower.
    async fn freshen(&self, deadline: Instant) -> Result<(), Failure> {
        if !self.open_reads || !self.caught_up.load(Ordering::Relaxed) {
            // Since its start it may not have heard of what was written meanwhile.
            self.replica.read_barrier(deadline).await?;
            self.caught_up.store(true, Ordering::Relaxed);
        } else if self.replica.health() == Health::Lagging {
            return Err(Failure::new(
                FailureCode::NoLeader,
                "this node is behind the leader and catches up; ask another, or again in a moment",
            ));
        }
        Ok(())
    }

    /// Runs a command through the log. While the plugin's state is being migrated, it waits for its
    /// turn.
    async fn write(&self, command: Command, deadline: Instant) -> Result<Outcome, Failure> {
        let mut waited = None;
        loop {
            let rejection = match (self.replica.write(command.clone(), deadline).await, waited) {
                (Ok(Err(rejection)), _) if rejection.code == RejectionCode::Migrating => rejection,
                // No session remembers a call that waited. So a copy of it that was sent before may
                // still run, whatever became of the last one.
                (Err(_), Some(rejection)) => return Err(still_migrating(rejection)),
                (ended, _) => return ended,
            };
            if Instant::now() + MIGRATION_LOOK >= deadline {
                return Err(still_migrating(rejection));
            }
            tokio::time::sleep(MIGRATION_LOOK).await;
            waited = Some(rejection);
        }
    }

    /// Changes the plugins. A version is made ready by a quorum before it is activated.
    pub(crate) async fn change_plugins(
        &self,
        principal: &str,
        mut change: PluginChange,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        if let PluginChange::Upload { digest, bytes, .. } = &mut change
            && self
                .views
                .latest()
                .lacks_place_for_upload(digest)
                .unwrap_or(false)
        {
            // Whether there is a place decides the log. A byte is enough to ask, and the answer says how
            // many were taken; whole pieces that are refused would fill the log of every node.
            bytes.truncate(1);
        }
        if let PluginChange::Activate { digest, .. } = &change
            && let Err(failure) = self.replica.prepare(*digest, deadline).await
        {
            if failure.code == FailureCode::InvalidArgument {
                self.discard(principal, *digest, deadline).await;
            }
            return Err(failure.into());
        }
        let command = Command::Plugin {
            principal: principal.to_owned(),
            change,
        };
        Ok(self.replica.write(command, deadline).await??)
    }

    /// Whether clients are served already.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whether there are rules.
    pub(crate) async fn has_rules(&self, deadline: Instant) -> Result<bool, Failure> {
        self.replica.read_barrier(deadline).await?;
        Ok(!self.views.latest().policy().rules.is_empty())
    }

    /// Changes who may do what, once every node knows what that is.
    pub(crate) async fn change_policy(
        &self,
        principal: &str,
        change: PolicyChange,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let rules = self.views.latest().runs().map_or(0, |runs| runs.rules);
        if rules < RULES_POLICY {
            return Err(failure(
                FailureCode::Unsupported,
                "a node of this cluster runs a hostd that knows no access rules: upgrade it first;                  hostctl status shows which",
            ));
        }
        let command = Command::Policy {
            principal: principal.to_owned(),
            change,
        };
        Ok(self.replica.write(command, deadline).await??)
    }

    async fn tokens(&self, principal: &str, request: TokenRequest) -> Result<Response, CallError> {
        let deadline = Instant::now() + TIMEOUT_MAX / 6;
        check_rules(&self.replica)?;
        match request {
            // A use is a node's, which has seen what proves the token.
            TokenRequest::Change(TokenChange::Use { .. }) => Err(failure(
                FailureCode::InvalidArgument,
                "a token is used by `hostd --token`",
            )),
            TokenRequest::Change(change) => {
                let principal = principal.to_owned();
                let command = Command::Token { principal, change };
                self.replica.write(command, deadline).await??;
                Ok(Response::Done)
            }
            TokenRequest::List => {
                self.replica.read_barrier(deadline).await?;
                let tokens = self.views.latest().tokens().map_err(|fault| {
                    tracing::error!(%fault, "the tokens cannot be read");
                    failure(
                        FailureCode::Fault,
                        "this node cannot read its state; ask another",
                    )
                })?;
                Ok(Response::Tokens(tokens))
            }
        }
    }

    /// What can never be activated must not take an upload's place until that is abandoned. If this
    /// fails, that is what happens.
    async fn discard(&self, principal: &str, digest: [u8; 32], deadline: Instant) {
        let command = Command::Plugin {
            principal: principal.to_owned(),
            change: PluginChange::Discard { digest },
        };
        if let Err(failure) = self.replica.write(command, deadline).await {
            tracing::debug!(%failure, "an upload that is no plugin was not discarded");
        }
    }

    /// Whether the command reads or writes, if the caller may call it. This node may not have applied the
    /// installation of its plugin yet, so an unknown command is looked up again once the node is up to date.
    async fn access(
        &self,
        principal: &str,
        call: &Call,
        deadline: Instant,
    ) -> Result<Access, CallError> {
        if may_call(&self.views.latest(), principal, call).is_err() {
            // The rule that allows it may be newer than what this node has applied.
            self.replica.read_barrier(deadline).await?;
            may_call(&self.views.latest(), principal, call)?;
        }
        match resolve(&self.views.latest(), call) {
            Err(CallError::Rejected(rejection))
                if rejection.code == RejectionCode::UnknownCommand =>
            {
                self.replica.read_barrier(deadline).await?;
                resolve(&self.views.latest(), call)
            }
            resolved => resolved,
        }
    }

    /// Whether the caller may read is asked of the very view that answers.
    async fn query(
        &self,
        principal: &str,
        call: Call,
        deadline: Instant,
    ) -> Result<Found, CallError> {
        if self.replica.quarantined() {
            return Err(hostd_replica::quarantined().into());
        }
        let found = run_query(&self.views.latest(), principal, &call, Budget::Short)?;
        if !matches!(&found.outcome, Err(rejection) if rejection.code == RejectionCode::FuelExhausted)
        {
            return Ok(found);
        }
        let Ok(running) = timeout_at(deadline, self.long_queries.acquire()).await else {
            return Err(failure(
                FailureCode::Overloaded,
                "long queries are waiting for each other; try again in a moment",
            ));
        };
        let _running = running.expect("the semaphore is never closed");
        let view = self.views.latest();
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            // Whoever has but one thread, such as a simulator, wants no others.
            return run_query(&view, principal, &call, Budget::Full);
        }
        let principal = principal.to_owned();
        tokio::task::spawn_blocking(move || run_query(&view, &principal, &call, Budget::Full))
            .await
            .unwrap_or_else(|_| Err(failure(FailureCode::Fault, "the query's thread died")))
    }

    /// Logs an entry without any effect, and waits until it is applied here.
    async fn barrier(&self, deadline: Instant) -> Result<(), CallError> {
        // Nothing is due that would not be due anyway.
        self.replica.write(Command::Wake, deadline).await??;
        self.replica.read_barrier(deadline).await?;
        Ok(())
    }

    async fn open_session(&self, principal: &str) -> Result<u64, CallError> {
        let command = Command::OpenSession {
            principal: principal.to_owned(),
        };
        match self
            .replica
            .write(command, Instant::now() + TIMEOUT_MAX / 6)
            .await??
        {
            Reply::Integer(session) => Ok(session as u64),
            _ => Err(failure(
                FailureCode::Fault,
                "a session opened without a number",
            )),
        }
    }
}

impl Service {
    /// Whether the rules let a request through that is no call.
    async fn permitted(&self, identity: &str, request: &Request) -> Result<(), Failure> {
        let latest = permit(self.views.latest().policy(), identity, request);
        if latest.is_ok() && !access::is_administration(request) {
            return Ok(());
        }
        // The rule that allows it, or the change that takes it back, may be newer than what this node has
        // applied. A node that is new knows no rules at all.
        self.replica
            .read_barrier(Instant::now() + TIMEOUT_MAX / 6)
            .await?;
        permit(self.views.latest().policy(), identity, request)
    }

    fn refuse_while_founding(&self) -> Result<(), CallError> {
        if self.is_open() {
            return Ok(());
        }
        Err(failure(
            FailureCode::NoLeader,
            "the cluster is being founded; try again in a moment",
        ))
    }

    async fn answer(&self, principal: &Arc<str>, request: Request) -> Result<Response, CallError> {
        match request {
            Request::Call(call) => self.call(principal, call).await.map(Response::Reply),
            Request::Read(call) => {
                let read = self.read(principal, call).await?;
                Ok(
                    read.map_or(Response::Writes, |(reply, revision)| Response::Read {
                        reply,
                        revision,
                    }),
                )
            }
            Request::Metrics => {
                let own = self.replica.own_status();
                let told = metrics::render(&self.replica, own, &self.views.latest(), &self.calls);
                Ok(Response::Metrics(told))
            }
            Request::OpenSession => self.open_session(principal).await.map(Response::Session),
            Request::CloseSession { session } => {
                let command = Command::CloseSession {
                    principal: principal.to_string(),
                    session,
                };
                self.replica
                    .write(command, Instant::now() + TIMEOUT_MAX / 6)
                    .await??;
                Ok(Response::Done)
            }
            Request::Commands => Ok(Response::Commands(self.views.latest().descriptions())),
            Request::Status { all } => Ok(Response::Status(self.replica.status(all).await)),
            Request::Members => Ok(Response::Members(self.replica.members())),
            Request::Plugin { change, timeout_ms } => {
                if !matches!(change, PluginChange::Upload { .. }) {
                    // Before it is tried: what ends this node meanwhile must not end the trace of it.
                    tracing::info!(principal = &**principal, ?change, "plugin change asked for");
                }
                let timeout = Duration::from_millis(u64::from(timeout_ms)).min(TIMEOUT_MAX);
                self.change_plugins(principal, change, Instant::now() + timeout)
                    .await
                    .map(Response::Reply)
            }
            Request::Plugins => {
                let deadline = Instant::now() + TIMEOUT_MAX / 6;
                self.replica.read_barrier(deadline).await?;
                let view = self.views.latest();
                Ok(Response::Plugins(
                    view.plugins(),
                    Box::new(view.limits().clone()),
                ))
            }
            Request::Log {
                from,
                plugin,
                count,
            } => {
                let count = (count as usize).min(LINES_MAX);
                let page = self
                    .replica
                    .look_back(move |history| history.show(from, plugin.as_deref(), count))
                    .await?;
                Ok(Response::Log(page))
            }
            Request::DryRun { component, last } => {
                let run = self
                    .replica
                    .look_back(move |history| history.dry_run(&component, last as usize))
                    .await?;
                Ok(Response::DryRun(Box::new(run)))
            }
            Request::Verify { timeout_ms } => {
                let timeout = Duration::from_millis(u64::from(timeout_ms)).min(VERIFY_MAX);
                let verified = self.replica.verify(Instant::now() + timeout).await?;
                Ok(Response::Verified(Box::new(verified)))
            }
            Request::Policy => {
                let deadline = Instant::now() + TIMEOUT_MAX / 6;
                self.replica.read_barrier(deadline).await?;
                let policy = Policy::clone(self.views.latest().policy());
                Ok(Response::Policy(Box::new(policy)))
            }
            Request::ChangePolicy { change, timeout_ms } => {
                let timeout = Duration::from_millis(u64::from(timeout_ms)).min(TIMEOUT_MAX);
                self.change_policy(principal, change, Instant::now() + timeout)
                    .await
                    .map(Response::Reply)
            }
            Request::Token(request) => self.tokens(principal, request).await,
            Request::Snapshot(request) => crate::snapshots::answer(&self.replica, request).await,
            Request::Watch(_) => Err(failure(
                FailureCode::InvalidArgument,
                "a watch is the first request of a stream of its own",
            )),
            Request::Member(change) => {
                self.replica
                    .change_membership(change, Instant::now() + TIMEOUT_MAX / 2)
                    .await?;
                Ok(Response::Done)
            }
            Request::Barrier { timeout_ms } => {
                let timeout = Duration::from_millis(u64::from(timeout_ms)).min(TIMEOUT_MAX);
                self.barrier(Instant::now() + timeout).await?;
                Ok(Response::Done)
            }
            Request::Raft => Ok(Response::Raft(Box::new(self.replica.raft_info()))),
            Request::Clock => Ok(Response::Clock(self.replica.clock_info())),
        }
    }
}

impl hostd_gateway::Service for Service {
    type Watching = Watching;

    async fn handle(&self, caller: &Caller, request: Request) -> Result<Response, CallError> {
        self.refuse_while_founding()?;
        let subject = audit::subject(&request);
        let called = Called::of_request(&request);
        let answer = match self.permitted(&caller.identity, &request).await {
            Ok(()) => self.answer(&caller.identity, request).await,
            Err(refused) => Err(refused.into()),
        };
        match (&subject, &answer) {
            (Some(what), _) => self.audit.note(caller, what, answer.as_ref().map(drop)),
            (None, Err(error)) if audit::is_refusal(error) => {
                let name = called.map(|called| called.name(&self.views.latest()));
                let what = name.as_deref().unwrap_or("request");
                self.audit.note(caller, what, Err(error));
            }
            _ => {}
        }
        answer
    }

    async fn enroll(&self, from: SocketAddr, request: EnrollRequest) -> Result<Enrolled, Failure> {
        let what = format!("certificate for node {}", request.node);
        let caller = Caller {
            identity: "join token".into(),
            from,
        };
        let answer = self.desk.answer(request).await;
        let refused = answer.as_ref().err().cloned().map(CallError::from);
        self.audit
            .note(&caller, &what, refused.as_ref().map_or(Ok(()), Err));
        answer
    }

    fn closed(&self) -> Option<String> {
        self.doorkeeper.closed(self.views.latest().policy())
    }

    fn host_name(&self) -> Option<&str> {
        self.host_name.as_deref()
    }

    fn checks(&self) -> Vec<Check> {
        health::checks(&self.replica)
    }

    async fn call_in_order(
        &self,
        caller: &Caller,
        calls: Vec<Call>,
    ) -> Vec<Result<Reply, CallError>> {
        self.call_all(caller, calls).await
    }

    fn may_monitor(&self, caller: &Caller) -> Result<(), CallError> {
        self.refuse_while_founding()?;
        let permitted = permit_monitor(self.views.latest().policy(), &caller.identity);
        let permitted = permitted.map_err(CallError::from);
        self.audit
            .note(caller, "monitor", permitted.as_ref().map(drop));
        permitted
    }

    fn may_still_monitor(&self, caller: &Caller) -> bool {
        permit_monitor(self.views.latest().policy(), &caller.identity).is_ok()
    }

    fn describe<T>(
        &self,
        command: &str,
        look: impl FnOnce(Option<(&str, &CommandDescription)>) -> T,
    ) -> T {
        look(self.views.latest().catalogue().described(None, command))
    }

    fn elsewhere(&self, access: Access) -> Option<Elsewhere> {
        let redirect = self.redirect?;
        if access == Access::Read && self.open_reads {
            return None;
        }
        if self.replica.leadership().borrow().here {
            return None;
        }
        Some(match (self.replica.heard_leader(), redirect) {
            (None, _) => Elsewhere::Nowhere,
            (Some((_, address)), Redirect::Moved) => Elsewhere::Moved(address),
            (Some((_, address)), Redirect::Try) => Elsewhere::Try(address),
        })
    }

    async fn watch(&self, caller: &Caller, watch: Watch) -> Result<Watching, CallError> {
        self.refuse_while_founding()?;
        let watching = Watching::begin(&self.replica, caller, watch).await;
        if let Err(error) = &watching
            && audit::is_refusal(error)
        {
            self.audit.note(caller, "watch", Err(error));
        }
        watching
    }

    fn unproved(&self) -> Option<Arc<str>> {
        self.doorkeeper.unproved(self.views.latest().policy())
    }

    fn prove(&self, from: SocketAddr, name: Option<&str>, secret: &str) -> Option<Arc<str>> {
        let policy = self.views.latest();
        let proved = self.doorkeeper.prove(policy.policy(), name, secret);
        if proved.is_none() {
            let caller = Caller {
                identity: name.unwrap_or_default().into(),
                from,
            };
            let refused = failure(FailureCode::Unauthenticated, "the secret is nobody's");
            self.audit.note(&caller, "authenticate", Err(&refused));
        }
        proved
    }
}

pub(crate) fn resolve(view: &View, call: &Call) -> Result<Access, CallError> {
    Ok(view
        .resolve(call.plugin.as_deref(), &call.command, &call.arguments)?
        .access)
}

/// What a query came to.
struct Found {
    outcome: Outcome,
    fuel: u64,
    /// Log index of the last entry that was taken account of.
    revision: u64,
}

fn run_query(
    view: &View,
    principal: &str,
    call: &Call,
    budget: Budget,
) -> Result<Found, CallError> {
    may_call(view, principal, call)?;
    let measured = view.query_measured(
        call.plugin.as_deref(),
        &call.command,
        &call.arguments,
        budget,
    );
    let (outcome, fuel) = measured.map_err(|fault| match fault {
        Fault::Instances(_) => failure(
            FailureCode::Overloaded,
            "too many queries at once; try again in a moment",
        ),
        fault => {
            tracing::error!(%fault, "a query failed");
            failure(
                FailureCode::Fault,
                "this node cannot read its state; ask another",
            )
        }
    })?;
    Ok(Found {
        outcome,
        fuel,
        revision: view.position().map_or(0, |position| position.index),
    })
}

pub(crate) fn may_call(view: &View, principal: &str, call: &Call) -> Result<(), Rejection> {
    let plugin = call.plugin.as_deref();
    view.may_call(principal, plugin, &call.command, &call.arguments)
}

pub(crate) fn still_migrating(rejection: Rejection) -> Failure {
    Failure::new(FailureCode::Timeout, rejection.message)
}

pub(crate) fn failure(code: FailureCode, message: &str) -> CallError {
    Failure::new(code, message).into()
}
