#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_http::fuzzing::h1_request(data));
