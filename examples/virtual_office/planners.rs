//! Owns who plans: the rules, a child process, a server, or a recording.

use crate::arguments::Arguments;
use crate::program::Done;
use worksite_simulation::office::{
    AnswerBook, CommandPlanner, HttpPlanner, Planning, RecordedPlanner, RulesPlanner, Transcript,
};

pub fn planning(arguments: &Arguments) -> Done<Planning> {
    let [read, written, most] = arguments.price;
    let planning = if let Some(file) = &arguments.replay {
        let lines = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Planning { book: AnswerBook::read(&lines)?, falls_back: false, ..Planning::by(RecordedPlanner::default()) }
    } else if let Some(command) = arguments.planner.strip_prefix("command=") {
        let mut words = command.split_whitespace();
        let program = words.next().ok_or("--planner command= names no program")?;
        Planning::by(CommandPlanner::new(program, words).cost_micros_max(most))
    } else if let Some(url) = arguments.planner.strip_prefix("http=") {
        Planning::by(HttpPlanner::new(url, &arguments.model).prices_micros(read, written, most))
    } else if arguments.planner == "rules" {
        Planning::by(RulesPlanner)
    } else {
        return Err(format!("--planner takes rules, command=… or http=…, not {:?}", arguments.planner).into());
    };
    Ok(Planning { budget_micros: arguments.budget, ..planning })
}

/// Writes down all answers, if that is wanted.
pub fn record(arguments: &Arguments, transcript: &Transcript) -> std::io::Result<()> {
    match &arguments.record {
        Some(file) => std::fs::write(file, AnswerBook::of(transcript).lines()),
        None => Ok(()),
    }
}
