//! Playing owns the hands that take a scenario's steps: each does what its house's answers advise, until the store is gone.

use crate::scenario::{Letters, Scenario, Step};
use crate::trace::{Event, Trace};
use crate::weather::Mishap;
use crate::world::Remembered;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use worksite_model::{Advice, Draft, EnvelopeId, Person, PersonId, Rejection};
use worksite_runtime::{AskError, DeskError, Runtime, SendError};

/// How long hands rest before they try again.
const REST: Duration = Duration::from_millis(200);

/// How long hands wait before they ask whether the house still stands: in virtual time, and where time is real.
const PATIENCE: [Duration; 2] = [Duration::from_secs(60), Duration::from_millis(200)];

/// No scenario has anything to wait for that takes longer.
const WAITS_MAX: usize = 600;

/// What the application holds in its hands: mail that was taken and is not acknowledged.
type Taken = Rc<RefCell<BTreeMap<i64, Vec<EnvelopeId>>>>;

/// Plays all steps; nothing when the house died on the way, or a law was broken.
pub(crate) async fn play(runtime: &Runtime, scenario: &Scenario, trace: &Trace, is_real: bool) -> Option<Remembered> {
    let player = Player { is_real, runtime: runtime.clone(), trace: trace.clone(), taken: Taken::default() };
    for step in &scenario.steps {
        player.clone().play(step.clone(), true).await?;
        if trace.broken().is_some() {
            return None;
        }
    }
    loop {
        match player.remember().await {
            Err(error) if error.advice() == Advice::RetryLater => tokio::time::sleep(REST).await,
            remembered => return remembered.ok(),
        }
    }
}

#[derive(Clone)]
struct Player {
    is_real: bool,
    runtime: Runtime,
    trace: Trace,
    taken: Taken,
}

impl Player {
    /// Takes a step; nothing when the store died. Only who is `alone` can say what must be true afterwards.
    fn play(self, step: Step, alone: bool) -> Pin<Box<dyn Future<Output = Option<()>>>> {
        Box::pin(async move {
            match step {
                Step::Sync(people) => self.sync(&people, alone).await,
                Step::Send(drafts) => self.send(&drafts).await,
                Step::SendTogether(drafts) => self.send_together(&drafts).await,
                Step::Ask(drafts) => self.ask(drafts).await,
                Step::Volatile(drafts) => self.send_volatile(drafts),
                Step::Drain(person, limit) => self.drain(person, limit).await,
                Step::PutBack(person) => self.put_back(person).await,
                Step::Acknowledge(person) => self.acknowledge(person).await,
                Step::Wait(time) => {
                    tokio::time::sleep(time).await;
                    Some(())
                }
                Step::Rest => self.until_quiet(self.runtime.rest()).await,
                Step::Quiesce => self.until_quiet(self.runtime.quiesce()).await,
                Step::Pause(person) => until_done(|| self.runtime.pause(person)).await,
                Step::Resume(person) => until_done(|| self.runtime.resume(person)).await,
                Step::AtOnce(steps) => self.play_at_once(steps).await,
                Step::CrashWorker(person) => {
                    self.trace.push(Event::Mishap(Mishap::CrashWorker(person)));
                    self.runtime.crash_worker(person);
                    Some(())
                }
            }
        })
    }

    async fn play_at_once(&self, steps: Vec<Step>) -> Option<()> {
        let play = |step| tokio::task::spawn_local(self.clone().play(step, false));
        let played: Vec<_> = steps.into_iter().map(play).collect();
        let mut all = Some(());
        for step in played {
            all = all.and(step.await.expect("a step does not panic"));
        }
        all
    }

    async fn sync(&self, people: &[i64], alone: bool) -> Option<()> {
        let wanted: Vec<_> = people.iter().copied().map(PersonId).collect();
        let people = || people.iter().map(|id| Person::new(*id, format!("person {id}")));
        again(|| self.runtime.sync(people())).await?;
        if alone {
            let active = self.runtime.roster().people().map(|person| person.id).collect();
            self.trace.push(Event::Synced { wanted, active, awake: self.runtime.awake() });
        }
        Some(())
    }

    /// Sends them so that all are on their way before the first answer is waited for.
    async fn send(&self, drafts: &[Draft]) -> Option<()> {
        let sent: Vec<_> = drafts.iter().map(|draft| self.runtime.send(draft.clone())).collect();
        for (sent, draft) in sent.into_iter().zip(drafts) {
            let receipt = match sent.await {
                Ok(receipt) => receipt,
                Err(error) if is_fatal(&error) => return None,
                Err(_) => again(|| self.runtime.send(draft.clone())).await?,
            };
            self.trace.push(Event::Receipt(receipt.id));
        }
        Some(())
    }

    async fn send_together(&self, drafts: &[Draft]) -> Option<()> {
        for receipt in again(|| self.runtime.send_all(drafts.to_vec())).await? {
            self.trace.push(Event::Receipt(receipt.id));
        }
        Some(())
    }

