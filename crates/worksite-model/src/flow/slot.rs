//! A slot is a routine's input port, and at each worker the bounded queue of data that wait there: first in, first out.

use crate::flow::{DataType, Datum, JobSet};
use crate::limits::SLOT_DATA_MAX;
use crate::{Overflow, Timestamp};
use std::collections::VecDeque;

/// How full a slot is when it counts as high, in percent, when it says nothing else (seed 001's `watermark`).
pub const SLOT_WATERMARK_PERCENT: u8 = 80;

/// A routine's input port.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub takes: DataType,
    /// Data it holds. Default: [`SLOT_DATA_MAX`].
    pub data_max: usize,
    /// How full it is when its pressure is high, in percent. Default: [`SLOT_WATERMARK_PERCENT`].
    pub watermark_percent: u8,
    /// What becomes of a post, or an emission, that finds it full. Default: [`Overflow::Wait`]: a post stays in the
    /// worker's inbox until there is room, and a routine before it is not activated while it is full.
    pub overflow: Overflow,
}

/// How full a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pressure {
    /// Below 60 percent.
    Low,
    /// From 60 percent on.
    Medium,
    /// From its watermark on.
    High,
    /// Full.
    Critical,
}

impl Slot {
    /// A slot with the usual bounds.
    pub(crate) fn new(name: String, takes: DataType) -> Self {
        let (data_max, watermark_percent) = (SLOT_DATA_MAX, SLOT_WATERMARK_PERCENT);
        Self { name, takes, data_max, watermark_percent, overflow: Overflow::Wait }
    }

    /// How full it is with so many data in it.
    pub fn pressure(&self, data: usize) -> Pressure {
        let reaches = |percent: usize| data * 100 >= self.data_max * percent;
        match () {
            () if data >= self.data_max => Pressure::Critical,
            () if reaches(usize::from(self.watermark_percent)) => Pressure::High,
            () if reaches(60) => Pressure::Medium,
            () => Pressure::Low,
        }
    }
}

/// A datum in a slot.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) datum: Datum,
    pub(crate) jobs: JobSet,
    /// When it came.
    pub(crate) at: Timestamp,
    /// The number of the row that holds it; none while it is only in memory.
    pub(crate) row: Option<u64>,
    /// Whether it is never written.
    pub(crate) volatile: bool,
}

/// What waits in one slot of one worker.
#[derive(Default)]
pub(crate) struct SlotQueue {
    items: VecDeque<Item>,
    /// What came, and what gave way to newer data or was turned away.
    pub(crate) came: u64,
    pub(crate) dropped: u64,
    pub(crate) highest: usize,
}

impl SlotQueue {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn push(&mut self, item: Item) {
        self.items.push_back(item);
        self.came += 1;
        self.highest = self.highest.max(self.items.len());
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    pub(crate) fn remove(&mut self, place: usize) -> Option<Item> {
        self.items.remove(place)
    }

    /// Takes the first so many.
    pub(crate) fn drain(&mut self, count: usize) -> impl Iterator<Item = Item> {
        self.items.drain(..count.min(self.items.len()))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.items.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Item> {
        self.items.iter_mut()
    }

    pub(crate) fn first(&self) -> Option<&Item> {
        self.items.front()
    }

    pub(crate) fn last(&self) -> Option<&Item> {
        self.items.back()
    }

    /// Takes out what is meant, in order.
    pub(crate) fn extract(&mut self, meant: impl Fn(&Item) -> bool) -> Vec<Item> {
        let (gone, kept) = self.items.drain(..).partition(|item| meant(item));
        self.items = kept;
        Vec::from(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_rises_at_its_marks() {
        let slot = Slot { data_max: 10, ..Slot::new("s".into(), DataType::of::<u64>()) };
        use Pressure::{Critical, High, Low, Medium};
        assert_eq!(
            [0, 5, 6, 7, 8, 9, 10, 11].map(|data| slot.pressure(data)),
            [Low, Low, Medium, Medium, High, High, Critical, Critical]
        );
        let slot = Slot { watermark_percent: 50, ..slot };
        assert_eq!([4, 5].map(|data| slot.pressure(data)), [Low, High]);
        let slot = Slot { data_max: 1, ..slot };
        assert_eq!([0, 1].map(|data| slot.pressure(data)), [Low, Critical]);
    }
}
