//! SUBSCRIBE and PUBLISH over the Redis protocol: what is told, to whom, and when it ends.

use std::thread;

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, PATIENCE, wait_for};

use crate::support::{Resp, command, story};

/// The node that leads, and two that do not.
fn roles(cluster: &Cluster) -> Result<(u64, [u64; 2])> {
    let leader = cluster.wait_leader()?;
    let others: Vec<u64> = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    Ok((leader, others.try_into().ok().context("three nodes")?))
}

/// A client that has subscribed to a channel, or with `psubscribe` to a pattern.
fn subscribed(cluster: &Cluster, id: u64, how: &str, name: &str) -> Result<Resp> {
    let mut client = Resp::to(cluster, id)?;
    let answer = client.ask(&[how, name])?;
    ensure!(answer == format!("[\"{how}\" \"{name}\" :1]"), "{answer}");
    Ok(client)
}

fn next_is(client: &mut Resp, expected: &str) -> Result<()> {
    let told = client.answer()?;
    ensure!(told == expected, "{told} was told instead of {expected}");
    Ok(())
}

/// Nothing more was told: an answer comes next.
fn is_quiet(client: &mut Resp) -> Result<()> {
    let answer = client.ask(&["PING"])?;
    ensure!(answer == "[\"pong\" \"\"]" || answer == "+PONG", "{answer}");
    Ok(())
}

#[test]
fn every_write_at_any_node_is_told_once_and_in_order() {
    const WRITES: usize = 300;
    story(3, |cluster| {
        let (leader, [one, other]) = roles(cluster)?;
        let channel = |key: &str| format!("__keyspace@0__:{key}");
        let mut events = subscribed(cluster, one, "psubscribe", "__keyevent@0__:*")?;
        let mut keys = Resp::to(cluster, one)?;
        // Separate subscriptions, told in one order all the same.
        keys.send(command(&[
            "SUBSCRIBE",
            &channel("a"),
            &channel("b"),
            &channel("c"),
        ]))?;
        for (count, key) in ["a", "b", "c"].iter().enumerate() {
            let confirmed = format!("[\"subscribe\" \"{}\" :{}]", channel(key), count + 1);
            next_is(&mut keys, &confirmed)?;
        }
        let mut writers = [
            Resp::to(cluster, leader)?,
            Resp::to(cluster, one)?,
            Resp::to(cluster, other)?,
        ];
        // Each write is acknowledged before the next one, which another node takes.
        let key = |number: usize| ["a", "b", "c"][(number * 7 / 3) % 3];
        for number in 0..WRITES {
            let writer = &mut writers[number % 3];
            ensure!(writer.ask(&["SET", key(number), &number.to_string()])? == "+OK");
            ensure!(writer.ask(&["SET", "unheard", "x"])? == "+OK");
        }
        for number in 0..WRITES {
            let key = key(number);
            next_is(
                &mut keys,
                &format!("[\"message\" \"{}\" \"set\"]", channel(key)),
            )?;
            for key in [key, "unheard"] {
                let told =
                    format!("[\"pmessage\" \"__keyevent@0__:*\" \"__keyevent@0__:set\" \"{key}\"]");
                next_is(&mut events, &told)?;
            }
        }
        // Pipelines too, and other events.
        let mut batch = Vec::new();
        for number in 0..WRITES {
            batch.extend(command(&["SET", key(number), "x"]));
        }
        batch.extend(command(&["DEL", "a", "b"]));
        batch.extend(command(&["SET", "c", "x", "PX", "1"]));
        writers[2].send(&batch)?;
        writers[2].answers(WRITES + 2)?;
        for number in 0..WRITES {
            let told = format!("[\"message\" \"{}\" \"set\"]", channel(key(number)));
            next_is(&mut keys, &told)?;
        }
        for (key, event) in [("a", "del"), ("b", "del"), ("c", "set"), ("c", "expired")] {
            let told = format!("[\"message\" \"{}\" \"{event}\"]", channel(key));
            next_is(&mut keys, &told)?;
        }
        is_quiet(&mut keys)
    });
}

