//! Owns who works in the office: people whose habits are taken from real ones, students who chatted in 2004 and people who
//! wrote to mailing lists in 2002. Nobody is named: an invented colleague has the hours of one and the answers of another.

use flate2::read::GzDecoder;
use jiff::civil::DateTime;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use worksite_simulation::office::{Charter, Colleague, Habits, Hours};

/// Who works here: name, role, team, time zone.
const STAFF: [(&str, &str, &str, &str); 12] = [
    ("Ada", "managing director", "lead", "Europe/Vienna"),
    ("Boris", "engineer", "build", "Europe/Vienna"),
    ("Chiara", "engineer", "build", "Europe/Rome"),
    ("Dmitri", "engineer", "build", "Europe/Helsinki"),
    ("Esther", "designer", "build", "Europe/Vienna"),
    ("Farid", "tester", "build", "Asia/Kolkata"),
    ("Greta", "sales", "sell", "Europe/Berlin"),
    ("Hiro", "sales", "sell", "Europe/London"),
    ("Ines", "marketing", "sell", "Europe/Lisbon"),
    ("Jonas", "support", "care", "Europe/Vienna"),
    ("Kate", "support", "care", "America/New_York"),
    ("Liam", "bookkeeper", "care", "Europe/Dublin"),
];

/// Addresses outside that may be written to.
const CLIENT: &str = "client@example.org";

/// Answers that took longer than a working day say little about minutes.
const ANSWER_MINUTES_MAX: i64 = 480;

/// A robot writes 623 of the mails; whoever writes more than this is one.
const MAILS_OF_A_PERSON_MAX: usize = 300;

/// An office of invented people with real habits.
pub fn charter(data: &Path, seed: u64) -> Result<Charter, String> {
    let answers = chat_habits(&data.join("collegemsg.csv.gz"))?;
    let hours = mail_hours(&data.join("spamassassin_easy_ham_headers.tsv.gz"))?;
    if answers.len() < STAFF.len() || hours.len() < STAFF.len() {
        return Err(format!("{} chatters and {} writers are too few to fit on", answers.len(), hours.len()));
    }
    let people = STAFF.iter().zip(1..).zip(answers.into_iter().zip(hours));
    let colleagues = people.map(|(((name, role, team, zone), id), (habits, (from, until)))| Colleague {
        role: (*role).into(),
        team: (*team).into(),
        is_head: id == 1,
        hours: Hours { from_minute: from, until_minute: until, time_zone: (*zone).into(), weekends: false },
        habits,
        ..Colleague::new(id, *name)
    });
    let mut charter = Charter::new(seed, colleagues.collect());
    charter.name = "Twelve people and a week".into();
    charter.calendar.time_zone = "Europe/Vienna".into();
    charter.outside = vec![CLIENT.into()];
    Ok(charter)
}

fn unpacked(path: &Path) -> Result<String, String> {
    let name = path.display();
    let problem = |error: std::io::Error| format!("{name}: {error}; run this in the repository, or give --data");
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).map_err(problem)?).read_to_end(&mut bytes).map_err(problem)?;
    // Subjects of 2002 are not all UTF-8, and are not read here.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn minute(time: &str, format: &str) -> Option<i64> {
    let at = DateTime::strptime(format, time).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(at.timestamp().as_second() / 60)
}

/// What one student did in the chat.
#[derive(Default)]
struct Chatter {
    /// Messages that began something, and the days they did so.
    begun: u64,
    days: BTreeSet<i64>,
    /// Who waits for their answer, since when.
    open: BTreeMap<i64, i64>,
    turns: u64,
    delays: Vec<i64>,
}

/// How the busiest chatters answer and begin, the busiest first.
fn chat_habits(path: &Path) -> Result<Vec<Habits>, String> {
    let text = unpacked(path)?;
    let mut people: BTreeMap<i64, Chatter> = BTreeMap::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let mut cells = line.split(',');
        let mut cell = || cells.next().unwrap_or_default().trim();
        let (source, target, at) = (cell().parse(), cell().parse(), minute(cell(), "%m/%d/%y %I:%M %p"));
        let (Ok(source), Ok(target), Some(at)) = (source, target, at) else {
            return Err(format!("{}, line {}: it is no message; correct the file", path.display(), index + 1));
        };
        let writer = people.entry(source).or_default();
        writer.days.insert(at / 1_440);
        match writer.open.remove(&target) {
            Some(since) => writer.delays.push(at - since),
            None => writer.begun += 1,
        }
        if source != target {
            let reader = people.entry(target).or_default();
            if !reader.open.contains_key(&source) {
                reader.turns += 1;
                reader.open.insert(source, at);
            }
        }
    }
    let mut busiest: Vec<_> = people.into_iter().filter(|(_, chatter)| chatter.delays.len() >= 60).collect();
    busiest.sort_by_key(|(person, chatter)| (std::cmp::Reverse(chatter.delays.len()), *person));
    Ok(busiest.into_iter().take(STAFF.len()).map(|(_, chatter)| chatter.habits()).collect())
}

impl Chatter {
    fn habits(mut self) -> Habits {
        self.delays.sort_unstable();
        let answered = self.delays.len() as u64;
        self.delays.retain(|delay| *delay <= ANSWER_MINUTES_MAX);
        let last = self.delays.len().saturating_sub(1);
        let quantile = |tenth: usize| u32::try_from(self.delays[last * tenth / 10].max(1)).unwrap_or(1);
        let begins = self.begun * 1_000 / (self.days.len() as u64).max(1);
        Habits {
            begins_per_mille: u32::try_from(begins.clamp(1_000, 6_000)).unwrap_or(3_000),
            answers_per_mille: u32::try_from(answered * 1_000 / self.turns.max(1)).unwrap_or(1_000).min(950),
            answer_minutes: (0..=10).map(quantile).collect(),
            chats_per_mille: 500,
            // Who answers quickly looks often.
            look_every: quantile(2).clamp(1, 20),
        }
    }
}

/// From when until when the busiest writers write, in minutes of their day, the busiest first: the middle eight tenths of
/// their mails.
fn mail_hours(path: &Path) -> Result<Vec<(u32, u32)>, String> {
    let text = unpacked(path)?;
    let mut people: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<_> = line.split('\t').collect();
        // A hundred and fifty have no dated envelope.
        let (Some(time), Some(from)) = (cells.first().and_then(|time| minute(time, "%Y-%m-%dT%H:%M:%S")), cells.get(2))
        else {
            continue;
        };
        people.entry(from).or_default().push((time % 1_440) as u32);
    }
    let mut busiest: Vec<_> = people.into_iter().filter(|(_, mails)| mails.len() <= MAILS_OF_A_PERSON_MAX).collect();
    busiest.sort_by_key(|(person, mails)| (std::cmp::Reverse(mails.len()), *person));
    let hours = busiest.into_iter().take(STAFF.len()).map(|(_, mut minutes)| {
        minutes.sort_unstable();
        let quantile = |tenth: usize| minutes[(minutes.len() - 1) * tenth / 10];
        // Many of them wrote at night, after work; here it is work: from seven to ten until four to seven, in quarters.
        let quarter = |minute: u32| minute / 15 * 15;
        let from = quarter(quantile(1)).clamp(7 * 60, 10 * 60);
        (from, quarter(quantile(9)).clamp(16 * 60, 19 * 60))
    });
    Ok(hours.collect())
}
