//! Looking after the nodes: which may end by themselves, and how the cluster becomes whole again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cluster_tests::{Row, wait_for};

use super::Field;

/// How long a healed cluster has to become healthy, and anything else to happen that a healthy
/// one does within seconds. Far longer than needed: the machine may be busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at the cluster's status.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Why a node may end by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// Its disk is full. Once nodes survive that, this goes, and a full disk is no excuse.
    NoSpace,
    /// This file of it is damaged.
    Damage(PathBuf),
}

impl Field {
    /// Lets a node end by itself for this reason, once.
    pub(crate) fn excuse(&mut self, id: u64, excuse: Excuse) {
        self.excuses.insert(id, excuse);
    }

    /// From now on disks have room, and no node may end for lack of it.
    pub(crate) fn forgive_full_disks(&mut self) {
        self.excuses.retain(|_, excuse| *excuse != Excuse::NoSpace);
    }

    /// Has a node replaced as soon as the cluster can do without it.
    pub(crate) fn condemn(&mut self, id: u64) {
        self.damaged.insert(id);
    }

    /// Looks whether a node has ended by itself. Fails when one has that had no reason to.
    pub(crate) fn look(&mut self) -> Result<()> {
        for id in self.running() {
            let node = self.cluster.node(id)?;
            let Some(code) = node.exit_code() else {
                continue;
            };
            let log = node.log_since_start();
            let why = reason(&log).to_owned();
            match self.excuses.get(&id) {
                Some(Excuse::NoSpace) if code == Some(1) && says_no_space(&why) => {}
                Some(Excuse::Damage(file)) if code == Some(1) && names(&why, file) => {
                    self.condemn(id);
                }
                _ => bail!("node {id} ended by itself with {code:?}: {why}\n{log}"),
            }
            self.timeline.note(format!("node {id} ended: {why}"));
        }
        Ok(())
    }

    /// Starts a node if it does not run, and does not wait for it.
    pub(crate) fn start_node(&mut self, id: u64) -> Result<()> {
        let condemned = self.damaged.contains(&id);
        let node = self.cluster.node(id)?;
        if !node.is_running() && !condemned {
            node.spawn()?;
        }
        Ok(())
    }

    /// Waits until all voters are healthy, and replaces those that cannot be. Returns how long it
    /// took.
    pub(crate) fn wait_healthy(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        let mut last = None;
        loop {
            self.look()?;
            if let Some(id) = self.damaged.first().copied() {
                self.replace(id)?;
            }
            let status = self.cluster.status();
            if status.as_ref().is_ok_and(|rows| self.is_whole(rows)) {
                return Ok(begin.elapsed());
            }
            last = Some(status).or(last);
            ensure!(
                begin.elapsed() < PATIENCE,
                "the cluster is not healthy {} s after everything was healed; its status: {last:#?}",
                PATIENCE.as_secs()
            );
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn is_whole(&self, rows: &[Row]) -> bool {
        rows.len() == self.voters
            && rows
                .iter()
                .all(|row| row.is_voter() && row.reachable && row.health == "ok")
            && rows.iter().filter(|row| row.leader).count() == 1
    }

    /// Takes a node out of the cluster for good, as its users are told to, and starts a new one
    /// in its place.
    pub(crate) fn replace(&mut self, id: u64) -> Result<u64> {
        self.remove_member(id)?;
        self.take_away(id)?;
        let new = self.add_node()?;
        self.timeline
            .note(format!("node {new} takes the place of node {id}"));
        Ok(new)
    }

    /// Takes a node out of the membership; its process goes on.
    pub(crate) fn remove_member(&self, id: u64) -> Result<()> {
        let mut last = None;
        let removed = wait_for(&format!("node {id} is no member"), PATIENCE, || {
            // Of a removal whose outcome is unknown, the list of members tells it: another node's,
            // as the one that is gone may not have heard.
            let others = self.cluster.ids().into_iter().filter(|other| *other != id);
            let gone = |other| -> Option<bool> {
                let hostctl = self.cluster.hostctl_directly_at(other).ok()?.timeout("2s");
                let members = hostctl.json(&["member", "list"]).ok()?;
                let members = members.as_array()?;
                let named = members.iter().any(|member| member["id"] == id);
                Some(!members.is_empty() && !named)
            };
            if others.map(gone).any(|gone| gone == Some(true)) {
                return true;
            }
            let hostctl = self.cluster.hostctl().timeout("10s");
            last = Some(hostctl.run(["member", "remove", &id.to_string()]));
            false
        });
        removed.with_context(|| format!("the last attempt: {last:?}"))?;
        Ok(())
    }
}

/// The line with which hostd says why it ended; empty when it does not.
pub(crate) fn reason(log: &str) -> &str {
    log.lines()
        .rfind(|line| line.starts_with("hostd: "))
        .unwrap_or_default()
}

fn says_no_space(why: &str) -> bool {
    why.contains("No space left on device") || why.contains("no_space")
}

/// Whether a reason names a file and the way out.
pub(crate) fn names(why: &str, file: &Path) -> bool {
    why.contains(&file.display().to_string()) && why.contains("--recover")
}
