//! The inspector: a site's file from the command line. This file owns the way from arguments to an exit status: 0 is
//! fine, 1 means that problems were found or nothing was done, 2 is wrong use.
//!
//! Reading commands use [`Reader`](worksite::store::Reader): they take no lock, and work beside a living owner and on a
//! cold file.

mod arguments;
mod check;
mod copies;
mod facts;
mod jobs;
mod letter;
mod mail;
mod moment;
mod printer;
mod redrive;
mod runs;
mod site;
mod workers;

use arguments::{Arguments, Command};
use clap::Parser;
use printer::Printer;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use worksite::store::CopyError;

/// How a command ended that could be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Fine,
    /// Problems were found, or nothing was done.
    Problems,
}

impl Ending {
    fn fine_if(fine: bool) -> Self {
        if fine { Self::Fine } else { Self::Problems }
    }
}

/// A command's result; an error is told as it is.
type Ended = Result<Ending, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut printer = Printer::new(arguments.json);
    let ended = carry_out(arguments, &mut printer).and_then(|ending| {
        printer.finish()?;
        Ok(ending)
    });
    match ended {
        Ok(Ending::Fine) => ExitCode::SUCCESS,
        Ok(Ending::Problems) => ExitCode::from(1),
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            printer.tell_error(error.as_ref());
            ExitCode::from(1)
        }
    }
}

fn carry_out(arguments: Arguments, printer: &mut Printer) -> Ended {
    let file = arguments.file;
    match arguments.command {
        Command::Status => workers::status(&site::open(&file)?, printer),
        Command::Workers => workers::list(&site::open(&file)?, printer),
        Command::Inbox { person: None, .. } => workers::inboxes(&site::open(&file)?, printer),
        Command::Inbox { person: Some(person), page } => mail::inbox(&site::open(&file)?, &person, page, printer),
        Command::Dead { page } => mail::dead(&site::open(&file)?, page, printer),
        Command::Thread { name, page } => mail::thread(&site::open(&file)?, &name, page, printer),
        Command::Queue => runs::queue(&site::open(&file)?, printer),
        Command::Runs(which) => runs::list(&site::open(&file)?, which, printer),
        Command::Run { id } => runs::run(&site::open(&file)?, id, printer),
        Command::Runners => runs::runners(&site::open(&file)?, printer),
        Command::Flows => jobs::flows(&site::open(&file)?, printer),
        Command::Jobs(which) => jobs::list(&site::open(&file)?, which, printer),
        Command::Job { id } => jobs::job(&site::open(&file)?, id, printer),
        Command::Redrive { ids, all: _ } => redrive::redrive(&file, ids, printer),
        Command::Facts { follow, page } => facts::facts(&site::open(&file)?, page, follow, printer),
        Command::Cursors => facts::cursors(&site::open(&file)?, printer),
        Command::Check => check::check(&site::open(&file)?, printer),
        Command::Backup { to } => copies::backup(&site::open(&file)?, &to, printer),
        Command::Export { to } => copies::export(&site::open(&file)?, to.as_deref(), printer),
        Command::Import { from } => copies::import(&file, &from, printer),
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let written = match error.downcast_ref::<CopyError>() {
        Some(CopyError::Stream(error)) => Some(error),
        _ => error.downcast_ref::<io::Error>(),
    };
    written.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
