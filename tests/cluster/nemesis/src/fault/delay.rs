//! A bad line: packets late, some out of order, some lost.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Fault, list};
use crate::field::{Field, Network, Weather};
use crate::random::Random;

#[derive(Default)]
pub(crate) struct Delay;

impl Fault for Delay {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let count = *random.pick(&[1, 1, field.majority(), field.voters()]);
        let delay = random.between(Duration::from_millis(5), Duration::from_millis(150));
        let weather = Weather {
            delay,
            early_percent: *random.pick(&[0, 0, 5]),
            loss_percent: *random.pick(&[0, 0, 2, 10]),
        };
        let slow = field.pick_some(count, random)?;
        let network = field.network.as_mut().context("there is no network")?;
        for id in &slow {
            network.slow_down(*id, weather)?;
        }
        Ok(format!(
            "packets of {} are {} ms late, {} % overtake others, {} % lost",
            list(&slow),
            weather.delay.as_millis(),
            weather.early_percent,
            weather.loss_percent
        ))
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        field.network.as_mut().map_or(Ok(()), Network::speed_up)
    }
}
