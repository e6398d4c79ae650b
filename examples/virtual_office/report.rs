//! Owns what is to be said of a run: tables, plots, and checks against answers that are computed from the transcript alone.

use crate::drive::Driven;
use crate::program::Done;
use crate::program::checks::Checks;
use plotters::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use worksite::prelude::*;
use worksite_simulation::office::{
    Channel, Charter, Desk, HappeningKind, Mail, MailId, OfficeEntry, Transcript, Verified,
};

/// What is known at the end.
pub struct Report {
    pub transcript: Transcript,
    pub charter: Charter,
    pub tick: u64,
    pub desks: BTreeMap<i64, Desk>,
    pub tally: Tally,
    pub spent: i64,
    pub calls: u64,
}

impl Report {
    fn ticks_per_day(&self) -> u64 {
        self.charter.calendar.ticks_per_day
    }

    /// The mails that came, once each, by name.
    fn mails(&self) -> BTreeMap<MailId, (&Mail, usize)> {
        let mut mails: BTreeMap<MailId, (&Mail, usize)> = BTreeMap::new();
        for (_, mail) in self.transcript.mail().filter(|(_, mail)| mail.id.from > 0) {
            mails.entry(mail.id).or_insert((mail, 0)).1 += 1;
        }
        mails
    }

    /// How many minutes answers took, from when what they answer was read.
    fn answer_delays(&self) -> Vec<u32> {
        let mails = self.mails();
        let answers =
            mails.values().filter(|(mail, _)| mail.answers.is_some() && mail.body != "Seen, I will look into it.");
        let mut delays: Vec<u32> = answers.map(|(mail, _)| (mail.lands - mail.id.tick) as u32).collect();
        delays.sort_unstable();
        delays
    }

    /// The same of the people it was fitted on: each colleague's quantiles, as often as they answered.
    fn fitted_delays(&self) -> Vec<u32> {
        let mut delays = Vec::new();
        for (id, (mail, _)) in self.mails() {
            let Some(writer) = self.charter.colleagues.iter().find(|colleague| colleague.id == id.from) else {
                continue;
            };
            if mail.answers.is_some() {
                let quantiles = &writer.habits.answer_minutes;
                // Between two quantiles all minutes are as likely.
                for pair in quantiles.windows(2) {
                    delays.extend((0..10).map(|part| pair[0] + (pair[1] - pair[0]) * part / 10));
                }
            }
        }
        delays.sort_unstable();
        delays
    }

    /// Prints who did what, and what it cost.
    pub fn print(&self, driven: Option<&Driven>) {
        println!(
            "\n{:<8} {:>7} {:>6} {:>9} {:>9} {:>6} {:>8} {:>9} {:>8}",
            "", "e-mails", "chats", "received", "answered", "plans", "refused", "cost", "ms"
        );
        for (id, desk) in &self.desks {
            let (total, name) = (desk.total(), self.name(*id));
            println!(
                "{name:<8} {:>7} {:>6} {:>9} {:>9} {:>6} {:>8} {:>9} {:>8}",
                total.emails,
                total.chats,
                total.received,
                total.answered,
                total.plans,
                total.refused,
                total.cost_micros,
                total.took_ms
            );
        }
        if let Some(driven) = driven {
            let seconds = driven.times.total.as_secs_f64();
            let skipped = driven.ticks.saturating_sub(driven.active);
            println!(
                "\n{} ticks in {seconds:.1} s, {skipped} of them passed over since nothing happened: {:.0} ticks a second, {:.0} envelopes a second",
                driven.ticks,
                driven.ticks as f64 / seconds,
                self.tally.settled as f64 / seconds
            );
        }
        println!("{} calls of planners, {} millionths spent", self.calls, self.spent);
    }

    fn name(&self, id: i64) -> &str {
        self.charter
            .colleagues
            .iter()
            .find(|colleague| colleague.id == id)
            .map_or("Office", |colleague| &colleague.name)
    }

