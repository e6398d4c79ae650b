//! Desks stand in rows: those of people with neighbouring ids are neighbours in memory, and nobody pays for a desk that is
//! not there. Who goes through the people in order goes through memory in order, and the rows' own map stays small.

use super::Desk;
use worksite_model::{IdMap, PersonId};

/// How many neighbouring ids have their desks in one row: the bits of a word.
const ROW_BITS: u32 = u64::BITS.trailing_zeros();

/// All desks.
#[derive(Default)]
pub(super) struct Desks {
    rows: IdMap<i64, Row>,
}

/// The desks of 64 neighbouring ids, without gaps. Never empty.
#[derive(Default)]
struct Row {
    /// Which of the ids have a desk.
    taken: u64,
    /// Their desks, in order of ids.
    desks: Vec<Desk>,
}

impl Desks {
    #[inline]
    pub(super) fn get(&self, person: &PersonId) -> Option<&Desk> {
        let (row, bit) = address(*person);
        let row = self.rows.get(&row).filter(|row| row.taken & bit > 0)?;
        row.desks.get(row.place(bit))
    }

    pub(super) fn get_mut(&mut self, person: &PersonId) -> Option<&mut Desk> {
        let (row, bit) = address(*person);
        let row = self.rows.get_mut(&row).filter(|row| row.taken & bit > 0)?;
        let place = row.place(bit);
        row.desks.get_mut(place)
    }

    /// The person's desk, which is made if there is none.
    pub(super) fn get_or_make(&mut self, person: PersonId, make: impl FnOnce() -> Desk) -> &mut Desk {
        let (row, bit) = address(person);
        let row = self.rows.entry(row).or_default();
        let place = row.place(bit);
        if row.taken & bit == 0 {
            row.make_room();
            row.desks.insert(place, make());
            row.taken |= bit;
        }
        &mut row.desks[place]
    }

    pub(super) fn remove(&mut self, person: &PersonId) {
        let (number, bit) = address(*person);
        let Some(row) = self.rows.get_mut(&number).filter(|row| row.taken & bit > 0) else { return };
        let place = row.place(bit);
        row.taken &= !bit;
        row.desks.remove(place);
        if row.taken == 0 {
            self.rows.remove(&number);
        } else if row.desks.len() <= row.desks.capacity() / 4 {
            row.desks.shrink_to_fit();
        }
    }

    /// Who has a desk, and which; people of one row in order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PersonId, &Desk)> {
        self.rows.iter().flat_map(|(number, row)| row.people(*number).zip(&row.desks))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Desk> {
        self.rows.values_mut().flat_map(|row| &mut row.desks)
    }
}

impl Row {
    /// Where the desk behind this bit stands: behind those of all lower ids.
    fn place(&self, bit: u64) -> usize {
        (self.taken & (bit - 1)).count_ones() as usize
    }

    /// Room for one more: as much again, from one on, so that a desk far from all others costs no more than itself.
    fn make_room(&mut self) {
        if self.desks.len() == self.desks.capacity() {
            let most = u64::BITS as usize - self.desks.len();
            self.desks.reserve_exact(self.desks.len().max(1).min(most));
        }
    }

    /// Whose the desks are.
    fn people(&self, number: i64) -> impl Iterator<Item = PersonId> {
        let mut left = self.taken;
        std::iter::from_fn(move || {
            let place = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some(PersonId(number << ROW_BITS | i64::from(place)))
        })
    }
}

/// Which row holds a person's desk, and which bit stands for it there.
fn address(person: PersonId) -> (i64, u64) {
    (person.0 >> ROW_BITS, 1 << (person.0 & i64::from(u64::BITS - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use worksite_model::{InboxPolicy, Limits};

    /// A desk that can be told from others.
    fn desk(generation: u32) -> Desk {
        let mut desk = Desk::new(Arc::new(InboxPolicy::of(&Limits::default())));
        desk.generation = generation;
        desk
    }

    #[test]
    fn whoever_comes_and_goes_finds_their_own_desk() {
        let (mut desks, mut expected, mut number) = (Desks::default(), BTreeMap::new(), 7_u64);
        for step in 0..20_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // On both sides of nought, and at both ends of what a number can be.
            let near = (number >> 33) as i64 % 500 - 250;
            let id = PersonId([near, i64::MIN + near.abs(), i64::MAX - near.abs()][(number >> 20) as usize % 3]);
            if (number >> 25) % 10 < [7, 2][step / 10_000] {
                desks.get_or_make(id, || desk(step as u32));
                expected.entry(id).or_insert(step as u32);
            } else {
                desks.remove(&id);
                expected.remove(&id);
            }
            assert_eq!(desks.get(&id).map(|desk| desk.generation), expected.get(&id).copied());
            assert_eq!(desks.get_mut(&id).map(|desk| desk.generation), expected.get(&id).copied());
        }
        let found: BTreeMap<_, _> = desks.iter().map(|(person, desk)| (person, desk.generation)).collect();
        assert_eq!((found.len(), desks.values_mut().count()), (expected.len(), desks.iter().count()));
        assert_eq!(found, expected);
        for row in desks.rows.values() {
            assert!(row.desks.len() == row.taken.count_ones() as usize && row.desks.capacity() <= 64);
            assert!(row.desks.capacity() < 4 * row.desks.len().max(2), "room is given back");
        }
        for id in expected.into_keys() {
            desks.remove(&id);
        }
        assert!(desks.rows.is_empty());
    }

    #[test]
    fn neighbours_share_a_row_and_a_hermit_has_room_for_one() {
        let mut desks = Desks::default();
        for id in -64..128 {
            desks.get_or_make(PersonId(id), || desk(0));
        }
        desks.get_or_make(PersonId(1 << 40), || desk(0));
        let mut room: Vec<_> = desks.rows.values().map(|row| row.desks.capacity()).collect();
        room.sort_unstable();
        assert_eq!(room, [1, 64, 64, 64]);
    }
}
