//! What a plugin takes: counted with every write, so that a quota is a comparison.

use std::collections::BTreeMap;

use hostd_protocol::Limits;
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::store::{Layers, Table, Writes};

/// What the rows of one number are: those of a key space, and the timers of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Rows in the key space.
    pub(crate) keys: u64,
    /// Their keys and values.
    pub(crate) bytes: u64,
    /// Timers of the plugin.
    pub(crate) timers: u64,
}

/// Usage by number.
pub(crate) type Usages = BTreeMap<u32, Usage>;

/// How a command's writes change the usage of what it wrote to.
pub(crate) fn after(
    before: &Usages,
    layers: &Layers,
    writes: &Writes,
) -> Result<Vec<(u32, Usage)>, Fault> {
    let mut changed: Vec<(u32, Usage)> = Vec::new();
    for (key, write) in writes {
        let table = key[0];
        if table != Table::Data as u8 && table != Table::TimerById as u8 {
            continue;
        }
        let Some((number, own_key)) = key[1..].split_first_chunk() else {
            return Err(Fault::Corrupt("a row without a number".into()));
        };
        let number = u32::from_be_bytes(*number);
        let position = changed.iter().position(|(known, _)| *known == number);
        let position = position.unwrap_or_else(|| {
            let usage = before.get(&number).copied().unwrap_or_default();
            changed.push((number, usage));
            changed.len() - 1
        });
        let usage = &mut changed[position].1;
        let size = |value_bytes: usize| (own_key.len() + value_bytes) as u64;
        let old = layers.value_bytes(key)?;
        if table == Table::TimerById as u8 {
            usage.timers = (usage.timers + u64::from(write.is_some()))
                .saturating_sub(u64::from(old.is_some()));
            continue;
        }
        usage.keys =
            (usage.keys + u64::from(write.is_some())).saturating_sub(u64::from(old.is_some()));
        usage.bytes = (usage.bytes + write.as_ref().map_or(0, |value| size(value.len())))
            .saturating_sub(old.map_or(0, size));
    }
    Ok(changed)
}

/// Why a command's writes do not fit, if they do not: it takes more than before, and more than it
/// may. What takes no more than before always fits.
pub(crate) fn over_quota(
    before: &Usages,
    after: &[(u32, Usage)],
    limits: &Limits,
) -> Option<String> {
    after.iter().find_map(|(number, usage)| {
        let old = before.get(number).copied().unwrap_or_default();
        let bounds = [
            ("keys", old.keys, usage.keys, limits.keys_max),
            ("bytes", old.bytes, usage.bytes, limits.data_bytes_max),
            ("timers", old.timers, usage.timers, limits.timers_max),
        ];
        bounds
            .into_iter()
            .find(|(_, old, new, max)| new > old && new > max)
            .map(|(what, _, _, max)| format!("the plugin may have {max} {what}; remove some"))
    })
}
