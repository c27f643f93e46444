//! hostd-sim
#![deny(unsafe_code)]
#![allow(missing_docs, unreachable_pub)]
mod chance;
mod checks;
mod clock;
mod disk;
mod entropy;
mod fixtures;
mod host;
mod net;
mod node;
mod pki;
mod process;
mod trace;
mod world;

use hostd::Formation;
use hostd_client::{Client, Reply};
use hostd_replica::CheckpointPolicy;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let start = std::time::Instant::now();
    let fixtures = fixtures::Fixtures::prepare("target/plugins".as_ref(), dir.path()).unwrap();
    eprintln!("prepared in {:?}", start.elapsed());
    let seed: u64 = std::env::args()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let loud = std::env::var_os("LOUD").is_some();
    let thread = std::thread::Builder::new()
        .stack_size(64 << 20)
        .spawn(move || {
            entropy::decide(seed);
            let trace = trace::Trace::new(loud);
            let listener = trace::Listener::new(trace.clone(), tracing::Level::INFO);
            tracing::subscriber::with_default(listener, || run(seed, fixtures, trace));
        })
        .unwrap();
    thread.join().unwrap();
}

fn run(seed: u64, fixtures: fixtures::Fixtures, trace: trace::Trace) {
    let start = std::time::Instant::now();
    let mut world = world::World::new(seed, fixtures, trace.clone()).unwrap();
    let members: Vec<String> = (1..=3)
        .map(|id| net::node_address(id).to_string())
        .collect();
    let checkpoint = CheckpointPolicy {
        bytes: 256 << 10,
        interval: Duration::from_secs(3),
        tail_bytes: 16 << 10,
    };
    for id in 1..=3 {
        world.add_node(
            id,
            Formation::Expect {
                members: members.clone(),
                expect: 3,
            },
            checkpoint,
        );
        world.start(id);
    }
    let tickets = Arc::new(Mutex::new(Vec::new()));
    let out = tickets.clone();
    let (n, credentials) = (world.net.clone(), world.fixtures.client.clone());
    world.clients.spawn(async move {
        let endpoint = hostd_quic::bind_abstract(
            Arc::new(n.bind(net::client_address(1), process::Process::new())),
            None,
        )
        .unwrap();
        let client = loop {
            match Client::builder()
                .servers(members.clone())
                .credentials(credentials.clone())
                .endpoint(endpoint.clone())
                .connect()
                .await
            {
                Ok(client) => break client,
                Err(error) => eprintln!("{error}"),
            }
        };
        loop {
            match client.call("ticket", [""; 0]).await {
                Ok(Reply::Integer(n)) => out.lock().unwrap().push(n),
                other => tracing::info!(target: "hostd_sim", "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    world.later(20_000, |world| world.crash(1, node::Death::Power, 3000));
    world.later(30_000, |world| world.crash(2, node::Death::Power, 3000));
    world.later(40_000, |world| world.crash(3, node::Death::Power, 3000));
    let result = world.run_until(60_000, |_| false);
    let tickets = tickets.lock().unwrap();
    println!(
        "{result:?} {} tickets, last {:?}, {:?} {:?}",
        tickets.len(),
        tickets.last(),
        world.counters.all(),
        start.elapsed()
    );
    println!("{}", trace.hash());
}
