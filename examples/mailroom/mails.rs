//! Owns the e-mails: reads their headers from the compressed table and finds the writers, the lists and the threads.

use flate2::read::GzDecoder;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const HEADER: &str = "envelope_time\tdate_header_unix\tfrom\tto_cc\tlist\tmessage_id\treferences\tsubject\tbytes\tfile";

/// One e-mail, without its body.
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    /// Number of the sender, from 1 in order of first appearance, never an address.
    pub writer: i64,
    /// Index into the lists; none for a mail that names no list.
    pub list: Option<usize>,
    /// Number of the thread, from 0 in order of first appearance.
    pub thread: usize,
    /// The subject, without any word that could be an address.
    pub subject: String,
    /// Size of the whole mail.
    pub bytes: u64,
}

/// One mailing list.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// First label of the List-Id, such as "fork", or the full id where two lists share that label.
    pub name: String,
    /// All who ever write to the list, sorted.
    pub members: Vec<i64>,
    /// Number of mails sent to the list.
    pub mails: usize,
}

/// All e-mails and what they share.
#[derive(Clone, Debug)]
pub struct Mails {
    /// The mails in file order.
    pub mails: Vec<Mail>,
    /// The lists in order of first appearance.
    pub lists: Vec<List>,
    /// Number of different senders.
    pub writers: usize,
    /// Whether these are all there are in the file.
    pub is_whole: bool,
    /// Per mail, the numbers of all ids it names, its own first. Kept so that threads can be counted a second way.
    ids: Vec<Vec<usize>>,
}

/// Counts of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// All threads, those of a single mail included.
    pub all: usize,
    /// Threads of two or more mails.
    pub with_answers: usize,
    /// Number of mails in the longest thread.
    pub longest: usize,
}

/// Reads the table of e-mail headers and keeps the first mails. Every line is checked before anything is made of any.
///
/// # Errors
///
/// The text names the file, the first bad line and what is wrong with it, and never quotes an address.
pub fn read(path: &Path, mails: Option<usize>) -> Result<Mails, String> {
    let problem = |what: String| format!("{}{what}; nothing was written", path.display());
    let mut table = Vec::new();
    File::open(path)
        .and_then(|file| GzDecoder::new(file).read_to_end(&mut table))
        .map_err(|error| problem(format!(": {error}; run this in the repository, or give --data")))?;
    let mut rows = rows(&table).map_err(|(line, what)| problem(format!(", line {line}: {what}")))?;
    if rows.is_empty() {
        return Err(problem(": no mails".into()));
    }
    let is_whole = mails.is_none_or(|mails| mails >= rows.len());
    rows.truncate(mails.unwrap_or(usize::MAX));
    Ok(Mails { is_whole, ..assemble(&rows) })
}

impl Mails {
    /// Counts the threads another way than [`Mail::thread`], as a check: every id starts with a label of its own, each mail
    /// gives all its ids the least of their labels, and this is repeated until nothing changes.
    pub fn threads_by_labels(&self) -> Threads {
        let known = self.ids.iter().flatten().max().map_or(0, |last| last + 1);
        let mut labels: Vec<usize> = (0..known).collect();
        loop {
            let before = labels.clone();
            for ids in &self.ids {
                let least = ids.iter().map(|&id| labels[id]).min().unwrap_or(0);
                ids.iter().for_each(|&id| labels[id] = least);
            }
            if labels == before {
                return count(self.ids.iter().map(|ids| labels[ids[0]]));
            }
        }
    }
}

/// One checked line of the table.
struct Row<'a> {
    from: &'a str,
    list: &'a str,
    message_id: &'a str,
    /// In-Reply-To is already among these, so a reference may stand here twice.
    references: Vec<&'a str>,
    subject: &'a str,
    bytes: u64,
}

/// Splits and checks all lines; a problem comes with the number of its line, the header being line 1.
fn rows(table: &[u8]) -> Result<Vec<Row<'_>>, (usize, String)> {
    let table = table.strip_suffix(b"\n").unwrap_or(table);
    let mut rows = Vec::new();
    for (before, line) in table.split(|&byte| byte == b'\n').enumerate() {
        let at = |what: String| (before + 1, what);
        let line = str::from_utf8(line).map_err(|_| at("not UTF-8".into()))?;
        if before > 0 {
            rows.push(row(line).map_err(at)?);
        } else if line != HEADER {
            return Err(at("not the expected header".into()));
        }
    }
    Ok(rows)
}

