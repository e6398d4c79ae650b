//! The export owns a transcript for others to read: as a page without scripts, and as mail in an mbox. Both are files; nothing
//! is ever sent. (As JSON Lines it is [`Transcript::lines`](super::Transcript::lines).)

use super::{Almanac, Channel, Charter, Mail, OfficeEntry, OfficeError, Transcript};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Names and moments for who reads.
struct Reader {
    almanac: Almanac,
    names: BTreeMap<i64, String>,
    addresses: BTreeMap<i64, String>,
}

impl Reader {
    fn of(transcript: &Transcript) -> Result<Self, OfficeError> {
        let charter: &Charter = transcript.charter().ok_or(OfficeError::NotFounded)?;
        let mut reader =
            Self { almanac: Almanac::of(&charter.calendar)?, names: BTreeMap::new(), addresses: BTreeMap::new() };
        let hired = transcript.inputs().filter_map(|row| match (&row.input, &row.result) {
            (super::Input::Hire(colleague) | super::Input::Update(colleague), Ok(_)) => Some(colleague),
            _ => None,
        });
        for colleague in charter.colleagues.iter().chain(hired) {
            reader.names.insert(colleague.id, colleague.name.clone());
            reader.addresses.insert(colleague.id, colleague.address());
        }
        Ok(reader)
    }

    fn name(&self, person: i64) -> &str {
        self.names.get(&person).map_or("Office", String::as_str)
    }

    fn address(&self, person: i64) -> &str {
        self.addresses.get(&person).map_or("office@office.example", String::as_str)
    }
}

impl Transcript {
    /// As an mbox of all e-mails, once each, the oldest first; lines that look like a beginning are quoted.
    ///
    /// # Errors
    /// [`OfficeError::NotFounded`] when it has no charter.
    pub fn mbox(&self) -> Result<String, OfficeError> {
        let reader = Reader::of(self)?;
        let mut mails: BTreeMap<_, &Mail> = BTreeMap::new();
        for (_, mail) in self.mail().filter(|(_, mail)| mail.channel == Channel::Email) {
            mails.entry((mail.lands, mail.id)).or_insert(mail);
        }
        Ok(mails.values().map(|mail| reader.message(mail)).collect())
    }

    /// As a page that needs nothing but itself.
    ///
    /// # Errors
    /// [`OfficeError::NotFounded`] when it has no charter.
    pub fn html(&self) -> Result<String, OfficeError> {
        let reader = Reader::of(self)?;
        let title = escape(self.charter().map_or("", |charter| &charter.name));
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>\
             body{{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}\
             td{{padding:.1em .8em;vertical-align:top}}time{{color:#666;white-space:nowrap}}</style></head><body>\n\
             <h1>{title}</h1>\n<p>digest {}</p>\n<table>\n",
            self.digest()
        );
        for entry in self.entries() {
            let time = escape(&reader.almanac.clock(entry.tick()));
            if let Some(said) = reader.said(entry) {
                let _infallible = writeln!(page, "<tr><td><time>{time}</time></td><td>{said}</td></tr>");
            }
        }
        page.push_str("</table>\n</body></html>\n");
        Ok(page)
    }
}

impl Reader {
    fn message(&self, mail: &Mail) -> String {
        let moment = jiff_date(&self.almanac, mail.lands);
        let people = |people: &[i64]| people.iter().map(|person| self.address(*person)).collect::<Vec<_>>().join(", ");
        let from = self.address(mail.id.from);
        let mut message = format!("From {from} {}\n", moment.asctime);
        let _infallible = writeln!(message, "From: {} <{from}>\nTo: {}", header(&mail.from_name), people(&mail.to));
        if !mail.cc.is_empty() {
            let _infallible = writeln!(message, "Cc: {}", people(&mail.cc));
        }
        let _infallible = writeln!(
            message,
            "Subject: {}\nDate: {}\nMessage-ID: <{}@office.example>",
            header(&mail.subject),
            moment.date,
            mail.id
        );
        if let Some(answers) = mail.answers {
            let _infallible = writeln!(message, "In-Reply-To: <{answers}@office.example>");
        }
        message.push_str("Content-Type: text/plain; charset=utf-8\n\n");
        for line in mail.body.lines() {
            let quote = if line.trim_start_matches('>').starts_with("From ") { ">" } else { "" };
            let _infallible = writeln!(message, "{quote}{line}");
        }
        message.push('\n');
        message
    }

    fn said(&self, entry: &OfficeEntry) -> Option<String> {
        Some(match entry {
            OfficeEntry::Founded(charter) => format!("{} colleagues, seed {}", charter.colleagues.len(), charter.seed),
            OfficeEntry::Input(row) => match &row.result {
                Ok(said) => format!("entered: {}", escape(said)),
                Err(why) => format!("refused: {}", escape(why)),
            },
            OfficeEntry::Fired { happening, .. } => format!("happened: {}", escape(&happening.summary())),
            OfficeEntry::Mail { to, mail } => format!(
                "{} → {}: <b>{}</b> {}",
                escape(&mail.from_name),
                escape(self.name(*to)),
                escape(&mail.subject),
                escape(&mail.body)
            ),
            // What it did is seen by the mail that comes of it.
            OfficeEntry::Answer(_) => return None,
            OfficeEntry::Report(report) => format!(
                "report of {}: {} e-mails, {} chats, {} received, {} answered, {} unread",
                escape(self.name(report.person)),
                report.counts.emails,
                report.counts.chats,
                report.counts.received,
                report.counts.answered,
                report.unread
            ),
        })
    }
}

struct Moment {
    asctime: String,
    date: String,
}

fn jiff_date(almanac: &Almanac, tick: u64) -> Moment {
    let moment = jiff::Timestamp::from_microsecond(almanac.moment(tick).as_micros()).unwrap_or_default();
    Moment {
        asctime: moment.strftime("%a %b %e %H:%M:%S %Y").to_string(),
        date: moment.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
    }
}

/// A header is one line.
fn header(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