#[test]
fn what_is_published_at_one_node_arrives_at_all() {
    story(3, |cluster| {
        let (leader, [one, other]) = roles(cluster)?;
        let mut here = subscribed(cluster, one, "subscribe", "news")?;
        let mut there = subscribed(cluster, other, "subscribe", "news")?;
        let mut patterns = subscribed(cluster, one, "psubscribe", "n[a-e]w*")?;
        let mut both = subscribed(cluster, one, "subscribe", "news")?;
        ensure!(both.ask(&["PSUBSCRIBE", "n*"])? == "[\"psubscribe\" \"n*\" :2]");
        // Once for each subscription on the asked node.
        for (id, count) in [(leader, 0), (one, 4), (other, 1)] {
            let mut publisher = Resp::to(cluster, id)?;
            let answer = publisher.ask(&["PUBLISH", "news", &format!("from {id}")])?;
            ensure!(answer == format!(":{count}"), "{answer} at node {id}");
            let message = format!("[\"message\" \"news\" \"from {id}\"]");
            for client in [&mut here, &mut there, &mut both] {
                next_is(client, &message)?;
            }
            let told =
                |pattern: &str| format!("[\"pmessage\" \"{pattern}\" \"news\" \"from {id}\"]");
            next_is(&mut both, &told("n*"))?;
            next_is(&mut patterns, &told("n[a-e]w*"))?;
        }
        let mut publisher = Resp::to(cluster, one)?;
        ensure!(
            publisher.ask(&["PUBLISH", "nobody", "hears"])? == ":1",
            "n*"
        );
        next_is(&mut both, "[\"pmessage\" \"n*\" \"nobody\" \"hears\"]")?;
        // In a pipeline with others, in order; the plugin's own name for it answers as it does elsewhere.
        publisher.send(
            "PUBLISH news 1\r\nSET k v\r\nPUBLISH news 2\r\nGET k\r\nkv.publish news 3\r\n",
        )?;
        ensure!(publisher.answers(5)? == [":4", "+OK", ":4", "\"v\"", "+OK"]);
        for number in 1..=3 {
            next_is(&mut here, &format!("[\"message\" \"news\" \"{number}\"]"))?;
        }
        ensure!(cluster.hostctl().call(&["publish", "news", "over QUIC"])? == "OK");
        next_is(&mut here, "[\"message\" \"news\" \"over QUIC\"]")?;
        ensure!(
            publisher
                .ask(&["PUBLISH", "news"])?
                .starts_with("-ERR wrong number")
        );
        let binary = [&b"PUBLISH"[..], b"\xff", b"x"];
        publisher.send(command(&binary))?;
        next_is(&mut publisher, "-ERR a channel is UTF-8")?;
        drop(both);
        wait_for("who is gone is not counted", PATIENCE, || {
            let answer = publisher.ask(&["PUBLISH", "news", "x"]);
            answer.is_ok_and(|answer| answer == ":2")
        })?;
        Ok(())
    });
}

