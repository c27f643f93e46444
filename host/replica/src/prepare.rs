//! A version is made ready before it is activated: each node validates and compiles it beside its
//! other work, so that the entry that activates it finds it compiled. Nothing of this is state; a node
//! that was not asked compiles when it applies that entry.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hostd_machine::{CompileError, Plugin};
use hostd_protocol::{Failure, FailureCode, NodeId};
use tokio::time::{Instant, timeout_at};

use crate::network::{Ask, Destination, Refusal};
use crate::replica::Replica;

/// How long those who are not needed for a quorum are waited for.
const GRACE: Duration = Duration::from_secs(1);

/// Between two looks whether the component has arrived here.
const LOOK: Duration = Duration::from_millis(10);

/// Compiled versions that wait for their activation.
const KEPT_MAX: usize = 4;

/// What this node has compiled and nobody has activated yet: compiled code lasts as long as somebody
/// holds it.
#[derive(Default)]
pub(crate) struct Prepared {
    kept: Mutex<Vec<Arc<Plugin>>>,
    /// One version at a time: the engine has a place for one.
    turn: tokio::sync::Mutex<()>,
}

impl Prepared {
    fn keep(&self, plugin: Arc<Plugin>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|known| known.digest() != plugin.digest());
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push(plugin);
    }
}

impl Replica {
    /// Has every node validate and compile a component that was uploaded or is kept, and waits until
    /// a quorum has.
    ///
    /// # Errors
    /// `invalid_argument` with what is wrong with the component.
    pub async fn prepare(&self, digest: [u8; 32], deadline: Instant) -> Result<(), Failure> {
        let voters: Vec<NodeId> = self
            .members()
            .into_iter()
            .filter(|member| member.voter)
            .map(|member| member.id)
            .collect();
        let mut asked: FuturesUnordered<_> = self
            .nodes()
            .into_iter()
            .map(|(id, node)| async move {
                let within = deadline.saturating_duration_since(Instant::now());
                let told = if id == self.id() {
                    self.prepare_here(digest, deadline).await
                } else {
                    let ask = Ask::Prepare { digest, within };
                    self.ask(Destination::Member(id, node), ask, within)
                        .await
                        .map(drop)
                };
                (id, told)
            })
            .collect();
        let mut ready = 0;
        let mut patience = deadline;
        let mut last = None;
        loop {
            let Ok(next) = timeout_at(patience, asked.next()).await else {
                break;
            };
            let Some((id, told)) = next else { break };
            match told {
                Ok(()) if voters.contains(&id) => {
                    ready += 1;
                    if ready == voters.len() / 2 + 1 {
                        patience = deadline.min(Instant::now() + GRACE);
                    }
                }
                Ok(()) => {}
                // What is wrong with it is wrong with it everywhere.
                Err(refusal) if refusal.failure.code == FailureCode::InvalidArgument => {
                    return Err(refusal.failure);
                }
                Err(refusal) => last = Some((id, refusal.failure)),
            }
        }
        if ready > voters.len() / 2 {
            return Ok(());
        }
        let why = last.map_or_else(String::new, |(id, failure)| {
            format!("; node {id}: {failure}")
        });
        Err(Failure::new(
            FailureCode::NoQuorum,
            format!(
                "{ready} of {} voters have the new version ready{why}",
                voters.len()
            ),
        ))
    }

    /// Validates and compiles a component here, once it has arrived.
    pub(crate) async fn prepare_here(
        &self,
        digest: [u8; 32],
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let view = loop {
            let view = self.views().latest();
            match view.component(&digest) {
                Ok(Some(_)) => break view,
                Ok(None) if Instant::now() + LOOK < deadline => tokio::time::sleep(LOOK).await,
                Ok(None) => {
                    return Err(Refusal::untouched(Failure::new(
                        FailureCode::Timeout,
                        "the component has not arrived here; was it uploaded?",
                    )));
                }
                Err(fault) => return Err(own(&fault.to_string())),
            }
        };
        let Ok(_turn) = timeout_at(deadline, self.inner().prepared.turn.lock()).await else {
            return Err(own("other versions are being made ready"));
        };
        let compile = move || view.compile(&digest);
        let compiled = self.inner().config.mode.beside(compile).await;
        match compiled.ok_or_else(|| own("the thread that compiled died"))? {
            Ok(Some(plugin)) => {
                self.inner().prepared.keep(plugin);
                Ok(())
            }
            Ok(None) => Err(own("the component has gone")),
            Err(CompileError::Plugin(error)) => Err(Refusal::untouched(Failure::new(
                FailureCode::InvalidArgument,
                error.to_string(),
            ))),
            Err(CompileError::Fault(fault)) => Err(own(&fault.to_string())),
        }
    }
}

/// This node cannot do it just now; another may.
fn own(why: &str) -> Refusal {
    Refusal::untouched(Failure::new(FailureCode::Overloaded, why))
}
