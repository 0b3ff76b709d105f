//! What an origin answers does not depend on how its bytes are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pannier::origin::fuzzing::exchange(bytes));
