//! The Rust crate `redis`, unchanged: plain over RESP2 and RESP3, and its cluster client.

use redis::cluster::{ClusterClient, cluster_pipe};
use redis::{Client, Commands, ConnectionLike, RedisResult, Value, cmd, pipe};

/// How many pairs of a write and a read travel as one.
const PIPELINED: i64 = 100;

fn check<C: ConnectionLike>(connection: &mut C, prefix: &str) -> RedisResult<()> {
    let key = |name: &str| format!("{prefix}:{name}");
    let _: () = connection.set(key("k"), b"\x00\xff\r\n")?;
    assert_eq!(connection.get::<_, Vec<u8>>(key("k"))?, b"\x00\xff\r\n");
    assert_eq!(connection.get::<_, Option<String>>(key("none"))?, None);
    assert_eq!(connection.incr::<_, _, i64>(key("n"), 42)?, 42);
    assert_eq!(connection.del::<_, i64>(key("k"))?, 1);
    let _: () = connection.set(key("word"), "abc")?;
    let refused = connection.incr::<_, _, i64>(key("word"), 1).unwrap_err();
    assert!(refused.to_string().contains("value is not an integer"), "{refused}");
    Ok(())
}

/// Every read saw the write that was sent before it.
fn in_order(answers: &[i64]) {
    assert_eq!(answers, (0..PIPELINED).collect::<Vec<_>>());
}

fn main() -> RedisResult<()> {
    let addresses = std::env::var("HOSTD_ADDRESSES").expect("HOSTD_ADDRESSES is set");
    let addresses: Vec<&str> = addresses.split(',').collect();
    for protocol in ["resp2", "resp3"] {
        for address in &addresses {
            let client = Client::open(format!("redis://{address}/?protocol={protocol}"))?;
            let mut connection = client.get_connection()?;
            check(&mut connection, &format!("rust:{protocol}:{address}"))?;
            let mut pipeline = pipe();
            for number in 0..PIPELINED {
                pipeline.set("rust:p", number).ignore().get("rust:p");
            }
            in_order(&pipeline.query::<Vec<i64>>(&mut connection)?);
            let ticket: Value = cmd("TICKET").query(&mut connection)?;
            assert!(matches!(ticket, Value::Int(1..)), "{ticket:?}");
        }
    }
    let urls = addresses.iter().map(|address| format!("redis://{address}/"));
    let mut connection = ClusterClient::new(urls.collect::<Vec<_>>())?.get_connection()?;
    check(&mut connection, "rust-cluster")?;
    // Its pipelines have a type of their own: it sends each part to the node that has the slot.
    let mut pipeline = cluster_pipe();
    for number in 0..PIPELINED {
        pipeline.set("rust:p", number).ignore().get("rust:p");
    }
    in_order(&pipeline.query::<Vec<i64>>(&mut connection)?);
    println!("redis crate");
    Ok(())
}
