//! Comparing the states of all members at one checkpoint, on demand: from the rows on their disks, not
//! from the digests that they keep. What differs is found by halving the rows until one key is left.

mod judge;
mod search;
mod serve;
#[cfg(test)]
mod tests;

use futures_util::future::join_all;
use hostd_machine::{Names, RowsAnswer, RowsQuestion, Sum};
use hostd_protocol::{Failure, FailureCode, NodeId, Verdict, Verified, VerifiedNode, hex};
use tokio::time::{Duration, Instant};

pub(crate) use self::serve::Audits;
use self::{
    judge::{Judgement, judge},
    search::{Lost, Rows, first_difference},
};
use crate::{
    network::{Ask, Destination, Tell},
    replica::{Replica, remaining},
    types::Node,
};

/// Comparisons that are begun anew, because a checkpoint came in between.
const ATTEMPTS: u32 = 4;

/// How long a node may take to say that it is there.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);

/// A member's rows, as seen from here.
struct Member<'a> {
    replica: &'a Replica,
    id: NodeId,
    node: Node,
    checkpoint: u64,
    deadline: Instant,
}

/// The sums of a member's rows.
struct Tables {
    kept: [u8; 32],
    all: Sum,
    each: Vec<(u8, Sum)>,
}

impl Rows for Member<'_> {
    async fn ask(&self, question: RowsQuestion) -> Result<RowsAnswer, Lost> {
        let told = if self.id == self.replica.id() {
            self.replica
                .rows_here(self.checkpoint, question, self.deadline)
                .await
        } else {
            let within = remaining(self.deadline);
            let ask = Ask::Rows {
                checkpoint: self.checkpoint,
                question,
                within,
            };
            let whom = Destination::Member(self.id, self.node.clone());
            self.replica.ask(whom, ask, within).await
        };
        match told {
            Ok(Tell::Rows(answer)) => Ok(*answer),
            Ok(Tell::Passed) => Err(Lost::Passed),
            Ok(Tell::Damaged(reason)) => Err(Lost::Damaged(reason)),
            Ok(_) => Err(Lost::Silent("it answers another question".into())),
            Err(refusal) => Err(Lost::Silent(refusal.failure.message)),
        }
    }
}

impl Member<'_> {
    async fn tables(&self) -> Result<Tables, Lost> {
        if self.id != self.replica.id() {
            // Whoever is down must not be waited for as long as reading everything may take.
            let whom = Destination::Member(self.id, self.node.clone());
            let met = self.replica.ask(whom, Ask::Status, REACH_TIMEOUT).await;
            if let Err(refusal) = met {
                return Err(Lost::Unreachable(refusal.failure.message));
            }
        }
        match self.ask(RowsQuestion::Tables).await? {
            RowsAnswer::Tables { kept, all, tables } => Ok(Tables {
                kept,
                all,
                each: tables,
            }),
            _ => Err(search::astray()),
        }
    }
}

impl Replica {
    /// Makes a checkpoint and compares the states of all members at it.
    ///
    /// # Errors
    /// When no checkpoint could be made, or this node compares for somebody else already. What single
    /// members do not say is no error.
    pub async fn verify(&self, deadline: Instant) -> Result<Verified, Failure> {
        let Ok(_turn) = self.inner().audits.comparing.try_lock() else {
            return Err(Failure::new(
                FailureCode::Overloaded,
                "this node compares the nodes for somebody else; try again in a moment",
            ));
        };
        let mut attempt = 1;
        loop {
            let checkpoint = self.checkpoint(deadline).await?;
            let members: Vec<Member<'_>> = self
                .nodes()
                .into_iter()
                .map(|(id, node)| Member {
                    replica: self,
                    id,
                    node,
                    checkpoint,
                    deadline,
                })
                .collect();
            let told = join_all(members.iter().map(Member::tables)).await;
            let passed = told.iter().any(|told| matches!(told, Err(Lost::Passed)));
            if !passed || attempt == ATTEMPTS {
                return Ok(self.compare(checkpoint, &members, told).await);
            }
            attempt += 1;
        }
    }

