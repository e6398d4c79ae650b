//! Owns what a person sees at the end: tables, checks and the digest, all from what the workers remember.

use crate::clerk::{self, Journal, thread_name};
use crate::desks::{self, Shelf, Shown, Watched};
use crate::expected::Expected;
use crate::house::{self, CLERK, SCREEN, WATCH};
use crate::lists::{self, Folders, MailingList};
use crate::mails::Mails;
use crate::program::Done;
use crate::program::checks::Checks;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use worksite::prelude::*;

/// Lists with more mails than this have a check of their own.
const LARGE_LIST: usize = 100;

/// What all workers remember.
pub struct Report {
    lists: BTreeMap<i64, MailingList>,
    folders: BTreeMap<i64, Folders>,
    shelves: BTreeMap<i64, Shelf>,
    journal: Journal,
    watched: Watched,
    screen: Vec<Shown>,
    /// Mails of the longest thread, read from the site's file.
    longest_thread: Vec<String>,
    dead: usize,
    tally: Tally,
}

impl Report {
    /// Asks the site for everybody's committed state.
    pub async fn read(site: &Worksite, mails: &Mails) -> Done<Self> {
        let shelves = states::<Shelf>(site, desks::Archive::NAME, (0..house::ARCHIVES).map(house::archive)).await?;
        // Before the tally, so that the screen has let go what it must.
        let screen = screen(site).await?;
        Ok(Self {
            lists: states(site, lists::Spread::NAME, (0..mails.lists.len()).map(house::list)).await?,
            folders: states(site, lists::Browse::NAME, 1..=mails.writers as i64).await?,
            journal: site.state(CLERK, clerk::File::NAME).await?.unwrap_or_default(),
            watched: site.state(WATCH, desks::Watch::NAME).await?.unwrap_or_default(),
            longest_thread: longest_thread(site, &shelves).await?,
            shelves,
            screen,
            dead: site.dead_letters(1).await?.len(),
            tally: site.tally().await?,
        })
    }

    /// Copies that members have of each list.
    fn copies(&self) -> BTreeMap<i64, u64> {
        let mut copies = BTreeMap::new();
        for (list, read) in self.folders.values().flat_map(|folders| &folders.0) {
            *copies.entry(*list).or_default() += read.copies;
        }
        copies
    }

    /// Prints what the house has dealt with.
    pub fn print(&self, mails: &Mails) {
        println!("\nlist                        mails  members    copies");
        let copies = self.copies();
        let mut lists: Vec<_> = mails.lists.iter().enumerate().collect();
        lists.sort_by_key(|(index, list)| (std::cmp::Reverse(list.mails), *index));
        for (index, list) in lists.into_iter().take(8) {
            let copies = copies.get(&house::list(index)).copied().unwrap_or(0);
            println!("  {:<24} {:>6} {:>8} {:>9}", list.name, list.mails, list.members.len(), copies);
        }
        println!("\nthe longest thread, {} mails:", self.longest_thread.len());
        self.longest_thread.iter().take(3).for_each(|subject| println!("  {subject}"));
        for mail in &self.journal.redriven {
            let known = &mails.mails[*mail as usize];
            println!(
                "\na dead letter, looked at and redriven: mail {mail}, {} bytes\n  {}",
                known.bytes, known.subject
            );
        }
        println!("\nthe screen's inbox holds {}, the newest of them:", self.screen.len());
        self.screen.iter().rev().take(5).for_each(|shown| println!("  {:>4} {}", shown.mail, shown.subject));
    }

