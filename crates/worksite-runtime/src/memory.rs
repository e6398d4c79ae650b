//! Memory owns a worker's routine states while it is awake: a cache of the store that may be thrown away at any moment.

use worksite_model::{LiveState, Payload};

/// A routine's state in memory.
pub(crate) enum Memory {
    /// As it was stored; not decoded yet.
    Stored(Payload),
    /// Decoded; `dirty` when it holds volatile changes that no commit has written.
    Live { state: LiveState, dirty: bool },
    /// Spoilt by a turn that did not count: to be read again.
    Spoilt,
}

/// Routine states by the routine's place in the registry. There are few: a list is quicker than a map, and smaller.
#[derive(Default)]
pub(crate) struct Memories(Vec<(usize, Memory)>);

impl Memories {
    /// What the store had.
    pub(crate) fn recovered(stored: impl Iterator<Item = (usize, Payload)>) -> Self {
        Self(stored.map(|(place, payload)| (place, Memory::Stored(payload))).collect())
    }

    /// Takes a routine's state out; none when it has none yet.
    pub(crate) fn take(&mut self, place: usize) -> Option<Memory> {
        let index = self.0.iter().position(|(known, _)| *known == place)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Keeps a routine's state.
    pub(crate) fn remember(&mut self, place: usize, state: LiveState, dirty: bool) {
        self.0.push((place, Memory::Live { state, dirty }));
    }

    /// The routine's state in memory is not what is committed: it is read again before its next turn.
    pub(crate) fn spoil(&mut self, place: usize) {
        self.take(place);
        self.0.push((place, Memory::Spoilt));
    }

    /// What `encode` makes of the states that hold volatile changes; they count as written from now on.
    pub(crate) fn wash<T>(&mut self, mut encode: impl FnMut(usize, &LiveState) -> Option<T>) -> Vec<T> {
        let washed = self.0.iter_mut().filter_map(|(place, memory)| match memory {
            Memory::Live { state, dirty: dirty @ true } => {
                *dirty = false;
                encode(*place, state)
            }
            _ => None,
        });
        washed.collect()
    }
}
