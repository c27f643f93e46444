//! The nemesis for a fixed time, with a seed of the day: what CI runs. A failure names the seed,
//! with which `cargo xtask nemesis --seed` runs the same faults again.

#![forbid(unsafe_code)]

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use cluster_tests::wait_for_value;

/// A round of all faults and some more.
const MINUTES: &str = "1.25";

/// For all of it, with waiting for what must happen after every fault.
const PATIENCE: Duration = Duration::from_mins(15);

#[test]
fn nothing_is_lost_or_done_twice_whatever_happens_to_the_nodes() {
    let status = run(&["--minutes", MINUTES]);
    assert!(
        status.success(),
        "{status}; the seed and the cause are above"
    );
}

fn run(arguments: &[&str]) -> ExitStatus {
    let nemesis = Command::new(env!("CARGO_BIN_EXE_nemesis"))
        .args(arguments)
        .spawn();
    let mut nemesis = Killed(nemesis.expect("the nemesis starts"));
    wait_for_value("the nemesis ends", PATIENCE, || {
        nemesis.0.try_wait().ok().flatten()
    })
    .expect("the nemesis ends")
}

/// A process that does not outlive this one's interest in it. All that it started goes with it.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
