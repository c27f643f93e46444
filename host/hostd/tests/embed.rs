//! The example works, and what it took is not given out again.
#![allow(missing_docs)]

#[allow(dead_code)]
#[path = "../examples/embed.rs"]
mod embed;

use hostd_protocol::Reply;

fn tickets(values: impl IntoIterator<Item = i64>) -> Vec<Reply> {
    values.into_iter().map(Reply::Integer).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_node_takes_up_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/ticket");
    let plugin = hostd_plugin_build::build(manifest, &hostd_plugin_build::Options::default())
        .unwrap()
        .write(directory.path())
        .unwrap();
    let first = embed::take_tickets(directory.path(), plugin.clone(), 3)
        .await
        .unwrap();
    assert_eq!(first, tickets(1..=3));
    let second = embed::take_tickets(directory.path(), plugin, 2)
        .await
        .unwrap();
    assert_eq!(second, tickets(4..=5));
}
