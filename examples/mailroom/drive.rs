//! Owns the drive: it opens the house, hands it the mails in order, has the dead letters redriven, and wakes the watch.
//!
//! Every step may be repeated. What is sent bears an idempotency key, the rest is a wish that may be wished twice; so a
//! killed run simply begins again, at the first mail the clerk has not filed. Each worker hears from each other one in
//! the order of mails, whatever the speed, and lets the result depend on nothing else.

use crate::clerk::{Heading, Journal, Letter};
use crate::desks::Watched;
use crate::house::{self, CLERK, WATCH};
use crate::lists::ListPost;
use crate::mails::{Mail, Mails};
use crate::program::Done;
use crate::{clerk, desks, lists};
use std::path::Path;
use worksite::model::PayloadError;
use worksite::prelude::*;

/// How many mails are handed over at once; their copies are dealt with before the next.
const MAILS_AT_ONCE: usize = 50;

/// How many dead letters are looked at.
const DEAD_LETTERS_MAX: usize = 1_000;

/// Opens a site with all routines.
pub async fn open(path: &Path) -> Result<Worksite, OpenError> {
    let builder = Worksite::builder().routine(clerk::File).routine(lists::Spread).routine(lists::Browse);
    let builder = builder.routine(desks::Archive).routine(desks::Watch);
    builder.manual(|person| person.id.0 == house::SCREEN).inboxes(house::inbox).open(path).await
}

/// How far a site has come.
pub struct Progress {
    /// How many mails its run is about; none were announced yet when nothing.
    pub of: Option<usize>,
    /// The first mail that was not filed.
    pub next: usize,
    pub is_finished: bool,
}

/// Asks a site how far it has come.
pub async fn progress(site: &Worksite) -> Result<Progress, DeskError> {
    let journal = site.state::<Journal>(CLERK, clerk::File::NAME).await?;
    let watched = site.state::<Watched>(WATCH, desks::Watch::NAME).await?.unwrap_or_default();
    let of = journal.as_ref().map(|journal| journal.mails);
    let next = journal.map_or(0, |journal| journal.next as usize);
    Ok(Progress { of, next, is_finished: of == Some(watched.mails) })
}

/// Delivers what there is still to deliver, large mails last; `filed` hears how many mails are through.
pub async fn deliver(site: &Worksite, mails: &Mails, mut filed: impl FnMut(usize)) -> Done<()> {
    site.sync(house::people(mails)).await?;
    // The watch rests while mail comes in, so that all of it competes.
    site.pause(WATCH).await?;
    site.send_all(opening(mails)?).await?;
    let mut next = progress(site).await?.next;
    while next < mails.mails.len() {
        let end = mails.mails.len().min(next + MAILS_AT_ONCE);
        let drafts = (next..end).map(|number| draft(number, &mails.mails[number]));
        site.send_all(drafts.collect::<Result<_, _>>()?).await?;
        site.rest().await?;
        next = end;
        filed(next);
    }
    site.rest().await?;
    redrive(site).await
}

/// Lets the watch read what has come: the last step.
pub async fn wake_watch(site: &Worksite) -> Result<(), DeskError> {
    site.resume(WATCH).await?;
    site.quiesce().await
}

/// Tells the clerk what to expect, and each list who its members are.
fn opening(mails: &Mails) -> Result<Vec<Draft>, PayloadError> {
    let large = mails.mails.iter().map(|mail| mail.bytes).max().unwrap_or(0);
    let to_clerk = Letter::Opening { mails: mails.mails.len(), large };
    let mut drafts = vec![Draft::to(CLERK, &to_clerk)?.kind("opening").key("opening")];
    for (index, list) in mails.lists.iter().enumerate() {
        let members = Draft::to(house::list(index), &ListPost::Members(list.members.clone()))?;
        drafts.push(members.kind("opening").key(format!("members {index}")));
    }
    Ok(drafts)
}

fn draft(number: usize, mail: &Mail) -> Done<Draft> {
    let Mail { writer, list, thread, bytes, .. } = *mail;
    let heading = Heading { mail: u32::try_from(number)?, writer, list, thread, bytes, subject: mail.subject.clone() };
    let draft = Draft::to(CLERK, &Letter::Mail(heading))?.from(writer).kind("mail").channel("email");
    Ok(draft.thread(clerk::thread_name(thread)).key(format!("mail {number}")))
}

/// Looks at what the clerk would not file, and sends it again.
async fn redrive(site: &Worksite) -> Done<()> {
    let (mut looked_at, mut ids) = (Vec::new(), Vec::new());
    for letter in site.dead_letters(DEAD_LETTERS_MAX).await? {
        if let Letter::Mail(Heading { mail, .. }) = letter.delivery.envelope.draft.payload.decode()? {
            let inspected = Draft::to(CLERK, &Letter::Inspected { mail })?.kind("inspected");
            looked_at.push(inspected.key(format!("inspected {mail}")));
            ids.push(letter.delivery.id());
        }
    }
    if !ids.is_empty() {
        site.send_all(looked_at).await?;
        site.redrive(ids).await?;
        site.rest().await?;
    }
    Ok(())
}
