//! A disk that is almost full: no more writes, reads as before, and all well again once there is
//! room.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use cluster_tests::{PATIENCE, wait_for};

use crate::support::story;

/// Room for a node; a tenth of it is what clients must leave.
const DISK_BYTES: usize = 200 << 20;

/// A small disk in memory, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount anything.
    fn mount(path: PathBuf) -> Result<Option<Self>> {
        std::fs::create_dir_all(&path)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs"])
            .arg(&path)
            .output()?;
        Ok(mounted.status.success().then_some(Self(path)))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // At the latest once the node has let go of it.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself() {
    story(0, |cluster| {
        let Some(disk) = SmallDisk::mount(cluster.data().join("node-1"))? else {
            println!("not told: this user may not mount a small disk");
            return Ok(());
        };
        cluster.grow_to(1)?;
        let hostctl = cluster.hostctl().timeout("2s");
        hostctl.call(&["set", "color", "blue"])?;
        // Until a twentieth is left.
        let mut ballast = File::create(disk.ballast())?;
        let used = usize::try_from(fs_used(&disk.0)?)?;
        ballast.write_all(&vec![1; DISK_BYTES * 19 / 20 - used])?;
        wait_for("writes are refused", PATIENCE, || {
            let answer = hostctl.run(["call", "set", "color", "red"]);
            answer.is_ok_and(|answer| answer.refused(7, "no_space").is_ok())
        })?;
        let color = hostctl.call(&["get", "color"])?;
        // The last one that was taken: how many were before the node looked is its business.
        ensure!(["blue", "red"].contains(&color.trim()), "read {color:?}");
        let health = hostctl.json(&["status"])?[0]["health"].clone();
        ensure!(health == "no_space", "its health is {health}");
        // Its room is free once nobody has it open.
        drop(ballast);
        std::fs::remove_file(disk.ballast())?;
        wait_for("writes go on", PATIENCE, || {
            hostctl.call(&["set", "color", "green"]).is_ok()
        })?;
        ensure!(hostctl.call(&["get", "color"])?.trim() == "green");
        cluster.stop()
    });
}

/// Bytes in use on the file system of a directory.
fn fs_used(path: &std::path::Path) -> Result<u64> {
    let output = Command::new("df")
        .args(["--block-size=1", "--output=used"])
        .arg(path)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let used = text.lines().last().unwrap_or_default().trim().parse()?;
    Ok(used)
}
