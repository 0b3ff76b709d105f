//! The freshness of a response in memory, small.

use std::time::Duration;

use crate::semantics::freshness::{Freshness, LifetimeSource};

/// [`Freshness`] in half the room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    lifetime_millis: u64,
    initial_age_millis: u64,
    stale_while_revalidate_millis: u64,
    stale_if_error_millis: u64,
    source: LifetimeSource,
    always_validate: bool,
    refuses_max_stale: bool,
    is_immutable: bool,
}

impl Times {
    pub(super) fn of(freshness: &Freshness) -> Self {
        // Taken apart, so that what is added has to find its place here.
        let Freshness {
            lifetime,
            source,
            initial_age,
            stale_while_revalidate,
            stale_if_error,
            always_validate,
            refuses_max_stale,
            is_immutable,
        } = freshness;
        Self {
            lifetime_millis: millis(*lifetime),
            initial_age_millis: millis(*initial_age),
            stale_while_revalidate_millis: millis(*stale_while_revalidate),
            stale_if_error_millis: millis(*stale_if_error),
            source: *source,
            always_validate: *always_validate,
            refuses_max_stale: *refuses_max_stale,
            is_immutable: *is_immutable,
        }
    }

    pub(super) fn freshness(self) -> Freshness {
        Freshness {
            lifetime: Duration::from_millis(self.lifetime_millis),
            source: self.source,
            initial_age: Duration::from_millis(self.initial_age_millis),
            stale_while_revalidate: Duration::from_millis(self.stale_while_revalidate_millis),
            stale_if_error: Duration::from_millis(self.stale_if_error_millis),
            always_validate: self.always_validate,
            refuses_max_stale: self.refuses_max_stale,
            is_immutable: self.is_immutable,
        }
    }
}

/// Times here are whole milliseconds.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