#[test]
fn subscribers_of_resp2_may_do_little_and_those_of_resp3_everything() {
    story(1, |cluster| {
        let mut publisher = Resp::to(cluster, 1)?;
        let mut client = Resp::to(cluster, 1)?;
        ensure!(client.ask(&["UNSUBSCRIBE"])? == "[\"unsubscribe\" nil :0]");
        ensure!(client.ask(&["PUNSUBSCRIBE", "x*"])? == "[\"punsubscribe\" \"x*\" :0]");
        ensure!(client.ask(&["SUBSCRIBE"])?.starts_with("-ERR wrong number"));
        client.send("SUBSCRIBE a b\r\nSUBSCRIBE a\r\nPSUBSCRIBE c*\r\n")?;
        ensure!(
            client.answers(4)?
                == [
                    "[\"subscribe\" \"a\" :1]",
                    "[\"subscribe\" \"b\" :2]",
                    "[\"subscribe\" \"a\" :2]",
                    "[\"psubscribe\" \"c*\" :3]",
                ]
        );
        let refused = client.ask(&["GET", "k"])?;
        ensure!(
            refused
                == "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                    RESET are allowed in this context",
            "{refused}"
        );
        for other in [&["ECHO", "x"][..], &["HELLO", "3"], &["PUBLISH", "a", "x"]] {
            let refused = client.ask(other)?;
            ensure!(refused.contains("allowed in this context"), "{refused}");
        }
        ensure!(client.ask(&["PING"])? == "[\"pong\" \"\"]");
        ensure!(client.ask(&["PING", "hi"])? == "[\"pong\" \"hi\"]");
        client.send("UNSUBSCRIBE b\r\nUNSUBSCRIBE\r\nPUNSUBSCRIBE\r\n")?;
        ensure!(
            client.answers(3)?
                == [
                    "[\"unsubscribe\" \"b\" :2]",
                    "[\"unsubscribe\" \"a\" :1]",
                    "[\"punsubscribe\" \"c*\" :0]",
                ]
        );
        for channel in ["a", "b", "cc"] {
            ensure!(publisher.ask(&["PUBLISH", channel, "x"])? == ":0");
        }
        ensure!(client.ask(&["GET", "k"])? == "nil", "it is free again");
        ensure!(client.ask(&["SUBSCRIBE", "a"])? == "[\"subscribe\" \"a\" :1]");
        ensure!(client.ask(&["RESET"])? == "+RESET");
        ensure!(publisher.ask(&["PUBLISH", "a", "x"])? == ":0");
        is_quiet(&mut client)?;
        ensure!(client.ask(&["SUBSCRIBE", "a"])? == "[\"subscribe\" \"a\" :1]");
        ensure!(client.ask(&["QUIT"])? == "+OK");
        ensure!(client.is_ended()?);

        // What is told is of another type in RESP3, so that answers can come between.
        let mut client = Resp::to(cluster, 1)?;
        client.ask(&["HELLO", "3"])?;
        ensure!(client.ask(&["SUBSCRIBE", "a"])? == "[\"subscribe\" \"a\" :1]");
        for number in 0..100 {
            let number = number.to_string();
            ensure!(client.ask(&["SET", "k", &number])? == "+OK");
            ensure!(client.ask(&["GET", "k"])? == format!("\"{number}\""));
            ensure!(publisher.ask(&["PUBLISH", "a", &number])? == ":1");
            next_is(&mut client, &format!("[\"message\" \"a\" \"{number}\"]"))?;
        }
        // To itself as well: before or behind the answer, as it comes.
        client.send(command(&["PUBLISH", "a", "own"]))?;
        let mut both = client.answers(2)?;
        both.sort();
        ensure!(both == [":1", "[\"message\" \"a\" \"own\"]"], "{both:?}");
        let mut raw = Resp::to(cluster, 1)?;
        raw.ask(&["HELLO", "3"])?;
        raw.send("SUBSCRIBE a\r\n")?;
        ensure!(raw.line()? == ">3", "a confirmation is pushed");
        for _ in 0..5 {
            raw.line()?;
        }
        ensure!(publisher.ask(&["PUBLISH", "a", "x"])? == ":2");
        ensure!(raw.line()? == ">3", "a message is pushed");
        Ok(())
    });
}

#[test]
fn subscriptions_are_bounded() {
    story(1, |cluster| {
        let mut client = Resp::to(cluster, 1)?;
        let names: Vec<String> = (0..1_024).map(|number| format!("c{number}")).collect();
        let mut words = vec!["SUBSCRIBE".to_owned()];
        words.extend(names);
        client.send(command(&words))?;
        let confirmed = client.answers(1_024)?;
        ensure!(confirmed[1_023] == "[\"subscribe\" \"c1023\" :1024]");
        let refused = client.ask(&["SUBSCRIBE", "c1", "one more"])?;
        ensure!(
            refused == "-ERR too_large a connection has at most 1024 subscriptions",
            "{refused}"
        );
        ensure!(client.ask(&["SUBSCRIBE", "c1"])? == "[\"subscribe\" \"c1\" :1024]");
        let mut publisher = Resp::to(cluster, 1)?;
        for number in 0..200 {
            let channel = format!("c{}", number * 5);
            ensure!(publisher.ask(&["PUBLISH", &channel, "x"])? == ":1");
            next_is(&mut client, &format!("[\"message\" \"{channel}\" \"x\"]"))?;
        }
        Ok(())
    });
}

