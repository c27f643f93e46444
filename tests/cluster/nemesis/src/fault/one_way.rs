//! Packets that get through in one direction only: a leader that is heard and does not hear, or
//! a follower that asks for votes and never learns of the leader.

use anyhow::{Context as _, Result};

use super::Fault;
use crate::field::{Field, Network};
use crate::random::Random;

#[derive(Default)]
pub(crate) struct OneWay;

impl Fault for OneWay {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let shape = random.below(5);
        let nodes = field.pick_some(field.voters(), random)?;
        let network = field.network.as_ref().context("there is no network")?;
        let (one, others) = nodes.split_first().context("no node runs")?;
        Ok(match shape {
            0 | 1 => {
                for other in others {
                    network.cut_one_way(*other, *one)?;
                }
                format!("{one} hears nobody and is heard")
            }
            2 | 3 => {
                for other in others {
                    network.cut_one_way(*one, *other)?;
                }
                format!("{one} is heard by nobody and hears")
            }
            _ => {
                // In a circle.
                for (position, from) in nodes.iter().enumerate() {
                    let to = nodes[(position + 1) % nodes.len()];
                    network.cut_one_way(*from, to)?;
                }
                let circle: Vec<String> = nodes.iter().map(u64::to_string).collect();
                format!("each is not heard by the next of {}", circle.join(" > "))
            }
        })
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        field.network.as_ref().map_or(Ok(()), Network::heal)
    }
}
