//! Nodes that cannot reach each other, in both directions. Clients reach all of them, also those
//! on the wrong side.

use anyhow::{Context as _, Result};

use super::{Fault, list};
use crate::field::{Field, Network};
use crate::random::Random;

#[derive(Default)]
pub(crate) struct Partition;

impl Fault for Partition {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let minority = field.voters() - field.majority();
        let shape = random.below(5);
        // The leader first, half of the time.
        let nodes = field.pick_some(field.voters(), random)?;
        let network = field.network.as_ref().context("there is no network")?;
        let (parts, how) = match shape {
            0 | 1 => (vec![&nodes[..1], &nodes[1..]], "alone"),
            2 => (vec![&nodes[..minority], &nodes[minority..]], "a minority"),
            3 => (nodes.chunks(1).collect(), "everybody from everybody"),
            _ => {
                // Each sees a majority, and they do not agree on which.
                if let [one, other, ..] = nodes[..] {
                    network.cut(one, other)?;
                    return Ok(format!("cut {one} from {other} and from no other"));
                }
                (Vec::new(), "nobody")
            }
        };
        for (position, part) in parts.iter().enumerate() {
            for others in &parts[position + 1..] {
                for one in *part {
                    for other in *others {
                        network.cut(*one, *other)?;
                    }
                }
            }
        }
        let parts: Vec<String> = parts.into_iter().map(list).collect();
        Ok(format!("cut off {how}: {}", parts.join(" | ")))
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        field.network.as_ref().map_or(Ok(()), Network::heal)
    }
}
