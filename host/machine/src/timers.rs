//! Timers: two rows each, one to find those that are due, one to find a plugin's own by id.

use hostd_protocol::TimeNs;

use crate::Fault;
use crate::store::{Key, Layers, Span, Table, Writes};

/// A timer that is set.
pub(crate) struct Timer {
    pub(crate) due: TimeNs,
    pub(crate) plugin: u32,
    pub(crate) id: Vec<u8>,
}

fn by_time(due: TimeNs, plugin: u32, id: &[u8]) -> Key {
    Table::TimerByTime.key(&[&due.to_be_bytes(), &plugin.to_be_bytes(), id])
}

fn by_id(plugin: u32, id: &[u8]) -> Key {
    Table::TimerById.key(&[&plugin.to_be_bytes(), id])
}

/// When a timer is due, if it is set.
pub(crate) fn due(
    layers: &Layers,
    writes: &Writes,
    plugin: u32,
    id: &[u8],
) -> Result<Option<TimeNs>, Fault> {
    let Some(value) = layers.get_with(writes, &by_id(plugin, id))? else {
        return Ok(None);
    };
    let bytes = value
        .first_chunk()
        .ok_or_else(|| Fault::Corrupt("timer row".into()))?;
    Ok(Some(TimeNs::from_be_bytes(*bytes)))
}

/// Sets or moves a timer.
pub(crate) fn set(
    layers: &Layers,
    writes: &mut Writes,
    plugin: u32,
    id: &[u8],
    at: TimeNs,
) -> Result<(), Fault> {
    cancel(layers, writes, plugin, id)?;
    writes.insert(by_time(at, plugin, id), Some([].into()));
    writes.insert(by_id(plugin, id), Some(at.to_be_bytes().into()));
    Ok(())
}

/// Removes a timer, if it is set.
pub(crate) fn cancel(
    layers: &Layers,
    writes: &mut Writes,
    plugin: u32,
    id: &[u8],
) -> Result<(), Fault> {
    if let Some(at) = due(layers, writes, plugin, id)? {
        writes.insert(by_time(at, plugin, id), None);
        writes.insert(by_id(plugin, id), None);
    }
    Ok(())
}

/// The timer that is due first.
pub(crate) fn first(layers: &Layers) -> Result<Option<Timer>, Fault> {
    let (start, end) = Table::TimerByTime.bounds();
    let none = Writes::new();
    let Some(item) = layers
        .scan(
            &none,
            Span {
                start: &start,
                end: &end,
                reverse: false,
            },
        )?
        .next()
    else {
        return Ok(None);
    };
    let (key, _) = item?;
    let damaged = || Fault::Corrupt("timer row".into());
    let (due, rest) = key[1..].split_first_chunk().ok_or_else(damaged)?;
    let (plugin, id) = rest.split_first_chunk().ok_or_else(damaged)?;
    Ok(Some(Timer {
        due: TimeNs::from_be_bytes(*due),
        plugin: u32::from_be_bytes(*plugin),
        id: id.to_vec(),
    }))
}
