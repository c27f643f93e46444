//! A wall clock of its own for every node, by libfaketime (Debian's package `libfaketime`). Only
//! the time of day is changed; what measures durations is left alone, as it is when an operator
//! or NTP sets a machine's clock.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// Where distributions put the variant for programs with threads.
const PLACES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

/// The nodes' clocks.
#[derive(Debug)]
pub struct Clocks {
    library: &'static str,
    directory: PathBuf,
}

impl Clocks {
    /// Furthest from the right time that faults set a clock. The cluster's time only rises, so
    /// it never makes a step of more than twice that.
    pub const FAR_MS: u64 = 180_000;

    /// Whether clocks can be changed here.
    pub fn exist() -> bool {
        library().is_some()
    }

    /// `None` where the library is missing.
    pub fn find(directory: &Path) -> Option<Self> {
        Some(Self {
            library: library()?,
            directory: directory.to_owned(),
        })
    }

    /// What to put in front of a node's program so that it has a clock of its own, which is right
    /// at first.
    pub fn through(&self, id: u64) -> Result<Vec<String>> {
        self.set(id, 0)?;
        Ok(vec![
            "env".into(),
            format!("LD_PRELOAD={}", self.library),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file(id).display()),
            // Changes count at once.
            "FAKETIME_NO_CACHE=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
            "NO_FAKE_STAT=1".into(),
        ])
    }

    /// Sets a node's clock so far ahead of the machine's; behind it when negative.
    pub fn set(&self, id: u64, ahead_ms: i64) -> Result<()> {
        let sign = if ahead_ms < 0 { '-' } else { '+' };
        let (seconds, ms) = (
            ahead_ms.unsigned_abs() / 1000,
            ahead_ms.unsigned_abs() % 1000,
        );
        // In one step: the file is read at any time.
        let new = self.directory.join(format!("clock-{id}.new"));
        std::fs::write(&new, format!("{sign}{seconds}.{ms:03}\n"))?;
        std::fs::rename(new, self.file(id))?;
        Ok(())
    }

    fn file(&self, id: u64) -> PathBuf {
        self.directory.join(format!("clock-{id}"))
    }
}

fn library() -> Option<&'static str> {
    PLACES.into_iter().find(|place| Path::new(place).is_file())
}
