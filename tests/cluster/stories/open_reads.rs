//! `--open-reads`: a node answers from its own state, even alone, and not before it is up to date.

use anyhow::{Result, ensure};
use cluster_tests::{PATIENCE, wait_for};

use crate::support::story;

#[test]
fn a_follower_answers_alone_but_not_while_it_catches_up() {
    story(0, |cluster| {
        for id in 1..=3 {
            let mut launch = cluster.launch(id)?;
            launch.join = cluster.addresses();
            launch.flags = vec!["--open-reads".into()];
            cluster.start(launch)?;
        }
        cluster.wait_voters(3)?;
        cluster.hostctl().call(&["set", "greeting", "hello"])?;
        let third = cluster.hostctl_directly_at(3)?.timeout("3s");
        // Its first answer tells that it is up to date.
        ensure!(third.call(&["get", "greeting"])? == "hello");
        for id in [1, 2] {
            cluster.node(id)?.kill()?;
        }
        wait_for("writes find no leader", PATIENCE, || {
            let answer = third.run(["call", "set", "greeting", "lost"]);
            answer.is_ok_and(|answer| answer.code == Some(7))
        })?;
        ensure!(third.call(&["get", "greeting"])? == "hello");

        // Started alone, it cannot know what was written meanwhile.
        cluster.node(3)?.kill()?;
        cluster.node(3)?.spawn()?;
        let refused = wait_for_refusal(cluster)?;
        ensure!(refused.contains("leader"), "{refused}");
        for id in [1, 2] {
            cluster.restart(id)?;
        }
        cluster.node(3)?.wait_ready(PATIENCE)?;
        wait_for("the read is answered again", PATIENCE, || {
            third
                .call(&["get", "greeting"])
                .is_ok_and(|value| value == "hello")
        })?;
        Ok(())
    });
}

/// What a node says that is started alone, once it listens.
fn wait_for_refusal(cluster: &cluster_tests::Cluster) -> Result<String> {
    let third = cluster.hostctl_directly_at(3)?.timeout("3s");
    let mut said = String::new();
    wait_for("a read is refused for want of a leader", PATIENCE, || {
        let Ok(answer) = third.run(["call", "get", "greeting"]) else {
            return false;
        };
        said = answer.stderr;
        answer.code == Some(7) && said.contains("no_leader")
    })?;
    Ok(said)
}
