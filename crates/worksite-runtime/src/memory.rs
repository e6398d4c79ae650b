//! Memory owns a worker's routine states while it is awake: a cache of the store that may be thrown away at any moment.

use worksite_model::{LiveState, Payload};

/// A routine's state in memory.
pub(crate) enum Memory {
    /// As it was stored; not decoded yet.
    Stored(Box<Payload>),
    /// Decoded; `dirty` when it holds volatile changes that no commit has written.
    Live { state: LiveState, dirty: bool },
    /// Spoilt by a turn that did not count: to be read again.
    Spoilt,
}

/// Routine states by the routine's place in the registry. Nearly every worker has one, and there are many workers: so the
/// first stands here, and only more of them take room elsewhere.
#[derive(Default)]
pub(crate) enum Memories {
    #[default]
    None,
    One(usize, Memory),
    Many(Vec<(usize, Memory)>),
}

impl Memories {
    /// What the store had.
    pub(crate) fn recovered(stored: impl Iterator<Item = (usize, Payload)>) -> Self {
        let mut memories = Self::None;
        stored.for_each(|(place, payload)| memories.put(place, Memory::Stored(Box::new(payload))));
        memories
    }

    /// Takes a routine's state out; none when it has none yet. Until one is kept again it counts as spoilt.
    pub(crate) fn take(&mut self, place: usize) -> Option<Memory> {
        self.at(place).map(|memory| std::mem::replace(memory, Memory::Spoilt))
    }

    /// A routine's state where it stands, decoded, and whether it holds volatile changes that no commit has written.
    #[inline(always)]
    pub(crate) fn live(&mut self, place: usize) -> Option<(&mut LiveState, &mut bool)> {
        match self.at(place) {
            Some(Memory::Live { state, dirty }) => Some((state, dirty)),
            _ => None,
        }
    }

    #[inline(always)]
    fn at(&mut self, place: usize) -> Option<&mut Memory> {
        match self {
            Self::One(known, memory) if *known == place => Some(memory),
            Self::Many(many) => many.iter_mut().find(|(known, _)| *known == place).map(|(_, memory)| memory),
            _ => None,
        }
    }

    /// Keeps a routine's state.
    pub(crate) fn remember(&mut self, place: usize, state: LiveState, dirty: bool) {
        self.put(place, Memory::Live { state, dirty });
    }

    /// The routine's state in memory is not what is committed: it is read again before its next turn.
    pub(crate) fn spoil(&mut self, place: usize) {
        self.put(place, Memory::Spoilt);
    }

    /// What `encode` makes of the states that hold volatile changes; they count as written from now on.
    pub(crate) fn wash<T>(&mut self, mut encode: impl FnMut(usize, &LiveState) -> Option<T>) -> Vec<T> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(place, memory) => (Some((*place, memory)), None),
            Self::Many(many) => (None, Some(many)),
        };
        let many = many.into_iter().flat_map(|many| many.iter_mut()).map(|(place, memory)| (*place, memory));
        let washed = one.into_iter().chain(many).filter_map(|(place, memory)| match memory {
            Memory::Live { state, dirty: dirty @ true } => {
                *dirty = false;
                encode(place, state)
            }
            _ => None,
        });
        washed.collect()
    }

    fn put(&mut self, place: usize, memory: Memory) {
        if let Some(known) = self.at(place) {
            *known = memory;
            return;
        }
        *self = match std::mem::take(self) {
            Self::None => Self::One(place, memory),
            Self::One(known, first) => Self::Many(vec![(known, first), (place, memory)]),
            Self::Many(mut many) => {
                many.push((place, memory));
                Self::Many(many)
            }
        };
    }
}
