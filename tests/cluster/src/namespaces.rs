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

    /// Drops every packet between two hosts, silently.
    pub fn cut(&self, one: u8, other: u8) -> Result<()> {
        for (here, there) in [(one, other), (other, one)] {
            let there = ip_address(there).to_string();
            let rule = ["iptables", "-w", "-A", "INPUT", "-s", &there, "-j", "DROP"];
            run(
                "ip",
                &[&["netns", "exec", &self.name(here)], &rule[..]].concat(),
            )?;
        }
        Ok(())
    }

    /// Undoes every [`Namespaces::cut`].
    pub fn heal(&self) -> Result<()> {
        for host in 0..self.hosts {
            run(
                "ip",
                &[
                    "netns",
                    "exec",
                    &self.name(host),
                    "iptables",
                    "-w",
                    "-F",
                    "INPUT",
                ],
            )?;
        }
        Ok(())
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
