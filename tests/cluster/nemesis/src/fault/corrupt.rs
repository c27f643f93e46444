//! A file of a stopped node is damaged. The node must refuse to start and say what to do; that is
//! then done: it is replaced by a new one.
//!
//! A state that is missing as a whole is made anew where nothing has been purged from the log yet.
//! A few flipped bytes may be in no use. Then the node starts, and must still end as soon as it
//! meets them rather than serve them.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use cluster_tests::wait_for_value;

use super::Fault;
use crate::field::{Excuse, Field, PATIENCE, names, reason};
use crate::random::Random;

#[derive(Default)]
pub(crate) struct Corrupt {
    refused: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// A byte of every sector.
    EverySector,
    Header,
    Half,
    Empty,
    Missing,
    /// A few bytes anywhere.
    FewBytes,
}

impl Fault for Corrupt {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let name = *random.pick(&["log.redb", "state.redb"]);
        let damage = *random.pick(&[
            Damage::EverySector,
            Damage::Header,
            Damage::Half,
            Damage::Empty,
            Damage::Missing,
            Damage::FewBytes,
            Damage::FewBytes,
            Damage::FewBytes,
        ]);
        let id = field.pick(random)?;
        let node = field.cluster.node(id)?;
        node.kill()?;
        let file = node.launch.directory().join(name);
        apply(damage, &file, random)?;
        node.spawn()?;
        let ended = wait_for_value("the damaged node ends or is ready", PATIENCE, || {
            let ready = node.ready_line().map(|_| None);
            ready.or_else(|| node.exit_code().map(Some))
        })?;
        let what = format!("damaged {name} of {id} ({damage:?})");
        let Some(code) = ended else {
            // A state that is gone is made anew from a log that has everything. Whether it is the
            // same again, the digests tell.
            let made_anew =
                name == "state.redb" && matches!(damage, Damage::Empty | Damage::Missing);
            if made_anew {
                return Ok(format!("{what}: it started, its log has everything"));
            }
            ensure!(
                damage == Damage::FewBytes,
                "{what}: the node started all the same"
            );
            field.excuse(id, Excuse::Damage(file));
            return Ok(format!("{what}: it started, nothing that it reads is hit"));
        };
        let log = node.log_since_start();
        let why = reason(&log);
        if code != Some(1) || !names(why, &file) {
            bail!(
                "{what}: it ended with {code:?} and says neither which file is damaged nor what to do:\n{log}"
            );
        }
        self.refused = Some(id);
        Ok(format!("{what}: it refused to start"))
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        if let Some(id) = self.refused.take() {
            field.condemn(id);
        }
        Ok(())
    }
}

fn apply(damage: Damage, file: &Path, random: &mut Random) -> Result<()> {
    if damage == Damage::Missing {
        return Ok(std::fs::remove_file(file)?);
    }
    let mut bytes = std::fs::read(file)?;
    match damage {
        Damage::EverySector => bytes.iter_mut().step_by(512).for_each(|byte| *byte ^= 1),
        Damage::Header => bytes.iter_mut().take(64).for_each(|byte| *byte = 0),
        Damage::Half => bytes.truncate(bytes.len() / 2),
        Damage::Empty | Damage::Missing => bytes.clear(),
        Damage::FewBytes => {
            for _ in 0..=random.below(16) {
                let position = random.below(bytes.len() as u64) as usize;
                bytes[position] ^= 1 << random.below(8);
            }
        }
    }
    Ok(std::fs::write(file, bytes)?)
}
