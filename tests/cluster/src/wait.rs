//! Waiting for something to become true.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long tests wait for what a healthy cluster does within a second or two. Far longer than
/// needed, because the machine may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long tests wait for a checkpoint, which a node makes when there is enough to write down, or
/// after half a minute.
pub const CHECKPOINT_PATIENCE: Duration = Duration::from_mins(1);

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` holds. The error names `what`.
pub fn wait_for(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<Duration> {
    let start = Instant::now();
    wait_for_value(what, patience, || condition().then_some(()))?;
    Ok(start.elapsed())
}

/// Waits until `look` finds something. The error names `what`.
pub fn wait_for_value<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if start.elapsed() > patience {
            bail!("waited {} s in vain: {what}", patience.as_secs());
        }
        std::thread::sleep(INTERVAL);
    }
}
