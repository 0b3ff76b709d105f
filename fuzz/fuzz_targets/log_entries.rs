//! What is read of the invalidation log, whoever wrote to it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pannier::invalidation::fuzzing::log_entries(bytes));
