//! MONITOR: every command of every RESP connection of this node, as it begins, to whoever asked.
//!
//! Neither passwords nor what a plugin calls secret is shown. A monitor that does not read is cut.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::mailbox::Sender;

/// Bytes of one argument that are shown.
const SHOWN_BYTES_MAX: usize = 1 << 10;

/// What stands for an argument that is not shown.
const HIDDEN: &str = "\"(redacted)\"";

/// Those who watch.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    /// How many there are, to be asked with every command.
    count: AtomicUsize,
    senders: Mutex<Vec<Sender>>,
}

impl Monitors {
    /// Whether anybody watches.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn add(&self, sender: Sender) {
        let mut senders = self.lock();
        senders.push(sender);
        self.count.store(senders.len(), Ordering::Relaxed);
    }

    /// Shows a command. `hidden` says which of its words are not to be seen.
    pub(crate) fn show(&self, from: &str, words: &[Vec<u8>], hidden: impl Fn(usize) -> bool) {
        let line = Bytes::from(line(SystemTime::now(), from, words, hidden));
        let mut senders = self.lock();
        senders.retain(|sender| sender.send(line.clone()));
        self.count.store(senders.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sender>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`
fn line(now: SystemTime, from: &str, words: &[Vec<u8>], hidden: impl Fn(usize) -> bool) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = format!("+{}.{:06} [0 {from}]", now.as_secs(), now.subsec_micros());
    for (position, word) in words.iter().enumerate() {
        line.push(' ');
        if hidden(position) {
            line.push_str(HIDDEN);
            continue;
        }
        let shown = &word[..word.len().min(SHOWN_BYTES_MAX)];
        // Writing to memory does not fail.
        let _ = write!(line, "\"{}\"", Escaped(shown));
        if shown.len() < word.len() {
            let _ = write!(line, "... ({} more bytes)", word.len() - shown.len());
        }
    }
    line.push_str("\r\n");
    line
}

/// Bytes as Redis shows them.
struct Escaped<'a>(&'a [u8]);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(formatter, "\\{}", char::from(*byte))?,
                b'\n' => formatter.write_str("\\n")?,
                b'\r' => formatter.write_str("\\r")?,
                b'\t' => formatter.write_str("\\t")?,
                b' '..=b'~' => formatter.write_char(char::from(*byte))?,
                byte => write!(formatter, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_shows_what_may_be_seen() {
        let words = [b"store".to_vec(), b"a\n\"\x00".to_vec(), b"secret".to_vec()];
        let then = UNIX_EPOCH + Duration::from_micros(1_339_518_083_107_412);
        let shown = line(then, "1.2.3.4:5", &words, |position| position == 2);
        assert_eq!(
            shown,
            "+1339518083.107412 [0 1.2.3.4:5] \"store\" \"a\\n\\\"\\x00\" \"(redacted)\"\r\n"
        );
        let long = [vec![b'x'; SHOWN_BYTES_MAX + 5]];
        assert!(line(then, "", &long, |_| false).ends_with("x\"... (5 more bytes)\r\n"));
    }
}
