//! File descriptors: how many there may be, and how many of them clients get.
//!
//! A process that runs out of descriptors accepts clients it cannot serve: it
//! has none left for the origin, and the admin listener is silent. So the soft
//! limit is raised to the hard one at the start, and what clients may take is
//! bounded so that the rest remains.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;

/// For listeners, runtimes, logs, Redis, the admin listener and its clients.
const RESERVE: u64 = 64;

/// Raises the soft limit to the hard one, and returns how many client
/// connections may be open at once so that each exchange with the origin has a
/// descriptor as well. Says where that is less than `limits` allow.
pub(super) fn connections_ceiling(limits: &Limits) -> usize {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files cannot be raised");
            before.current
        }
    };
    let Some(limit) = limit else {
        return usize::MAX;
    };
    let ceiling = ceiling(limit, limits.upstream_inflight_max);
    if ceiling < limits.connections_max {
        tracing::warn!(
            open_files_max = limit,
            connections_max = ceiling,
            configured = limits.connections_max,
            "the limit on open files allows fewer client connections than configured"
        );
    }
    ceiling
}

/// How many of `limit` descriptors clients may have, each of them with one for
/// the origin beside it, up to `exchanges_max`.
fn ceiling(limit: u64, exchanges_max: u64) -> usize {
    let usable = limit.saturating_sub(RESERVE).max(limit / 4);
    let for_clients = (usable / 2)
        .max(usable.saturating_sub(exchanges_max))
        .max(1);
    usize::try_from(for_clients).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_a_descriptor_for_each_exchange_and_some_more() {
        for (limit, exchanges, expected) in [
            (128, 4_096, 32),
            (1_024, 4_096, 480),
            (65_536, 4_096, 61_376),
            (16, 4_096, 2),
            (1, 1, 1),
        ] {
            assert_eq!(ceiling(limit, exchanges), expected, "{limit}");
        }
    }
}
