#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_kv::fuzzing::row(data));
