//! Where HTTP/1 messages end, and what is refused, does not depend on how
//! their bytes are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pannier::server::fuzzing::framer(bytes));
