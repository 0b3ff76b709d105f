//! What is done with a read, given what is stored for it: the one decision, for
//! every way a request can come.
//!
//! Pure: it looks at nothing and waits for nothing. `read` finds what is
//! stored, has it decided here, and does what was decided; `direct` answers
//! where the decision is [`Decision::Hit`] and nothing more has to be known.

use super::ask::AsksFor;
use super::outcome::Forwarded;
use crate::message::directives::RequestDirectives;
use crate::semantics::reuse::{Reuse, Why};

/// What a request for a cacheable route says that decides about it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// HEAD, and not GET.
    pub(super) is_head: bool,
    /// `bypass_query`: ask the origin, and store what it answers.
    pub(super) is_refresh: bool,
    pub(super) asks_for: AsksFor,
    pub(super) directives: RequestDirectives,
    /// Its session has seen what is not known here: what is stored may be older.
    pub(super) is_behind: bool,
}

impl Reading {
    /// Whether anything that is stored could answer it.
    pub(super) fn may_be_stored(&self) -> bool {
        // The latter is not ours to evaluate (RFC 9111 §4.3.2).
        !self.is_refresh && !self.asks_for.origin_condition && !self.is_behind
    }
}

/// What is stored for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// A response, and what it is good for now.
    Response(Reuse),
    /// The part that it asks for.
    Part,
    /// Another part of the same.
    OtherPart,
    /// Responses to requests with other fields.
    OtherVariants,
    /// Nothing.
    Nothing,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// What is stored answers.
    Hit,
    /// What is stored answers, although it is stale.
    Stale {
        /// Whether a validation is to be started.
        validate: bool,
    },
    /// The origin is asked whether what is stored still holds.
    Validate(Forwarded, How),
    /// The origin is asked for it.
    Miss(Forwarded, How),
    /// The origin answers, and the store is left as it is.
    Pass(Forwarded),
    /// It allows only what is stored, and that does not answer (504).
    Refuse(Forwarded),
}

/// How the origin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Once for all that ask at the same time.
    Together,
    /// Once for all that insist on the origin, by a fetch that begins after they
    /// came.
    Anew,
    /// For this request alone: what another is given may not be for it.
    Alone,
    /// For the range that it asks for.
    Part,
    /// By HEAD: it says whether what is stored still holds.
    Head,
}