    /// Holds what the house did against what follows from the transcript and from the people it was fitted on.
    pub fn check(&self, ticks: u64, verified: &Verified, fork: (u64, Option<u64>, bool)) -> Checks {
        let mut checks = Checks::default();
        let day = self.ticks_per_day();
        checks.equal("ticks", ticks, self.tick);
        let whole_days = self.tick / day;
        let planned =
            self.transcript.answers().map(|row| (row.person, row.tick / day)).filter(|(_, on)| *on < whole_days);
        checks.equal(
            "reports: one for each person and day",
            planned.collect::<BTreeSet<_>>().len(),
            self.transcript.reports().count(),
        );
        self.check_mail(&mut checks);
        checks.equal("plans made outside working hours", 0, self.outside_hours());
        checks.equal("plans made while ill", 0, self.while_ill());
        let (found, fitted) = (self.answer_delays(), self.fitted_delays());
        let median = |delays: &[u32]| delays.get(delays.len() / 2).copied().unwrap_or(0);
        let near = median(&found).abs_diff(median(&fitted)) * 4 <= median(&fitted).max(8);
        checks.equal(
            format!("answers take {} min in the middle, real people's {}: near", median(&found), median(&fitted)),
            true,
            near || found.len() < 50,
        );
        checks.equal("accepted = settled + waiting + buried + …", true, self.tally.is_conserved());
        checks.equal(
            "dropped, buried, quarantined",
            0,
            self.tally.dropped + self.tally.buried + self.tally.quarantined,
        );
        checks.equal("replayed: planners asked", 0, verified.calls);
        checks.equal("replayed: first tick that differs", "none", show(verified.parts_at));
        let (tick, parts, is_same) = fork;
        checks.equal(format!("a fork at tick {tick}: the past is the same"), true, is_same);
        checks.equal("a fork differs from its tick on", tick, show(parts));
        checks
    }

    fn check_mail(&self, checks: &mut Checks) {
        let mails = self.mails();
        let recipients = |mail: &Mail| {
            mail.to.iter().chain(&mail.cc).filter(|to| **to != mail.id.from).collect::<BTreeSet<_>>().len()
        };
        let wrong = mails.values().filter(|(mail, copies)| recipients(mail) != *copies).count();
        checks.equal("mails that did not come to each recipient once", 0, wrong);
        let sent: BTreeSet<MailId> = self.transcript.answers().flat_map(|row| row.sent.iter().copied()).collect();
        let outside: BTreeSet<MailId> =
            self.transcript.answers().flat_map(|row| row.outside.iter().map(|(_, id)| *id)).collect();
        let flying: usize =
            self.desks.values().flat_map(|desk| desk.in_flight.range(self.tick..)).map(|(_, to)| to.len()).sum();
        checks.equal("mail under way = envelopes waiting", flying, self.tally.waiting);
        let missing = sent.iter().filter(|id| !mails.contains_key(id) && !outside.contains(id)).count();
        checks.equal("mails sent that are neither there nor under way", 0, missing.saturating_sub(flying));
        checks.equal("mails there that nobody sent", 0, mails.keys().filter(|id| !sent.contains(id)).count());
    }

    /// Computed with the calendar of jiff and the tables of this machine alone.
    fn outside_hours(&self) -> usize {
        let calendar = &self.charter.calendar;
        let first: jiff::civil::Date = calendar.first_day.parse().unwrap_or_default();
        let at_work = |person: i64, tick: u64| {
            let minute = i64::from(calendar.begins_minute) + (tick % calendar.ticks_per_day) as i64;
            let date = first + jiff::Span::new().days((tick / calendar.ticks_per_day) as i64);
            let midnight = date.at(0, 0, 0, 0).in_tz(&calendar.time_zone).ok()?;
            let colleague = self.charter.colleagues.iter().find(|colleague| colleague.id == person)?;
            let local = (&midnight + jiff::Span::new().minutes(minute)).in_tz(&colleague.hours.time_zone).ok()?;
            let of_day = u32::try_from(i64::from(local.hour()) * 60 + i64::from(local.minute())).ok()?;
            let weekday = local.weekday().to_monday_zero_offset() < 5;
            Some(weekday && (colleague.hours.from_minute..colleague.hours.until_minute).contains(&of_day))
        };
        self.transcript.answers().filter(|row| at_work(row.person, row.tick) == Some(false)).count()
    }

    fn while_ill(&self) -> usize {
        let day = self.ticks_per_day();
        let mut ill = BTreeMap::new();
        for entry in self.transcript.entries() {
            if let OfficeEntry::Fired { tick, happening } = entry
                && happening.kind == HappeningKind::SickLeave
            {
                ill.extend(happening.targets.iter().map(|person| ((*person, tick / day), *tick)));
            }
        }
        let away = |person, tick: u64| ill.get(&(person, tick / day)).is_some_and(|from| *from <= tick);
        self.transcript.answers().filter(|row| away(row.person, row.tick)).count()
    }

