//! Disks without room, while a load writes enough that nodes need some.
//!
//! A node that meets a full disk may end with a fault, as it does today, and must start again
//! once there is room; see [`Excuse::NoSpace`].

use std::process::Child;

use anyhow::{Result, ensure};

use super::{Fault, list};
use crate::field::{Excuse, Field};
use crate::random::Random;

/// What is written until the disks are emptied: enough that a full disk is noticed, and not so
/// much that it fills others.
const LOAD: [&str; 7] = [
    "bench",
    "set",
    "disk-full/{rand:64}",
    "{data:16384}",
    "--duration",
    "120s",
    "--in-flight=2",
];

#[derive(Default)]
pub(crate) struct DiskFull {
    full: Vec<u64>,
    load: Option<Child>,
}

impl Fault for DiskFull {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let mut small = field.disks.small();
        ensure!(!small.is_empty(), "there is no small disk");
        random.shuffle(&mut small);
        small.truncate(*random.pick(&[1, 1, field.majority()]));
        self.full = small;
        for id in field.disks.small() {
            // The load may fill those that were left alone, too.
            field.excuse(id, Excuse::NoSpace);
        }
        for id in &self.full {
            field.disks.fill(*id)?;
        }
        let hostctl = field.cluster.hostctl().timeout("2s");
        self.load = Some(hostctl.command(LOAD).spawn()?);
        Ok(format!("filled the disk of {}", list(&self.full)))
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        self.stop_load();
        for id in &self.full {
            field.disks.empty(*id)?;
        }
        // One may just be ending.
        field.look()?;
        for id in field.disks.small() {
            field.start_node(id)?;
        }
        Ok(())
    }
}

impl DiskFull {
    fn stop_load(&mut self) {
        if let Some(mut load) = self.load.take() {
            // It may have ended by itself.
            let _ = load.kill();
            let _ = load.wait();
        }
    }
}

impl Drop for DiskFull {
    fn drop(&mut self) {
        self.stop_load();
    }
}
