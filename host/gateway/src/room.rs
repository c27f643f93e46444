//! Room for what watchers were found to be told and have not taken yet, shared by all of a node. One
//! change may concern thousands of them, and each is told it in an encoding of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hostd_protocol::WatchItem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All of it.
const ROOM_KIB: u32 = 64 << 10;

/// So much every watcher may be told without room.
const FREE_BYTES: usize = 4 << 10;

#[derive(Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A part of the room, for as long as it lives. `None` where none is needed.
pub(crate) type Part = Option<OwnedSemaphorePermit>;

impl Default for Room {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(ROOM_KIB as usize)),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Room {
    /// Waits for its turn. One item always fits, however large.
    pub(crate) async fn take(&self, bytes: usize) -> Part {
        if bytes <= FREE_BYTES {
            return None;
        }
        let _waiting = Waiting::new(&self.waiting);
        let part = Arc::clone(&self.free).acquire_many_owned(kib(bytes)).await;
        // Nobody closes it.
        part.ok()
    }

    /// Takes what is there at once, or nothing.
    pub(crate) fn try_take(&self, bytes: usize) -> Part {
        let free = Arc::clone(&self.free);
        free.try_acquire_many_owned(kib(bytes)).ok()
    }

    /// Whether somebody waits, so that who takes nothing had better make room.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).map_or(ROOM_KIB, |kib| kib.min(ROOM_KIB))
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What an item takes when it is encoded, about.
pub(crate) fn size_bytes(item: &WatchItem) -> usize {
    match item {
        WatchItem::Changed(changed) => changed.size_bytes(),
        WatchItem::Present(keys) => keys
            .iter()
            .map(|present| present.key.len() + present.value.len() + 64)
            .sum(),
        WatchItem::Begin(_) | WatchItem::Progress(_) | WatchItem::Synced(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_large_waits_for_its_turn_and_what_is_small_does_not() {
        let room = Room::default();
        let all = room.take(usize::MAX).await;
        assert!(all.is_some() && !room.is_wanted());
        assert!(room.take(FREE_BYTES).await.is_none());
        assert!(room.try_take(1).is_none());
        let mut next = Box::pin(room.take(1 << 20));
        assert!(futures_util::poll!(&mut next).is_pending());
        assert!(room.is_wanted());
        drop(all);
        assert!(next.await.is_some());
        assert!(!room.is_wanted());
    }
}
