//! What allocations cost, and tables that give back what they do not use.

use slab::Slab;

use std::mem::size_of;

/// A table of up to this many bytes is kept, whatever is in it.
const KEPT: usize = 512;

/// A table that was given back begins with as many places as it had, up to this.
pub(crate) const BEGIN_MAX: usize = 64;

/// Bytes that an allocation of `bytes` takes: an allocator has four size classes
/// for each doubling, and none closer than 16 bytes. (jemalloc's; others take
/// about as much.)
pub(crate) fn allocated(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() >> 3).max(16);
    (bytes + step - 1) / step * step
}

/// Gives back places of a slab of which more than three quarters are unused, and
/// returns the bytes of those that are left. Places below one that is used stay.
pub(crate) fn shrink<T>(slab: &mut Slab<T>) -> usize {
    let place = size_of::<Result<T, usize>>();
    if slab.capacity() * place > KEPT && slab.len() * 4 < slab.capacity() {
        if slab.is_empty() {
            *slab = Slab::new();
        } else {
            slab.shrink_to_fit();
        }
    }
    allocated(slab.capacity() * place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_keeps_what_is_used_and_all_below_it() {
        let mut slab: Slab<[u64; 8]> = (0..100).map(|i| (i, [0; 8])).collect();
        let full = shrink(&mut slab);
        assert!(full >= 100 * 72 && slab.capacity() >= 100);
        slab.retain(|i, _| i == 9);
        assert_eq!((shrink(&mut slab), slab.capacity()), (768, 10));
        assert!(slab.contains(9));
        slab.remove(9);
        assert_eq!((shrink(&mut slab), slab.capacity()), (0, 0));
        slab.insert([1; 8]);
        assert_eq!(shrink(&mut slab), allocated(4 * 72), "small ones stay");
    }

    #[test]
    fn size_classes_of_jemalloc() {
        for (bytes, class) in [
            (0, 0),
            (1, 16),
            (16, 16),
            (17, 32),
            (100, 112),
            (129, 160),
            (161, 192),
            (328, 384),
            (8_192, 8_192),
            (8_193, 10_240),
            (16_384, 16_384),
            (16_393, 20_480),
        ] {
            assert_eq!(allocated(bytes), class, "{}", bytes);
        }
    }
}
