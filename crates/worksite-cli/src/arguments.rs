//! The arguments own how the inspector is called.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

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
