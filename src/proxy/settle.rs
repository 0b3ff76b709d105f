//! An origin that may lag behind its own writes (`[invalidation] settle`): what
//! was just invalidated is fetched and passed on, and not stored.

use super::ask::Cacheable;
use super::fetch::Fetch;
use super::forward::Answer;
use super::judged::stored_head;
use crate::semantics::storability::Storable;

impl Fetch {
    /// Whether the origin may still say what was before a write.
    pub(super) fn settles(
        &self,
        cacheable: &Cacheable,
        answer: &Answer,
        storable: &Storable,
    ) -> bool {
        let settle = self.ask.site.config.invalidation.settle;
        if settle.is_zero() {
            return false;
        }
        let head = stored_head(&self.ask, cacheable, answer, storable.clone(), self.began);
        self.shared
            .invalidation
            .settles(&head, answer.request_time, settle)
    }
}