/// One that reads late is told why it is cut, one that never reads is cut as well, and neither costs
/// memory or anybody's time.
#[test]
fn slow_subscribers_are_cut_while_others_are_served() {
    // More than half of the past that is kept lies behind one that does not read, and not all of it.
    const MESSAGES: usize = 300;
    story(1, |cluster| {
        let mut late = subscribed(cluster, 1, "subscribe", "much")?;
        let mut deaf = subscribed(cluster, 1, "subscribe", "much")?;
        let mut reader = subscribed(cluster, 1, "subscribe", "much")?;
        let before = cluster.node(1)?.peak_memory_kib()?;
        let payload = "x".repeat(100_000);
        let mut publisher = Resp::to(cluster, 1)?;
        let told = thread::spawn(move || -> Result<usize> {
            let expected = format!("[\"message\" \"much\" \"{}\"]", "x".repeat(100_000));
            for number in 0..MESSAGES {
                ensure!(reader.answer()? == expected, "message {number}");
            }
            Ok(MESSAGES)
        });
        for _ in 0..MESSAGES {
            let answer = publisher.ask(&["PUBLISH", "much", &payload])?;
            ensure!(answer.starts_with(':'), "{answer}");
        }
        let told = told.join().ok().context("the reader panicked")??;
        ensure!(told == MESSAGES);
        let grown = cluster.node(1)?.peak_memory_kib()? - before;
        // The past that is kept, entries of the log that are, and no queue for each subscriber.
        ensure!(grown < 150 << 10, "{grown} KiB more");
        let mut read = 0;
        let end = loop {
            let told = late.answer()?;
            if !told.starts_with('[') {
                break told;
            }
            read += 1;
        };
        ensure!(
            end.starts_with("-BUSY this watcher takes changes more slowly"),
            "{end}"
        );
        ensure!(read > 0 && read < MESSAGES, "{read} messages came");
        ensure!(late.is_ended()?);
        wait_for("who never reads is cut", 3 * PATIENCE, || {
            publisher
                .ask(&["PUBLISH", "much", "x"])
                .is_ok_and(|answer| answer == ":0")
        })?;
        let log = cluster.node(1)?.log_since_start();
        for reason in [
            "a subscription has ended, and its connection with it",
            "it read none of its answers for too long",
        ] {
            ensure!(log.contains(reason), "not logged: {reason}");
        }
        while deaf.answer().is_ok() {}
        Ok(())
    });
}

#[test]
fn rules_say_who_may_subscribe() {
    story(3, |cluster| {
        let (_, [one, _]) = roles(cluster)?;
        let hostctl = cluster.hostctl();
        let secret = hostctl.ok(["user", "add", "alice"])?;
        let rule = ["alice", "read", "/app"];
        hostctl.ok(["policy", "allow", rule[0], rule[1], rule[2]])?;
        let mut client = Resp::to(cluster, one)?;
        wait_for("alice is known here", PATIENCE, || {
            client
                .ask(&["AUTH", "alice", secret.trim()])
                .is_ok_and(|answer| answer == "+OK")
        })?;
        for (how, name) in [
            ("SUBSCRIBE", "/other"),
            ("SUBSCRIBE", "__keyspace@0__:/apple"),
            ("SUBSCRIBE", "__keyevent@0__:set"),
            ("PSUBSCRIBE", "*"),
        ] {
            let refused = client.ask(&[how, name])?;
            ensure!(
                refused.starts_with("-NOPERM 'alice' may not watch"),
                "{refused}"
            );
        }
        // All or none.
        ensure!(
            client
                .ask(&["SUBSCRIBE", "/app/news", "/other"])?
                .starts_with("-NOPERM")
        );
        ensure!(client.ask(&["UNSUBSCRIBE"])? == "[\"unsubscribe\" nil :0]");
        let channel = "__keyspace@0__:/app/k";
        let confirmed = client.ask(&["SUBSCRIBE", channel])?;
        ensure!(
            confirmed == format!("[\"subscribe\" \"{channel}\" :1]"),
            "{confirmed}"
        );
        ensure!(client.ask(&["PSUBSCRIBE", "/app/*"])?.ends_with(":2]"));
        hostctl.call(&["set", "/app/k", "v"])?;
        next_is(&mut client, &format!("[\"message\" \"{channel}\" \"set\"]"))?;
        hostctl.call(&["publish", "/app/news", "x"])?;
        next_is(&mut client, "[\"pmessage\" \"/app/*\" \"/app/news\" \"x\"]")?;
        // It may hear, and not speak.
        let mut speaker = Resp::to(cluster, one)?;
        ensure!(speaker.ask(&["AUTH", "alice", secret.trim()])? == "+OK");
        ensure!(
            speaker
                .ask(&["PUBLISH", "/app/news", "x"])?
                .starts_with("-NOPERM")
        );
        hostctl.ok(["policy", "revoke", rule[0], rule[1], rule[2]])?;
        let end = client.answer()?;
        ensure!(end.starts_with("-NOPERM 'alice' may not watch"), "{end}");
        ensure!(client.is_ended()?, "its connection goes on");
        Ok(())
    });
}

#[test]
fn publish_needs_a_plugin_that_has_it() {
    story(1, |cluster| {
        cluster.hostctl().ok(["plugin", "remove", "kv"])?;
        let mut client = Resp::to(cluster, 1)?;
        let refused = client.ask(&["PUBLISH", "news", "x"])?;
        ensure!(
            refused
                == "-ERR unknown command 'PUBLISH': no plugin has it; install one that does, such as kv",
            "{refused}"
        );
        ensure!(client.ask(&["SUBSCRIBE", "news"])? == "[\"subscribe\" \"news\" :1]");
        Ok(())
    });
}
