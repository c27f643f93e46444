//! What happened when, shown while it happens and kept for the report.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The run's clock and its log. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    start: Instant,
    bar: ProgressBar,
    events: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Timeline {
    /// Begins now. `length` is what the status line counts to.
    pub(crate) fn start(length: Duration) -> Self {
        let bar = ProgressBar::new(length.as_secs().max(1));
        let style = ProgressStyle::with_template("{bar:24} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        Self {
            start: Instant::now(),
            bar,
            events: Arc::default(),
        }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Adds a line.
    pub(crate) fn note(&self, what: impl Into<String>) {
        let (at, what) = (self.elapsed(), what.into());
        self.bar.suspend(|| println!("{}  {what}", stamp(at)));
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push((at, what));
    }

    /// Replaces the status line.
    pub(crate) fn status(&self, text: String) {
        let at = self.elapsed();
        self.bar.set_position(at.as_secs());
        self.bar.set_message(format!("{} {text}", stamp(at)));
    }

    /// Takes the status line away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Everything that happened, a line each.
    pub(crate) fn text(&self) -> String {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (at, what) in events.iter() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}  {what}", stamp(*at));
        }
        text
    }
}

/// Minutes and seconds.
fn stamp(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{:3}:{:02}.{:03}",
        seconds / 60,
        seconds % 60,
        time.subsec_millis()
    )
}