/// Decides.
pub(super) fn decide(reading: &Reading, stored: Stored) -> Decision {
    let Reading {
        asks_for,
        directives,
        ..
    } = reading;
    if reading.is_refresh {
        return Decision::Miss(Forwarded::Request, How::Alone);
    }
    if asks_for.origin_condition {
        return Decision::Pass(Forwarded::Request);
    }
    let why = match stored {
        _ if reading.is_behind => Forwarded::Request,
        Stored::Part | Stored::Response(Reuse::Fresh) => return Decision::Hit,
        Stored::Response(Reuse::Stale { validate }) => return Decision::Stale { validate },
        Stored::Response(Reuse::Validate(Why::Request)) => Forwarded::Request,
        Stored::Response(Reuse::Validate(Why::Stale | Why::Response | Why::Unsynced)) => {
            Forwarded::Stale
        }
        Stored::OtherPart => Forwarded::Partial,
        Stored::OtherVariants => Forwarded::VaryMiss,
        Stored::Nothing => Forwarded::UriMiss,
    };
    if directives.only_if_cached {
        return Decision::Refuse(why);
    }
    let is_stored = matches!(stored, Stored::Response(_));
    // Of what is not to be stored, a HEAD needs no more than the head.
    let how = if reading.is_head && (is_stored || directives.no_store) {
        How::Head
    } else if asks_for.range && !reading.is_head && !is_stored {
        How::Part
    } else if reading.is_behind || directives.no_store {
        How::Alone
    } else if why == Forwarded::Request || directives.no_cache {
        How::Anew
    } else {
        How::Together
    };
    if is_stored {
        Decision::Validate(why, how)
    } else {
        Decision::Miss(why, how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: AsksFor = AsksFor::of_range();

    fn directives(set: impl FnOnce(&mut RequestDirectives)) -> Reading {
        let mut reading = Reading::default();
        set(&mut reading.directives);
        reading
    }

    #[test]
    fn a_plain_read_follows_what_is_stored() {
        let decided = |stored| decide(&Reading::default(), stored);
        let together = How::Together;
        for (stored, decision) in [
            (Stored::Response(Reuse::Fresh), Decision::Hit),
            (
                Stored::Response(Reuse::Stale { validate: true }),
                Decision::Stale { validate: true },
            ),
            (
                Stored::Response(Reuse::Validate(Why::Stale)),
                Decision::Validate(Forwarded::Stale, together),
            ),
            (
                Stored::Response(Reuse::Validate(Why::Unsynced)),
                Decision::Validate(Forwarded::Stale, together),
            ),
            (
                Stored::Response(Reuse::Validate(Why::Request)),
                Decision::Validate(Forwarded::Request, How::Anew),
            ),
            (
                Stored::OtherVariants,
                Decision::Miss(Forwarded::VaryMiss, together),
            ),
            (
                Stored::Nothing,
                Decision::Miss(Forwarded::UriMiss, together),
            ),
        ] {
            assert_eq!(decided(stored), decision, "{stored:?}");
        }
    }

    #[test]
    fn what_a_request_insists_on_goes_before_what_is_stored() {
        let refresh = Reading {
            is_refresh: true,
            ..Reading::default()
        };
        let behind = Reading {
            is_behind: true,
            ..Reading::default()
        };
        let condition = Reading {
            asks_for: AsksFor::of_origin_condition(),
            ..Reading::default()
        };
        let by_request = Decision::Miss(Forwarded::Request, How::Alone);
        for stored in [Stored::Response(Reuse::Fresh), Stored::Nothing] {
            assert_eq!(decide(&refresh, stored), by_request);
            let passed = Decision::Pass(Forwarded::Request);
            assert_eq!(decide(&condition, stored), passed);
            assert!(!matches!(decide(&behind, stored), Decision::Hit));
        }
        assert_eq!(decide(&behind, Stored::Nothing), by_request);
        for reading in [refresh, behind, condition] {
            assert!(!reading.may_be_stored());
        }
        for (insisting, how) in [
            (directives(|said| said.no_cache = true), How::Anew),
            (directives(|said| said.no_store = true), How::Alone),
        ] {
            let missed = decide(&insisting, Stored::Nothing);
            assert_eq!(missed, Decision::Miss(Forwarded::UriMiss, how));
        }
    }

    #[test]
    fn only_what_is_stored_answers_only_if_cached() {
        let only = directives(|said| said.only_if_cached = true);
        let decided = |stored| decide(&only, stored);
        assert_eq!(decided(Stored::Response(Reuse::Fresh)), Decision::Hit);
        for stored in [
            Stored::Nothing,
            Stored::OtherPart,
            Stored::Response(Reuse::Validate(Why::Stale)),
        ] {
            assert!(matches!(decided(stored), Decision::Refuse(_)), "{stored:?}");
        }
    }

    #[test]
    fn a_range_is_asked_for_where_the_whole_is_not_stored() {
        let ranged = Reading {
            asks_for: RANGE,
            ..Reading::default()
        };
        let decided = |stored| decide(&ranged, stored);
        assert_eq!(decided(Stored::Part), Decision::Hit);
        assert_eq!(
            decided(Stored::OtherPart),
            Decision::Miss(Forwarded::Partial, How::Part)
        );
        assert_eq!(
            decided(Stored::Response(Reuse::Validate(Why::Stale))),
            Decision::Validate(Forwarded::Stale, How::Together)
        );
    }

    #[test]
    fn a_head_fills_the_store_or_asks_about_what_is_stored() {
        let head = Reading {
            is_head: true,
            asks_for: RANGE,
            ..Reading::default()
        };
        assert_eq!(
            decide(&head, Stored::Nothing),
            Decision::Miss(Forwarded::UriMiss, How::Together)
        );
        assert_eq!(
            decide(&head, Stored::Response(Reuse::Validate(Why::Stale))),
            Decision::Validate(Forwarded::Stale, How::Head)
        );
        assert_eq!(decide(&head, Stored::Response(Reuse::Fresh)), Decision::Hit);
        let mut refusing = head;
        refusing.directives.no_store = true;
        assert_eq!(
            decide(&refusing, Stored::Nothing),
            Decision::Miss(Forwarded::UriMiss, How::Head)
        );
    }
}
