//! Owns the routines of the floor: from a line to a mail, its class, counts of lists, days, and the summary.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use worksite::model::flow::FlowCatalog;
use worksite::prelude::*;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Mail {
    pub day: String,
    pub list: String,
    pub bytes: u64,
    /// What it is: new, or an answer.
    pub is_answer: bool,
}
impl Durable for Mail {
    const TYPE: &'static str = "mail";
}

/// Mails of a day and a list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Count {
    pub day: String,
    pub list: String,
    pub mails: u64,
    pub answers: u64,
    pub bytes: u64,
}
impl Durable for Count {
    const TYPE: &'static str = "count";
}

/// Mails of a day, by list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Day(pub Vec<Count>);
impl Durable for Day {
    const TYPE: &'static str = "day";
}

/// What there was of each list: mails, answers, bytes; and on which days.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub lists: BTreeMap<String, (u64, u64, u64)>,
    pub days: BTreeMap<String, u64>,
}
impl Durable for Summary {
    const TYPE: &'static str = "summary";
}

impl Summary {
    pub fn add(&mut self, count: &Count) {
        let list = self.lists.entry(count.list.clone()).or_default();
        *list = (list.0 + count.mails, list.1 + count.answers, list.2 + count.bytes);
        *self.days.entry(count.day.clone()).or_default() += count.mails;
    }

    pub fn mails(&self) -> u64 {
        self.lists.values().map(|list| list.0).sum()
    }

    pub fn answers(&self) -> u64 {
        self.lists.values().map(|list| list.1).sum()
    }
}

/// The columns of a header line that matter here.
pub fn parse(line: &str) -> Option<Mail> {
    let columns: Vec<_> = line.split('\t').collect();
    let [time, written, _, _, list, _, _, subject, bytes, _] = columns[..] else { return None };
    let list = if list.is_empty() { "no list" } else { list.split('.').next()? };
    let is_answer = subject.to_lowercase().starts_with("re:");
    // Some came without the time of their arrival: the time they were written has to do.
    let day = match time.get(..10) {
        Some(day) => day.to_string(),
        None => jiff::Timestamp::from_second(written.parse().ok()?).ok()?.strftime("%Y-%m-%d").to_string(),
    };
    Some(Mail { day, list: list.into(), bytes: bytes.parse().ok()?, is_answer })
}

pub fn count(mail: &Mail) -> Count {
    let (day, list) = (mail.day.clone(), mail.list.clone());
    Count { day, list, mails: 1, answers: u64::from(mail.is_answer), bytes: mail.bytes }
}

/// The routine types that `flow.yaml` names.
pub fn catalog() -> Result<FlowCatalog, worksite::model::flow::TypeTaken> {
    let parsing = |call: &mut Call<u64>| {
        let line = call.first::<String>("line").map(|line| line.to_string()).unwrap_or_default();
        *call.state_mut() += 1;
        let mail = parse(&line).ok_or_else(|| std::io::Error::other(format!("no mail: {line:.40}")))?;
        Ok(call.emit("mail", mail)?)
    };
    let classifying = |call: &mut Call<BTreeCounts>| {
        let Some(mail) = call.first::<Mail>("mail") else { return Ok(()) };
        let class = if mail.is_answer { "answers" } else { "new" };
        *call.state_mut().0.entry(class.into()).or_default() += 1;
        Ok(call.emit("mail", (*mail).clone())?)
    };
    // A batch, by day and list.
    let listing = |call: &mut Call<()>| {
        let mut counts: BTreeMap<(String, String), Count> = BTreeMap::new();
        for mail in call.all::<Mail>("mail") {
            let one = count(&mail);
            let sum = counts.entry((one.day.clone(), one.list.clone())).or_default();
            let (mails, answers, bytes) = (sum.mails + 1, sum.answers + one.answers, sum.bytes + one.bytes);
            *sum = Count { mails, answers, bytes, ..one };
        }
        for count in counts.into_values() {
            call.emit("counts", count)?;
        }
        Ok(())
    };
    let day = |call: &mut Call<()>| {
        let counts = call.all::<Count>("counts").iter().map(|count| (**count).clone()).collect();
        Ok(call.emit("day", Day(counts))?)
    };
    let summing = |call: &mut Call<Summary>| {
        for day in call.all::<Day>("day") {
            day.0.iter().for_each(|count| call.state_mut().add(count));
        }
        Ok(())
    };
    let by_day = ActivationPolicy::grouped(|count: &Count| count.day.clone()).flush_when_idle();
    let mut catalog = FlowCatalog::default();
    catalog.add("parse", move |_| Ok(FlowRoutine::new(parsing).slot::<String>("line").event::<Mail>("mail")))?;
    catalog.add("classify", move |_| Ok(FlowRoutine::new(classifying).slot::<Mail>("mail").event::<Mail>("mail")))?;
    catalog.add("by_list", move |_| Ok(FlowRoutine::new(listing).slot::<Mail>("mail").event::<Count>("counts")))?;
    catalog.add("by_day", move |_| {
        let routine = FlowRoutine::new(day).slot::<Count>("counts").event::<Day>("day");
        Ok(routine.policy(by_day.clone()))
    })?;
    // On the pool, as if it were dear: this is what the others wait for.
    catalog.add("summarise", move |_| Ok(FlowRoutine::pooled(summing).slot::<Day>("day")))?;
    Ok(catalog)
}

/// How many of each class.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BTreeCounts(pub BTreeMap<String, u64>);
impl Durable for BTreeCounts {
    const TYPE: &'static str = "counts by class";
}
