//! Owns what a person sees at the end: plots, tables, checks and the digest, all from what the workers remember.

use crate::correspondence::Correspondence;
use crate::data::{self, DAY, Facts, most, share};
use crate::program::Done;
use crate::program::checks::Checks;
use plotters::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use textplots::{Chart, Plot, Shape};
use worksite::prelude::*;

/// What all workers remember, by person.
pub struct Report {
    states: BTreeMap<i64, Correspondence>,
    days: BTreeMap<i64, u64>,
    reply_minutes: BTreeMap<u32, usize>,
}

impl Report {
    /// Asks the site for everybody's committed state.
    pub async fn read(site: &Worksite, people: impl Iterator<Item = i64>) -> Done<Self> {
        let mut states = BTreeMap::new();
        for person in people {
            if let Some(state) = site.state::<Correspondence>(person, "correspond").await? {
                states.insert(person, state);
            }
        }
        let (mut days, mut reply_minutes) = (BTreeMap::new(), BTreeMap::new());
        for state in states.values() {
            for (day, count) in &state.received {
                *days.entry(*day).or_default() += count;
            }
            for (minutes, count) in &state.reply_minutes {
                *reply_minutes.entry(*minutes).or_default() += *count as usize;
            }
        }
        Ok(Self { states, days, reply_minutes })
    }

    fn received(&self) -> BTreeMap<i64, u64> {
        self.states.iter().map(|(person, state)| (*person, state.received.values().sum())).collect()
    }

    fn replies(&self) -> usize {
        self.reply_minutes.values().sum()
    }

    fn replies_within(&self, minutes: u32) -> usize {
        self.reply_minutes.range(..=minutes).map(|(_, count)| count).sum()
    }

    fn median_reply(&self) -> u32 {
        let (middle, mut seen) = (self.replies() / 2, 0);
        for (minutes, count) in &self.reply_minutes {
            seen += count;
            if seen > middle {
                return *minutes;
            }
        }
        0
    }

    /// Prints what the term looked like.
    pub fn print(&self) {
        let Some((first, last)) = self.days.keys().next().zip(self.days.keys().next_back()) else { return };
        println!("\nmessages a day, {} to {}", data::date(*first), data::date(*last));
        let points: Vec<(f32, f32)> =
            (*first..=*last).map(|day| ((day - first) as f32, self.count(day) as f32)).collect();
        Chart::new(140, 40, 0.0, (last - first).max(1) as f32).lineplot(&Shape::Bars(&points)).nice();
        self.print_busiest();
        println!(
            "\n{} reply turns, median {} min, {} % within the hour, {} % within the day",
            self.replies(),
            self.median_reply(),
            share(self.replies_within(60), self.replies()),
            share(self.replies_within(DAY as u32), self.replies())
        );
    }

    fn print_busiest(&self) {
        println!("\nbusiest people       received    sent  wrote to");
        let mut busiest: Vec<_> = self.received().into_iter().collect();
        busiest.sort_by_key(|(person, received)| (std::cmp::Reverse(*received), *person));
        for (person, received) in busiest.into_iter().take(5) {
            let state = &self.states[&person];
            println!("  student {person:<8} {received:>10} {:>7} {:>9}", state.sent, state.written_to.len());
        }
    }

    fn count(&self, day: i64) -> u64 {
        self.days.get(&day).copied().unwrap_or(0)
    }

    /// Draws messages a day as an SVG.
    pub fn draw(&self, path: &Path) -> Done<()> {
        let (first, last) =
            (self.days.keys().min().copied().unwrap_or(0), self.days.keys().max().copied().unwrap_or(0));
        let highest = self.days.values().max().copied().unwrap_or(0);
        let area = SVGBackend::new(path, (1000, 400)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Messages a day, UC Irvine 2004 (Panzarasa, Opsahl & Carley 2009)", ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(48)
            .build_cartesian_2d(first..last + 1, 0..highest + highest / 10 + 1)?;
        chart.configure_mesh().disable_x_mesh().x_label_formatter(&|day| data::date(*day)).draw()?;
        chart.draw_series(
            (first..=last).map(|day| Rectangle::new([(day, 0), (day + 1, self.count(day))], BLUE.filled())),
        )?;
        area.present()?;
        Ok(())
    }

    /// Holds what the workers remember, and what the site counted, against what is known.
    pub fn check(&self, facts: &Facts, tally: &Tally, lost: u64, roster: &Roster) -> Checks {
        let mut checks = Checks::default();
        let received = self.received();
        let busiest_day = most(&self.days);
        checks.equal("messages delivered", facts.messages, received.values().sum::<u64>());
        checks.equal(
            "copies in sent folders",
            facts.messages,
            self.states.values().map(|state| state.sent).sum::<u64>(),
        );
        checks.equal("envelopes settled", facts.messages * 2, tally.settled);
        checks.equal("people", facts.people, self.states.len());
        checks.equal(
            "people who ever send",
            facts.senders,
            self.states.values().filter(|state| state.sent > 0).count(),
        );
        let pairs: usize = self.states.values().map(|state| state.written_to.len()).sum();
        checks.equal("directed pairs", facts.pairs, pairs);
        let pair = |(who, count): (i64, u64)| format!("{count} to {who}");
        checks.equal("most received", pair(facts.most_received), pair(most(&received)));
        let day = |(day, count): &(String, u64)| format!("{count} on {day}");
        checks.equal("busiest day", day(&facts.busiest_day), day(&(data::date(busiest_day.0), busiest_day.1)));
        checks.equal("reply turns", facts.reply_turns, self.replies());
        checks.equal("median reply, minutes", facts.median_minutes, self.median_reply());
        let within = |minutes| share(self.replies_within(minutes), self.replies());
        checks.equal("within the hour, %", facts.within_hour_percent, within(60));
        checks.equal("within the day, %", facts.within_day_percent, within(DAY as u32));
        checks.equal("accepted = settled + waiting + buried + …", true, tally.is_conserved());
        checks.equal("left waiting", 0, tally.waiting);
        checks.equal("dropped, buried, quarantined", 0, lost + tally.buried + tally.removed + tally.quarantined);
        checks.equal("still on the roster", 0, roster.len());
        checks
    }

    /// A digest of all states, in order of people: the same for the same input, however often the run was killed.
    pub fn digest(&self) -> Done<String> {
        let mut digest = Sha256::new();
        for (person, state) in &self.states {
            digest.update(person.to_le_bytes());
            digest.update(&Payload::encode(state)?.body);
        }
        Ok(format!("{:x}", digest.finalize()))
    }
}
