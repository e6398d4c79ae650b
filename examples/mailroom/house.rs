//! Owns who is in the house: the numbers and names of all workers.

use crate::mails::Mails;
use worksite::prelude::*;

/// Files every mail first.
pub const CLERK: i64 = 20_000;
/// Rests until all mail is in.
pub const WATCH: i64 = 20_001;
/// Taken by hand; holds the newest subjects only.
pub const SCREEN: i64 = 20_002;
/// How many subjects the screen holds.
pub const SCREEN_LINES: usize = 20;
/// How many workers keep the threads: a state is written whole, so it had better be small.
pub const ARCHIVES: usize = 16;

/// The worker of the list with this index.
pub fn list(index: usize) -> i64 {
    10_001 + index as i64
}

/// The worker who keeps this thread.
pub fn archive(thread: usize) -> i64 {
    20_100 + (thread % ARCHIVES) as i64
}

/// Everybody in the house.
pub fn people(mails: &Mails) -> Vec<Person> {
    let writers = (1..=mails.writers as i64).map(|writer| Person::new(writer, format!("writer {writer}")));
    let lists = mails.lists.iter().enumerate().map(|(index, list)| Person::new(self::list(index), list.name.clone()));
    let archives = (0..ARCHIVES).map(|shelf| Person::new(archive(shelf), format!("archive {shelf}")));
    let desks = [(CLERK, "clerk"), (WATCH, "watch"), (SCREEN, "screen")].map(|(id, name)| Person::new(id, name));
    writers.chain(lists).chain(archives).chain(desks).collect()
}

/// How an inbox takes mail: the screen's is small, and what is old gives way.
pub fn inbox(person: &Person) -> InboxPolicy {
    let usual = InboxPolicy::of(&Limits::default());
    if person.id.0 != SCREEN {
        return usual;
    }
    InboxPolicy { envelopes_max: SCREEN_LINES, overflow: Overflow::DropOldest, ..usual }
}

/// A sum of mails that tells their order.
pub fn fold(before: u64, mail: u32) -> u64 {
    (before ^ u64::from(mail)).wrapping_mul(0x0100_0000_01b3).rotate_left(7)
}
