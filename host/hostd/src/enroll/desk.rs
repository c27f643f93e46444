//! Gives new nodes their certificates. Whoever asks shows what proves a token; the token is used up by an
//! entry of the log before anything is issued. Where the authority's key is not, a node that has it is
//! asked: it looks at everything again, so that no node can have certificates made without a token.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostd_machine::RULES_TOKENS;
use hostd_pki::{Authority, CA_KEY_FILE, PkiError, proof_digest};
use hostd_protocol::{
    Command, EnrollRequest, Enrolled, Failure, FailureCode, Rejection, TokenChange,
};
use hostd_replica::Replica;
use tokio::time::{Instant, timeout};

use crate::config::{Config, Pki};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tokens that do not count, within [`WINDOW`], after which nobody is listened to for that long.
const FAILURES_MAX: usize = 20;
const WINDOW: Duration = Duration::from_mins(1);

/// Where new nodes ask. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Desk {
    replica: Replica,
    pki: Option<PathBuf>,
    /// When somebody came with a token that does not count, oldest first.
    failures: Arc<Mutex<Vec<Instant>>>,
    /// One at a time: whoever guesses must not do so in parallel.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Desk {
    /// Other nodes can ask it too, from now on.
    pub(crate) fn open(replica: &Replica, config: &Config) -> Self {
        let pki = match &config.pki {
            Pki::Directory(directory) => Some(directory.clone()),
            Pki::Files { .. } => None,
        };
        let desk = |replica: Replica, pki| Self {
            replica,
            pki,
            failures: Arc::default(),
            turn: Arc::default(),
        };
        let there = pki.clone();
        replica.answer_enrollments(Arc::new(move |replica, request| {
            let desk = desk(replica, there.clone());
            Box::pin(async move { desk.issue(request).await })
        }));
        desk(replica.clone(), pki)
    }

    /// Answers a new node.
    pub(crate) async fn answer(&self, request: EnrollRequest) -> Result<Enrolled, Failure> {
        let Ok(_turn) = timeout(PATIENCE, self.turn.lock()).await else {
            return Err(Failure::new(
                FailureCode::Overloaded,
                "other new nodes are being taken in; try again in a moment",
            ));
        };
        if self.is_guessed_at() {
            return Err(Failure::new(
                FailureCode::Overloaded,
                "too many join tokens that do not count; try again in a minute",
            ));
        }
        let deadline = Instant::now() + PATIENCE;
        let answer = if self.has_key() {
            self.issue(request).await
        } else {
            self.replica.enroll_elsewhere(request, deadline).await
        };
        if matches!(&answer, Err(failure) if failure.code == FailureCode::PermissionDenied) {
            self.failures().push(Instant::now());
        }
        answer
    }

    /// Issues a certificate here, for a token.
    pub(crate) async fn issue(&self, request: EnrollRequest) -> Result<Enrolled, Failure> {
        let Some(directory) = self.pki.clone().filter(|_| self.has_key()) else {
            return Err(Failure::new(
                FailureCode::Unsupported,
                "this node does not have the authority's key",
            ));
        };
        let deadline = Instant::now() + PATIENCE;
        self.replica.read_barrier(deadline).await?;
        check_rules(&self.replica)?;
        let (node, digest) = (request.node, proof_digest(&request.proof));
        let known = self
            .replica
            .views()
            .latest()
            .check_token(&request.id, digest, node)
            .map_err(|fault| Failure::new(FailureCode::Fault, fault.to_string()))?;
        known.map_err(denied)?;
        if self
            .replica
            .members()
            .iter()
            .any(|member| member.id == node)
        {
            return Err(Failure::new(
                FailureCode::PermissionDenied,
                format!(
                    "node {node} is a member, and a token takes in new nodes only: choose another --node-id"
                ),
            ));
        }
        // Everything that can fail comes first: what is used up is gone.
        let authority = Authority::open(&directory).map_err(|error| refused(&error))?;
        let enrolled = authority.sign(&request).map_err(|error| refused(&error))?;
        let change = TokenChange::Use {
            id: request.id.clone(),
            digest,
            node,
        };
        let command = Command::Token {
            principal: String::new(),
            change,
        };
        self.replica
            .write(command, deadline)
            .await?
            .map_err(denied)?;
        authority
            .keep_issued(node, &enrolled)
            .map_err(|error| refused(&error))?;
        tracing::info!(
            node,
            "a new node was given its certificate, for a join token"
        );
        Ok(enrolled)
    }

    fn has_key(&self) -> bool {
        let key = self
            .pki
            .as_ref()
            .map(|directory| directory.join(CA_KEY_FILE));
        key.is_some_and(|key| key.exists())
    }

    fn is_guessed_at(&self) -> bool {
        let mut failures = self.failures();
        failures.retain(|at| at.elapsed() < WINDOW);
        failures.len() >= FAILURES_MAX
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens are state that an older hostd cannot read.
pub(crate) fn check_rules(replica: &Replica) -> Result<(), Failure> {
    let rules = replica.views().latest().runs().map_or(0, |runs| runs.rules);
    if rules >= RULES_TOKENS {
        return Ok(());
    }
    Err(Failure::new(
        FailureCode::Unsupported,
        "join tokens are unsupported until every node runs a hostd that knows them; hostctl status shows which does not",
    ))
}

fn denied(rejection: Rejection) -> Failure {
    Failure::new(FailureCode::PermissionDenied, rejection.message)
}

fn refused(error: &PkiError) -> Failure {
    let code = match error {
        PkiError::Exists { .. } => FailureCode::PermissionDenied,
        PkiError::Generate(_) | PkiError::NodeId => FailureCode::InvalidArgument,
        _ => FailureCode::Fault,
    };
    Failure::new(code, error.to_string())
}
