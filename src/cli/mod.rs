//! The command line: one module a command. Each returns an [`Exit`] or an [`anyhow::Error`]; this file turns both into
//! what the shell sees.

mod data;
mod progress;
mod table;

use clap::{Parser, Subcommand};
use lightbox_core::safe_text::clean;
use std::process::ExitCode;

/// A terminal workbench for fine-tuning vision-language models.
#[derive(Parser)]
#[command(name = "lightbox", version, arg_required_else_help = true, after_help = Exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at, check, measure, encode and convert data sets
    Data(data::DataArgs),
}

/// What the shell gets. The numbers are part of the interface; 2 is clap's, for a wrong command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// A name, path or option that does not fit.
    Config = 10,
    /// The data has problems, or refuses to be used.
    Data = 11,
    /// The model folder cannot be used.
    Model = 12,
}

impl Exit {
    const HELP: &str = "Exit codes: 0 done · 2 wrong command line · 10 a name, path or option does not fit · 11 problems in the data · 12 the model folder cannot be used";
}

/// An error together with its exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Config, error: error.into() }
    }
}

/// Gives an error its exit code.
pub trait OrExit<T> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into() })
    }
}

pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Data(args) => data::run(args),
    };
    let exit = match result {
        Ok(exit) => exit,
        // `lightbox data encode … | head`: the reader has what it wanted.
        Err(failure) if is_broken_pipe(&failure.error) => Exit::Ok,
        Err(failure) => {
            eprintln!("error: {}", clean(&format!("{:#}", failure.error)));
            failure.exit
        }
    };
    ExitCode::from(exit as u8)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        io.or_else(|| cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind))
    };
    error.chain().any(|cause| io(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
