//! Leaves no process behind: a shell that kills what this process started once this process has
//! ended, whether it returned, panicked, was interrupted or was killed.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Reads `mind PID` and `release PID` until its input ends, which it does with this process.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
minded=
while read -r verb pid; do
    rest=
    for other in $minded; do
        [ "$other" = "$pid" ] || rest="$rest $other"
    done
    minded=$rest
    [ "$verb" = release ] || minded="$minded $pid"
done
[ -z "$minded" ] || kill -s KILL $minded 2>/dev/null
"#;

/// Has `process` killed when this process ends.
pub(crate) fn mind(process: u32) {
    tell("mind", process);
}

/// Undoes [`mind`]: the process has ended, or is to live on.
pub(crate) fn release(process: u32) {
    tell("release", process);
}

fn tell(verb: &str, process: u32) {
    static SHELL: OnceLock<Option<Mutex<(Child, ChildStdin)>>> = OnceLock::new();
    // Without a shell nothing is minded, and `Drop` is what cleans up.
    let Some(shell) = SHELL.get_or_init(start) else {
        return;
    };
    let mut shell = shell.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(shell.1, "{verb} {process}");
}

fn start() -> Option<Mutex<(Child, ChildStdin)>> {
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of reach of the terminal's Ctrl-C.
        .process_group(0)
        .spawn()
        .ok()?;
    let input = shell.stdin.take()?;
    Some(Mutex::new((shell, input)))
}
