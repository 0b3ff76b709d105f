//! What could raise a hit rate: rules over figures, in sentences.
//!
//! A rule speaks only where enough happened to judge; an operator who follows
//! it changes one named option.

use super::shapes::{CacheDocument, CacheFigures, RedisDocument};

/// Fewer requests say nothing about a rate.
const REQUESTS_MIN: u64 = 100;
/// Below it a hit rate is called low.
const LOW_HIT_RATE_PERCENT: f64 = 50.0;
/// More misses than this that found what had been stored are worth a word.
const UNCHANGED_PERCENT: f64 = 20.0;
/// Above it memory is called full.
const FULL_PERCENT: f64 = 90.0;

/// Whether memory as a whole is full.
pub(super) fn is_full(document: &CacheDocument) -> bool {
    let summary = &document.summary;
    super::shapes::percent(summary.bytes, summary.max_bytes, 0.0) > FULL_PERCENT
}

/// What the hit rate would be if so many misses were hits.
fn brings(cache: &CacheFigures, saved: u64) -> String {
    let hits = cache.hits + saved.min(cache.misses);
    let then = super::shapes::percent(hits, cache.total_requests, 0.0);
    format!(
        "the hit rate would be up to {then:.0} % in the place of {:.0} %",
        cache.hit_rate_percent
    )
}

/// For one route; `is_full`: memory as a whole is.
pub(super) fn of_route(cache: &CacheFigures, is_full: bool) -> Vec<String> {
    let mut advice = Vec::new();
    if cache.total_requests < REQUESTS_MIN {
        return advice;
    }
    let is_never_stored = cache.sets == 0 && cache.size == 0 && cache.hits == 0;
    let is_low = cache.hit_rate_percent < LOW_HIT_RATE_PERCENT;
    if let Some((reason, count)) = cache.refusals.iter().max_by_key(|(_, count)| **count)
        && count * 5 > cache.misses
        && let Some(what_to_do) = of_refusal(reason)
    {
        let mut sentence =
            format!("{count} responses were not stored because of `{reason}`: {what_to_do}");
        // What may be private is no loss that could be made good.
        if !matches!(*reason, "private" | "no-store") {
            sentence.push_str("; ");
            sentence.push_str(&brings(cache, *count));
        }
        advice.push(sentence);
    }
    if is_never_stored && !advice.is_empty() {
        return advice;
    }
    if is_never_stored {
        advice.push(
            "no response was ever stored: the `Cache-Status` field of a response says why; \
             `ttl` of the route decides for responses that state no lifetime of their own"
                .to_owned(),
        );
        return advice;
    }
    let unchanged = super::shapes::percent(cache.unchanged, cache.misses, 0.0);
    if unchanged > UNCHANGED_PERCENT {
        advice.push(format!(
            "{unchanged:.0} % of its misses are expiries of unchanged bodies; with a longer \
             `ttl` or an `ETag`, {}",
            brings(cache, cache.unchanged)
        ));
    }
    if cache.evictions * 5 > cache.sets {
        let is_bound = cache.max_size > 0 && cache.size * 20 >= cache.max_size * 19;
        let bound = match (is_bound, is_full) {
            (true, _) => "`entries_max` of the route",
            (false, true) => "`memory.bytes_max`",
            (false, false) => "`memory.entries_max`, which binds before `memory.bytes_max` does",
        };
        advice.push(format!(
            "more than a fifth of what was stored was evicted to make room: raise {bound}; {}",
            brings(cache, cache.evictions_early)
        ));
    }
    if is_low && cache.invalidations * 2 > cache.sets {
        advice.push(
            "more than half of what was stored was invalidated: narrow the `purge` patterns of \
             `[[invalidations]]`, or set `invalidation.default` to \"rfc\""
                .to_owned(),
        );
    }
    // Short lifetimes, or keys that are never asked for again: what expired was.
    let is_short = cache.expirations * 2 > cache.sets;
    if is_low && is_short && unchanged <= UNCHANGED_PERCENT {
        advice.push(format!(
            "lifetimes are short: {} of {} stored responses expired; with a longer `ttl`, or \
             `stale_while_revalidate`, of the route, {}",
            cache.expirations,
            cache.sets,
            brings(cache, cache.expirations)
        ));
    }
    if is_low && advice.is_empty() {
        advice.push(format!(
            "keys explode: {} responses were stored for {} requests, and few of them are asked \
             for again; leave query parameters and headers that do not change the response out \
             of `[routes.key]`",
            cache.sets, cache.total_requests
        ));
    }
    advice
}

/// What an operator can do about a reason for not storing; `None` where the
/// application is right to say so.
fn of_refusal(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "set-cookie" => {
            "let the application set the cookie elsewhere; where everybody gets this page and \
             the cookie means nothing, `set_cookie = \"strip\"` of the route"
        }
        "no-store" => {
            "that is right for what is private; where everybody gets the same, let the \
             application say so with `s-maxage`, for caches alone with `CDN-Cache-Control`"
        }
        "private" => {
            "each is for one user, and stays with the origin; where it is not, let the \
             application say `public`"
        }
        "authorization" => "`key.headers = [\"Authorization\"]` of the route stores one for each",
        "no-freshness" => "give the route a `ttl`",
        "vary-any" => "`ignore_headers = [\"vary\"]` of the route, where its responses are alike",
        "status" => "`errors = \"origin\"` of the route stores what the origin gives a lifetime",
        "too-large" => "raise `memory.body_bytes_max`",
        "no-room" => "raise `memory.filling_bytes_max`",
        _ => return None,
    })
}

