//! Measurements: closed loops of calls from outside, processor time and memory of the server as the kernel counts them.
//!
//! Load and server share the machine, so throughput and latency tell less than processor time per operation; ours and
//! the reference take turns in one run, so that what else the machine does falls on both.

pub(crate) mod bigkey;
pub(crate) mod gateway;
mod histogram;
mod http;
pub(crate) mod kv;
mod load;
pub(crate) mod memory;
mod node;
pub(crate) mod pipelines;
mod stores;
mod table;

pub(crate) const MIB: u64 = 1 << 20;

/// A figure for people: bytes in MiB, with one decimal.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(crate) fn mib(bytes: u64) -> f64 {
    (bytes as f64 / MIB as f64 * 10.0).round() / 10.0
}

/// The middle of what several rounds gave; the mean of both middles when their number is even.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
