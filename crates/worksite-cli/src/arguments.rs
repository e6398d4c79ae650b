//! The arguments own how the inspector is called.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use worksite::prelude::{JobId, JobStatus, RunId, RunStatus};

/// Looks at a site's file, copies it, and sends dead letters again.
///
/// Everything but `redrive` and `import` only reads, beside a living owner too. Exit status: 0 fine, 1 problems found or
/// nothing done, 2 wrong use.
#[derive(Debug, Parser)]
#[command(name = "worksite", version)]
pub(crate) struct Arguments {
    /// The site's file
    pub(crate) file: PathBuf,
    /// Print JSON: an object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which part of a long list.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Page {
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Only those with higher numbers
    #[arg(long, default_value_t = 0)]
    pub(crate) after: i64,
}

/// Which runs.
#[derive(Debug, Args)]
pub(crate) struct WhichRuns {
    /// Only those that stand so; several may be given
    #[arg(long = "status", value_parser = run_status)]
    pub(crate) statuses: Vec<RunStatus>,
    /// Only those of this session
    #[arg(long)]
    pub(crate) session: Option<String>,
    /// Only those that were asked for in this session
    #[arg(long)]
    pub(crate) parent: Option<String>,
    /// Only those by this agent
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Only those this runner has, or had last
    #[arg(long)]
    pub(crate) runner: Option<String>,
    /// Only those of this schedule
    #[arg(long)]
    pub(crate) schedule: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Only those older than this one
    #[arg(long)]
    pub(crate) before: Option<RunId>,
}

fn run_status(name: &str) -> Result<RunStatus, String> {
    let names = RunStatus::ALL.map(RunStatus::name).join(", ");
    RunStatus::from_name(name).ok_or_else(|| format!("a run is {names}"))
}

/// Which jobs.
#[derive(Debug, Args)]
pub(crate) struct WhichJobs {
    /// Only those of this worker: a number or a name
    #[arg(long)]
    pub(crate) worker: Option<String>,
    /// Only those of this flow
    #[arg(long)]
    pub(crate) flow: Option<String>,
    /// Only those that stand so
    #[arg(long, value_parser = job_status)]
    pub(crate) status: Option<JobStatus>,
    /// Only those that this job posted
    #[arg(long)]
    pub(crate) parent: Option<JobId>,
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Only those after this one
    #[arg(long)]
    pub(crate) after: Option<JobId>,
}

/// A pending job has no row that could be listed.
fn job_status(name: &str) -> Result<JobStatus, String> {
    let kept = JobStatus::ALL.into_iter().filter(|status| *status != JobStatus::Pending);
    kept.into_iter().find(|status| status.name() == name).ok_or_else(|| {
        "a job that has been taken from its post is running, completed, failed or cancelled; the others are posts in the \
         inbox of their worker"
            .into()
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How much mail there has ever been, and what became of it
    Status,
    /// Who has how much waiting; or somebody's waiting mail
    Inbox {
        /// A number or a name
        person: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Who works here, with what waiting, and what their routines remember
    Workers,
    /// What was given up, and why
    Dead {
        #[command(flatten)]
        page: Page,
    },
    /// Send dead letters again. The file must be cold: its owner does this from within
    Redrive {
        /// Their numbers
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<i64>,
        /// All that there are
        #[arg(long)]
        all: bool,
    },
    /// The mail of a conversation, wherever it is
    Thread {
        /// Its name
        name: String,
        #[command(flatten)]
        page: Page,
    },
    /// How many runs of the queue stand how
    Queue,
    /// The runs of the queue, live and ended, the newest first
    Runs(WhichRuns),
    /// All that is known of a run, and how it has moved if that was logged
    Run {
        /// Its id
        id: RunId,
    },
    /// Who holds how many runs
    Runners,
    /// The workers of flows, and how many of their jobs stand how
    Flows,
    /// The jobs of flows
    Jobs(WhichJobs),
    /// All that is known of a job, with what waits of it
    Job {
        /// Its id
        id: JobId,
    },
    /// The log of facts that durable subscriptions read
    Facts {
        /// Go on with what comes, until interrupted
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        page: Page,
    },
    /// The durable subscriptions, and how far behind each is
    Cursors,
    /// Look for damage, and for broken laws
    Check,
    /// Copy the site, of one moment, to a new file that opens as a site
    Backup {
        /// The new file
        to: PathBuf,
    },
    /// Write the site, of one moment, as JSON Lines
    Export {
        /// A new file; standard output if left out
        to: Option<PathBuf>,
    },
    /// Make the file, which must be new, of an export
    Import {
        /// The export; `-` is standard input
        from: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_each_other() {
        Arguments::command().debug_assert();
    }
}