    /// Asks all at once. Who takes mail by hand, or is poisoned, gives no answer: that mail is only sent.
    async fn ask(&self, drafts: Vec<Draft>) -> Option<()> {
        let (asked, sent): (Vec<_>, Vec<_>) =
            drafts.into_iter().partition(|draft| draft.to.0 < crate::scenario::BY_HAND);
        let answers: Vec<_> = asked.iter().map(|draft| self.runtime.ask::<i64>(draft.clone())).collect();
        self.send(&sent).await?;
        for (answer, draft) in answers.into_iter().zip(asked) {
            let mut answer: Pin<Box<dyn Future<Output = _>>> = Box::pin(answer);
            loop {
                match self.while_it_stands("an answer never came", answer).await? {
                    Ok(id) => self.trace.push(Event::Answered(EnvelopeId(id))),
                    Err(AskError::Buried(_)) => {}
                    Err(AskError::Send(error)) if !is_fatal(&error) => {
                        tokio::time::sleep(REST).await;
                        answer = Box::pin(self.runtime.ask::<i64>(draft.clone()));
                        continue;
                    }
                    // Nobody is held here but by a store that has died: this life is over.
                    Err(AskError::Send(_) | AskError::Stopped | AskError::Held(_)) => return None,
                    Err(error) => panic!("an ask of {draft:?} ended with {error}\n{}", self.trace),
                }
                break;
            }
        }
        Some(())
    }

    /// Nobody answers for what is never written, and it may be refused while somebody is away.
    fn send_volatile(&self, drafts: Vec<Draft>) -> Option<()> {
        drafts.into_iter().for_each(|draft| drop(self.runtime.send_volatile(draft)));
        Some(())
    }

    async fn until_quiet(&self, quiet: impl Future<Output = Result<(), DeskError>>) -> Option<()> {
        self.while_it_stands("mail waits, and nobody takes it", quiet).await?.ok()?;
        self.trace.push(Event::Quiet);
        Some(())
    }

    async fn drain(&self, person: i64, limit: usize) -> Option<()> {
        let Some(mail) = at_the_desk(self.runtime.drain(person, limit).await)? else { return Some(()) };
        let ids: Vec<_> = mail.iter().map(|delivery| delivery.id()).collect();
        self.trace.push(Event::Drained { person: PersonId(person), ids: ids.clone() });
        self.taken.borrow_mut().entry(person).or_default().extend(ids);
        Some(())
    }

    async fn put_back(&self, person: i64) -> Option<()> {
        let taken = self.taken.borrow_mut().remove(&person).unwrap_or_default();
        at_the_desk(self.runtime.put_back(person, taken).await).map(drop)
    }

    async fn acknowledge(&self, person: i64) -> Option<()> {
        let taken = self.taken.borrow_mut().remove(&person).unwrap_or_default();
        loop {
            match self.runtime.acknowledge(taken.clone()).await {
                Err(error) if error.advice() == Advice::RetryLater => tokio::time::sleep(REST).await,
                answer => return answer.ok().map(drop),
            }
        }
    }

    /// Waits for something that a dead store would keep it waiting for for ever: so the store is asked now and then.
    async fn while_it_stands<T>(&self, complaint: &str, awaited: impl Future<Output = T>) -> Option<T> {
        let mut awaited = std::pin::pin!(awaited);
        for _ in 0..WAITS_MAX {
            match tokio::time::timeout(PATIENCE[usize::from(self.is_real)], awaited.as_mut()).await {
                Ok(done) => return Some(done),
                Err(_elapsed) => drop(self.runtime.tally().await.ok()?),
            }
            if self.trace.broken().is_some() {
                return None;
            }
        }
        panic!("{complaint}: a wake-up was lost\n{}", self.trace)
    }

    async fn remember(&self) -> Result<Remembered, DeskError> {
        let mut remembered = Remembered::default();
        for person in self.runtime.roster().people() {
            for clerk in ["clerk", "slow clerk"] {
                let letters = self.runtime.state::<Letters>(person.id, clerk).await?.unwrap_or_default();
                remembered.noted.insert((person.id.0, clerk), letters.noted);
            }
        }
        let tally = self.runtime.tally().await?;
        (remembered.buried, remembered.removed, remembered.waiting) = (tally.buried, tally.removed, tally.waiting);
        Ok(remembered)
    }
}

/// Does what the error's advice says: the same again later, unless the store is gone.
async fn again<T, F: Future<Output = Result<T, SendError>>>(mut ask: impl FnMut() -> F) -> Option<T> {
    loop {
        match ask().await {
            Ok(done) => return Some(done),
            Err(error) if is_fatal(&error) => return None,
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// The same for what is asked of a desk.
async fn until_done<F: Future<Output = Result<(), DeskError>>>(mut ask: impl FnMut() -> F) -> Option<()> {
    loop {
        match ask().await {
            Ok(()) => return Some(()),
            Err(error) if error.advice() != Advice::RetryLater => return None,
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// Whoever is away comes back in every scenario; so mail to them is worth another attempt.
fn is_fatal(error: &SendError) -> bool {
    let away = matches!(error, SendError::Rejected { rejection: Rejection::UnknownPerson(_), .. });
    !away && error.advice() != Advice::RetryLater
}

/// What somebody at a desk did: nothing when the store is gone, and nothing in it when the person is away.
fn at_the_desk<T>(answer: Result<T, DeskError>) -> Option<Option<T>> {
    match answer {
        Ok(done) => Some(Some(done)),
        Err(DeskError::UnknownPerson(_)) => Some(None),
        Err(_) => None,
    }
}
