//! Owns what is to be expected of the workers: published figures, and a plain pass over the mails that knows no workers.

use crate::clerk::is_urgent;
use crate::desks::Watched;
use crate::house::{self, SCREEN_LINES};
use crate::lists::Folders;
use crate::mails::{Mails, Threads};
use std::collections::BTreeMap;

/// What the workers should remember, and the site should have counted.
pub struct Expected {
    pub mails: usize,
    pub writers: usize,
    pub threads: Threads,
    pub copies: usize,
    /// Mails that are looked at before they are filed.
    pub large: usize,
    pub urgent: usize,
    pub folders: BTreeMap<i64, Folders>,
    pub watched: Watched,
    /// The mails on the screen.
    pub screen: Vec<u32>,
    lists: usize,
    mails_to_lists: usize,
}

impl Expected {
    pub fn of(mails: &Mails, whole: bool) -> Self {
        let largest = mails.mails.iter().map(|mail| mail.bytes).max().unwrap_or(0);
        let is_large = |number: &usize| mails.mails[*number].bytes == largest;
        let (large, usual): (Vec<usize>, Vec<usize>) = (0..mails.mails.len()).partition(is_large);
        // Large mails are filed at the end, once somebody has looked at them.
        let order: Vec<usize> = usual.iter().chain(&large).copied().collect();
        let urgent = |number: &&usize| is_urgent(&mails.mails[**number].subject);
        let counted = Self {
            mails: order.len(),
            writers: mails.writers,
            threads: mails.threads_by_labels(),
            copies: mails.lists.iter().map(|list| list.members.len() * list.mails).sum(),
            large: large.len(),
            urgent: order.iter().filter(urgent).count(),
            folders: folders(mails, &order),
            watched: watched(mails, &order),
            screen: order[order.len().saturating_sub(SCREEN_LINES)..].iter().map(|number| *number as u32).collect(),
            lists: mails.lists.len(),
            mails_to_lists: mails.lists.iter().map(|list| list.mails).sum(),
        };
        if whole { counted.published() } else { counted }
    }

    /// What is known of the whole file from elsewhere; see `examples/data/README.md`.
    fn published(self) -> Self {
        let threads = Threads { all: 2_173, with_answers: 570, longest: 44 };
        Self { mails: 3_900, writers: 709, threads, copies: 265_813, ..self }
    }

    /// Envelopes: the opening, each mail for the clerk, the archive, the watch and the screen, and what lists get and
    /// send. What is large is announced to the clerk and comes twice.
    pub fn envelopes(&self) -> usize {
        1 + self.lists + 4 * self.mails + self.mails_to_lists + self.copies + 2 * self.large
    }

    /// How much the screen has let go.
    pub fn dropped(&self) -> usize {
        self.mails - self.screen.len()
    }

    /// What routines are done with: all but the screen's mail and what was buried.
    pub fn settled(&self) -> usize {
        self.envelopes() - self.mails - self.large
    }
}

fn folders(mails: &Mails, order: &[usize]) -> BTreeMap<i64, Folders> {
    let mut folders: BTreeMap<i64, Folders> = BTreeMap::new();
    for number in order {
        let Some(list) = mails.mails[*number].list else { continue };
        for member in &mails.lists[list].members {
            folders.entry(*member).or_default().0.entry(house::list(list)).or_default().add(*number as u32);
        }
    }
    folders
}

fn watched(mails: &Mails, order: &[usize]) -> Watched {
    let mut watched = Watched::default();
    for lane in [true, false] {
        for number in order.iter().filter(|number| is_urgent(&mails.mails[**number].subject) == lane) {
            watched.read(*number as u32, lane);
        }
    }
    watched
}
