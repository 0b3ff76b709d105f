//! The order in which the responses of one shard leave, as neighbours.
//!
//! Nodes live side by side in chunks, every one as large as all before it, so
//! that the list of chunks is short and always at hand; they refer to each
//! other by number, which takes half the room of pointers. A number is used
//! again when its node is free. Knows neither policies nor bounds.

use prefetch_index::prefetch_index;

use super::kept::Kept;

/// What a node takes.
pub(super) const NODE_BYTES: u64 = size_of::<Node>() as u64;
/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// Nodes of the first chunk.
const FIRST_NODES: usize = 64;

/// A response's place in the order.
#[derive(Debug)]
struct Node {
    /// `None` in a node that is free.
    kept: Option<Kept>,
    /// Towards the newest.
    newer: u32,
    /// Towards the oldest.
    older: u32,
}

/// The nodes. Numbers that are given to it are those it gave.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    chunks: Vec<Vec<Node>>,
    free: Vec<u32>,
}

/// The ends of a row of nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) newest: u32,
    pub(super) oldest: u32,
}

impl Nodes {
    /// The response of a node.
    pub(super) fn kept(&self, at: u32) -> Option<&Kept> {
        self.node(at).kept.as_ref()
    }

    /// Gives a response a node; it has no neighbours yet.
    pub(super) fn add(&mut self, kept: Kept) -> u32 {
        let node = Node {
            kept: Some(kept),
            newer: NONE,
            older: NONE,
        };
        if let Some(at) = self.free.pop() {
            *self.node_mut(at) = node;
            return at;
        }
        let given = self.given();
        let number = given as usize;
        let (chunk, _) = place_of_number(number);
        if chunk == self.chunks.len() {
            let nodes = Vec::with_capacity(number.max(FIRST_NODES));
            self.chunks.push(nodes);
        }
        self.chunks[chunk].push(node);
        given
    }

    /// Takes the response of a node that has no neighbours any more; its
    /// number is free.
    pub(super) fn empty(&mut self, at: u32) {
        self.free.push(at);
        self.node_mut(at).kept = None;
    }

    /// Whether there is more than the first chunk.
    pub(super) fn have_grown(&self) -> bool {
        self.chunks.len() > 1
    }

    /// So many numbers were given, those that are free again among them.
    pub(super) fn given(&self) -> u32 {
        let given = self.chunks.iter().map(Vec::len).sum::<usize>();
        // A shard of 2^32 responses would take terabytes.
        u32::try_from(given).unwrap_or(NONE)
    }

    /// Makes a node the newest of a row.
    pub(super) fn join(&mut self, ends: &mut Ends, at: u32) {
        let older = std::mem::replace(&mut ends.newest, at);
        if older == NONE {
            ends.oldest = at;
        } else {
            self.node_mut(older).newer = at;
        }
        let node = self.node_mut(at);
        (node.newer, node.older) = (NONE, older);
    }

    /// Takes a node out of its row.
    pub(super) fn part(&mut self, ends: &mut Ends, at: u32) {
        let Node { newer, older, .. } = *self.node(at);
        if newer == NONE {
            ends.newest = older;
        } else {
            self.node_mut(newer).older = older;
        }
        if older == NONE {
            ends.oldest = newer;
        } else {
            self.node_mut(older).newer = newer;
        }
    }

    /// Makes nodes the newest of their row, one after the other. The memory
    /// that all need is asked for before any is moved, so that it is waited for
    /// twice (the nodes, their neighbours) and not twice for each.
    pub(super) fn make_newest(&mut self, ends: &mut Ends, row: &[u32]) {
        for at in row {
            self.prefetch(*at);
        }
        for at in row {
            let Node { newer, older, .. } = *self.node(*at);
            self.prefetch(newer);
            self.prefetch(older);
        }
        for at in row {
            if ends.newest != *at {
                self.part(ends, *at);
                self.join(ends, *at);
            }
        }
    }

    fn prefetch(&self, at: u32) {
        if at != NONE {
            let (chunk, offset) = place_of_number(at as usize);
            prefetch_index(&self.chunks[chunk], offset);
        }
    }

    fn node(&self, at: u32) -> &Node {
        let (chunk, offset) = place_of_number(at as usize);
        &self.chunks[chunk][offset]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        let (chunk, offset) = place_of_number(at as usize);
        &mut self.chunks[chunk][offset]
    }
}

impl Ends {
    /// The ends of a row of no nodes.
    pub(super) const NONE: Self = Self {
        newest: NONE,
        oldest: NONE,
    };
}

/// The chunk of a node, and where in it.
fn place_of_number(number: usize) -> (usize, usize) {
    match (number / FIRST_NODES).checked_ilog2() {
        None => (0, number),
        Some(doublings) => (doublings as usize + 1, number - (FIRST_NODES << doublings)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_places_one_after_another() {
        let places = [0, 63, 64, 127, 128, 255, 256, 1_000_000].map(place_of_number);
        let expected = [(0, 0), (0, 63), (1, 0), (1, 63), (2, 0), (2, 127), (3, 0)];
        assert_eq!(places[..7], expected);
        assert_eq!(places[7], (14, 1_000_000 - (64 << 13)));
    }
}
