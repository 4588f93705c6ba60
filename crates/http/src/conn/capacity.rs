use tidegate_base::{Holder, Limits};

/// An accepted socket before its protocol is known: the socket's tables and one task.
pub(super) const ACCEPTED_BYTES: u64 = 4 << 10;
/// One HTTP/2 connection without streams. Measured on `h2` 0.4: its buffers of 45 KiB, as far as they become resident.
pub const CONNECTION_BYTES: u64 = 37 << 10;
/// One place in `h2`'s tables of streams (1.2 KiB); they grow by doubling and never shrink.
pub const STREAM_BYTES: u64 = 1229;
/// Places that those tables begin with.
pub(crate) const STREAMS_LEAST: u32 = 4;

/// What a budget admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// HTTP/2 connections, with up to four streams each, that always find room.
    pub connections: u64,
    /// The same while nobody else borrows from the pool: beyond this, connections are refused in any case.
    pub connections_max: u64,
    /// Streams of one connection.
    pub streams_per_connection: u32,
}

impl Capacity {
    pub fn new(limits: &Limits) -> Self {
        let floor = limits.floor(Holder::Connections);
        let each = CONNECTION_BYTES + u64::from(STREAMS_LEAST) * STREAM_BYTES;
        // A quarter of the floor for the streams of one connection, as a power of two, since tables double.
        let streams = u32::try_from((floor / 4 / STREAM_BYTES).clamp(128, 1 << 16)).unwrap_or(1 << 16);
        Self {
            connections: floor / each,
            connections_max: (floor + limits.pool) / each,
            streams_per_connection: 1 << streams.ilog2(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_base::{ByteSize, Profile};

    use super::*;

    #[test]
    fn capacity_follows_the_budget() {
        let of = |floor, pool| {
            let mut limits = Limits::new(ByteSize::mib(256), Profile::Store).unwrap();
            limits.floors[Holder::Connections.index()] = floor;
            limits.pool = pool;
            let capacity = Capacity::new(&limits);
            (capacity.connections, capacity.connections_max, capacity.streams_per_connection)
        };
        assert_eq!(of(16 << 20, 36 << 20), (391, 1273, 2048));
        assert_eq!(of(16 << 20, 0), (391, 391, 2048));
        assert_eq!(of(40 << 10, 0), (0, 0, 128), "a connection needs 42,804 bytes");
        assert_eq!(of(1 << 40, 0).2, 1 << 16);
    }
}
