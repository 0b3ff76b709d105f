//! Parsers are given any bytes: random ones, and the seeds of the fuzz
//! targets. What is to hold of them is written in `fuzz/checks.rs`.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::path::Path;

use proptest::prelude::*;

/// A check and the folder of its seeds.
type Check = (&'static str, fn(&[u8]));

const CHECKS: [Check; 13] = [
    ("bans", checks::bans),
    ("conditions", checks::conditions),
    ("configuration", checks::configuration),
    ("dates", checks::dates),
    ("directives", checks::directives),
    ("fields", checks::fields_of_bytes),
    ("groups", checks::groups),
    ("keys", checks::keys),
    ("patterns", checks::patterns),
    ("proxy_headers", checks::proxy_headers),
    ("ranges", checks::ranges),
    ("records", checks::records),
    ("vary", checks::vary),
];

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let entries = std::fs::read_dir(&folder).expect("a folder of seeds");
    let seeds: Vec<_> = entries
        .map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a seed"))
        .collect();
    assert!(!seeds.is_empty(), "{} holds none", folder.display());
    seeds
}

#[test]
fn every_seed_holds() {
    for (name, check) in CHECKS {
        for seed in seeds(name) {
            check(&seed);
        }
    }
}

proptest! {
    // What it finds becomes a seed, or a test of the parser.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
        for (_, check) in CHECKS {
            check(&bytes);
        }
    }

    #[test]
    fn no_tampered_seed_makes_a_parser_panic(
        which in any::<prop::sample::Index>(),
        tampered in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for (name, check) in CHECKS {
            let mut seeds = seeds(name);
            let at = which.index(seeds.len());
            let mut seed = seeds.swap_remove(at);
            for (place, byte) in &tampered {
                let place = place.index(seed.len());
                seed[place] = *byte;
            }
            check(&seed);
            check(&seed[cut.index(seed.len())..]);
        }
    }
}
