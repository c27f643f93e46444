//! The Redis protocol's door: whoever comes, the others are served.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use cluster_tests::{Cluster, PATIENCE, wait_for};

use crate::support::{Resp, command, story};

/// Starts node 1 anew with further flags.
fn with_flags(cluster: &mut Cluster, flags: &[&str]) -> Result<()> {
    let mut launch = cluster.node(1)?.launch.clone();
    cluster.node(1)?.stop(PATIENCE)?;
    launch.flags = flags.iter().map(ToString::to_string).collect();
    cluster.start(launch)?;
    Ok(())
}

#[test]
fn many_protocols_on_one_port() {
    story(1, |cluster| {
        let address = cluster.address(1)?;
        let silent: Vec<TcpStream> = (0..50)
            .map(|_| TcpStream::connect(&address))
            .collect::<Result<_, _>>()?;
        // The beginning of what could be any protocol, and of a TLS handshake.
        for (mut stream, begun) in silent.iter().zip([&b"GE"[..], b"*", &[0x16, 3], b"PRI "]) {
            stream.write_all(begun)?;
        }
        let mut client = Resp::to(cluster, 1)?;
        ensure!(client.ask(&["PING"])? == "+PONG");
        ensure!(client.ask(&["set", "k", "v"])? == "+OK");
        ensure!(cluster.hostctl().call(&["get", "k"])? == "v", "QUIC");
        let mut inline = Resp::to(cluster, 1)?;
        inline.send("GET k\r\n")?;
        ensure!(inline.answer()? == "\"v\"");
        Ok(())
    });
}

#[test]
fn hardened_front_end() {
    story(1, |cluster| {
        let mut watched = Resp::to(cluster, 1)?;
        let mut quitter = Resp::to(cluster, 1)?;
        quitter.send("QUIT\r\nPING\r\n")?;
        ensure!(quitter.answer()? == "+OK");
        ensure!(quitter.is_ended()?, "a connection goes on after QUIT");

        for (garbage, reason) in [
            ("*1\r\n$1073741824\r\n", "invalid bulk length"),
            (&"*1\r\n".repeat(100_000), "expected '$', got '*'"),
            ("*100000000\r\n", "invalid multibulk length"),
            ("\0\0\0\r\n*9\r\nrubbish\r\n", "unknown command"),
        ] {
            let mut client = Resp::to(cluster, 1)?;
            // It may be refused before it is all written.
            let _ = client.send(garbage);
            let answer = client.answer()?;
            ensure!(answer.contains(reason), "{answer}");
            while !client.is_ended()? {
                client.answer()?;
            }
        }

        // A monitor that does not read, and clients that do not either.
        let mut monitor = Resp::to(cluster, 1)?;
        ensure!(monitor.ask(&["MONITOR"])? == "+OK");
        let value = "x".repeat(1_000);
        let mut deaf = TcpStream::connect(cluster.address(1)?)?;
        deaf.set_write_timeout(Some(Duration::from_millis(500)))?;
        ensure!(watched.ask(&["set", "large", &"y".repeat(1 << 20)])? == "+OK");
        let wish = command(&["get", "large"]).repeat(1_000);
        if let Err(error) = deaf.write_all(&wish) {
            ensure!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "{error}"
            );
        }
        let before = cluster.node(1)?.peak_memory_kib()?;
        let echoes = command(&["ECHO", &value]).repeat(100);
        for _ in 0..1_000 {
            watched.send(&echoes)?;
            for answer in watched.answers(100)? {
                ensure!(answer.len() == value.len() + 2, "{answer}");
            }
        }
        let grown = cluster.node(1)?.peak_memory_kib()? - before;
        ensure!(grown < 200 << 10, "{grown} KiB more");
        wait_for("the monitor that does not read is cut", PATIENCE, || {
            let log = cluster.node(1).map(|node| node.log_since_start());
            log.is_ok_and(|log| log.contains("it does not read what it asked to be sent"))
        })?;
        ensure!(watched.ask(&["PING"])? == "+PONG");
        Ok(())
    });
}