    /// Unread mail in all, after each tick in which it changed.
    pub fn unread(&self) -> Vec<(u64, i64)> {
        let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
        for entry in self.transcript.entries() {
            match entry {
                OfficeEntry::Mail { mail, .. } => *changes.entry(mail.lands).or_default() += 1,
                OfficeEntry::Answer(row) => *changes.entry(row.tick).or_default() -= row.read.len() as i64,
                _ => {}
            }
        }
        let mut depth = 0;
        changes
            .into_iter()
            .map(|(tick, change)| {
                depth += change;
                (tick, depth)
            })
            .collect()
    }

    /// Draws what the week looked like; gives the pictures.
    pub fn draw(&self, folder: &Path) -> Done<Vec<String>> {
        std::fs::create_dir_all(folder)?;
        let pictures = [
            ("mail_by_hour.svg", self.draw_mail()?),
            ("answers.svg", self.draw_answers()?),
            ("unread.svg", self.draw_unread()?),
        ];
        for (name, picture) in &pictures {
            std::fs::write(folder.join(name), picture)?;
        }
        Ok(pictures.into_iter().map(|(_, picture)| picture).collect())
    }

    fn draw_mail(&self) -> Done<String> {
        let hours = self.tick.div_ceil(60).max(1);
        let mut counts = vec![[0_i32; 2]; hours as usize];
        for (mail, _) in self.mails().values() {
            if let Some(hour) = counts.get_mut((mail.lands / 60) as usize) {
                hour[usize::from(mail.channel == Channel::Chat)] += 1;
            }
        }
        let highest = counts.iter().map(|[emails, chats]| emails + chats).max().unwrap_or(0);
        plot(
            ("Mail an hour of office time: e-mails below, chats above", hours as f64, f64::from(highest + 1)),
            |chart| {
                for (hour, [emails, chats]) in counts.iter().enumerate() {
                    let (from, to) = (hour as f64, hour as f64 + 0.9);
                    let (low, high) = (f64::from(*emails), f64::from(emails + chats));
                    chart.draw_series([Rectangle::new([(from, 0.0), (to, low)], BLUE.filled())])?;
                    chart.draw_series([Rectangle::new([(from, low), (to, high)], CYAN.mix(0.7).filled())])?;
                }
                Ok(())
            },
        )
    }

    fn draw_answers(&self) -> Done<String> {
        let (found, fitted) = (self.answer_delays(), self.fitted_delays());
        let most = f64::from(found.last().copied().unwrap_or(1).max(1));
        plot(("Share of answers within so many minutes: here (blue), real people (red)", most, 1.0), |chart| {
            let curve = |delays: &[u32]| -> Vec<(f64, f64)> {
                let all = delays.len().max(1) as f64;
                delays.iter().enumerate().map(|(place, delay)| (f64::from(*delay), (place + 1) as f64 / all)).collect()
            };
            chart.draw_series(LineSeries::new(curve(&fitted), RED))?;
            chart.draw_series(LineSeries::new(curve(&found), BLUE))?;
            Ok(())
        })
    }

    fn draw_unread(&self) -> Done<String> {
        let unread = self.unread();
        let highest = unread.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
        plot(("Unread mail in all inboxes, by tick", self.tick as f64, (highest + 1) as f64), |chart| {
            let points = unread.iter().map(|(tick, depth)| (*tick as f64, *depth as f64));
            chart.draw_series(AreaSeries::new(points, 0.0, BLUE.mix(0.3)).border_style(BLUE))?;
            Ok(())
        })
    }
}

fn show(tick: Option<u64>) -> String {
    tick.map_or("none".into(), |tick| tick.to_string())
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn plot((title, right, top): (&str, f64, f64), draw: impl FnOnce(&mut Chart) -> Drawn) -> Done<String> {
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, (900, 300)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(28)
            .y_label_area_size(40)
            .build_cartesian_2d(0.0..right.max(1.0), 0.0..top.max(1.0))?;
        chart.configure_mesh().disable_x_mesh().draw()?;
        draw(&mut chart)?;
        area.present()?;
    }
    Ok(picture)
}
