//! How many requests wait at the same time, and for whom.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A closed-loop load: every client keeps a fixed number of requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Clients.
    pub(crate) clients: usize,
    /// Requests in flight per client.
    pub(crate) in_flight: usize,
}

impl Shape {
    /// One request at a time: latency.
    pub(crate) const SINGLE: Shape = Shape::new(1, 1);
    /// Many clients that each wait for their reply.
    pub(crate) const MANY: Shape = Shape::new(64, 1);
    /// Many clients that pipeline.
    pub(crate) const PIPELINED: Shape = Shape::new(64, 16);

    /// `clients` × `in_flight`.
    pub(crate) const fn new(clients: usize, in_flight: usize) -> Self {
        Self { clients, in_flight }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.clients, self.in_flight)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || format!("`{text}` is not CLIENTSxIN_FLIGHT, such as 64x16");
        let (clients, in_flight) = text.split_once(['x', '×']).ok_or_else(expected)?;
        let number = |text: &str| match text.parse() {
            Ok(0) | Err(_) => Err(expected()),
            Ok(number) => Ok(number),
        };
        Ok(Self::new(number(clients)?, number(in_flight)?))
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}x{}", self.clients, self.in_flight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_written_as_they_are_read() {
        assert_eq!("64x16".parse(), Ok(Shape::PIPELINED));
        assert_eq!(Shape::PIPELINED.to_string().parse(), Ok(Shape::PIPELINED));
        for bad in ["64", "0x1", "1x0", "x", "ax1"] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
    }
}
