//! Owns how every big example begins and ends: what it is asked, what it does when it is to be killed, the table of checks, the
//! digest on the last line, and the exit status: 0 good, 1 a check failed or an error, 2 wrong arguments.

pub mod chaos;
pub mod checks;
pub mod flags;
pub mod site;

use checks::Checks;
use flags::{Flags, Value};
use std::error::Error;
use std::process::ExitCode;

/// What may go wrong ends the program with a word about it.
pub type Done<T> = Result<T, Box<dyn Error>>;

/// A big example, as its `--help` tells of it.
pub struct Program {
    pub about: &'static str,
    /// The site's file, unless another is given.
    pub site: &'static str,
    /// Its input, unless another is given.
    pub data: &'static str,
    /// What the small run takes of the input.
    pub cut: &'static str,
    /// Lines on the words that only this example has.
    pub own: &'static str,
}

/// What a run has come to.
pub struct Ended {
    pub checks: Checks,
    /// Over all that is left: the same for the same input, however often the run was killed.
    pub digest: String,
}

impl Program {
    /// Reads the arguments and runs.
    pub fn main<A>(&self, read: impl FnOnce() -> Result<A, String>, run: impl FnOnce(&A) -> Done<bool>) -> ExitCode {
        if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
            println!("{}", self.help());
            return ExitCode::SUCCESS;
        }
        let done = match read() {
            Ok(arguments) => run(&arguments),
            Err(problem) => {
                eprintln!("{problem}\n\n{}", self.help());
                return ExitCode::from(2);
            }
        };
        match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// Reads the words of the command line; `own` says whether it knows one that is not shared.
    pub fn flags(&self, own: impl FnMut(&str, Value<'_>) -> Result<bool, String>) -> Result<Flags, String> {
        Flags::read(self.site, self.data, std::env::args().skip(1), own)
    }

    fn help(&self) -> String {
        let Self { about, site, data, cut, own } = self;
        format!(
            "{about}

  --site PATH      the site's file (default {site}); an unfinished run is resumed, a finished one replaced
  --keep           only report on a finished site
  --cut            a small run: {cut}
  --data PATH      the input (default {data})
  --chaos N        start afresh, have this process killed with SIGKILL N times, and compare with an unbroken run
  --quiet          no progress, no tables, no plots
  --help           this text{own}"
        )
    }
}

/// Does the work, after it was begun and killed as often as is asked for, and ends with the table of checks and the digest;
/// says whether all is good.
pub async fn run(flags: &Flags, work: impl AsyncFn(&Flags) -> Done<Ended>) -> Done<bool> {
    let killed = if let Some(kills) = flags.chaos {
        site::remove(&flags.site)?;
        chaos::kill_children(kills)?
    } else {
        0
    };
    let Ended { mut checks, digest } = work(flags).await?;
    if let Some(kills) = flags.chaos {
        checks.equal("killed before its end", kills, killed);
        let unbroken = flags.of_unbroken();
        site::remove(&unbroken.site)?;
        let expected = work(&unbroken).await?.digest;
        site::remove(&unbroken.site)?;
        // The first digits are enough for a person; and who differs, differs there.
        checks.equal("digest of an unbroken run", &expected[..16], &digest[..16]);
    }
    println!();
    let is_good = checks.print();
    println!("\ndigest {digest}");
    Ok(is_good)
}
