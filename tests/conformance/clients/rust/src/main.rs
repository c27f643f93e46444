//! The Rust crate `redis`, unchanged: plain over RESP2 and RESP3, and its cluster client.

use redis::cluster::ClusterClient;
use redis::{Client, Commands, ConnectionLike, RedisResult, Value, cmd, pipe};

fn check<C: ConnectionLike>(connection: &mut C, prefix: &str) -> RedisResult<()> {
    let key = |name: &str| format!("{prefix}:{name}");
    let _: () = connection.set(key("k"), b"\x00\xff\r\n")?;
    assert_eq!(connection.get::<_, Vec<u8>>(key("k"))?, b"\x00\xff\r\n");
    assert_eq!(connection.get::<_, Option<String>>(key("none"))?, None);
    assert_eq!(connection.incr::<_, _, i64>(key("n"), 42)?, 42);
    let mut pipeline = pipe();
    for number in 0..100 {
        pipeline.set(key("p"), number).ignore().get(key("p"));
    }
    let answers: Vec<i64> = pipeline.query(connection)?;
    assert_eq!(answers, (0..100).collect::<Vec<_>>());
    assert_eq!(connection.del::<_, i64>(key("k"))?, 1);
    let _: () = connection.set(key("word"), "abc")?;
    let refused = connection.incr::<_, _, i64>(key("word"), 1).unwrap_err();
    assert!(refused.to_string().contains("value is not an integer"), "{refused}");
    Ok(())
}

fn main() -> RedisResult<()> {
    let addresses = std::env::var("HOSTD_ADDRESSES").expect("HOSTD_ADDRESSES is set");
    let addresses: Vec<&str> = addresses.split(',').collect();
    for protocol in ["resp2", "resp3"] {
        for address in &addresses {
            let client = Client::open(format!("redis://{address}/?protocol={protocol}"))?;
            let mut connection = client.get_connection()?;
            check(&mut connection, &format!("rust:{protocol}:{address}"))?;
            let ticket: Value = cmd("TICKET").query(&mut connection)?;
            assert!(matches!(ticket, Value::Int(1..)), "{ticket:?}");
        }
    }
    let urls = addresses.iter().map(|address| format!("redis://{address}/"));
    let mut connection = ClusterClient::new(urls.collect::<Vec<_>>())?.get_connection()?;
    check(&mut connection, "rust-cluster")?;
    println!("redis crate");
    Ok(())
}
