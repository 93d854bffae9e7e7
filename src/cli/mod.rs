//! The command line: one module a command. Each returns an exit code or an
//! error that knows one ([`lightbox_core::exit`]); this file turns both into what the shell sees.

mod ask;
mod data;
mod download;
mod estimate;
mod evaluate;
mod fetch;
mod hub;
mod progress;
mod push;
mod report;
pub mod runs;
mod serve;
mod table;
pub mod train;
pub mod watch;
mod workbench;
pub mod worker;

use clap::{Parser, Subcommand};
use lightbox_core::args::{ChatArgs, CompareArgs, EvaluateArgs, ExportArgs, PredictArgs, ReportArgs, ScoreArgs};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::say::say;
use lightbox_core::safe_text::clean;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A terminal workbench for fine-tuning vision-language models. Without a command it opens.
#[derive(Parser)]
#[command(name = "lightbox", version, after_help = Exit::HELP)]
struct Cli {
    #[command(flatten)]
    workbench: workbench::WorkbenchArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Look at, check, measure, encode and convert data sets
    Data(data::DataArgs),
    /// Load a model or data set from the Hugging Face Hub
    Download(download::DownloadArgs),
    /// Send a folder to the Hugging Face Hub: a model, an adapter, a data set
    Push(push::PushArgs),
    /// Fine-tune a model as a profile says
    Train(train::TrainArgs),
    /// Memory, steps, tokens, disk and time of a training, before it starts
    Estimate(estimate::EstimateArgs),
    /// Look at runs, steer them, compare them, queue them
    Runs(runs::RunsArgs),
    /// Ask a model about pictures
    Chat(ChatArgs),
    /// Serve a model and its adapters as OpenAI's chat completions over HTTP
    Serve(serve::ServeArgs),
    /// Loss of every sample of a data set
    Score(ScoreArgs),
    /// Answers for a whole data set, with BLEU-4, ROUGE, exact match and loss
    Predict(PredictArgs),
    /// The base model and adapters on one data set, and a report. Each --adapter is a model of its own here
    Evaluate(EvaluateArgs),
    /// One question, or one about each picture of a folder, to several models
    Compare(CompareArgs),
    /// Compare files of answers: tables with confidence intervals, samples side by side
    Report(ReportArgs),
    /// Merge adapters into their base and write a model folder for others to load
    Export(ExportArgs),
    /// The whole job on embedded content, on the CPU of any machine
    Demo(crate::demo::DemoArgs),
    /// Starts a run's worker and writes down how it ends
    #[command(name = "__supervise", hide = true)]
    Supervise { run: PathBuf },
    /// Takes the terminal, asks it, shows a picture, and gives it back
    #[command(name = "__terminal-check", hide = true)]
    TerminalCheck,
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let Some(command) = cli.command else { return end(workbench::run(&cli.workbench)) };
    let outcome = match command {
        Command::Data(args) => match data::run(args) {
            // What has no code of its own there is a name, path or option that does not fit.
            Err(error) if exit::code(&error) == Exit::Failed => Err(error).because(Exit::Config),
            outcome => outcome.map(|exit| ExitCode::from(exit as u8)),
        },
        Command::Download(args) => download::run(&args).map(|exit| ExitCode::from(exit as u8)),
        Command::Push(args) => push::run(&args).map(|exit| ExitCode::from(exit as u8)),
        Command::Train(args) => {
            runs::kick();
            train::train(&args)
        }
        Command::Estimate(args) => estimate::run(&args).map(|exit| ExitCode::from(exit as u8)),
        Command::Runs(args) => runs::run(args),
        Command::Chat(_) | Command::Compare(_) | Command::Score(_) | Command::Predict(_) | Command::Export(_) => {
            worker::pass_on()
        }
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Report(args) => report::run(&args).map(|exit| ExitCode::from(exit as u8)),
        Command::Serve(args) => serve::run(&args).map(|exit| ExitCode::from(exit as u8)),
        Command::Demo(args) => crate::demo::run(args),
        Command::TerminalCheck => crate::term::check::run(),
        Command::Supervise { run } => RunDir::open(run)
            .because(Exit::Config)
            .and_then(|run| crate::supervise::run(&run, crate::supervise::Mode::Detached)),
    };
    end(outcome)
}

/// What the shell sees of an outcome.
fn end(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        // `lightbox data encode … | head`: the reader has what it wanted.
        if is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        say(&format!("error: {}", clean(&format!("{error:#}"))));
        ExitCode::from(exit::code(&error) as u8)
    })
}

/// Set by Ctrl-C, SIGTERM or the end of the terminal: what is begun is put in order before the program ends. A second Ctrl-C
/// ends it at once, which is for work that can be gone on with at any moment.
fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 128 + SIGINT, stop.clone())?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        io.or_else(|| cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind))
    };
    exit::causes(error).any(|cause| io(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
