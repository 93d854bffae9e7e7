//! The command line: one module a command. Each returns an [`Exit`] or an [`anyhow::Error`]; this file turns both into
//! what the shell sees.

mod data;
mod progress;
mod table;
mod worker;

use clap::{Parser, Subcommand};
use lightbox_core::args::{ChatArgs, PredictArgs, ScoreArgs};
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
    /// Fine-tune a model as a profile says
    Train(worker::TrainArgs),
    /// Ask a model about pictures
    Chat(ChatArgs),
    /// Loss of every sample of a data set
    Score(ScoreArgs),
    /// Answers for a whole data set
    Predict(PredictArgs),
    /// The whole job on embedded content, on the CPU of any machine
    Demo(crate::demo::DemoArgs),
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
    let outcome = match Cli::parse().command {
        Command::Data(args) => match data::run(args) {
            Ok(exit) => Ok(ExitCode::from(exit as u8)),
            Err(failure) if is_broken_pipe(&failure.error) => Ok(ExitCode::SUCCESS),
            Err(failure) => {
                eprintln!("error: {}", clean(&format!("{:#}", failure.error)));
                Ok(ExitCode::from(failure.exit as u8))
            }
        },
        Command::Train(args) => worker::train(&args),
        Command::Chat(_) | Command::Score(_) | Command::Predict(_) => worker::pass_on(),
        Command::Demo(args) => crate::demo::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {}", clean(&format!("{error:#}")));
        ExitCode::from(lightbox_core::exit::code(&error) as u8)
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        io.or_else(|| cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind))
    };
    error.chain().any(|cause| io(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
