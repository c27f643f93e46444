//! A network of its own for every node: Linux network namespaces around one bridge. Nothing of
//! the machine's own network is touched. Needs root, `ip` and `iptables`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Namespaces of hosts that reach each other, and can be cut off from one another.
#[derive(Debug)]
pub struct Namespaces {
    /// Names start with this.
    prefix: String,
    hosts: u8,
}

/// The first three bytes of the addresses: the block set aside for tests of network devices
/// (RFC 2544).
const NETWORK: [u8; 3] = [198, 18, 0];

const PORT: u16 = 11_001;

const NAME_START: &str = "hostd-";

impl Namespaces {
    /// Makes hosts 0 to `last`. `None` where this process may not, or the programs are missing;
    /// the reason goes to standard error.
    pub fn create(last: u8) -> Option<Self> {
        remove_orphans();
        let prefix = format!("{NAME_START}{}-{}-", std::process::id(), next());
        let namespaces = Self {
            prefix,
            hosts: last + 1,
        };
        match namespaces.connect() {
            Ok(()) => Some(namespaces),
            Err(error) => {
                eprintln!("no network namespaces here: {error:#}");
                None
            }
        }
    }

    fn connect(&self) -> Result<()> {
        let switch = self.switch();
        run("ip", &["netns", "add", &switch])?;
        run("ip", &["netns", "exec", &switch, "iptables", "-w", "-S"])?;
        ip(&switch, "link add bridge type bridge")?;
        ip(&switch, "link set bridge up")?;
        for host in 0..self.hosts {
            let (name, address) = (self.name(host), ip_address(host));
            run("ip", &["netns", "add", &name])?;
            ip(
                &name,
                &format!("link add eth0 type veth peer name port{host} netns {switch}"),
            )?;
            ip(&switch, &format!("link set port{host} master bridge up"))?;
            ip(&name, &format!("address add {address}/24 dev eth0"))?;
            ip(&name, "link set lo up")?;
            ip(&name, "link set eth0 up")?;
        }
        Ok(())
    }

    /// What to put in front of a command so that it runs on this host.
    pub fn through(&self, host: u8) -> Vec<String> {
        ["ip", "netns", "exec", &self.name(host)]
            .map(str::to_owned)
            .to_vec()
    }

    /// Where the node on this host listens.
    pub fn address(&self, host: u8) -> SocketAddr {
        SocketAddr::from((ip_address(host), PORT))
    }

    /// Connects this process's own network with the hosts. Only for a process that has a network
    /// namespace to itself: it is given a device and an address there.
    pub fn connect_here(&self) -> Result<()> {
        let switch = self.switch();
        let address = ip_address_here();
        run_words(&format!(
            "ip link add hosts type veth peer name here netns {switch}"
        ))?;
        ip(&switch, "link set here master bridge up")?;
        run_words(&format!("ip address add {address}/24 dev hosts"))?;
        run_words("ip link set lo up")?;
        run_words("ip link set hosts up")
    }

    /// Runs a command on a host and waits for its end, which must be success.
    pub fn run_on(&self, host: u8, words: &str) -> Result<()> {
        let name = self.name(host);
        let words: Vec<&str> = ["netns", "exec", &name]
            .into_iter()
            .chain(words.split(' '))
            .collect();
        run("ip", &words)
    }

    /// Drops every packet between two hosts, silently.
    pub fn cut(&self, one: u8, other: u8) -> Result<()> {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// Drops every packet that one host sends to another, silently; not those that come back.
    pub fn cut_one_way(&self, from: u8, to: u8) -> Result<()> {
        let from = ip_address(from);
        self.run_on(to, &format!("iptables -w -A INPUT -s {from} -j DROP"))
    }

    /// Undoes every [`Namespaces::cut`] and [`Namespaces::cut_one_way`].
    pub fn heal(&self) -> Result<()> {
        (0..self.hosts).try_for_each(|host| self.run_on(host, "iptables -w -F INPUT"))
    }

    fn switch(&self) -> String {
        format!("{}switch", self.prefix)
    }

    fn name(&self, host: u8) -> String {
        format!("{}{host}", self.prefix)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // The links go with the namespaces.
        for name in (0..self.hosts)
            .map(|host| self.name(host))
            .chain([self.switch()])
        {
            let _ = run("ip", &["netns", "delete", &name]);
        }
    }
}

/// Removes namespaces of test runs that were killed: their names carry a process id.
fn remove_orphans() {
    let Ok(names) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for name in names
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let Some(rest) = name.strip_prefix(NAME_START) else {
            continue;
        };
        let Some(owner) = rest.split('-').next().and_then(|id| id.parse::<u32>().ok()) else {
            continue;
        };
        if !std::path::Path::new(&format!("/proc/{owner}")).exists() {
            let _ = run("ip", &["netns", "delete", &name]);
        }
    }
}

fn next() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn ip_address(host: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, 100 + host)
}

/// The address of this process's own network, when it is connected.
fn ip_address_here() -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, 99)
}

fn run_words(words: &str) -> Result<()> {
    let words: Vec<&str> = words.split(' ').collect();
    run(words[0], &words[1..])
}

fn ip(namespace: &str, words: &str) -> Result<()> {
    let words: Vec<&str> = ["-n", namespace]
        .into_iter()
        .chain(words.split(' '))
        .collect();
    run("ip", &words)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), reason.trim());
    }
    Ok(())
}
