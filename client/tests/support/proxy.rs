//! A UDP proxy that can lose what it should pass on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Passes datagrams between clients and one node.
pub struct Proxy {
    address: SocketAddr,
    /// Loses what clients send.
    pub lose_requests: Arc<AtomicBool>,
    /// Loses what the node sends.
    pub lose_answers: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let lose_requests = Arc::new(AtomicBool::new(false));
        let lose_answers = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(pass(
            front,
            target,
            lose_requests.clone(),
            lose_answers.clone(),
        ));
        Self {
            address,
            lose_requests,
            lose_answers,
            task,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As if the node's machine lost its power, or got it back.
    pub fn set_dead(&self, dead: bool) {
        self.lose_requests.store(dead, Ordering::Relaxed);
        self.lose_answers.store(dead, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    front: Arc<UdpSocket>,
    target: SocketAddr,
    lose_requests: Arc<AtomicBool>,
    lose_answers: Arc<AtomicBool>,
) {
    // One socket per client, so that the node tells them apart.
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        if lose_requests.load(Ordering::Relaxed) {
            continue;
        }
        let back = if let Some(back) = backs.get(&client) {
            back.clone()
        } else {
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            back.connect(target).await.unwrap();
            backs.insert(client, back.clone());
            let (back_again, front) = (back.clone(), front.clone());
            let lose_answers = lose_answers.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                // Ends with an error when nothing listens; a new client gets a new socket.
                while let Ok(length) = back_again.recv(&mut buffer).await {
                    if !lose_answers.load(Ordering::Relaxed) {
                        let _ = front.send_to(&buffer[..length], client).await;
                    }
                }
            });
            back
        };
        let _ = back.send(&buffer[..length]).await;
    }
}
