//! jemalloc, for Rust and for RocksDB alike: one allocator, one account.

use tidegate_member::AllocatorStats;
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc when it starts. Two arenas for two cores; a background thread gives memory back also when nothing
/// allocates (without it an idle process keeps its burst for ever); a second of decay, measured against none and ten.
#[expect(unsafe_code, unreachable_pub, reason = "jemalloc looks for a symbol of this name")]
// SAFETY: the name is jemalloc's own, nothing else in the program defines it, and the type is what it expects: a pointer
// to a string that ends with a zero byte and lives as long as the program.
#[unsafe(no_mangle)]
pub static malloc_conf: Option<&'static std::ffi::c_char> = {
    const CONF: &std::ffi::CStr = c"narenas:2,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
    // SAFETY: the pointer is that of a constant.
    Some(unsafe { &*CONF.as_ptr() })
};

/// What the allocator says now.
pub(crate) fn stats() -> AllocatorStats {
    let read = || -> tikv_jemalloc_ctl::Result<AllocatorStats> {
        epoch::advance()?; // else the numbers are those of the last look
        Ok(AllocatorStats {
            allocated: stats::allocated::read()? as u64,
            active: stats::active::read()? as u64,
            resident: stats::resident::read()? as u64,
        })
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_in_force() {
        // SAFETY: the names are jemalloc's, and the types are theirs.
        #[expect(unsafe_code, reason = "options are read by name")]
        let option = |name: &'static [u8]| unsafe { tikv_jemalloc_ctl::raw::read::<isize>(name).unwrap() };
        assert_eq!(option(b"opt.dirty_decay_ms\0"), 1000);
        assert_eq!(option(b"opt.muzzy_decay_ms\0"), 0);
        assert!(tikv_jemalloc_ctl::background_thread::read().unwrap());
    }

    #[test]
    fn what_is_allocated_is_counted() {
        let before = stats().allocated;
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        // Other tests of this process give back some of theirs meanwhile.
        assert!(stats().allocated >= before + (32 << 20), "{} bytes", block.len());
    }
}