#[test]
fn monitor_shows_commands_and_no_passwords() {
    story(1, |cluster| {
        with_flags(cluster, &["--auth", "open sesame"])?;
        let login = ["AUTH", "open sesame"];
        let mut monitor = Resp::to(cluster, 1)?;
        ensure!(monitor.ask(&login)? == "+OK");
        ensure!(monitor.ask(&["MONITOR"])? == "+OK");
        let mut client = Resp::to(cluster, 1)?;
        ensure!(client.ask(&login)? == "+OK");
        client.ask(&[
            "HELLO",
            "3",
            "AUTH",
            "default",
            "open sesame",
            "SETNAME",
            "me",
        ])?;
        client.ask(&["set", "k\n", "v"])?;
        let hello = monitor.answer()?;
        ensure!(
            hello.contains("\"HELLO\" \"3\" \"AUTH\" \"(redacted)\""),
            "{hello}"
        );
        ensure!(!hello.contains("sesame"), "{hello}");
        let set = monitor.answer()?;
        ensure!(set.ends_with("] \"set\" \"k\\n\" \"v\""), "{set}");
        // Nobody knows what of a command is secret that no plugin has yet.
        client.ask(&["store", "/db/password", "hush"])?;
        let unknown = monitor.answer()?;
        ensure!(!unknown.contains("hush"), "{unknown}");

        // Once it is admins that see the calls of all, who is none sees no more of them.
        let hostctl = cluster.hostctl();
        hostctl.ok(["policy", "allow", "admin", "admin"])?;
        hostctl.ok(["policy", "allow", "default", "write", "/"])?;
        wait_for("the monitor is cut", PATIENCE, || {
            let _ = client.ask(&["set", "k", "hush"]);
            monitor.is_ended().unwrap_or(true)
        })?;
        Ok(())
    });
}

#[test]
fn what_no_rule_allows_is_answered_with_noperm() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        hostctl.ok(["policy", "allow", "default", "read", "/public"])?;
        let mut client = Resp::to(cluster, 1)?;
        ensure!(client.ask(&["get", "/public/x"])? == "nil");
        for words in [
            &["set", "/public/x", "1"][..],
            &["get", "/private"],
            &["dbsize"],
            &["RAFT", "SNAPSHOT", "NOW"],
        ] {
            let told = client.ask(words)?;
            ensure!(told.starts_with("-NOPERM "), "{words:?}: {told}");
        }
        // Together with others, which go on.
        client.send(
            [
                command(&["set", "/public/y", "1"]),
                command(&["get", "/public/y"]),
            ]
            .concat(),
        )?;
        let told = client.answers(2)?;
        ensure!(
            told[0].starts_with("-NOPERM ") && told[1] == "nil",
            "{told:?}"
        );
        Ok(())
    });
}

#[test]
fn password() {
    story(1, |cluster| {
        with_flags(cluster, &["--auth", "right"])?;
        let mut client = Resp::to(cluster, 1)?;
        ensure!(client.ask(&["PING"])? == "-NOAUTH Authentication required.");
        ensure!(client.ask(&["get", "k"])? == "-NOAUTH Authentication required.");
        ensure!(client.ask(&["HELLO", "3"])?.starts_with("-NOAUTH"));
        ensure!(client.ask(&["AUTH", "wrong"])?.starts_with("-WRONGPASS"));
        ensure!(
            client
                .ask(&["AUTH", "somebody", "right"])?
                .starts_with("-WRONGPASS")
        );
        ensure!(client.ask(&["AUTH", "right"])? == "+OK");
        ensure!(client.ask(&["PING"])? == "+PONG");
        ensure!(client.ask(&["RESET"])? == "+RESET");
        ensure!(client.ask(&["PING"])?.starts_with("-NOAUTH"));
        let hello = client.ask(&["HELLO", "3", "AUTH", "default", "right"])?;
        ensure!(
            hello.starts_with('{') && hello.contains("\"proto\"=:3"),
            "{hello}"
        );
        // Who guesses has few tries, and may not send much.
        let mut guesser = Resp::to(cluster, 1)?;
        let tries = (0..20)
            .map(|_| command(&["AUTH", "guess"]))
            .collect::<Vec<_>>();
        guesser.send(tries.concat())?;
        let mut refused = 0;
        while !guesser.is_ended()? {
            ensure!(guesser.answer()?.starts_with("-WRONGPASS"));
            refused += 1;
        }
        ensure!(refused == 10, "{refused} tries");
        let mut greedy = Resp::to(cluster, 1)?;
        greedy.send("*1000\r\n")?;
        ensure!(greedy.answer()?.contains("invalid multibulk length"));
        ensure!(greedy.is_ended()?);
        Ok(())
    });
}

#[test]
fn plaintext_is_refused_where_tls_is_required() {
    story(1, |cluster| {
        with_flags(cluster, &["--require", "tls"])?;
        let mut client = Resp::to(cluster, 1)?;
        client.send("PING\r\n")?;
        let answer = client.answer()?;
        ensure!(answer.starts_with("-ERR this port wants TLS"), "{answer}");
        ensure!(client.is_ended()?);
        ensure!(
            cluster.hostctl().call(&["ticket"])? == "1",
            "QUIC has TLS anyway"
        );
        Ok(())
    });
}

