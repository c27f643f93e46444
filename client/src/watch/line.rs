//! Connections that carry watches. Calls have others, so that a watcher that is not looked after holds
//! up no call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hostd_quic::{Close, Ended};
use quinn::Connection;

use crate::node::Dialer;

/// Watches on one connection; a node takes some more.
const WATCHES_MAX: usize = 2_000;

/// A connection, closed with its last watch.
#[derive(Debug)]
pub(crate) struct Line(pub(crate) Connection);

impl Drop for Line {
    fn drop(&mut self) {
        Close::Done.close(&self.0, "");
    }
}

type OfAddress = Arc<tokio::sync::Mutex<Vec<Weak<Line>>>>;

/// The connections of a client, by address.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<HashMap<String, OfAddress>>);

impl Lines {
    /// A connection with room for one more watch.
    pub(crate) async fn take(&self, dialer: &Dialer, address: &str) -> Result<Arc<Line>, Ended> {
        let lines = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(address.to_owned()).or_default())
        };
        // Held while dialling, so that many watches dial once.
        let mut lines = lines.lock().await;
        lines.retain(|line| line.strong_count() > 0);
        let with_room = lines
            .iter()
            .filter(|line| line.strong_count() < WATCHES_MAX)
            .filter_map(Weak::upgrade)
            .find(|line| line.0.close_reason().is_none());
        if let Some(line) = with_room {
            return Ok(line);
        }
        let line = Arc::new(Line(dialer.connect(address).await?));
        lines.push(Arc::downgrade(&line));
        Ok(line)
    }
}
