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

/// Where the first timer is, as far as that is known without looking. Removed rows stay in the
/// layers until the next checkpoint, so that looking from the table's start would step over every
/// timer that fired since the last one.
#[derive(Clone, Debug)]
pub(crate) enum Front {
    /// No timer lies before this key.
    From(Key),
    /// This is the first timer; `None` when no timer is set.
    At(Option<Key>),
}

impl Default for Front {
    fn default() -> Self {
        Self::From(Table::TimerByTime.bounds().0)
    }
}

impl Front {
    /// Takes in what a command wrote.
    pub(crate) fn note(&mut self, writes: &Writes) {
        let (start, end) = Table::TimerByTime.bounds();
        for (key, write) in writes.range(start..end) {
            let earlier = match self {
                Self::From(first) | Self::At(Some(first)) => key < first,
                Self::At(None) => true,
            };
            match write {
                Some(_) if earlier => *self = Self::At(Some(Key::clone(key))),
                None if matches!(self, Self::At(Some(first)) if first == key) => {
                    *self = Self::From(Key::clone(key));
                }
                _ => {}
            }
        }
    }

    /// The timer that is due first.
    pub(crate) fn first(&mut self, layers: &Layers) -> Result<Option<Timer>, Fault> {
        if let Self::From(start) = self {
            let (_, end) = Table::TimerByTime.bounds();
            let span = Span {
                keys_only: true,
                ..Span::new(start, &end)
            };
            let none = Writes::new();
            let item = layers.scan(&none, span)?.next().transpose()?;
            *self = Self::At(item.map(|(key, _)| key));
        }
        let Self::At(first) = self else {
            unreachable!("it was looked up above")
        };
        first.as_ref().map(decode).transpose()
    }
}

fn decode(key: &Key) -> Result<Timer, Fault> {
    let damaged = || Fault::Corrupt("timer row".into());
    let (due, rest) = key[1..].split_first_chunk().ok_or_else(damaged)?;
    let (plugin, id) = rest.split_first_chunk().ok_or_else(damaged)?;
    Ok(Timer {
        due: TimeNs::from_be_bytes(*due),
        plugin: u32::from_be_bytes(*plugin),
        id: id.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use rand_core::{Rng as _, SeedableRng as _};
    use rand_pcg::Pcg64;

    use super::*;
    use crate::store::{Revision, Store};

    #[test]
    fn the_front_is_what_a_scan_finds_first_whatever_is_set_and_cancelled() {
        let (store, _) = Store::open(redb::backends::InMemoryBackend::new()).unwrap();
        let mut layers = Layers::new(store.base().unwrap().into());
        let mut random = Pcg64::seed_from_u64(7);
        let mut front = Front::default();
        for step in 0..5_000 {
            let mut writes = Writes::new();
            for _ in 0..=random.next_u32() % 3 {
                let id = [random.next_u32() as u8 % 12];
                if random.next_u32() % 2 == 0 {
                    let at = TimeNs::from(random.next_u32() % 30);
                    set(&layers, &mut writes, 1, &id, at).unwrap();
                } else {
                    cancel(&layers, &mut writes, 1, &id).unwrap();
                }
            }
            front.note(&writes);
            layers.merge(writes, Revision::default()).unwrap();
            if step % 97 == 0 {
                // As if a checkpoint had been made: removed rows must now stay removed.
                let mut frozen = layers.frozen.take().unwrap_or_default();
                frozen.extend(layers.freeze());
                layers.frozen = Some(frozen);
            }
            let key = |timer: Option<Timer>| timer.map(|timer| (timer.due, timer.id));
            let scanned = key(Front::default().first(&layers).unwrap());
            if random.next_u32() % 3 == 0 {
                assert_eq!(key(front.first(&layers).unwrap()), scanned, "step {step}");
            }
        }
        assert!(layers.active.len() <= 48, "removed rows pile up");
    }
}
