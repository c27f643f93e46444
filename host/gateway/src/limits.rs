//! How much of the node clients may take, and how much they do.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::room::Room;

/// Bounds on what clients may take. Beyond them requests are answered `overloaded` or
/// `too_large`, and connections are closed with a reason.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of clients over TCP, and as many over QUIC: whoever takes all of one kind does not
    /// keep the others out.
    pub connections_max: usize,
    /// Unanswered requests of one connection.
    pub in_flight_per_connection_max: usize,
    /// Unanswered requests of all connections.
    pub in_flight_max: usize,
    /// Bytes of all unanswered requests.
    pub in_flight_bytes_max: usize,
    /// Watches of one connection.
    pub watches_per_connection_max: usize,
    /// Watches of all connections.
    pub watches_max: usize,
    /// Bytes of one request, encoded.
    pub request_bytes_max: usize,
    /// Bytes of a request that is too large and yet read to its end and dropped, so that its
    /// connection stays usable. Beyond, the connection is closed.
    pub skip_bytes_max: usize,
    /// Bytes of answers that wait for a slow reader before no more of its requests are read.
    pub backlog_bytes_max: usize,
    /// A client that takes none of its waiting answers for this long is disconnected.
    pub stall_timeout: Duration,
    /// A handshake that takes longer is given up.
    pub handshake_timeout: Duration,
    /// Bytes of a line over TCP: of an inline command, or an HTTP request line.
    pub line_bytes_max: usize,
    /// A TCP connection that says nothing for this long, not even at its beginning, is closed.
    pub idle_timeout: Duration,
    /// The header of an HTTP request that takes longer to come is not waited for.
    pub header_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let arguments = hostd_protocol::Limits::default().arguments_bytes_max;
        Self {
            connections_max: 4_096,
            in_flight_per_connection_max: 8_192,
            in_flight_max: 65_536,
            in_flight_bytes_max: 256 << 20,
            watches_per_connection_max: 4_096,
            watches_max: 65_536,
            // Names, lengths and identifiers around the arguments.
            request_bytes_max: usize::try_from(arguments).unwrap_or(usize::MAX) + (64 << 10),
            skip_bytes_max: 256 << 20,
            backlog_bytes_max: 1 << 20,
            stall_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
            line_bytes_max: 64 << 10,
            idle_timeout: Duration::from_mins(10),
            header_timeout: Duration::from_secs(10),
        }
    }
}

/// What a client came by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Quic,
    Tcp,
}

/// What clients take at this moment.
#[derive(Debug, Default)]
pub struct Load {
    /// By transport.
    connections: [AtomicUsize; 2],
    requests: AtomicUsize,
    bytes: AtomicUsize,
    /// Bytes of answers that are not read, where they are many.
    answers: AtomicUsize,
    watches: AtomicUsize,
    /// For what watchers are told.
    pub(crate) room: Room,
}

impl Load {
    /// Connections of clients.
    pub fn connections(&self) -> usize {
        let counts = self.connections.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Unanswered requests.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Watches.
    pub fn watches(&self) -> usize {
        self.watches.load(Ordering::Relaxed)
    }

    /// Counts a watch for as long as the returned value lives; `None` when there are enough.
    pub(crate) fn admit_watch(self: &Arc<Self>, limits: &Limits) -> Option<WatchSlot> {
        let slot = WatchSlot(self.clone());
        let before = self.watches.fetch_add(1, Ordering::Relaxed);
        (before < limits.watches_max).then_some(slot)
    }

    pub(crate) fn watches_counter(&self) -> &AtomicUsize {
        &self.watches
    }

    /// Whether so many connect over TCP that nobody may take long to say something.
    pub(crate) fn is_crowded(&self, limits: &Limits) -> bool {
        let connections = &self.connections[Transport::Tcp as usize];
        connections.load(Ordering::Relaxed) > limits.connections_max / 2
    }

    /// Counts a connection for as long as the returned value lives; `None` when there are enough.
    pub(crate) fn admit_connection(
        self: &Arc<Self>,
        limits: &Limits,
        transport: Transport,
    ) -> Option<ConnectionSlot> {
        let slot = ConnectionSlot(self.clone(), transport);
        // Counted before it is judged: two at once cannot both be the last.
        let before = self.connections[transport as usize].fetch_add(1, Ordering::Relaxed);
        (before < limits.connections_max).then_some(slot)
    }

    /// Counts bytes of requests that have not begun and of answers that are not read, for as long as the returned value lives.
    pub(crate) fn hold(&self) -> HeldBytes<'_> {
        HeldBytes {
            load: self,
            unfinished: 0,
            answers: 0,
        }
    }

    /// Whether so many answers are not read that each client had better get along with few.
    pub(crate) fn is_backlogged(&self, limits: &Limits) -> bool {
        self.answers.load(Ordering::Relaxed) > limits.in_flight_bytes_max / 4
    }

