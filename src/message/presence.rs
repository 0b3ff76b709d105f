//! Whether the client of a request still waits for its answer.

use std::sync::{Arc, Weak};

/// Says so for as long as it lives.
#[derive(Debug)]
pub struct Present(Arc<()>);

/// Whether it lives. Of a request whose client is not known to leave: always.
#[derive(Clone, Debug, Default)]
pub struct Presence(Option<Weak<()>>);

impl Present {
    /// A client that is there.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a client is not there by default"
    )]
    pub fn new() -> Self {
        Self(Arc::new(()))
    }

    /// What others know of it.
    #[must_use]
    pub fn presence(&self) -> Presence {
        Presence(Some(Arc::downgrade(&self.0)))
    }
}

impl Presence {
    /// Whether the client has not left.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|client| client.strong_count() > 0)
    }
}
