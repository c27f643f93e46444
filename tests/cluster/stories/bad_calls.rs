//! Calls that make no sense, and what they are answered.

use anyhow::{Result, ensure};
use cluster_tests::Cluster;
use hostd_client::CallError;

use crate::support::{connect, runtime, story};

#[test]
fn a_senseless_call_is_refused_with_its_code() {
    story(3, |cluster| {
        for id in cluster.ids() {
            let hostctl = cluster.hostctl_at(id)?;
            hostctl
                .run(["call", "tickets"])?
                .refused(3, "unknown_command")?;
            hostctl
                .run(["call", "ticket", "one", "two"])?
                .refused(3, "wrong_arity")?;
            hostctl.run(["call", "get"])?.refused(3, "wrong_arity")?;
            hostctl
                .run(["call", "--plugin", "nobody", "ticket"])?
                .refused(3, "unknown_command")?;
        }
        let message = cluster
            .hostctl()
            .run(["call", "get"])?
            .refused(3, "wrong_arity")?;
        ensure!(
            message.contains("get key"),
            "the message lacks the usage: {message}"
        );
        ensure!(
            cluster.hostctl().call(&["ticket"])? == "1",
            "a refused call took a ticket"
        );
        Ok(())
    });
}

#[test]
fn the_plugins_own_refusals_are_told_apart() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        hostctl.call(&["set", "word", "abc"])?;
        let answer = hostctl.run(["call", "incr", "word"])?;
        ensure!(answer.code == Some(4), "{answer:?}");
        ensure!(answer.stderr.contains("not an integer"), "{answer:?}");
        // Nothing there is no error.
        let answer = hostctl.run(["call", "get", "nothing"])?;
        ensure!(
            answer.code == Some(0) && answer.stdout.is_empty(),
            "{answer:?}"
        );
        Ok(())
    });
}

/// Calls `set` with a value of so many bytes.
fn set(cluster: &Cluster, bytes: usize) -> Result<Result<(), CallError>> {
    runtime()?.block_on(async {
        let client = connect(cluster).await?;
        let outcome = client
            .call("set", ["large".as_bytes(), &vec![b'x'; bytes]])
            .await;
        client.close().await;
        Ok(outcome.map(drop))
    })
}

#[test]
fn an_argument_that_is_too_large_is_refused_and_loses_nothing() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "k", "v"])?;
        // More than a command's arguments may have, and more than a frame may have.
        for mib in [17, 100] {
            let refused = set(cluster, mib << 20)?;
            let Err(error) = refused else {
                anyhow::bail!("{mib} MiB were accepted")
            };
            ensure!(error.code() == "too_large", "{mib} MiB: {error}");
            ensure!(error.exit_code() == 3);
        }
        if let Err(error) = set(cluster, 4 << 20)? {
            anyhow::bail!("4 MiB were refused: {error}");
        }
        ensure!(cluster.hostctl().call(&["strlen", "large"])? == (4 << 20).to_string());
        ensure!(cluster.hostctl().call(&["get", "k"])? == "v");
        cluster.wait_voters(3)?;
        Ok(())
    });
}

#[test]
fn a_client_without_the_clusters_certificate_is_unauthenticated() {
    story(1, |cluster| {
        story(1, |other| {
            let stranger = cluster_tests::Hostctl::new(
                &cluster.artifacts.hostctl,
                cluster.addresses(),
                &other.pki(),
            );
            let answer = stranger.timeout("5s").run(["call", "ticket"])?;
            answer.refused(5, "unauthenticated")?;
            ensure!(cluster.hostctl().call(&["ticket"])? == "1");
            Ok(())
        });
        Ok(())
    });
}

#[test]
fn hostctl_says_what_is_wrong_with_its_own_use() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        for words in [
            &["frobnicate"][..],
            &["call"],
            &["member", "promote", "many"],
        ] {
            let answer = hostctl.run(words)?;
            ensure!(answer.code == Some(2), "{words:?}: {answer:?}");
            ensure!(!answer.stderr.is_empty());
        }
        Ok(())
    });
}

#[test]
fn without_a_server_hostctl_says_so_and_ends() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl().timeout("1s");
        cluster.node(1)?.kill()?;
        let answer = hostctl.run(["call", "ticket"])?;
        ensure!(answer.code == Some(7), "{answer:?}");
        let address = cluster.address(1)?;
        ensure!(
            answer.stderr.contains(&address),
            "it does not say whom it asked: {answer:?}"
        );
        Ok(())
    });
}