    async fn compare(
        &self,
        checkpoint: u64,
        members: &[Member<'_>],
        told: Vec<Result<Tables, Lost>>,
    ) -> Verified {
        let digests = members.iter().zip(&told).filter_map(|(member, told)| {
            let tables = told.as_ref().ok()?;
            Some((member.id, tables.all))
        });
        let judgement = judge(digests.collect(), members.len());
        let names = self.names().await;
        let mut nodes = Vec::new();
        for (member, tables) in members.iter().zip(&told) {
            let mut row = row(member, tables, &judgement);
            let found = members.iter().zip(&told).find_map(|(other, told)| {
                (Some(other.id) == judgement.reference).then_some((other, told.as_ref().ok()?))
            });
            if let (Ok(tables), Some((other, others))) = (tables, found)
                && tables.all != others.all
            {
                row.against = Some(other.id);
                let named = differences(&mut row, (member, tables), (other, others), &names).await;
                if let Err(lost) = named {
                    row.reason = format!("the first key could not be found: {}", lost.reason());
                }
            }
            nodes.push(row);
        }
        Verified {
            checkpoint,
            majority: judgement.majority,
            nodes,
        }
    }

    /// What this node calls the plugins. Without a name there is still the number.
    async fn names(&self) -> Names {
        let audit = self.inner().audits.audit.clone();
        let names = move || audit.latest()?.names();
        let names = self.inner().config.mode.beside(names).await;
        names.and_then(Result::ok).unwrap_or_default()
    }
}

/// A member's row, without the keys that differ.
fn row(member: &Member<'_>, told: &Result<Tables, Lost>, judgement: &Judgement) -> VerifiedNode {
    let mut row = VerifiedNode {
        id: member.id,
        address: member.node.address.clone(),
        verdict: Verdict::Agrees,
        reason: String::new(),
        rows: 0,
        digest: String::new(),
        kept: String::new(),
        against: None,
        differences: Vec::new(),
    };
    match told {
        Ok(tables) => {
            row.rows = tables.all.rows;
            row.digest = hex(&tables.all.digest);
            row.kept = hex(&tables.kept);
            if tables.kept != tables.all.digest {
                row.verdict = Verdict::Differs;
                row.reason = "its rows do not add up to the digest that it keeps".into();
            } else if !judgement.right.contains(&member.id) {
                row.verdict = Verdict::Differs;
            }
        }
        Err(lost) => {
            row.verdict = match lost {
                Lost::Damaged(_) => Verdict::Damaged,
                Lost::Unreachable(_) => Verdict::Unreachable,
                Lost::Passed | Lost::Silent(_) => Verdict::Silent,
            };
            lost.reason().clone_into(&mut row.reason);
        }
    }
    row
}

/// Names the first differing key of each table.
async fn differences(
    row: &mut VerifiedNode,
    (member, tables): (&Member<'_>, &Tables),
    (other, others): (&Member<'_>, &Tables),
    names: &Names,
) -> Result<(), Lost> {
    let sum = |tables: &Tables, table: u8| {
        let found = tables.each.iter().find(|(number, _)| *number == table);
        found.map_or_else(Sum::default, |(_, sum)| *sum)
    };
    let all = tables.each.iter().chain(&others.each);
    let all = RowsQuestion::tables_in_order(all.map(|(table, _)| *table).collect());
    for table in all {
        let right = sum(others, table);
        if sum(tables, table) == right {
            continue;
        }
        let Some((start, end)) = RowsQuestion::table(table) else {
            continue;
        };
        let found = first_difference(other, member, start, end, right.rows).await?;
        row.differences.extend(found.map(|found| found.told(names)));
    }
    Ok(())
}