    /// Counts a request for as long as the returned value lives; `None` when there are enough.
    pub(crate) fn admit_request<'a>(
        &'a self,
        limits: &Limits,
        of_connection: &'a AtomicUsize,
        bytes: usize,
    ) -> Option<RequestSlot<&'a Load, &'a AtomicUsize>> {
        RequestSlot::admit(self, limits, of_connection, bytes)
    }
}

/// A counted connection.
#[derive(Debug)]
pub(crate) struct ConnectionSlot(Arc<Load>, Transport);

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let Self(load, transport) = self;
        load.connections[*transport as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// A counted watch.
#[derive(Debug)]
pub(crate) struct WatchSlot(Arc<Load>);

impl Drop for WatchSlot {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counted bytes of requests that have not begun, and of answers that are not read.
#[derive(Debug)]
pub(crate) struct HeldBytes<'a> {
    load: &'a Load,
    unfinished: usize,
    answers: usize,
}

impl HeldBytes<'_> {
    /// Counts so many now. Returns whether the requests may be held: together they take half of what may
    /// be taken, so that there is room for those that have come in full.
    pub(crate) fn set(&mut self, unfinished: usize, answers: usize, limits: &Limits) -> bool {
        if (unfinished, answers) == (self.unfinished, self.answers) {
            return true;
        }
        let grows = unfinished > self.unfinished;
        let all = count(&self.load.bytes, self.unfinished, unfinished);
        count(&self.load.answers, self.answers, answers);
        (self.unfinished, self.answers) = (unfinished, answers);
        !grows || all <= limits.in_flight_bytes_max / 2
    }
}

/// Counts `now` instead of `before`, and returns the new sum.
fn count(sum: &AtomicUsize, before: usize, now: usize) -> usize {
    if now > before {
        sum.fetch_add(now - before, Ordering::Relaxed) + (now - before)
    } else {
        sum.fetch_sub(before - now, Ordering::Relaxed) - (before - now)
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        count(&self.load.bytes, self.unfinished, 0);
        count(&self.load.answers, self.answers, 0);
    }
}

/// A counted request.
#[derive(Debug)]
pub(crate) struct RequestSlot<L: Deref<Target = Load>, C: Deref<Target = AtomicUsize>> {
    load: L,
    of_connection: C,
    bytes: usize,
}

impl<L: Deref<Target = Load>, C: Deref<Target = AtomicUsize>> RequestSlot<L, C> {
    /// As [`Load::admit_request`], for whoever holds on to what is counted in.
    pub(crate) fn admit(load: L, limits: &Limits, of_connection: C, bytes: usize) -> Option<Self> {
        let own = of_connection.fetch_add(1, Ordering::Relaxed);
        let all = load.requests.fetch_add(1, Ordering::Relaxed);
        let mut slot = Self {
            load,
            of_connection,
            bytes: 0,
        };
        let fits = slot.grow(limits, bytes)
            && own < limits.in_flight_per_connection_max
            && all < limits.in_flight_max;
        fits.then_some(slot)
    }

    /// Counts further bytes of the request, or of its answer. Returns whether there is room for them.
    pub(crate) fn grow(&mut self, limits: &Limits, bytes: usize) -> bool {
        let held = self.load.bytes.fetch_add(bytes, Ordering::Relaxed);
        let own = self.bytes;
        self.bytes += bytes;
        // One request is always let in, however large its limit lets it be.
        held == own || held + bytes <= limits.in_flight_bytes_max
    }
}

impl<L: Deref<Target = Load>, C: Deref<Target = AtomicUsize>> Drop for RequestSlot<L, C> {
    fn drop(&mut self) {
        self.of_connection.fetch_sub(1, Ordering::Relaxed);
        self.load.requests.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_while_they_live_and_refused_ones_not_at_all() {
        let load = Load::default();
        let connection = AtomicUsize::new(0);
        let limits = Limits {
            in_flight_per_connection_max: 2,
            in_flight_bytes_max: 100,
            ..Limits::default()
        };
        let first = load.admit_request(&limits, &connection, 500).unwrap();
        assert!(load.admit_request(&limits, &connection, 1).is_none());
        drop(first);
        let first = load.admit_request(&limits, &connection, 50).unwrap();
        let second = load.admit_request(&limits, &connection, 50).unwrap();
        assert!(load.admit_request(&limits, &connection, 0).is_none());
        assert_eq!(load.requests(), 2);
        drop((first, second));
        assert_eq!(load.requests(), 0);
        assert_eq!(connection.load(Ordering::Relaxed), 0);
        assert_eq!(load.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn connections_are_counted_while_they_live() {
        let load = Arc::new(Load::default());
        let limits = Limits {
            connections_max: 1,
            ..Limits::default()
        };
        let first = load.admit_connection(&limits, Transport::Tcp).unwrap();
        assert!(load.admit_connection(&limits, Transport::Tcp).is_none());
        let operator = load.admit_connection(&limits, Transport::Quic).unwrap();
        assert_eq!(load.connections(), 2);
        drop((first, operator));
        assert!(load.admit_connection(&limits, Transport::Tcp).is_some());
        assert_eq!(load.connections(), 0);
    }
}
