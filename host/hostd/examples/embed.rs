//! A program with a hostd node inside: `cargo run --release -p hostd --example embed -- FILE`,
//! where FILE is `target/plugins/ticket.wasm`.

use std::error::Error;
use std::path::{Path, PathBuf};

use hostd::{Config, Node};
use hostd_protocol::Reply;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let plugin = std::env::args().nth(1).ok_or("usage: embed PLUGIN.wasm")?;
    for ticket in take_tickets(Path::new("embedded-data"), plugin.into(), 3).await? {
        println!("{ticket:?}");
    }
    Ok(())
}

/// Opens a node on `data`, takes tickets, and shuts it down.
pub(crate) async fn take_tickets(
    data: &Path,
    plugin: PathBuf,
    count: usize,
) -> Result<Vec<Reply>, Box<dyn Error>> {
    let node = Node::start(Config {
        plugins: vec![plugin],
        ..Config::new(data)
    })
    .await?;
    let mut tickets = Vec::new();
    for _ in 0..count {
        tickets.push(node.call("embedded", "ticket", [""; 0]).await?);
    }
    node.shutdown().await;
    Ok(tickets)
}
