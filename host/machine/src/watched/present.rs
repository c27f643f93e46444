//! The state as it is, key by key, for watchers that begin with it.

use std::sync::Arc;

use hostd_protocol::PresentKey;

use crate::Fault;
use crate::catalogue::Installed;
use crate::query::View;
use crate::store::{Span, Writes, prefix_end, space_prefix};

/// Where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresentCursor {
    /// Parts that are done.
    done: usize,
    /// The last row of the next one that was read.
    after: Option<Vec<u8>>,
}

impl PresentCursor {
    /// Behind all keys.
    pub const END: Self = Self {
        done: usize::MAX,
        after: None,
    };
}

/// Some keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresentPage {
    /// The keys.
    pub keys: Vec<PresentKey>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<PresentCursor>,
}

impl View {
    /// The plugin's name as it is known here, if it is part of the cluster.
    pub fn watched_plugin(&self, name: &str) -> Option<Arc<str>> {
        self.catalogue()
            .get(&name.to_ascii_lowercase())
            .map(|installed| Arc::clone(&installed.name))
    }

    /// The next keys that begin with `prefix`, of one plugin or of all, until there are so many bytes.
    pub fn present(
        &self,
        plugin: Option<&str>,
        prefix: &[u8],
        cursor: &PresentCursor,
        bytes_max: usize,
    ) -> Result<PresentPage, Fault> {
        let parts = self
            .catalogue()
            .installed()
            .filter(|installed| plugin.is_none_or(|plugin| *installed.name == *plugin))
            .flat_map(|installed| {
                let parts = installed.plugin.watched().iter();
                parts.filter_map(move |part| Some((installed, part, part.state_prefix(prefix)?)))
            });
        let none = Writes::new();
        let mut keys = Vec::new();
        let mut bytes = 0;
        for (number, (installed, part, state_prefix)) in parts.enumerate().skip(cursor.done) {
            let space = space_prefix(installed.record.space);
            let whole = [&space[..], &state_prefix].concat();
            let start = match &cursor.after {
                Some(after) if number == cursor.done => [&space[..], after, &[0]].concat(),
                _ => whole.clone(),
            };
            for item in self
                .layers
                .scan(&none, Span::new(&start, &prefix_end(&whole)))?
            {
                let (row_key, row) = item?;
                let state_key = &row_key[space.len()..];
                if let Some(key) = part.show_key(state_key) {
                    let value = part.show_value(&row.value);
                    bytes += key.len() + value.len();
                    keys.push(PresentKey {
                        plugin: Arc::clone(&installed.name),
                        key,
                        value,
                        revision: row.revision,
                    });
                }
                if bytes >= bytes_max {
                    let next = PresentCursor {
                        done: number,
                        after: Some(state_key.to_vec()),
                    };
                    let next = Some(next);
                    return Ok(PresentPage { keys, next });
                }
            }
        }
        Ok(PresentPage { keys, next: None })
    }
}

impl Installed {
    /// Whether it shows any of its state.
    pub(crate) fn shows(&self) -> bool {
        !self.plugin.watched().is_empty()
    }
}
