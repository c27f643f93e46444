//! A delay in user space, for kernels without one: a process on a node's host that others dial
//! instead of the node, and that passes UDP packets on, late or not at all.
//!
//! It is told what to do on standard input, a line a command, and ends with that.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster_tests::Namespaces;
use tokio::net::UdpSocket;

use super::Weather;
use crate::random::Random;

/// Larger than any UDP packet.
const PACKET_BYTES_MAX: usize = 1 << 16;

/// A running relay.
#[derive(Debug)]
pub(crate) struct Relay {
    process: Child,
    commands: ChildStdin,
}

impl Relay {
    /// Starts a relay on a host, in front of the node that will listen there.
    pub(crate) fn start(namespaces: &Namespaces, host: u8, port: u16) -> Result<Self> {
        let target = namespaces.address(host);
        let front = SocketAddr::new(target.ip(), port);
        let through = namespaces.through(host);
        let mut process = Command::new(&through[0])
            .args(&through[1..])
            .arg(std::env::current_exe()?)
            .args(["relay", &front.to_string(), &target.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .context("a relay does not start")?;
        let commands = process.stdin.take().context("it was piped")?;
        Ok(Self { process, commands })
    }

    /// Delays what comes from an address and what goes there; from and to all when `None`.
    pub(crate) fn slow_down(&mut self, from: Option<IpAddr>, weather: Weather) -> Result<()> {
        let from = from.map_or_else(|| "all".to_owned(), |from| from.to_string());
        let (delay, early) = (weather.delay.as_millis(), weather.early_percent);
        let line = format!("{from} {delay} {early} {}", weather.loss_percent);
        self.tell(&line)
    }

    /// Delays nothing any more.
    pub(crate) fn speed_up(&mut self) -> Result<()> {
        self.tell("clear")
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.commands, "{line}").context("a relay has ended")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The weather by source.
type Map = Arc<Mutex<HashMap<Option<IpAddr>, Weather>>>;

/// Is a relay, until standard input ends.
pub(crate) fn pass_on(front: SocketAddr, target: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let front = Arc::new(UdpSocket::bind(front).await?);
        let map = Map::default();
        let commands = map.clone();
        std::thread::spawn(move || {
            obey(&commands);
            std::process::exit(0);
        });
        listen(&front, target, &map).await
    })
}

/// Takes commands, until there are no more.
fn obey(map: &Map) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
        match parse(&line) {
            Some((from, weather)) => {
                map.insert(from, weather);
            }
            None => map.clear(),
        }
    }
}

fn parse(line: &str) -> Option<(Option<IpAddr>, Weather)> {
    let mut words = line.split(' ');
    let from = words.next()?;
    let from = if from == "all" {
        None
    } else {
        Some(from.parse().ok()?)
    };
    let mut number = || words.next()?.parse::<u32>().ok();
    let weather = Weather {
        delay: Duration::from_millis(number()?.into()),
        early_percent: number()?,
        loss_percent: number()?,
    };
    Some((from, weather))
}

/// Sources to the node. Each has a socket of its own at the back, so that the node sees them
/// apart and answers find their way.
async fn listen(front: &Arc<UdpSocket>, target: SocketAddr, map: &Map) -> Result<()> {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut packet = vec![0; PACKET_BYTES_MAX];
    let mut random = Random::new(target.port().into());
    loop {
        // A port unreachable of an earlier packet is reported here too, and means nothing.
        let Ok((length, source)) = front.recv_from(&mut packet).await else {
            continue;
        };
        let back = if let Some(back) = backs.get(&source) {
            Arc::clone(back)
        } else {
            let back = Arc::new(UdpSocket::bind((target.ip(), 0)).await?);
            back.connect(target).await?;
            let (front, reader, map) = (front.clone(), back.clone(), map.clone());
            tokio::spawn(async move { answer(&front, source, &reader, &map).await });
            backs.insert(source, back.clone());
            back
        };
        send(map, source, &mut random, &packet[..length], move |packet| {
            // A lost packet is nothing special to QUIC.
            let _ = back.try_send(packet);
        });
    }
}

/// The node's answers to one source.
async fn answer(front: &Arc<UdpSocket>, source: SocketAddr, back: &UdpSocket, map: &Map) {
    let mut packet = vec![0; PACKET_BYTES_MAX];
    let mut random = Random::new(source.port().into());
    loop {
        match back.recv(&mut packet).await {
            Ok(length) => {
                let front = Arc::clone(front);
                send(map, source, &mut random, &packet[..length], move |packet| {
                    let _ = front.try_send_to(packet, source);
                });
            }
            // The node is down: its machine says that nobody listens. It may come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Sends a packet as the weather of this source has it.
fn send(
    map: &Map,
    source: SocketAddr,
    random: &mut Random,
    packet: &[u8],
    send: impl FnOnce(&[u8]) + Send + 'static,
) {
    let weather = {
        let map = map.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(&None)
            .or_else(|| map.get(&Some(source.ip())))
            .copied()
    };
    let Some(weather) = weather else {
        send(packet);
        return;
    };
    if random.below(100) < u64::from(weather.loss_percent) {
        return;
    }
    if random.below(100) < u64::from(weather.early_percent) {
        send(packet);
        return;
    }
    let packet = packet.to_vec();
    tokio::spawn(async move {
        tokio::time::sleep(weather.delay).await;
        send(&packet);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_it_is_written() {
        let weather = Weather {
            delay: Duration::from_millis(80),
            early_percent: 20,
            loss_percent: 5,
        };
        assert_eq!(parse("all 80 20 5"), Some((None, weather)));
        let from = IpAddr::from([198, 18, 0, 1]);
        assert_eq!(parse("198.18.0.1 80 20 5"), Some((Some(from), weather)));
        assert_eq!(parse("clear"), None);
    }
}
