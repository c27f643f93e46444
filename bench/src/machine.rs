//! What the figures were measured on: no names, no dates.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// The machine, as far as it bears on the figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// CPUs this process may use.
    pub(crate) cpus: usize,
    /// The CPU's name for itself.
    pub(crate) cpu: String,
    /// Memory.
    pub(crate) memory_gib: f64,
    /// The kernel's version.
    pub(crate) kernel: String,
    /// Type of the filesystem the data was on.
    pub(crate) filesystem: String,
    /// Load averages of 1, 5 and 15 minutes before the run.
    pub(crate) load_before: String,
}

impl Machine {
    /// Describes this machine and the filesystem of `dir`.
    pub(crate) fn describe(dir: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kib = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| {
            let number = text.trim_end_matches("kB").trim();
            number.parse::<f64>().ok()
        });
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
            memory_gib: kib.unwrap_or(0.0) / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: filesystem(dir, &read("/proc/self/mounts")),
            load_before: load_average(),
        }
    }
}

/// Load averages of 1, 5 and 15 minutes now.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The value of the first `name : value` line.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Type of the filesystem that holds `dir`: the mount with the longest path above it.
fn filesystem(dir: &Path, mounts: &str) -> String {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((Path::new(fields.next()?), fields.next()?))
        })
        .filter(|(point, _)| dir.starts_with(point))
        // Of mounts over each other the last one counts, which is what `max_by_key` returns.
        .max_by_key(|(point, _)| point.components().count())
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// Whether data on such a filesystem never reaches a disk, which makes every figure worthless.
pub(crate) fn is_memory(filesystem: &str) -> bool {
    matches!(filesystem, "tmpfs" | "ramfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_above_the_directory_counts() {
        let mounts = "\
            /dev/vda / ext4 rw 0 0\n\
            tmpfs /tmp tmpfs rw 0 0\n\
            /dev/vdb /tmp/disk xfs rw 0 0\n";
        let kind = |dir| filesystem(Path::new(dir), mounts);
        assert_eq!(kind("/work"), "ext4");
        assert_eq!(kind("/tmp/x"), "tmpfs");
        assert_eq!(kind("/tmp/disk/x"), "xfs");
        assert_eq!(kind("/tmpfile"), "ext4");
    }

    #[test]
    fn fields_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Some CPU: fast"));
        assert_eq!(field(text, "model"), None);
    }
}
