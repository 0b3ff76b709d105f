//! The part of a packed response that a plain hit does not look at.

use http::HeaderName;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::semantics::stored::{BanSubject, LogPosition, StoredHead};
use crate::semantics::vary::SecondaryKey;

/// What only bans and those who take a response apart look at.
#[derive(Serialize, Deserialize)]
pub(super) struct Cold<'a> {
    #[serde(borrow)]
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) route: &'a str,
    #[serde(borrow)]
    pub(super) vary: Option<ColdVary<'a>>,
    #[serde(borrow)]
    pub(super) tags: Vec<&'a str>,
    pub(super) local: u64,
    pub(super) log: Option<LogPosition>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ColdVary<'a> {
    #[serde(borrow)]
    pub(super) names: Vec<&'a str>,
    pub(super) language_keys: Vec<SecondaryKey>,
}

impl<'a> Cold<'a> {
    pub(super) fn of(head: &'a StoredHead) -> Self {
        let vary = (!head.vary.is_empty()).then(|| ColdVary {
            names: head.vary.names().iter().map(HeaderName::as_str).collect(),
            language_keys: head.language_keys.to_vec(),
        });
        Self {
            host: &head.target.host,
            path: &head.target.path,
            query: &head.target.query,
            route: &head.route,
            vary,
            tags: head.tags.iter().map(|tag| &**tag).collect(),
            local: head.position.local,
            log: Some(head.position.log).filter(|log| *log != LogPosition::default()),
        }
    }

    /// What bans look at.
    pub(super) fn ban_subject(self) -> BanSubject<'a> {
        BanSubject {
            route: self.route,
            host: self.host,
            path: self.path,
            query: self.query,
            tags: SmallVec::from_vec(self.tags),
        }
    }
}
