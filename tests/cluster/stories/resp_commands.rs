//! The Redis protocol: what its clients rely on.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::Cluster;

use crate::support::{Resp, command, story};

fn last_log(cluster: &Cluster) -> Result<u64> {
    let rows = cluster.status()?;
    rows.iter().map(|row| row.last_log).max().context("no row")
}

#[test]
fn write_read_unknown() {
    story(3, |cluster| {
        let mut client = Resp::to(cluster, cluster.follower()?)?;
        ensure!(client.ask(&["set", "k", "v"])? == "+OK");
        let before = last_log(cluster)?;
        for _ in 0..100 {
            ensure!(client.ask(&["GET", "k"])? == "\"v\"");
        }
        let after = last_log(cluster)?;
        // A checkpoint may come between, and nothing else.
        ensure!(after <= before + 1, "reads were logged: {before}, {after}");
        ensure!(client.ask(&["NOPE", "a"])? == "-ERR unknown command 'NOPE'");
        ensure!(client.ask(&["TiCKeT"])? == ":1");
        ensure!(client.ask(&["kv.get", "k"])? == "\"v\"");
        let answer = client.ask(&["get"])?;
        ensure!(
            answer.starts_with("-ERR wrong number of arguments"),
            "{answer}"
        );
        Ok(())
    });
}

#[test]
fn pipelining_read_your_writes() {
    story(3, |cluster| {
        for id in cluster.ids() {
            let mut client = Resp::to(cluster, id)?;
            client.send("SET k 1\r\nGET k\r\nSET k 2\r\nGET k\r\n")?;
            ensure!(client.answers(4)? == ["+OK", "\"1\"", "+OK", "\"2\""]);
        }
        Ok(())
    });
}

/// Whether a pipeline's writes are logged in their order, whoever leads meanwhile.
#[test]
fn writes_of_a_pipeline_keep_their_order_over_leader_changes() {
    const WRITES: usize = 400;
    const ROUNDS: usize = 30;
    story(3, |cluster| {
        let follower = cluster.follower()?;
        let mut clients = Vec::new();
        for id in cluster.ids() {
            clients.push((id, Resp::to(cluster, id)?));
        }
        for round in 0..ROUNDS {
            for (id, client) in &mut clients {
                let mut bytes = Vec::new();
                for write in 0..WRITES {
                    let piece = format!("{write},");
                    bytes.extend(command(&["append", &format!("list-{id}-{round}"), &piece]));
                }
                client.send(&bytes)?;
            }
            if round % 5 == 0 {
                // Refused where that node leads already.
                cluster
                    .hostctl()
                    .run(["member", "transfer", &follower.to_string()])?;
                cluster.hostctl().run(["member", "transfer"])?;
            }
            for (id, client) in &mut clients {
                let answers = client.answers(WRITES)?;
                let key = format!("list-{id}-{round}");
                let list = client.ask(&["get", &key])?;
                let list = list.trim_matches('"').trim_end_matches(',');
                let found: Vec<usize> = list
                    .split(',')
                    .map(|number| Ok(number.parse()?))
                    .collect::<Result<_>>()?;
                ensure!(
                    found.is_sorted_by(|one, other| one < other),
                    "{key} is not in order: {list}"
                );
                // What was acknowledged is there; what was not may be.
                for (write, answer) in answers.iter().enumerate() {
                    let acknowledged = answer.starts_with(':');
                    ensure!(
                        !acknowledged || found.contains(&write),
                        "{key} lacks {write}"
                    );
                    ensure!(acknowledged || answer.starts_with('-'), "{answer}");
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_write_via_each_node_works_and_without_a_leader_every_reply_is_an_error() {
    story(3, |cluster| {
        for id in cluster.ids() {
            let mut client = Resp::to(cluster, id)?;
            let key = format!("by-{id}");
            ensure!(client.ask(&["SET", &key, "1"])? == "+OK");
        }
        let last = cluster.follower()?;
        let mut client = Resp::to(cluster, last)?;
        for id in cluster.ids() {
            ensure!(client.ask(&["GET", &format!("by-{id}")])? == "\"1\"");
        }
        for id in cluster.ids() {
            if id != last {
                cluster.node(id)?.kill()?;
            }
        }
        for words in [&["SET", "k", "v"][..], &["GET", "by-1"], &["BARRIER"]] {
            let answer = client.ask(words)?;
            ensure!(
                answer.starts_with("-CLUSTERDOWN") || answer.starts_with("-ERR timeout"),
                "{words:?}: {answer}"
            );
        }
        Ok(())
    });
}

#[test]
fn typed_errors() {
    story(1, |cluster| {
        let mut client = Resp::to(cluster, 1)?;
        client.ask(&["set", "word", "abc"])?;
        for (words, expected) in [
            (
                &["incr", "word"][..],
                "-ERR value is not an integer or out of range",
            ),
            (&["set", "k", "v", "NX", "XX"], "-ERR syntax error"),
            (&["get", "nothing"], "nil"),
            (&["rename", "nothing", "k"], "-ERR no such key"),
            (
                &["select", "1"],
                "-ERR DB index is out of range: there is only database 0",
            ),
            (
                &["auth", "x"],
                "-WRONGPASS invalid username-password pair or user is disabled.",
            ),
        ] {
            let answer = client.ask(words)?;
            ensure!(answer == expected, "{words:?}: {answer}");
        }
        Ok(())
    });
}

#[test]
fn foo_is_not_foobar() {
    story(1, |cluster| {
        let mut client = Resp::to(cluster, 1)?;
        ensure!(client.ask(&["mset", "foo", "1", "foobar", "2", "foo.bar", "3"])? == "+OK");
        ensure!(client.ask(&["del", "foo"])? == ":1");
        ensure!(client.ask(&["get", "foo"])? == "nil");
        ensure!(client.ask(&["mget", "foobar", "foo.bar"])? == "[\"2\" \"3\"]");
        ensure!(client.ask(&["del", "foo.bar"])? == ":1");
        ensure!(client.ask(&["keys", "*"])? == "[\"foobar\"]");
        Ok(())
    });
}

#[test]
fn group_commit() {
    const CLIENTS: usize = 256;
    const WRITES: usize = 10_000;
    story(3, |cluster| {
        let leader = cluster.wait_leader()?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Resp::to(cluster, leader)?);
        }
        let before = last_log(cluster)?;
        for round in 0..WRITES / CLIENTS {
            for (number, client) in clients.iter_mut().enumerate() {
                client.send(command(&["set", &format!("k{number}"), &round.to_string()]))?;
            }
            for client in &mut clients {
                ensure!(client.answer()? == "+OK");
            }
        }
        let entries = last_log(cluster)? - before;
        let writes = WRITES / CLIENTS * CLIENTS;
        ensure!(
            entries * 5 < writes as u64,
            "{writes} writes made {entries} entries"
        );
        Ok(())
    });
}
