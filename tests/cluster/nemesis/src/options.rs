//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::fault::Kind;

/// Harms a cluster of real hostd processes while clients use it, and checks what they saw
#[derive(Parser)]
#[command(name = "nemesis", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What a run consists of.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How long to inject faults; setting up, healing and checking come on top
    #[arg(long, default_value_t = 5.0, value_name = "M")]
    minutes: f64,
    /// Decides which faults come when and what they hit; drawn and printed unless given
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Only these faults and operations [default: all]
    #[arg(long, value_delimiter = ',', value_enum, value_name = "FAULTS")]
    pub(crate) faults: Vec<Kind>,
    /// Voters: 3 or 5
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=5))]
    pub(crate) nodes: u64,
    /// Keep the data directories and logs of a run without violations too
    #[arg(long)]
    pub(crate) keep: bool,
}

impl Options {
    /// How long to inject faults.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.minutes.clamp(0.0, 1e6) * 60.0)
    }
}

/// Parts of a run that are processes of their own.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// Passes packets on, late: the delay of a host on a kernel that has none
    #[command(hide = true)]
    Relay {
        /// Where it listens.
        front: SocketAddr,
        /// Where the node listens.
        target: SocketAddr,
    },
}