#[test]
fn redirect() {
    story(3, |cluster| {
        let leader = cluster.wait_leader()?;
        let others: Vec<u64> = cluster
            .ids()
            .into_iter()
            .filter(|id| *id != leader)
            .collect();
        for (id, flag) in others.iter().zip(["--redirect", "--try-errors"]) {
            let mut launch = cluster.node(*id)?.launch.clone();
            cluster.node(*id)?.stop(PATIENCE)?;
            launch.flags = vec![flag.into()];
            cluster.start(launch)?;
        }
        cluster.wait_voters(3)?;
        let address = cluster.address(leader)?;
        let mut moved = Resp::to(cluster, others[0])?;
        let mut tried = Resp::to(cluster, others[1])?;
        let hostctl = cluster.hostctl();
        wait_for("both know the leader", PATIENCE, || {
            // On a busy machine there may have been an election.
            if cluster.wait_leader().ok() != Some(leader) {
                let _ = hostctl.run(["member", "transfer", &leader.to_string()]);
                return false;
            }
            moved
                .ask(&["set", "k", "v"])
                .is_ok_and(|answer| answer == format!("-MOVED 0 {address}"))
                && tried
                    .ask(&["get", "k"])
                    .is_ok_and(|answer| answer == format!("-TRY {address}"))
        })?;
        ensure!(moved.ask(&["PING"])? == "+PONG");
        let slots = moved.ask(&["CLUSTER", "SLOTS"])?;
        let (_, port) = address.rsplit_once(':').unwrap_or_default();
        ensure!(
            slots.starts_with(&format!("[[:0 :16383 [\"127.0.0.1\" :{port} ")),
            "{slots}"
        );
        ensure!(Resp::connect(&address)?.ask(&["set", "k", "v"])? == "+OK");
        // Without a quorum there is nobody to be sent to.
        cluster.node(leader)?.kill()?;
        cluster.node(others[1])?.kill()?;
        wait_for("it knows no leader", PATIENCE, || {
            moved
                .ask(&["set", "k", "v"])
                .is_ok_and(|answer| answer.starts_with("-CLUSTERDOWN"))
        })?;
        Ok(())
    });
}

/// Many connections that send what is half, or wrong, and read nothing.
#[test]
fn hostile_clients_take_bounded_memory_and_nobodys_turn() {
    // More than a node takes.
    const CONNECTIONS: usize = 10_000;
    story(1, |cluster| {
        let address = cluster.address(1)?;
        let mut client = Resp::to(cluster, 1)?;
        ensure!(client.ask(&["set", "k", "v"])? == "+OK");
        let before = cluster.node(1)?.peak_memory_kib()?;
        let half = |announced: usize, bytes: usize| {
            let mut frame = format!("*3\r\n$3\r\nset\r\n$1\r\nk\r\n${announced}\r\n").into_bytes();
            frame.resize(frame.len() + bytes, b'x');
            frame
        };
        let frames = [
            half(16_000_000, 1 << 20),
            half(1_073_741_824, 1 << 16),
            "*1\r\n".repeat(100_000).into_bytes(),
            [&[0x16, 3, 1, 0xff, 0xff][..], &vec![0xff; 50_000]].concat(),
            b"\"".repeat(60_000),
            command(&["get", "k"]).repeat(10_000),
            b"*65536\r\n"
                .iter()
                .copied()
                .chain(*b"$0\r\n\r\n")
                .collect(),
            Vec::new(),
        ];
        let mut hostile = Vec::new();
        for number in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(&address)?;
            stream.set_nonblocking(true)?;
            // The second half says nothing, and takes up all connections that there may be.
            if number < CONNECTIONS / 2 {
                // As much as it takes, and no more: nobody here reads an answer.
                let _ = stream.write(&frames[number % frames.len()]);
            }
            hostile.push(stream);
            if number % 50 == 0 {
                ensure!(
                    client.ask(&["get", "k"])? == "\"v\"",
                    "others are not served"
                );
            }
        }
        for number in 0..200 {
            ensure!(client.ask(&["set", "n", &number.to_string()])? == "+OK");
        }
        // Operators come by another protocol, and whoever says nothing while it is crowded is not
        // waited for.
        ensure!(cluster.hostctl().call(&["get", "n"])? == "199");
        wait_for("others get in", PATIENCE, || {
            let answer = Resp::to(cluster, 1).and_then(|mut new| new.ask(&["PING"]));
            answer.is_ok_and(|answer| answer == "+PONG")
        })?;
        let grown = cluster.node(1)?.peak_memory_kib()? - before;
        // What may be held of unfinished requests, and the same again for buffers.
        ensure!(grown < 512 << 10, "{grown} KiB more");
        drop(hostile);
        ensure!(client.ask(&["get", "n"])? == "\"199\"");
        Ok(())
    });
}
