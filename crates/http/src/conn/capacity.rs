use tidegate_base::{Holder, Limits};

/// An accepted socket before its protocol is known: the socket's tables and one task.
pub(super) const ACCEPTED_BYTES: u64 = 4 << 10;
/// One HTTP/2 connection with what it keeps while it is idle: 4 KiB of its own, tables, and a watch or two. What it holds
/// beyond is charged when it does; see `http2`. Measured (`examples/echo.rs`): 6.4 KiB with one idle stream, 7.9
/// after 64 calls, 8.3 after messages of 1 MiB.
pub const CONNECTION_BYTES: u64 = 10 << 10;
/// One stream with a watch.
pub const STREAM_BYTES: u64 = 2 << 10;

/// What a budget admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// HTTP/2 connections with an idle watch each that always find room.
    pub connections: u64,
    /// The same while nobody else borrows from the pool: beyond this, connections are refused in any case.
    pub connections_max: u64,
    /// Streams of one connection.
    pub streams_per_connection: u32,
}

impl Capacity {
    pub fn new(limits: &Limits) -> Self {
        let floor = limits.floor(Holder::Connections);
        // A quarter of the floor for the streams of one connection, as a power of two, since tables double.
        let streams = u32::try_from((floor / 4 / STREAM_BYTES).clamp(128, 1 << 16)).unwrap_or(1 << 16);
        Self {
            connections: floor / CONNECTION_BYTES,
            connections_max: (floor + limits.pool) / CONNECTION_BYTES,
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
        assert_eq!(of(16 << 20, 36 << 20), (1638, 5324, 2048));
        assert_eq!(of(16 << 20, 0), (1638, 1638, 2048));
        assert_eq!(of(9 << 10, 0), (0, 0, 128), "a connection needs 10 KiB");
        assert_eq!(of(1 << 40, 0).2, 1 << 16);
    }
}
