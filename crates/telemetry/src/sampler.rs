//! Which traces are recorded. Pure.

use crate::{context::Extracted, ids::TraceId};

/// Follows the parent's decision; without one, a part of all traces by their ids, so that every node with the same rate takes the same ones.
/// Source: OpenTelemetry, `ParentBased(TraceIDRatioBased)`, with the bits of an id that its SDK for Go takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sampler {
    /// Traces whose id, its lower 63 bits but one taken as a number, is below it.
    bound: u64,
}

impl Sampler {
    /// `rate` is 0 (none) to 1 (all).
    pub(crate) fn new(rate: f64) -> Self {
        const ALL: u64 = 1 << 63;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^63")]
        let bound = (rate.clamp(0.0, 1.0) * ALL as f64) as u64;
        Self { bound }
    }

    pub(crate) fn takes(self, trace: TraceId, told: &Extracted) -> bool {
        let (_, low) = trace.halves();
        told.debug || told.sampled.unwrap_or((low >> 1) < self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: f64, told: &Extracted) -> usize {
        let sampler = Sampler::new(rate);
        (0..10_000).filter(|_| sampler.takes(TraceId::random(), told)).count()
    }

    #[test]
    fn a_part_of_the_traces_is_taken() {
        let nothing = Extracted::default();
        assert_eq!((taken(0.0, &nothing), taken(1.0, &nothing)), (0, 10_000));
        // Ten deviations: of 10,000 at 0.25 they are 433.
        let quarter = taken(0.25, &nothing);
        assert!((2067..=2933).contains(&quarter), "{quarter}");
    }

    #[test]
    fn nodes_of_one_rate_take_the_same_traces() {
        let (a, b) = (Sampler::new(0.3), Sampler::new(0.3));
        let more = Sampler::new(0.6);
        let nothing = Extracted::default();
        for _ in 0..1000 {
            let trace = TraceId::random();
            assert_eq!(a.takes(trace, &nothing), b.takes(trace, &nothing));
            assert!(
                !a.takes(trace, &nothing) || more.takes(trace, &nothing),
                "a higher rate takes those of a lower one"
            );
        }
    }

    #[test]
    fn the_parent_wins() {
        let told = |sampled, debug| Extracted { sampled, debug, ..Extracted::default() };
        assert_eq!(taken(0.0, &told(Some(true), false)), 10_000);
        assert_eq!(taken(1.0, &told(Some(false), false)), 0);
        assert_eq!(taken(0.0, &told(None, true)), 10_000, "debugging");
    }
}
