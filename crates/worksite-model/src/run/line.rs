//! What the house and a runner in another process say to each other: [`Order`] and [`Word`], one JSON object a line, over
//! the process's standard streams.

use crate::{Payload, Run, RunId, RunReport};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// What the house says to a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Do this.
    Run {
        /// Which run.
        id: RunName,
        /// The claim, to be named in every word about it.
        fence: u32,
        /// Who is to do it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// Where.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project_dir: Option<String>,
        /// The session it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// What is to be done: JSON as it is; text as a string; other encodings as their bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload: Option<Json>,
    },
    /// Stop this, and say so.
    Stop {
        /// Which run.
        id: RunName,
        /// The claim.
        fence: u32,
    },
}

/// What a runner says to the house.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It has begun.
    Started(Which),
    /// It is still at it.
    Alive(Which),
    /// It is done.
    Completed {
        /// Which run.
        id: RunName,
        /// The claim.
        fence: u32,
        /// What it came to.
        #[serde(default)]
        result: Option<Json>,
    },
    /// It has failed for good.
    Failed {
        /// Which run.
        id: RunName,
        /// The claim.
        fence: u32,
        /// Why.
        error: String,
    },
    /// It has failed, and may be tried again.
    Retry {
        /// Which run.
        id: RunName,
        /// The claim.
        fence: u32,
        /// Why.
        error: String,
    },
    /// It has been stopped.
    Stopped(Which),
    /// Somebody else may have it.
    GivenBack(Which),
}

/// A run under a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Which {
    /// Which run.
    pub id: RunName,
    /// The claim.
    pub fence: u32,
}

/// A run's id as people and other programs write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunName(pub String);

impl Order {
    /// What a runner is told to do a run it was given.
    pub fn run(run: &Run) -> Self {
        Self::Run {
            id: RunName(run.id.to_string()),
            fence: run.fence,
            agent: run.draft.agent.clone(),
            project_dir: run.draft.project_dir.clone(),
            session: run.session().map(str::to_string),
            payload: run.draft.payload.as_ref().map(to_json),
        }
    }

    /// What a runner is told to stop a run it holds.
    pub fn stop(run: &Run) -> Self {
        Self::Stop { id: RunName(run.id.to_string()), fence: run.fence }
    }

    /// As one line, its end included.
    pub fn to_line(&self) -> String {
        // Maps with text keys, text and numbers: this cannot fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// Reads a line; nothing when it is none of these.
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

impl Word {
    /// As one line, its end included.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// Reads a line; nothing when it is none of these. A runner may print other things, too.
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// What it reports, of which run and under which claim; nothing when the id is none.
    pub fn report(self) -> Option<(RunId, u32, RunReport)> {
        let (id, fence, report) = match self {
            Self::Started(which) => (which.id, which.fence, RunReport::Started),
            Self::Alive(which) => (which.id, which.fence, RunReport::Alive),
            Self::Completed { id, fence, result } => {
                (id, fence, RunReport::Completed(result.and_then(|result| Payload::encode(&result).ok())))
            }
            Self::Failed { id, fence, error } => (id, fence, RunReport::Failed(error)),
            Self::Retry { id, fence, error } => (id, fence, RunReport::Retry(error)),
            Self::Stopped(which) => (which.id, which.fence, RunReport::Stopped),
            Self::GivenBack(which) => (which.id, which.fence, RunReport::GivenBack),
        };
        Some((id.0.parse().ok()?, fence, report))
    }
}

fn to_json(payload: &Payload) -> Json {
    if let Ok(text) = payload.decode::<String>() {
        return Json::String(text);
    }
    match payload.decode_body::<Json>() {
        Ok(json) if payload.encoding == crate::Encoding::Json => json,
        _ => Json::Array(payload.body.iter().map(|byte| Json::from(*byte)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunDraft, RunIds, Timestamp};

    #[test]
    fn orders_and_words_are_lines_that_come_back() {
        let at = Timestamp::from_seconds(1_000);
        let run = Run::new(RunIds::after(1, None).next(at), RunDraft::of(&String::from("do it")).unwrap(), at);
        for order in [Order::run(&run), Order::stop(&run)] {
            let line = order.to_line();
            assert!(line.ends_with('\n') && !line.trim_end().contains('\n'));
            assert_eq!(Order::from_line(&line), Some(order));
        }
        let line = Order::run(&run).to_line();
        assert!(line.contains(r#""payload":"do it""#), "{line}");
        let word = format!(r#"{{"completed": {{"id": "{}", "fence": 3, "result": {{"frames": 12}}}}}}"#, run.id);
        let (id, fence, report) = Word::from_line(&word).and_then(Word::report).unwrap();
        assert_eq!((id, fence), (run.id, 3));
        let RunReport::Completed(Some(result)) = report else { panic!("{report:?}") };
        assert_eq!(result.decode::<Json>().unwrap()["frames"], 12);
        assert_eq!((Word::from_line("hello"), Word::from_line("{}")), (None, None));
    }
}
