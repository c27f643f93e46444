//! Calls that are made again because their answer was lost.

use anyhow::{Result, ensure};

use crate::support::story;

#[test]
fn a_key_makes_a_retry_harmless_across_a_leader_kill() {
    story(3, |cluster| {
        let call = ["call", "--key", "order-7", "incr", "n"];
        ensure!(cluster.hostctl().ok(call)? == "1");
        let leader = cluster.wait_leader()?;
        cluster.node(leader)?.kill()?;
        ensure!(cluster.hostctl().timeout("30s").ok(call)? == "1");
        cluster.restart(leader)?;
        cluster.wait_voters(3)?;
        for id in cluster.ids() {
            ensure!(
                cluster.hostctl_at(id)?.ok(call)? == "1",
                "node {id} ran it again"
            );
        }
        ensure!(cluster.hostctl().call(&["get", "n"])? == "1");
        Ok(())
    });
}

#[test]
fn a_key_is_remembered_by_a_node_that_got_a_snapshot_or_was_restarted() {
    story(1, |cluster| {
        let call = ["call", "--key", "order-8", "incr", "n"];
        ensure!(cluster.hostctl().ok(call)? == "1");
        cluster.compare_digests()?;
        cluster.stop()?;
        cluster.restart(1)?;
        ensure!(cluster.hostctl().ok(call)? == "1");
        cluster.grow_to(2)?;
        ensure!(cluster.hostctl_at(2)?.ok(call)? == "1");
        Ok(())
    });
}

#[test]
fn a_rejection_is_the_answer_of_its_retry_too() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        hostctl.call(&["set", "k", "text"])?;
        let call = ["call", "--key", "order-9", "incr", "k"];
        let rejected = |answer: cluster_tests::Answer| -> Result<String> {
            ensure!(answer.code == Some(4), "{answer:?}");
            Ok(answer.stderr)
        };
        let first = rejected(hostctl.run(call)?)?;
        hostctl.call(&["set", "k", "1"])?;
        ensure!(rejected(hostctl.run(call)?)? == first);
        ensure!(hostctl.call(&["get", "k"])? == "1");
        Ok(())
    });
}
