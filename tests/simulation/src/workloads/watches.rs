//! Watches: each change once, in order, none left out.
//!
//! Clients write values that nobody writes twice, and watch. A watcher is read now and then, so that it
//! falls behind; it is dropped and begun again from where it was, through whichever node; and where the
//! past is gone it begins with the present state. What was written while it watched must have been told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostd_client::{Change, ChangeEvent, Client, Revision, Start, Watch, WatchItem, Watcher};
use tokio::time::timeout;

use super::{Answer, Boxed, User, Workload, lock};
use crate::world::World;

/// What the keys of this use begin with, and how many there are.
const PREFIX: &str = "watched/";
const KEYS: u64 = 4;

/// The value that ends a run. It is written when all others are.
const LAST: &str = "last";

/// In which a watcher must be told of the last write, once nothing goes wrong any more.
const TOLD_WITHIN: Duration = Duration::from_secs(40);

#[derive(Default)]
pub(super) struct Watches {
    writes: Mutex<Vec<Write>>,
    /// By client.
    watching: Mutex<BTreeMap<u64, Watching>>,
    broken: Mutex<Option<String>>,
}

/// A value that somebody wrote, or tried to.
struct Write {
    value: String,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody knows.
    Open,
    Done,
    /// It did not happen.
    Refused,
}

/// One client's watch, over all that it lives through.
struct Watching {
    watcher: Watcher,
    began: bool,
    /// Writes that were begun before the watch, or the present state that it began anew with.
    writes_before: usize,
    /// How often each value was told since.
    told: BTreeMap<String, u32>,
    /// The revision that was told last.
    last: Revision,
    present: BTreeSet<String>,
}

impl Watching {
    fn new(client: &Client, start: Start, writes: usize) -> Self {
        let watch = Watch::keys(PREFIX).of("kv").starting(start);
        Self {
            watcher: client.watch(watch),
            began: false,
            writes_before: writes,
            told: BTreeMap::new(),
            last: Revision::default(),
            present: BTreeSet::new(),
        }
    }

    /// Begins again from where it is, which loses nothing.
    fn again(&mut self, client: &Client) {
        if let Some(revision) = self.watcher.resume_from() {
            let watch = Watch::keys(PREFIX).of("kv");
            self.watcher = client.watch(watch.starting(Start::From(revision)));
        }
    }

    fn take(&mut self, item: WatchItem, writes: usize) -> Result<(), String> {
        match item {
            WatchItem::Begin(_) => {
                if !self.began {
                    self.writes_before = writes;
                    self.began = true;
                }
                self.present.clear();
            }
            WatchItem::Present(keys) => {
                let values = keys.iter().map(|key| text(&key.value));
                self.present.extend(values);
            }
            WatchItem::Synced(_) | WatchItem::Progress(_) => {}
            WatchItem::Changed(changed) => {
                if changed.revision <= self.last {
                    return Err(format!(
                        "revision {} was told after {}",
                        changed.revision, self.last
                    ));
                }
                self.last = changed.revision;
                for Change { event, .. } in &changed.changes {
                    if let ChangeEvent::Put { value, .. } = event {
                        *self.told.entry(text(value)).or_default() += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

impl Watches {
    async fn write(&self, user: &User, key: u64, value: String) -> Fate {
        let number = {
            let mut writes = lock(&self.writes);
            writes.push(Write {
                value: value.clone(),
                fate: Fate::Open,
            });
            writes.len() - 1
        };
        let key = format!("{PREFIX}{key}");
        let fate = match user.call("kv.set", &[&key, &value], None).await {
            Answer::Reply(_) => Fate::Done,
            Answer::Rejected(_) | Answer::Refused => Fate::Refused,
            Answer::Unknown => Fate::Open,
        };
        lock(&self.writes)[number].fate = fate;
        fate
    }

    /// Reads what there is until it takes too long, or the last write was told.
    async fn read(&self, watching: &mut Watching, user: &User, within: Duration) {
        let reading = async {
            loop {
                match watching.watcher.next().await {
                    Ok(item) => {
                        user.counters.add("watched items", 1);
                        let writes = lock(&self.writes).len();
                        if let Err(text) = watching.take(item, writes) {
                            lock(&self.broken).get_or_insert(text);
                        }
                        if watching.told.contains_key(LAST) || watching.present.contains(LAST) {
                            return;
                        }
                    }
                    Err(error) if error.code() == "compacted" => {
                        user.counters.add("watches that began anew", 1);
                        let writes = lock(&self.writes).len();
                        *watching = Watching::new(&user.client, Start::Present, writes);
                    }
                    // No node could be reached: it is tried again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        // Being interrupted loses nothing: that is promised.
        drop(timeout(within, reading).await);
    }

    fn missed(&self, watching: &Watching) -> Option<String> {
        let writes = lock(&self.writes);
        for (number, write) in writes.iter().enumerate() {
            let told = watching.told.get(&write.value).copied().unwrap_or(0);
            let wanted = match write.fate {
                _ if number < watching.writes_before => 0..=1,
                // It may have been part of the present state that the watch began with.
                Fate::Done if watching.present.contains(&write.value) => 0..=1,
                Fate::Done => 1..=1,
                Fate::Open => 0..=1,
                Fate::Refused => 0..=0,
            };
            if !wanted.contains(&told) {
                return Some(format!(
                    "the write of {} was told {told} times",
                    write.value
                ));
            }
        }
        None
    }
}

impl Workload for Watches {
    fn name(&self) -> &'static str {
        "watches"
    }

    fn step(self: Arc<Self>, mut user: User) -> Boxed<User> {
        Box::pin(async move {
            let watching = lock(&self.watching).remove(&user.number);
            let mut watching = watching.unwrap_or_else(|| {
                let writes = lock(&self.writes).len();
                Watching::new(&user.client, Start::Now, writes)
            });
            match user.chance.below(10) {
                0..=5 => {
                    let value = format!("{}-{}", user.number, user.done);
                    let key = user.chance.below(KEYS);
                    self.write(&user, key, value).await;
                }
                6 => watching.again(&user.client),
                _ => {
                    let within = Duration::from_millis(user.chance.within(1..=2_000));
                    self.read(&mut watching, &user, within).await;
                }
            }
            lock(&self.watching).insert(user.number, watching);
            user
        })
    }

    fn finish(self: Arc<Self>, user: User) -> Boxed<()> {
        Box::pin(async move {
            while self.write(&user, 0, LAST.to_owned()).await != Fate::Done {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let all = std::mem::take(&mut *lock(&self.watching));
            for (number, mut watching) in all {
                self.read(&mut watching, &user, TOLD_WITHIN).await;
                lock(&self.watching).insert(number, watching);
            }
        })
    }

    fn judge(&self, world: &World) -> Result<(), String> {
        lock(&self.broken).clone().map_or(Ok(()), Err)?;
        for (number, watching) in lock(&self.watching).iter() {
            let ended = watching.told.contains_key(LAST) || watching.present.contains(LAST);
            if !ended {
                return Err(format!("client {number} was never told of the last write"));
            }
            if let Some(missed) = self.missed(watching) {
                return Err(format!("{missed} to client {number}"));
            }
            let count = watching.told.values().map(|times| u64::from(*times)).sum();
            world.counters.add("changes told", count);
        }
        Ok(())
    }
}