fn row(line: &str) -> Result<Row<'_>, String> {
    let columns: Vec<&str> = line.split('\t').collect();
    let &[_, _, from, _, list, message_id, references, subject, bytes, _] = columns.as_slice() else {
        return Err(format!("{} columns where 10 are expected", columns.len()));
    };
    if from.is_empty() || message_id.is_empty() {
        return Err("no sender or no Message-ID".into());
    }
    Ok(Row {
        from,
        list,
        message_id,
        references: references.split_whitespace().collect(),
        subject,
        bytes: bytes.parse().map_err(|_| format!("bad bytes {bytes:?}"))?,
    })
}

fn assemble(rows: &[Row]) -> Mails {
    let mut writers = Numbers::default();
    let mut lists = Numbers::default();
    let ids = ids(rows);
    let threads = threads(&ids);
    let mut mails = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        mails.push(Mail {
            writer: writers.of(row.from) as i64 + 1,
            list: (!row.list.is_empty()).then(|| lists.of(row.list)),
            thread: threads[index],
            subject: without_addresses(row.subject),
            bytes: row.bytes,
        });
    }
    let lists = fill(&lists.names, &mails);
    Mails { mails, lists, writers: writers.names.len(), is_whole: true, ids }
}

/// Numbers names from 0 in order of first appearance.
#[derive(Default)]
struct Numbers<'a> {
    known: HashMap<&'a str, usize>,
    names: Vec<&'a str>,
}

impl<'a> Numbers<'a> {
    fn of(&mut self, name: &'a str) -> usize {
        let names = &mut self.names;
        *self.known.entry(name).or_insert_with(|| {
            names.push(name);
            names.len() - 1
        })
    }
}

/// Per mail, the numbers of all ids it names, its own first.
fn ids(rows: &[Row]) -> Vec<Vec<usize>> {
    let mut numbers = Numbers::default();
    let mut named = Vec::with_capacity(rows.len());
    for row in rows {
        let all = std::iter::once(&row.message_id).chain(&row.references);
        named.push(all.map(|id| numbers.of(id)).collect());
    }
    named
}

/// People are shown as workers, never by their addresses.
fn without_addresses(subject: &str) -> String {
    let shown = subject.split_whitespace().map(|word| if word.contains('@') { "…" } else { word });
    shown.collect::<Vec<_>>().join(" ")
}

/// Joins all ids that one mail names. An id that is no mail of ours counts too: two mails that name it are of one
/// thread even though the mail they answer is missing.
fn threads(ids: &[Vec<usize>]) -> Vec<usize> {
    let known = ids.iter().flatten().max().map_or(0, |last| last + 1);
    let mut parents: Vec<usize> = (0..known).collect();
    for named in ids {
        for &id in &named[1..] {
            let (root, other) = (root(&mut parents, named[0]), root(&mut parents, id));
            parents[other] = root;
        }
    }
    let mut numbers = HashMap::new();
    let mut number = |named: &Vec<usize>| {
        let next = numbers.len();
        *numbers.entry(root(&mut parents, named[0])).or_insert(next)
    };
    ids.iter().map(&mut number).collect()
}

/// Follows the parents to the top and halves the path on the way, which keeps later walks short.
fn root(parents: &mut [usize], mut id: usize) -> usize {
    while parents[id] != id {
        parents[id] = parents[parents[id]];
        id = parents[id];
    }
    id
}

fn fill(full: &[&str], mails: &[Mail]) -> Vec<List> {
    let mut members = vec![BTreeSet::new(); full.len()];
    let mut counts = vec![0; full.len()];
    for mail in mails {
        if let Some(list) = mail.list {
            members[list].insert(mail.writer);
            counts[list] += 1;
        }
    }
    let list = |((name, members), mails): ((String, BTreeSet<i64>), usize)| {
        let members = members.into_iter().collect();
        List { name, members, mails }
    };
    names(full).into_iter().zip(members).zip(counts).map(list).collect()
}

/// The first label of each id, or the full id where another list has the same label.
fn names(full: &[&str]) -> Vec<String> {
    let label = |id: &str| id.split('.').next().unwrap_or(id).to_owned();
    let mut uses: HashMap<String, usize> = HashMap::new();
    full.iter().for_each(|id| *uses.entry(label(id)).or_default() += 1);
    let name = |id: &&str| Some(label(id)).filter(|label| uses[label] == 1).unwrap_or_else(|| (*id).to_owned());
    full.iter().map(name).collect()
}

/// Counts threads from the thread of each mail.
fn count(threads: impl Iterator<Item = usize>) -> Threads {
    let mut sizes: HashMap<usize, usize> = HashMap::new();
    threads.for_each(|thread| *sizes.entry(thread).or_default() += 1);
    Threads {
        all: sizes.len(),
        with_answers: sizes.values().filter(|&&size| size > 1).count(),
        longest: sizes.values().copied().max().unwrap_or(0),
    }
}