    /// Holds what the workers remember, and what the site counted, against what is known.
    pub fn check(&self, mails: &Mails, expected: &Expected) -> Checks {
        let mut checks = Checks::default();
        checks.equal("mails filed", expected.mails, self.journal.filed);
        checks.equal("writers", expected.writers, self.journal.writers.len());
        self.check_lists(&mut checks, mails, expected);
        let threads = || self.shelves.values().flat_map(|shelf| shelf.0.values().copied());
        let with_answers = threads().filter(|mails| *mails > 1).count();
        checks.equal("threads", expected.threads.all, threads().count());
        checks.equal("threads of two mails or more", expected.threads.with_answers, with_answers);
        checks.equal("mails of the longest thread", expected.threads.longest, threads().max().unwrap_or(0));
        checks.equal("the same, read from its file", expected.threads.longest, self.longest_thread.len());
        checks.equal("urgent mails read before all others", expected.urgent, self.watched.urgent_first);
        checks.equal("both lanes read in the order of mails", true, self.watched == expected.watched);
        let shown: Vec<u32> = self.screen.iter().map(|shown| shown.mail).collect();
        checks.equal("the screen's inbox holds", expected.screen.len(), shown.len());
        checks.equal("they are the newest", true, shown == expected.screen);
        checks.equal("the older ones it dropped", expected.dropped(), self.tally.dropped);
        checks.equal("dead letters buried", expected.large, self.tally.buried);
        checks.equal("redriven and filed", expected.large, self.journal.redriven.len());
        checks.equal("left dead", 0, self.dead);
        checks.equal("envelopes accepted", expected.envelopes(), self.tally.accepted);
        checks.equal("envelopes settled", expected.settled(), self.tally.settled);
        checks.equal("left waiting, all for the screen", expected.screen.len(), self.tally.waiting);
        checks.equal("removed, quarantined", 0, self.tally.removed + self.tally.quarantined);
        checks.equal("accepted = settled + waiting + buried + …", true, self.tally.is_conserved());
        checks
    }

    fn check_lists(&self, checks: &mut Checks, mails: &Mails, expected: &Expected) {
        let copies = self.copies();
        for (index, list) in mails.lists.iter().enumerate().filter(|(_, list)| list.mails > LARGE_LIST) {
            let (members, found) = (list.members.len(), copies.get(&house::list(index)).copied().unwrap_or(0));
            checks.equal(
                format!("{}: {members} members × {} mails", list.name, list.mails),
                members * list.mails,
                found,
            );
        }
        checks.equal("copies of all lists", expected.copies, copies.values().sum::<u64>());
        let folders =
            || expected.folders.iter().flat_map(|(member, folders)| folders.0.iter().map(move |f| (member, f)));
        let in_order = |(member, (list, read)): &(&i64, (&i64, &lists::Read))| {
            self.folders.get(member).and_then(|folders| folders.0.get(list)) == Some(read)
        };
        checks.equal("folders, read in the order of mails", folders().count(), folders().filter(in_order).count());
    }

    /// A digest of all states: the same for the same input, however often the run was killed.
    pub fn digest(&self) -> Done<String> {
        let mut digest = Sha256::new();
        add(&mut digest, &self.lists)?;
        add(&mut digest, &self.folders)?;
        add(&mut digest, &self.shelves)?;
        digest.update(Payload::encode(&self.journal)?.body);
        digest.update(Payload::encode(&self.watched)?.body);
        for shown in &self.screen {
            digest.update(Payload::encode(shown)?.body);
        }
        Ok(format!("{:x}", digest.finalize()))
    }
}

fn add<T: Durable>(digest: &mut Sha256, states: &BTreeMap<i64, T>) -> Done<()> {
    for (person, state) in states {
        digest.update(person.to_le_bytes());
        digest.update(Payload::encode(state)?.body);
    }
    Ok(())
}

async fn states<T: Durable>(
    site: &Worksite,
    routine: &str,
    people: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, T>, DeskError> {
    let mut states = BTreeMap::new();
    for person in people {
        if let Some(state) = site.state(person, routine).await? {
            states.insert(person, state);
        }
    }
    Ok(states)
}

/// What the screen shows, once it has let go what it has no room for.
async fn screen(site: &Worksite) -> Done<Vec<Shown>> {
    site.rest().await?;
    let mail = site.peek(SCREEN, usize::MAX).await?;
    Ok(mail.iter().map(|mail| mail.envelope.draft.payload.decode()).collect::<Result<_, _>>()?)
}

/// The subjects of the longest thread, as the clerk filed them.
async fn longest_thread(site: &Worksite, shelves: &BTreeMap<i64, Shelf>) -> Done<Vec<String>> {
    let threads = shelves.values().flat_map(|shelf| &shelf.0);
    let Some((thread, _)) = threads.max_by_key(|(thread, mails)| (**mails, std::cmp::Reverse(**thread))) else {
        return Ok(Vec::new());
    };
    let (filed, mut subjects) = (Filter::all().kind("mail"), Vec::new());
    for entry in site.thread(thread_name(*thread), EnvelopeId(0), usize::MAX).await? {
        let is_filed = entry.standing == Standing::Settled && filed.matches(&entry.envelope);
        if is_filed && let clerk::Letter::Mail(heading) = entry.envelope.draft.payload.decode()? {
            subjects.push(format!("writer {}: {}", heading.writer, heading.subject));
        }
    }
    Ok(subjects)
}
