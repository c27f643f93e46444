//! Certificates as a node serves them, and as it takes up new ones while it runs.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, Hostctl, PATIENCE, Signal, wait_for};

use crate::support::{Load, story};

/// What curl ends with when the certificate does not hold what the name promises.
const CURL_NOT_VERIFIED: i32 = 60;

/// How curl ends, and what it says, when it asks a node at `host` with this CA file.
fn curl(cluster: &Cluster, id: u64, host: &str, ca: &str) -> Result<(Option<i32>, String)> {
    let address = cluster.address(id)?;
    let (_, port) = address.rsplit_once(':').context("an address with a port")?;
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(cluster.pki().join(ca))
        .arg(format!("https://{host}:{port}/livez"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), said))
}

fn verifies(cluster: &Cluster, id: u64, host: &str, ca: &str) -> Result<bool> {
    let (code, said) = curl(cluster, id, host, ca)?;
    ensure!(
        code != Some(7),
        "curl cannot connect to node {id} at {host}: {said}"
    );
    Ok(code != Some(CURL_NOT_VERIFIED))
}

#[test]
fn curl_and_redis_cli_verify_a_node_by_its_name() {
    story(1, |cluster| {
        for host in ["127.0.0.1", "localhost"] {
            ensure!(
                verifies(cluster, 1, host, "ca.pem")?,
                "curl does not believe the certificate for {host}"
            );
        }
        let other = cluster.directory().join("other-pki");
        Hostctl::new(&cluster.artifacts.hostctl, Vec::new(), &other).ok(["pki", "init"])?;
        let foreign = other.join("ca.pem");
        ensure!(
            !verifies(cluster, 1, "127.0.0.1", &foreign.to_string_lossy())?,
            "curl believes a certificate of another authority"
        );

        let address = cluster.address(1)?;
        let (host, port) = address.rsplit_once(':').context("an address")?;
        let output = Command::new("redis-cli")
            .args(["-h", host, "-p", port, "--tls", "--cacert"])
            .arg(cluster.pki().join("ca.pem"))
            .arg("PING")
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        ensure!(
            !said.contains("SSL_connect") && !said.contains("certificate"),
            "redis-cli does not believe the certificate: {said}"
        );
        Ok(())
    });
}

/// Waits until node 1 has logged this often that it took up what is on disk.
fn wait_taken_up(cluster: &mut Cluster, id: u64, times: usize) -> Result<()> {
    let what = format!("node {id} takes up its certificates, {times} in all");
    let node = cluster.node(id)?;
    wait_for(&what, PATIENCE, || {
        node.log_since_start()
            .matches("certificates read again")
            .count()
            >= times
    })?;
    Ok(())
}

fn wait_logged(cluster: &mut Cluster, id: u64, words: &str) -> Result<()> {
    let node = cluster.node(id)?;
    wait_for(words, PATIENCE, || node.log_since_start().contains(words))?;
    Ok(())
}

#[test]
fn bad_certificates_are_not_taken_up_and_the_log_says_why() {
    story(1, |cluster| {
        let pki = cluster.pki();
        let (certificate, key) = (pki.join("node-1.pem"), pki.join("node-1-key.pem"));
        let good = (std::fs::read(&certificate)?, std::fs::read(&key)?);

        std::fs::write(&certificate, "no certificate")?;
        cluster.node(1)?.signal(Signal::Hup)?;
        wait_logged(cluster, 1, "holds no PEM certificate")?;

        std::fs::write(&certificate, &good.0)?;
        cluster.hostctl().ok(["pki", "issue", "--node", "2"])?;
        std::fs::copy(pki.join("node-2-key.pem"), &key)?;
        cluster.node(1)?.signal(Signal::Hup)?;
        wait_logged(cluster, 1, "it is not the key of")?;

        std::fs::copy(pki.join("node-2.pem"), &certificate)?;
        cluster.node(1)?.signal(Signal::Hup)?;
        wait_logged(cluster, 1, "node/2, and this is hostd://")?;

        // A sound pair of another authority, of the same cluster and node.
        let other = cluster.directory().join("other-pki");
        let theirs = Hostctl::new(&cluster.artifacts.hostctl, Vec::new(), &other);
        std::fs::create_dir(&other)?;
        for file in ["ca.pem", "ca-key.pem"] {
            std::fs::copy(pki.join(file), other.join(file))?;
        }
        theirs.ok(["pki", "rotate"])?;
        theirs.ok(["pki", "issue", "--node", "1"])?;
        std::fs::copy(other.join("node-1-key.pem"), &key)?;
        std::fs::copy(other.join("node-1.pem"), &certificate)?;
        cluster.node(1)?.signal(Signal::Hup)?;
        wait_logged(cluster, 1, "no authority of the CA file vouches for")?;

        cluster.hostctl_at(1)?.ok(["status"])?;
        std::fs::write(&certificate, &good.0)?;
        std::fs::write(&key, &good.1)?;
        cluster.node(1)?.signal(Signal::Hup)?;
        wait_taken_up(cluster, 1, 1)
    });
}

#[test]
fn the_authority_is_rotated_under_load() {
    story(3, |cluster| {
        let pki = cluster.pki();
        let ids = cluster.ids();
        std::fs::copy(pki.join("ca.pem"), pki.join("old-ca.pem.txt"))?;
        let load = Load::start(cluster)?;

        cluster.hostctl().ok(["pki", "rotate"])?;
        let again = cluster.hostctl().run(["pki", "rotate"])?;
        ensure!(
            again.code != Some(0) && again.stderr.contains("--finish"),
            "{again:?}"
        );
        let early = cluster.hostctl().run(["pki", "rotate", "--finish"])?;
        ensure!(
            early.code != Some(0) && early.stderr.contains("node-3.pem"),
            "{early:?}"
        );
        for id in &ids {
            wait_taken_up(cluster, *id, 1)?;
        }
        load.wait_for_more(100)?;

        for id in &ids {
            let id = id.to_string();
            cluster
                .hostctl()
                .ok(["pki", "issue", "--node", &id, "--replace"])?;
        }
        cluster
            .hostctl()
            .ok(["pki", "issue", "admin", "--replace"])?;
        for id in &ids {
            wait_taken_up(cluster, *id, 2)?;
        }
        cluster.hostctl().call(&["get", "counter"])?;
        load.wait_for_more(100)?;

        cluster.hostctl().ok(["pki", "rotate", "--finish"])?;
        for id in &ids {
            wait_taken_up(cluster, *id, 3)?;
        }
        for id in ids {
            ensure!(verifies(cluster, id, "127.0.0.1", "ca.pem")?, "node {id}");
            ensure!(
                !verifies(cluster, id, "127.0.0.1", "old-ca.pem.txt")?,
                "node {id} still has a certificate of the old authority"
            );
        }
        load.wait_for_more(100)?;
        load.stop()?.check(cluster)?;

        // New connections to all others.
        let away = cluster.follower()?;
        cluster.node(away)?.stop(PATIENCE)?;
        cluster.restart(away)?;
        cluster.wait_voters(3)?;
        cluster.hostctl_at(away)?.call(&["ticket"])?;
        Ok(())
    });
}
