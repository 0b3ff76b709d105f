//! Situations, and what is said of them.

use std::time::Duration;

use super::health::*;
use crate::config::{Config, HealthConfig, Upstream};

fn thresholds() -> HealthConfig {
    let authority = "127.0.0.1:3000".parse().unwrap();
    Config::default_for(Upstream::Http { authority }).health
}

fn calm() -> Situation {
    Situation {
        requests: 1_000,
        hits: 800,
        misses: 200,
        upstream: 200,
        p95: Duration::from_millis(20),
        p95_before: vec![Duration::from_millis(18); 55],
        memory_fill_percent: 40.0,
        redis: Some(RedisSituation {
            is_connected: true,
            refuses_stores: false,
            is_in_touch: true,
            ..RedisSituation::default()
        }),
        ..Situation::default()
    }
}

fn of(situation: &Situation) -> Assessment {
    assess(situation, &thresholds())
}

fn level(assessment: &Assessment, name: &str) -> Level {
    let found = assessment.indicators.iter().find(|one| one.name == name);
    found.unwrap_or_else(|| panic!("no {name}")).level
}

#[test]
fn where_nothing_is_wrong_nothing_is_said() {
    let assessment = of(&calm());
    assert_eq!((assessment.level, assessment.score), (Level::Healthy, 100));
    assert_eq!(assessment.message, "all is well");
    assert_eq!(assessment.indicators.len(), 13);
    // A proxy that nobody asked yet is well, too.
    assert_eq!(of(&Situation::default()).score, 100);
}

#[test]
fn each_trouble_moves_its_own_indicator_and_says_what_to_do() {
    let redis = calm().redis.unwrap();
    let cases: Vec<(&str, Level, &str, Situation)> = vec![
        (
            "upstream_reachable",
            Level::Warning,
            "upstream",
            Situation {
                failures_in_a_row: 1,
                ..calm()
            },
        ),
        (
            "upstream_reachable",
            Level::Critical,
            "upstream",
            Situation {
                failures_in_a_row: 3,
                ..calm()
            },
        ),
        (
            "upstream_error_rate",
            Level::Critical,
            "response_timeout",
            Situation {
                upstream_errors: 60,
                ..calm()
            },
        ),
        (
            "error_rate",
            Level::Warning,
            "stale_if_error",
            Situation {
                errors: 15,
                ..calm()
            },
        ),
        (
            "error_rate",
            Level::Critical,
            "/performance",
            Situation {
                errors: 60,
                ..calm()
            },
        ),
        (
            "p95_against_last_hour",
            Level::Warning,
            "slowest",
            Situation {
                p95: Duration::from_millis(45),
                ..calm()
            },
        ),
        (
            "p95_against_last_hour",
            Level::Critical,
            "slowest",
            Situation {
                p95: Duration::from_secs(2),
                ..calm()
            },
        ),
        (
            "queue_depth",
            Level::Warning,
            "inflight_max",
            Situation {
                waiting: 101,
                ..calm()
            },
        ),
        (
            "queue_depth",
            Level::Warning,
            "refused",
            Situation {
                refused: 1,
                ..calm()
            },
        ),
        (
            "queue_depth",
            Level::Critical,
            "inflight_max",
            Situation {
                waiting: 1_000,
                ..calm()
            },
        ),
        (
            "hit_rate",
            Level::Warning,
            "/performance/cache",
            Situation {
                hits: 10,
                misses: 990,
                ..calm()
            },
        ),
        (
            "early_evictions",
            Level::Warning,
            "bytes_max",
            Situation {
                evictions_early: 11,
                ..calm()
            },
        ),
        (
            "redis_link",
            Level::Warning,
            "redis.url",
            Situation {
                redis: Some(RedisSituation {
                    is_connected: false,
                    ..redis
                }),
                ..calm()
            },
        ),
        (
            "redis_stores",
            Level::Warning,
            "maxmemory",
            Situation {
                redis: Some(RedisSituation {
                    refuses_stores: true,
                    ..redis
                }),
                ..calm()
            },
        ),
        (
            "log_lag",
            Level::Warning,
            "unsynced_age_max",
            Situation {
                redis: Some(RedisSituation {
                    lag: Duration::from_secs(3),
                    ..redis
                }),
                ..calm()
            },
        ),
        (
            "log_lag",
            Level::Warning,
            "out of reach",
            Situation {
                redis: Some(RedisSituation {
                    is_in_touch: false,
                    ..redis
                }),
                ..calm()
            },
        ),
        (
            "log_lag",
            Level::Critical,
            "out of reach",
            Situation {
                redis: Some(RedisSituation {
                    is_in_touch: false,
                    lag: Duration::from_secs(60),
                    ..redis
                }),
                ..calm()
            },
        ),
        (
            "fleet_missing",
            Level::Warning,
            "/fleet",
            Situation {
                redis: Some(RedisSituation {
                    missing: 1,
                    ..redis
                }),
                ..calm()
            },
        ),
    ];
    for (name, expected, says, situation) in cases {
        let assessment = of(&situation);
        assert_eq!(level(&assessment, name), expected, "{name}");
        assert_eq!(assessment.level, expected, "{name}");
        assert!(
            assessment.message.contains(says),
            "{name}: {}",
            assessment.message
        );
        let costs = if expected == Level::Critical { 40 } else { 10 };
        assert_eq!(
            assessment.score,
            100 - costs,
            "{name}: {:#?}",
            assessment.indicators
        );
    }
}

#[test]
fn a_full_store_is_no_trouble_by_itself() {
    let full = Situation {
        memory_fill_percent: 100.0,
        ..calm()
    };
    assert_eq!(of(&full).level, Level::Healthy);
    let too_small = Situation {
        evictions_early: 50,
        ..full
    };
    assert_eq!(level(&of(&too_small), "memory_fill"), Level::Warning);
}

#[test]
fn too_little_is_not_judged() {
    let few = Situation {
        requests: 5,
        errors: 5,
        misses: 5,
        upstream_errors: 2,
        p95: Duration::from_secs(9),
        ..Situation::default()
    };
    assert_eq!(of(&few).level, Level::Healthy);
    let quick = Situation {
        p95: Duration::from_millis(4),
        p95_before: vec![Duration::from_micros(50); 55],
        ..calm()
    };
    assert_eq!(of(&quick).level, Level::Healthy);
}

#[test]
fn the_score_has_a_floor() {
    let redis = RedisSituation {
        missing: 3,
        lag: Duration::from_secs(99),
        ..RedisSituation::default()
    };
    let ruin = Situation {
        errors: 900,
        upstream_errors: 900,
        failures_in_a_row: 900,
        waiting: 9_999,
        redis: Some(redis),
        ..calm()
    };
    assert_eq!(of(&ruin).score, 0);
    assert_eq!(of(&ruin).level, Level::Critical);
}