/// For the whole.
pub(super) fn of_all(document: &CacheDocument) -> Vec<String> {
    let mut advice = Vec::new();
    let summary = &document.summary;
    let full = super::shapes::percent(summary.bytes, summary.max_bytes, 0.0);
    let early: u64 = document
        .caches
        .values()
        .map(|cache| cache.evictions_early)
        .sum();
    // A full store that lets go of what is old does what it is for.
    if full > FULL_PERCENT && early * 20 > summary.total_misses.max(1) {
        advice.push(format!(
            "memory is {full:.0} % full, and {early} responses were evicted early: raise \
             `memory.bytes_max`"
        ));
    }
    if document.redis.configured {
        advice.extend(of_redis(&document.redis));
    }
    advice
}

fn of_redis(redis: &RedisDocument) -> Vec<String> {
    let mut advice = Vec::new();
    let lookups = redis.hits + redis.misses + redis.timeouts + redis.errors;
    if !redis.connected {
        advice.push("Redis is not connected: every instance works from its own memory".to_owned());
    }
    if lookups >= REQUESTS_MIN && redis.timeouts * 20 > lookups {
        advice.push(
            "more than one lookup in twenty timed out: raise `redis.lookup_timeout`, or move \
             Redis nearer"
                .to_owned(),
        );
    }
    if redis.stores_dropped > 0 {
        advice.push(
            "stores to Redis were dropped: raise `redis.queue_max` or `redis.queue_bytes_max`"
                .to_owned(),
        );
    }
    if redis.corrupt > 0 {
        advice.push(
            "records in Redis could not be read: give instances of different versions or \
             programs a `redis.namespace` of their own"
                .to_owned(),
        );
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(hits: u64, misses: u64) -> CacheFigures {
        let total_requests = hits + misses;
        CacheFigures {
            path: "/x".to_owned(),
            size: 1,
            max_size: 10,
            utilization_percent: 10.0,
            bytes: 1,
            hits,
            misses,
            hit_rate_percent: super::super::shapes::percent(hits, total_requests, 0.0),
            sets: misses,
            evictions: 0,
            expirations: 0,
            invalidations: 0,
            total_requests,
            evictions_early: 0,
            unchanged: 0,
            hit_bytes: 0,
            body_bytes: 0,
            byte_hit_rate_percent: 0.0,
            saved_seconds: 0.0,
            refusals: Default::default(),
        }
    }

    #[test]
    fn too_few_requests_are_not_judged() {
        assert!(of_route(&cache(0, 99), false).is_empty());
    }

    #[test]
    fn a_good_rate_needs_no_advice() {
        assert!(of_route(&cache(95, 5), false).is_empty());
    }

    #[test]
    fn each_cause_names_its_option() {
        let evicted = CacheFigures {
            size: 10,
            evictions: 30,
            ..cache(100, 100)
        };
        let expired = CacheFigures {
            expirations: 190,
            ..cache(10, 200)
        };
        let invalidated = CacheFigures {
            invalidations: 190,
            ..cache(10, 200)
        };
        let unchanged = CacheFigures {
            unchanged: 40,
            ..cache(100, 100)
        };
        let refused = CacheFigures {
            refusals: [("set-cookie", 60)].into(),
            ..cache(100, 100)
        };
        let never = CacheFigures {
            sets: 0,
            size: 0,
            ..cache(0, 200)
        };
        for (figures, option) in [
            (evicted, "entries_max"),
            (expired, "ttl"),
            (unchanged, "ETag"),
            (refused, "set_cookie"),
            (invalidated, "invalidations"),
            (never, "Cache-Status"),
            (cache(10, 200), "routes.key"),
        ] {
            let advice = of_route(&figures, false);
            assert_eq!(advice.len(), 1, "{advice:?}");
            assert!(advice[0].contains(option), "{advice:?}");
        }
    }

    #[test]
    fn advice_never_points_at_what_is_private() {
        for reason in ["no-store", "private", "set-cookie"] {
            let refused = CacheFigures {
                refusals: [(reason, 190)].into(),
                ..cache(10, 190)
            };
            let advice = of_route(&refused, false).join("; ");
            assert!(!advice.contains("ignore_headers"), "{advice}");
            let promises = advice.contains("hit rate would be");
            assert_eq!(promises, reason == "set-cookie", "{advice}");
        }
    }

    #[test]
    fn short_lifetimes_are_told_from_keys_that_explode_and_by_what_they_cost() {
        let short = CacheFigures {
            expirations: 150,
            ..cache(40, 160)
        };
        let advice = of_route(&short, false).join("; ");
        assert!(advice.contains("lifetimes are short"), "{advice}");
        assert!(
            advice.contains("up to 95 % in the place of 20 %"),
            "{advice}"
        );
        let exploding = of_route(&cache(10, 200), false).join("; ");
        assert!(exploding.contains("keys explode"), "{exploding}");
    }

    #[test]
    fn the_bound_that_binds_is_named() {
        let evicting = |size| CacheFigures {
            size,
            evictions: 90,
            ..cache(100, 100)
        };
        for (size, is_full, bound) in [
            (10, false, "`entries_max` of the route"),
            (5, true, "`memory.bytes_max`;"),
            (5, false, "`memory.entries_max`"),
        ] {
            let advice = of_route(&evicting(size), is_full).join("; ");
            assert!(advice.contains(bound), "{advice}");
        }
    }
}
