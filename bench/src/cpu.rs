//! CPU time, from `/proc/PID/stat` and `/proc/stat`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Ticks per second of the times in `/proc`: `USER_HZ`, which is 100 on every Linux platform that
/// hostd is built for (`man 5 proc_pid_stat`).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time used since a moment by the servers under load, by this process, and by everybody.
#[derive(Debug)]
pub(crate) struct Meter {
    pids: Vec<u32>,
    start: Instant,
    servers: f64,
    own: f64,
    machine: f64,
}

/// What a [`Meter`] saw, in seconds of CPU time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// The servers.
    pub(crate) servers: f64,
    /// This process, and the load generators it started and has waited for.
    pub(crate) own: f64,
    /// Everybody else on the machine, as a share of all its CPUs: from 0 to 1.
    pub(crate) foreign_share: f64,
    /// Time on the clock.
    pub(crate) elapsed: Duration,
}

impl Meter {
    /// Starts metering these processes and the machine.
    pub(crate) fn start(pids: &[u32]) -> Result<Self> {
        Ok(Self {
            pids: pids.to_vec(),
            start: Instant::now(),
            servers: sum(pids)?,
            own: own()?,
            machine: machine()?,
        })
    }

    /// What was used since the start.
    pub(crate) fn stop(self) -> Result<Used> {
        let elapsed = self.start.elapsed();
        let servers = sum(&self.pids)? - self.servers;
        let own = own()? - self.own;
        let foreign = machine()? - self.machine - servers - own;
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        Ok(Used {
            servers,
            own,
            foreign_share: (foreign / elapsed.as_secs_f64() / cores).clamp(0.0, 1.0),
            elapsed,
        })
    }
}

/// Waits until the processes are nearly idle, so that what they do after a load (flush, compact)
/// does not fall into the next measurement. Gives up after a while: some never rest.
pub(crate) async fn settle(pids: &[u32]) -> Result<()> {
    const WINDOW: Duration = Duration::from_millis(300);
    const IDLE_SHARE: f64 = 0.15;
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let meter = Meter::start(pids)?;
        tokio::time::sleep(WINDOW).await;
        let used = meter.stop()?;
        if used.servers / used.elapsed.as_secs_f64() < IDLE_SHARE {
            break;
        }
    }
    Ok(())
}

fn sum(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| of(*pid)).sum()
}

fn of(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let fields = fields(&stat).with_context(|| format!("{path} is not as expected"))?;
    Ok((fields[0] + fields[1]) / TICKS_PER_SECOND)
}

fn own() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    let fields = fields(&stat).context("/proc/self/stat is not as expected")?;
    Ok(fields.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// utime, stime, cutime and cstime of a `/proc/PID/stat` line. The process's name stands in
/// parentheses and may contain anything, so fields are counted from the last parenthesis.
fn fields(stat: &str) -> Option<[f64; 4]> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest
        .split_ascii_whitespace()
        .skip(11)
        .map(|field| field.parse().ok());
    Some([
        times.next()??,
        times.next()??,
        times.next()??,
        times.next()??,
    ])
}

/// CPU time that was not idle, over all CPUs.
fn machine() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    busy(&stat).context("/proc/stat is not as expected")
}

fn busy(stat: &str) -> Option<f64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<f64> = line
        .split_ascii_whitespace()
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    // user nice system idle iowait irq softirq steal; guest time is part of user.
    let at = |index: usize| times.get(index).copied();
    Some((at(0)? + at(1)? + at(2)? + at(5)? + at(6)? + at(7)?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 5 0 0 0 150 50 20 10 20 0 9 0 100";
        assert_eq!(fields(stat), Some([150.0, 50.0, 20.0, 10.0]));
    }

    #[test]
    fn idle_and_waiting_for_the_disk_are_not_busy() {
        let stat = "cpu  100 10 50 99999 88888 5 15 20 3 0\ncpu0 1 2 3\n";
        assert_eq!(busy(stat), Some(2.0));
    }

    #[test]
    fn own_work_is_seen() {
        let meter = Meter::start(&[std::process::id()]).unwrap();
        let start = Instant::now();
        let mut x = 0u64;
        while start.elapsed() < Duration::from_millis(200) {
            x = std::hint::black_box(x.wrapping_add(1));
        }
        assert!(meter.stop().unwrap().servers > 0.0);
    }
}
