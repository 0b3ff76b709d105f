//! Which requests a connection holds does not depend on how its bytes are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pannier::server::fuzzing::session(bytes));
